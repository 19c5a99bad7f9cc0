"""What the ledger, the vault and the booth cost: `python -m benchmarks.collect [--quick]`.

Prints one line a figure, `name  value  goal  ok|short`, and exits with 1 when one falls short. Both sides of a
ratio are measured in the same run, on the same disk (of the temporary folder: TMPDIR). PostgreSQL is started
for the purpose where it is installed.
"""

import asyncio
import contextlib
import hashlib
import io
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import httpx
import numpy as np
import soundfile
import sqlalchemy as sa

from collect import chain, ingest, tables
from collect.consent import Event
from collect.ledger import Ledger, Speaker, open_ledger
from recipes.records import Clip
from recipes.schema import Recipe, load
from tests import postgres

QUICK = "--quick" in sys.argv
RATE_HZ = 16_000
START = datetime(2026, 1, 1, tzinfo=UTC)
_short = False


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ingesting(folder / "ingest")
        verifying(folder / "verify")
        permitting(folder / "permit")
        closing(folder / "closure")
        writing(folder / "writers")
        crowding(folder / "booth")
    raise SystemExit(_short)


def line(name: str, value: float, unit: str, goal: float, most: bool = True) -> None:
    """One figure. `most`: the goal is the most that it may be, else the least."""
    global _short
    fits = value <= goal if most else value >= goal
    _short |= not fits
    print(f"{name:<52} {value:10.3g} {unit:<10} goal {'≤' if most else '≥'} {goal:g}  {'ok' if fits else 'short'}")


# ---------------------------------------------------------------- ingest


def ingesting(folder: Path) -> None:
    """A folder of three-second WAV files, on one core, against copying, syncing and hashing the same files."""
    count = 300 if QUICK else 2000
    source = folder / "source"
    source.mkdir(parents=True)
    draw = np.random.default_rng(1)
    rows = ["file,text,speaker,language"]
    for number in range(count):
        noise = np.cumsum(draw.normal(0, 1e-3, 3 * RATE_HZ)).astype(np.float32)
        soundfile.write(source / f"{number}.wav", 0.5 * noise / np.abs(noise).max(), RATE_HZ, "PCM_16")
        rows.append(f"{number}.wav,سلام,s{number % 20},ary-Arab")
    (source / "metadata.csv").write_text("\n".join(rows), encoding="utf-8")
    basis = {"purposes": ["store_prepare"], "notice": "n", "controller": "c", "given_on": "2026-01-01"}
    recipe = made(folder, source=str(source), basis=basis)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        before = timed(lambda: copy(source, folder / "copy1"))
        spent = timed(lambda: quiet(lambda: ingest.main(recipe)))
        after = timed(lambda: copy(source, folder / "copy2"))
    finally:
        os.sched_setaffinity(0, cores)
    line(f"ingest, {count} clips of 3 s, one core", count / spent, "clips/s", 100, most=False)
    line("ingest / (copy + fsync + SHA-256)", spent / ((before + after) / 2), "×", 4)


