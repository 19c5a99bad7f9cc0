"""What becomes of one clip: the steps, in their order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prepare import align, clicks, dataset, limits, noise, quality, segments, steps, text, voice
from prepare.clip import Clip, Reject, Unread
from prepare.fingerprint import fingerprint
from prepare.parts import Finished, Refusal
from prepare.recogniser import RATE_HZ, Recogniser, open_recogniser
from prepare.text import reading
from prepare.text.reading import Transcript
from recipes import records
from recipes.records import Purpose, Quality, Word
from recipes.schema import Prepare, UserError

_PAD_S = 0.1  # kept on both sides of a stretch where prepare.vad, which says how much, is off


class Sounds(Protocol):
    """Where sound comes from: the ledger, or on another machine what was sent of it."""

    def audio(self, clip: records.Clip, purpose: Purpose) -> tuple[NDArray[np.float32], int]:
        """Samples, float32 (n, channels), and rate. Raises UserError where they are not to be had."""
        ...


Made = tuple[Finished, bytes]  # an utterance: its facts and its FLAC bytes


@dataclass(frozen=True)
class Ready:
    """A clip whose sound is prepared, up to where its words are sought."""

    clip: records.Clip
    heard: quality.Heard
    utterance: Clip
    transcript: Transcript

    @property
    def words(self) -> list[str]:
        """The transcript's, normalised."""
        return self.transcript.normal.split()


def ready(clip: records.Clip, sounds: Sounds, settings: Prepare) -> Ready:
    """The first steps, from the ledger to a trimmed utterance. Raises Reject where it cannot be one."""
    transcript = reading.read(clip.transcript, clip.language, settings)
    original = read(clip, sounds, settings.purpose)
    recording = steps.require_sound(steps.mono(original), settings.min_duration_s)
    recording = clicks.mark(recording)
    if settings.repair_clicks:
        recording = clicks.repair(recording)
    recording = steps.resample(recording, settings.rate_hz)
    if settings.high_pass_hz is not None:
        recording = steps.high_pass(recording, settings.high_pass_hz)
    if settings.vad:
        recording = voice.reach_edges(voice.find_speech(recording, settings.vad))
    heard = quality.hear(original, recording)
    if settings.noise_reduction_db is not None:
        recording = noise.reduce(recording, settings.noise_reduction_db)
    utterance = edged(recording, settings)
    most_s = float("inf") if settings.align else settings.max_duration_s
    utterance = steps.require_duration(utterance, settings.min_duration_s, most_s)
    if reason := limits.of_recording(heard, settings):
        raise Reject(reason, quality.measure(heard, utterance, transcript.normal))
    return Ready(clip, heard, utterance, transcript)


def edged(clip: Clip, settings: Prepare) -> Clip:
    """A clip with as much silence around its speech as the recipe says."""
    if settings.edge_silence_s is not None:
        return steps.set_edges(clip, settings.edge_silence_s)
    return steps.trim(clip, settings.vad.pad_s) if settings.vad else clip


def finish(clips: list[Ready], settings: Prepare) -> Iterator[list[Made | Refusal]]:
    """What becomes of each clip: one utterance, several from a long one, and reasons instead of any that fails."""
    if settings.align is None:
        yield from ([_made(clip, clip.utterance, settings, clip.transcript.text, clip.words)] for clip in clips)
        return
    recogniser = open_recogniser(settings.align.model, settings.align.revision, settings.align.adapter)
    sounds = [steps.resample(clip.utterance, RATE_HZ).samples for clip in clips]
    found = align.align(recogniser, settings.align, sounds, [" ".join(clip.words) for clip in clips])
    for clip, aligned in zip(clips, found, strict=True):
        if isinstance(aligned, str):
            yield [Refusal(reason=aligned, quality=figures(clip, clip.utterance, clip.words))]
        else:
            yield list(_aligned(clip, aligned, recogniser, settings))


