"""The recording booth as a speaker meets it: in a browser, with a microphone, and a connection that goes away."""

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import uvicorn

from collect import record
from collect.booth.visit import PAGES
from collect.ledger import Ledger, open_ledger
from recipes.schema import Recipe
from tests.babble import babble
from tests.conftest import needs
from tests.test_record import make
from web.page import strings

RATE_HZ = 48_000
SENTENCES = {"ary-Arab": "فين غادي مع هاد الصباح؟\nشكرا بزاف.\n", "zgh-Tfng": "ⴰⵣⵓⵍ ⴰ ⵜⴰⵎⵖⴰⵔⵜ.\nⵎⴰⵏⵉⴽ ⵜⴳⵉⴷ?\n"}


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    for language, text in SENTENCES.items():
        (tmp_path / f"{language}.txt").write_text(text, encoding="utf-8")
    return make(tmp_path, prompts={language: f"{language}.txt" for language in SENTENCES})


@pytest.fixture
def ledger(recipe: Recipe) -> Iterator[Ledger]:
    with open_ledger(recipe) as ledger:
        yield ledger


@pytest.fixture
def address(recipe: Recipe, ledger: Ledger) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = record.application(recipe, ledger)
    server = uvicorn.Server(uvicorn.Config(app, port=port, http="h11", log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """What the microphone hears, over and over: five seconds with a pitch of its own."""
    path = tmp_path / "capture.wav"
    soundfile.write(path, babble(4, RATE_HZ, pitch_hz=170), RATE_HZ, "PCM_16")
    return path


@pytest.fixture
def page(capture: Path, address: str) -> Iterator[Any]:
    """A phone's browser whose microphone hears `capture`."""
    sync_api = pytest.importorskip("playwright.sync_api")
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    arguments += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    arguments += [f"--use-file-for-fake-audio-capture={capture}"]
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        phone = browser.new_context(
            viewport={"width": 390, "height": 844}, base_url=address, permissions=["microphone"]
        )
        page = phone.new_page()
        page.set_default_timeout(60_000)
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        yield page
        browser.close()
        assert not faults


def agree(page: Any, language: str) -> str:
    """From the first page to the prompts; the speaker's code."""
    page.goto("/")
    page.click(f"button[value={language}]")
    page.click("a.button")
    page.check("input[value=store_prepare]")
    page.check("input[value=asr_train]")
    page.check("input[value=adult]")
    page.click("form#consent > button")
    code = str(page.inner_text(".code"))
    page.click("a.button:not(.plain)")
    page.click("button.wide")
    page.wait_for_selector("#check")
    page.goto("/record")
    return code


def say(page: Any, seconds: float = 3) -> None:
    """Record, and stop."""
    page.click("[data-do=record]")
    page.wait_for_timeout(1000 * seconds)
    page.click("[data-do=stop]")


def keep(page: Any) -> None:
    """Keep what was recorded, whatever the booth thinks of it."""
    page.click("[data-do=keep]")
    decided = "() => !document.querySelector('[data-state=review] [data-do=keep]:disabled')"
    page.wait_for_function(decided)
    if page.is_visible("[data-do=keep]"):
        page.click("[data-do=keep]")


def until(done: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def likeness(heard: np.ndarray, said: np.ndarray) -> float:
    """The greatest normalised cross-correlation of a second of what was heard with what was said, over and over."""
    part = heard[RATE_HZ : 2 * RATE_HZ] - heard[RATE_HZ : 2 * RATE_HZ].mean()
    again = np.concatenate([said, said])
    size = len(again) + len(part)
    products = np.fft.irfft(np.fft.rfft(again, size) * np.fft.rfft(part[::-1], size), size)[
        len(part) - 1 : len(again)
    ]
    power = np.cumsum(np.concatenate([[0], again**2]))
    norms = np.sqrt((power[len(part) :] - power[: -len(part)]) * np.sum(part**2))
    return float(np.max(products / np.maximum(norms, 1e-6)))


@needs("chromium")
@pytest.mark.parametrize(
    ("language", "prompts", "direction"), [("ary", "ary-Arab", "rtl"), ("zgh", "zgh-Tfng", "ltr")]
)
def test_a_speaker_records_though_the_connection_is_cut_in_the_middle_of_an_upload(
    page: Any, ledger: Ledger, capture: Path, language: str, prompts: str, direction: str
) -> None:
    agree(page, language)
    said = strings(language, PAGES)
    assert page.get_attribute("html", "dir") == direction
    assert page.inner_text(".sentence") in SENTENCES[prompts]
    cut = 0

    def lost(route: Any) -> None:
        """The request arrives and its answer does not: the server has the clip, the phone does not know."""
        nonlocal cut
        cut += 1
        if cut == 1:
            route.fetch()
        route.abort("connectionreset")

    page.route("**/clip*", lost)
    sentence = page.inner_text(".sentence")
    say(page)
    assert page.inner_text(".state") == said["say_listen"]
    page.click("[data-do=replay]")
    page.click("[data-do=keep]")
    page.wait_for_function("text => document.querySelector('.state').textContent === text", arg=said["say_offline"])
    assert page.inner_text(".sentence") != sentence  # the next one is here already
    page.wait_for_selector(".waiting:not([hidden])")
    assert said["say_waiting"] in page.inner_text(".waiting")
    page.context.set_offline(True)
    page.wait_for_timeout(1500)
    page.unroute("**/clip*")
    page.context.set_offline(False)
    page.wait_for_selector(".waiting", state="hidden")
    (clip,) = ledger.clips()
    assert clip.transcript == sentence and clip.language == prompts and cut >= 2
    samples, rate_hz = ledger.audio(clip, "asr_train")
    assert rate_hz == RATE_HZ and clip.duration_s == pytest.approx(3, abs=0.7)
    assert likeness(samples[:, 0], soundfile.read(capture)[0]) > 0.98
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@needs("chromium")
def test_what_waits_is_sent_after_the_page_was_closed(page: Any, ledger: Ledger) -> None:
    agree(page, "zgh-Latn")
    page.route("**/clip*", lambda route: route.abort())
    say(page)
    page.click("[data-do=keep]")
    page.wait_for_selector(".waiting:not([hidden])")
    assert list(ledger.clips()) == []
    page.goto("about:blank")
    page.unroute("**/clip*")
    page.goto("/receipt")
    until(lambda: len(list(ledger.clips())) == 1)
    page.wait_for_selector(".waiting", state="hidden")
    page.goto("/record")
    assert page.inner_text("[data-done]") == "1"


@needs("chromium")
def test_on_a_phone_that_is_handed_on_recordings_wait_for_their_speaker(page: Any, ledger: Ledger) -> None:
    code = agree(page, "fr")
    page.route("**/clip*", lambda route: route.abort())
    say(page)
    page.click("[data-do=keep]")
    page.wait_for_selector(".waiting:not([hidden])")
    page.click("form.leave button")
    page.unroute("**/clip*")
    agree(page, "en")
    page.wait_for_timeout(1500)
    assert list(ledger.clips()) == []
    page.click("form.leave button")
    page.goto("/resume")
    page.fill("[name=code]", code)
    page.click("button.wide")
    until(lambda: len(list(ledger.clips())) == 1)
    (clip,) = ledger.clips()
    assert clip.speaker == ledger.speaker_of(code.replace(" ", ""))


@needs("chromium")
def test_the_microphone_check_retakes_and_skips(page: Any, ledger: Ledger) -> None:
    agree(page, "en")
    page.goto("/check")
    page.click("#check button")
    page.wait_for_selector("#check button:not([disabled])")
    said = strings("en", PAGES)  # the microphone of this test never is silent, but for pauses
    assert page.inner_text("#check .state") in (said["check_fine"], said["check_noise"])
    page.goto("/record")
    page.wait_for_selector("[data-do=record]:visible")
    first = page.inner_text(".sentence")
    say(page, 0.1)
    page.click("[data-do=keep]")  # too short: it says so and asks again
    page.wait_for_selector("[data-do=record]:visible")
    assert page.inner_text(".sentence") == first and page.inner_text(".state") != ""
    say(page)
    page.click("[data-do=again]")
    page.wait_for_timeout(2000)
    page.click("[data-do=stop]")
    page.click("[data-do=skip]")
    page.wait_for_function("text => document.querySelector('.sentence').textContent !== text", arg=first)
    say(page)
    keep(page)
    page.wait_for_url("**/receipt")  # one kept, one skipped: that was all
    (clip,) = ledger.clips()
    assert clip.transcript != first


@needs("chromium")
def test_somebody_who_does_not_read_can_agree_aloud(page: Any, ledger: Ledger) -> None:
    page.goto("/")
    page.click("button[value=ary]")
    page.click("a.button")
    page.check("input[value=store_prepare]")
    page.check("input[value=adult]")
    page.click("#voice [data-do=record]")
    page.wait_for_timeout(2000)
    page.click("#voice [data-do=stop]")
    page.click("form#consent > button")
    page.wait_for_url("**/code")
    (event,) = ledger.consents(ledger.speakers()[0].code)
    assert event.how == "spoken" and len(event.evidence) == 1
