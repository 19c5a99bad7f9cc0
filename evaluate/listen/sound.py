"""The sounds of a test as they are sent: a sentence is as long from every system, and no bytes are sent twice.

The size of a file would tell one system's clip from another's, on one page or from listener to listener; and two
clips of a page that were the same file (a hidden reference and the named one, X and A in ABX) would be the same
bytes. So every clip of a sentence is as long as the sentence's longest, and every sending has noise of its own in the
last bit, 90 dB below full scale.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from evaluate import stimuli
from recipes.schema import Listen, Recipe, UserError

_TONE_HZ, _TONE_S, _PAUSE_S, _RAMP_S, _TONES_RATE_HZ = 200, 1.0, 0.5, 0.1, 8000
_HEAD = 44  # bytes before the samples of a stimulus
_QUIETER = 10 ** (-6 / 20)
_MNRU_DB = -5.0  # speech to modulated noise: clearly destroyed, still of the sentence's length and rhythm


@dataclass(frozen=True)
class Clip:
    """What a slot plays: a stimulus by its name, the same destroyed, the recipe's recording, or tones by a seed."""

    source: Literal["stimulus", "broken", "trap", "question", "tones"]
    name: str


class Sounds:
    """All that a test plays. Raises UserError, when made, for a recording of the recipe that cannot be read."""

    def __init__(self, recipe: Recipe, rate_hz: int) -> None:
        self._recipe, self.rate_hz = recipe, rate_hz
        self._recordings = _recordings(recipe.evaluate.listen, rate_hz, recipe.evaluate.loudness_lufs)
        self._lengths: dict[Clip, int] = {}

    def samples(self, clip: Clip) -> NDArray[np.int16]:
        """A clip as int16 (n,), tones (n, 2). Raises OSError where the stimulus was replaced since."""
        if clip.source == "tones":
            return tones(clip.name)[0]
        if clip.source in ("trap", "question"):
            return self._recordings[clip.source, int(clip.name)]
        whole: NDArray[np.int16] = np.frombuffer(self._file(clip).read_bytes()[_HEAD:], "<i2")
        return destroyed(whole, clip.name) if clip.source == "broken" else whole

    def length(self, clip: Clip) -> int:
        """How many samples a clip has. Of a stimulus without reading it. Raises OSError as `samples` does."""
        if clip not in self._lengths:
            if clip.source in ("stimulus", "broken"):
                self._lengths[clip] = (self._file(clip).stat().st_size - _HEAD) // 2
            else:
                self._lengths[clip] = len(self.samples(clip))
        return self._lengths[clip]

    def sent(self, clip: Clip, others: Iterable[Clip], token: str) -> bytes:
        """A clip as a WAV file, no shorter than any of the others, with silence at its end.

        The same for the same token, so that a player can ask for parts of it.
        """
        samples = self.samples(clip)
        length = max([len(samples), *(self.length(other) for other in others if other != clip)])
        return wav(veiled(samples, length, token), _TONES_RATE_HZ if clip.source == "tones" else self.rate_hz)

    def _file(self, clip: Clip) -> Path:
        return self._recipe.folder("evaluate") / "stimuli" / f"{clip.name}.wav"


def veiled(samples: NDArray[np.int16], length: int, token: str) -> NDArray[np.int16]:
    """Silence added up to a length, and noise of one step of 16 bits: triangular, drawn by the token."""
    padded = np.zeros((length, *samples.shape[1:]), np.int32)
    padded[: len(samples)] = samples
    draw = np.random.default_rng(int.from_bytes(sha256(token.encode()).digest()[:8], "big"))
    bits = draw.integers(0, 2, (2, *padded.shape), dtype=np.int8)
    return np.asarray(np.clip(padded + bits[0] - bits[1], -32768, 32767), dtype=np.int16)


