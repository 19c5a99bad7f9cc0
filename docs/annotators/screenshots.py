"""Takes the screenshots of docs/annotators.md from the real server: `python docs/annotators/screenshots.py`.

Needs `make label-studio-install` and Chromium. The recordings are the synthetic ones of the sample corpus.
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

import collect.label.__main__ as label  # noqa: E402 (the folders are not installed)
from collect import ingest  # noqa: E402
from collect.label import audio, studio  # noqa: E402
from collect.ledger import open_ledger  # noqa: E402
from recipes.schema import Recipe, load  # noqa: E402

PORT, AUDIO_PORT = 8093, 8094
MOST_BYTES = 150_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        known = studio.make_secrets(Path(folder), PORT)
        server = studio.start(Path(folder), known)
        try:
            recipe = pushed(Path(folder), known)
            with open_ledger(recipe) as ledger:
                app = audio.application(recipe.collect.label, ledger)
                heard = uvicorn.Server(uvicorn.Config(app, port=AUDIO_PORT, log_level="error"))
                threading.Thread(target=heard.run, daemon=True).start()
                take(known)
                heard.should_exit = True
                time.sleep(1)
        finally:
            studio.stop(server)


def pushed(folder: Path, known: studio.Secrets) -> Recipe:
    """The sample corpus, in Label Studio."""
    settings = {
        "work_dir": folder / "work",
        "collect.keys": folder / "keys",
        "collect.label.url": known.url,
        "collect.label.secrets": folder / "secrets",
        "collect.label.audio_url": f"http://127.0.0.1:{AUDIO_PORT}",
        "collect.label.languages": "[ary-Arab]",
        "collect.label.project": "Darija",
    }
    recipe = load(ROOT / "recipes" / "demo.yaml", [f"{key}={value}" for key, value in settings.items()])
    ingest.main(recipe)
    label.main(recipe, argparse.Namespace(action="push"))
    return recipe


def take(known: studio.Secrets) -> None:
    """An annotator joins, opens the project, corrects a text."""
    headers = {"Authorization": f"Token {known.token}"}
    invitation = httpx.get(f"{known.url}/api/invite", headers=headers).json()["invite_url"]
    options = ["--headless", "--no-sandbox", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        page = browser.new_page(viewport={"width": 1000, "height": 860})
        page.set_default_timeout(60_000)
        page.goto(known.url + invitation)
        page.fill("input[name=email]", "hind@example.org")
        page.fill("input[name=password]", "a long password 1")
        page.get_by_text("Get the latest news").click()
        shoot(page, "join", clip={"x": 525, "y": 180, "width": 450, "height": 500})
        page.click("button[type=submit]")
        page.wait_for_url(lambda here: "signup" not in here)
        page.goto(f"{known.url}/projects")
        page.get_by_text("Darija", exact=True).first.click()
        button = page.get_by_text("Label All Tasks").first
        button.wait_for()
        page.wait_for_timeout(3000)
        shoot(page, "project", clip={"x": 0, "y": 0, "width": 1000, "height": 400})
        button.click()
        page.locator(".said p").first.wait_for()
        page.wait_for_timeout(5000)
        page.keyboard.press("Escape")  # the instructions
        page.wait_for_timeout(1000)
        shoot(page, "task")
        page.click("[data-testid=htx-textbox-edit-button]")
        page.wait_for_timeout(1000)
        shoot(page, "edit", clip={"x": 0, "y": 48, "width": 720, "height": 380})
        page.context.close()
        browser.close()


def shoot(page: Any, name: str, **options: Any) -> None:
    path = HERE / f"{name}.png"
    page.screenshot(path=path, **options)
    assert path.stat().st_size <= MOST_BYTES, f"{path}: {path.stat().st_size} bytes"


if __name__ == "__main__":
    main()
