"""Numbers, dates, times, prices and signs in words. The tables' own cases say most of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare.text import normalise, numbers, spoken
from prepare.text.numbers import can_count, in_words, plain
from prepare.text.spoken import spell_out
from recipes.records import LANGUAGES, Language

COUNTING = [language for language in LANGUAGES if can_count(language)]  # type: ignore[arg-type]


def test_every_case_of_the_tables_comes_out() -> None:
    assert numbers.failures() == []
    assert spoken.failures() == []


@pytest.mark.parametrize(
    ("number", "language", "said"),
    [
        (25, "ary-Arab", "خمسة وعشرين"),
        (25, "ary-Latn", "khamsa w 3achrin"),
        (25, "zgh-Tfng", "ⵙⵉⵎⵔⴰⵡ ⴷ ⵙⵎⵎⵓⵙ"),
        (25, "zgh-Latn", "simraw d smmus"),
        (25, "shi-Tfng", "ⵙⵉⵎⵔⴰⵡ ⴷ ⵙⵎⵎⵓⵙ"),
        (25, "kab-Latn", "xemsa u ɛecrin"),
        (25, "kab-Tfng", "ⵅⴻⵎⵙⴰ ⵓ ⵄⴻⵛⵔⵉⵏ"),
        ("3.05", "ary-Arab", "تلاتة فاصلة صفر خمسة"),
        ("-7", "ary-Arab", "ناقص سبعة"),
    ],
)
def test_numbers_in_words(number: int | str, language: Language, said: str) -> None:
    assert in_words(number, language) == said


def test_what_cannot_be_said_is_refused() -> None:
    with pytest.raises(ValueError, match="shi-Arab has no words"):
        in_words(3, "shi-Arab")
    with pytest.raises(ValueError, match="not counted in words"):
        in_words(10**12, "ary-Arab")
    assert spell_out("سنة 2020", "shi-Arab") == "سنة 2020"


@pytest.mark.parametrize("language", COUNTING)
def test_no_two_numbers_are_said_alike(language: Language) -> None:
    some = [
        *range(0, 2200),
        *range(9_900, 12_200, 7),
        *range(99_000, 120_000, 501),
        10**6,
        2 * 10**6,
        10**9,
        123_456_789,
    ]
    assert len({in_words(number, language) for number in some}) == len(set(some))


@given(st.integers(0, 10**12 - 1), st.sampled_from(COUNTING))
def test_a_number_in_words_has_no_digit_and_keeps_its_form(number: int, language: Language) -> None:
    said = in_words(number, language)
    assert not any(c.isdecimal() for c in said) or language == "ary-Latn"  # where 3, 7 and 9 are letters
    assert normalise(said, language) == said


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("6,193", "6193"),
        ("1 200 000", "1200000"),
        ("1.234,5", "1234.5"),
        ("19,90", "19.90"),
        ("3.5", "3.5"),
        ("0,125", "0.125"),
        ("-12", "-12"),
        ("1.2.3", None),
        ("1,23,456", None),
    ],
)
def test_groups_of_digits_are_told_from_fractions(written: str, number: str | None) -> None:
    assert plain(written) == number


def test_a_phone_number_in_french_digits() -> None:
    said = spell_out("عيط ليا ف 06 61 20 03 94", "ary-Arab", "french")
    assert said == "عيط ليا ف zéro six soixante et un vingt zéro trois quatre-vingt-quatorze"


@given(st.text(st.sampled_from("0123456789.,:/-+%()hdkmg€$ °² ×&بوددرهمⴰⵏ"), max_size=30), st.sampled_from(LANGUAGES))
def test_any_text_is_read_without_a_fault(text: str, language: Language) -> None:
    assert isinstance(spell_out(text, language), str)
