"""What the listening test costs with many listeners at once: `python -m benchmarks.listen [--quick]`.

Prints one line a figure, `name  value  goal  ok|short`, and exits with 1 when one falls short. Listeners come within
half a minute, and each needs some seconds for a page, as people do; clips are fetched as browsers fetch them. Server
and listeners run on this machine. The server is another process, on a file of SQLite or on PostgreSQL.
"""

import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import httpx
import numpy as np

from evaluate import blind, stimuli
from evaluate.panel import Panel
from evaluate.systems import Item, Rendered
from recipes.schema import Recipe, load
from tests import postgres

QUICK = "--quick" in sys.argv
LISTENERS, SENTENCES = (30, 6) if QUICK else (100, 10)
COMING_S, PAGE_S = (10, (3, 8)) if QUICK else (30, (4, 12))
GOAL_MS = 300
short: list[str] = []


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        crowd("SQLite", made(Path(folder) / "sqlite"))
        if postgres.program("initdb"):
            with postgres.server() as url:
                crowd("PostgreSQL", made(Path(folder) / "postgres", postgres.new_database(url, "bench")))
    raise SystemExit(bool(short))


def made(folder: Path, database: str | None = None) -> Recipe:
    """A test of two systems with sentences of about three seconds."""
    folder.mkdir(parents=True)
    whole = {
        "name": "bench",
        "work_dir": "work",
        "collect": {"source": str(folder)},
        "prepare": {"purpose": "tts_clone"},
        "train": {"family": "fastspeech2", "base": "x/y"},
        "evaluate": {"listen": {"method": "preference", "headphones": False, "database": database, "port": 0}},
    }
    (folder / "recipe.yaml").write_text(json.dumps(whole), encoding="utf-8")
    recipe = load(folder / "recipe.yaml")
    draw = np.random.default_rng(1)
    items = [Item(f"sentence {n}", "ary-Latn", "s") for n in range(SENTENCES)]
    stimuli.make(
        recipe,
        [
            Rendered(system, item, (0.1 * draw.standard_normal(66_000)).astype(np.float32), 22_050)
            for item in items
            for system in ("base", "adapter")
        ],
    )
    return recipe


def crowd(name: str, recipe: Recipe) -> None:
    command = [sys.executable, "-m", "evaluate.listen", str(recipe.work_dir.parent / "recipe.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            address = re.findall(r"http://[\d.:]+", server.stdout.readline())[0]
            took, answered = asyncio.run(everybody(address))
        finally:
            server.terminate()
    panel = Panel(recipe, blind.test_of_results(recipe)[0])
    kept = len(panel.all())
    panel.close()
    for kind, times_ms in sorted(took.items()):
        p95 = float(np.percentile(times_ms, 95))
        line(f"{name}, {LISTENERS} listeners: {kind}, 95th percentile of {len(times_ms)}", p95, "ms", GOAL_MS)
    line(f"{name}: answers sent and not kept", answered - kept, "", 0)


async def everybody(address: str) -> tuple[dict[str, list[float]], int]:
    took: dict[str, list[float]] = defaultdict(list)
    answered = await asyncio.gather(*(listener(address, number, took) for number in range(LISTENERS)))
    return took, sum(answered)


async def listener(address: str, number: int, took: dict[str, list[float]]) -> int:
    """One listener from the first page to the last. Returns the answers sent."""
    draw = random.Random(number)
    await asyncio.sleep(draw.uniform(0, COMING_S))
    async with httpx.AsyncClient(base_url=address, timeout=120) as client:

        async def ask(kind: str, method: str, path: str, **options: object) -> httpx.Response:
            start = time.perf_counter()
            found = await client.request(method, path, **options)  # type: ignore[arg-type]
            took[kind].append(1000 * (time.perf_counter() - start))
            assert found.status_code < 400, found.text
            return found

        await ask("pages", "GET", "/notice?language=ary")
        await ask("answers", "POST", "/consent?language=ary", data={"agree": "yes"})
        await ask("answers", "POST", "/about", data={"gender": "female"})
        answered = 0
        while "/clip/" in (text := (await ask("pages", "GET", "/test", follow_redirects=True)).text):
            for token in re.findall(r"/clip/(\w+)", text):
                await ask("clips", "GET", f"/clip/{token}", headers={"range": "bytes=0-"})
            await asyncio.sleep(draw.uniform(*PAGE_S))
            form = dict(re.findall(r'name="(form)" value="([^"]+)"', text))
            form |= {"heard0": "1", "heard1": "1", "choice": "1"}
            await ask("answers", "POST", "/answer", data=form)
            answered += 1
    return answered


def line(name: str, value: float, unit: str, goal: float) -> None:
    """Print a figure; it falls short above its goal."""
    said = "ok" if value <= goal else "short"
    if said == "short":
        short.append(name)
    print(f"{name:<70} {value:8.1f} {unit:<3} goal {goal:g}  {said}", flush=True)


if __name__ == "__main__":
    main()
