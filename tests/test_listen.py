"""The listening test: blind, kept, resumable, withdrawn, sealed until it is over; a whole session in a browser."""

import asyncio
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pg8000
import pytest
import soundfile
import sqlalchemy as sa
import uvicorn
import yaml
from starlette.testclient import TestClient

from evaluate import answers, blind, plan, seal, stimuli, unseal
from evaluate.answers import ratings
from evaluate.findings import analyse
from evaluate.listen import screening
from evaluate.listen.__main__ import greet, invite
from evaluate.listen.app import application
from evaluate.listen.sound import destroyed, tones, veiled
from evaluate.listen.told import recordings
from evaluate.listen.visit import PAGES
from evaluate.panel import Answer, Listener, Panel
from evaluate.report.heard import heard
from evaluate.seal import Sealed
from evaluate.systems import Item, Rendered
from recipes.schema import Recipe, RecipeError, UserError, load
from tests.conftest import ROOT, needs
from tests.postgres import new_database
from web.page import LANGUAGES, strings
from web.places import places
from web.serve import address as listening_at
from web.serve import door

TEXTS = ["ⴰⵣⵓⵍ ⴰ ⴱⴰⴱⴰ", "ⵉⵎⵎⵉ ⵜⵙⵙⵏⵡⴰ ⴰⵖⵔⵓⵎ", "ⵎⴰⵏⵣⴰ ⵜⵉⴳⵎⵎⵉ", "السلام عليكم", "فين غادي", "شحال هادا"]
SYSTEMS = ("adapter", "base", "recordings")
SECRETS = re.compile(r"\b(adapter|base(?!-uri)|recordings?|systems?(?!-ui)|synthetic|anchor\w*|k\d)\b")
WRONG = {"acr": "4", "preference": "0", "cmos": "1", "abx": "1"}


def speech(seed: int, seconds: float = 0.6) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return (0.1 * draw.standard_normal(int(16_000 * seconds))).astype(np.float32)


def rendered(texts: list[str], *systems: str, seed: int = 0) -> list[Rendered]:
    """Every sentence by every system; a system's clips have lengths of their own."""
    items = [Item(text, "ary-Arab" if "ا" in text or "غ" in text else "zgh-Tfng", "s1") for text in texts]
    return [
        Rendered(system, item, speech(seed + 99 * n + place, 0.5 + 0.05 * place), 16_000)  # type: ignore[arg-type]
        for n, item in enumerate(items)
        for place, system in enumerate(systems)
    ]


