"""Arabizi in Arabic script: what is sure is written, what is not is kept and listed."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prepare.text import lexicon
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
        ("mo3alaja", "معالجة"),
        ("ma3ndhomch", "ماعندهومش"),
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


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("دار", "word"),
        ("وفلمدرسا", "inflected"),
        ("كنكتبوهم", "inflected"),
        ("مغلبتش", "inflected"),
        ("مغلبت", "unknown"),  # no negation without ش
        ("قزذف", "unknown"),
    ],
)
def test_a_word_is_known_alone_or_with_particles_and_endings(key: str, what: str) -> None:
    assert lexicon.known(key) == what


def test_the_model_of_letters_is_a_distribution() -> None:
    letters = {letter for word in lexicon.words() for letter in word} | {"$"}
    chances = [math.exp(-lexicon.letters().surprise("كت", letter)) for letter in letters]
    assert 0.9 < sum(chances) <= 1.0
    assert lexicon.letters().surprise("كتا", "ب") < lexicon.letters().surprise("كتا", "ظ")


def test_of_accepted_spellings_the_usual_one_is_written() -> None:
    assert read_word("kanmchi").text == "كنمشي"
    assert read_word("lktab").text == "الكتاب"


def test_digits_and_signs_pass_through() -> None:
    assert to_arabic("12:30, 50%").text == "12:30, 50%"
    assert to_arabic("ماشي Latin").unsure == () or "ماشي" in to_arabic("ماشي Latin").text


@settings(deadline=None)  # the first word waits for the lexicon
@given(st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzTSDZH23579'8é "), max_size=14))
def test_any_word_is_read_without_a_fault(text: str) -> None:
    done = to_arabic(text)
    assert all(0 <= guess.confidence <= 1 for _, guess in done.unsure)
    assert to_arabic(text) == done
