"""The listening page: blind, balanced, kept, resumable; and a whole session in a browser."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
import yaml
from starlette.testclient import TestClient

from evaluate import listen, report, stimuli
from evaluate.answers import Answers
from evaluate.design import trials
from evaluate.systems import Item, Rendered
from recipes.schema import Recipe, UserError, load
from tests.conftest import needs
from web.page import LANGUAGES, strings

TEXTS = ["ⴰⵣⵓⵍ ⴰ ⴱⴰⴱⴰ", "ⵉⵎⵎⵉ ⵜⵙⵙⵏⵡⴰ ⴰⵖⵔⵓⵎ", "السلام عليكم", "فين غادي"]
SECRETS = re.compile(r"\b(adapter|base(?!-uri)|recordings?|systems?(?!-ui)|synthetic)\b")


def speech(seed: int, seconds: float = 0.6) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return (0.1 * draw.standard_normal(int(16_000 * seconds))).astype(np.float32)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe whose stimuli are there: four sentences by base and adapter, two of them recorded."""
    whole = {
        "name": "t",
        "work_dir": str(tmp_path / "work"),
        "collect": {"source": str(tmp_path)},
        "prepare": {"purpose": "tts_clone"},
        "train": {"family": "fastspeech2", "base": "some/base"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(whole))
    found = load(tmp_path / "recipe.yaml")
    rendered = []
    for number, text in enumerate(TEXTS):
        item = Item(text, "zgh-Tfng" if number < 2 else "ary-Arab", "s1")
        rendered += [Rendered(s, item, speech(number), 16_000) for s in ("base", "adapter")]
        if number % 2:
            rendered.append(Rendered("recordings", item, speech(number + 9), 16_000))
    stimuli.make(found, rendered)
    return found


@pytest.fixture
def client(recipe: Recipe) -> TestClient:
    return TestClient(listen.application(recipe), base_url="http://127.0.0.1", follow_redirects=True)


def begin(client: TestClient, language: str = "en") -> str:
    return client.post("/start", data={"language": language, "agree": "yes"}).text


def answer(client: TestClient, text: str, **changes: str) -> str:
    hidden = dict(re.findall(r'name="(number|form)" value="([^"]+)"', text))
    given = {f"rating{label}": "4" for label in re.findall(r'name="rating(\w)" value="5"', text)}
    if 'name="prefer"' in text:
        given["prefer"] = "A"
    return client.post("/answer", data=hidden | given | changes).text


# ---------------------------------------------------------------- blind


def test_nothing_that_reaches_the_browser_tells_systems_apart(client: TestClient, recipe: Recipe) -> None:
    text = begin(client)
    key = json.loads((recipe.folder("evaluate") / "key.json").read_text(encoding="utf-8"))
    names = [row["name"] for row in key] + [row["item"] for row in key]
    for _ in range(6):
        for token in re.findall(r"/clip/(\w+)", text):
            sound = client.get(f"/clip/{token}")
            assert sound.status_code == 200 and sound.headers["cache-control"] == "no-store"
            assert not {"etag", "last-modified", "content-disposition"} & set(sound.headers)
            assert sound.content[12:16] == b"fmt " and sound.content[36:40] == b"data"  # no chunk of names
        visible = text + str(client.get("/").headers)
        assert not SECRETS.findall(visible) and not [name for name in names if name in visible]
        text = answer(client, text)


def test_the_same_clip_has_another_name_for_every_listener(recipe: Recipe) -> None:
    app = listen.application(recipe)
    seen: list[set[str]] = []
    for _ in range(2):
        with TestClient(app, base_url="http://127.0.0.1", follow_redirects=True) as client:
            seen.append(set(re.findall(r"/clip/(\w+)", begin(client))))
    assert not seen[0] & seen[1]
    with TestClient(app, base_url="http://127.0.0.1") as stranger:
        assert stranger.get(f"/clip/{next(iter(seen[0]))}").status_code == 404


def test_a_clip_is_gone_once_its_trial_is_answered(client: TestClient) -> None:
    text = begin(client)
    token = re.findall(r"/clip/(\w+)", text)[0]
    answer(client, text)
    assert client.get(f"/clip/{token}").status_code == 404


def test_key_and_secret_are_for_their_owner_alone(recipe: Recipe) -> None:
    for name in ("key.json", "secret"):
        assert (recipe.folder("evaluate") / name).stat().st_mode & 0o077 == 0


def test_sides_are_balanced_and_the_order_is_the_listeners_own(recipe: Recipe) -> None:
    found = stimuli.read(recipe)
    orders = set()
    for seed in range(20):
        order = trials(found, str(seed))
        assert order == trials(found[::-1], str(seed))
        pairs = [trial for trial in order if len(trial.clips) == 2]
        assert sum(trial.clips[0].system == "adapter" for trial in pairs) == len(pairs) / 2
        orders.add(tuple(trial.item for trial in order))
    assert len(orders) > 10


def test_stimuli_are_alike_in_level_and_silence(recipe: Recipe) -> None:
    import pyloudnorm
    import soundfile

    levels = []
    for path in (recipe.folder("evaluate") / "stimuli").glob("*.wav"):
        samples, rate_hz = soundfile.read(path)
        levels.append(pyloudnorm.Meter(rate_hz).integrated_loudness(samples))
        loud = np.flatnonzero(np.abs(samples) > 10 ** (-40 / 20) * np.abs(samples).max())
        assert loud[0] / rate_hz == pytest.approx(0.2, abs=0.01)
        assert (len(samples) - 1 - loud[-1]) / rate_hz == pytest.approx(0.2, abs=0.01)
    assert max(levels) - min(levels) < 0.5 and np.mean(levels) == pytest.approx(-26, abs=0.5)


# ---------------------------------------------------------------- kept


def test_answers_are_kept_by_system_and_a_second_send_changes_nothing(client: TestClient, recipe: Recipe) -> None:
    first = begin(client)
    answer(client, first)
    answer(client, first, prefer="none")  # the browser's back button, and send again
    (kept,) = Answers(recipe).all()
    assert kept.number == 1 and set(kept.ratings.values()) == {4}
    if len(kept.systems) == 2:
        assert kept.preferred == kept.systems[0]


def test_a_listener_who_comes_back_goes_on_where_they_were(client: TestClient, recipe: Recipe) -> None:
    text = answer(client, begin(client))
    again = TestClient(listen.application(recipe), base_url="http://127.0.0.1", cookies=dict(client.cookies))
    assert again.get("/").text == text


def test_an_answer_out_of_range_is_not_kept(client: TestClient, recipe: Recipe) -> None:
    text = begin(client)
    label = re.findall(r'name="rating(\w)"', text)[0]
    assert answer(client, text, **{f"rating{label}": "9"}) == text
    assert Answers(recipe).all() == []


def test_forms_from_elsewhere_and_other_hosts_are_refused(client: TestClient, recipe: Recipe) -> None:
    text = begin(client)
    hidden = dict(re.findall(r'name="(number|form)" value="([^"]+)"', text))
    client.post("/answer", data=hidden | {"ratingA": "5"}, headers={"origin": "http://evil.example"})
    answer(client, text, form="0" * 32)
    assert Answers(recipe).all() == []
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_taking_part_needs_agreement(client: TestClient) -> None:
    assert "listener" not in client.post("/start", data={"language": "en"}).cookies
    assert "/start" in client.get("/").text


def test_parts_of_a_clip_can_be_asked_for(client: TestClient) -> None:
    token = re.findall(r"/clip/(\w+)", begin(client))[0]
    part = client.get(f"/clip/{token}", headers={"range": "bytes=0-43"})
    assert part.status_code == 206 and len(part.content) == 44
    assert client.get(f"/clip/{token}", headers={"range": "bytes=99999999-"}).status_code == 416


def test_ratings_reach_the_report(client: TestClient, recipe: Recipe) -> None:
    text = begin(client)
    while "/clip/" in text:
        text = answer(client, text)
    assert strings("en")["thanks"] in text
    table = report.listening(Answers(recipe).all(), recipe)
    rating = table["mean rating, 1 to 5"]["adapter"]
    assert rating and rating.value == 4 and rating.n == 4


def test_nothing_to_listen_to_is_said_in_one_line(recipe: Recipe) -> None:
    heard = recipe.model_copy(update={"train": recipe.train.model_copy(update={"family": "whisper"})})
    with pytest.raises(UserError, match="recognises speech: there is nothing to listen to"):
        listen.application(heard)
    (recipe.folder("evaluate") / "key.json").unlink()
    with pytest.raises(UserError, match="no stimuli yet; run python -m evaluate"):
        listen.application(recipe)


# ---------------------------------------------------------------- languages


def test_every_sentence_exists_in_every_language() -> None:
    keys = {language: set(strings(language)) for language in LANGUAGES}
    assert all(found == keys["en"] for found in keys.values())
    assert all(text.strip() for language in LANGUAGES for text in strings(language).values())


@pytest.mark.parametrize(
    ("language", "shell"), [("ary", 'lang="ary-Arab" dir="rtl"'), ("zgh", 'lang="zgh-Tfng" dir="ltr"')]
)
def test_pages_have_the_direction_of_their_language(client: TestClient, language: str, shell: str) -> None:
    assert shell in client.get(f"/?language={language}").text
    text = begin(client, language)
    assert shell in text
    sentence = re.search(r'<bdi lang="([\w-]+)" dir="(\w+)">', text)
    assert sentence and (sentence[1] == "ary-Arab") == (sentence[2] == "rtl")


# ---------------------------------------------------------------- in a browser


@pytest.fixture
def address(recipe: Recipe) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(listen.application(recipe), port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@needs("chromium")
@pytest.mark.parametrize("language", ["en", "ary"])
def test_a_whole_session_in_a_browser(recipe: Recipe, address: str, language: str) -> None:
    from playwright.sync_api import sync_playwright

    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    traffic: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        page: Any = browser.new_page(viewport={"width": 360, "height": 740})
        page.on("console", lambda message: traffic.append(message.text))
        page.on("request", lambda request: traffic.append(request.url))
        page.on("response", lambda found: traffic.append(str(found.headers)))
        page.goto(f"{address}/?language={language}")
        page.check("input[name=agree]")
        page.click("button")
        for _ in range(6):
            send = page.locator("form[data-trial] button[type=submit]")
            assert send.is_disabled() and page.locator("fieldset:not([disabled])").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # no sideways scrolling
            for clip in page.locator("[data-clip]").all():
                clip.locator("button.play").click()
                page.wait_for_function(
                    "clip => clip.dataset.heard === 'yes'", arg=clip.element_handle(), timeout=30_000
                )
            for set_ in page.locator("fieldset").all():
                set_.locator("input").first.check()
            traffic.append(page.content())
            send.click()
            page.wait_for_load_state()
        assert strings(language)["thanks"] in page.content()
        browser.close()
    assert len(Answers(recipe).all()) == 6
    assert not SECRETS.findall("\n".join(traffic))
