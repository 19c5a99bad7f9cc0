"""Personal data in text: what is found, what is not, and how it is masked."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare.text import personal
from prepare.text.personal import find, mask
from recipes.schema import UserError
from tests.conftest import ROOT


def test_every_case_of_the_table_comes_out() -> None:
    assert personal.failures() == []


@pytest.mark.parametrize(
    ("text", "kinds", "masked"),
    [
        ("عيط ليا ف 0612345678 عافاك", ["telephone number"], "عيط ليا ف telefon عافاك"),
        (
            "3ayt l +212 6 61 22 33 44 wla a.b@menara.ma",
            ["telephone number", "e-mail address"],
            "3ayt l telefon wla email",
        ),
        ("لاكارط BK123456", ["identity card or passport (CIN)"], "لاكارط cin"),
        ("الحساب 007 810 0001123456789012 02", ["bank account (RIB)"], "الحساب rib"),
        ("ساكن ف زنقة الأطلس رقم 12", ["address"], "ساكن ف adresse"),
        (
            "نمرتي صفر ستة طناش ربعة وتلاتين ستة وخمسين تمنية وسبعين",
            ["telephone number in words"],
            "نمرتي نمرة",
        ),
        ("ⵓⵟⵟⵓⵏ 0612345678", ["telephone number"], "ⵓⵟⵟⵓⵏ telefon"),
    ],
)
def test_what_is_found_and_masked(text: str, kinds: list[str], masked: str) -> None:
    found = find(text)
    assert [one.kind for one in found] == kinds
    assert mask(text, found) == masked
    assert find(masked) == []


@pytest.mark.parametrize(
    "text",
    [
        "فعام 2024 كانو 1500000 واحد",
        "خمسة وعشرين درهم",
        "واحد جوج تلاتة ربعة خمسة ستة سبعة تمنية",
        "الشارع كبير",
        "COVID-19 و A4",
        "كريم و نور مشاو",
        "7na 3lach 799e9na",
    ],
)
def test_what_is_not_personal(text: str) -> None:
    assert find(text) == []


def test_names_are_not_found() -> None:
    # Said in docs/text.md: they are words, and no list tells them apart.
    assert find("سمية بنعلي ساكنة فسلا") == []


def test_a_check_sum_tells_an_account_from_a_number() -> None:
    assert find("007810000112345678901202") and not find("007810000112345678901203")


@given(st.text(st.sampled_from("0612345678 +-./@abBKزنقة رقم\n")))
def test_finds_lie_in_the_text_and_apart(text: str) -> None:
    found = find(text)
    assert all(0 <= one.start < one.end <= len(text) for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))


def test_our_own_sentences_hold_none() -> None:
    for name in ("darija.txt", "tamazight.txt"):
        assert find((ROOT / "recipes" / "text" / name).read_text(encoding="utf-8")) == []


def test_presidio_finds_the_same_and_other_lands_numbers() -> None:
    try:
        found = find("عيط ل 0612345678 ولا +33 6 12 34 56 78، BK123456", "presidio")
    except UserError as error:
        assert "pip install presidio-analyzer" in str(error)
        pytest.skip(str(error))
    kinds = [one.kind for one in found]
    assert kinds == ["telephone number", "telephone number", "identity card or passport (CIN)"]
