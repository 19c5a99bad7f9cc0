"""The real Label Studio, whole: push, annotate as people do, pull, a lost answer, a restart, a withdrawal."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from collect.label import audio, server
from collect.ledger import open_ledger
from collect.withdraw import withdraw
from recipes.schema import Recipe
from tests.conftest import needs
from tests.studio import Real, free_port, losing
from tests.test_label import changed, clips, corpus, run

pytestmark = [pytest.mark.slow, needs("label-studio")]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """A server with a database of its own; the first start takes a minute, on a busy machine several."""
    found = Real(tmp_path_factory.mktemp("studio"))
    yield found
    found.stop()


@pytest.fixture
def recipe(tmp_path: Path, real: Real, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Four clips of two speakers, for a project of their own and two annotators each."""
    monkeypatch.delenv(server.ENVIRONMENT, raising=False)
    made = changed(
        corpus(tmp_path, real.url, annotators=2),
        secrets=real.folder / "secrets",
        project=tmp_path.name[:50],
        audio_url=f"http://127.0.0.1:{free_port()}",
    )
    return made


@pytest.fixture
def heard(recipe: Recipe) -> Iterator[None]:
    """The audio server at work."""
    with open_ledger(recipe) as ledger:
        port = int(recipe.collect.label.audio_url.rpartition(":")[2])
        app = audio.application(recipe.collect.label, ledger)
        running = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
        thread = threading.Thread(target=running.run, daemon=True)
        thread.start()
        while not running.started:
            time.sleep(0.05)
        yield
        running.should_exit = True
        thread.join()


def tasks(recipe: Recipe) -> list[server.Task]:
    with server.open_project(recipe) as project:
        return project.tasks()


def number(recipe: Recipe) -> int:
    with server.open_project(recipe) as project:
        return project.id


def test_a_whole_round_and_a_withdrawal(recipe: Recipe, real: Real, tmp_path: Path) -> None:
    for _ in range(2):
        run(recipe, "push")
    named = {name: clip.id for name, clip in clips(recipe).items()}
    by_clip = {row.clip: row.id for row in tasks(recipe)}
    assert sorted(by_clip) == sorted(named.values()) and len(tasks(recipe)) == 4
    people = [real.join(f"{name}@example.org", "a long password 1") for name in ("hind", "said")]
    text = "صباح الخير 3la slamtek ⴰⵣⵓⵍ 🙂"
    for person in people:
        real.annotate(person, by_clip[named["0.wav"]], text=text, language="ary-Arab", valid="yes", quality="good")
    real.annotate(people[0], by_clip[named["2.wav"]], text="ⴰⵣⵓⵍ", language="zgh-Tfng", valid="yes")
    for person in people:
        person.close()

    real.stop()  # half-way
    real.start()
    for action in ("push", "pull", "pull"):
        run(recipe, action)
    assert len(tasks(recipe)) == 4
    with open_ledger(recipe) as ledger:
        rows = ledger.transcripts()
    assert len(rows) == 3 and len({row.annotator for row in rows}) == 2
    assert all(row.annotator.startswith("ls:") and "@" not in row.annotator for row in rows)
    assert clips(recipe)["0.wav"].transcript == text and clips(recipe)["0.wav"].origin == "validated"

    with server.open_project(recipe) as project:
        project.client.projects.exports.create(project.id)  # a copy that deleting tasks leaves on the disk
    exports = list(real.secrets.data.glob(f"media/export/{project.id}/*"))
    with open_ledger(recipe) as ledger:
        withdraw(ledger, "brahim")
    run(recipe, "push")
    assert {row.clip for row in tasks(recipe)} == {named["0.wav"], named["1.wav"]}
    assert exports and not any(path.exists() for path in exports)
    with open_ledger(recipe) as ledger:
        (done,) = ledger.tasks()
        assert done.state == "done" and "none listed afterwards" in str(done.proof)
    database = b"".join(path.read_bytes() for path in real.secrets.data.glob("label_studio.sqlite3*"))
    assert named["2.wav"].encode() not in database and named["0.wav"].encode() in database


def test_copies_for_a_team_on_one_machine(recipe: Recipe, real: Real) -> None:
    copies = changed(recipe, audio="files")
    run(copies, "push")
    urls = {row.clip: row.audio for row in tasks(recipe)}
    first, third = (clips(recipe)[name].id for name in ("0.wav", "2.wav"))
    with closing(real.join("copies@example.org", "a long password 1")) as person:
        assert person.get(urls[third]).content[:4] == b"fLaC"
        with open_ledger(recipe) as ledger:
            withdraw(ledger, "brahim")
        run(copies, "push")
        assert person.get(urls[third]).status_code == 404 and person.get(urls[first]).status_code == 200


@pytest.mark.parametrize("how", ["drop", "502"])
def test_a_lost_answer_makes_no_second_task(recipe: Recipe, real: Real, how: str) -> None:
    run(changed(recipe, languages=["zgh-Tfng"]), "push")
    name = number(recipe)
    with losing(real.url, f"POST /api/projects/{name}/import", how) as (proxy, seen):
        behind = changed(recipe, url=proxy)
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv(server.ENVIRONMENT, real.secrets.token)
            run(behind, "push")
    assert seen.count(f"POST /api/projects/{name}/import") == 1
    assert sorted(row.clip for row in tasks(recipe)) == sorted(clip.id for clip in clips(recipe).values())


@needs("chromium")
def test_an_annotator_hears_edits_and_submits_in_the_browser(recipe: Recipe, real: Real, heard: None) -> None:
    from playwright.sync_api import sync_playwright

    run(recipe, "push")
    first = clips(recipe)["0.wav"]
    (task,) = [row for row in tasks(recipe) if row.clip == first.id]
    real.join("browser@example.org", "a long password 1").close()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        page: Any = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        hosts: set[str] = set()
        page.on("request", lambda sent: hosts.add(urlsplit(sent.url).netloc))
        log_in(page, real.url, "browser@example.org", "a long password 1")
        with page.expect_response(lambda found: f"/audio/{first.id}.flac" in found.url and found.ok):
            page.goto(f"{real.url}/projects/{number(recipe)}/data?task={task.id}")
        page.wait_for_function(DRAWN)
        draft = page.locator(".said p").first
        assert draft.inner_text() == "صباح الخير" and draft.evaluate("e => getComputedStyle(e).direction") == "rtl"
        page.click("[data-testid=htx-textbox-edit-button]")
        box = page.locator(".said textarea").first
        assert box.evaluate("e => getComputedStyle(e).direction") == "rtl"
        box.fill("صباح النور khoya")
        box.press("Enter")
        with page.expect_response(lambda found: "/annotations" in found.url and found.status == 201):
            page.click("button:has-text('Submit')")
        page.context.close()
        browser.close()
    assert hosts <= {urlsplit(real.url).netloc, urlsplit(recipe.collect.label.audio_url).netloc, ""}
    run(changed(recipe, annotators=1), "pull")
    assert clips(recipe)["0.wav"].transcript == "صباح النور khoya"


# Whether the waveform is drawn: a canvas with pixels of more than one colour.
DRAWN = """() => [...document.querySelectorAll('canvas')].some(canvas => {
    const pen = canvas.width && canvas.height && canvas.getContext('2d');
    if (!pen) return false;
    const seen = new Set(new Uint32Array(pen.getImageData(0, 0, canvas.width, canvas.height).data.buffer));
    return seen.size > 3;
})"""


def log_in(page: Any, url: str, email: str, password: str) -> None:
    page.goto(f"{url}/user/login/")
    page.fill("input[name=email]", email)
    page.fill("input[name=password]", password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda here: "login" not in here)