def made(folder: Path, *systems: str, plan: dict[str, Any] | None = None, **listen: Any) -> Recipe:
    """A recipe whose stimuli are there, and with as little around the trials as `listen` asks for."""
    quick = {"headphones": False, "training": 0, "repeats": 0, "gold": 0, "guess": False}
    whole = {
        "name": "t",
        "work_dir": str(folder / "work"),
        "collect": {"source": str(folder)},
        "prepare": {"purpose": "tts_clone"},
        "train": {"family": "fastspeech2", "base": "some/base"},
        "evaluate": {"resamples": 200, "listen": quick | listen, "plan": plan or {}},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    found = load(folder / "recipe.yaml")
    if not (found.folder("evaluate") / "key.json").exists():
        usual = (*SYSTEMS, *blind.ANCHORS) if found.evaluate.listen.method == "mushra" else SYSTEMS
        stimuli.make(found, rendered(TEXTS, *(systems or usual)))
    return found


def browser(recipe: Recipe, **options: Any) -> TestClient:
    return TestClient(application(recipe), base_url="http://127.0.0.1", follow_redirects=True, **options)


def begin(client: TestClient, language: str = "en", **facts: Any) -> str:
    client.post(f"/consent?language={language}", data={"agree": "yes"})
    client.post("/about", data=facts)
    return client.get("/test").text


def filled(text: str, choose: Callable[[list[str]], str] = lambda values: values[0]) -> dict[str, str]:
    """A page's form as a listener fills it in who heard everything."""
    form = dict(re.findall(r'name="(form)" value="([^"]+)"', text))
    form |= dict.fromkeys(re.findall(r'name="(heard\d+)"', text), "0.998")
    form |= dict.fromkeys(re.findall(r'name="(slider\d+)"', text), "70")
    values = re.findall(r'name="choice" value="(-?\d+)"', text)
    return form | ({"choice": choose(values)} if values else {})


def answer(client: TestClient, text: str, **changes: str) -> str:
    return client.post("/answer", data=filled(text) | changes).text


def finish(client: TestClient, text: str, choose: Callable[[list[str]], str] = lambda values: values[0]) -> str:
    while "/clip/" in text:
        text = client.post("/answer", data=filled(text, choose)).text
    return text


@contextmanager
def panel(recipe: Recipe) -> Iterator[Panel]:
    with closing(Panel(recipe, blind.test_of_results(recipe)[0])) as found:
        yield found


def kept(recipe: Recipe) -> list[Answer]:
    with panel(recipe) as found:
        return found.all()


def tokens(text: str) -> list[str]:
    return re.findall(r"/clip/(\w+)", text)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs("initdb"))])
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Where listeners and answers are kept, for evaluate.listen.database."""
    if request.param == "sqlite":
        yield None
        return
    opened: list[Any] = []

    def keep(connection: Any, _: Any) -> None:
        opened.append(connection)

    sa.event.listen(sa.Pool, "connect", keep)
    yield new_database(request.getfixturevalue("postgres_server"), f"listening{os.urandom(6).hex()}")
    sa.event.remove(sa.Pool, "connect", keep)
    for connection in opened:  # of servers that nobody stopped
        with suppress(pg8000.InterfaceError):
            connection.close()


def code_of(client: TestClient) -> str:
    """The code that a listener is shown on a pause."""
    return re.findall(r'class="code[^>]*>([\d ]+)<', client.get("/pause").text)[0]


# ---------------------------------------------------------------- blind


@pytest.mark.parametrize("method", ["acr", "preference", "cmos", "abx", "mushra", "mushra_nr"])
def test_nothing_that_reaches_the_browser_tells_systems_apart(tmp_path: Path, method: str) -> None:
    recipe = made(tmp_path, method=method, gold=1, repeats=1, training=1, headphones=True, guess=True)
    key = json.loads((recipe.folder("evaluate") / "key.json").read_text(encoding="utf-8"))
    names = [row[part] for row in key for part in ("name", "item")]
    client = browser(recipe)
    text, pages = begin(client), 0
    while "/clip/" in text:
        for token in set(tokens(text)):
            sound = client.get(f"/clip/{token}")
            assert sound.status_code == 200 and sound.headers["cache-control"] == "no-store"
            assert not {"etag", "last-modified", "content-disposition"} & set(sound.headers)
            assert sound.content[12:16] == b"fmt " and sound.content[36:40] == b"data"  # no chunk of names
            assert not [name for name in names if name.encode() in sound.content]
        visible = text + str(client.get("/test").headers)
        assert not SECRETS.findall(visible) and not [name for name in names if name in visible]
        text, pages = answer(client, text), pages + 1
    assert strings("en", PAGES)["thanks"] in text and pages > 8


def test_the_same_clip_has_another_name_and_other_bytes_for_every_listener(tmp_path: Path) -> None:
    recipe = made(tmp_path, "adapter", "base")
    app = application(recipe)
    heard: list[dict[str, bytes]] = []
    for _ in range(2):
        client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=True)
        text, found = begin(client), {}
        while names := tokens(text):
            found |= {token: client.get(f"/clip/{token}").content for token in names}
            text = answer(client, text)
        heard.append(found)
    assert not set(heard[0]) & set(heard[1]) and len(heard[0]) == 12
    assert not set(heard[0].values()) & set(heard[1].values())
    stranger = TestClient(app, base_url="http://127.0.0.1", follow_redirects=True)
    begin(stranger)
    assert stranger.get(f"/clip/{next(iter(heard[0]))}").status_code == 404


def test_a_clip_is_gone_once_its_trial_is_answered_and_one_to_come_is_not_here_yet(tmp_path: Path) -> None:
    client = browser(made(tmp_path))
    text = begin(client)
    token = tokens(text)[0]
    assert client.get(f"/clip/{token}").status_code == 200
    answer(client, text)
    assert client.get(f"/clip/{token}").status_code == 410
    assert client.get(f"/clip/{'0' * 32}").status_code == 404


@pytest.mark.parametrize("method", ["abx", "mushra"])
def test_two_slots_with_the_same_sound_cannot_be_told_by_size_or_bytes(tmp_path: Path, method: str) -> None:
    client = browser(made(tmp_path, method=method))
    sounds = [client.get(f"/clip/{token}").content for token in tokens(begin(client))]
    assert len({len(sound) for sound in sounds}) == 1  # though systems' clips have lengths of their own
    assert len(set(sounds)) == len(sounds)
    waves = [np.frombuffer(sound[44:], "<i2").astype(int) for sound in sounds]
    alike = [np.abs(a - b).max() <= 4 for n, a in enumerate(waves) for b in waves[:n]]
    assert sum(alike) == 1  # X and one of the two; the reference that is named and the one that is hidden


@pytest.mark.parametrize("method", ["acr", "preference"])
def test_the_size_of_a_clip_tells_its_sentence_and_nothing_of_its_system(tmp_path: Path, method: str) -> None:
    trap = {"audio": sound(tmp_path / "trap.wav", seconds=0.3), "answer": 1}
    recipe = made(tmp_path, method=method, gold=1, repeats=1, traps=[trap], guess=True)
    lengths = {len(stimuli.sound(recipe, one)) for one in stimuli.read(recipe)}
    client = browser(recipe)
    systems: dict[str, set[str]] = {}
    sizes: dict[str, set[str]] = {}
    for number in range(6):
        text = begin(client)
        with panel(recipe) as found:
            way = client.app.state.running.way(found.listeners()[-1])  # type: ignore[attr-defined]
        for step in way:
            shown = "".join(re.findall(r"<bdi lang.*?</bdi>", text)) or f"the closing question of {number}"
            systems.setdefault(shown, set()).update(step.systems)
            for token in tokens(text):
                sizes.setdefault(shown, set()).add(client.get(f"/clip/{token}").headers["content-length"])
            text = answer(client, text)
        client.cookies.clear()
    assert len(lengths) > 2  # the systems speak at paces of their own
    assert sum(len(those) == 3 for those in systems.values()) >= 4
    assert all(len(those) == 1 for those in sizes.values()), sizes


def test_facts_of_the_file_do_not_tell_systems_apart_better_than_chance(tmp_path: Path) -> None:
    import pyloudnorm

    recipe = made(tmp_path)
    some: list[Rendered] = []
    for n in range(20):
        item = Item(f"{TEXTS[3]} {n}", "ary-Arab", "s1")
        quiet = np.concatenate([np.zeros(1600 + 80 * n, np.float32), 0.2 * speech(n, 0.5 + n / 100)])
        some.append(Rendered("base", item, speech(50 + n, 0.5 + n / 100), 24_000))
        some.append(Rendered("adapter", item, quiet, 16_000))
    found = stimuli.make(recipe, some)
    facts, systems = [], []
    for number, clip in enumerate(found):
        data = stimuli.sound(recipe, clip)
        samples = veiled(np.frombuffer(data[44:], "<i2"), len(data) // 2 - 22, str(number))
        rate_hz = int.from_bytes(data[24:28], "little")
        loud = np.flatnonzero(np.abs(samples.astype(int)) > 0.01 * np.abs(samples.astype(int)).max())
        lufs = pyloudnorm.Meter(rate_hz).integrated_loudness(samples / 32768)
        edges = [round(loud[0] / rate_hz, 2), round((len(samples) - loud[-1]) / rate_hz, 2)]
        facts.append([rate_hz, *data[20:24], data[34], *edges, round(lufs, 1), int(samples.astype(int).sum() > 0)])
        systems.append(clip.system)
    table = np.array(facts, float)
    spread = table.std(0)
    table = (table - table.mean(0)) / np.where(spread > 0, spread, 1)
    right = 0
    for n in range(len(table)):  # the nearest other clip's system
        apart = np.abs(table - table[n]).sum(1)
        apart[n] = np.inf
        nearest = np.flatnonzero(apart == apart.min())
        right += np.mean([systems[m] == systems[n] for m in nearest])
    assert right / len(table) < 0.70  # 28 of 40: chance gives it to 8 of 1,000


def test_a_page_looks_the_same_whatever_kind_of_trial_it_holds(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="acr", gold=2, repeats=2)
    client = browser(recipe)
    text, shapes = begin(client), set()
    while "/clip/" in text:
        bare = re.sub(r"<bdi lang.*?</bdi>|[0-9a-f]{32}|\d+", "", text)
        shapes.add(bare)
        text = answer(client, text)
    assert len(shapes) == 1


# ---------------------------------------------------------------- sealed


def test_nothing_on_the_disk_of_the_test_says_which_system_was_rated(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="acr", guess=True)
    client = browser(recipe)
    finish(client, begin(client))
    folder = recipe.folder("evaluate")
    (test,) = (folder / "listening").iterdir()
    for path in [*test.iterdir(), *folder.glob("listening.sqlite*")]:
        data = path.read_bytes()
        assert not [name for name in SYSTEMS if name.encode() in data], path
        assert not [s.name for s in stimuli.read(recipe) if s.name.encode() in data], path
    secret = tmp_path / "work.keys" / "listening.key"
    assert secret.stat().st_mode & 0o077 == 0


def test_scores_by_system_are_for_after_the_unsealing_which_is_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = made(tmp_path, method="acr")
    with pytest.raises(UserError, match="nobody has answered yet"):
        unseal.main(recipe)
    client = browser(recipe)
    finish(client, begin(client))
    assert (heard(recipe).state, heard(recipe).ratings, heard(recipe).answers) == ("sealed", [], 6)
    with pytest.raises(Sealed, match=r"sealed \(1 listeners, 6 answers\); once it is over: python -m"):
        ratings(recipe)
    unseal.main(recipe)
    name, _ = blind.test_of_results(recipe)
    (done,) = seal.unsealings(recipe, name)
    assert (done.listeners, done.answers, done.plan) == (1, 6, None)
    public = seal.commitment(recipe, name)
    assert public and done.commitment == public["sha256"] == seal.open_key(recipe, name).commitment
    assert done.commitment in capsys.readouterr().out
    found = ratings(recipe)
    assert Counter(one.system for one in found.scores) == dict.fromkeys(SYSTEMS, 2) and found.plan_hash is None
    assert heard(recipe).state == "open" and heard(recipe).ratings == [found]


def test_a_key_opens_with_its_own_secret_and_plan_alone(tmp_path: Path) -> None:
    recipe = made(tmp_path)
    name = blind.current(recipe).name
    place = seal.folder(recipe, name) / "key.sealed"
    public = json.loads(place.read_text())
    place.write_text(json.dumps(public | {"plan": "0" * 64}))
    with pytest.raises(UserError, match="the plan it was sealed under was changed"):
        seal.open_key(recipe, name)
    place.write_text(json.dumps(public | {"sha256": "0" * 64}))
    with pytest.raises(UserError, match="not the one whose hash was published"):
        seal.open_key(recipe, name)
    place.write_text(json.dumps(public))
    (tmp_path / "work.keys" / "listening.key").unlink()
    with pytest.raises(UserError, match="does not open with"):
        seal.open_key(recipe, name)


def test_listeners_with_a_known_difference_are_read_back_right(tmp_path: Path) -> None:
    recipe = made(tmp_path, "adapter", "base", method="cmos")
    texts = [f"{TEXTS[3]} {n}" for n in range(24)]
    stimuli.make(recipe, rendered(texts, "adapter", "base"))
    application(recipe)  # seals the key
    name, _ = blind.test_of_results(recipe)
    key = seal.open_key(recipe, name)
    better, draw = key.code("adapter"), np.random.default_rng(3)
    there = blind.current(recipe)
    with panel(recipe) as found:
        from evaluate.listen.course import course

        tastes = draw.normal(0.6, 0.3, 20)
        for number in range(20):
            listener = found.enrol(f"b{number}", f"c{number}", f"L{number}", "ary")
            assert listener is not None
            for step, one in enumerate(course(there, recipe.evaluate.listen, listener)):
                sign = 1 if one.systems[1] == better else -1  # B is the adapter
                value = int(np.clip(np.round(sign * (tastes[number] + draw.normal(0, 1))), -3, 3))
                found.add(Answer(listener.name, step, one.kind, one.item, one.systems, [value]))
    unseal.main(recipe)
    found_ratings = ratings(recipe)
    by_listener: dict[str, list[float]] = {}
    for one in found_ratings.comparisons:
        by_listener.setdefault(one.listener, []).append(one.score if one.second == "adapter" else -one.score)
    means = np.array([np.mean(scores) for scores in by_listener.values()])
    error = means.std(ddof=1) / np.sqrt(len(means))
    assert len(found_ratings.comparisons) == 480 and found_ratings.primary == ("adapter", "base")
    assert abs(means.mean() - tastes.mean()) < 2.1 * error and means.mean() > 3 * error
    primary = analyse(found_ratings, 200).primary
    assert primary and primary.low is not None and primary.high is not None
    assert 0 < primary.low < 0.6 < primary.high  # the report's interval holds the truth


# ---------------------------------------------------------------- kept


def test_a_second_send_changes_nothing(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="preference")
    client = browser(recipe)
    first = begin(client)
    answer(client, first)
    answer(client, first, choice="0")  # the browser's back button, and send again
    (given,) = kept(recipe)
    assert given.step == 0 and list(given.value) == [-1] and list(given.heard) == [0.998, 0.998]
    assert given.seconds is None  # this listener never fetched the clips


def test_a_listener_who_comes_back_goes_on_where_they_were(tmp_path: Path) -> None:
    recipe = made(tmp_path)
    client = browser(recipe)
    text = answer(client, begin(client))
    again = browser(recipe, cookies=dict(client.cookies))
    assert again.get("/test").text == text


def test_with_the_code_a_listener_goes_on_in_another_browser(tmp_path: Path, database: str | None) -> None:
    recipe = made(tmp_path, database=database)
    client = browser(recipe)
    text = answer(client, begin(client))
    code = code_of(client)
    other = browser(recipe)
    assert other.post("/resume", data={"code": "1" * 20}).status_code == 403
    assert other.post("/resume", data={"code": code}).text == text
    assert strings("ary", PAGES)["title"] in client.get("/test").text  # the first browser is a stranger now


def test_on_a_phone_of_somebody_else_a_code_opens_its_holders_test(tmp_path: Path, database: str | None) -> None:
    recipe = made(tmp_path, database=database, method="acr")
    alice, bob = browser(recipe), browser(recipe)
    alices, bobs = answer(alice, begin(alice)), begin(bob)
    code, aged = code_of(bob), dict(alice.cookies)
    borrowed = alice  # Bob types his code where Alice's cookie is
    assert tokens(borrowed.post("/resume", data={"code": code}).text) == tokens(bobs) != tokens(alices)
    answer(borrowed, bobs)
    with panel(recipe) as found:
        first, second = found.listeners()
        assert [found.given(one.name) for one in (first, second)] == [1, 1]
    page = borrowed.get("/withdraw").text
    assert code.replace(" ", "") in page  # what would be deleted is Bob's
    assert tokens(browser(recipe, cookies=aged).get("/test").text) == tokens(alices)  # Alice's secret is still hers


@pytest.mark.parametrize(
    "changes",
    [{"heard0": "0.5"}, {"heard1": "nan"}, {"heard1": "x"}, {"choice": "9"}, {"choice": ""}, {"choice": "1e0"}],
)
def test_what_was_not_heard_or_is_no_answer_is_not_kept(tmp_path: Path, changes: dict[str, str]) -> None:
    recipe = made(tmp_path)
    client = browser(recipe)
    text = begin(client)
    again = client.post("/answer", data=filled(text) | changes)
    assert again.status_code == 400 and strings("en", PAGES)["incomplete"] in again.text
    assert kept(recipe) == [] and tokens(again.text) == tokens(text)


def test_a_clip_that_does_not_play_is_passed_over_and_counted(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="acr")
    client = browser(recipe)
    text = begin(client)
    finish(client, client.post("/answer", data={**filled(text), "heard0": "0", "unplayable": "yes"}).text)
    assert [list(row.value) for row in kept(recipe)][:2] == [[], [5]]
    assert answers.collected(recipe).answers == 5


def test_a_slider_that_was_not_sent_is_no_rating(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="mushra_nr")
    client = browser(recipe)
    text = begin(client)
    form = filled(text)
    assert client.post("/answer", data={k: v for k, v in form.items() if k != "slider1"}).status_code == 400
    assert client.post("/answer", data=form | {"slider0": "101"}).status_code == 400
    client.post("/answer", data=form | {"slider0": "12", "slider2": "100"})
    (given,) = kept(recipe)
    assert list(given.value) == [12, 70, 100] and len(set(given.systems)) == 3


def test_forms_from_elsewhere_and_other_hosts_are_refused(tmp_path: Path) -> None:
    recipe = made(tmp_path)
    client = browser(recipe)
    text = begin(client)
    assert client.post("/answer", data=filled(text), headers={"origin": "http://evil.example"}).status_code == 403
    answer(client, text, form="0" * 32)
    assert kept(recipe) == []
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    assert client.post("/answer", content=b"x" * 70_000).status_code == 413


def test_taking_part_needs_agreement(tmp_path: Path) -> None:
    client = browser(made(tmp_path))
    assert not client.post("/consent").cookies and not client.cookies
    assert "/clip/" not in client.get("/test").text


def test_parts_of_a_clip_can_be_asked_for(tmp_path: Path) -> None:
    client = browser(made(tmp_path))
    token = tokens(begin(client))[0]
    whole = client.get(f"/clip/{token}").content
    part = client.get(f"/clip/{token}", headers={"range": "bytes=100-1099"})
    assert part.status_code == 206 and part.content == whole[100:1100]
    assert client.get(f"/clip/{token}", headers={"range": "bytes=99999999-"}).status_code == 416


def test_answers_to_earlier_clips_do_not_count_and_are_not_lost(tmp_path: Path) -> None:
    recipe = made(tmp_path)
    client = browser(recipe)
    text = begin(client)
    token = tokens(text)[0]
    answer(client, text)
    stimuli.make(recipe, rendered(TEXTS, *SYSTEMS, seed=1000))
    assert client.get(f"/clip/{token}").status_code == 410  # the server that still runs has nothing to play
    again = browser(recipe, cookies=dict(client.cookies))
    assert "/notice" in again.get("/test").text  # another test asks for agreement anew
    assert kept(recipe) == []
    begin(again)
    assert answers.collected(recipe).elsewhere == 1
    stimuli.make(recipe, rendered(TEXTS, *SYSTEMS))
    assert len(kept(recipe)) == 1


def test_a_recording_that_is_withdrawn_is_played_to_nobody(tmp_path: Path) -> None:
    recipe = made(tmp_path)
    client = browser(recipe)
    text = begin(client)
    (recipe.folder("evaluate") / "WITHDRAWN.txt").write_text("today")
    assert client.get(f"/clip/{tokens(text)[0]}").status_code == 410
    assert client.get("/test").status_code == 503
    with pytest.raises(UserError, match="withdrawn since"):
        application(recipe)


def test_a_file_that_is_no_database_is_named_in_one_line(tmp_path: Path) -> None:
    recipe = made(tmp_path)
    (recipe.folder("evaluate") / "listening.sqlite").write_text("not a database " * 100)
    with pytest.raises(UserError, match=r"listening\.sqlite: file is not a database; mend it, or move it away"):
        application(recipe)


@needs("initdb")
def test_the_same_on_postgresql(tmp_path: Path, postgres_server: str) -> None:
    recipe = made(tmp_path, database=new_database(postgres_server, "listening"))
    app = application(recipe)
    clients = [TestClient(app, base_url="http://127.0.0.1", follow_redirects=True) for _ in range(3)]
    pages = [begin(client) for client in clients]
    finish(clients[0], pages[0])
    answer(clients[1], pages[1])
    assert Counter(row.listener for row in kept(recipe)).most_common()[0][1] == 4  # pairs: a multiple of four kinds
    with panel(recipe) as found:
        assert [listener.number for listener in found.listeners()] == [0, 1, 2]
    app.state.running.close()


# ---------------------------------------------------------------- people


def test_facts_can_all_be_left_out_and_only_known_ones_are_kept(tmp_path: Path) -> None:
    recipe = made(tmp_path)
    app = application(recipe)
    given = {"gender": "female", "age_band": "30-44", "region": "MA-09", "device": "earphones"}
    given |= {"varieties": ["tashelhit", "centre", "<b>"]}
    for facts in ({}, given, {"gender": "x", "region": "Mars", "device": "hash", "age_band": "under18"}):
        begin(TestClient(app, base_url="http://127.0.0.1", follow_redirects=True), **facts)
    with panel(recipe) as found:
        facts_of = [listener.facts for listener in found.listeners()]
    assert facts_of == [{}, {**given, "varieties": "centre tashelhit"}, {}]


def test_whoever_withdraws_leaves_nothing_and_their_place_is_free(tmp_path: Path, database: str | None) -> None:
    recipe = made(tmp_path, database=database)
    client = browser(recipe)
    answer(client, begin(client, gender="male"))
    code = code_of(client)
    other = browser(recipe)
    assert other.post("/withdraw", data={"code": "0" * 20}).status_code == 403
    assert strings("ary", PAGES)["withdraw_do"] in other.post("/withdraw", data={"code": code}).text
    assert len(kept(recipe)) == 1  # not before they said that they are sure
    other.post("/withdraw", data={"code": code, "sure": "yes"})
    assert kept(recipe) == []
    with panel(recipe) as found:
        assert found.listeners() == [] and found.withdrawn() == 1
        first = found.enrol("b", "c", "n", "en")
        assert first and first.number == 0
        assert not found.add(Answer("gone", 0, "scored", "i", ["k1"], [3]))  # an answer on its way comes to nothing
    raw = b"".join(path.read_bytes() for path in recipe.folder("evaluate").glob("listening.sqlite"))
    assert b'"male"' not in raw


@pytest.mark.parametrize("statement", [1, 2])
def test_an_answer_on_its_way_is_deleted_with_the_listener_who_withdraws(
    tmp_path: Path, database: str | None, statement: int
) -> None:
    with panel(made(tmp_path, database=database)) as found:
        assert found.enrol("b", "c", "n", "en")
        leaving = threading.Thread(target=found.withdraw, args=("n",))
        done: list[str] = []

        def meanwhile(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
            if threading.current_thread() is threading.main_thread():
                done.append(text)
                if len(done) == statement:  # of those that keep the answer
                    leaving.start()
                    leaving.join(1)  # over, or held up until the answer is kept

        sa.event.listen(sa.Engine, "after_cursor_execute", meanwhile)
        try:
            found.add(Answer("n", 0, "scored", "i", ["k1"], [3]))
        finally:
            sa.event.remove(sa.Engine, "after_cursor_execute", meanwhile)
        leaving.join()
        assert len(done) == 2 and found.given("n") == 0 and found.withdrawn() == 1


def test_an_invitation_works_once_and_not_before_somebody_agrees(
    tmp_path: Path, database: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = made(tmp_path, database=database, invited=True)
    invite(recipe, 2, False)
    codes = capsys.readouterr().out.split("\n")[:2]
    app = application(recipe)
    client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=True)
    assert "/enter" in str(client.get("/notice").url)
    assert client.post("/enter", data={"code": "12345678901234567890"}).status_code == 403
    for _ in range(2):
        assert strings("ary", PAGES)["agree"] in client.post("/enter", data={"code": codes[0]}).text
    client.post("/consent", data={"agree": "yes", "code": codes[0]})
    client.post("/about")
    assert tokens(client.get("/test").text)
    second = TestClient(app, base_url="http://127.0.0.1", follow_redirects=True)
    assert second.post("/consent", data={"agree": "yes", "code": codes[0]}).status_code == 403
    assert second.post("/consent", data={"agree": "yes"}).status_code == 403
    assert not second.cookies


def agreed(client: TestClient, page: str) -> httpx.Response:
    """What comes back to whoever agrees on a page with the notice."""
    form = dict(re.findall(r'name="(code|browser)" value="([^"]*)"', page))
    return client.post("/consent?language=en", data=form | {"agree": "yes"})


@pytest.mark.parametrize("invited", [True, False])
def test_a_consent_that_is_sent_twice_is_one_listener_and_spends_no_invitation(
    tmp_path: Path, database: str | None, capsys: pytest.CaptureFixture[str], invited: bool
) -> None:
    recipe = made(tmp_path, database=database, invited=invited)
    client, code = browser(recipe), ""
    if invited:
        invite(recipe, 1, False)
        code = capsys.readouterr().out.split("\n")[0]
    told = client.post("/enter", data={"code": code}).text if invited else client.get("/notice").text
    for _ in range(2):  # a double tap, or an answer that was lost on its way
        client.cookies.clear()
        assert strings("en", PAGES)["about_heading"] in agreed(client, told).text
    with panel(recipe) as found:
        assert [one.number for one in found.listeners()] == [0]
    client.post("/about", data={"gender": "female"})
    client.cookies.clear()  # the phone is handed on, and its next holder goes back to the notice
    again = agreed(client, told)
    with panel(recipe) as found:
        assert [one.facts for one in found.listeners()] == [{"gender": "female"}, *([] if invited else [{}])]
    assert (again.status_code, bool(client.cookies)) == ((403, False) if invited else (200, True))


def test_consents_that_arrive_together_are_one_listener(tmp_path: Path, database: str | None) -> None:
    with panel(made(tmp_path, database=database)) as found, ThreadPoolExecutor(4) as together:
        found.invite(["i"])
        names = [f"n{n}" for n in range(4)]
        enrolled = [*together.map(lambda name: found.enrol("b", name, name, "en", "i"), names)]
        assert enrolled == found.listeners() * 4


def test_a_secret_that_the_server_did_not_make_is_not_taken(tmp_path: Path) -> None:
    client = browser(made(tmp_path))
    for given in ("", "1", "x" * 42, "x" * 44, "é" * 43):
        client.post("/consent", data={"agree": "yes", "browser": given})
        assert re.fullmatch(r"[\w-]{43}", client.cookies["listener"]) and client.cookies["listener"] != given
        client.cookies.clear()


def test_who_guesses_codes_waits(tmp_path: Path) -> None:
    client = browser(made(tmp_path))
    said = [client.post("/resume", data={"code": str(n)}).status_code for n in range(12)]
    assert said == [403] * 10 + [429] * 2


def test_the_progress_page_shows_counts_and_quality_to_the_organiser_alone(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="acr", gold=1)
    app = application(recipe)
    client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=True)
    finish(client, begin(client))
    assert client.post("/progress", data={"code": "0" * 20}).status_code == 403
    shown = client.post("/progress", data={"code": app.state.running.organiser}).text
    rows = dict(re.findall(r'<th scope="row">([^<]+)</th><td>([^<]+)</td>', shown))
    assert rows["listeners"] == rows["of them finished"] == "1" and rows["answers that count"] == "6"
    assert not re.search(r"adapter|recordings|k1", shown) and 'dir="ltr"' in shown


# ---------------------------------------------------------------- checks


def sound(path: Path, seed: int = 1, seconds: float = 1.0) -> str:
    soundfile.write(path, speech(seed, seconds), 22_050)
    return str(path)


def questions(folder: Path) -> list[dict[str, Any]]:
    return [
        {"variety": variety, "audio": sound(folder / f"{variety}{n}.wav", n), "choices": ["a", "b", "c"], "answer": 2}
        for variety in ("centre", "tashelhit")
        for n in range(2)
    ]


def test_comprehension_is_asked_in_the_varieties_that_the_listener_speaks(tmp_path: Path) -> None:
    recipe = made(tmp_path, comprehension=questions(tmp_path))
    app = application(recipe)
    people = []
    for facts in ({"varieties": "centre"}, {"varieties": "tarifit"}, {}):
        client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=True)
        finish(client, begin(client, **facts), lambda values: values[1] if len(values) == 3 else values[0])
        people.append(client)
    given: dict[str, list[str]] = {}
    for row in kept(recipe):
        if row.kind == "comprehension":
            given.setdefault(row.listener, []).append(row.item)
    assert sorted(map(len, given.values())) == [2, 4, 4]
    unseal.main(recipe)
    for person in ratings(recipe).people:
        assert person.checks["comprehension"] == "pass" and person.checks["traps"] == "not_run"
        assert person.excluded is None


def test_whoever_does_not_understand_is_excluded_by_the_rule_and_stays_in_the_ratings(tmp_path: Path) -> None:
    recipe = made(tmp_path, comprehension=questions(tmp_path))
    client = browser(recipe)
    finish(client, begin(client))
    unseal.main(recipe)
    found = ratings(recipe)
    (person,) = found.people
    assert person.checks["comprehension centre"] == "fail" and person.excluded == "comprehension"
    assert found.comparisons


def test_traps_gold_and_repeats_are_checks_and_no_ratings(tmp_path: Path) -> None:
    trap = {"audio": sound(tmp_path / "trap.wav"), "answer": 2}
    recipe = made(tmp_path, method="acr", gold=1, repeats=1, traps=[trap])
    attentive, careless = browser(recipe), browser(recipe)
    text = begin(attentive)
    running = attentive.app.state.running  # type: ignore[attr-defined]
    with panel(recipe) as found:
        (listener,) = found.listeners()
    for step in running.way(listener):
        right = min(step.right) if step.right else 4
        text = attentive.post("/answer", data=filled(text) | {"choice": str(right)}).text
    finish(careless, begin(careless))  # always the best
    unseal.main(recipe)
    found_ratings = ratings(recipe)
    assert Counter(one.listener for one in found_ratings.scores).most_common(1)[0][1] == 6
    first, second = found_ratings.people
    assert [first.checks[name] for name in ("traps", "gold", "repeats")] == ["pass", "pass", "pass"]
    assert [second.checks[name] for name in ("traps", "gold", "repeats")] == ["fail", "fail", "pass"]
    assert first.excluded is None and second.excluded == "traps"


def test_straight_lining_and_a_voice_that_is_known_are_told(tmp_path: Path) -> None:
    rows = [Answer("l", n, "scored", f"i{n}", ["k1"], [5], known=n == 3) for n in range(10)]
    listener = Listener("l", 0, "en", {}, True, "not_run")
    assert answers.checks("acr", listener, rows)["straight_lining"] == "fail"
    assert answers.checks("acr", listener, rows[:7])["straight_lining"] == "not_run"  # too few to tell


def test_a_rating_says_whether_its_listener_knew_a_voice(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="cmos")
    client = browser(recipe)
    finish(client, answer(client, begin(client), known="yes"))
    unseal.main(recipe)
    found = ratings(recipe)
    assert [one.known for one in found.comparisons] == [True] + [False] * (len(found.comparisons) - 1)
    assert found.people[0].facts["knew_the_voice"] == "1"


def ended(method: str, folder: Path, *systems: str, say: tuple[str, ...]) -> list[str | None]:
    """What the closing question came to for listeners who say right, wrong, "0" (cannot tell), or skip it."""
    recipe = made(folder, *systems, method=method, guess=True)
    client = browser(recipe)
    key = seal.open_key(recipe, blind.current(recipe).name)
    wanted = key.code("recordings" if "recordings" in (systems or SYSTEMS) and method != "mushra" else "adapter")
    for said in say:
        text = begin(client)
        while strings("en", PAGES)["cannot_tell"] not in text:
            text = answer(client, text)
        with panel(recipe) as found:
            way = client.app.state.running.way(found.listeners()[-1])  # type: ignore[attr-defined]
        right = -1 if way[-1].systems[0] == wanted else 1
        form = (
            {"skip": "yes"}
            if said == "skip"
            else {"choice": {"right": f"{right}", "wrong": f"{-right}"}.get(said, said)}
        )
        assert strings("en", PAGES)["thanks"] in answer(client, text, **form)
        client.cookies.clear()
    unseal.main(recipe)
    return [one.checks.get("guess") for one in ratings(recipe).people]


@pytest.mark.parametrize("method", ["acr", "preference", "mushra"])
def test_at_the_end_listeners_say_which_was_which_and_may_skip_it(tmp_path: Path, method: str) -> None:
    found = ended(method, tmp_path, say=("right", "wrong", "0", "skip"))
    assert found == ["pass", "fail", "not_run", None]


def test_without_recordings_the_closing_question_is_about_the_adapter(tmp_path: Path) -> None:
    assert ended("cmos", tmp_path, "adapter", "base", say=("right", "wrong")) == ["pass", "fail"]


def test_there_is_no_closing_question_where_nothing_could_be_told_or_the_recipe_asks_none(tmp_path: Path) -> None:
    key = seal.Key({"k1": "adapter", "k2": "recordings", "k3": "other"}, {}, "")
    asked = made(tmp_path, guess=True).evaluate.listen
    assert blind.guessed(asked, key) == ("recordings", "adapter")
    assert blind.guessed(asked.model_copy(update={"guess": False}), key) is None
    assert blind.guessed(asked.model_copy(update={"method": "mushra"}), key) is None  # the reference is named there


def test_the_closing_question_is_of_what_was_rated_and_the_database_does_not_say_what_is_right(
    tmp_path: Path,
) -> None:
    recipe = made(tmp_path, method="preference", guess=True)
    client = browser(recipe)
    finish(client, begin(client))
    *rated, last = kept(recipe)
    assert last.kind == "guess" and last.right is None and len(last.systems) == 2
    assert {*last.systems} <= {code for row in rated for code in row.systems}
    (listener,) = client.app.state.running.panel.listeners()  # type: ignore[attr-defined]
    first, second = client.app.state.running.way(listener)[-1].clips  # type: ignore[attr-defined]
    key = seal.open_key(recipe, blind.current(recipe).name)
    both = [item for item, row in key.clips.items() if {first.name, second.name} <= {*row.values()}]
    assert len(both) == 1 and both[0] in {row.item for row in rated}


def test_the_closing_question_makes_no_other_test(tmp_path: Path) -> None:
    names = {blind.current(made(tmp_path, guess=guess)).name for guess in (True, False)}
    assert len(names) == 1


def test_the_closing_question_is_within_the_minutes_of_a_listener(tmp_path: Path) -> None:
    """Trials fill what the question leaves: it takes ten seconds and two of the longest clips, heard 1.3 times."""
    recipe = made(tmp_path, method="acr", guess=True, minutes=1)
    found = blind.current(recipe)
    longest = sorted(blind.durations(recipe, found.clips).values(), reverse=True)
    asked = 10 + 2 * (longest[0] - 6)
    assert found.shape.trials == 6 and asked + sum(longest) <= 60
    tight = (asked + sum(longest[:3]) + 1) / 60
    shorter = recipe.evaluate.listen.model_copy(update={"minutes": tight})
    changed = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"listen": shorter})})
    assert blind.current(changed).shape.trials == 3
    changed.evaluate.listen.__dict__["minutes"] = tight - 2 / 60
    with pytest.raises(UserError, match="must hold them"):
        blind.current(changed)


def test_the_days_on_which_answers_came_are_known(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="acr")
    with panel(recipe) as found:
        assert found.days() is None
    finish(client := browser(recipe), begin(client))
    with panel(recipe) as found:
        first, last = found.days() or ("", "")
    assert first == last and re.fullmatch(r"\d{4}-\d\d-\d\d", first)
    assert answers.collected(recipe).days == (first, last)


def test_whoever_hears_the_quietest_tone_wears_headphones_and_nobody_is_excluded_for_it(tmp_path: Path) -> None:
    recipe = made(tmp_path, headphones=True)
    right, wrong, skipped = (browser(recipe) for _ in range(3))
    running = right.app.state.running  # type: ignore[attr-defined]
    texts = [begin(client) for client in (right, wrong, skipped)]
    with panel(recipe) as found:
        listeners = found.listeners()
    for client, listener, shift in ((right, listeners[0], 0), (wrong, listeners[1], 1)):
        text = texts[listener.number]
        for step in running.way(listener)[:6]:
            assert step.right is not None
            choice = (min(step.right) - 1 + shift) % 3 + 1
            text = client.post("/answer", data=filled(text) | {"choice": str(choice)}).text
    text = skipped.post("/answer", data=filled(texts[2]) | {"skip": "yes"}).text
    assert len(tokens(text)) == 2  # no more tones
    finish(skipped, text)
    rows = kept(recipe)
    found_checks = [
        answers.checks("preference", one, [row for row in rows if row.listener == one.name])["headphones"]
        for one in listeners
    ]
    assert found_checks == ["pass", "fail", "not_run"]


@pytest.mark.parametrize("seed", ["a", "b", "c", "d"])
def test_the_tone_in_antiphase_cancels_through_one_loudspeaker(seed: str) -> None:
    samples, quietest = tones(seed)
    third = (len(samples) - 2000) // 3
    parts = [samples[2000 + n * third : 2000 + (n + 1) * third].astype(float) for n in range(3)]
    by_ear = [np.abs(part[:, 0]).max() for part in parts]
    in_the_air = [np.abs(part.sum(1)).max() for part in parts]
    assert int(np.argmin(by_ear)) + 1 == quietest and min(by_ear) / max(by_ear) == pytest.approx(0.5, abs=0.01)
    assert int(np.argmin(in_the_air)) + 1 != quietest and min(in_the_air) < 2


def test_gold_is_destroyed_and_as_loud_as_before() -> None:
    whole = (3000 * np.random.default_rng(1).standard_normal(16_000)).astype("<i2")
    broken = destroyed(whole, "name").astype(float)
    assert np.std(broken) == pytest.approx(np.std(whole), rel=0.01)
    assert np.corrcoef(broken, whole)[0, 1] < 0.6


class Service:
    """A screening service on this machine that answers, and fails, in the ways that services do."""

    def __init__(self, answer: str) -> None:
        asked = self.asked = []  # type: list[Any]

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                if answer == "hangs up":
                    self.connection.close()
                    return
                self.send_response(503 if answer == "503" else 200)
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/check"


@pytest.mark.parametrize(
    ("said", "outcome", "excluded"),
    [
        ('{"result": "pass"}', "pass", None),
        ('{"result": "fail"}', "fail", "screening"),
        ('{"result": "bot"}', "error", None),
        ("<html>", "error", None),
        ("[1]", "error", None),
        ("503", "error", None),
        ("hangs up", "error", None),
    ],
)
def test_a_screening_service_that_fails_is_an_error_and_excludes_nobody(
    tmp_path: Path, said: str, outcome: str, excluded: str | None
) -> None:
    service = Service(said)
    recipe = made(tmp_path, screening=service.url, exclude=["screening"])
    client = browser(recipe)
    finish(client, begin(client))
    service.server.shutdown()
    service.server.server_close()
    unseal.main(recipe)
    (person,) = ratings(recipe).people
    assert (person.checks["screening"], person.excluded) == (outcome, excluded)
    assert service.asked == [{"listener": person.listener}]


def test_nobody_there_is_an_error_too() -> None:
    assert asyncio.run(screening.asked("http://127.0.0.1:1/check", "x")) == "error"


# ---------------------------------------------------------------- the plan


def test_a_frozen_plan_seals_the_test_and_binds_the_ratings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = made(tmp_path, method="acr", plan={"listeners": 30})
    plan.main(recipe, type("A", (), {"action": None})())
    said = capsys.readouterr().out
    assert re.search(r"a difference of 0\.5 of 1 to 5 is found with power 0\.\d\d", said)
    assert "to freeze it: python -m evaluate.plan" in said and not blind.plan_file(recipe).exists()
    plan.main(recipe, type("A", (), {"action": "freeze"})())
    frozen = blind.plan(recipe)
    assert frozen and frozen["plan"]["primary"] == ["adapter", "base"]
    assert frozen["plan"]["question"].endswith("of adapter another than that of base?")
    assert set(frozen["plan"]["exclusions"]) == {"comprehension", "traps", "gold"}
    text = blind.plan_file(recipe).read_text(encoding="utf-8")
    plan.main(recipe, type("A", (), {"action": "freeze"})())
    assert blind.plan_file(recipe).read_text(encoding="utf-8") == text  # the same plan again
    client = browser(recipe)
    finish(client, begin(client))
    unseal.main(recipe)
    assert ratings(recipe).plan_hash == frozen["sha256"]
    name, _ = blind.test_of_results(recipe)
    assert seal.unsealings(recipe, name)[0].plan == frozen["sha256"]
    unseal.main(recipe)
    assert len(seal.unsealings(recipe, name)) == 1  # a planned test is unsealed once


@pytest.mark.parametrize(("margin", "found"), [({"margin": 0.4}, 0.4), ({}, 0.25)])
def test_the_plan_holds_the_margin_of_equivalence(tmp_path: Path, margin: dict[str, float], found: float) -> None:
    recipe = made(tmp_path, method="acr", plan=margin)
    plan.freeze(recipe, plan.figures(recipe, blind.current(recipe, pilot=True)))
    client = browser(recipe)
    finish(client, begin(client))
    unseal.main(recipe)
    assert ratings(recipe).margin == found


def test_the_plan_holds_the_false_alarms_allowed(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="acr", plan={"alpha": 0.01})
    plan.freeze(recipe, plan.figures(recipe, blind.current(recipe, pilot=True)))
    client = browser(recipe)
    finish(client, begin(client))
    unseal.main(recipe)
    assert ratings(recipe).alpha == 0.01


def test_another_margin_is_another_plan(tmp_path: Path) -> None:
    names = []
    for planned in ({"margin": 0.4}, {"margin": 0.5}, {}):
        recipe = made(tmp_path, method="acr", plan=planned)
        names.append(blind.name_of(recipe, blind.clips(recipe), "plan"))
    assert len(set(names)) == 3


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("evaluate.listen.primary", {"primary": ["recordings", "base"]}),
        ("evaluate.listen.exclude", {"exclude": []}),
        ("evaluate.listen.method, evaluate.plan.margin", {"method": "cmos"}),
        ("evaluate.listen.reference", {"reference": "base"}),
        ("evaluate.plan.alpha", {"plan": {"alpha": 0.2}}),
        ("evaluate.plan.margin", {"plan": {"margin": 2.0}}),
    ],
)
def test_what_was_frozen_is_analysed_and_nothing_else(tmp_path: Path, key: str, change: dict[str, Any]) -> None:
    recipe = made(tmp_path, method="acr")
    plan.freeze(recipe, plan.figures(recipe, blind.current(recipe, pilot=True)))
    client = browser(recipe)
    finish(client, begin(client))
    unseal.main(recipe)
    other = made(tmp_path, **{"method": "acr"} | change)
    with pytest.raises(UserError, match=rf"^{key}: no longer as in the frozen plan .*freeze another plan"):
        heard(other)
    elsewhere = made(tmp_path, method="acr", port=1, plan={"listeners": 99})  # neither is of the analysis
    assert heard(elsewhere).state == "open" and ratings(elsewhere).primary == ("adapter", "base")


def test_a_frozen_test_says_nothing_of_clips_that_were_made_after_it(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="acr")
    plan.freeze(recipe, plan.figures(recipe, blind.current(recipe, pilot=True)))
    client = browser(recipe)
    finish(client, begin(client))
    unseal.main(recipe)
    assert heard(recipe).state == "open"
    stimuli.make(recipe, rendered(TEXTS, *SYSTEMS, seed=5))  # the adapter was trained anew
    assert (heard(recipe).state, heard(recipe).earlier) == ("none", 6)


def test_a_test_that_was_unsealed_takes_no_more_answers(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="acr")
    plan.freeze(recipe, plan.figures(recipe, blind.current(recipe, pilot=True)))
    client, late = browser(recipe), browser(recipe)
    text = begin(late)
    finish(client, begin(client))
    unseal.main(recipe)
    answer(late, text)
    assert answers.collected(recipe).answers == 6
    assert late.get("/test").status_code == 410 and late.get(f"/clip/{tokens(text)[0]}").status_code == 410
    app = application(recipe)
    with pytest.raises(UserError, match="unsealed and is over"):
        greet(app.state.running, "http://x", "127.0.0.1")
    greet(application(recipe, pilot=True).state.running, "http://x", "127.0.0.1")


def test_other_clips_settings_or_words_in_the_plan_are_refused(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="acr")
    plan.freeze(recipe, plan.figures(recipe, blind.current(recipe, pilot=True)))
    for other in (made(tmp_path, method="acr", repeats=1), made(tmp_path, method="cmos")):
        with pytest.raises(UserError, match=r"no longer those of the frozen plan"):
            application(other)
    application(made(tmp_path, method="acr", port=1, controller="an association"))  # not what makes the test
    application(made(tmp_path, method="cmos"), pilot=True)
    path = blind.plan_file(recipe)
    path.write_text(path.read_text(encoding="utf-8").replace('"adapter"', '"recordings"'), encoding="utf-8")
    with pytest.raises(UserError, match="was changed after it was frozen"):
        application(made(tmp_path, method="acr"))


def test_a_plan_under_which_somebody_answered_stays_until_it_is_unsealed(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="acr")
    first, _ = plan.freeze(recipe, plan.figures(recipe, blind.current(recipe, pilot=True)))
    client = browser(recipe)
    answer(client, begin(client))
    other = made(tmp_path, method="acr", plan={"listeners": 99})
    with pytest.raises(UserError, match="1 listeners have answered under the frozen plan: unseal that test first"):
        plan.freeze(other, plan.figures(other, blind.current(other, pilot=True)))
    with pytest.raises(UserError, match=r"evaluate\.plan are no longer those"):
        application(other)
    unseal.main(recipe)
    second, new = plan.freeze(other, plan.figures(other, blind.current(other, pilot=True)))
    assert new and second["sha256"] != first["sha256"] and answers.collected(other).answers == 0


def test_a_key_that_is_there_stays(tmp_path: Path) -> None:
    recipe = made(tmp_path)
    there = blind.current(recipe)
    public = seal.commitment(recipe, there.name)
    seal.seal(recipe, there.name, seal.new_key(stimuli.read(recipe)), None)
    assert seal.commitment(recipe, there.name) == public


# ---------------------------------------------------------------- mistakes of the one who sets it up


def test_nothing_to_listen_to_is_said_in_one_line(tmp_path: Path) -> None:
    recipe = made(tmp_path)
    heard = recipe.model_copy(update={"train": recipe.train.model_copy(update={"family": "whisper"})})
    with pytest.raises(UserError, match="recognises speech: there is nothing to listen to"):
        application(heard)
    stimuli.make(recipe, [])
    with pytest.raises(UserError, match="no sentence has a clip"):
        application(recipe)
    (recipe.folder("evaluate") / "key.json").unlink()
    with pytest.raises(UserError, match="no stimuli yet; run python -m evaluate"):
        application(recipe)


@pytest.mark.parametrize(
    ("systems", "listen", "fault"),
    [
        (["adapter"], {"method": "preference"}, "preference compares two systems, and there is one; use method: acr"),
        (["adapter", "base"], {"method": "mushra"}, r"reference: recordings has no clips; .* use method: mushra_nr"),
        (
            SYSTEMS,
            {"method": "mushra"},
            r"mushra needs anchor_low and anchor_mid \(ITU-R BS\.1534-3\): add them to evaluate\.systems.* mushra_nr",
        ),
        ([*SYSTEMS, "anchor_low"], {"method": "mushra"}, "mushra needs anchor_mid"),
        (
            ["adapter", "base"],
            {"primary": ["adapter", "voxtral"]},
            "primary: voxtral has no clips; there are",
        ),
        (SYSTEMS, {"method": "acr", "minutes": 0.1}, r"3 sentences or more are needed .* 0\.1 minutes"),
    ],
)
def test_a_method_that_cannot_be_used_says_why(
    tmp_path: Path, systems: list[str], listen: dict[str, Any], fault: str
) -> None:
    with pytest.raises(UserError, match=fault):
        application(made(tmp_path, *systems, **listen))


def test_sentences_that_not_every_system_said_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = made(tmp_path)
    stimuli.make(recipe, rendered(TEXTS, "adapter", "base") + rendered(TEXTS[:4], "recordings", seed=500))
    greet(application(recipe).state.running, "http://127.0.0.1:1", "0.0.0.0")
    said = capsys.readouterr().out
    assert "left out: 2 sentences, not said by every system" in said and "a pilot: its ratings prove nothing" in said
    assert "evaluate.listen.controller" in said and "Put TLS in front" in said
    stimuli.make(recipe, rendered(TEXTS[:2], "adapter") + rendered(TEXTS[2:], "base"))
    with pytest.raises(UserError, match="no sentence has a clip of every system: adapter has the fewest"):
        application(recipe)


def test_faults_of_the_section_are_found_when_the_recipe_is_read(tmp_path: Path) -> None:
    made(tmp_path)
    path = tmp_path / "recipe.yaml"
    for override, fault in [
        ("evaluate.listen.ratings=41", "less than or equal to 40"),
        ("evaluate.listen.minutes=21", "less than or equal to 20"),
        ("evaluate.listen.scale=true", "unknown key"),
        ("evaluate.listen.traps=[{audio: a.wav, answer: 5}]", "5 is no answer of the method preference"),
        ("evaluate.listen.comprehension=[{variety: x, audio: a, choices: [a, b], answer: 3}]", "must be 1 to 2"),
        ("evaluate.listen.database=postgresql://me:secret@x/y", "leave the password out"),
    ]:
        with pytest.raises(RecipeError, match=fault):
            load(path, [override])
    with pytest.raises(UserError, match=r"a\.wav: No such file or directory \(evaluate\.listen\.traps\)"):
        application(load(path, [f"evaluate.listen.traps=[{{audio: {tmp_path}/a.wav, answer: 1}}]"]))
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(UserError, match=r"a\.wav: .* \(evaluate\.listen\.traps\)"):
        application(load(path, [f"evaluate.listen.traps=[{{audio: {tmp_path}/a.wav, answer: 1}}]"]))


def test_codes_are_printed_only_where_they_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="invited is false"):
        invite(made(tmp_path), 3, False)


# ---------------------------------------------------------------- languages


def test_every_sentence_exists_in_every_language() -> None:
    keys = {language: set(strings(language, PAGES)) for language in LANGUAGES}
    assert all(found == keys["en"] for found in keys.values())
    assert all(text.strip() for language in LANGUAGES for text in strings(language, PAGES).values())
    used = "".join(path.read_text(encoding="utf-8") for path in PAGES.glob("*.html"))
    named = set(re.findall(r"\bt\.(\w+)", used))
    assert named - {"get"} <= keys["en"]


def test_every_region_and_variety_has_its_name_in_every_language() -> None:
    rows = [*places()["regions"].items(), *(row for found in places()["dialects"].values() for row in found.items())]
    for code, row in rows:
        assert set(row) in ({"en", "fr", "ary", "zgh"}, {"en", "fr", "ary", "zgh", "zgh-Latn"}), code
        assert all(row.values()), code


@pytest.mark.parametrize(
    ("language", "shell"), [("ary", 'lang="ary-Arab" dir="rtl"'), ("zgh", 'lang="zgh-Tfng" dir="ltr"')]
)
def test_pages_have_the_direction_of_their_language(tmp_path: Path, language: str, shell: str) -> None:
    client = browser(made(tmp_path))
    assert shell in client.get(f"/notice?language={language}").text
    text = begin(client, language)
    assert shell in text
    sentence = re.search(r'<bdi lang="([\w-]+)" dir="(\w+)">', text)
    assert sentence and (sentence[1] == "ary-Arab") == (sentence[2] == "rtl")


def test_instructions_that_somebody_read_aloud_can_be_heard(tmp_path: Path) -> None:
    (tmp_path / "spoken" / "zgh").mkdir(parents=True)
    soundfile.write(tmp_path / "spoken" / "zgh" / "notice.ogg", speech(1), 16_000)
    client = browser(made(tmp_path, spoken=str(tmp_path / "spoken")))
    for language in ("zgh", "zgh-Latn"):
        assert f"/sound/{language}/notice" in client.get(f"/notice?language={language}").text
    assert client.get("/sound/zgh/notice").headers["content-type"] == "audio/ogg"
    assert "data-speak" in client.get("/notice?language=fr").text  # the phone's own voice, if it has one
    for path in ("/sound/fr/notice", "/sound/xx/notice", "/sound/zgh/..%2f..%2frecipe.yaml"):
        assert client.get(path).status_code == 404


# ---------------------------------------------------------------- killed


def test_killed_in_the_middle_of_a_trial_the_order_stays_and_no_rating_is_lost_or_doubled(tmp_path: Path) -> None:
    made(tmp_path, method="acr")
    command = [sys.executable, "-m", "evaluate.listen", str(tmp_path / "recipe.yaml"), "evaluate.listen.port=0"]
    cookies: dict[str, str] = {}
    pages: list[str] = []
    for turn in range(2):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        address = re.findall(r"http://[\d.:]+", process.stdout.readline())[0]
        with httpx.Client(base_url=address, follow_redirects=True, timeout=60, cookies=cookies) as client:
            text = client.get("/test").text if turn else begin(client)  # type: ignore[arg-type]
            assert not pages or text == pages[-1]  # the same trial, under the same names
            after = client.post("/answer", data=filled(text)).text
            client.get(f"/clip/{tokens(after)[0]}", headers={"range": "bytes=0-99"})
            client.post("/answer", data=filled(text))  # sent twice
            pages.append(after)
            cookies = dict(client.cookies)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    recipe = load(tmp_path / "recipe.yaml")
    assert [row.step for row in kept(recipe)] == [0, 1]
    with closing(sqlite3.connect(recipe.folder("evaluate") / "listening.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (2,)


# ---------------------------------------------------------------- in a browser


@contextmanager
def served(recipe: Recipe) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(application(recipe), log_level="error"))
    with door("127.0.0.1", 0, "") as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield listening_at(listening)
        server.should_exit = True
        thread.join()


@contextmanager
def phone(traffic: list[str] | None = None, width: int = 360) -> Iterator[Any]:
    """A phone's browser; everything that it receives is written into `traffic`."""
    sync_api = pytest.importorskip("playwright.sync_api")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        page = chromium.new_page(viewport={"width": width, "height": 740})
        page.set_default_timeout(60_000)
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        if traffic is not None:
            page.on("console", lambda message: traffic.append(message.text))
            page.on("request", lambda request: traffic.append(request.url))
            page.on("response", lambda found: traffic.append(f"{found.url} {found.headers}"))
        yield page
        chromium.close()
        assert not faults


