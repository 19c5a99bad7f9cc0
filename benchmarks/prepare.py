"""What preparing costs: `python -m benchmarks.prepare [--quick]`.

Prints one line a figure, `name  value  goal  ok|short`, and exits with 1 when one falls short. Both sides of a
ratio are measured in the same run, by turns, on the same clips: real ones where ../shared has them, else the sample
corpus. Speed is counted in seconds of the processor, so that what else the machine does matters less; work files lie
in TMPDIR. The whole takes some 20 minutes on two cores, most of them for 100,000 clips.
"""

import contextlib
import csv
import ctypes
import hashlib
import io
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

import prepare.__main__ as script
from collect import ingest
from collect.consent import Event
from collect.ledger import Ledger, Speaker, open_ledger
from prepare import parts
from prepare.manifest import Manifest
from prepare.workers import batches, work
from recipes.records import Clip
from recipes.schema import Recipe, load

ROOT = Path(__file__).resolve().parents[1]
QUICK = "--quick" in sys.argv
ROUNDS = 2 if QUICK else 3
MANY, FEW = (3_000, 300) if QUICK else (100_000, 1_000)
INTERRUPTED = 1_000 if QUICK else 10_000
SCALED = 600 if QUICK else 3_000
CORES = 2
WORDS = ["ⴰⵣⵓⵍ", "ⴰⵎⴰⵏ", "ⴰⵖⵔⵓⵎ", "ⵜⴰⴷⴷⴰⵔⵜ", "ⴰⵙⵉⴼ", "ⵉⴳⵏⵏⴰ", "ⵜⴰⴼⵓⴽⵜ", "ⵎⴰⵏⵉⵎⴽ", "ⵢⴰⵏ", "ⵙⵉⵏ"]
_IN_OPEN, _IN_ISDIR, _IN_Q_OVERFLOW = 0x20, 0x40000000, 0x4000
_short = False

Sound = tuple[NDArray[np.float32], int]  # samples, (n, channels), and rate


def main() -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, sounds = real(folder / "real")
        steps(load(folder / "real" / "recipe.yaml"), files)
        scaling(folder / "scaling", sounds)
        excerpts = [excerpt(sound) for sound in sounds]
        interrupting(folder / "interrupted", excerpts)
        memory(folder, excerpts)
    raise SystemExit(_short)


def line(name: str, value: float, unit: str, goal: float | None, most: bool = False) -> None:
    """One figure. `most`: the goal is the most that it may be, else the least; None: for information."""
    global _short
    fits = goal is None or (value <= goal if most else value >= goal)
    _short |= not fits
    aim = "" if goal is None else f"goal {'≤' if most else '≥'} {goal:g}  {'ok' if fits else 'short'}"
    print(f"{name:<66} {value:10.4g} {unit:<10} {aim}", flush=True)


# ---------------------------------------------------------------- (a) the steps, on one core


def steps(recipe: Recipe, files: list[Path]) -> None:
    """Every clip from the vault to a finished part, against what is written quickly, with the libraries at hand."""
    import torch
    from silero_vad import load_silero_vad

    torch.set_num_threads(1)
    networks = load_silero_vad(), load_silero_vad(onnx=True)
    with open_ledger(recipe) as ledger:
        clips = list(ledger.clips())
        sound_s = sum(clip.duration_s for clip in clips)
        ours, plain, onnx = [], [], []
        for _ in range(ROUNDS):
            ours.append(processor_s(lambda: prepared(clips, ledger, recipe)))
            plain.append(processor_s(lambda: [by_hand(path, networks[0]) for path in files]))
            onnx.append(processor_s(lambda: [by_hand(path, networks[1]) for path in files]))
    line(f"all steps, {len(clips)} clips, {sound_s / 60:.0f} min: sound / processor", sound_s / min(ours), "×", 120)
    line("librosa + silero_vad + pyloudnorm + mel, on the same", sound_s / min(plain), "×", None)
    line("ratio of the two", min(plain) / min(ours), "×", 3)
    line("ratio where silero_vad runs with onnx=True", min(onnx) / min(ours), "×", None)


def prepared(clips: list[Clip], ledger: Ledger, recipe: Recipe) -> None:
    name = parts.namer(recipe)
    for batch in batches([(name(clip), clip) for clip in clips], 16):
        work(batch, recipe.prepare, ledger, parts.store(recipe).write)


def by_hand(path: Path, network: object) -> NDArray[np.float32]:
    """A clip as a notebook prepares it: read, trimmed to its speech, loud alike, as a mel spectrogram."""
    import librosa
    import pyloudnorm
    import torch
    from silero_vad import get_speech_timestamps

    samples, rate_hz = librosa.load(path, sr=16_000)
    speech = get_speech_timestamps(torch.from_numpy(samples), network, sampling_rate=16_000)
    if speech:
        samples = samples[speech[0]["start"] : speech[-1]["end"]]
    samples = np.pad(samples, (0, max(0, 6_400 - len(samples))))  # the measure needs 0.4 s
    loudness = pyloudnorm.Meter(rate_hz).integrated_loudness(samples)
    samples = samples * 10 ** ((-23 - loudness) / 20) if np.isfinite(loudness) else samples
    return np.asarray(librosa.feature.melspectrogram(y=samples, sr=rate_hz, n_mels=80))


