"""Arabizi in Arabic script: what is sure is written, what is not is kept and listed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare.text.arabizi import SURE, read_word, to_arabic
from prepare.text.variants import same


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("salam", "سلام"),
        ("3lach", "علاش"),
        ("bghit", "بغيت"),
        ("9ahwa", "قهوة"),
        ("khobz", "خبز"),
        ("5obz", "خبز"),
        ("lkhobz", "الخبز"),
        ("ddar", "الدار"),
        ("ssou9", "السوق"),
        ("mdrasa", "مدرسة"),
        ("makaynch", "ماكاينش"),
        ("kanmchi", "كنمشي"),
        ("ghadi", "غادي"),
        ("Tbib", "طبيب"),
        ("Sba7", "صباح"),
        ("7anout", "حانوت"),
        ("gals", "ڭالس"),
        ("b7alha", "بحالها"),
        ("dyalhom", "ديالهم"),
    ],
)
def test_words_everybody_writes(written: str, read: str) -> None:
    assert same(read_word(written).text, read, "ary-Arab")


def test_french_and_english_stay_and_so_does_what_is_unsure() -> None:
    done = to_arabic("salam, bghit le rendez-vous m3a tbib f centre, xqzpt!")
    assert done.text.startswith("سلام, بغيت le rendez-vous مع طبيب ف")
    assert "xqzpt" in done.text
    assert [word for word, _ in done.unsure] == [word for word in ("centre", "xqzpt") if word in done.text]


def test_a_guess_says_how_sure_it_is_and_what_else_it_may_be() -> None:
    guess = read_word("dar")
    assert guess.sure and guess.confidence >= SURE
    unsure = read_word("mar")  # مر or مار
    assert not unsure.sure and unsure.others


def test_digits_and_signs_pass_through() -> None:
    assert to_arabic("12:30, 50%").text == "12:30, 50%"
    assert to_arabic("ماشي Latin").unsure == () or "ماشي" in to_arabic("ماشي Latin").text


@given(st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzTSDZH23579'8é "), max_size=14))
def test_any_word_is_read_without_a_fault(text: str) -> None:
    done = to_arabic(text)
    assert all(0 <= guess.confidence <= 1 for _, guess in done.unsure)
    assert to_arabic(text) == done
