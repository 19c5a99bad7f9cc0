"""Withdrawal: at once, everywhere, with a receipt; and the stages refuse what was made from the voice that left."""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

import prepare.__main__ as prepare_script
from collect import ingest, withdraw
from collect.ledger import Artefact, open_ledger
from collect.withdraw import settle
from prepare import dataset
from recipes.provenance import file_digest, is_withdrawn, refuse_withdrawn
from recipes.schema import Recipe, UserError, load
from tests.babble import babble

CORPUS = """
name: corpus
work_dir: work
collect:
  source: recordings
  language: zgh-Tfng
  basis:
    purposes: [store_prepare, asr_train, tts_clone]
    notice: test v1
    controller: nobody
    given_on: 2026-01-01
prepare: {purpose: asr_train, split: {by: sentence, exact: true}}
train: {family: whisper, base: ./base}
"""
WORDS = ["ⴰⵣⵓⵍ", "ⴰⵎⴰⵏ", "ⴰⵖⵔⵓⵎ", "ⵜⴰⴷⴷⴰⵔⵜ", "ⴰⵙⵉⴼ", "ⵉⴳⵏⵏⴰ", "ⵜⴰⴼⵓⴽⵜ", "ⴰⵢⵢⵓⵔ", "ⵉⵜⵔⵉ", "ⴰⴽⴰⵍ", "ⵜⴰⵎⵓⵔⵜ", "ⴰⵡⴰⵍ"]


