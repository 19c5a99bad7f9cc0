"""A disk that is really full: one line, exit code 1, nothing half-written; with room, the same command goes on."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from prepare import dataset
from recipes.schema import load
from tests.babble import babble
from tests.conftest import ROOT
from tests.test_withdraw import CORPUS, WORDS

Resize = Callable[[str], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Resize]]:
    """A small disk in memory, and what makes it larger."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", place], capture_output=True)
    if done.returncode:
        pytest.skip("a small disk can be mounted by root only")

    def resize(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True)

    try:
        yield place, resize
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def run(module: str, recipe: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, str(recipe)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def refused(done: subprocess.CompletedProcess[str]) -> None:
    """It ended with one line that names the cause."""
    assert done.returncode == 1, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and ("No space left" in last or "disk is full" in last), done.stderr
    assert "Traceback" not in done.stderr


def test_each_stage_stops_with_one_line_and_goes_on_when_there_is_room(
    disk: tuple[Path, Resize], tmp_path: Path
) -> None:
    place, resize = disk
    source = tmp_path / "recordings"
    source.mkdir()
    table, draw = ["file,text,speaker"], np.random.default_rng(1)
    for number, word in enumerate(WORDS):
        sound = babble(4, pitch_hz=100 + 5 * number)
        sound += draw.normal(0, 1e-3, len(sound)).astype(np.float32)  # so that it does not compress to nothing
        soundfile.write(source / f"{number}.wav", sound, 16_000)
        table.append(f"{number}.wav,{word} {word},{'amina' if number % 2 else 'brahim'}")
    (source / "metadata.csv").write_text("\n".join(table), encoding="utf-8")
    recipe = tmp_path / "corpus.yaml"
    recipe.write_text(CORPUS.replace("work_dir: work", "work_dir: disk/work"), encoding="utf-8")

    for size in ("80k", "160k", "260k", "700k"):  # for the ledger, the keys, the consents, the audio
        resize(size)
        refused(run("collect.ingest", recipe))
    assert not list(place.rglob(".*sealed*"))
    resize("2200k")
    assert run("collect.ingest", recipe).returncode == 0

    refused(run("prepare", recipe))
    assert not (place / "work" / "prepare" / "dataset").exists()
    resize("64m")
    assert run("prepare", recipe).returncode == 0
    assert dataset.verify(load(recipe)) == []
