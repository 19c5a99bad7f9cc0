"""The dataset out: as Parquet with card and metadata, checked, published only with every consent, and withdrawn."""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import soundfile
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import prepare.__main__ as prepare_script
from collect import ingest, withdraw
from collect.consent import Event
from collect.ledger import open_ledger
from prepare import croissant, dataset, export, figures, push, terms, verify
from prepare.card import COLUMNS
from recipes.provenance import is_withdrawn
from recipes.records import Purpose
from recipes.schema import Recipe, UserError, load
from tests.babble import babble
from tests.conftest import ROOT
from tests.test_withdraw import CORPUS, WORDS

OPEN = "store_prepare, asr_train, publish_audio, transfer_abroad, commercial"
Make = Callable[..., Recipe]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Twelve clips of two speakers, ingested and prepared, with the purposes and the notice that are given."""

    def made(purposes: str = OPEN, notice: str = "CC0-1.0") -> Recipe:
        folder = tmp_path / "recordings"
        folder.mkdir()
        table = ["file,text,speaker,gender"]
        for number, word in enumerate(WORDS):
            soundfile.write(folder / f"{number}.wav", babble(1.2, pitch_hz=100 + 5 * number), 16_000)
            table.append(f"{number}.wav,{word} {word},{('brahim,male', 'amina,female')[number % 2]}")
        (folder / "metadata.csv").write_text("\n".join(table), encoding="utf-8")
        text = CORPUS.replace("store_prepare, asr_train, tts_clone", purposes).replace("test v1", notice)
        (tmp_path / "corpus.yaml").write_text(text, encoding="utf-8")
        recipe = load(tmp_path / "corpus.yaml")
        assert ingest.main(recipe) == 0 and prepare_script.main(recipe) == 0
        return recipe

    return made


def publish(recipe: Recipe, to: Path | str, go: bool = True, take_down: bool = False) -> int:
    return push.main(recipe, argparse.Namespace(to=str(to), go=go, public=False, take_down=take_down))


def take_back(recipe: Recipe, code: str, *purposes: Purpose) -> None:
    with open_ledger(recipe) as ledger:
        withdraw.withdraw(ledger, code, list(purposes) or None)


def settled(recipe: Recipe) -> dict[str, list[str]]:
    """Kinds of the tasks of withdrawals, by their state."""
    with open_ledger(recipe) as ledger:
        withdraw.settle(ledger)
        found: dict[str, list[str]] = {}
        for task in ledger.tasks():
            found.setdefault(task.state, []).append(task.kind)
    return {state: sorted(kinds) for state, kinds in found.items()}


# ---------------------------------------------------------------- Parquet


def test_the_export_is_a_dataset_that_the_hub_s_library_opens_by_its_card(make: Make, tmp_path: Path) -> None:
    import datasets

    recipe = make()
    export.main(recipe)
    datasets.disable_progress_bars()
    opened = datasets.load_dataset(str(export.folder_of(recipe)), cache_dir=str(tmp_path / "cache"))
    datasets.enable_progress_bars()
    made = dataset.open_dataset(recipe)
    assert {split: len(rows) for split, rows in opened.items()} == {split: len(rows) for split, rows in made.items()}
    assert isinstance(opened["train"].features["audio"], datasets.Audio)
    for split, rows in made.items():
        heard = opened[split].cast_column("audio", datasets.Audio(decode=False))
        for row, out in zip(rows, heard, strict=True):
            assert out["audio"]["bytes"] == row["audio"] and out["audio"]["path"] == f"{row['id']}.flac"
            hidden = {"audio", "speaker", "gender"}
            assert {key: out[key] for key in row if key not in hidden} == {
                key: row[key] for key in row if key not in hidden
            }


def test_nobody_s_code_or_path_is_in_it(make: Make) -> None:
    recipe = make(f"{OPEN}, profile_data")
    assert {row["gender"] for row in dataset.open_dataset(recipe)["train"]} == {"female", "male"}
    export.main(recipe)
    folder = export.folder_of(recipe)
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for secret in (b"amina", b"brahim", b"female", str(recipe.work_dir).encode()):
            assert secret not in content, path
    rows = list(csv.DictReader((folder / "speakers.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["utterances"] for row in rows] == ["6", "6"]
    before = {row["speaker"] for row in rows}
    shutil.rmtree(folder.resolve())
    export.main(recipe)
    assert before == {line.split(",")[0] for line in (folder / "speakers.csv").read_text().splitlines()[1:]}
    assert ((recipe.folder("prepare") / "export.salt").stat().st_mode & 0o777) == 0o600


def test_exporting_twice_writes_once(make: Make) -> None:
    recipe = make()
    export.main(recipe)
    first = {path: path.stat().st_mtime_ns for path in export.folder_of(recipe).rglob("*")}
    export.main(recipe)
    assert {path: path.stat().st_mtime_ns for path in export.folder_of(recipe).rglob("*")} == first
    assert dataset.verify(recipe) == [] and len(dataset.open_dataset(recipe)["train"]) == 10


def test_large_splits_become_several_files(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_SHARD_BYTES", 60_000)
    recipe = make()
    export.main(recipe)
    names = sorted(path.name for path in (export.folder_of(recipe) / "data").glob("train-*"))
    assert len(names) > 1 and names[0].endswith(f"-of-{len(names):05}.parquet")
    assert verify.main(recipe) == 0


# ---------------------------------------------------------------- card and metadata


def test_the_card_s_front_matter_is_the_hub_s(make: Make) -> None:
    recipe = make(f"{OPEN}, tts_multi")
    export.main(recipe)
    card = huggingface_hub.DatasetCard.load(export.folder_of(recipe) / "README.md")
    assert card.data.language == ["zgh"] and card.data.license == "cc0-1.0"
    assert card.data.task_categories == ["automatic-speech-recognition", "text-to-speech"]
    assert "No sentence is in two splits" in card.text and "| train | 10 |" in card.text
    assert "allowed by every clip: store_prepare, asr_train, tts_multi, publish_audio" in card.text
    assert "Minutes a speaker" not in card.text  # of two people, either could tell the other's


def test_croissant_names_every_file_and_column(make: Make) -> None:
    recipe = make()
    export.main(recipe)
    folder = export.folder_of(recipe)
    found = json.loads((folder / "croissant.json").read_text(encoding="utf-8"))
    assert found["conformsTo"] == ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
    for key in ("@context", "name", "description", "license", "datePublished", "version", "creator", "citeAs"):
        assert found[key]
    responsible = {key for key in found if key.startswith("rai:")}
    assert {"rai:dataCollection", "rai:dataBiases", "rai:personalSensitiveInformation"} < responsible
    assert all(found[key] for key in responsible)
    ids = {part["@id"] for part in found["distribution"]}
    assert ids == {"parquet-files", *(path.name for path in (folder / "data").iterdir())}
    columns = {field["source"]["extract"]["column"] for field in found["recordSet"][0]["field"]}
    assert columns == set(dataset.features()) - {"words", "quality", "purposes", "flags"}
    assert set(COLUMNS) == set(dataset.features())
    assert croissant.changed_files(folder, found) == []


@pytest.mark.skipif(shutil.which("mlcroissant") is None, reason="a second opinion, where mlcroissant is installed")
def test_croissant_by_its_own_validator(make: Make) -> None:
    recipe = make()
    export.main(recipe)
    path = export.folder_of(recipe) / "croissant.json"
    done = subprocess.run(["mlcroissant", "validate", "--jsonld", path], capture_output=True, text=True)
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 12).map(str), st.sampled_from(["female", "male", None]), st.sampled_from("abc")),
        max_size=40,
    ),
    st.integers(2, 5),
)
def test_no_row_and_no_table_shows_a_group_of_fewer_people(
    rows: list[tuple[str, str | None, str]], least: int
) -> None:
    quality = {"snr_db": 30.0}
    facts = {"language": "zgh-Tfng", "split": "train", "age_band": None, "region": None, "text_normalized": "a"}
    told = [
        facts | {"speaker": who, "gender": gender, "dialect": dialect, "duration_s": 1.0, "quality": quality}
        | {"clip": str(n), "rate_hz": 16_000}
        for n, (who, gender, dialect) in enumerate(rows)
    ]  # fmt: skip
    found = figures.count(told)
    shown: dict[Any, set[str]] = {}
    for row in told:
        facts_of = tuple(row[key] for key in figures.FACTS)
        out = figures.shareable(found, facts_of, least)
        known = out[: max((n + 1 for n, fact in enumerate(out) if fact), default=0)]
        if known:
            shown[known] = {r["speaker"] for r in told if tuple(r[k] for k in figures.FACTS)[: len(known)] == known}
    assert all(len(people) >= least for people in shown.values())
    assert all(count >= least for _, count, _ in figures.groups(found, least))


# ---------------------------------------------------------------- terms


def test_terms_are_what_all_clips_have_in_common(make: Make) -> None:
    recipe = make(notice="the leaflet of March")
    with open_ledger(recipe) as ledger:
        clips = {clip.id for clip in ledger.clips()}
        last = ledger.consents("amina")[-1]
        ends = ledger.now() + timedelta(days=10)
        fewer = {"state": "narrowed", "purposes": ["store_prepare", "asr_train"], "at": ledger.now(), "expires": ends}
        ledger.record(Event.model_validate(last.model_dump() | fewer | {"recorded": None, "by": "self"}))
        found = terms.resolve(ledger, clips)
        assert found.purposes == ("store_prepare", "asr_train")
        assert (found.licence, found.notices) == ("other", ("the leaflet of March",))
        assert found.until == ends.date()
        only_his = {clip.id for clip in ledger.clips("brahim")}
        assert "publish_audio" in terms.resolve(ledger, only_his).purposes
        with pytest.raises(UserError, match="1 clips of the dataset are no longer in the ledger"):
            terms.resolve(ledger, clips | {"f" * 64})


@pytest.mark.parametrize(
    ("purposes", "notice", "licence"),
    [
        (OPEN, "CC0-1.0", "cc0-1.0"),
        (OPEN, "CC BY 4.0", "cc-by-4.0"),
        (OPEN.replace(", commercial", ""), "CC BY 4.0", "other"),  # the licence would allow what the consents do not
        (OPEN.replace(", commercial", ""), "CC-BY-NC-4.0", "cc-by-nc-4.0"),
        (OPEN, "consent form v3", "other"),
    ],
)
def test_a_licence_only_where_the_basis_is_one_and_the_consents_bear_it(
    make: Make, purposes: str, notice: str, licence: str
) -> None:
    recipe = make(purposes, notice)
    export.main(recipe)
    text = (export.folder_of(recipe) / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == licence and ("license_name" in front) == (licence == "other")
    assert notice in text


# ---------------------------------------------------------------- publishing


def test_without_go_nothing_leaves(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = make()
    assert publish(recipe, tmp_path / "out", go=False) == 0
    out = capsys.readouterr().out
    assert "nothing was published" in out and "data/train-00000-of-00001.parquet" in out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lacking", ["publish_audio", "transfer_abroad"])
def test_one_clip_without_the_consent_stops_all(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], lacking: Purpose
) -> None:
    recipe = make()
    assert publish(recipe, tmp_path / "out", go=False) == 0
    take_back(recipe, "amina", lacking)
    assert publish(recipe, tmp_path / "out") == 1
    out = capsys.readouterr().out
    assert f"(1.wav): no consent for {lacking}" in out
    assert f"not published: 6 of 12 clips may not be ({lacking} 6)" in out
    assert not (tmp_path / "out").exists()


def test_the_others_can_be_published_without_them(make: Make, tmp_path: Path) -> None:
    recipe = make()
    take_back(recipe, "amina", "transfer_abroad")
    others = load(recipe.work_dir.parent / "corpus.yaml", ["prepare.also_for=[publish_audio, transfer_abroad]"])
    assert prepare_script.main(others) == 0
    left_out = [row.reason for row in dataset.read_rejected(others)]
    assert left_out == ["consent does not cover transfer_abroad"] * 6
    assert publish(others, tmp_path / "out") == 0


def test_into_a_folder_in_place_of_the_earlier_copy(make: Make, tmp_path: Path) -> None:
    recipe = make()
    assert publish(recipe, tmp_path / "out") == 0 and publish(recipe, tmp_path / "out") == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["README.md", "croissant.json", "data", "lineage.json", "speakers.csv"]
    assert [path.name for path in tmp_path.glob(".out*")] == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(UserError, match="mine: not empty and no earlier copy of a dataset"):
        publish(recipe, tmp_path / "mine")
    with pytest.raises(UserError, match="give OWNER/NAME on the hub, or a folder"):
        publish(recipe, "somewhere")


class Hub:
    """Stands in for the hub: what was asked of it, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.removed: list[str] = []

    def create_repo(self, name: str, **how: Any) -> None:
        self.calls.append(f"create {name} private={how['private']}")

    def upload_folder(self, folder_path: Path, **how: Any) -> SimpleNamespace:
        self.calls.append(f"upload, deleting {how['delete_patterns']}")
        assert (folder_path / "croissant.json").is_file()
        return SimpleNamespace(commit_url="https://hub/commit/1")

    def super_squash_history(self, name: str, **how: Any) -> None:
        self.calls.append("squash")

    def delete_repo(self, name: str, **how: Any) -> None:
        self.calls.append(f"delete {name}")

    def list_lfs_files(self, name: str, **how: Any) -> list[SimpleNamespace]:
        return [SimpleNamespace(file_oid="0" * 64, filename="data/train-00000-of-00001.parquet")]

    def permanently_delete_lfs_files(self, name: str, files: list[SimpleNamespace], **how: Any) -> None:
        self.removed += [file.file_oid for file in files]