# ---------------------------------------------------------------- (d) processes


def scaling(folder: Path, sounds: list[Sound]) -> None:
    """The whole command with one process and with two, less what each waited while others held the cores."""
    recipe = filled(folder, SCALED, sounds)
    alone, together = [], []
    for _ in range(ROUNDS):
        for workers, times in ((1, alone), (CORES, together)):
            subprocess.run(["rm", "-rf", str(recipe.folder("prepare"))], check=True)
            run = Run(recipe, workers)
            run.wait()
            times.append(run.seconds - run.waited_s(workers))
    speed = min(alone) / min(together)
    line(f"{CORES} processes / 1, {SCALED:,} clips, whole command, per process", speed / CORES, "", 0.85)


# ---------------------------------------------------------------- (e) memory


def memory(folder: Path, sounds: list[Sound]) -> None:
    """Peak memory of the whole command, its processes included, with a hundred times as many clips."""
    peaks = []
    for count in (FEW, MANY):
        recipe = filled(folder / f"memory{count}", count, sounds)
        run = Run(recipe, CORES)
        run.wait()
        peaks.append(run.peak_mib())
        line(f"{count:,} clips: peak memory, {CORES} processes and theirs", peaks[-1], "MiB", None)
        line(
            f"{count:,} clips: processor time of the whole command, a clip", run.processor_s / count * 1e3, "ms", None
        )
    line(f"memory, {MANY:,} clips / {FEW:,}", peaks[1] / peaks[0], "×", 1.2, most=True)


# ---------------------------------------------------------------- (f) interruption


def interrupting(folder: Path, sounds: list[Sound]) -> None:
    """Killed half-way, and run again: which recordings were opened twice, and what seeing costs that one is done."""
    recipe = filled(folder, INTERRUPTED, sounds)
    store = parts.store(recipe)
    with opened(recipe.folder("collect") / "audio") as names:
        run = Run(recipe, CORES)
        while run.running() and sum(1 for _ in store.names()) < INTERRUPTED / 2:
            time.sleep(0.5)
        run.kill()
        done = sum(not name.startswith(".") for name in store.names())
        again = Run(recipe, CORES)
        again.wait()
    assert INTERRUPTED / 2 <= done < INTERRUPTED and len(names) == INTERRUPTED, (done, len(names))
    twice = sum(names.values()) - INTERRUPTED
    line(
        f"killed after {done:,} of {INTERRUPTED:,} clips: clips done twice", twice / INTERRUPTED, "", 0.02, most=True
    )
    with open_ledger(recipe) as ledger:
        some = list(ledger.clips())[:500]
        finding = min(processor_s(lambda: found(ledger, recipe)) for _ in range(ROUNDS)) / INTERRUPTED
        doing = min(processor_s(lambda: prepared(some, ledger, recipe)) for _ in range(ROUNDS)) / len(some)
    line("seeing that a clip is done / doing it (clips of 1 s)", finding / doing, "", 0.02, most=True)


def found(ledger: Ledger, recipe: Recipe) -> None:
    with Manifest() as manifest:
        script.choose(ledger, recipe, manifest)
        script.gather(recipe, manifest)
        assert not manifest.count_waiting()


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Counter[str]]:
    """How often each file below is opened meanwhile, by anyone (inotify)."""
    libc, names = ctypes.CDLL(None, use_errno=True), Counter[str]()
    handle, ends = libc.inotify_init1(os.O_CLOEXEC), threading.Event()
    for below in folder.iterdir():
        libc.inotify_add_watch(handle, os.fsencode(below), _IN_OPEN)

    def listen() -> None:
        while not ends.is_set():
            data, at = os.read(handle, 2**20), 0
            while at < len(data):
                what, length = struct.unpack_from("iIII", data, at)[1::2]
                assert not what & _IN_Q_OVERFLOW
                name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode()
                names[name] += bool(name) and not what & _IN_ISDIR
                at += 16 + length

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield names
    finally:
        time.sleep(1)
        ends.set()
        next(folder.iterdir()).joinpath("the last one").touch()  # so that the reader wakes up
        thread.join()
        os.close(handle)
        names.pop("the last one", None)


# ---------------------------------------------------------------- what all need


