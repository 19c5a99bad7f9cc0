"""Words and letters in time, by CTC forced alignment against a recogniser; and whether that can be believed.

`python -m prepare.align RECIPE --textgrid` or `--ctm` writes the dataset's words for Praat or for scoring tools;
with `--letters` the letters too, with `--mfa` as the Montreal Forced Aligner places them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prepare.clip import Samples
from prepare.quality import frame_power
from prepare.recogniser import RATE_HZ, Floats, Recogniser, emissions, transcribe
from recipes import schema
from recipes.command import run
from recipes.records import Word

_SOFT = 2  # letters that every word is lent in its score: one doubtful frame does not fail a word of one letter
_BESIDE_S = 0.5  # of the silence around a word, which counts in its score: speech in it belongs to no word
_ENERGY_S, _FADES_S = 0.01, 0.4  # a frame of power; a last letter's sound is sought no further than this
_PAUSE_S = 0.3  # a last letter that lasts longer has a pause in it
_MARGIN_S = 0.06  # around a word that is cut out


@dataclass(frozen=True, eq=False)
class Target:
    """A text as the recogniser's tokens. `word`: which word each belongs to, -1 for the space between two."""

    words: list[str]
    letters: list[str]
    ids: NDArray[np.int32]
    word: NDArray[np.int32]
    unknown: list[str]  # letters that the recogniser has no token for


@dataclass(frozen=True, eq=False)
class Alignment:
    """A text in time. `cost`: of each frame, the log probability of what the text says above the likeliest, ≤ 0."""

    target: Target
    words: list[Word]
    letters: list[Word]
    cost: Floats
    step_s: float


@dataclass(frozen=True)
class Stretch:
    """Words `first` to `last` (not included) of an alignment, and the sound that is theirs."""

    first: int
    last: int
    begin_s: float = 0.0
    end_s: float = math.inf


def align(
    recogniser: Recogniser, settings: schema.Align, sounds: Sequence[Samples], texts: Sequence[str]
) -> list[Alignment | str]:
    """Each text in its sound, or the reason why it cannot be. `sounds`: float32 (n,) at 16 kHz."""
    heard = emissions(recogniser, sounds)
    return [
        place(recogniser, settings, text, frames, sound)
        for text, frames, sound in zip(texts, heard, sounds, strict=True)
    ]


def place(
    recogniser: Recogniser, settings: schema.Align, text: str, frames: Floats, sound: Samples
) -> Alignment | str:
    """As `align`, for a sound that was heard already. `frames`: its emissions, float32 (frames, tokens)."""
    target = spell(recogniser, text)
    return refusal(target, len(frames), settings) or _placed(recogniser, settings, target, frames, sound)


def spell(recogniser: Recogniser, text: str) -> Target:
    """Tokens of a normalised text. A letter that the recogniser lacks may be any letter: token -1."""
    known = recogniser.tokenizer.get_vocab()
    space = known.get(recogniser.tokenizer.word_delimiter_token)
    words = text.split()
    letters: list[str] = []
    ids: list[int] = []
    owner: list[int] = []
    for number, word in enumerate(words):
        if number and space is not None:
            letters.append(" ")
            ids.append(space)
            owner.append(-1)
        letters += word
        ids += [known.get(letter, known.get(letter.upper(), -1)) for letter in word]
        owner += [number] * len(word)
    unknown = [letter for letter, token in zip(letters, ids, strict=True) if token < 0]
    return Target(words, letters, np.array(ids, np.int32), np.array(owner, np.int32), unknown)


def refusal(target: Target, frames: int, settings: schema.Align) -> str | None:
    """Why a text cannot be aligned at all; None where it can."""
    from prepare.viterbi import frames_needed

    count = int(np.sum(target.word >= 0))
    if count == len(target.unknown):
        return "nothing to align: the recogniser knows no letter of the transcript"
    share = len(target.unknown) / count
    if settings.max_unknown_share is not None and share > settings.max_unknown_share:
        some = "".join(sorted(set(target.unknown)))[:10]
        return f"letters the recogniser does not know: {share:.0%} of them ({some})"
    if (needed := frames_needed(target.ids)) > frames:
        return f"transcript longer than the speech: {needed} letters and spaces do not fit into {frames} frames"
    return None


