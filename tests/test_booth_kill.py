"""The booth is killed in the middle of uploads, over and over: what it acknowledged is there, and there once."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from collect.ledger import open_ledger
from recipes.schema import Recipe
from tests.conftest import ROOT
from tests.test_record import make, wav

KILLS = int(os.environ.get("TWIZA_KILLS", "10"))
SPEAKERS = 4
RATE_HZ = 16_000


@contextmanager
def booth(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A booth in a process of its own, killed at the end."""
    command = [sys.executable, "-m", "collect.record", str(folder / "recipe.yaml"), f"collect.record.port={port}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/resume", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


class Phone:
    """A speaker who records without a pause and sends each recording until it is acknowledged."""

    def __init__(self, port: int, number: int) -> None:
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, follow_redirects=True)
        self.draw = np.random.default_rng(number)
        self.sent: dict[str, np.ndarray] = {}  # by key
        self.kept: dict[str, str] = {}  # clip by key
        self.tries = 0
        self.http.get("/")
        self.post("/language", language="en")
        self.post("/consent", purpose=["store_prepare"], who="adult")
        page = self.post("/about", language="ary-Arab").text
        self.owner = re.findall(r'data-owner="(\w+)"', page)[0]
        self.prompts = re.findall(r'"id": "(\w+)"', self.http.get("/record").text)

    def post(self, path: str, **form: Any) -> httpx.Response:
        self.csrf = re.findall(r'data-csrf="(\w+)"', self.http.get("/resume").text)[0]
        return self.http.post(path, data={"csrf": self.csrf} | form)

    def work(self, over: threading.Event) -> None:
        while not over.is_set():
            key = f"key-{self.draw.integers(2**60):016x}"
            time_s = np.arange(RATE_HZ) / RATE_HZ
            sound = 0.3 * np.sin(2 * np.pi * self.draw.uniform(100, 400) * time_s) * (time_s % 0.5 < 0.3)
            self.sent[key] = sound
            self.send(key, over)

    def send(self, key: str, over: threading.Event) -> None:
        headers = {"x-csrf": self.csrf, "idempotency-key": key}
        where = {"prompt": self.prompts[len(self.sent) % len(self.prompts)], "owner": self.owner, "keep": "1"}
        while key not in self.kept:
            self.tries += 1
            try:
                said = self.http.post("/clip", params=where, content=wav(self.sent[key], RATE_HZ), headers=headers)
                assert said.json()["state"] == "kept", said.text
                self.kept[key] = said.json()["clip"]
            except httpx.TransportError:
                time.sleep(0.05)
                if over.is_set():
                    return


def attack(recipe: Recipe, folder: Path, kills: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    draw, over = random.Random(17), threading.Event()
    phones: list[Phone] = []
    threads: list[threading.Thread] = []
    for kill in range(kills + 1):
        with booth(folder, port):
            while not answers(port):
                time.sleep(0.05)
            if not phones:
                phones = [Phone(port, number) for number in range(SPEAKERS)]
                threads = [threading.Thread(target=phone.work, args=(over,)) for phone in phones]
                for thread in threads:
                    thread.start()
            time.sleep(draw.uniform(0.05, 0.5))
            if kill == kills:  # the last booth lives until everything is acknowledged
                over.set()
                for thread in threads:
                    thread.join(60)
    for phone in phones:
        phone.http.close()
    look(recipe, phones, kills)


def look(recipe: Recipe, phones: list[Phone], kills: int) -> None:
    """Every recording that was sent is in the ledger once, whole; and the kills did hit uploads."""
    sent = {key: sound for phone in phones for key, sound in phone.sent.items()}
    kept = {key: clip for phone in phones for key, clip in phone.kept.items()}
    assert set(sent) == set(kept) and len(set(kept.values())) == len(kept) >= kills
    assert sum(phone.tries for phone in phones) > len(kept)
    with open_ledger(recipe) as ledger:
        clips = {clip.id: clip for clip in ledger.clips()}
        assert set(clips) == set(kept.values())
        assert ledger.verify() == SPEAKERS and ledger.verify_clips(audio=True) == len(kept)
        for key, sound in sent.items():
            samples, _ = ledger.audio(clips[kept[key]], "store_prepare")
            assert np.allclose(samples[:, 0], sound, atol=2**-15)


def test_kill_nine_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    attack(make(tmp_path), tmp_path, KILLS)


@pytest.mark.slow
def test_two_hundred_times(tmp_path: Path) -> None:
    attack(make(tmp_path), tmp_path, 200)
