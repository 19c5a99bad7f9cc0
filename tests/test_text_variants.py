"""Accepted spellings: what counts as the same word when a recogniser is scored, and what does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare.text import variants
from prepare.text.rules import failures
from recipes.records import LANGUAGES, Language


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_rule_does_what_its_cases_say(language: Language) -> None:
    assert failures(variants.rules_of(language)) == []


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("ary-Arab", "ما بغيتش نمشي", "مابغيتش نمشي"),
        ("ary-Arab", "مبغيتش نمشي", "مابغيتش نمشي"),
        ("ary-Arab", "هاد الشي ديال الدار", "هذ الشي ديل لدار"),
        ("ary-Arab", "قال ليا", "ڭال ليا"),
        ("ary-Arab", "كانهضر معاهم", "كنهضر معاهوم"),
        ("ary-Arab", "ثلاثة و ربعة", "تلاتة وأربعة"),
        ("ary-Arab", "مشاوا للمدرسة", "مشاو للمدرسا"),
        ("ary-Arab", "الپاركينڭ", "الباركينك"),
        ("ary-Latn", "wach bghiti tmchi l souq", "wash bghiti temchi l sou9"),
        ("ary-Latn", "mezyan bzzaf dyal nas", "mzian bzaf diyal nass"),
        ("ary-Latn", "sba7 lkhir", "sbah lkhir"),
        ("zgh-Tfng", "ⴰⵙⴻⴳⴳⵯⴰⵙ ⵏ ⵕⴱⴱⵉ", "ⴰⵙⴳⴳⴰⵙ ⵏ ⵔⴱⴱⵉ"),
        ("kab-Latn", "Aseggʷas ameqqran", "asegwas ameqqran".replace("gw", "ggʷ")),
        ("shi-Latn", "ṣḍiṣ n iḥmaḍn", "sdis n ihmadn"),
    ],
)
def test_one_word_in_two_spellings(language: Language, one: str, other: str) -> None:
    assert variants.same(one, other, language)


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("ary-Arab", "ولدي", "والدي"),  # my son, my father
        ("ary-Arab", "كنت", "كانت"),  # I was, she was
        ("ary-Arab", "كنقول", "تنقول"),  # said differently, by region
        ("ary-Arab", "قلب", "كلب"),  # heart, dog
        ("ary-Arab", "دار", "ضار"),
        ("ary-Arab", "طاب", "تاب"),
        ("ary-Arab", "مشا", "مشات"),
        ("ary-Latn", "dar", "dart"),
        ("zgh-Tfng", "ⵉⵥⵉ", "ⵉⵣⵉ"),
        ("zgh-Tfng", "ⴰⴹⴰⵕ", "ⴰⴷⴰⵕ"),
        ("kab-Latn", "aɣrum", "agrum"),
    ],
)
def test_two_words_stay_two(language: Language, one: str, other: str) -> None:
    assert not variants.same(one, other, language)


def test_the_accepted_spellings_of_a_word() -> None:
    assert variants.accepted("مدرسة", "ary-Arab") >= {"مدرسة", "مدرسه", "مدرسا"}
    assert variants.accepted("هاد", "ary-Arab") >= {"هاد", "هد", "هاذ"}
    assert variants.accepted("mr7ba", "ary-Latn") == {"mr7ba", "mrhba"}
    assert variants.accepted("ⵕⴱⴱⵉ", "zgh-Tfng") == {"ⵕⴱⴱⵉ", "ⵔⴱⴱⵉ"}


@given(st.text(st.sampled_from("اأةىهوهمكلنيتشقڭمغفدذثظ ديالabchouy73eⴰⵯⵕⵔⴻ")), st.sampled_from(LANGUAGES))
def test_a_word_is_among_its_own_spellings(text: str, language: Language) -> None:
    for word in variants.normalise(text, language).split():
        found = variants.accepted(word, language)
        assert word in found and all(variants.same(word, other, language) for other in found)