def moved(words: Sequence[Word], begin_s: float) -> list[Word]:
    """Words in a stretch that begins at `begin_s`."""
    return [_word(word.text, word.start_s - begin_s, word.end_s - begin_s, word.score) for word in words]


def faults(aligned: Alignment, settings: schema.Align, stretch: Stretch) -> list[str]:
    """Why the alignment of a stretch is not to be believed, one reason a finding; none is good."""
    words = aligned.words[stretch.first : stretch.last]
    return [*_weak(aligned, words, settings, stretch), *_hasty(words, settings)]


def crop_fault(recogniser: Recogniser, sound: Samples, words: Sequence[Word], settings: schema.Align) -> str | None:
    """The crop test: the weakest words, cut out and recognised again, have to be heard as what they are.

    `sound`: float32 (n,) at 16 kHz, in which the words were placed.
    """
    if not settings.crop_words:
        return None
    weakest = sorted(words, key=lambda word: word.score)[: settings.crop_words]
    crops = [_crop(sound, word) for word in weakest]
    heard = [transcribe(recogniser, frames) for frames in emissions(recogniser, crops)]
    edits = sum(_edits(word.text, found.replace(" ", "")) for word, found in zip(weakest, heard, strict=True))
    rate = edits / sum(len(word.text) for word in weakest)
    if rate <= settings.crop_max_cer:
        return None
    pairs = ", ".join(f"{word.text} as {found or 'nothing'}" for word, found in zip(weakest, heard, strict=True))
    return (
        f"crop test: cut out, words are heard as others ({pairs}); CER {rate:.2f}, at most {settings.crop_max_cer:g}"
    )


def _weak(aligned: Alignment, words: list[Word], settings: schema.Align, stretch: Stretch) -> Iterator[str]:
    whole = stretch_score(aligned, stretch, settings.delay_s)
    if settings.min_score is not None and whole < settings.min_score:
        yield f"weak alignment: score {whole:.2f}, prepare.align.min_score is {settings.min_score:g}"
    least = min(words, key=lambda word: word.score)
    if settings.min_word_score is not None and least.score < settings.min_word_score:
        limit = f"prepare.align.min_word_score is {settings.min_word_score:g}"
        yield f"weak word: {least.text} at {least.start_s:.2f} s has {least.score:.3f}, {limit}"


def stretch_score(aligned: Alignment, stretch: Stretch, delay_s: float = 0.0) -> float:
    """How likely the words of a stretch are against the likeliest reading of it, a letter: 0 to 1."""
    words = aligned.words[stretch.first : stretch.last]
    letters = sum(len(word.text) for word in words) + len(words) - 1
    last = len(aligned.cost) if stretch.end_s == math.inf else round((stretch.end_s + delay_s) / aligned.step_s)
    first = round((stretch.begin_s + delay_s) / aligned.step_s) if stretch.begin_s else 0
    return _score(aligned.cost[first:last], letters)


def _hasty(words: list[Word], settings: schema.Align) -> Iterator[str]:
    if settings.max_letters_per_s is None:
        return
    for word in words:
        length_s = word.end_s - word.start_s
        if len(word.text) > settings.max_letters_per_s * length_s:
            limit = f"prepare.align.max_letters_per_s is {settings.max_letters_per_s:g}"
            what = f"{len(word.text)} letters of {word.text} in {length_s:.2f} s at {word.start_s:.2f} s"
            yield f"piled up: {what}, {limit}"
            return


