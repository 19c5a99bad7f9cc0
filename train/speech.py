"""Signal work that generators need: mel spectrograms and back, pitch, letter times, a voice in numbers."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import librosa
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Frames = NDArray[np.float32]


@dataclass(frozen=True)
class Front:
    """How waves become mel frames."""

    rate_hz: int = 16_000
    n_fft: int = 1024
    hop: int = 256  # samples
    mels: int = 80
    low_hz: float = 60.0
    high_hz: float = 7_600.0


# Natural logarithms of mel magnitudes lie between -11.5 (the floor) and about 2; this brings them near ±2.
_FLOOR, _CENTRE, _SCALE = 1e-5, -5.0, 2.5
_MOMENTUM = 0.95  # of Griffin-Lim: faster than without, and still sure to end


@cache
def _mel_basis(front: Front) -> Frames:
    """Mel filters: float32 (mels, 1 + n_fft / 2)."""
    basis = librosa.filters.mel(
        sr=front.rate_hz, n_fft=front.n_fft, n_mels=front.mels, fmin=front.low_hz, fmax=front.high_hz
    )
    return np.asarray(basis, dtype=np.float32)


@cache
def _inverse_basis(front: Front) -> Frames:
    """Pseudo-inverse of the mel filters: float32 (1 + n_fft / 2, mels)."""
    return np.asarray(np.linalg.pinv(_mel_basis(front)), dtype=np.float32)


def mel(samples: Samples, front: Front) -> Frames:
    """Scaled log mel spectrogram: float32 (frames, mels), frames = 1 + n // hop."""
    return np.asarray((log_mel(samples, front) - _CENTRE) / _SCALE, dtype=np.float32)


def log_mel(samples: Samples, front: Front) -> Frames:
    """The same, unscaled: natural logarithms of mel magnitudes, from -11.5 up."""
    spectrum = np.abs(librosa.stft(samples, n_fft=front.n_fft, hop_length=front.hop))
    magnitudes = np.maximum(_mel_basis(front) @ spectrum, _FLOOR)
    return np.asarray(np.log(magnitudes).T, dtype=np.float32)


def from_log10(frames: Frames) -> Frames:
    """Decimal logarithms of mel magnitudes, as SpeechT5 draws them, on the scale of `mel`."""
    return np.asarray((frames * np.log(10.0) - _CENTRE) / _SCALE, dtype=np.float32)