def hear(page: Any) -> None:
    """Play every clip of the page to its end."""
    for clip in page.locator("[data-clip]").all():
        clip.locator("button.play").click()
        page.wait_for_function("clip => clip.dataset.heard === 'yes'", arg=clip.element_handle())


@pytest.mark.parametrize("method", ["acr", "preference", "cmos", "abx", "mushra", "mushra_nr"])
def test_with_everything_recorded_no_page_needs_reading_or_the_voice_of_a_phone(tmp_path: Path, method: str) -> None:
    spoken = tmp_path / "spoken" / "zgh"
    spoken.mkdir(parents=True)
    asked = {"guess": True, "headphones": True, "comprehension": questions(tmp_path), "languages": ["zgh"]}
    names = recordings(made(tmp_path, method=method, **asked).evaluate.listen)
    for name in names:
        soundfile.write(spoken / f"{name}.wav", speech(1), 16_000)
    client = browser(made(tmp_path, method=method, spoken=str(spoken.parent), **asked))
    pages = [client.get(path).text for path in ("/", "/notice", "/resume", "/withdraw")]
    client.post("/consent", data={"agree": "yes"})
    pages.append(client.get("/about").text)
    pages.append(client.post("/about", data={}).text)
    pages.append(client.get("/test").text)
    while "/clip/" in pages[-1]:
        pages.append(client.post("/answer", data=filled(pages[-1])).text)
    pages += [client.get("/pause").text, client.get("/withdraw").text]
    everything = "".join(pages)
    assert "data-speak" not in everything
    heard_on_pages = set(re.findall(r'data-sound="/sound/zgh/(\w+)"', everything))
    assert {*names} - heard_on_pages <= {"pause", "question_guess_person", "question_guess_taught"}
    assert client.get("/sound/zgh/ready").status_code == 200


