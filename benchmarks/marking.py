"""How well Perth's watermark is heard after what happens to sound, and what signing costs:
`python -m benchmarks.marking [--quick]`.

One line a figure; 1 when one falls short. Real clips are those of ../shared where it is there; synthetic speech is
espeak-ng's. The share that is heard in marked clips and the share of unmarked ones in which it is heard all the same,
each with n and a 95 % interval (Clopper and Pearson); then how much the watermark changes the sound.
"""

import argparse
import io
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.stats import binomtest

from benchmarks.mos import REAL, TEXTS, say
from evaluate import credentials, marked, watermark
from evaluate.watermark import THRESHOLD, Samples
from prepare.hearing import dnsmos
from recipes.schema import load

RATE_HZ = 16_000
VOICES = ("en", "en+f3", "fr+m2", "ar", "es+f2")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="every sixth clip")
    step = 6 if options.parse_args().quick else 1
    short = signing()
    sources = {"synthetic": spoken(step)} | ({"real": real(step)} if REAL.is_dir() else {})
    for name, clips in sources.items():
        short += rates(name, clips)
        short += changes(name, clips[::3])
    return int(any(short))


# ---------------------------------------------------------------- the clips


def spoken(step: int) -> list[Samples]:
    """Sentences by espeak-ng, twelve in each voice."""
    found = []
    for voice in VOICES:
        for text in TEXTS:
            command = ["espeak-ng", "-v", voice, "--stdout", text]
            wave, rate_hz = soundfile.read(
                io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout), dtype="float32"
            )
            found.append(soxr.resample(wave, rate_hz, RATE_HZ))
    return found[::step]


def real(step: int) -> list[Samples]:
    """Every sixth of the real clips."""
    found = []
    for path in sorted(REAL.iterdir())[:: 6 * step]:
        wave, rate_hz = soundfile.read(path, dtype="float32")
        found.append(soxr.resample(wave, rate_hz, RATE_HZ).astype(np.float32))
    return found


# ---------------------------------------------------------------- what happens to sound


def coded(codec: str, rate: str, container: str) -> Callable[[Samples], Samples]:
    def through(wave: Samples) -> Samples:
        out = io.BytesIO()
        soundfile.write(out, wave, RATE_HZ, format="WAV", subtype="PCM_16")
        ffmpeg = ["ffmpeg", "-v", "error", "-f"]
        there = [*ffmpeg, "wav", "-i", "-", "-c:a", codec, "-b:a", rate, "-f", container, "-"]
        data = subprocess.run(there, input=out.getvalue(), capture_output=True, check=True).stdout
        back = [*ffmpeg, container, "-i", "-", "-ar", str(RATE_HZ), "-f", "wav", "-"]
        data = subprocess.run(back, input=data, capture_output=True, check=True).stdout
        return soundfile.read(io.BytesIO(data), dtype="float32")[0]

    return through


def by_rate(rate_hz: int) -> Callable[[Samples], Samples]:
    return lambda wave: soxr.resample(soxr.resample(wave, RATE_HZ, rate_hz), rate_hz, RATE_HZ)


def louder(by_db: float) -> Callable[[Samples], Samples]:
    return lambda wave: np.clip(wave * np.float32(10 ** (by_db / 20)), -1, 1)


def noisy(snr_db: float) -> Callable[[Samples], Samples]:
    def through(wave: Samples) -> Samples:
        noise = np.random.default_rng(len(wave)).standard_normal(len(wave)).astype(np.float32)
        return wave + noise * np.float32(np.sqrt(np.mean(wave**2) / 10 ** (snr_db / 10)))

    return through