@pytest.fixture
def corpus(tmp_path: Path) -> Recipe:
    """Twelve clips of two speakers, ingested and prepared."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    table = ["file,text,speaker"]
    for number, word in enumerate(WORDS):
        soundfile.write(folder / f"{number}.wav", babble(1.2, pitch_hz=100 + 5 * number), 16_000)
        table.append(f"{number}.wav,{word} {word},{'amina' if number % 2 else 'brahim'}")
    (folder / "metadata.csv").write_text("\n".join(table), encoding="utf-8")
    (tmp_path / "corpus.yaml").write_text(CORPUS, encoding="utf-8")
    recipe = load(tmp_path / "corpus.yaml")
    assert ingest.main(recipe) == 0 and prepare_script.main(recipe) == 0
    return recipe


@pytest.fixture
def adapter(corpus: Recipe) -> Path:
    """A stand-in for what training leaves: a folder with its lineage, noted in the ledger."""
    folder = corpus.folder("train") / "adapter"
    folder.mkdir(parents=True)
    (folder / "lineage.json").write_text("{}", encoding="utf-8")
    name = file_digest(folder / "lineage.json")
    dataset.register(corpus, "adapter", name, folder, parents=[dataset.dataset_hash(corpus)])
    return folder


def run(recipe: Recipe, code: str, *purposes: str) -> int:
    return withdraw.main(recipe, argparse.Namespace(code=code, purpose=list(purposes) or None))


def audio_of(recipe: Recipe) -> list[Path]:
    return list((recipe.folder("collect") / "audio").glob("*/*"))


def test_a_withdrawal_reaches_recordings_dataset_and_adapter(
    corpus: Recipe, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(corpus, "amina") == 0
    out = capsys.readouterr().out
    assert "6 recordings were made unreadable" in out and "dataset: replaced or deleted by" in out
    assert "python -m train RECIPE" in out
    with open_ledger(corpus) as ledger:
        assert {clip.speaker for clip in ledger.clips()} == {"brahim"} and len(audio_of(corpus)) == 6
        assert [event.state for event in ledger.consents("amina")] == ["granted", "withdrawn", "erased"]
        assert [task.kind for task in ledger.tasks()].count("adapter") == 1
    with pytest.raises(UserError, match="dataset: made from recordings that were withdrawn since; run:"):
        dataset.open_dataset(corpus)
    with pytest.raises(UserError, match=r"adapter: made from recordings that were withdrawn"):
        refuse_withdrawn(adapter, "train again")
    assert is_withdrawn(adapter.parent)  # features and checkpoints


def test_status_closes_what_was_made_anew_and_lists_the_rest(
    corpus: Recipe, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(corpus, "amina")
    assert ingest.main(corpus) == 1  # her rows are refused: the table still names her
    assert prepare_script.main(corpus) == 0
    assert len(dataset.open_dataset(corpus)["train"]) < 12
    capsys.readouterr()
    assert run(corpus, "status") == 0
    out = capsys.readouterr().out
    assert "1 pending, 1 done" in out and str(adapter) in out
    (adapter / "lineage.json").write_text("[]", encoding="utf-8")
    run(corpus, "status")
    assert "0 pending, 2 done" in capsys.readouterr().out


def test_ingesting_again_brings_nothing_back(corpus: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    run(corpus, "amina")
    assert ingest.main(corpus) == 1
    assert "the consent of amina (erased) does not cover store_prepare" in capsys.readouterr().out
    assert len(audio_of(corpus)) == 6


def test_one_purpose_can_be_withdrawn_and_touches_only_what_served_it(corpus: Recipe, adapter: Path) -> None:
    run(corpus, "amina", "tts_clone")
    with open_ledger(corpus) as ledger:
        assert ledger.consents("amina")[-1].purposes == ["store_prepare", "asr_train"] and not ledger.tasks()
    dataset.open_dataset(corpus)
    run(corpus, "amina", "asr_train")
    with open_ledger(corpus) as ledger:
        assert len(ledger.tasks()) == 2 and len(list(ledger.clips("amina"))) == 6
    with pytest.raises(UserError, match="withdrawn"):
        dataset.open_dataset(corpus)


def test_a_code_of_a_receipt_is_enough(corpus: Recipe) -> None:
    with open_ledger(corpus) as ledger:
        ledger.add_code("brahim", "KTBQ-7M2X-9RWD")
    run(corpus, "ktbq-7m2x-9rwd")
    with open_ledger(corpus) as ledger:
        assert ledger.consents("brahim")[-1].state == "erased"
    with pytest.raises(UserError, match="KTBQ-7M2X-9RWX: no such code"):
        run(corpus, "KTBQ-7M2X-9RWX")


def test_twice_is_once(corpus: Recipe) -> None:
    run(corpus, "amina")
    with open_ledger(corpus) as ledger:
        before = ledger.end(), ledger.tasks()
    run(corpus, "amina")
    with open_ledger(corpus) as ledger:
        assert (ledger.end(), ledger.tasks()) == before


@pytest.mark.parametrize("stop", ["plan", "erase"])
def test_an_interrupted_withdrawal_is_finished_by_status(
    corpus: Recipe, stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collect.ledger import Ledger

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, stop, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(corpus, "amina")
    with open_ledger(corpus) as ledger:
        assert not any(ledger.permit(clip, "asr_train") for clip in ledger.clips("amina"))  # blocked all the same
        settle(ledger)
        assert ledger.consents("amina")[-1].state == "erased"
        assert len(ledger.tasks()) == 1 and len(audio_of(corpus)) == 6


@pytest.mark.parametrize("language", ["en", "fr", "ary", "zgh", "zgh-Latn"])
def test_the_receipt_speaks_the_languages_of_the_booth(corpus: Recipe, language: str) -> None:
    with open_ledger(corpus) as ledger:
        told = withdraw.withdraw(ledger, "amina").text(language)
        assert str(ledger.receipt(ledger.number_of("amina", "withdrawn"))) in told
    assert "{" not in told and "6" in told


def test_a_thousand_clips_of_which_300_are_forbidden(tmp_path: Path) -> None:
    """Whatever asks, through the one door, gets the permitted ones and no other."""
    draw, opened = random.Random(5), []
    for recipe in _thousand(tmp_path):
        with open_ledger(recipe) as ledger:
            clips = list(ledger.clips())
            forbidden = {clip.id for clip in clips if clip.speaker in ("s7", "s8", "s9")}
            for speaker, purpose in (("s7", None), ("s8", ["asr_train"]), ("s9", ["store_prepare"])):
                withdraw.withdraw(ledger, speaker, purpose)
            for clip in draw.sample(clips, len(clips)):
                try:
                    ledger.audio(clip, "asr_train")
                    opened.append(clip.id)
                except UserError:
                    continue
        assert len(clips) == 1000 and len(forbidden) == 300
        assert len(opened) == 700 and not forbidden & set(opened)


def _thousand(folder: Path) -> Iterator[Recipe]:
    """A recipe whose ledger holds a thousand clips of ten speakers."""
    from collect.ledger import Speaker
    from tests.test_ledger import SOUND, clip, granted

    path = folder / "corpus.yaml"
    path.write_text(CORPUS, encoding="utf-8")
    recipe = load(path)
    with open_ledger(recipe) as ledger:
        for number in range(10):
            ledger.enrol(Speaker(code=f"s{number}"), granted(f"s{number}"))
        for number in range(1000):
            one = clip("a", f"s{number % 10}").model_copy(update={"id": f"{number:064x}"})
            ledger.add(one, SOUND)
        ledger.register(Artefact(id="d", kind="label_studio", place="x"), clips=[f"{n:064x}" for n in range(1000)])
    yield recipe
