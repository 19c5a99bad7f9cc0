"""Audio made to harm: a verdict for each piece, within bounds of time and memory, and nothing else is read.

TWIZA_MUTANTS says how many mutants the default run makes (2000); the slow test makes 20,000 or more.
"""

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from collect.audio import Refused, decode
from collect.decoding import decoder
from collect.ingest import read_file
from tests.conftest import ROOT, SHARED, needs, needs_shared
from tests.gauntlet import ALLOWED_BYTES
from tests.hostile import EXACT, TONE, coded, endless_flac, seeds

MUTANTS = int(os.environ.get("TWIZA_MUTANTS", "2000"))
CANARY = coded(0.9 * np.sign(TONE))  # nothing else in the set sounds like it
REACHED_FOR = {"run sh", f"run {Path(sys.executable).name}"}  # for ffmpeg; the decoding process


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A recording of somebody else's, in a folder of its own."""
    path = tmp_path / "private" / "canary.wav"
    path.parent.mkdir()
    path.write_bytes(CANARY)
    return path


@contextmanager
def unopened(folder: Path) -> Iterator[None]:
    """Fail when any process opens a file of the folder (Linux's inotify)."""
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert watch >= 0 and libc.inotify_add_watch(watch, os.fsencode(folder), 0x21) > 0  # opened, accessed
    try:
        yield
        with pytest.raises(BlockingIOError):
            os.read(watch, 4096)
    finally:
        os.close(watch)


def gauntlet(*arguments: object) -> list[dict[str, object]]:
    """The verdicts of tests/gauntlet.py, the last with the memory taken. Fails with the first that has none."""
    command = [sys.executable, "-m", "tests.gauntlet", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1_800)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    after = lines[-1].get("name") if lines else "the start"
    assert done.returncode == 0, f"{command}: ended {done.returncode} after {after}\n{done.stderr[-2000:]}"
    return lines


def check(verdicts: list[dict[str, object]]) -> None:
    """One line each, nothing reached for but what decodes, memory within bounds."""
    *each, memory = verdicts
    for line in each:
        assert re.fullmatch(r"decoded( exactly)?|refused: [^\n]{5,400}", str(line["verdict"])), line
        opened = {str(what) for what in line["opened"] if not re.fullmatch(r"open \d+", str(what))}  # type: ignore[attr-defined]
        assert opened <= REACHED_FOR, line
    assert float(str(memory["own_mib"])) * 2**20 < ALLOWED_BYTES
    assert float(str(memory["children_mib"])) * 2**20 < 2 * ALLOWED_BYTES


def test_every_hostile_file_gets_its_verdict(canary: Path) -> None:
    with unopened(canary.parent):
        verdicts = gauntlet("seeds", canary)
    check(verdicts)
    wanted = {name: verdict for name, (_, verdict) in seeds(canary).items()}
    found = {str(line["name"]): str(line["verdict"]) for line in verdicts[:-1]}
    assert found.keys() == wanted.keys() and len(found) > 120
    assert {name: found[name] for name in found if not re.search(wanted[name], found[name])} == {}
    assert {name for name in found if wanted[name] == EXACT and found[name] != EXACT} == set()


