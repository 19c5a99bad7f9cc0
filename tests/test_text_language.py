"""Which language each word is in, and what in a transcript is not what its tag says."""

import csv

import pytest

from prepare.text.language import findings, tag
from recipes.records import Language
from tests.conftest import ROOT, SHARED, needs_shared

STANDARD = """ذهبت إلى السوق لأنني أريد أن أشتري الخبز
هذا هو الكتاب الذي قرأته أمس
سوف نسافر إلى مراكش عندما تنتهي الدراسة
لماذا لم تذهبوا إلى المدرسة هذا الصباح
يجب علينا أن نحافظ على البيئة منذ الآن
قالت الأم لأطفالها إنها ليست غاضبة منهم
لا أستطيع أن أنام لأن الجيران يتحدثون كثيرا
التقينا بالرجال الذين بنوا هذه الدار الجميلة
أين تسكنون الآن وماذا تفعلون
يعتبر المغرب من الدول التي تقع في شمال إفريقيا
لقد وصلت الطائرة قبل أن نخرج من البيت
نحن نحب هذه المدينة لأنها هادئة جدا
سيكون الجو جميلا غدا وستشرق الشمس
لن أنسى ذلك اليوم ما دمت حيا
هؤلاء الأولاد يلعبون بالكرة في الشارع كل يوم
أخذت الدواء لكنه لم ينفعني حتى الآن""".splitlines()


@pytest.mark.parametrize("text", STANDARD)
def test_standard_arabic_under_a_darija_tag_is_found(text: str) -> None:
    [found] = findings(text, "ary-Arab")
    assert found.kind == "other language" and "Modern Standard Arabic, not Darija (" in found.reason


@pytest.mark.parametrize(
    ("language", "text", "reason"),
    [
        ("ary-Latn", "Bonjour tout le monde, vous allez bien?", "other language: French (bonjour, tout, le, monde)"),
        ("ary-Latn", "I want to go home now please", "other language: English (want, go, home, now)"),
        ("zgh-Latn", "je suis très content avec vous", "other language: French (je, très, avec, vous)"),
        (
            "shi-Arab",
            "هاد الشي ديال خويا كاين فالدار",
            "other language: Arabic, not Tamazight (هاد, ديال, خويا, كاين)",
        ),
        ("ary-Arab", "زوين 🙂🙂 بزاف", "emoji: 🙂"),
        ("ary-Arab", "زوين بزاف :)", "emoji: :)"),
        ("ary-Arab", "شوفو https://a.ma/b", "link: 'https://a.ma/b' is not read aloud as it is written"),
        ("ary-Arab", "شكرا @karim_99 بزاف", "link: '@karim_99' is not read aloud as it is written"),
        ("ary-Arab", "كلمة δῆμος", "Greek or Cyrillic word: 'δῆμος', taken as 'dimos'"),
        ("ary-Latn", "chof bit.ly/a2", "link: 'bit.ly/a2' is not read aloud as it is written"),
        ("ary-Latn", "dkhel l hespress.com", "link: 'hespress.com' is not read aloud as it is written"),
    ],
)
def test_what_is_found_has_a_reason(language: Language, text: str, reason: str) -> None:
    assert reason in [finding.reason for finding in findings(text, language)]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("ary-Arab", "شفت l'équipe ديال weekend فالتلفزة"),
        ("ary-Arab", "قال ليا أن هذا الشي اللي كاين"),  # two words of the school, four of the street
        ("ary-Arab", "أين؟"),  # one word says nothing
        ("ary-Latn", "ghadi ndir le stage f la société dyali"),
        ("zgh-Tfng", "ⴰⵣⵓⵍ ⴼⵍⵍⴰⵡⵏ"),
        ("kab-Latn", "Ssnent ad wtent apyanu"),
    ],
)
def test_what_is_as_its_tag_says(language: Language, text: str) -> None:
    assert findings(text, language) == []


def test_none_of_our_own_sentences_is_taken_for_another_language() -> None:
    for name, language in (("darija.txt", "ary-Arab"), ("tamazight.txt", "zgh-Tfng")):
        for line in (ROOT / "recipes" / "text" / name).read_text(encoding="utf-8").splitlines():
            assert findings(line, language) == [], line  # type: ignore[arg-type]


@needs_shared("data/darija_text_doda")
def test_real_arabizi_is_not_taken_for_french_or_english() -> None:
    with open(SHARED / "data/darija_text_doda/sentences.csv", encoding="utf-8") as file:
        lines = [row["darija"] for row in csv.DictReader(file)]
    assert sum(bool(findings(line, "ary-Latn")) for line in lines) <= len(lines) / 1000


def test_every_word_is_tagged() -> None:
    words = tag("شفت l’équipe فالـTélé و un meeting 25 مزيان, blabla", "ary-Arab")
    assert [(word.word, word.script, word.language) for word in words] == [
        ("شفت", "Arab", "ary"),
        ("l'équipe", "Latn", "fra"),
        ("فالtélé", "mixed", "fra"),
        ("و", "Arab", "ary"),
        ("un", "Latn", "fra"),
        ("meeting", "Latn", "eng"),
        ("25", "none", "zxx"),
        ("مزيان", "Arab", "ary"),
        ("blabla", "Latn", "und"),
    ]
    assert [word.language for word in tag("ghadi ndir le stage f casa", "ary-Latn")] == [
        "ary",
        "ary",
        "fra",
        "fra",
        "ary",
        "ary",
    ]
    assert [word.language for word in tag("riɣ la réunion n wass", "shi-Latn")] == ["shi", "shi", "fra", "shi", "shi"]
