"""Speech by espeak-ng with the time of every word, as the synthesiser itself reports it."""

import ctypes
import ctypes.util
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from collect.synthetic import phonemes

# From espeak-ng's speak_lib.h.
_SYNCHRONOUS, _PHONEME_EVENTS, _UTF8_WITH_PHONEMES = 2, 1, 1 | 0x100
_RATE, _PITCH, _GAP = 1, 3, 7
_NO_MORE, _WORD, _PHONEME = 0, 1, 7


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


_Heard = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True, eq=False)
class Spoken:
    """`samples`: float32 (n,) at 16 kHz. `times`: (start_s, end_s) of each word."""

    samples: NDArray[np.float32]
    times: list[tuple[float, float]]


def spoken(text: str, voice: str = "ar+m3", speed: int = 140, pitch: int = 40, gap: int = 3) -> Spoken:
    """A sentence in Arabic or Tifinagh letters, as `collect.synthetic` has it read. `gap`: 10 ms between words."""
    library, rate_hz = _library()
    library.espeak_SetVoiceByName(voice.encode())
    for parameter, value in ((_RATE, speed), (_PITCH, pitch), (_GAP, gap)):
        library.espeak_SetParameter(parameter, value, 0)
    waves: list[NDArray[np.int16]] = []
    marks: list[tuple[int, int, bytes]] = []

    def heard(wave: Any, count: int, events: Any) -> int:
        if count:
            waves.append(np.ctypeslib.as_array(wave, (count,)).copy())
        at = 0
        while events[at].type != _NO_MORE:
            marks.append((events[at].type, events[at].sample, events[at].name))
            at += 1
        return 0

    hold = _Heard(heard)
    library.espeak_SetSynthCallback(hold)
    sounds = " ".join(f"[[{phonemes(word)}]]" for word in re.findall(r"\w+", text)).encode()
    library.espeak_Synth(sounds, len(sounds) + 1, 0, 1, 0, _UTF8_WITH_PHONEMES, None, None)
    wave = np.concatenate(waves).astype(np.float32) / 32768
    return Spoken(soxr.resample(wave, rate_hz, 16_000).astype(np.float32), _word_times(marks, rate_hz))


def _word_times(marks: list[tuple[int, int, bytes]], rate_hz: int) -> list[tuple[float, float]]:
    """From the first phoneme of each word to the pause, or the word, after it. `_` and the like are pauses."""
    times: list[list[float]] = []
    begun, ended = False, True
    for kind, sample, name in marks:
        pause = kind != _PHONEME or name.startswith(b"_")
        if pause and not ended:
            times[-1].append(sample / rate_hz)
            ended = True
        if kind == _WORD:
            begun = True
        elif begun and not pause:
            times.append([sample / rate_hz])
            begun = ended = False
    return [(start_s, end_s) for start_s, end_s in times]


@cache
def _library() -> tuple[Any, int]:
    library = ctypes.CDLL(ctypes.util.find_library("espeak-ng"))
    return library, library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS)
