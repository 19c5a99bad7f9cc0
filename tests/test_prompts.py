"""What speakers are asked to say: the files it comes from, and an order that covers the sounds fastest."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collect.booth.prompts import Prompt, ordered, read, units
from recipes.schema import UserError
from tests.conftest import ROOT

DARIJA = ROOT / "recipes" / "text" / "darija.txt"
LETTERS = "ابتجحدرسشعغقكلمنهوي ⴰⴱⵛⴷⴻⴼⴳⵀⵉⵊⴽⵍⵎⵏ"


def prompt(text: str) -> Prompt:
    return Prompt(f"id-{text}", "ary-Arab", text)


texts = st.lists(st.text(LETTERS + "؟. ", min_size=1, max_size=12).filter(str.strip), unique=True, max_size=12)


def covered(prompts: list[Prompt]) -> set[str]:
    return {unit for prompt in prompts for unit in units(prompt.text)}


# ---------------------------------------------------------------- files


def test_a_text_file_has_one_sentence_a_line(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("فين غادي؟\n\n  سلام   عليكم  \nفين غادي؟\n", encoding="utf-8-sig")
    found = read({"ary-Arab": tmp_path / "p.txt"})["ary-Arab"]
    assert {p.text for p in found} == {"فين غادي؟", "سلام عليكم"}  # twice is once, spaces are single
    assert {p.kind for p in found} == {"read"} and {p.language for p in found} == {"ary-Arab"}


def test_a_table_has_sentences_to_repeat_and_pictures_to_describe(tmp_path: Path) -> None:
    for name in ("salam.ogg", "souk.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    table = "text,audio,picture\nسلام,salam.ogg,\n,,souk.jpg\nمزيان,,\n"
    (tmp_path / "p.csv").write_text(table, encoding="utf-8")
    found = {p.kind: p for p in read({"ary-Arab": tmp_path / "p.csv"})["ary-Arab"]}
    assert found["repeat"].text == "سلام" and found["repeat"].audio == tmp_path / "salam.ogg"
    assert found["describe"].text == "" and found["describe"].picture == tmp_path / "souk.jpg"
    assert found["read"].text == "مزيان"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.csv", "text,sound\nx,y\n", "p.csv:1: columns are text, audio, picture; not sound"),
        ("p.csv", "text,audio,picture\n,,\n", "p.csv:2: neither text, audio nor picture"),
        ("p.csv", "text,audio\n,a.ogg\n", "p.csv:2: what is heard in a.ogg must be in the column text"),
        ("p.csv", "text,audio\nx,../a.ogg\n", "p.csv:2: ../a.ogg lies outside the folder"),
        ("p.csv", "text,picture\nx,a.svg\n", "p.csv:2: a.svg is none of .jpg"),
        ("p.csv", "text,audio\nx,a.ogg\n", "p.csv:2: a.ogg: no such file"),
        ("p.txt", " \n", "p.txt: no prompt in it"),
        ("p.csv", "", "p.csv:1: columns are text, audio, picture; not nothing"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_line(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=said.replace("(", r"\(").replace("..", r"\.\.")):
        read({"zgh-Tfng": tmp_path / name})


def test_a_file_that_is_not_there_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"p.txt: No such file or directory \(collect.record.prompts.zgh-Tfng\)"):
        read({"zgh-Tfng": tmp_path / "p.txt"})


def test_the_same_sentence_has_the_same_name_in_every_file(tmp_path: Path) -> None:
    for name, lines in {"a.txt": "سلام\nبسلامة\n", "b.txt": "بسلامة\nشكرا\nسلام\n"}.items():
        (tmp_path / name).write_text(lines, encoding="utf-8")
    a, b = (read({"ary-Arab": tmp_path / name})["ary-Arab"] for name in ("a.txt", "b.txt"))
    assert {p.id for p in a} < {p.id for p in b}
    assert {p.id for p in read({"ary-Latn": tmp_path / "a.txt"})["ary-Latn"]}.isdisjoint(p.id for p in a)


# ---------------------------------------------------------------- order


def test_units_are_letters_and_pairs_inside_words() -> None:
    assert units("دار، را.") == {"د", "ا", "ر", "دا", "ار", "را"}
    assert units("Azul") == units("azul")
    assert units("؟ 1") == frozenset()


@given(texts)
def test_every_prompt_comes_once_whatever_the_order_of_the_file(found: list[str]) -> None:
    prompts = [prompt(text) for text in found]
    order = ordered(prompts)
    assert sorted(p.id for p in order) == sorted(p.id for p in prompts)
    assert ordered(reversed(prompts)) == order


@given(texts)
def test_each_prompt_brings_as_much_as_any_of_those_left_would(found: list[str]) -> None:
    order = ordered(prompt(text) for text in found)
    had: set[str] = set()
    for number, chosen in enumerate(order):
        gains = [len(units(p.text) - had) for p in order[number:]]
        if not any(gains):  # all have come: it begins anew
            had, gains = set(), [len(units(p.text)) for p in order[number:]]
        assert gains[0] == max(gains)
        had |= units(chosen.text)


@given(texts, st.integers(1, 12))
def test_prompts_without_text_are_spread_among_the_others(found: list[str], pictures: int) -> None:
    silent = [Prompt(f"p{n}", "ary-Arab", "", picture=Path(f"{n}.jpg")) for n in range(pictures)]
    order = [bool(p.text) for p in ordered([*silent, *(prompt(text) for text in found)])]
    for half in (order[: len(order) // 2], order[(len(order) + 1) // 2 :]):
        assert abs(half.count(False) - pictures / 2) <= 1


def test_the_first_hundred_sentences_cover_a_language_far_faster_than_the_file_does() -> None:
    lines = [prompt(line) for line in DARIJA.read_text(encoding="utf-8").split("\n") if line.strip()]
    everything = covered(lines)
    best, as_written = covered(ordered(lines)[:100]), covered(lines[:100])
    assert len(best) >= 0.8 * len(everything) > len(as_written)
    assert {u for u in everything if len(u) == 1} <= covered(ordered(lines)[:40])
