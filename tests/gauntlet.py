"""Runs the hostile set, or mutants of it, through the door in a process of limited memory.

`python -m tests.gauntlet seeds CANARY` or `python -m tests.gauntlet mutants FROM TO`: one line of JSON for
each, the last one with the memory taken. A crash ends the process; the line that is missing says by whom.
"""

import hashlib
import io
import json
import resource
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from collect.audio import Refused, decode
from collect.decoding import decoder
from tests.hostile import (
    EXACT,
    NEAR,
    PCM,
    RATE_HZ,
    TONE,
    chunk,
    coded,
    containers,
    endless_flac,
    form,
    id3,
    sealed,
    seeds,
    vorbis_bomb,
    wave,
)

ALLOWED_BYTES = 512 * 2**20  # beyond what the process takes before the first file
_opened: list[str] = []


def main(what: str, *arguments: str) -> None:
    files = list(seeds(Path(arguments[0])).items() if what == "seeds" else ())
    exact = originals()
    brood()
    whole, resident = (
        int(pages) * resource.getpagesize() for pages in Path("/proc/self/statm").read_text().split()[:2]
    )
    resource.setrlimit(resource.RLIMIT_AS, (whole + ALLOWED_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    sys.addaudithook(watch)
    for name, (data, _) in files:
        report(name, data, exact)
    for number in range(*map(int, arguments)) if what == "mutants" else ():
        report(str(number), mutant(number), exact)
    decoder.child.stop()
    # Not ru_maxrss of this process: that begins with the memory of whoever started it.
    status = Path("/proc/self/status").read_text()
    own = 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps({"own_mib": (own - resident) / 2**20, "children_mib": children / 2**20}))


def report(name: str, data: bytes, exact: set[str]) -> None:
    """Print the verdict on a file, and what was opened or called meanwhile."""
    _opened.clear()
    try:
        sound = decode(data, max_minutes=30, max_file_mib=256)
        assert np.isfinite(sound.samples).all() and sound.duration_s <= 1_801
        verdict = EXACT if digest(sound.samples) in exact else NEAR
    except Refused as reason:
        verdict = f"refused: {reason}"
    print(json.dumps({"name": name, "verdict": verdict, "opened": sorted(set(_opened))}), flush=True)


def watch(event: str, arguments: tuple[object, ...]) -> None:
    """Note what is reached for: files outside the folder of the job, programs, the network."""
    if event == "open" and not str(arguments[0]).startswith((tempfile.gettempdir(), "/dev/null")):
        _opened.append(f"open {arguments[0]}")
    elif event == "subprocess.Popen":
        _opened.append(f"run {Path(str(arguments[0])).name}")
    elif event.startswith("socket."):
        _opened.append(event)


def digest(samples: np.ndarray) -> str:
    return hashlib.sha256(samples.tobytes()).hexdigest()


def originals() -> set[str]:
    """The sound of the undamaged files, as libsndfile reads it."""
    long = np.tile(TONE, 3)
    whole = [wave(form(), chunk(b"data", PCM)), coded(long, "FLAC"), coded(), coded(long, "OGG", "VORBIS")]
    return {digest(soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]) for data in whole}


# ---------------------------------------------------------------- mutants


@cache
def brood() -> tuple[list[bytes], list[bytes]]:
    """What mutants are bred from: small files, and those that go to ffmpeg (a start of 0.1 s each, so fewer)."""
    short = TONE[: RATE_HZ // 4]
    two = np.stack([short, short / 2], axis=1)
    small = [coded(short, "WAV", subtype) for subtype in ("PCM_16", "PCM_24", "FLOAT", "PCM_U8", "IMA_ADPCM")]
    small += [coded(two, form) for form in ("WAVEX", "RF64", "FLAC", "MP3", "OGG")]
    small += [coded(short, form) for form in ("FLAC", "MP3", "OGG")] + [coded(short, "OGG", "OPUS")]
    small += [endless_flac(30), endless_flac(30, 1, 2), vorbis_bomb(2, 16, 16), id3(b"<html>") + coded(short, "MP3")]
    foreign = [data for data, _ in containers(Path("/dev/null")).values() if len(data) < 2**16]
    return small, foreign


def mutant(number: int) -> bytes:
    """The same bytes for the same number, on any machine with the same encoders."""
    rng = np.random.default_rng(number)
    small, foreign = brood()
    nest = foreign if number % 40 == 0 else small
    data = bytearray(nest[rng.integers(len(nest))])
    for _ in range(rng.integers(1, 5)):
        MUTATIONS[rng.integers(len(MUTATIONS))](data, small, rng)
    # Ogg drops a page whose checksum is wrong: half of the mutants get past that.
    return sealed(bytes(data)) if rng.integers(2) and data[:4] == b"OggS" else bytes(data)


def flip(data: bytearray, _: list[bytes], rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 9)):
        if data:
            data[place(data, rng)] = rng.integers(256)


def cut(data: bytearray, _: list[bytes], rng: np.random.Generator) -> None:
    del data[rng.integers(len(data) + 1) :]


def splice(data: bytearray, others: list[bytes], rng: np.random.Generator) -> None:
    other = others[rng.integers(len(others))]
    data[rng.integers(len(data) + 1) :] = other[rng.integers(len(other)) :]


def repeat(data: bytearray, _: list[bytes], rng: np.random.Generator) -> None:
    start, end = sorted(rng.integers(len(data) + 1, size=2))
    data[start:start] = data[start : min(end, start + 2**14)]


def resize(data: bytearray, _: list[bytes], rng: np.random.Generator) -> None:
    """Another number where a length, a rate or a count may be."""
    values = (0, 1, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 16, 2**32 - 1, len(data), len(data) - 8)
    width, order = int(rng.choice([1, 2, 3, 4, 8])), ("little", "big")[rng.integers(2)]
    at = place(data, rng)
    value = max(values[rng.integers(len(values))], 0) % 256**width
    data[at : at + width] = value.to_bytes(width, order)  # type: ignore[arg-type]


def place(data: bytearray, rng: np.random.Generator) -> int:
    """Half the time in the header."""
    return int(rng.integers(max(1, min(len(data), 64) if rng.integers(2) else len(data))))


MUTATIONS = (flip, cut, splice, repeat, resize)


if __name__ == "__main__":
    main(*sys.argv[1:])
