"""Practice speech: what is read, how letters sound, and that the sample corpus can be made again."""

import csv
import shutil
from pathlib import Path

import pytest
import soundfile

from collect import synthetic
from recipes.schema import UserError, load
from tests.conftest import ROOT, needs

DEMO = load(ROOT / "recipes" / "demo.yaml")
SAMPLE = ROOT / "recipes" / "sample"


@pytest.mark.parametrize(
    ("word", "sounds"),
    [
        ("كتب", "kt@b"),  # a schwa where Darija has one
        ("راني", "Ra:ni:"),
        ("ديال", "dja:l"),  # ي before a vowel is a consonant
        ("ڭالس", "ga:l@s"),
        ("و", "w@"),
        ("ⵜⴰⵎⵖⵔⴰ", "tam@QRa"),
        ("ⵓⴳⴳⵯⵓⵔ", "ug@gwuR"),
        ("؟", ""),
    ],
)
def test_letters_become_phonemes(word: str, sounds: str) -> None:
    assert synthetic.phonemes(word) == sounds


def test_every_letter_of_the_texts_has_a_sound() -> None:
    for path in (ROOT / "recipes" / "text").glob("*.txt"):
        for letter in set(path.read_text(encoding="utf-8")) - set(" .,?!،؟\n"):
            assert synthetic.phonemes(letter), f"{path.name}: {letter}"


def test_no_sentence_of_one_text_is_in_another() -> None:
    texts = {
        p.name: set(p.read_text(encoding="utf-8").splitlines()) for p in (ROOT / "recipes" / "text").glob("*.txt")
    }
    for name, lines in texts.items():
        for other in set(texts) - {name}:
            assert not lines & texts[other], f"{name} and {other}"


def test_shuffled_sentences_are_the_same_each_time_and_hold_known_words() -> None:
    known = ["a b c d", "e f g h"]
    made = synthetic.shuffled(known, 5, seed=1)
    assert made == synthetic.shuffled(known, 5, seed=1) != synthetic.shuffled(known, 5, seed=2)
    assert {word for text in made for word in text.split()} <= set("abcdefgh")


def test_the_sample_corpus_is_what_its_recipe_makes() -> None:
    assert DEMO.collect.synthetic
    rows = [tuple(row.values()) for row in csv.DictReader((SAMPLE / "metadata.csv").read_text("utf-8").splitlines())]
    assert rows == list(synthetic.readings(DEMO.collect.synthetic, DEMO.seed))
    assert {path.name for path in (SAMPLE / "clips").iterdir()} == {Path(file).name for file, *_ in rows}
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) <= 4 * 2**20
    for row in csv.DictReader((SAMPLE / "consents.csv").read_text("utf-8").splitlines()):
        assert row["synthetic"] == "true" and row["speaker"].startswith("synthetic-")


@needs("espeak-ng")
def test_speech_is_made_once(tmp_path: Path) -> None:
    synthetic.speak("ⴰⵣⵓⵍ ⴰ ⴱⴰⴱⴰ", "ar+f5 -s 140", tmp_path / "x.flac")
    samples, rate_hz = soundfile.read(tmp_path / "x.flac")
    assert rate_hz == 16_000 and len(samples) > 8_000 and not list(tmp_path.glob("*.part"))
    with pytest.raises(UserError, match="could not speak with voice `zzqq`"):
        synthetic.speak("ⴰⵣⵓⵍ", "zzqq", tmp_path / "y.flac")


def test_without_espeak_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert DEMO.collect.synthetic
    with pytest.raises(UserError, match="espeak-ng is not installed: apt install espeak-ng"):
        synthetic.speak_all(DEMO.collect.synthetic, [], tmp_path)