def _placed(
    recogniser: Recogniser, settings: schema.Align, target: Target, frames: Floats, sound: Samples
) -> Alignment:
    from prepare.viterbi import best_path

    below = frames - frames.max(axis=1, keepdims=True)
    tokenizer = recogniser.tokenizer
    silent = {recogniser.blank, tokenizer.word_delimiter_token_id, *tokenizer.all_special_ids} - {None}
    any_letter = np.delete(below, sorted(silent), axis=1).max(axis=1, keepdims=True)
    below = np.concatenate([below, any_letter], axis=1)
    ids = np.where(target.ids < 0, below.shape[1] - 1, target.ids).astype(np.int32)
    path = best_path(below, ids, recogniser.blank)
    said = np.where(path % 2 == 1, ids[np.minimum(path // 2, len(ids) - 1)], recogniser.blank)
    cost = below[np.arange(len(path)), said]
    # The path never falls and visits every letter: the frames from its first to its last.
    state = 2 * np.arange(len(ids)) + 1
    held = np.stack([np.searchsorted(path, state), np.searchsorted(path, state, "right")], axis=1)
    times = _times(target, held[:, 0] * recogniser.step_s - settings.delay_s, sound)
    letters, words = [], []
    beside = round(_BESIDE_S / recogniser.step_s)
    for place, letter in enumerate(target.letters):
        if target.word[place] >= 0:
            score = _score(cost[held[place, 0] : held[place, 1]], 1)
            letters.append(_word(letter, times[place, 0], times[place, 1], score))
    for number, text in enumerate(target.words):
        own = np.flatnonzero(target.word == number)
        begin, end = held[own[0], 0], held[own[-1], 1]
        before = held[own[0] - 2, 1] if number else 0  # of the letter before the space
        after = held[own[-1] + 2, 0] if own[-1] + 2 < len(ids) else len(path)
        score = _score(cost[max(before, begin - beside) : min(after, end + beside)], len(own) + _SOFT)
        words.append(_word(text, times[own[0], 0], times[own[-1], 1], score))
    return Alignment(target, words, letters, cost, recogniser.step_s)


def _times(target: Target, starts: NDArray[Any], sound: Samples) -> NDArray[Any]:
    """Start and end of every letter: float64 (letters, 2). A letter lasts until the next one begins.

    A space begins where the word before it ends. Where no space follows at once, the sound itself says where a
    word ends: a recogniser may name the space only when the pause is over, or have no token for it.
    """
    length_s = len(sound) / RATE_HZ
    starts = np.clip(starts, 0.0, length_s)
    ends = np.append(starts[1:], length_s)
    last = np.flatnonzero(np.append(np.diff(target.word), 1) * (target.word >= 0))  # of each word
    for place in last:
        if ends[place] - starts[place] > _PAUSE_S or -1 not in target.word or place == len(ends) - 1:
            ends[place] = _fading(sound, float(starts[place]), float(ends[place]))
    return np.stack([starts, ends], axis=1)


def _fading(sound: Samples, start_s: float, end_s: float) -> float:
    """Where the sound of a letter has died away, 25 dB below the loudest of it."""
    begin, end = round(start_s * RATE_HZ), round(min(end_s, start_s + _FADES_S) * RATE_HZ)
    power = frame_power(sound[begin:end], round(_ENERGY_S * RATE_HZ))
    if not len(power):
        return end_s
    peak = int(power.argmax())
    quiet = np.flatnonzero(power[peak:] < 10**-2.5 * power[peak])
    return start_s + (peak + int(quiet[0]) if len(quiet) else len(power)) * _ENERGY_S


def _score(cost: Floats, letters: int) -> float:
    """Geometric mean over letters: how much less likely the text is than the likeliest reading, 0 to 1."""
    return float(np.exp(np.sum(cost, dtype=np.float64) / max(1, letters)))


def _word(text: str, start_s: float, end_s: float, score: float) -> Word:
    return Word(
        text=text,
        start_s=round(max(0.0, float(start_s)), 3),
        end_s=round(max(0.0, float(end_s)), 3),
        score=round(score, 3),
    )


def _crop(sound: Samples, word: Word) -> Samples:
    """A word with a little around it."""
    return sound[max(0, round((word.start_s - _MARGIN_S) * RATE_HZ)) : round((word.end_s + _MARGIN_S) * RATE_HZ)]


def _edits(want: str, got: str) -> int:
    """Letters to insert, delete or replace (Levenshtein)."""
    row = list(range(len(got) + 1))
    for i, letter in enumerate(want, 1):
        corner, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (letter != other))
    return row[-1]


if __name__ == "__main__":
    from prepare.tiers import main, options

    run(main, __doc__ or "", options=options)
