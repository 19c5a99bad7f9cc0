"""Comprehension without reading: a recording is heard, and what it means is chosen among pictures."""

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from starlette.testclient import TestClient

from evaluate import blind, unseal
from evaluate.answers import ratings
from evaluate.listen.app import application
from evaluate.listen.pictures import redrawn
from recipes.schema import Recipe, RecipeError, UserError
from tests.conftest import needs
from tests.test_listen import answer, begin, browser, finish, kept, made, phone, served, sound

WORDS = {"house": ("دار", "ⵜⵉⴳⵎⵎⵉ"), "bread": ("خبز", "ⴰⵖⵔⵓⵎ"), "water": ("ما", "ⴰⵎⴰⵏ")}


def drawn(path: Path, colour: str = "red", size: tuple[int, int] = (600, 400)) -> str:
    """A picture whose file says more than what is seen."""
    facts = PngImagePlugin.PngInfo()
    facts.add_text("Title", "the-right-one")
    Image.new("RGBA", size, colour).save(path, pnginfo=facts)
    return str(path)


def question(folder: Path, **changes: Any) -> list[dict[str, Any]]:
    """Which of three things was named? The second, bread."""
    choices = [
        {
            "picture": drawn(folder / f"speaker7-{word}.png", colour),
            "alt": {"en": word, "ary": WORDS[word][0], "zgh": WORDS[word][1]},
        }
        for word, colour in (("house", "red"), ("bread", "orange"), ("water", "blue"))
    ]
    choices[2]["text"] = "aman"
    asked = {"variety": "tashelhit", "audio": sound(folder / "speaker7.wav"), "choices": choices, "answer": 2}
    return [asked | changes]


def asking(folder: Path, **changes: Any) -> Recipe:
    return made(folder, languages=["ary", "zgh", "zgh-Latn", "en"], comprehension=question(folder, **changes))


def pictures(text: str) -> list[str]:

    return re.findall(r"/picture/(\w+)", text)


def test_a_page_shows_pictures_and_says_what_they_show_in_its_language(tmp_path: Path) -> None:
    recipe = asking(tmp_path)
    for language, words in (
        ("en", ["house", "bread", "water"]),
        ("ary", ["دار", "خبز", "ما"]),
        ("zgh-Latn", ["Tigmmi"]),
    ):
        text = begin(browser(recipe), language)
        assert len(pictures(text)) == 3 and all(f'alt="{word}"' in text for word in words), text
    assert "aman" in text  # text, where it is given


def test_what_is_sent_is_the_picture_and_nothing_else_of_its_file(tmp_path: Path) -> None:
    client = browser(asking(tmp_path))
    text = begin(client)
    sent = [client.get(f"/picture/{token}") for token in pictures(text)]
    for one in sent:
        assert one.headers["content-type"] == "image/jpeg" and one.headers["cache-control"] == "no-store"
        assert b"the-right-one" not in one.content and one.content[:2] == b"\xff\xd8"
    everything = text + "".join(str(one.headers) for one in sent)
    assert not [word for word in ("speaker7", "bread.png", str(tmp_path)) if word in everything]


def test_a_picture_is_there_for_its_listener_while_it_is_asked_for(tmp_path: Path) -> None:
    app = application(asking(tmp_path))
    one, other = (TestClient(app, base_url="http://127.0.0.1", follow_redirects=True) for _ in range(2))
    mine, theirs = pictures(text := begin(one)), pictures(begin(other))
    assert not {*mine} & {*theirs}
    assert one.get(f"/picture/{mine[0]}").status_code == 200
    assert other.get(f"/picture/{mine[0]}").status_code == 404
    answer(one, text, choice="2")
    assert one.get(f"/picture/{mine[0]}").status_code == 410
    assert browser(asking(tmp_path)).get(f"/picture/{mine[0]}").status_code == 404


def test_the_right_picture_passes_and_another_fails(tmp_path: Path) -> None:
    recipe = asking(tmp_path)
    for choice in ("2", "1"):
        client = browser(recipe)
        finish(client, answer(client, begin(client), choice=choice))
    unseal.main(recipe)
    assert [one.checks["comprehension"] for one in ratings(recipe).people] == ["pass", "fail"]


def test_another_picture_is_another_test_and_other_words_for_it_are_not(tmp_path: Path) -> None:
    name = blind.current(asking(tmp_path)).name
    reworded = question(tmp_path)
    reworded[0]["choices"][0]["alt"]["en"] = "home"
    languages = ["ary", "zgh", "zgh-Latn", "en"]
    assert blind.current(made(tmp_path, languages=languages, comprehension=reworded)).name == name
    drawn(tmp_path / "speaker7-house.png", "green")
    assert blind.current(made(tmp_path, languages=languages, comprehension=reworded)).name != name


def test_buttons_that_read_aloud_say_what_they_read(tmp_path: Path) -> None:
    client = browser(made(tmp_path, method="acr"))
    text = begin(client)
    assert all(f'aria-label="Listen: {word}"' in text for word in ("Excellent", "Good", "Bad", "I know this voice"))
    assert 'aria-label="Listen: Thank you.' in finish(client, text)


def test_a_picture_that_nobody_describes_in_a_language_of_the_pages_is_found_when_the_recipe_is_read(
    tmp_path: Path,
) -> None:
    with pytest.raises(RecipeError, match=r"speaker7-house.png has no `alt` in fr"):
        made(tmp_path, languages=["fr", "en"], comprehension=question(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "no PNG or JPEG"),
        ("a.png", b"GIF89a" + bytes(40), "no PNG or JPEG"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "no PNG or JPEG|broken|bytes"),
        ("a.jpg", bytes(5 * 2**20), "over 4 MiB"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=why) as refused:
        redrawn(path)
    assert "\n" not in str(refused.value) and "evaluate.listen.comprehension" in str(refused.value)


def test_a_picture_that_is_cut_off_too_large_or_not_there_is_refused(tmp_path: Path) -> None:
    whole = Path(drawn(tmp_path / "whole.png"))
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.read_bytes()[:-400])
    wide = tmp_path / "wide.png"
    Image.new("1", (6000, 6000)).save(wide)
    for path, why in (
        (cut, "truncated"),
        (wide, "30 million"),
        (tmp_path / "none.png", "No such file"),
    ):
        with pytest.raises(UserError, match=why):
            redrawn(path)


@needs("chromium")
def test_with_the_keyboard_and_by_what_a_screen_reader_says(tmp_path: Path) -> None:
    """Radio buttons are named by what their pictures show; arrows choose, Enter plays the clip."""
    recipe = asking(tmp_path)
    with served(recipe) as address, phone() as page:
        page.goto(f"{address}/notice?language=ary")
        page.check("input[name=agree]")
        page.click("form button.wide")
        page.click("form button.wide")
        page.click("a.button")
        page.wait_for_load_state()  # before it, nobody listens to the key
        page.locator("button.play").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("[data-clip][data-heard=yes]")
        page.get_by_role("radio", name="دار", exact=True).focus()
        page.keyboard.press("ArrowDown")
        assert page.get_by_role("radio", name="خبز", exact=True).is_checked()
        assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth === 480)")
        page.keyboard.press("Enter")
        page.wait_for_function("() => !document.images.length")
    assert kept(recipe)[0].right is True
