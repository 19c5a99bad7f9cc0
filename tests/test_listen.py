"""The listening page: blind, balanced, kept, resumable; and a whole session in a browser."""

import contextlib
import json
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
import yaml
from starlette.testclient import TestClient

from evaluate import listen, stimuli
from evaluate.answers import Answer, Answers
from evaluate.design import trials
from evaluate.findings import analyse
from evaluate.report.heard import comparisons, heard
from evaluate.stimuli import Stimulus
from evaluate.systems import Item, Rendered, System
from recipes.schema import Recipe, UserError, load
from tests.conftest import needs
from web.page import LANGUAGES, strings
from web.serve import address as listening_at
from web.serve import door

TEXTS = ["ⴰⵣⵓⵍ ⴰ ⴱⴰⴱⴰ", "ⵉⵎⵎⵉ ⵜⵙⵙⵏⵡⴰ ⴰⵖⵔⵓⵎ", "ⵎⴰⵏⵣⴰ ⵜⵉⴳⵎⵎⵉ", "السلام عليكم", "فين غادي", "شحال هادا"]
SECRETS = re.compile(r"\b(adapter|base(?!-uri)|recordings?|systems?(?!-ui)|synthetic)\b")


def speech(seed: int, seconds: float = 0.6) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return (0.1 * draw.standard_normal(int(16_000 * seconds))).astype(np.float32)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe whose stimuli are there: six sentences by base and adapter, three of them recorded."""
    whole = {
        "name": "t",
        "work_dir": str(tmp_path / "work"),
        "collect": {"source": str(tmp_path)},
        "prepare": {"purpose": "tts_clone"},
        "train": {"family": "fastspeech2", "base": "some/base"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(whole))
    found = load(tmp_path / "recipe.yaml")
    stimuli.make(found, rendered(range(len(TEXTS))))
    return found


def rendered(numbers: Iterable[int], *systems: System, seed: int = 0) -> list[Rendered]:
    """Sentences by some systems; by base and adapter, and every other one recorded, where none are named."""
    found = []
    for number in numbers:
        item = Item(TEXTS[number], "zgh-Tfng" if number < 3 else "ary-Arab", "s1")
        some: list[System] = ["base", "adapter", "recordings"] if number % 2 else ["base", "adapter"]
        for place, system in enumerate(systems or some):
            found.append(Rendered(system, item, speech(seed + 9 * place + number), 16_000))
    return found


def kept(recipe: Recipe) -> list[Answer]:
    """The answers to the test that the stimuli make now."""
    answers = opened(recipe)
    try:
        return answers.all()
    finally:
        answers.close()


def opened(recipe: Recipe) -> Answers:
    return Answers(recipe, stimuli.name_of_test(stimuli.read(recipe)))


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
        sides: dict[frozenset[str], Counter[str]] = {}
        for trial in order:
            assert len({clip.item for clip in trial.clips}) == 1
            sides.setdefault(frozenset(clip.system for clip in trial.clips), Counter())[trial.clips[0].system] += 1
        for pair, first in sides.items():
            one, other = (first[system] for system in pair)
            assert abs(one - other) == (one + other) % 2
        orders.add(tuple(trial.item for trial in order))
    assert len(orders) > 10


def test_every_trial_has_the_same_shape_or_the_page_would_tell_which_system_it_plays(recipe: Recipe) -> None:
    order = trials(stimuli.read(recipe), "1")
    assert sorted(trial.text for trial in order) == sorted(TEXTS)
    assert {len(trial.clips) for trial in order} == {2}
    lone = stimuli.make(recipe, rendered([0, 2], "adapter") + rendered([1], "adapter", "recordings"))
    order = trials(lone, "1")
    assert [len(trial.clips) for trial in order] == [1, 1, 1, 1]
    assert {trial.clips[0].name for trial in order} == {clip.name for clip in lone}


def test_adapter_and_base_meet_twice_as_often_as_either_meets_recordings(recipe: Recipe) -> None:
    found = [Stimulus(f"{n}{s}", s, str(n), "text", "ary-Arab") for n in range(40) for s in ("base", "adapter")]
    found += [Stimulus(f"{n}r", "recordings", str(n), "text", "ary-Arab") for n in range(40)]
    met = Counter("-".join(sorted(clip.system for clip in trial.clips)) for trial in trials(found, "1"))
    assert met == {"adapter-base": 20, "adapter-recordings": 10, "base-recordings": 10}


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
    (given,) = kept(recipe)
    assert given.number == 1 and set(given.ratings.values()) == {4} and len(given.systems) == 2
    assert given.preferred == given.systems[0]


def test_a_listener_who_comes_back_goes_on_where_they_were(client: TestClient, recipe: Recipe) -> None:
    text = answer(client, begin(client))
    again = TestClient(listen.application(recipe), base_url="http://127.0.0.1", cookies=dict(client.cookies))
    assert again.get("/").text == text


def test_an_answer_out_of_range_is_not_kept(client: TestClient, recipe: Recipe) -> None:
    text = begin(client)
    label = re.findall(r'name="rating(\w)"', text)[0]
    assert answer(client, text, **{f"rating{label}": "9"}) == text
    assert kept(recipe) == []


def test_forms_from_elsewhere_and_other_hosts_are_refused(client: TestClient, recipe: Recipe) -> None:
    text = begin(client)
    hidden = dict(re.findall(r'name="(number|form)" value="([^"]+)"', text))
    client.post("/answer", data=hidden | {"ratingA": "5"}, headers={"origin": "http://evil.example"})
    answer(client, text, form="0" * 32)
    assert kept(recipe) == []
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
    given = kept(recipe)
    rated, preferred = heard(recipe).ratings
    assert {one.score for one in rated.scores if one.system == "adapter"} == {4}
    assert len(rated.scores) == sum(len(one.systems) for one in given)
    assert len(preferred.comparisons) == len(given)
    assert all(one.score == -1 for one in preferred.comparisons)  # each time A was chosen
    assert [(one.first, one.second) for one in preferred.comparisons] == [tuple(one.systems) for one in given]


def test_a_listener_who_hears_no_difference_says_neither() -> None:
    said = ["adapter", "adapter", "none", "base"]
    answers = [Answer("l", n, str(n), ["base", "adapter"], {}, one) for n, one in enumerate(said)]
    ratings = comparisons(answers)
    assert ratings and [one.score for one in ratings.comparisons] == [1, 1, 0, -1]
    assert analyse(ratings).matrix["adapter"]["base"] == (2, 1, 1)


# ---------------------------------------------------------------- answers belong to what was heard


def test_the_same_clips_make_the_same_test_and_their_answers_stay(client: TestClient, recipe: Recipe) -> None:
    before = stimuli.read(recipe)
    answer(client, begin(client))
    assert stimuli.make(recipe, rendered(range(len(TEXTS)))) == before
    assert len(kept(recipe)) == 1


def test_a_name_says_nothing_without_the_secret(recipe: Recipe) -> None:
    before = {clip.name for clip in stimuli.read(recipe)}
    (recipe.folder("evaluate") / "secret").unlink()
    after = {clip.name for clip in stimuli.make(recipe, rendered(range(len(TEXTS))))}
    assert not before & after
    assert {path.stem for path in (recipe.folder("evaluate") / "stimuli").iterdir()} == after  # none is left behind


def test_answers_to_earlier_clips_do_not_count_and_are_not_lost(client: TestClient, recipe: Recipe) -> None:
    text = begin(client)
    token = re.findall(r"/clip/(\w+)", text)[0]
    answer(client, text)
    stimuli.make(recipe, rendered(range(len(TEXTS)), seed=100))
    assert client.get(f"/clip/{token}").status_code == 404  # the server that still runs has nothing to play
    again = TestClient(
        listen.application(recipe), base_url="http://127.0.0.1", follow_redirects=True, cookies=dict(client.cookies)
    )
    assert "/start" in again.get("/").text  # another test asks for agreement anew
    assert kept(recipe) == []
    answers = opened(recipe)
    assert answers.of_other_tests() == 1
    answers.close()


def test_a_database_from_before_tests_had_names_is_read_and_its_answers_stay(recipe: Recipe) -> None:
    path = recipe.folder("evaluate") / "answers.sqlite"
    opened(recipe).close()
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("ALTER TABLE listeners DROP COLUMN test")
        old.execute("INSERT INTO listeners VALUES ('code', 'seed', 'en', '2026-01-01 00:00:00')")
        old.execute("INSERT INTO answers VALUES ('seed', 1, 'i', '[]', '{}', NULL, '2026-01-01 00:00:00')")
        old.commit()
    answers = opened(recipe)
    assert (answers.all(), answers.of_other_tests(), answers.listener("code")) == ([], 1, None)
    newcomer = answers.enrol("en")
    assert answers.listener(newcomer.code) == newcomer
    answers.close()


def test_a_file_that_is_no_database_is_named_in_one_line(recipe: Recipe) -> None:
    (recipe.folder("evaluate") / "answers.sqlite").write_text("not a database " * 100)
    with pytest.raises(UserError, match=r"answers\.sqlite: file is not a database; mend it, or move it away"):
        listen.application(recipe)


# ---------------------------------------------------------------- mistakes of the one who sets it up


def test_nothing_to_listen_to_is_said_in_one_line(recipe: Recipe) -> None:
    heard = recipe.model_copy(update={"train": recipe.train.model_copy(update={"family": "whisper"})})
    with pytest.raises(UserError, match="recognises speech: there is nothing to listen to"):
        listen.application(heard)
    stimuli.make(recipe, [])
    with pytest.raises(UserError, match="no sentence has a clip"):
        listen.application(recipe)
    (recipe.folder("evaluate") / "key.json").unlink()
    with pytest.raises(UserError, match="no stimuli yet; run python -m evaluate"):
        listen.application(recipe)


def asking(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with other settings of the listening page."""
    settings = recipe.evaluate.listen.model_copy(update=changes)
    return recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"listen": settings})})


