"""An adapter that may be published: recordings, ledger, dataset, training and evaluation, all tiny and real."""

import atexit
import shutil
import sqlite3
import tempfile
from functools import cache
from pathlib import Path

import soundfile
import yaml

from recipes.schema import Recipe, load
from tests import tiny
from tests.babble import babble
from tests.test_withdraw import WORDS

PURPOSES = ["store_prepare", "asr_train", "publish_model", "transfer_abroad", "commercial"]
SETTINGS = {
    "name": "tiny-asr",
    "work_dir": "work",
    "collect": {
        "source": "recordings",
        "language": "zgh-Tfng",
        "basis": {"purposes": PURPOSES, "notice": "CC-BY-4.0", "controller": "nobody", "given_on": "2026-01-01"},
    },
    "prepare": {"purpose": "asr_train", "split": {"by": "sentence", "exact": True, "test": 0.5}},
    "train": {"family": "ctc", "base": "./base", "max_steps": 2, "batch_s": 4, "warmup_steps": 0, "probe": None}
    | {"wandb": {"mode": "disabled"}},
    "evaluate": {"resamples": 100},
    "publish": {"to": "./out", "base_licence": "MIT", "gates": {"CER": {"max": 10, "sure": False}}}
    | {"contact": "voices@example.org", "same_speakers": True},
}


def ready(folder: Path, *overrides: str) -> Recipe:
    """A copy of it in a folder, to do with as one likes; the recipe is `recipe.yaml` there."""
    shutil.copytree(_made(), folder, dirs_exist_ok=True, symlinks=True)
    recipe = load(folder / "recipe.yaml", overrides)
    database = sqlite3.connect(recipe.folder("collect") / "ledger.sqlite")
    with database:  # the ledger knows where things lie
        database.execute("UPDATE artefacts SET place = replace(place, ?, ?)", (str(_made()), str(folder)))
    database.close()
    return recipe


@cache
def _made() -> Path:
    """Made once for all tests."""
    import evaluate.__main__ as evaluate_script
    import prepare.__main__ as prepare_script
    import train.__main__ as train_script
    from collect import ingest

    folder = Path(tempfile.mkdtemp(prefix="published-")).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "recordings").mkdir()
    table = ["file,text,speaker"]
    for number, word in enumerate(WORDS):
        soundfile.write(folder / "recordings" / f"{number}.wav", babble(1.2, pitch_hz=100 + 5 * number), 16_000)
        table.append(f"{number}.wav,{word} {word},{'amina' if number % 2 else 'brahim'}")
    (folder / "recordings" / "metadata.csv").write_text("\n".join(table), encoding="utf-8")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    tiny.base("ctc", folder / "base", "".join(sorted(set("".join(WORDS)))))
    recipe = load(folder / "recipe.yaml")
    assert ingest.main(recipe) == 0 and prepare_script.main(recipe) == 0
    train_script.main(recipe)
    evaluate_script.main(recipe)
    return folder