class Run:
    """`python -m prepare`, watched: memory and time of its processes."""

    def __init__(self, recipe: Recipe, workers: int) -> None:
        command = [sys.executable, "-m", "prepare", str(recipe.work_dir.parent / "recipe.yaml")]
        command.append(f"prepare.workers={workers}")
        self._peaks, self._waits = dict[int, int](), dict[int, float]()
        self._before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        self._watch = threading.Thread(target=self._look, args=(begun,))
        self._watch.start()

    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> None:
        """Until it has ended, well."""
        _, error = self._process.communicate()
        assert self._process.returncode == 0, error.decode()[-2000:]
        self._watch.join()

    def kill(self) -> None:
        """The command by SIGKILL; its processes end by themselves."""
        self._process.kill()
        self._process.communicate()
        self._watch.join()
        while self._members():
            time.sleep(0.1)

    def peak_mib(self) -> float:
        """The sum of what each process had at most."""
        return sum(self._peaks.values()) / 1024

    def waited_s(self, workers: int) -> float:
        """How long its work waited for a core that others had: the command's own, and the mean of its processes'."""
        own = self._waits.pop(self._process.pid)
        most = sorted(self._waits.values())[-workers:]
        return own + (sum(most) / workers if workers > 1 else 0)

    @property
    def processor_s(self) -> float:
        """User and system time of all its processes."""
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - self._before.ru_utime - self._before.ru_stime

    def _look(self, begun: float) -> None:
        while self._process.poll() is None:
            for process in self._members():
                with contextlib.suppress(OSError, StopIteration, ValueError):
                    status = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
                    self._peaks[process] = int(next(row for row in status if row.startswith("VmHWM")).split()[1])
                    stat = Path(f"/proc/{process}/schedstat").read_text(encoding="ascii")
                    self._waits[process] = int(stat.split()[1]) / 1e9
            time.sleep(0.1)
        self.seconds = time.perf_counter() - begun

    def _members(self) -> list[int]:
        """Its processes: those of its session."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getsid(int(folder.name)) == self._process.pid:
                    found.append(int(folder.name))
        return found


def real(folder: Path) -> tuple[list[Path], list[Sound]]:
    """Recordings of people, in a ledger; where there are none, the sample corpus. Their files, and their sound."""
    source = ROOT.parent / "shared" / "data" / "tamazight_speech"
    collect: dict[str, object] = {"source": str(source), "language": "zgh-Tfng", "speaker": "one"}
    if not source.is_dir():
        print("no real recordings here: the sample corpus, which espeak-ng speaks")
        source = ROOT / "recipes" / "sample"
        collect = {"source": str(source)}
    recipe = made(folder, **collect)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        ingest.main(recipe)
    with open(source / "metadata.csv", encoding="utf-8", newline="") as table:
        files = [source / row["file"] for row in csv.DictReader(table)]
    with open_ledger(recipe) as ledger:
        return files, [ledger.audio(clip, "asr_train") for clip in ledger.clips()]


def excerpt(sound: Sound) -> Sound:
    """The loudest second, at 16 kHz."""
    import soxr

    samples = soxr.resample(sound[0], sound[1], 16_000)
    heard = np.cumsum(np.square(samples[:, 0], dtype=np.float64))
    start = int(np.argmax(heard[16_000:] - heard[:-16_000])) if len(samples) > 16_000 else 0
    return samples[start : start + 16_000], 16_000


def filled(folder: Path, count: int, sounds: list[Sound]) -> Recipe:
    """A recipe whose ledger holds so many clips: the sounds again and again, each time with another text."""
    recipe = made(folder)
    draw = np.random.default_rng(7)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with open_ledger(recipe) as ledger, mock.patch("os.fsync"):  # of no use to a benchmark, and slow
        for code in {f"s{number // 50}" for number in range(count)}:
            event = Event(speaker=code, purposes=["store_prepare", "asr_train"], notice="n", controller="c", at=at)
            ledger.enrol(Speaker(code=code), event)
        for some in batches(range(count), 500):
            pairs = []
            for number in some:
                samples, rate_hz = sounds[number % len(sounds)]
                facts = {"id": hashlib.sha256(str(number).encode()).hexdigest(), "speaker": f"s{number // 50}"}
                facts |= {"language": "zgh-Tfng", "transcript": " ".join(draw.choice(WORDS, 6)), "audio": ""}
                size = {"rate_hz": rate_hz, "duration_s": len(samples) / rate_hz, "source": f"{number}.wav"}
                pairs.append((Clip.model_validate(facts | size), samples))
            ledger.add_all(pairs)
    return recipe


def made(folder: Path, **collect: object) -> Recipe:
    """A recipe with a work folder of its own."""
    folder.mkdir(parents=True)
    basis = {"purposes": ["store_prepare", "asr_train"], "notice": "n", "controller": "c", "given_on": "2026-01-01"}
    whole = {
        "name": "bench",
        "work_dir": "work",
        "collect": {"source": str(folder), "basis": basis, **collect},
        "prepare": {"purpose": "asr_train", "split": {"exact": True}},
        "train": {"family": "ctc", "base": "x/y"},
    }
    (folder / "recipe.yaml").write_text(json.dumps(whole), encoding="utf-8")
    return load(folder / "recipe.yaml")


def processor_s(act: Callable[[], object]) -> float:
    """Seconds that this process computed."""
    start = time.process_time()
    act()
    return time.process_time() - start


if __name__ == "__main__":
    main()
