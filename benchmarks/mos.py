"""DNSMOS beside speechmos, and what comparing voices finds: `python -m benchmarks.mos [--quick]`.

One line a figure; 1 when one falls short. Speech is the sample corpus; where ../shared is there, also real clips,
each of which is compared with itself alone: whose they are is not to be found out. Two people's voices in one clip
come from flite (`apt install flite`; voices built from recordings of four people), and are skipped without it.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, pairwise, permutations
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr
from speechmos import dnsmos

from prepare import mos, steps, voice, voiceprint, voices
from prepare.clip import Clip, Reject, Samples
from recipes.schema import Mos, Vad, Voices

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "tamazight_speech" / "clips"
PEOPLE = ("awb", "kal16", "rms", "slt")
TEXTS = (
    "the quick brown fox jumps over the lazy dog near the river bank",
    "she sells sea shells on the shore every single summer morning",
    "please call me tomorrow at noon so that we can talk about it",
    "we were away a year ago and nobody noticed that we had left",
    "my brother bought three kilos of oranges at the old market",
    "it rained all night but the road was dry in the morning",
    "the teacher asked us to read the second page aloud again",
    "turn left after the bridge and walk until you see a mosque",
    "nothing is more precious than a quiet hour with a good book",
    "they promised to bring the keys back before the end of june",
    "open the window please because the air in here is too warm",
    "a long train of camels crossed the desert under the stars",
)
LIMITS = (2.3, 2.5, 2.7)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="every fifteenth clip")
    step = 15 if options.parse_args().quick else 1
    short = [
        say(*figure) for figure in ratings("sample", utterances(ROOT / "recipes" / "sample" / "clips", 3 * step))
    ]
    if REAL.is_dir():
        short += [say(*figure) for figure in ratings("real", utterances(REAL, 6 * step))]
        short += [say(*figure) for figure in [*unsure(step), *alone(step)]]
    return int(any(short + [say(*figure) for figure in people()]))


def say(name: str, value: float, goal: float | None, below: bool = False) -> bool:
    """Print a figure; True where it falls short of its goal."""
    short = goal is not None and (value > goal if below else value < goal)
    wanted = "" if goal is None else f"{'≤' if below else '≥'} {goal:<7g} {'short' if short else 'ok'}"
    print(f"{name:<60} {value:9.4f}  {wanted}".rstrip(), flush=True)
    return short


Figure = tuple[str, float, float | None] | tuple[str, float, float | None, bool]


def utterances(folder: Path, step: int) -> Iterator[Samples]:
    """Clips as `prepare` makes them, at 16 kHz."""
    for path in sorted(folder.iterdir())[::step]:
        clip = steps.resample(steps.mono(Clip(*soundfile.read(path, dtype="float32"))), mos.RATE_HZ)
        try:
            clip = steps.trim(voice.reach_edges(voice.find_speech(clip, Vad())), 0.1)
            yield steps.limit_peak(steps.set_loudness(clip, -23)).samples
        except Reject as reason:
            print(f"left out: {path.name}: {reason}")


def ratings(name: str, sounds: Iterable[Samples]) -> Iterator[Figure]:
    """Ours against speechmos as it comes, and against speechmos held to one thread; the scores of each clip."""
    clips = list(sounds)
    theirs = dnsmos.DNSMOS(*(str(mos._file(file)) for file in ("sig_bak_ovr.onnx", "model_v8.onnx")))
    one = dnsmos.DNSMOS(theirs.primary_model_path, str(mos._file("model_v8.onnx")))
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    one.onnx_sess = onnxruntime.InferenceSession(one.primary_model_path, settings)
    one.p808_onnx_sess = onnxruntime.InferenceSession(str(mos._file("model_v8.onnx")), settings)
    ways: list[Callable[[Samples], dict[str, float]]] = [
        lambda clip: dict(theirs(clip, mos.RATE_HZ, False)),
        lambda clip: dict(one(clip, mos.RATE_HZ, False)),
        lambda clip: vars(mos.p835(clip)) | {"p808": mos.p808(clip)},
    ]
    spent, worst = np.zeros(3), 0.0
    for work in ways:
        work(clips[0])
    for clip in clips:
        found = []
        for number, work in enumerate(ways):
            begun = time.process_time()
            found.append(work(clip))
            spent[number] += time.process_time() - begun
        worst = max(worst, *(abs(found[0][f"{key}_mos"] - value) for key, value in found[2].items()))
    seconds = sum(map(len, clips)) / mos.RATE_HZ
    yield f"DNSMOS, {len(clips)} {name} clips: largest difference to speechmos", worst, 1e-3, True
    yield "times speechmos, per second of the processor", spent[0] / spent[2], 1.4
    yield "times speechmos in one thread", spent[1] / spent[2], None
    yield "times real time, one core", seconds / spent[2], None


def unsure(step: int) -> Iterator[Figure]:
    """What `when: unsure` saves and what it costs, on real clips. Too few of them say nothing about a goal."""
    margin, goal = Mos().sure_margin, 0.02 if step == 1 else None
    rated = [(mos.p808(clip), mos.p835(clip).ovrl) for clip in utterances(REAL, step)]
    for limit in LIMITS:
        sure = [p808 >= limit + margin for p808, _ in rated]
        poor = [ovrl < limit for _, ovrl in rated]
        changed = [a and b for a, b in zip(sure, poor, strict=True)]
        yield f"min_ovrl {limit}: clips below it", float(np.mean(poor)), None
        yield "unsure: clips that P.808 decides", float(np.mean(sure)), None
        yield "unsure: decisions changed", float(np.mean(changed)), goal, True


def alone(step: int) -> Iterator[Figure]:
    """Real clips, one person each, in which two are heard. Only clips with enough speech count."""
    voiceprint.vectors(Clip(np.zeros(2 * voiceprint.RATE_HZ, np.float32), voiceprint.RATE_HZ))
    begun, seconds, likeness = time.process_time(), 0.0, []
    for path in sorted(REAL.iterdir())[::step]:
        clip = Clip(*soundfile.read(path, dtype="float32"))
        seconds += clip.duration_s
        if len(windows := voiceprint.vectors(clip)) >= 4:
            likeness.append(voices.within(windows))
    yield "comparing voices: times real time, one core", seconds / (time.process_time() - begun), None
    if likeness:
        few = np.array(likeness) < (Voices().min_within or 0)
        yield f"{len(likeness)} real clips: two voices heard", float(few.mean()), 0.05, True


def people() -> Iterator[Figure]:
    """What is found of four people's voices, twelve sentences each."""
    if not shutil.which("flite"):
        print("skipped: flite is not installed")
        return
    said = {name: [speak(text, name) for text in TEXTS] for name in PEOPLE}
    own, other, halves, pairs, few = [], [], [], [], []
    draw = np.random.default_rng(3)
    vectors = {name: np.stack([single(clip) for clip in clips]) for name, clips in said.items()}
    for name, mine in vectors.items():
        own += list(voices.own_likeness(mine)[1])
        for stranger in PEOPLE:
            for vector in vectors[stranger] if stranger != name else ():
                other.append(voices.own_likeness(np.vstack([mine, vector]))[1][-1])
        for _ in range(100):
            few += list(voices.own_likeness(mine[draw.choice(len(mine), voices.LEAST, replace=False)])[1])
        halves.append(voices.own_likeness(mine[::2])[0] @ voices.own_likeness(mine[1::2])[0])
    for one, two in combinations(PEOPLE, 2):
        pairs.append(voices.own_likeness(vectors[one])[0] @ voices.own_likeness(vectors[two])[0])
    limits = Voices()
    yield f"a stranger's clip ({len(other)}) among a speaker's: found", share(other, limits.min_own), 0.85
    yield f"a speaker's own clips ({len(own)}): doubted", share(own, limits.min_own), 0.02, True
    yield f"where there are only {voices.LEAST} clips", share(few, limits.min_own), 0.02, True
    yield "one voice under two codes (4): found", 1 - share(halves, limits.same), 1
    yield "two voices (6 pairs): taken for one", 1 - share(pairs, limits.same), 0, True
    found = [heard(np.concatenate(two)) for clips in said.values() for two in pairwise(clips)]
    yield (
        f"one voice ({len(found)} clips of two sentences): heard as two",
        share(found, limits.min_within),
        0.02,
        True,
    )
    after, short, amid, over = [], [], [], []
    for one, two in permutations(PEOPLE, 2):
        for first, second in list(zip(said[one], said[two][1:], strict=False))[:6]:
            piece = second[4000 : 4000 + round(1.3 * voiceprint.RATE_HZ)]
            size = min(len(first), len(second))
            after.append(heard(np.concatenate([first, second])))
            short.append(heard(np.concatenate([first, piece])))
            amid.append(heard(np.concatenate([first, second[4000 : 4000 + 2 * voiceprint.RATE_HZ], said[one][7]])))
            over.append(heard((first[:size] + second[:size]) / 2))
    yield f"one after the other ({len(after)}): found", share(after, limits.min_within), 0.8
    yield "1.3 s of another at the end: found", share(short, limits.min_within), None
    yield "2 s of another in the middle: found", share(amid, limits.min_within), None
    yield "both at once: found", share(over, limits.min_within), None


def share(likeness: list[float], limit: float | None) -> float:
    """Of likenesses, those below a limit."""
    return float(np.mean(np.array(likeness) < (limit or 0)))


def single(sound: Samples) -> Samples:
    """One vector of a clip."""
    return voiceprint.unit(voiceprint.vectors(Clip(sound, voiceprint.RATE_HZ)).mean(axis=0))


def heard(sound: Samples) -> float:
    """How alike the two most unlike parts of a clip are."""
    return voices.within(voiceprint.vectors(Clip(sound, voiceprint.RATE_HZ)))


def speak(text: str, name: str) -> Samples:
    """A sentence by flite, at 16 kHz."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.wav"
        subprocess.run(["flite", "-voice", name, "-t", text, "-o", str(path)], check=True)
        samples, rate_hz = soundfile.read(path, dtype="float32")
    made: Samples = soxr.resample(samples, rate_hz, voiceprint.RATE_HZ)
    return made


if __name__ == "__main__":
    raise SystemExit(main())
