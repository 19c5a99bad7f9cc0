"""Withdrawal: at once, everywhere, with a receipt; and the stages refuse what was made from the voice that left."""

import argparse
import os
from hashlib import sha256
from pathlib import Path

import pytest
import soundfile

import prepare.__main__ as prepare_script
from collect import ingest, vault, withdraw
from collect.consent import Event
from collect.ledger import Ledger, Speaker, open_ledger
from collect.withdraw import settle
from evaluate.edge import __main__ as edge
from prepare import dataset
from recipes.provenance import file_digest, is_withdrawn, refuse_withdrawn
from recipes.schema import Recipe, UserError, load
from tests.babble import babble
from tests.test_ledger import clip, granted

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


def test_a_withdrawal_reaches_what_was_exported_for_devices(
    corpus: Recipe, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = corpus.folder("evaluate") / "edge"
    folder.mkdir(parents=True)
    (folder / "lineage.json").write_text("{ }", encoding="utf-8")
    edge.note(corpus, folder)
    assert run(corpus, "amina") == 0
    assert "recall it from devices: python -m evaluate.edge RECIPE" in capsys.readouterr().out
    assert is_withdrawn(folder)


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


def test_the_receipt_calls_purposes_as_the_speaker_was_told(corpus: Recipe) -> None:
    with open_ledger(corpus) as ledger:
        receipt = withdraw.withdraw(ledger, "amina", ["tts_clone"])
    assert "- tts_clone" in receipt.text("fr")
    assert "- Une voix qui me ressemble" in receipt.text("fr", {"tts_clone": "Une voix qui me ressemble"})


CLIPS = int(os.environ.get("TWIZA_CLIPS", "200"))  # 1,000 in the slow test


@pytest.mark.parametrize("count", [CLIPS, pytest.param(1000, marks=pytest.mark.slow)])
def test_of_many_clips_the_forbidden_third_is_never_opened(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three speakers of ten withdraw, each in another way; the dataset is then made from what is left."""
    recipe = crowd(tmp_path, count)
    with open_ledger(recipe) as ledger:
        clips = list(ledger.clips())
        forbidden = {clip.id for clip in clips if clip.speaker in ("s7", "s8", "s9")}
        withdraw.withdraw(ledger, "s7")
        withdraw.withdraw(ledger, "s8", ["asr_train"])
        ledger.record(event_of(ledger, "s9", "suspended"))
    opened: list[str] = []
    get = vault.get
    monkeypatch.setattr(vault, "get", lambda *words: opened.append(words[3]) or get(*words))
    prepare_script.main(recipe)
    made = {name for split in dataset.open_dataset(recipe).values() for name in split["clip"]}
    assert len(clips) == count and len(forbidden) == 3 * count // 10
    assert made and not made & forbidden
    assert set(opened) == {clip.id for clip in clips} - forbidden
    with open_ledger(recipe) as ledger:  # nor by asking the door itself
        for clip in clips:
            if clip.id in forbidden:
                with pytest.raises(UserError):
                    ledger.audio(clip, "asr_train")


def event_of(ledger: Ledger, speaker: str, state: str) -> Event:
    """The event that puts a speaker's record into another state, with the same purposes."""
    last = ledger.consents(speaker)[-1]
    return last.model_copy(update={"state": state, "at": ledger.now(), "recorded": None})


def crowd(folder: Path, count: int) -> Recipe:
    """A recipe whose ledger holds so many clips of ten speakers."""
    (folder / "corpus.yaml").write_text(CORPUS, encoding="utf-8")
    recipe = load(folder / "corpus.yaml")
    sound = babble(0.8)
    with open_ledger(recipe) as ledger:
        for number in range(10):
            ledger.enrol(Speaker(code=f"s{number}"), granted(f"s{number}"))
        batch = []
        for number in range(count):
            text = f"{WORDS[number % 12]} {WORDS[number // 12 % 12]} {WORDS[number // 144 % 12]}"
            facts = {"id": sha256(f"{number}".encode()).hexdigest(), "transcript": text, "language": "zgh-Tfng"}
            one = clip("a", f"s{number % 10}").model_copy(update={**facts, "duration_s": len(sound) / 16_000})
            batch.append((one, sound[:, None]))
        ledger.add_all(batch)
    return recipe