def test_a_test_that_asks_nothing_is_refused(recipe: Recipe) -> None:
    with pytest.raises(UserError, match="nothing is asked: set scale"):
        listen.application(asking(recipe, scale=False, preference=False))
    listen.application(asking(recipe, scale=False))
    stimuli.make(recipe, rendered([0, 1], "adapter"))  # no two to prefer one of
    with pytest.raises(UserError, match="nothing is asked: set scale"):
        listen.application(asking(recipe, scale=False))


def test_clips_one_by_one_are_announced_as_such(recipe: Recipe) -> None:
    stimuli.make(recipe, rendered([0, 1], "adapter"))
    client = TestClient(listen.application(recipe), base_url="http://127.0.0.1", follow_redirects=True)
    assert strings("en")["welcome_one"] in client.get("/").text
    text = begin(client)
    assert len(re.findall(r"/clip/\w+", text)) == 1 and 'name="prefer"' not in text
    answer(client, answer(client, text))
    assert [given.preferred for given in kept(recipe)] == [None, None]


def test_a_port_in_use_is_one_line_and_port_0_is_any_free_one(recipe: Recipe) -> None:
    with door("127.0.0.1", 0, "") as first:
        port = first.getsockname()[1]
        assert listening_at(first) == f"http://127.0.0.1:{port}"
        with pytest.raises(UserError, match=f"127.0.0.1:{port}: .+; try another: evaluate.listen.port=0"):
            listen.main(asking(recipe, port=port))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8765", "LOCALHOST:8765", "[::1]:8765", "lab.example:8765"])
def test_the_names_of_this_machine_are_answered(recipe: Recipe, host: str) -> None:
    client = TestClient(listen.application(asking(recipe, host="Lab.example")))
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "localhost@evil.example"])
def test_a_name_that_only_leads_here_is_not_answered(recipe: Recipe, host: str) -> None:
    found = TestClient(listen.application(recipe)).get("/", headers={"host": host})
    assert found.status_code == 400 and found.headers["x-content-type-options"] == "nosniff"
    everyone = TestClient(listen.application(asking(recipe, host="0.0.0.0")))
    assert everyone.get("/", headers={"host": "phone.lan:8765"}).status_code == 200


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
    server = uvicorn.Server(uvicorn.Config(listen.application(recipe), log_level="error"))
    with door("127.0.0.1", 0, "") as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield listening_at(listening)
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
    assert len(kept(recipe)) == 6
    assert not SECRETS.findall("\n".join(traffic))
