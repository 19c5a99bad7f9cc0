"""CTC forced alignment: the likeliest path of a text through a recogniser's emissions, in log space.

The text is a chain of states, blank letter blank letter ... blank; a frame stays in its state, goes on
to the next one, or leaps over the blank between two different letters (Graves et al., "Connectionist
temporal classification", ICML 2006, section 4.1; the best path in place of the sum).

Memory grows with frames plus letters, not with their product. Up to a block of fixed size every choice is
recorded, a byte for each frame and letter; beyond it the frames are halved: one pass carries along, for
each state, where its best path stood in the middle, and each half is solved by itself, at twice the time
in all (Hirschberg, CACM 18(6), 1975; the carried middle as in Powell, Allison and Dix, Information
Processing Letters 70, 1999).
"""

import numba
import numpy as np
from numpy.typing import NDArray

_BLOCK = 2**26  # choices recorded at once: 64 MiB
_NEVER = np.float32(-np.inf)

Floats = NDArray[np.float32]
Whole = NDArray[np.int32]


def best_path(emissions: Floats, ids: Whole, blank: int, block: int = _BLOCK) -> Whole:
    """The state of every frame: int32 (frames,), never falling; 2k is the blank before letter k, 2k + 1 letter k.

    `emissions`: log probabilities float32 (frames, tokens). `ids`: int32 (letters,). `block`: frames times
    letters that are solved with every choice recorded. Raises ValueError where the letters do not fit.
    """
    if not len(ids) or frames_needed(ids) > len(emissions):
        raise ValueError("the transcript does not fit into the speech")
    emissions = np.ascontiguousarray(emissions, np.float32)
    ids = np.append(ids, ids[-1]).astype(np.int32)  # the last one closes the chain with its blank; never entered
    leap = np.zeros(len(ids), np.float32)
    leap[1:][ids[1:] == ids[:-1]] = leap[0] = _NEVER
    path = np.empty(len(emissions), np.int32)
    todo = [(0, len(emissions), 0, 2 * len(ids) - 2, True, True)]
    while todo:
        begin, end, first, last, free_start, free_end = todo.pop()
        low, high = first // 2, last // 2 + 1
        part = emissions[begin:end], ids[low:high], leap[low:high], blank, first - 2 * low, free_start
        if (end - begin) * (high - low) <= block or end - begin < 4:
            path[begin:end] = 2 * low + _recorded(*part, last - 2 * low, free_end)
            continue
        middle = (end - begin) // 2
        at, last = (2 * low + state for state in _halved(*part, last - 2 * low, free_end, middle))
        todo.append((begin, begin + middle + 1, first, at, free_start, False))
        todo.append((begin + middle, end, at, last, False, False))
    if path[-1] < 2 * len(ids) - 3:
        raise ValueError("the transcript does not fit into the speech")
    return path


def frames_needed(ids: Whole) -> int:
    """The fewest frames that letters fit into: one each, and a blank between two that are alike."""
    return len(ids) + int(np.sum(ids[1:] == ids[:-1]))


@numba.njit(cache=True, nogil=True)
def _started(row, ids, blank, first, free):  # type: ignore[no-untyped-def]
    """Scores of blanks and letters after the first frame, two of each to swap: float32 (2, 2, letters)."""
    score = np.full((2, 2, len(ids)), _NEVER, np.float32)
    if first == 0:
        score[0, 0, 0] = row[blank]
    if first == 1 or free:
        score[0, 1, 0] = row[ids[0]]
    return score


@numba.njit(cache=True, nogil=True)
def _step(row, ids, leap, blank, old, new, choice):  # type: ignore[no-untyped-def]
    """One frame on. `choice`: 1 and 2, a letter was entered from its blank or the letter before; 4, its blank was."""
    blanks, letters = old[0], old[1]
    sure = row[blank]
    new[0, 0] = blanks[0] + sure
    best = max(letters[0], blanks[0])
    choice[0] = np.uint8(blanks[0] > letters[0])
    new[1, 0] = best + row[ids[0]]
    for k in range(1, len(ids)):
        before = letters[k - 1]
        enters = before > blanks[k]
        new[0, k] = (before if enters else blanks[k]) + sure
        from_blank = blanks[k] > letters[k]
        best = blanks[k] if from_blank else letters[k]
        leapt = before + leap[k]
        leaps = leapt > best
        new[1, k] = (leapt if leaps else best) + row[ids[k]]
        choice[k] = (np.uint8(2) if leaps else np.uint8(from_blank)) | (np.uint8(enters) << np.uint8(2))


@numba.njit(cache=True, nogil=True)
def _ended(score, last, free):  # type: ignore[no-untyped-def]
    """The state a path ends in; with `free`, the last blank or the letter before it."""
    if free and score[1, last // 2 - 1] > score[0, last // 2]:
        return last - 1
    return last


@numba.njit(cache=True, nogil=True)
def _before(state, choice):  # type: ignore[no-untyped-def]
    """The state a frame earlier. `choice`: of the state's letter and blank."""
    if state % 2 == 0:
        return state - (choice >> 2)
    return state - (choice & 3)


@numba.njit(cache=True, nogil=True)
def _recorded(emissions, ids, leap, blank, first, free_start, last, free_end):  # type: ignore[no-untyped-def]
    """States of all frames, with every choice kept: int32 (frames,)."""
    frames = len(emissions)
    choices = np.empty((frames, len(ids)), np.uint8)
    score = _started(emissions[0], ids, blank, first, free_start)
    for t in range(1, frames):
        _step(emissions[t], ids, leap, blank, score[(t - 1) % 2], score[t % 2], choices[t])
    path = np.empty(frames, np.int32)
    state = _ended(score[(frames - 1) % 2], last, free_end)
    path[frames - 1] = state
    for t in range(frames - 1, 0, -1):
        state = _before(state, choices[t, state // 2])
        path[t - 1] = state
    return path


@numba.njit(cache=True, nogil=True)
def _halved(emissions, ids, leap, blank, first, free_start, last, free_end, middle):  # type: ignore[no-untyped-def]
    """The states of the best path at frame `middle` and at the end."""
    width = len(ids)
    choice = np.empty(width, np.uint8)
    origin = np.empty(2 * width, np.int32)
    for state in range(2 * width):
        origin[state] = state
    score = _started(emissions[0], ids, blank, first, free_start)
    for t in range(1, len(emissions)):
        _step(emissions[t], ids, leap, blank, score[(t - 1) % 2], score[t % 2], choice)
        if t > middle:
            for state in range(2 * width - 1, -1, -1):  # downwards: what is read has not been written yet
                origin[state] = origin[_before(state, choice[state // 2])]
    end = _ended(score[(len(emissions) - 1) % 2], last, free_end)
    return origin[end], end