def run_mutants(first: int, count: int) -> None:
    """In two processes; a crash names the last that lived."""
    edges = [first, first + count // 2, first + count]
    with ThreadPoolExecutor() as pool:
        for verdicts in pool.map(lambda at: gauntlet("mutants", *at), pairwise(edges)):
            check(verdicts)


def test_mutants_are_decoded_or_refused_and_nothing_else() -> None:
    run_mutants(0, MUTANTS)


@pytest.mark.slow
def test_many_more_mutants_are_decoded_or_refused_and_nothing_else() -> None:
    run_mutants(1_000_000, max(MUTANTS, 20_000))


# ---------------------------------------------------------------- the walls


def test_the_watch_sees_who_opens_a_file(canary: Path) -> None:
    with pytest.raises(pytest.fail.Exception), unopened(canary.parent):
        canary.read_bytes()


@needs("ffmpeg")
@pytest.mark.parametrize("header", [b"", b"\0\0\0\x20ftypM4A ", b"\x1aE\xdf\xa3", b"\x30\x26\xb2\x75", b"#!AMR\n"])
def test_a_playlist_does_not_bring_another_speakers_voice(canary: Path, header: bytes) -> None:
    with unopened(canary.parent):
        for text in (f"#EXTM3U\n#EXTINF:1,\n{canary}\n", f"ffconcat version 1.0\nfile '{canary}'\n"):
            try:
                sound = decode(header + text.encode(), max_minutes=1, max_file_mib=1)
            except Refused:
                continue
            assert np.abs(sound.samples).max() < 0.9  # noise of AMR


def test_the_decoding_process_can_open_nothing() -> None:
    code = """if True:
        import socket
        from collect.decoding import decoder
        decoder._shut_in()
        for attempt in (lambda: open("/etc/hostname"), lambda: open("x", "w"), socket.socket):
            try:
                attempt()
            except OSError:
                print("refused")
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused"] * 3


def test_a_decoder_that_died_is_started_anew() -> None:
    data = coded(form="FLAC")
    decode(data, 1, 1)
    assert decoder.child._process
    os.kill(decoder.child._process.pid, signal.SIGKILL)
    decoder.child._process.wait()
    assert len(decode(data, 1, 1).samples) == len(TONE)


def test_decoding_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "patience_s", lambda _: 0.01)
    with pytest.raises(Refused, match=r"took over 0\.01 s"):
        decode(endless_flac(86_400), 1_500, 256)
    monkeypatch.undo()
    assert len(decode(coded(form="FLAC"), 1, 1).samples) == len(TONE)


def test_threads_and_forks_each_get_their_own_sound() -> None:
    files = {coded(TONE * share, "FLAC"): share for share in (0.2, 0.4, 0.6, 0.8, 1.0)}

    def right(data: bytes) -> bool:
        peak = float(np.abs(decode(data, 1, 1).samples).max())
        return peak == pytest.approx(0.3 * files[data], abs=1e-3)

    with ThreadPoolExecutor(5) as pool:
        assert all(pool.map(right, list(files) * 4))
    fork = os.fork()
    if not fork:
        os._exit(0 if all(map(right, files)) else 1)
    assert all(map(right, reversed(files)))
    assert os.waitpid(fork, 0)[1] == 0


def test_limits_are_the_recipes() -> None:
    with pytest.raises(Refused, match=r"2 MiB; at most 1\.5 \(collect\.max_file_mib\)"):
        decode(bytes(2**21), max_minutes=30, max_file_mib=1.5)
    for data in (coded(), coded(form="FLAC"), coded(form="OGG"), coded(form="MP3")):
        assert decode(data, max_minutes=1.2 / 60, max_file_mib=1)
        with pytest.raises(Refused, match=r"longer than 0\.015 minutes \(collect\.max_minutes\)"):
            decode(data, max_minutes=0.015, max_file_mib=1)


# ---------------------------------------------------------------- what a folder may hold


def test_only_regular_files_inside_the_folder_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    (folder / "inside").mkdir(parents=True)
    (tmp_path / "outside.wav").write_bytes(CANARY)
    os.mkfifo(folder / "pipe.wav")
    (folder / "out.wav").symlink_to(tmp_path / "outside.wav")
    (folder / "device.wav").symlink_to("/dev/zero")
    (folder / "up").symlink_to(tmp_path)
    (folder / "round.wav").symlink_to("round.wav")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(os.path.relpath(folder / "door.wav"))
    outside = [
        "../outside.wav",
        str(tmp_path / "outside.wav"),
        "/etc/passwd",
        "out.wav",
        "device.wav",
        "up/outside.wav",
    ]
    outside += ["ⵜⴰⵎⴰⵣⵉⵖⵜ/../../outside.wav", "تسجيل/../../outside.wav"]
    strange = ["pipe.wav", "door.wav", "inside", ".", "round.wav", "a\0b.wav", "x" * 300, "ⴰ" * 200, "C:\\x.wav"]
    strange += ["..\u2215outside.wav", "\u202evaw.edistuo/..", "\udc80.wav"]
    for name in outside:
        with pytest.raises(Refused, match="lies outside the folder"):
            read_file(folder, name, 256)
    for name in strange:
        with pytest.raises(Refused, match=r"no regular file|no such file|cannot be read|no file can have this name"):
            read_file(folder, name, 256)


@pytest.mark.parametrize(
    "name", ["تسجيل.wav", "ⵜⴰⵎⴰⵣⵉⵖⵜ.wav", "ⵉⵎⵍ/صوت ١.wav", "a..b.wav", "x\n‮.wav", "-i.wav", "%2e%2e.wav"]
)
def test_names_are_text_and_no_more(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"sound")
    (tmp_path / "link.wav").symlink_to(name)
    assert read_file(tmp_path, name, 256) == read_file(tmp_path, "link.wav", 256) == b"sound"


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "large.wav", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(Refused, match=r"1048576 MiB; at most 256 \(collect\.max_file_mib\)"):
        read_file(tmp_path, "large.wav", 256)


# ---------------------------------------------------------------- the good ones


@pytest.mark.parametrize(
    "folder", [ROOT / "recipes/sample/clips", pytest.param(SHARED / "data", marks=needs_shared("data"))]
)
def test_good_recordings_come_in_bit_by_bit(folder: Path) -> None:
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".flac", ".mp3", ".wav", ".ogg")]
    assert files
    for path in files:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        sound = decode(path.read_bytes(), max_minutes=30, max_file_mib=256)
        assert sound.rate_hz == rate_hz and np.array_equal(sound.samples, samples), path
