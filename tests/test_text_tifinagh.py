"""Tifinagh ⇄ Latin: what is defined both ways, and that nothing is lost."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare.text.tifinagh import ALPHABET, to_latin, to_tifinagh, unwritable
from tests.conftest import ROOT, SHARED, needs_shared

LATIN = to_latin(ALPHABET)


@pytest.mark.parametrize(
    ("tifinagh", "latin"),
    [
        ("ⴰⵣⵓⵍ ⴼⵍⵍⴰⵡⵏ", "azul fllawn"),
        ("ⴰⵙⴳⴳⵯⴰⵙ", "asggʷas"),  # labialised and geminated
        ("ⵜⴰⵎⴽⵯⴰⵔⵜ", "tamkʷart"),
        ("ⵚⴹⵉⵚ ⴷ ⵜⵥⴰ", "ṣḍiṣ d tẓa"),  # emphatics
        ("ⴰⵖⵕⵓⵎ, ⴰⴼⵓⵙ: ⴰⵄⴱⴱⵓⴹ!", "aɣṛum, afus: aɛbbuḍ!"),
        ("ⵜⴰⵇⴱⴰⵢⵍⵉⵜ ⵞ ⵠ ⵒ ⵧ", "taqbaylit č v p o"),
        ("ⵔⵉⵖ weekend ⴰⴷ", "riɣ ⟨weekend⟩ ad"),  # a Latin word stays one
        ("ⴳ Πληροφορία 2015", "g Πληροφορία 2015"),  # other scripts stay as they are
    ],
)
def test_both_ways(tifinagh: str, latin: str) -> None:
    assert to_latin(tifinagh) == latin
    assert to_tifinagh(latin) == tifinagh


def test_capitals_and_combining_marks_are_read() -> None:
    assert to_tifinagh("Iḥeqqa tekkateḍ") == "ⵉⵃⴻⵇⵇⴰ ⵜⴻⴽⴽⴰⵜⴻⴹ"
    assert to_tifinagh("ih\u0323eqqa") == "ⵉⵃⴻⵇⵇⴰ"


@given(st.text(st.sampled_from(ALPHABET + "wWeékéⴱ ,.?!-–«»'0123456789سΩ🙂\n")))
def test_tifinagh_comes_back_exactly(text: str) -> None:
    assert to_tifinagh(to_latin(text)) == text


@given(st.text(st.sampled_from(LATIN + " ,.?!-0123456789")))
def test_latin_comes_back_exactly(text: str) -> None:
    assert to_latin(to_tifinagh(text)) == text


def test_what_is_not_defined_is_said() -> None:
    assert unwritable("azul ⟨weekend⟩") == ""
    assert unwritable("Azul, Zoé!") == "é"
    with pytest.raises(ValueError, match="⟨ marks Latin words"):
        to_latin("ⴰ⟨b")


@needs_shared("data")
def test_every_real_line_comes_back_exactly() -> None:
    lines = (SHARED / "data/parallel_text_seed/seed/zgh_Tfng").read_text(encoding="utf-8").splitlines()
    with open(SHARED / "data/tamazight_speech/metadata.csv", encoding="utf-8") as file:
        lines += [row["text"] for row in csv.DictReader(file)]
    lines += (ROOT / "recipes/text/tamazight.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 7000
    assert [line for line in lines if to_tifinagh(to_latin(line)) != line] == []