def copy(source: Path, target: Path) -> None:
    """What the bare minimum costs: read, hash, write, sync."""
    target.mkdir()
    for path in source.glob("*.wav"):
        data = path.read_bytes()
        hashlib.sha256(data).hexdigest()
        with open(target / path.name, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


# ---------------------------------------------------------------- consent


def verifying(folder: Path) -> None:
    """A chain of a hundred thousand events, walked from end to end."""
    count = 10_000 if QUICK else 100_000
    with open_ledger(made(folder)) as ledger:
        fill_chain(ledger, count)
        spent = min(timed(ledger.verify) for _ in range(3))
    line(f"verify, 100,000 events (measured with {count:,})", spent * 100_000 / count, "s", 2)


def fill_chain(ledger: Ledger, count: int, speakers: int = 2000) -> None:
    """Events written in one transaction, chained as the ledger does."""
    last, rows = chain.Receipt(0, "0" * 64), []
    for number in range(1, count + 1):
        code = f"s{number % speakers}"
        text = granted(code, START + timedelta(seconds=number)).model_dump_json()
        last = chain.Receipt(number, chain.link(last.hash, code, text))
        rows.append({"number": number, "speaker": code, "event": text, "hash": last.hash})
    with ledger._engine.begin() as connection:
        connection.execute(tables.events.insert(), rows)


def permitting(folder: Path) -> None:
    """One question to the gate, of clips by many speakers in random order."""
    asked = 2000 if QUICK else 20_000
    with open_ledger(made(folder)) as ledger:
        fill_chain(ledger, 10_000)
        draw = random.Random(3)
        clips = [clip(number, f"s{number % 2000}") for number in range(2000)]
        for one in clips:
            ledger.permit(one, "asr_train")
        chosen = [draw.choice(clips) for _ in range(asked)]
        spent = timed(lambda: [ledger.permit(one, "asr_train") for one in chosen])
    line("permit, mean", spent / asked * 1e6, "µs", 50)


# ---------------------------------------------------------------- lineage


def closing(folder: Path) -> None:
    """Everything that a withdrawal touches: 2,000 speakers, 100 datasets, 60 adapters and their reports."""
    clips, asked = (10_000, 50) if QUICK else (100_000, 500)
    draw = random.Random(5)
    names = [f"{number:064x}" for number in range(clips)]
    with open_ledger(made(folder)) as ledger:
        with ledger._engine.begin() as connection:
            fill_lineage(connection, names, draw)
        times = []
        for _ in range(asked):
            speaker = draw.randrange(2000)
            times.append(timed(lambda mine=names[speaker::2000]: ledger.touched(mine)))  # type: ignore[misc]
    line(f"lineage closure of a withdrawal, {clips:,} clips, p99", float(np.quantile(times, 0.99)) * 1e3, "ms", 50)


def fill_lineage(connection: sa.Connection, names: list[str], draw: random.Random) -> None:
    base = {"kind": "dataset", "place": "x", "purpose": "asr_train", "at_event": 0}
    kinds = {"dataset": 100, "adapter": 60, "report": 60}
    for kind, count in kinds.items():
        rows = [base | {"id": f"{kind}{number}", "kind": kind} for number in range(count)]
        connection.execute(tables.artefacts.insert(), rows)
    edges = [
        {"clip": name, "artefact": f"dataset{number}"} for name in names for number in draw.sample(range(100), 4)
    ]
    connection.execute(tables.contents.insert(), edges)
    parents = [{"parent": f"dataset{draw.randrange(100)}", "artefact": f"adapter{n}"} for n in range(60)]
    parents += [{"parent": f"adapter{n}", "artefact": f"report{n}"} for n in range(60)]
    connection.execute(tables.parents.insert(), parents)


# ---------------------------------------------------------------- writers


def writing(folder: Path) -> None:
    """Fifty writers at once, each adding clips, on SQLite and on PostgreSQL."""
    if postgres.program("initdb") is None:
        print("50 writers: not measured, PostgreSQL is not here (apt install postgresql)")
        return
    drivers = ["pg8000"] + ["psycopg"] * (find_spec("psycopg") is not None)
    spent: dict[str, list[float]] = {driver: [] for driver in ("sqlite", *drivers)}
    with postgres.server() as server:
        for turn in range(2 if QUICK else 3):  # by turns, for the machine's moods to reach all
            spent["sqlite"].append(fifty(made(folder / f"sqlite{turn}")))
            for driver in drivers:
                url = postgres.new_database(server, f"{driver}{turn}").replace("pg8000", driver)
                spent[driver].append(fifty(made(folder / f"{driver}{turn}", database=url)))
    for driver in drivers:
        ratio = float(np.median(np.divide(spent[driver], spent["sqlite"])))
        line(f"50 writers, PostgreSQL by {driver} / SQLite, time", ratio, "×", 1)


def fifty(recipe: Recipe) -> float:
    """Seconds in which fifty threads, each with a connection of its own, add their clips."""
    each = 4 if QUICK else 10
    sound = np.zeros((RATE_HZ // 2, 1), np.float32)
    sound[::7] = 0.1
    with open_ledger(recipe) as ledger:
        for number in range(50):
            ledger.enrol(Speaker(code=f"s{number}"), granted(f"s{number}", START))

        def write(number: int, places: range) -> None:
            for place in places:
                ledger.add(clip(number * 100 + place, f"s{number}"), sound, upload=f"{number} {place}")

        with ThreadPoolExecutor(50) as pool:
            list(pool.map(lambda number: write(number, range(1)), range(50)))  # connections and keys are made
            spent = timed(lambda: list(pool.map(lambda number: write(number, range(1, each + 1)), range(50))))
        assert len(list(ledger.clips())) == 50 * (each + 1)
    return spent


# ---------------------------------------------------------------- booth


def crowding(folder: Path) -> None:
    """Speakers at the booth, all of whom send a clip of five seconds at once, round after round."""
    speakers, rounds = (40, 3) if QUICK else (200, 5)
    folder.mkdir()
    (folder / "prompts.txt").write_text(
        "\n".join(f"الجملة رقم {number} فالكتاب ديالنا" for number in range(rounds)), encoding="utf-8"
    )
    booth = {"controller": "an association", "contact": "hello@example.org", "prompts": {"ary-Arab": "prompts.txt"}}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    recipe = made(folder, record=booth | {"port": port})
    command = [sys.executable, "-m", "collect.record", str(folder / "recipe.yaml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            failed, peaks = asyncio.run(crowd(f"http://127.0.0.1:{port}", server.pid, speakers, rounds))
        finally:
            server.terminate()
    with open_ledger(recipe) as ledger:
        kept = sum(1 for _ in ledger.clips())
    line(f"booth, {speakers} at once, {rounds} rounds: uploads that failed", failed, "", 0)
    line("booth, clips sent and not in the ledger", speakers * rounds - kept, "", 0)
    line("booth, memory after the last round / after the first", peaks[-1] / peaks[0], "×", 1.2)


async def crowd(address: str, server: int, speakers: int, rounds: int) -> tuple[int, list[float]]:
    """Failed uploads, and the server's peak memory after each round."""
    people = []
    for first in range(0, speakers, 20):
        people += await asyncio.gather(*(join(address) for _ in range(first, min(speakers, first + 20))))
    failed, peaks = 0, []
    for turn in range(rounds):
        sent = (send(*person, turn, number) for number, person in enumerate(people))
        failed += sum(status != 200 for status in await asyncio.gather(*sent))
        peaks.append(peak_mib(server))
    for client, *_ in people:
        await client.aclose()
    return failed, peaks


async def join(address: str) -> tuple[httpx.AsyncClient, str, str, list[str]]:
    """One speaker, from the first page to the first prompt: client, token, owner of the page, prompts."""
    client = httpx.AsyncClient(base_url=address, follow_redirects=True, timeout=600)
    for _ in range(600):
        with contextlib.suppress(httpx.ConnectError):
            page = (await client.get("/")).text
            break
        await asyncio.sleep(0.2)  # until the server has started
    (token,) = re.findall(r'data-csrf="(\w+)"', page)
    steps = [("language", {"language": "en"}), ("consent", {"purpose": "store_prepare", "who": "adult"})]
    for step, form in [*steps, ("about", {"language": "ary-Arab"})]:
        page = (await client.post(f"/{step}", data={"csrf": token} | form)).text
    (owner,) = re.findall(r'data-owner="(\w+)"', page)
    return client, token, owner, re.findall(r'"id": "(\w+)"', (await client.get("/record")).text)


async def send(client: httpx.AsyncClient, token: str, owner: str, prompts: list[str], turn: int, number: int) -> int:
    """Upload five seconds of something like a voice; the status of the answer."""
    draw, time_s = np.random.default_rng([turn, number]), np.arange(240_000) / 48_000
    voice = 0.3 * np.sin(2 * np.pi * draw.uniform(100, 300) * time_s) * (time_s % 0.5 < 0.3)
    out = io.BytesIO()
    soundfile.write(out, voice + draw.normal(0, 1e-3, len(voice)), 48_000, "PCM_16", format="WAV")
    answer = await client.post(
        "/clip",
        params={"prompt": prompts[turn], "owner": owner, "keep": 1},
        content=out.getvalue(),
        headers={"x-csrf": token, "idempotency-key": f"key-{turn:08d}-{number:08d}"},
    )
    return answer.status_code


def peak_mib(process: int) -> float:
    """The most memory that a process has had so far."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(next(row.split()[1] for row in status.splitlines() if row.startswith("VmHWM"))) / 1024


# ---------------------------------------------------------------- what all need


def made(folder: Path, **collect: object) -> Recipe:
    """A recipe with a work folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {
        "name": "bench",
        "work_dir": "work",
        "collect": {"source": str(folder), **collect},
        "prepare": {"purpose": "store_prepare"},
        "train": {"family": "ctc", "base": "x/y"},
    }
    (folder / "recipe.yaml").write_text(json.dumps(whole), encoding="utf-8")
    return load(folder / "recipe.yaml")


def granted(speaker: str, at: datetime) -> Event:
    return Event(
        speaker=speaker, purposes=["store_prepare", "asr_train"], notice="n", controller="c", at=at, recorded=at
    )


def clip(number: int, speaker: str) -> Clip:
    facts = {"id": f"{number:064x}", "speaker": speaker, "language": "ary-Arab", "transcript": "سلام"}
    return Clip.model_validate(facts | {"audio": "x", "rate_hz": RATE_HZ, "duration_s": 0.5, "source": "x"})


def timed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def quiet(act: Callable[[], object]) -> None:
    with silence():
        act()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


if __name__ == "__main__":
    main()