def _aligned(
    clip: Ready, aligned: align.Alignment, recogniser: Recogniser, settings: Prepare
) -> Iterator[Made | Refusal]:
    """The clip with its words in time; where it is too long, its stretches between pauses."""
    assert settings.align
    stretches = [align.Stretch(0, len(clip.words))]
    if clip.utterance.duration_s > settings.max_duration_s:
        pad_s = settings.vad.pad_s if settings.vad else _PAD_S
        how, most_s = settings.align, settings.max_duration_s
        stretches = segments.stretches(aligned.words, how.min_pause_s, most_s, pad_s, how.join_below_s)
    for stretch in stretches:
        sound = steps.cut(clip.utterance, stretch.begin_s, stretch.end_s)
        begin_s = stretch.begin_s
        if settings.edge_silence_s is not None and len(stretches) > 1 and sound.speech:
            speech_s = sound.speech[0][0]
            sound = steps.set_edges(voice.reach_edges(sound), settings.edge_silence_s)
            begin_s += speech_s - settings.edge_silence_s
        words = align.moved(aligned.words[stretch.first : stretch.last], begin_s)
        reasons = align.faults(aligned, settings.align, stretch)
        if reason := align.crop_fault(recogniser, steps.resample(sound, RATE_HZ).samples, words, settings.align):
            reasons.append(reason)
        if reasons and settings.align.on_fault == "reject":
            made: Made | Refusal = Refusal(reason="; ".join(reasons), quality=figures(clip, sound, words))
        else:
            made = _made(clip, sound, settings, _as_spoken(clip, stretch), words, reasons)
        if isinstance(made, Refusal) and len(stretches) > 1:
            place = f" (from {stretch.begin_s:.1f} s to {stretch.end_s:.1f} s of its speech)"
            made = made.model_copy(update={"reason": made.reason + place})
        yield made


def _as_spoken(clip: Ready, stretch: align.Stretch) -> str:
    """The stretch's words as the transcript writes them; normalised where the cut falls inside one of its words."""
    tokens = clip.transcript.text.split()
    normalised = [text.normalise(token, clip.transcript.language).split() for token in tokens]
    begins = [0, *accumulate(len(words) for words in normalised)]  # how many words came before each token
    if [word for words in normalised for word in words] != clip.words or not {stretch.first, stretch.last} <= set(
        begins
    ):
        return " ".join(clip.words[stretch.first : stretch.last])
    return " ".join(tokens[begins.index(stretch.first) : len(begins) - 1 - begins[::-1].index(stretch.last)])


def _made(
    clip: Ready,
    utterance: Clip,
    settings: Prepare,
    spoken: str,
    words: Sequence[Word | str],
    flags: Sequence[str] = (),
) -> Made | Refusal:
    """The last steps: level, figures, FLAC. Or the reason why they cannot be."""
    normal = _normal(words)
    try:
        utterance = steps.require_duration(utterance, settings.min_duration_s, settings.max_duration_s)
        if settings.loudness_lufs is not None:
            utterance = steps.set_loudness(utterance, settings.loudness_lufs)
        if settings.active_level_dbov is not None:
            utterance = steps.set_active_level(utterance, settings.active_level_dbov)
        utterance = steps.limit_peak(utterance)
        measured = quality.measure(clip.heard, utterance, normal)
        if reason := limits.of_utterance(measured, settings):
            raise Reject(reason, measured)
    except Reject as reject:
        return Refusal(reason=str(reject), quality=reject.quality)
    audio = dataset.encode(utterance.samples, utterance.rate_hz)
    return Finished(
        text=spoken,
        text_normalized=normal,
        language=clip.transcript.language,
        rate_hz=utterance.rate_hz,
        duration_s=utterance.duration_s,
        words=[word for word in words if isinstance(word, Word)],
        flags=[*clip.transcript.flags, *flags],
        quality=measured,
        sound=fingerprint(utterance),
        audio=dataset.audio_digest(audio),
    ), audio


def figures(clip: Ready, utterance: Clip, words: Sequence[Word | str]) -> Quality | None:
    """What can be measured on an utterance that is not made; None where it is all but silent."""
    try:
        return quality.measure(clip.heard, utterance, _normal(words))
    except Reject:
        return None


def _normal(words: Sequence[Word | str]) -> str:
    return " ".join(word if isinstance(word, str) else word.text for word in words)


def read(clip: records.Clip, sounds: Sounds, purpose: Purpose) -> Clip:
    """The clip's sound, as it came. Raises Unread where the ledger refuses or has lost it."""
    try:
        return Clip(*sounds.audio(clip, purpose))
    except UserError as error:
        raise Unread(f"audio cannot be read: {error}") from None