@needs("chromium")
@pytest.mark.parametrize(
    ("language", "method"), [("ary", "cmos"), pytest.param("zgh", "acr", marks=pytest.mark.slow)]
)
def test_a_whole_session_in_a_browser(tmp_path: Path, language: str, method: str) -> None:
    recipe = made(tmp_path, "adapter", "base", method=method, guess=True)
    stimuli.make(recipe, rendered(TEXTS[:4], "adapter", "base"))
    key = json.loads((recipe.folder("evaluate") / "key.json").read_text(encoding="utf-8"))
    traffic: list[str] = []
    with served(recipe) as address, phone(traffic) as page:
        page.goto(address)
        page.click(f"a[lang={ {'ary': 'ary-Arab', 'zgh': 'zgh-Tfng'}[language] }]")
        page.check("input[name=agree]")
        page.click("form button.wide")
        page.check("input[value=tashelhit]")
        page.click("form button.wide")
        page.click("a.button")
        for _ in range(5):  # the last is the closing question
            send = page.locator("[data-send]")
            assert send.is_disabled() and page.locator("fieldset[data-answer]:not([disabled])").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # no sideways scrolling
            hear(page)
            page.locator("input[name=choice]").first.check()
            traffic.append(page.content())
            traffic.append(page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"))
            send.click()
            page.wait_for_load_state()
        assert strings(language, PAGES)["thanks"] in page.content()
        traffic.append(page.content())
    rows = kept(recipe)
    assert len(rows) == 5 and all(share >= 0.95 for row in rows for share in row.heard)
    assert all(row.seconds is not None for row in rows)
    everything = "\n".join(traffic)
    assert not SECRETS.findall(everything)
    assert not [row[part] for row in key for part in ("name", "item") if row[part] in everything]


@needs("chromium")
def test_keys_and_sliders_work_and_ranges_do_not_flip_from_right_to_left(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="mushra")
    stimuli.make(recipe, rendered(TEXTS[:1], *SYSTEMS, *blind.ANCHORS))
    with served(recipe) as address, phone() as page:
        page.goto(f"{address}/notice?language=ary")
        page.check("input[name=agree]")
        page.click("form button.wide")
        page.click("form button.wide")
        page.click("a.button")
        page.locator("[data-clip]").first.wait_for()
        page.wait_for_load_state()  # before it, nobody listens to the key
        page.locator("[data-clip] button.play").first.click()  # the reference, which has no letter
        for letter in "abcde":
            page.keyboard.press(letter)
            clip = page.locator(f"[data-clip]:has([data-key={letter.upper()}])")
            page.wait_for_function("clip => clip.dataset.heard === 'yes'", arg=clip.element_handle())
            slider = clip.locator("input[type=range]")
            assert page.locator("[data-send]").is_disabled()
            slider.focus()
            page.keyboard.press("Home" if letter == "a" else "End")
        page.locator("[data-clip] button.play").first.click()
        page.wait_for_selector("[data-send]:not([disabled])")
        assert [box.input_value() for box in page.locator("input[type=range]").all()] == ["0", *["100"] * 4]
        page.click("[data-send]")
        page.wait_for_url("**/pause")
    (given,) = kept(recipe)
    assert list(given.value) == [0, 100, 100, 100, 100] and len(given.heard) == 6


PLACES = """text => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const at = node.data.indexOf(text);
    if (at < 0) continue;
    return [...text].map((_, n) => {
      const range = document.createRange();
      range.setStart(node, at + n);
      range.setEnd(node, at + n + 1);
      return range.getBoundingClientRect().left;
    });
  }
}"""


@needs("chromium")
@pytest.mark.parametrize(("method", "spans"), [("acr", ["(1–5)"]), ("cmos", ["(−3 … +3)", "+3", "−3"])])
def test_on_a_page_from_right_to_left_ranges_are_read_from_left_to_right(
    tmp_path: Path, method: str, spans: list[str]
) -> None:
    recipe = made(tmp_path, method=method)
    with served(recipe) as address, phone() as page:
        page.goto(f"{address}/notice?language=ary")
        page.check("input[name=agree]")
        page.click("form button.wide")
        page.click("form button.wide")
        page.click("a.button")
        assert page.get_attribute("html", "dir") == "rtl"
        for span in spans:
            places = page.evaluate(PLACES, span)
            assert places and places == sorted(places), span  # each sign is drawn to the right of the one before
