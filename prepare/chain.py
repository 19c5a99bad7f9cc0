"""What becomes of one clip: the steps, in their order."""

from collect.ledger import Ledger
from prepare import dataset, quality, steps, voice
from prepare.clip import Clip, Unread
from prepare.parts import Finished
from prepare.text import reading
from recipes import records
from recipes.records import Purpose
from recipes.schema import Prepare, UserError


def prepare(clip: records.Clip, ledger: Ledger, settings: Prepare) -> tuple[Finished, bytes]:
    """One clip as an utterance: its facts and its FLAC bytes. Raises Reject where it cannot be one."""
    transcript = reading.read(clip.transcript, clip.language, settings)
    original = read(clip, ledger, settings.purpose)
    recording = steps.require_sound(steps.mono(original), settings.min_duration_s)
    utterance = recording = steps.resample(recording, settings.rate_hz)
    if settings.vad:
        recording = voice.reach_edges(voice.find_speech(recording, settings.vad))
        utterance = steps.trim(recording, settings.vad.pad_s)
    utterance = steps.require_duration(utterance, settings.min_duration_s, settings.max_duration_s)
    if settings.min_snr_db is not None:
        steps.require_snr(recording, settings.min_snr_db)
    if settings.loudness_lufs is not None:
        utterance = steps.set_loudness(utterance, settings.loudness_lufs)
    utterance = steps.limit_peak(utterance)
    audio = dataset.encode(utterance.samples, utterance.rate_hz)
    return Finished(
        text=transcript.text,
        text_normalized=transcript.normal,
        language=transcript.language,
        flags=list(transcript.flags),
        rate_hz=utterance.rate_hz,
        duration_s=utterance.duration_s,
        quality=quality.measure(original, recording, utterance),
        audio=dataset.audio_digest(audio),
    ), audio


def read(clip: records.Clip, ledger: Ledger, purpose: Purpose) -> Clip:
    """The clip's sound, as it came. Raises Unread where the ledger refuses or has lost it."""
    try:
        return Clip(*ledger.audio(clip, purpose))
    except UserError as error:
        raise Unread(f"audio cannot be read: {error}") from None