def destroyed(samples: NDArray[np.int16], name: str) -> NDArray[np.int16]:
    """Speech in noise that follows it (modulated noise reference unit, ITU-T P.810), as loud as before."""
    draw = np.random.default_rng(int.from_bytes(sha256(name.encode()).digest()[:8], "big"))
    speech = samples.astype(np.float64)
    noisy = speech * (1 + 10 ** (-_MNRU_DB / 20) * draw.standard_normal(len(speech)))
    power = np.sqrt(np.mean(noisy**2)) or 1.0
    level = np.sqrt(np.mean(speech**2)) / power
    return np.asarray(np.clip(np.round(noisy * level), -32768, 32767), dtype=np.int16)


def tones(seed: str) -> tuple[NDArray[np.int16], int]:
    """Three tones in stereo, int16 (n, 2), and which is the quietest, from 1.

    One is 6 dB below the others. Another has its channels in antiphase: through loudspeakers it cancels, and sounds
    quietest. Whoever hears right through this has headphones on. Source: Woods, Siegel, Traer, McDermott,
    "Headphone screening to facilitate web-based auditory experiments", 2017.
    """
    draw = np.random.default_rng(int.from_bytes(sha256(seed.encode()).digest()[:8], "big"))
    quiet, turned = draw.permutation(3)[:2]
    time_s = np.arange(round(_TONE_S * _TONES_RATE_HZ)) / _TONES_RATE_HZ
    ramp = np.clip(np.minimum(time_s, _TONE_S - time_s) / _RAMP_S, 0, 1)
    tone = 0.2 * np.sin(2 * np.pi * _TONE_HZ * time_s) * np.sin(np.pi / 2 * ramp) ** 2
    pause = np.zeros((round(_PAUSE_S * _TONES_RATE_HZ), 2))
    parts = []
    for number in range(3):
        left = tone * (_QUIETER if number == quiet else 1.0)
        parts += [np.stack([left, -left if number == turned else left], 1), pause]
    return np.round(np.concatenate([pause[::2], *parts]) * 32767).astype(np.int16), int(quiet) + 1


def wav(samples: NDArray[np.int16], rate_hz: int) -> bytes:
    """RIFF with `fmt ` and `data` only, 16 bits, of one channel or two: (n,) or (n, 2)."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    pcm = samples.astype("<i2").tobytes()
    head = [b"RIFF", (36 + len(pcm)).to_bytes(4, "little"), b"WAVEfmt ", (16).to_bytes(4, "little")]
    head += [(1).to_bytes(2, "little"), channels.to_bytes(2, "little"), rate_hz.to_bytes(4, "little")]
    head += [(2 * channels * rate_hz).to_bytes(4, "little"), (2 * channels).to_bytes(2, "little")]
    head += [(16).to_bytes(2, "little"), b"data", len(pcm).to_bytes(4, "little")]
    return b"".join([*head, pcm])


# ---------------------------------------------------------------- recordings of the recipe


def _recordings(asked: Listen, rate_hz: int, loudness_lufs: float) -> dict[tuple[str, int], NDArray[np.int16]]:
    """Traps and comprehension questions, treated like the stimuli."""
    paths = [("trap", n, trap.audio, "traps") for n, trap in enumerate(asked.traps)]
    paths += [("question", n, question.audio, "comprehension") for n, question in enumerate(asked.comprehension)]
    return {(kind, n): _recording(path, key, rate_hz, loudness_lufs) for kind, n, path, key in paths}


def _recording(path: Path, key: str, rate_hz: int, loudness_lufs: float) -> NDArray[np.int16]:
    from train.adapter import resampled

    try:
        samples, own_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())} (evaluate.listen.{key})") from None
    if not np.isfinite(samples).all() or not np.abs(samples).max(initial=0.0):
        raise UserError(f"{path}: nothing to hear (evaluate.listen.{key})")
    mono = resampled(samples.mean(1), own_hz, rate_hz)
    levelled = stimuli.level(stimuli.edges(mono, rate_hz), rate_hz, loudness_lufs)
    return np.clip(np.round(levelled * 32767), -32768, 32767).astype(np.int16)


def rate_of(wav: bytes) -> int:
    """The rate of a stimulus."""
    return soundfile.info(io.BytesIO(wav)).samplerate  # type: ignore[no-any-return]