def cut(seconds: float) -> Callable[[Samples], Samples]:
    """The middle; of a shorter clip all."""

    def through(wave: Samples) -> Samples:
        first = max(0, (len(wave) - round(seconds * RATE_HZ)) // 2)
        return wave[first : first + round(seconds * RATE_HZ)]

    return through


DONE: dict[str, Callable[[Samples], Samples]] = {
    "nothing": lambda wave: wave,
    "MP3 128 kbit/s": coded("libmp3lame", "128k", "mp3"),
    "MP3 64 kbit/s": coded("libmp3lame", "64k", "mp3"),
    "Opus 32 kbit/s": coded("libopus", "32k", "ogg"),
    "Opus 16 kbit/s": coded("libopus", "16k", "ogg"),
    "resampled to 8 kHz and back": by_rate(8_000),
    "resampled to 24 kHz and back": by_rate(24_000),
    "12 dB quieter": louder(-12),
    "6 dB louder, clipped": louder(6),
    "noise, 30 dB below": noisy(30),
    "noise, 20 dB below": noisy(20),
    "cut to 3 s": cut(3),
    "cut to 1 s": cut(1),
}


# ---------------------------------------------------------------- figures


def rates(name: str, clips: list[Samples]) -> list[bool]:
    """Of marked clips the share in which it is heard, and of unmarked ones."""
    with_it = [watermark.embed(clip, RATE_HZ, "perth") for clip in clips]
    short = []
    for done, through in DONE.items():
        for kind, among in (("marked", with_it), ("unmarked", clips)):
            answers = [watermark.detect(through(clip), RATE_HZ, "perth") for clip in among]
            heard = sum(answer > THRESHOLD for answer in answers)
            interval = binomtest(heard, len(answers)).proportion_ci(0.95, "exact")
            told = f"{name}, {kind}, {done}: heard, n={len(answers)}, {interval.low:.3f} to {interval.high:.3f}"
            goal = (0.95 if kind == "marked" else 0.05) if done == "nothing" and len(answers) >= 40 else None
            short.append(
                say(f"{told}, median {np.median(answers):.2f}", heard / len(answers), goal, kind == "unmarked")
            )
    return short


def changes(name: str, clips: list[Samples]) -> Iterator[bool]:
    """How much the watermark changes: its level below the speech, and what DNSMOS makes of it."""
    snr_db, ovrl, p808 = [], [], []
    for clip in clips:
        with_it = watermark.embed(clip, RATE_HZ, "perth")
        snr_db.append(10 * np.log10(np.sum(clip**2) / np.sum((with_it - clip) ** 2)))
        before, after = (dnsmos(np.clip(one, -1, 1), RATE_HZ) for one in (clip, with_it))
        ovrl.append(after[0] - before[0])
        p808.append(after[1] - before[1])
    yield say(f"{name}, speech over watermark, dB, n={len(clips)}, median", float(np.median(snr_db)), None)
    for what, found in (("DNSMOS P.835 overall", ovrl), ("DNSMOS P.808", p808)):
        half = 1.96 * np.std(found, ddof=1) / np.sqrt(len(found))
        told = f"{name}, {what}, marked less unmarked, n={len(found)}, ± {half:.3f}, worst {min(found):.2f}"
        yield say(told, float(np.mean(found)), None)


def signing() -> list[bool]:
    """What a file costs: to write, to write and sign, to check. Five seconds of speech."""
    with tempfile.TemporaryDirectory() as folder:
        text = "name: marking\nwork_dir: w\ncollect: {source: s}\nprepare: {purpose: tts_clone}\n"
        (Path(folder) / "r.yaml").write_text(text + "train: {family: speecht5, base: microsoft/speecht5_tts}\n")
        marks = marked.Marks.of(load(Path(folder) / "r.yaml"))
        wave = np.random.default_rng(1).normal(0, 0.1, 5 * RATE_HZ).astype(np.float32)
        short = []
        for kind in ("wav", "mp3", "flac"):
            short += signed(kind, marked.encode(wave, RATE_HZ, kind, "x"), marks)
        more = len(marks.file(wave, RATE_HZ, "wav", "ab" * 32)) - len(marked.encode(wave, RATE_HZ, "wav", "x"))
        say("a manifest, bytes", more, None)
        say("perth, ms to mark 5 s", timed(lambda: watermark.embed(wave, RATE_HZ, "perth")), None)
        say("perth, ms to listen to 5 s", timed(lambda: watermark.detect(wave, RATE_HZ, "perth")), None)
    return short


def signed(kind: str, plain: bytes, marks: marked.Marks) -> list[bool]:
    """What signing one file takes, and checking it."""
    assert marks.signer is not None
    by, said = marks.signer, {"recipe": "marking", "adapter": "ab" * 32}
    data = credentials.sign(plain, kind, said, by)
    took = timed(lambda: credentials.sign(plain, kind, said, by)), timed(lambda: credentials.read(data))
    return [say(f"{what}, {kind}, ms", ms, 50, True) for what, ms in zip(("signing", "checking"), took, strict=True)]


def timed(work: Callable[[], object]) -> float:
    """The median of 15 times, in milliseconds."""
    took = []
    for _ in range(15):
        started = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - started))
    return float(np.median(took))


if __name__ == "__main__":
    raise SystemExit(main())
