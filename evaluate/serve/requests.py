"""What clients ask for, checked before any model is troubled with it; and the work itself."""

import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, cast, get_args

import numpy as np
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from evaluate import marked, stimuli
from evaluate.serve.desk import Desk, Opened
from evaluate.serve.refusal import Refused
from recipes.records import Language
from train.adapter import Flowing, foreign_audio, normalise, resampled

_MEDIA = {"wav": "audio/wav", "mp3": "audio/mpeg", "opus": "audio/ogg", "flac": "audio/flac", "pcm": "audio/pcm"}
_PCM_HZ = 24_000  # as OpenAI's interface has it
_PEAK = 0.98
_KNEE = 0.8  # what goes beyond is bent
_SENTENCE_END = re.compile(r"(?<=[.!?؟…\n])\s*")
_CLAUSE_END = re.compile(r"(?<=[,;:،؛])\s*")
_LONG_CHARS = 100  # of a sentence that is cut at its commas too, so that the first sound comes early
_PAUSE_S = 0.25  # between pieces


@dataclass(frozen=True)
class Speech:
    """A text to be spoken."""

    model: Opened
    text: str
    said: str  # as models know it
    voice: str
    format: str
    pieces: tuple[str, ...] = ()  # of `said`, where the sound is to come piece by piece


@dataclass(frozen=True)
class Made:
    """Speech as a file."""

    data: bytes
    media_type: str
    duration_s: float
    statement: str


@dataclass(frozen=True)
class Transcription:
    """A recording to be written down."""

    model: Opened
    file: UploadFile
    language: Language
    format: str


@dataclass(frozen=True)
class Heard:
    """What was written down."""

    text: str
    duration_s: float


async def read_json(request: Request) -> dict[str, Any]:
    """The body, an object in JSON."""
    try:
        sent = json.loads(await request.body())
    except (ValueError, RecursionError):
        sent = None
    if not isinstance(sent, dict):
        raise Refused(400, "invalid_json", "the body is no object in JSON")
    return sent


# ---------------------------------------------------------------- speech


def speech(sent: dict[str, Any], desk: Desk) -> Speech:
    """A request for speech. Raises Refused for what the model cannot do, or must not."""
    model = desk.model(sent.get("model"), recognises=False)
    kind = sent.get("response_format") or "mp3"
    if not isinstance(kind, str) or kind not in _MEDIA:
        raise Refused(400, "invalid_format", f"response_format is one of {', '.join(_MEDIA)}", "response_format")
    if sent.get("speed") not in (None, 1):
        raise Refused(400, "unsupported", "speed can only be 1", "speed")
    if sent.get("instructions"):
        raise Refused(400, "unsupported", "these models follow no instructions", "instructions")
    if sent.get("stream_format") not in (None, "audio"):
        raise Refused(
            400, "unsupported", "sound comes without events: stream_format can only be audio", "stream_format"
        )
    voice = _voice(sent.get("voice"), desk)
    text = sent.get("input")
    if not isinstance(text, str) or not text.strip():
        raise Refused(400, "no_text", "input is the text to be spoken", "input")
    if len(text) > desk.settings.max_chars:
        told = f"input has {len(text)} characters; at most {desk.settings.max_chars}"
        raise Refused(400, "text_too_long", told, "input")
    said, language = _said(text, sent.get("language"), desk, model)
    whole = kind == "flac" or not sent.get("stream_format")  # readers of FLAC want to know its length
    pieces = () if whole else _pieces(text, language)
    return Speech(model, text, said, voice, kind, pieces)


def _voice(asked: Any, desk: Desk) -> str:
    """Whose voice. One outside the list is refused, and counted: somebody may be trying to make others speak."""
    name = asked.get("id") if isinstance(asked, dict) else asked
    if name in (None, "", "default"):
        name = desk.voices[0]
    if name not in desk.voices:
        desk.metrics.count("twiza_misuse_total", signal="voice_outside_allow_list")
        told = f"this voice may not be used here; default or one of {', '.join(desk.voices)}"
        raise Refused(403, "voice_not_allowed", told, "voice")
    if not desk.allows(name):
        raise Refused(410, "withdrawn", "the speaker does not allow this voice any more", "voice")
    return str(name)


def _said(text: str, language: Any, desk: Desk, model: Opened) -> tuple[str, Language]:
    """The text as the model knows it, and the language it was read in.

    Raises Refused where the model would say something else than what is written.
    """
    if digit := next((letter for letter in text if letter.isnumeric()), None):
        raise Refused(400, "digits", f"{digit!r} in the text: write numbers as words, as they are said", "input")
    languages = [_language(language, desk)] if language else [cast(Language, one) for one in desk.languages]
    said, found = max(((normalise(text, one), one) for one in languages), key=lambda pair: len(pair[0]))
    if not said:
        raise Refused(400, "no_letters", f"no letter of {' or '.join(languages)} in the text", "input")
    if unknown := model.family.unknown([said]):
        raise Refused(400, "unknown_letters", f"letters that the model never learnt: {' '.join(unknown)}", "input")
    return said, found


def _pieces(text: str, language: Language) -> tuple[str, ...]:
    """Sentences, and the clauses of long ones, as the model knows them."""
    parts = []
    for sentence in _SENTENCE_END.split(text):
        parts += _CLAUSE_END.split(sentence) if len(sentence) > _LONG_CHARS else [sentence]
    return tuple(said for part in parts if (said := normalise(part, language)))


def _language(asked: Any, desk: Desk) -> Language:
    """A language of the dataset, by its whole tag or the part before the script."""
    found = [one for one in desk.languages if asked in (one, one.partition("-")[0])]
    if not found:
        raise Refused(400, "unknown_language", f"language is one of {', '.join(desk.languages)}", "language")
    return cast(Language, found[0])


