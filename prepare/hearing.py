"""What evaluation hears in speech that is in no dataset: where it is, how good it sounds, whose voice it is."""

import numpy as np

from prepare import mos, voice, voiceprint
from prepare.clip import Clip, Reject, Samples
from prepare.steps import resample
from recipes.schema import Vad


def stretches_of_speech(samples: Samples, rate_hz: int, min_silence_s: float) -> tuple[tuple[float, float], ...]:
    """Where there is speech, as (start_s, end_s); empty where there is none. `samples`: float32 (n,)."""
    try:
        return voice.find_speech(Clip(samples, rate_hz), Vad(min_silence_s=min_silence_s)).speech or ()
    except Reject:
        return ()


def dnsmos(samples: Samples, rate_hz: int) -> tuple[float, float]:
    """DNSMOS of a clip, 1 to 5: P.835's rating of the whole, and P.808's. Raises UserError without the networks."""
    sound = np.clip(resample(Clip(samples, rate_hz), mos.RATE_HZ).samples, -1, 1)
    return mos.p835(sound).ovrl, mos.p808(sound)


def voice_of_clip(samples: Samples, rate_hz: int) -> Samples | None:
    """A voice as a vector of length 1, float32 (256,); None for less than a second of speech.

    Biometric data: only of those who allow `voice_match`, and not to be written. Raises UserError without network.
    """
    found = voiceprint.vectors(Clip(samples, rate_hz))
    return voiceprint.unit(found.mean(axis=0)) if len(found) else None