def griffin_lim(frames: Frames, front: Front, iterations: int = 40) -> Samples:
    """A wave whose `mel` is near the frames: float32 (n,), n = (frames - 1) * hop.

    Source: Griffin and Lim, IEEE Trans. ASSP 32(2), 1984; accelerated as in Perraudin et al., WASPAA 2013. What
    `librosa.griffinlim` gives, in less than half of its time: spectra stay as torch transforms them, (frames, bins).
    """
    import torch

    silence = (np.log(_FLOOR) - _CENTRE) / _SCALE
    lacking = max(0, 1 + front.n_fft // front.hop - len(frames))  # of the frames that one window spans
    frames = np.pad(frames, ((0, lacking), (0, 0)), constant_values=silence)
    magnitudes = np.exp(frames * _SCALE + _CENTRE)
    spectrum = torch.from_numpy(np.maximum(magnitudes @ _inverse_basis(front).T, 0.0))
    phases = 2 * np.pi * np.random.RandomState(0).random(tuple(spectrum.T.shape)).T
    window = torch.hann_window(front.n_fft)
    gain, edge = _inside(window.square(), len(spectrum), front.hop), front.n_fft // 2
    with torch.inference_mode():
        guess = torch.polar(spectrum, torch.from_numpy(phases.astype(np.float32)))
        before = torch.zeros_like(guess)
        for _ in range(iterations):
            wave = _overlapped(torch.fft.irfft(guess, front.n_fft) * window, front.hop) * gain
            heard = torch.fft.rfft(wave.unfold(0, front.n_fft, front.hop) * window)
            guess = torch.sub(heard, before, alpha=_MOMENTUM / (1 + _MOMENTUM))
            power = torch.addcmul(guess.real.square(), guess.imag, guess.imag)
            torch.view_as_real(guess).mul_((spectrum * power.add_(1e-30).rsqrt_())[..., None])
            before = heard
        wave = _overlapped(torch.fft.irfft(guess, front.n_fft) * window, front.hop) * gain
        return np.asarray(wave[edge : len(wave) - edge].numpy(), dtype=np.float32)


def _overlapped(windows: Any, hop: int) -> Any:
    """Windows, a tensor (frames, n_fft), laid over each other a hop apart and added up: (n,)."""
    import torch

    frames, n_fft = windows.shape
    parts = torch.nn.functional.pad(windows, (0, -n_fft % hop)).view(frames, -1, hop)
    whole = windows.new_zeros(frames + parts.shape[1] - 1, hop)
    for number in range(parts.shape[1]):
        whole[number : number + frames] += parts[:, number]
    return whole.flatten()[: (frames - 1) * hop + n_fft]


def _inside(weight: Any, frames: int, hop: int) -> Any:
    """What overlapped windows of a weight (n_fft,) are multiplied by: its sum's inverse, 0 beyond the middles of the
    first and the last window, where there is no sound."""
    gain = 1 / _overlapped(weight.expand(frames, -1), hop).clamp(min=1e-11)
    gain[: len(weight) // 2] = 0
    gain[len(gain) - len(weight) // 2 :] = 0
    return gain


def pitch(samples: Samples, front: Front) -> Frames:
    """Octaves above 150 Hz by YIN, NaN where there is no voice: float32 (frames,).

    Source: de Cheveigné and Kawahara, JASA 111(4), 2002.
    """
    f0 = librosa.yin(samples, fmin=65.0, fmax=500.0, sr=front.rate_hz, frame_length=1024, hop_length=front.hop)
    energy = librosa.feature.rms(y=samples, frame_length=front.n_fft, hop_length=front.hop)[0]
    rough = librosa.feature.zero_crossing_rate(samples, frame_length=1024, hop_length=front.hop)[0]
    voiced = (energy > 0.05 * energy.max()) & (rough < 0.25) & (f0 < 480.0)
    octaves = np.where(voiced, np.log2(np.maximum(f0, 1.0) / 150.0), np.nan)
    return np.asarray(octaves, dtype=np.float32)


def steady_pitch(samples: Samples, front: Front) -> Frames:
    """The same by pYIN: the likeliest path through the candidates of all frames, which does not leap by an octave.

    It takes about 0.05 s of a core for a second of speech, fifty times what `pitch` takes. Source: Mauch and Dixon,
    "pYIN: a fundamental frequency estimator using probabilistic threshold distributions", ICASSP 2014.
    """
    f0, _, _ = librosa.pyin(samples, fmin=65.0, fmax=500.0, sr=front.rate_hz, frame_length=1024, hop_length=front.hop)
    return np.asarray(np.log2(f0 / 150.0), dtype=np.float32)


def voice_statistics(samples: Samples, front: Front) -> Frames:
    """A speaker in 64 numbers: means and spreads of 31 cepstral coefficients and of pitch. float32 (64,).

    Enough to tell a few voices of one corpus apart; for many speakers use an x-vector model.
    """
    cepstra = librosa.feature.mfcc(S=mel(samples, front).T, n_mfcc=32)[1:]
    octaves = pitch(samples, front)
    octaves = octaves[~np.isnan(octaves)]
    level, spread = (octaves.mean(), octaves.std()) if len(octaves) else (0.0, 0.0)
    parts = [cepstra.mean(1), cepstra.std(1), [4 * level, 4 * spread]]
    return np.asarray(np.concatenate(parts), dtype=np.float32)


def letter_frames(emissions: NDArray[np.float32], ids: NDArray[np.int64], blank: int) -> NDArray[np.int64]:
    """The frame at which each letter is heard, by CTC forced alignment: int64 (letters,), rising.

    `emissions`: log probabilities float32 (frames, vocabulary). Raises ValueError when the letters do
    not fit. Source: Graves et al. 2006, section 4; the best path in place of the sum.
    """
    if not 0 < len(ids) <= len(emissions):
        raise ValueError("the transcript does not fit into the speech")
    states = np.full(2 * len(ids) + 1, blank, dtype=np.int64)
    states[1::2] = ids
    total, width = len(emissions), len(states)
    leap = np.zeros(width, dtype=bool)  # a blank between two different letters may be left out
    leap[3::2] = ids[1:] != ids[:-1]
    score = np.full(width, -np.inf, dtype=np.float32)
    score[:2] = emissions[0, states[:2]]
    back = np.zeros((total, width), dtype=np.int8)
    for t in range(1, total):
        step = np.concatenate([[-np.inf], score[:-1]])
        jump = np.where(leap, np.concatenate([[-np.inf, -np.inf], score[:-2]]), -np.inf)
        options = np.stack([score, step, jump])
        back[t] = options.argmax(0)
        score = options.max(0) + emissions[t, states]
    at = width - 1 if score[-1] >= score[-2] else width - 2
    if not np.isfinite(score[at]):
        raise ValueError("the transcript does not fit into the speech")
    path = np.empty(total, dtype=np.int64)
    for t in range(total - 1, -1, -1):
        path[t] = at
        at -= back[t, at]
    heard = np.full(len(ids), -1, dtype=np.int64)
    for t in range(total):  # of the frames a letter holds, the surest one
        if path[t] % 2:
            letter = path[t] // 2
            best = heard[letter]
            if best < 0 or emissions[t, ids[letter]] > emissions[best, ids[letter]]:
                heard[letter] = t
    return heard
