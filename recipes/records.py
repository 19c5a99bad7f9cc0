"""The rows that cross between stages, and the closed lists they draw on."""

import unicodedata
from datetime import datetime
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, Field

# BCP 47 language and script (ISO 639-3, ISO 15924). `zxx` has no place here: every clip is speech.
Language = Literal[
    "ary-Arab",
    "ary-Latn",
    "zgh-Tfng",
    "zgh-Latn",
    "zgh-Arab",
    "shi-Tfng",
    "shi-Latn",
    "shi-Arab",
    "tzm-Tfng",
    "tzm-Latn",
    "tzm-Arab",
    "rif-Tfng",
    "rif-Latn",
    "rif-Arab",
    "kab-Latn",
    "kab-Tfng",
]
LANGUAGES: tuple[str, ...] = get_args(Language)
# ISO 639-3, which the hub takes where ISO 639-1 has no code.
LANGUAGE_NAMES = {
    "ary": "Moroccan Arabic (Darija)",
    "zgh": "Standard Moroccan Tamazight",
    "shi": "Tachelhit",
    "tzm": "Central Atlas Tamazight",
    "rif": "Tarifit",
    "kab": "Kabyle",
}

# What a speaker can allow, each by itself. Absence means no.
Purpose = Literal[
    "store_prepare",
    "asr_train",
    "tts_multi",
    "tts_clone",
    "listen_test",
    "publish_audio",
    "publish_model",
    "commercial",
    "transfer_abroad",
    "voice_match",
    "profile_data",
    "recontact",
]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

Gender = Literal["female", "male", "other"]
AgeBand = Literal["under18", "18-29", "30-44", "45-59", "60+"]
Origin = Literal["prompt", "draft", "validated"]
Split = Literal["train", "valid", "test"]

# Text is NFC from the moment a row is made: two spellings of one letter never meet downstream.
Text = Annotated[str, AfterValidator(lambda text: unicodedata.normalize("NFC", text))]


class Row(BaseModel, extra="forbid", frozen=True):
    """A value between stages: typed, closed, unchanging."""


class Clip(Row):
    """A recording in the ledger (collect → prepare). Its audio is reached through `permit` only."""

    id: str  # SHA-256 of the file's bytes, 64 hexadecimal digits
    speaker: str  # pseudonymous code
    language: Language
    dialect: str | None = None
    region: str | None = None
    transcript: Text
    origin: Origin = "prompt"
    valid: bool = True  # false: annotators say that the recording cannot be used
    audio: str  # where the vault keeps it, relative to the vault
    rate_hz: int = Field(gt=0)
    duration_s: float = Field(gt=0)  # counted from decoded samples
    source: str  # the file it came from, as named in the metadata
    session: str | None = None  # the sitting in which it was recorded


class Transcript(Row):
    """What one annotator wrote of a clip."""

    id: str  # server, project, task and annotation
    clip: str
    text: Text
    language: Language | None = None
    dialect: str | None = None
    quality: str | None = None
    valid: bool = True  # false: the annotator says that the recording cannot be used
    annotator: str  # pseudonymous
    at: datetime


class Word(Row):
    """One word in time, with how sure the alignment is (0 to 1)."""

    text: str
    start_s: float = Field(ge=0)
    end_s: float = Field(ge=0)
    score: float


class Quality(Row):
    """What was measured: on an utterance's samples after preparation, or on its recording where a comment says so."""

    loudness_lufs: float  # ITU-R BS.1770-4
    active_level_dbov: float  # ITU-T P.56: of the speech without its pauses; a full-scale square wave has 0
    peak: float  # absolute, full scale is 1
    snr_db: float  # of the recording, before noise reduction
    clipped_share: float  # of the recording's samples, as it came
    clicks: int  # in the utterance, as it came
    bandwidth_hz: float  # up to which the recording has sound, as it came
    t60_s: float | None = None  # of the recording: how long sound takes to fade by 60 dB; None: too little to tell
    speech_share: float  # of the duration, by voice activity
    letters_per_s: float  # of `text_normalized`, a second of speech
    mos_ovrl: float | None = None  # DNSMOS P.835, 1 to 5; none without prepare.mos
    mos_sig: float | None = None
    mos_bak: float | None = None
    mos_p808: float | None = None


class Utterance(Row):
    """A row of the dataset (prepare → train). Audio is FLAC bytes, mono."""

    id: str  # clip id, plus `-NN` where one recording gave several utterances
    clip: str
    speaker: str
    language: Language
    dialect: str | None = None
    region: str | None = None
    gender: Gender | None = None
    age_band: AgeBand | None = None
    purposes: list[Purpose] = []  # what its speaker allowed when the dataset was made
    text: Text  # as spoken
    text_normalized: Text
    audio: bytes
    rate_hz: int = Field(gt=0)
    duration_s: float = Field(gt=0)
    words: list[Word] = []  # of `text_normalized`; none without prepare.align
    quality: Quality
    flags: list[str] = []  # what was found in the transcript, its alignment or the sound, where such clips are kept
    split: Split


class Rejected(Row):
    """A clip or part of one that did not become an utterance, and why."""

    clip: str
    source: str
    reason: str
    quality: Quality | None = None  # as far as it came before it was rejected: None where nothing was measured


class Lineage(Row):
    """What an artefact was made from: enough to walk back to the consents."""

    kind: Literal["dataset", "adapter", "report"]
    purpose: Purpose | None = None
    clips: str | None = None  # SHA-256 over the sorted clip ids
    parents: list[str] = []  # hashes of what it was made from
    base: str | None = None  # model id or path
    base_revision: str | None = None
    base_hash: str | None = None  # SHA-256 of the base's weights
    weights: str | None = None  # of an adapter: SHA-256 over the digests of its safetensors files
    files: str | None = None  # and over those of all its files, tokenizer and settings too
    recipe: str  # SHA-256 of the resolved recipe
    code: str  # commit, with `+` when the tree was changed
    versions: dict[str, str]  # package name to version
    seed: int
    created: datetime
