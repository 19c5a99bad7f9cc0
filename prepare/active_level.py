"""How loud speech is while it is spoken, pauses left out: ITU-T P.56."""

import math
from typing import NamedTuple

import numpy as np

from prepare.clip import Samples

_SMOOTH_S, _HANGOVER_S, _MARGIN_DB = 0.03, 0.2, 15.9  # T, H and M of the standard's table of parameters
_THRESHOLDS = 0.5 ** np.arange(1, 16)  # of full scale, each half of the one before: those for 16 bits
_ENVELOPE_HZ = 1_000  # at which the envelope is looked at: clause 10.1 asks for 694 Hz
_NOTHING_DBOV = -100.0


class ActiveLevel(NamedTuple):
    """`level_dbov`: power while active; 0 is a full-scale square wave. `activity`: share of the time, 0 to 1."""

    level_dbov: float
    activity: float


def active_level(samples: Samples, rate_hz: int) -> ActiveLevel:
    """Active speech level and activity factor, ITU-T P.56 (12/2011) clause 8, method B. `samples`: float32 (n,).

    The sound is active while its envelope (two one-pole smoothers of 30 ms) is above a threshold, and 0.2 s
    longer. The threshold is the one that lies 15.9 dB below the level it gives, found between powers of two.
    Digital silence, and what no threshold reaches, has -100 dBov and no activity.
    """
    from scipy.ndimage import maximum_filter1d
    from scipy.signal import lfilter

    energy = float(np.sum(np.square(samples, dtype=np.float64)))
    keep = math.exp(-1 / (rate_hz * _SMOOTH_S))
    envelope = lfilter([(1 - keep) ** 2], [1, -2 * keep, keep * keep], np.abs(samples).astype(np.float64))
    envelope = envelope[:: max(1, rate_hz // _ENVELOPE_HZ)]
    half = round(_HANGOVER_S * len(envelope) * rate_hz / max(1, len(samples)) / 2)
    lead = np.concatenate([np.zeros(2 * half), envelope])
    held = maximum_filter1d(lead, 2 * half + 1)[half : half + len(envelope)]
    above = None
    for threshold in _THRESHOLDS:
        if not (active := int(np.count_nonzero(held >= threshold))):
            continue
        activity = active / len(held)
        level_db = 10 * math.log10(energy / len(samples) / activity)
        excess_db = level_db - 20 * math.log10(threshold) - _MARGIN_DB
        if excess_db >= 0:
            if above is None:
                return ActiveLevel(level_db, activity)
            share = above[1] / (above[1] - excess_db)
            level_db = above[0] + share * (level_db - above[0])
            return ActiveLevel(level_db, min(1.0, energy / 10 ** (level_db / 10) / len(samples)))
        above = level_db, excess_db
    return ActiveLevel(_NOTHING_DBOV, 0.0)