def speak(desk: Desk, asked: Speech) -> Made:
    """The work: speech at the recipe's loudness, as a file that says that it is synthetic."""
    samples, rate_hz = _levelled(desk, asked, asked.said), asked.model.family.rate_hz
    if asked.format in get_args(marked.Format):
        data = desk.marks.file(samples, rate_hz, cast(marked.Format, asked.format), asked.model.weights)
    else:
        data = _pcm(samples, rate_hz)
    statement = marked.statement(desk.recipe, asked.model.weights)
    return Made(data, _MEDIA[asked.format], len(samples) / rate_hz, statement)


def speak_on(desk: Desk, asked: Speech) -> Generator[Made]:
    """The same piece by piece: each as the file goes on, with pauses between sentences; and what the codec kept back.

    A manifest signs a whole file, and a file that is still being made bears none.
    """
    rate_hz, statement = asked.model.family.rate_hz, marked.statement(desk.recipe, asked.model.weights)
    file = None
    if asked.format in get_args(marked.Format):
        file = marked.Growing(rate_hz, cast(marked.Format, asked.format), statement)
    pause = 0
    for sentence in asked.pieces:
        for samples in _drawn(desk, asked, sentence):
            samples, pause = np.pad(samples, (pause, 0)), 0
            data = file.add(samples) if file else _pcm(samples, rate_hz)
            yield Made(data, _MEDIA[asked.format], len(samples) / rate_hz, statement)
        pause = round(_PAUSE_S * rate_hz)
    if file:
        yield Made(file.end(), _MEDIA[asked.format], 0.0, statement)


def _levelled(desk: Desk, asked: Speech, said: str) -> stimuli.Samples:
    """A text as speech at the recipe's loudness, or quieter where it would clip, with the recipe's watermark."""
    family = asked.model.family
    raw = family.synthesise(said, asked.model.voices[asked.voice])
    samples = stimuli.level(np.asarray(raw, np.float32), family.rate_hz, desk.recipe.evaluate.loudness_lufs)
    samples = samples * np.float32(min(1.0, _PEAK / max(float(np.abs(samples).max(initial=0.0)), 1e-9)))
    return desk.marks.speech(samples, family.rate_hz)


def _drawn(desk: Desk, asked: Speech, said: str) -> Iterator[stimuli.Samples]:
    """A sentence as `_levelled` has it; while it is being drawn, where nothing has to be known of all of it.

    A watermark wants seconds of sound at once, and so does a filter that changes the rate.
    """
    family, voice = asked.model.family, asked.model.voices[asked.voice]
    watermark = desk.recipe.evaluate.marking.watermark
    if not isinstance(family, Flowing) or watermark is not None or family.rate_hz != _PCM_HZ:
        yield _levelled(desk, asked, said)
        return
    gain = np.float32(desk.gain(asked.model, asked.voice))
    for samples in family.synthesise_on(said, voice):
        yield _limited(samples * gain)


def _limited(samples: stimuli.Samples) -> stimuli.Samples:
    """Within full scale, by a curve and not by time: what a sample becomes hangs on no other, so that pieces join."""
    over, room = np.maximum(np.abs(samples) - _KNEE, 0), _PEAK - _KNEE
    bent = np.sign(samples) * (_KNEE + room * np.tanh(over / room))
    return np.where(over > 0, bent, samples).astype(np.float32)


def _pcm(samples: stimuli.Samples, rate_hz: int) -> bytes:
    wave = resampled(samples, rate_hz, _PCM_HZ)
    return np.clip(np.round(wave * 32767), -32768, 32767).astype("<i2").tobytes()


# ---------------------------------------------------------------- transcription


def transcription(form: FormData, desk: Desk) -> Transcription:
    """A request for text. Raises Refused for what the model cannot do."""
    model = desk.model(form.get("model"), recognises=True)
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise Refused(400, "no_file", "file is the recording", "file")
    if (file.size or 0) > desk.settings.max_mib * 2**20:
        raise too_large(desk)
    kind = form.get("response_format") or "json"
    if kind not in ("json", "text", "verbose_json"):
        raise Refused(400, "invalid_format", "response_format is json, text or verbose_json", "response_format")
    if form.get("stream") in ("true", "True", "1"):
        raise Refused(400, "unsupported", "text comes whole: stream can only be false", "stream")
    asked = form.get("language")
    language = _language(asked, desk) if asked else cast(Language, desk.languages[0])
    return Transcription(model, file, language, str(kind))


def too_large(desk: Desk) -> Refused:
    """Why a recording is not taken."""
    return Refused(
        413, "file_too_large", f"the recording is too large; at most {desk.settings.max_mib:g} MiB", "file"
    )


def hear(desk: Desk, asked: Transcription) -> Heard:
    """The work: the recording through the one safe door, then through the recogniser."""
    family = asked.model.family
    try:
        samples, rate_hz = foreign_audio(asked.file.file.read(), desk.settings.max_minutes)
    except ValueError as error:
        raise Refused(400, "invalid_audio", f"the recording cannot be used: {error}", "file") from None
    text = family.transcribe(resampled(samples, rate_hz, family.rate_hz), asked.language)
    return Heard(text, len(samples) / rate_hz)


def written(heard: Heard, asked: Transcription) -> Response:
    """The answer, as asked for."""
    if asked.format == "text":
        return PlainTextResponse(heard.text + "\n")
    if asked.format == "json":
        return JSONResponse({"text": heard.text})
    about = {"task": "transcribe", "language": asked.language, "duration": round(heard.duration_s, 3)}
    return JSONResponse(about | {"text": heard.text})