def test_on_the_hub_the_export_is_all_there_is(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, hub = make(), Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    assert publish(recipe, "us/darija") == 0
    assert hub.calls == ["create us/darija private=True", "upload, deleting *", "squash"]
    assert hub.removed == ["0" * 64]  # a shard of before, which may hold a voice that left


def test_a_hub_that_refuses_is_one_line(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, hub = make(), Hub()

    def refuse(name: str, **how: Any) -> None:
        raise huggingface_hub.errors.LocalTokenNotFoundError("Token is required\nsee the docs")

    monkeypatch.setattr(hub, "create_repo", refuse)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    with pytest.raises(UserError, match="hub:us/darija: Token is required see the docs; log in with: hf auth login"):
        publish(recipe, "us/darija")


# ---------------------------------------------------------------- withdrawal, from end to end


def test_a_withdrawal_reaches_every_copy(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out, hub = make(), tmp_path / "out", Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    assert publish(recipe, out) == 0 and publish(recipe, "us/darija") == 0
    old = export.folder_of(recipe).resolve()
    take_back(recipe, "amina")
    assert settled(recipe) == {"pending": ["dataset", "dataset", *["published_dataset"] * 2]}
    assert is_withdrawn(export.folder_of(recipe)) and is_withdrawn(out)
    for command in (export.main, lambda recipe: publish(recipe, out)):
        with pytest.raises(UserError, match="made from recordings that were withdrawn since; run: python -m prepare"):
            command(recipe)

    prepare_script.main(recipe)
    assert not old.exists() and not list(recipe.folder("prepare").rglob("*.parquet"))[1:]  # rejected.parquet alone
    assert settled(recipe) == {"done": ["dataset", "dataset"], "pending": ["published_dataset"] * 2}

    assert publish(recipe, out) == 0 and not is_withdrawn(out)
    assert settled(recipe) == {
        "done": ["dataset"] * 2 + ["published_dataset"],
        "pending": ["published_dataset"],
    }
    assert len((out / "speakers.csv").read_text(encoding="utf-8").splitlines()) == 2
    assert publish(recipe, "us/darija") == 0
    assert "pending" not in settled(recipe)
    capsys.readouterr()
    assert verify.main(recipe) == 0


@pytest.mark.parametrize("purpose", ["transfer_abroad", "commercial"])  # its card says that it may be sold
def test_one_purpose_taken_back_asks_for_the_publication_alone(make: Make, tmp_path: Path, purpose: Purpose) -> None:
    recipe = make()
    publish(recipe, tmp_path / "out")
    take_back(recipe, "amina", purpose)
    assert settled(recipe) == {"pending": ["published_dataset"]}
    dataset.open_dataset(recipe)


def test_taking_down_closes_what_a_withdrawal_asked(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out, hub = make(), tmp_path / "out", Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    publish(recipe, out)
    publish(recipe, "us/darija")
    take_back(recipe, "amina", "publish_audio")
    assert publish(recipe, out, go=False, take_down=True) == 0 and out.exists()
    assert publish(recipe, out, take_down=True) == 0 and not out.exists()
    assert publish(recipe, "us/darija", take_down=True) == 0 and hub.calls[-1] == "delete us/darija"
    assert settled(recipe) == {"done": ["published_dataset"] * 2}
    with pytest.raises(UserError, match="no copy of a dataset there"):
        publish(recipe, out, take_down=True)


# ---------------------------------------------------------------- verify


def test_verify_is_quiet_about_a_whole_dataset(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = make()
    export.main(recipe)
    capsys.readouterr()
    assert verify.main(recipe) == 0
    assert "12 utterances, 0 findings" in capsys.readouterr().out


def test_verify_finds_a_consent_that_ended(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = make()
    take_back(recipe, "amina", "publish_audio")
    assert verify.main(recipe) == 1
    assert "(1.wav): no longer allows publish_audio; run: python -m prepare RECIPE" in capsys.readouterr().out
    with open_ledger(recipe) as ledger:
        last = ledger.consents("brahim")[-1]
        pause = {"state": "suspended", "at": ledger.now(), "recorded": None}
        ledger.record(Event.model_validate(last.model_dump() | pause))
    assert verify.main(recipe) == 1
    assert "(0.wav): no consent for asr_train; run: python -m prepare RECIPE" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"6 clips of the dataset, .* have no consent for asr_train any more"):
        export.main(recipe)


def test_verify_finds_a_file_that_changed(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = make()
    export.main(recipe)
    data = export.folder_of(recipe) / "data"
    (data / "test-00000-of-00001.parquet").write_bytes(b"PAR1")
    (data / "train-00007-of-00001.parquet").write_bytes(b"PAR1")
    assert verify.main(recipe) == 1
    out = capsys.readouterr().out
    assert "test-00000-of-00001.parquet: not the file that was exported" in out
    assert "train-00007-of-00001.parquet: not the file that was exported" in out and "2 findings" in out


def test_both_commands_verify(make: Make) -> None:
    recipe = make()
    path = recipe.work_dir.parent / "corpus.yaml"
    for words in (["prepare", "verify", path], ["prepare.verify", path]):
        done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and "12 utterances, 0 findings" in done.stdout, done.stderr
