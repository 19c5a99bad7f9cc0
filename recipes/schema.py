"""The recipe: every key a YAML file may hold, typed, with its default; and `load`."""

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from recipes import faults
from recipes.records import AgeBand, Gender, Language, Purpose

Share = Annotated[float, Field(ge=0, lt=1)]
Family = Literal[
    "whisper", "ctc", "speecht5", "fastspeech2", "csm", "pocket_tts", "qwen3_asr", "voxtral", "voxtral_tts", "vits"
]
Interface = Literal["en", "fr", "ary", "zgh", "zgh-Latn"]  # what the web pages can be read in
INTERFACES: tuple[Interface, ...] = get_args(Interface)
RECOGNITION: tuple[Family, ...] = ("whisper", "ctc", "qwen3_asr", "voxtral")
Layout = Literal[
    "auto", "plain", "ljspeech", "common_voice", "piper", "audiofolder", "datasets", "whatsapp", "label_studio"
]
_HUB = re.compile(r"hub:([\w.-]+/[\w.-]+)@([0-9a-f]{40})")
_ON_HUB = re.compile(r"hub:[\w.-]+/[\w.-]+")


class UserError(Exception):
    """A mistake that the user can mend. Its text is one line: what, where, and what to do."""


class RecipeError(UserError):
    """All faults of a recipe at once, one a line, each with its place and value."""


def _beside_recipe(value: Any, info: ValidationInfo) -> Any:
    """A relative path is relative to the recipe file, wherever the command is run."""
    if value == "":
        raise ValueError("a path is needed, not an empty text")
    if isinstance(value, str) and info.context:
        try:
            return (info.context["folder"] / Path(value).expanduser()).resolve()
        except RuntimeError:  # what pathlib raises
            raise ValueError("there is no such user's home folder") from None
    return value


def _folder_or_hub(value: Any, info: ValidationInfo) -> Any:
    """`hub:OWNER/NAME@COMMIT` is a dataset on the hub and stays as it is; anything else is a folder."""
    if isinstance(value, str) and value.startswith("hub:"):
        if not _HUB.fullmatch(value):
            raise ValueError("a dataset on the hub is named hub:OWNER/NAME@COMMIT, the commit with its 40 digits")
        return Path(value)
    return _beside_recipe(value, info)


def _model_beside_recipe(value: Any, info: ValidationInfo) -> Any:
    """`./x`, `../x`, `/x` and `~/x` are folders; anything else is a name on the model hub."""
    if isinstance(value, str) and value.startswith(("./", "../", "/", "~")):
        return str(_beside_recipe(value, info))
    return value


RecipePath = Annotated[Path, BeforeValidator(_beside_recipe)]
Source = Annotated[Path, BeforeValidator(_folder_or_hub)]
ModelName = Annotated[str, Field(min_length=1), BeforeValidator(_model_beside_recipe)]


class Section(BaseModel, extra="forbid", frozen=True, allow_inf_nan=False):
    """Unknown keys are errors, and values never change after loading."""


# ---------------------------------------------------------------- collect


class Columns(Section):
    """Which column of the metadata holds what; null when the table has no such column."""

    file: str = "file"
    text: str = "text"
    speaker: str | None = "speaker"
    language: str | None = "language"
    dialect: str | None = "dialect"
    region: str | None = "region"
    gender: str | None = "gender"
    age_band: str | None = "age_band"


class Basis(Section):
    """One legal basis for all clips of a source: what was allowed, and where that is written."""

    purposes: list[Purpose] = Field(min_length=1)
    notice: str = Field(min_length=1)  # what the speakers were told, or the licence, with its version
    controller: str = Field(min_length=1)  # who answers for the data
    given_on: date
    expires_on: date | None = None


class Target(Section):
    """How much speech of which people is wanted, for one purpose; what is null may be anything."""

    language: Language
    dialect: str | None = None  # as the clips say it
    gender: Gender | None = None
    age_band: AgeBand | None = None
    purpose: Purpose
    hours: PositiveFloat
    speakers: PositiveInt = 1
    max_h_each: PositiveFloat | None = None  # of one speaker, more than this does not count


class Coverage(Section):
    """What there should be of recordings, and how closely `collect.coverage` looks at those there are."""

    targets: list[Target] = []
    min_speakers: PositiveInt = 3  # the page shows no group of fewer: a group of one is a person
    measured_clips: int = Field(200, ge=0)  # opened to measure level, noise and clipping; drawn by the seed


class Synthetic(Section):
    """Speech made by espeak-ng from text, for trying the workbench where there is no speech yet."""

    texts: dict[Language, RecipePath]  # one sentence a line
    voices: dict[str, str] = Field(min_length=1)  # speaker code to espeak-ng voice and settings
    shuffled: int = Field(0, ge=0)  # sentences made by shuffling words, added to each text
    languages: dict[str, list[Language]] = {}  # speakers that speak only some of the languages
    sentences_per_speaker: PositiveInt | None = None  # null: every speaker reads every sentence


class Record(Section):
    """The recording booth: a web page on which people read, repeat or describe, with their phones."""

    controller: str = Field(min_length=1)  # who answers for the data; named in the notice
    contact: str = Field(min_length=1)  # how to reach them; named in the notice and on the receipt
    prompts: dict[Language, RecipePath] = Field(min_length=1)  # text (one a line) or CSV (text, audio, picture)
    notices: RecipePath | None = None  # folder of texts and recordings; null: the drafts that come with the project
    languages: list[Interface] = Field(["ary", "zgh", "zgh-Latn", "fr", "en"], min_length=1)  # of the pages
    purposes: list[Purpose] = Field(
        list(get_args(Purpose)), min_length=1
    )  # what speakers are asked for, each by itself
    consent_months: PositiveInt = 24
    invited: bool = False  # true: only with a one-time code (--invite N makes them)
    max_clip_s: PositiveFloat = 30
    host: str = "127.0.0.1"
    port: int = Field(8766, ge=0, lt=65536)
    address: str | None = Field(None, pattern=r"^https?://[^/\s]+$")  # where speakers reach it from outside

    @model_validator(mode="after")
    def _storing_is_asked_for(self) -> Self:
        if "store_prepare" not in self.purposes:
            raise ValueError("`purposes` must have store_prepare: without it no recording can be kept")
        return self


def _without_password(url: str) -> str:
    if re.search(r"//[^/@]*:[^/@]*@", url):
        raise ValueError("a recipe is copied beside every result: leave the password out and set PGPASSWORD")
    return url


_DIALECTS = ["Casablanca", "Fes", "Marrakech", "Oujda", "Rabat", "Tangier", "Sous", "Rif", "Atlas", "Hassania"]


class Label(Section):
    """Transcription by people, in Label Studio."""

    url: str = Field("http://127.0.0.1:8080", pattern=r"^https?://[^/?#@]+(/[^?#@]*)?$")  # of Label Studio
    project: str | None = Field(None, min_length=3, max_length=50)  # its title; null: the recipe's name
    secrets: RecipePath | None = None  # file with the token; null: what `make label-studio` wrote
    data_dir: RecipePath | None = None  # of a server on this machine, to clean its exports; null: as secrets say
    languages: list[Language] | None = None  # of the clips that are pushed; null: all
    dialects: list[str] = _DIALECTS  # that annotators can choose from
    annotators: PositiveInt = 1  # who transcribe each clip
    agree_cer: float = Field(0.1, ge=0)  # transcripts of one clip agree up to this error rate between any two
    drafts: Literal["prompt", "recogniser", "table", "none"] = "prompt"  # what annotators start from
    recogniser: ModelName | None = None  # Whisper or CTC model that writes the drafts
    table: RecipePath | None = None  # CSV or TSV of drafts with the columns clip and text
    audio: Literal["signed", "files"] = "signed"  # links to the audio server; or copies for one machine
    files_dir: RecipePath | None = None  # for `files`: what the server serves files from; null: as secrets say
    audio_url: str = Field("http://127.0.0.1:8770", pattern=r"^https?://[^/?#@]+(/[^?#@]*)?$")  # as browsers reach it
    host: str = "127.0.0.1"  # where the audio server listens
    port: int = Field(8770, gt=0, lt=65536)
    link_days: PositiveFloat = 30  # after which a link to audio plays no more

    @model_validator(mode="after")
    def _drafts_have_a_source(self) -> Self:
        for kind in ("recogniser", "table"):
            if self.drafts == kind and getattr(self, kind) is None:
                raise ValueError(f"`drafts: {kind}` needs `{kind}`")
        return self


class Collect(Section):
    source: Source  # folder of recordings with its table of metadata, or hub:OWNER/NAME@COMMIT
    metadata: str | None = None  # file in the folder; null: metadata.csv, .tsv, .jsonl, or the layout's own
    layout: Layout = "auto"
    subset: str | None = None  # of a dataset on the hub: its configuration
    allow_network: bool = False  # a dataset on the hub is fetched only when this is true
    columns: Columns = Columns()
    transcripts: Literal["required", "later"] = "required"  # later: clips come in without, for annotators
    language: Language | None = None  # for rows that name none
    speaker: str | None = None  # for rows that name none: one code for a single-speaker corpus
    consents: str | None = "consents.csv"  # table in the folder: speaker, purposes, notice, ...
    basis: Basis | None = None  # instead of a table, where one basis covers all
    database: Annotated[str, AfterValidator(_without_password)] | None = (
        None  # SQLAlchemy URL (postgresql+pg8000://…); null: SQLite in the work folder
    )
    keys: RecipePath | None = None  # folder of the keys, backed up apart; null: beside the work folder, as NAME.keys
    max_file_mib: PositiveFloat = 256
    max_minutes: PositiveFloat = 30
    synthetic: Synthetic | None = None
    record: Record | None = None
    coverage: Coverage = Coverage()
    label: Label = Label()

    @model_validator(mode="after")
    def _hub_is_allowed(self) -> Self:
        if self.hub is None:
            if self.subset:
                raise ValueError("`subset` is of a dataset on the hub (source: hub:OWNER/NAME@COMMIT)")
            return self
        if self.layout not in ("auto", "datasets"):
            raise ValueError(f"a dataset on the hub has the layout datasets, not {self.layout}")
        if not self.allow_network:
            raise ValueError("the source is on the hub: `allow_network: true` lets collect.ingest fetch it")
        if self.basis is None:
            raise ValueError("a source on the hub needs its legal basis: give `basis`")
        return self

    @property
    def hub(self) -> tuple[str, str] | None:
        """Name and commit of the dataset on the hub that is the source; None for a folder."""
        found = _HUB.fullmatch(str(self.source))
        return (found[1], found[2]) if found else None


# ---------------------------------------------------------------- prepare


class Vad(Section):
    """Voice activity (Silero): what is silent at both ends of a recording is trimmed."""

    threshold: float = Field(0.5, gt=0, lt=1)
    min_speech_s: PositiveFloat = 0.1
    min_silence_s: PositiveFloat = 0.3
    pad_s: float = Field(0.1, ge=0)  # kept before and after speech


class SpeakingRate(Section):
    """How fast a transcript may be said: letters of the normalised text a second of speech, pauses left out."""

    min_letters_per_s: float = Field(5.0, ge=0)  # fewer: words are missing in the transcript
    max_letters_per_s: PositiveFloat = 20.0  # more: words are missing in the recording

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_letters_per_s >= self.max_letters_per_s:
            raise ValueError("min_letters_per_s must be below max_letters_per_s")
        return self


Answer = Literal["reject", "flag"]  # to what is found in a clip: leave it out, or keep it and say so


class Text(Section):
    """What becomes of a transcript before it is normalised, and of what is found in it."""

    numbers: Literal["reject", "words"] = "reject"  # digits, dates, prices, units and signs
    phone_digits: Literal["own", "french"] = "own"  # how telephone numbers are said
    arabizi: Literal["keep", "arabic"] = "keep"  # arabic: ary-Latn becomes ary-Arab where every word is sure
    other_language: Answer | None = (
        "flag"  # Modern Standard Arabic, French or English instead of the tag's; null: not looked for
    )
    foreign_words: Answer | None = "flag"  # in Greek or Cyrillic letters; kept, they are written in Latin ones
    emoji: Answer | None = None
    links: Answer | None = "reject"
    personal: Literal["reject", "flag", "mask"] | None = "reject"  # telephone numbers, CIN, RIB, e-mail, addresses
    personal_finder: Literal["patterns", "presidio"] = "patterns"


class SplitBy(Section):
    """`speaker`: no voice in two splits. `sentence`: no sentence in two splits, for one voice. `both`: neither."""

    by: Literal["speaker", "sentence", "both"] = "speaker"
    valid: Share = 0.1
    test: Share = 0.1
    exact: bool = False  # exact shares by hash order, instead of a threshold that is stable as clips are added
    stratify: list[Literal["language", "dialect", "gender"]] = []  # the exact shares in each of these alike
    keep: bool = False  # exact shares, and whoever has a split in the dataset that is there keeps it
    similar: float | None = Field(None, ge=0.6, lt=1)  # sentences so alike count as one; null: 0.85 for `both`
    unseen: RecipePath | None = None  # text file of sentences that are for the test split only

    @model_validator(mode="after")
    def _dealt_out(self) -> Self:
        for key in ("stratify", "keep"):
            if getattr(self, key) and not self.exact:
                raise ValueError(f"`{key}` needs `exact: true`: by threshold each goes its own way, and stays")
        return self


class Mfa(Section):
    """Montreal Forced Aligner, where it is installed: `python -m prepare.align RECIPE --mfa`."""

    acoustic: str = Field(min_length=1)  # name or path of its acoustic model
    dictionary: str = Field(min_length=1)  # name or path of its pronunciation dictionary


class Align(Section):
    """Words in time, by a CTC recogniser; and which alignments are not believed. Any limit may be null: off."""

    model: ModelName
    revision: str | None = None  # commit, branch or tag of `model` on the hub
    adapter: str | None = None  # language of an MMS model's adapter, e.g. shi
    delay_s: float = Field(0.0, ge=0)  # how much later than its sound the recogniser names a letter
    on_fault: Literal["reject", "flag"] = "reject"
    max_unknown_share: Share | None = 0.1  # of letters that the recogniser has no token for
    min_score: Share | None = 0.5  # of an utterance: the text against the likeliest reading, a letter
    min_word_score: Share | None = 0.05  # of its weakest word
    max_letters_per_s: PositiveFloat | None = 50.0  # within a word
    crop_words: PositiveInt | None = 2  # how many of the weakest words are cut out and recognised again
    crop_max_cer: PositiveFloat = 0.75
    min_pause_s: PositiveFloat = 0.2  # between words: where a recording beyond prepare.max_duration_s may be cut
    join_below_s: PositiveFloat | None = 1.0  # shorter stretches of such a recording join a neighbour; null: none do
    mfa: Mfa | None = None


class Mos(Section):
    """Ratings as listeners would give them, predicted by DNSMOS: 1 (bad) to 5; a limit of null rejects nothing."""

    min_ovrl: float | None = Field(None, ge=1, le=5)  # P.835: the whole
    min_sig: float | None = Field(None, ge=1, le=5)  # P.835: the voice itself
    min_bak: float | None = Field(None, ge=1, le=5)  # P.835: what is behind it
    min_p808: float | None = Field(None, ge=1, le=5)
    when: Literal["always", "unsure"] = "always"  # unsure: the P.835 ratings only where P.808 leaves min_ovrl open
    sure_margin: float = Field(1.2, ge=0)  # for `unsure`: P.808 so far above min_ovrl needs no P.835

    @model_validator(mode="after")
    def _unsure_of_one_limit(self) -> Self:
        if self.when == "unsure" and (self.min_ovrl is None or self.min_sig or self.min_bak):
            raise ValueError("`when: unsure` needs `min_ovrl`, and neither `min_sig` nor `min_bak`")
        return self


class Voices(Section):
    """Whether a clip is by its speaker, by comparing voices: only of speakers who allow `voice_match`."""

    min_own: float | None = Field(0.75, gt=0, lt=1)  # likeness to the speaker's other clips; below: another voice
    min_within: float | None = Field(0.76, gt=0, lt=1)  # of a clip's two most unlike parts; below: two voices
    same: float | None = Field(0.85, gt=0, lt=1)  # of two speakers; from here on, they may be one person
    on_finding: Literal["flag", "reject"] = "flag"


class Prepare(Section):
    purpose: Purpose  # clips whose speaker did not grant it never enter the dataset
    also_for: list[Purpose] = []  # nor those whose speaker did not grant these
    languages: list[Language] | None = None  # null: all
    speakers: list[str] | None = None  # null: all
    rate_hz: PositiveInt = 16_000
    high_pass_hz: PositiveFloat | None = 50.0  # below it, and an offset (DC), is no speech; null: left as it is
    repair_clicks: bool = False  # clicks are interpolated from the sound around them
    noise_reduction_db: PositiveFloat | None = None  # steady noise is turned down by so much at most; null: not
    vad: Vad | None = Vad()
    edge_silence_s: float | None = Field(None, ge=0)  # exactly so much around speech; null: vad.pad_s at most
    loudness_lufs: float | None = Field(-23.0, lt=0)  # ITU-R BS.1770, of the whole utterance
    active_level_dbov: float | None = Field(None, lt=0)  # ITU-T P.56, of speech without its pauses, instead
    min_duration_s: PositiveFloat = 0.5
    max_duration_s: PositiveFloat = 20.0
    min_snr_db: float | None = None
    max_clipped_share: Share | None = None  # of the recording's samples
    max_clicks: int | None = Field(None, ge=0)  # in an utterance, as it came
    min_bandwidth_hz: PositiveFloat | None = None  # recordings without sound so high are rejected
    max_t60_s: PositiveFloat | None = None  # reverberation time; recordings of rooms that ring longer are rejected
    speaking_rate: SpeakingRate | None = None  # limits
    same_audio: Answer | None = None  # to a sound that is in the dataset already; null: not looked for
    max_same_text: PositiveInt | None = None  # utterances that say the same sentence; null: any number
    min_script_share: Share = 0.9  # of letters, in the script the language tag names
    mos: Mos | None = None  # null: not rated, which saves more time than all the other steps take
    voices: Voices | None = None  # null: voices are not compared
    align: Align | None = None  # null: no word times, and long recordings are rejected
    text: Text = Text()
    split: SplitBy = SplitBy()
    workers: PositiveInt = 1
    executor: Literal["local", "ray"] = "local"  # this machine, or the Ray cluster that it belongs to
    parts: Annotated[str, Field(min_length=1), AfterValidator(_without_password)] | None = (
        None  # where finished clips are kept: a URL that fsspec knows; null: the work folder
    )

    @model_validator(mode="after")
    def _durations_in_order(self) -> Self:
        if self.min_duration_s >= self.max_duration_s:
            raise ValueError("min_duration_s must be below max_duration_s")
        return self

    @model_validator(mode="after")
    def _steps_go_together(self) -> Self:
        if self.loudness_lufs is not None and self.active_level_dbov is not None:
            raise ValueError("one level at a time: with `active_level_dbov`, set `loudness_lufs` to null")
        if self.high_pass_hz is not None and self.high_pass_hz >= self.rate_hz / 2:
            raise ValueError("`high_pass_hz` must be below half of `rate_hz`")
        if self.vad is None:
            for key in ("edge_silence_s", "noise_reduction_db"):
                if getattr(self, key) is not None:
                    raise ValueError(f"`{key}` needs `vad`, which says where speech is")
        return self


# ---------------------------------------------------------------- train


class Lora(Section):
    r: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: Share = 0.05
    targets: list[str] | None = None  # module name endings; null: the family's own
    new_tokens: bool = True  # add letters the base's tokenizer lacks and train their rows
    rslora: bool = False  # scale by alpha / sqrt(r): a high rank learns more (Kalajdzievski 2023)
    dora: bool = False  # size and direction of the weights apart (Liu et al. 2024); slower
    pissa: bool = False  # begin with the base's largest directions (Meng et al. 2024)

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if self.dora and self.pissa:
            raise ValueError(
                "`dora` and `pissa` do not go together: what PiSSA takes from the base cannot be given back"
            )
        return self


class Probe(Section):
    """Fixed sentences (or clips) that are synthesised (or recognised) during training."""

    every: PositiveInt = 200  # optimiser steps
    count: PositiveInt = 4


EarlyStop = Literal[
    "valid_loss",
    "probe.cer",
    "probe.skipped",
    "probe.repeated",
    "probe.silence",
    "probe.stopped",
    "probe.voice",
    "probe.length_ratio",
]


class Wandb(Section):
    mode: Literal["offline", "online", "disabled"] = "offline"
    project: str = "twiza"


class Train(Section):
    family: Family
    base: ModelName | None = None  # name on the hub or folder; null: from `config`
    revision: str | None = None  # commit, branch or tag of `base` on the hub
    config: dict[str, Any] = {}  # the architecture, in the words of the family's configuration class
    method: Literal["lora", "full"] = "lora"
    quantise: Literal["nf4", "int8"] | None = None  # the base in 4 or 8 bits (QLoRA); needs an NVIDIA GPU
    lora: Lora = Lora()
    # What Whisper hears at once, in seconds; `fit`: no more than there is; null: as its base, 30 in published ones.
    audio_context: Literal["fit"] | Annotated[float, Field(gt=0, le=30)] | None = None
    mms_adapter: str | None = Field(None, min_length=1)  # language of an MMS model's own adapter, e.g. shi
    aligner: ModelName | None = None  # CTC recogniser that times letters, for families that need durations
    speaker_encoder: ModelName | None = None  # x-vector model; null: statistics of the mel spectrogram
    codec: ModelName | None = None  # of pocket_tts; null: the one that the base names. Encoder for voxtral_tts
    vocoder: ModelName | None = None  # HiFi-GAN for SpeechT5's mel frames; null: Griffin-Lim
    adversarial: bool = False  # for VITS: its decoder trains too, against a discriminator
    learning_rate: PositiveFloat = 1e-3
    weight_decay: float = Field(0.01, ge=0)
    warmup_steps: int = Field(50, ge=0)
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt"] = "linear"  # after the warm-up
    max_steps: PositiveInt = 1000  # optimiser steps
    batch_s: PositiveFloat = 60.0  # seconds of audio in a batch
    accumulate: PositiveInt = 1  # batches in an optimiser step
    clip_norm: PositiveFloat = 1.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    validate_every: PositiveInt = 200  # optimiser steps
    save_every: PositiveInt = 200  # optimiser steps
    keep_checkpoints: PositiveInt = 2
    ema: float | None = Field(None, gt=0, lt=1)  # decay of a moving average of the weights, tried at validation
    checkpointing: bool = False  # of activations: less memory, a third more time
    compile: bool = False  # by torch.compile: slow to begin, then faster on a GPU; needs a C++ compiler
    max_bad_steps: int = Field(10, ge=0)  # whose loss is not a number and that are left out, before giving up
    patience: PositiveInt | None = None  # validations (or probes) without a better one before stopping
    early_stop: EarlyStop = "valid_loss"  # by which the best weights are known
    probe: Probe | None = Probe()
    wandb: Wandb = Wandb()
    tensorboard: bool = False  # the same figures, sound and pictures, in train/tensorboard

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, given: Any) -> Any:
        if isinstance(given, dict) and "window_s" in given:
            raise ValueError("`window_s` is now `audio_context`: seconds as before, or `fit` for as much as there is")
        return given

    @model_validator(mode="after")
    def _base_or_config(self) -> Self:
        if self.base is None and not self.config:
            raise ValueError("name a `base` model, or give a `config` to start from")
        if self.base is None and self.method == "lora":
            raise ValueError("`method: lora` needs a `base`; from a `config`, use `method: full`")
        if self.base and self.config and self.family != "whisper":  # whose tokenizer comes from a base
            raise ValueError("give a `base` or a `config`, not both: a base has its own architecture")
        if self.quantise and self.method == "full":
            raise ValueError("`quantise` is for `method: lora`: weights of 4 or 8 bits cannot be trained")
        if self.quantise and self.family in ("fastspeech2", "pocket_tts", "vits"):
            raise ValueError(f"`quantise` is for large models; {self.family} is small as it is")
        if self.quantise and self.lora.pissa:
            raise ValueError("`quantise` and `lora.pissa` do not go together: the rest of the base would be rounded")
        return self

    @model_validator(mode="after")
    def _measured_before_it_decides(self) -> Self:
        if self.early_stop != "valid_loss" and self.probe is None:
            raise ValueError(f"`early_stop: {self.early_stop}` needs `probe`, which measures it")
        return self

    @model_validator(mode="after")
    def _keys_of_the_family(self) -> Self:
        if self.family != "whisper" and self.audio_context is not None:
            raise ValueError("`audio_context` is for the family whisper only")
        if self.family != "speecht5" and (self.speaker_encoder or self.vocoder):
            raise ValueError("`speaker_encoder` and `vocoder` are for the family speecht5 only")
        if self.mms_adapter and (self.family != "ctc" or not self.base):
            raise ValueError("`mms_adapter` is for the family ctc with a `base` only")
        if self.family not in ("pocket_tts", "voxtral_tts") and self.codec:
            raise ValueError("`codec` is for the families pocket_tts and voxtral_tts only")
        if self.family == "voxtral_tts" and not self.codec:
            raise ValueError(
                "Voxtral TTS cannot be trained from its published weights alone: they lack the encoder that turns "
                "recordings into codes; name a folder with one in `codec` (docs/families.md), or take csm"
            )
        if self.family != "vits" and self.adversarial:
            raise ValueError("`adversarial` is for the family vits only")
        return self

    @property
    def recognises(self) -> bool:
        """Whether the family hears speech (otherwise it generates it)."""
        return self.family in RECOGNITION


# ---------------------------------------------------------------- evaluate


Method = Literal["acr", "preference", "cmos", "abx", "mushra", "mushra_nr"]
Check = Literal["comprehension", "traps", "gold", "straight_lining", "screening"]


class Picture(Section):
    """An answer that is seen: PNG or JPEG. What it shows is said to those who cannot see it, in each language."""

    picture: RecipePath
    alt: dict[Interface, Annotated[str, Field(min_length=1, max_length=200)]] = Field(min_length=1)
    text: str | None = Field(None, min_length=1)  # below the picture

    def is_told_in(self, language: Interface) -> bool:
        """Whether it is said in a language what it shows; that in Tifinagh is turned into Latin letters."""
        return language in self.alt or (language == "zgh-Latn" and "zgh" in self.alt)


class Question(Section):
    """A recording that whoever speaks the variety understands, and what it may mean."""

    variety: str = Field(min_length=1)  # as listeners name it: tashelhit, tarifit, tamazight, north, centre …
    audio: RecipePath
    choices: list[str | Picture] = Field(min_length=2, max_length=6)
    answer: PositiveInt  # which choice is right, from 1

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.answer > len(self.choices):
            raise ValueError(f"`answer` must be 1 to {len(self.choices)}: which of the choices is right")
        return self


class Trap(Section):
    """A recording, among the clips, that says what to answer."""

    audio: RecipePath
    answer: int = Field(ge=-3, le=5)  # acr 1 to 5; preference -1 A, 0 no difference, 1 B; cmos -3 to 3; abx -1, 1


class Listen(Section):
    """The listening test and its pages."""

    method: Method = "preference"
    primary: tuple[str, str] | None = None  # the comparison that the test is for; null: adapter and base
    reference: str = "recordings"  # of MUSHRA: the system that is hidden among the others, and named in `mushra`
    ratings: int = Field(40, ge=1, le=40)  # that one listener gives, at most
    minutes: float = Field(20, gt=0, le=20)  # that one listener needs, at most
    training: int = Field(2, ge=0, le=5)  # trials that do not count, at the beginning
    repeats: int = Field(1, ge=0, le=5)  # trials that come a second time
    gold: int = Field(1, ge=0, le=3)  # trials with a clip that was destroyed on purpose
    traps: list[Trap] = []
    comprehension: list[Question] = []
    headphones: bool = True  # six tones, in antiphase: a fact about the listener, never a reason to exclude
    guess: bool = True  # at the end, skippable: which of two clips was a person (or the adapter)
    exclude: list[Check] = ["comprehension", "traps", "gold"]  # whoever fails one of these does not count
    invited: bool = False  # true: only with a one-time code (--invite N makes them)
    languages: list[Interface] = Field(["ary", "zgh", "zgh-Latn", "fr", "en"], min_length=1)  # of the pages
    spoken: RecipePath | None = None  # folder of instructions read aloud; null: the phone's own voice, if it has one
    controller: str | None = Field(None, min_length=1)  # who answers for the data; named in the notice
    contact: str | None = Field(None, min_length=1)  # how to reach them
    screening: str | None = Field(None, pattern=r"^https?://[^\s]+$")  # a service that is asked about each listener
    database: Annotated[str, AfterValidator(_without_password)] | None = (
        None  # SQLAlchemy URL (postgresql+pg8000://…); null: SQLite in the work folder
    )
    host: str = "127.0.0.1"
    port: int = Field(8765, ge=0, lt=65536)
    address: str | None = Field(None, pattern=r"^https?://[^/\s]+$")  # where listeners reach it from outside

    @model_validator(mode="after")
    def _pictures_are_told(self) -> Self:
        shown = [one for question in self.comprehension for one in question.choices if isinstance(one, Picture)]
        for one in shown:
            if lacking := [language for language in self.languages if not one.is_told_in(language)]:
                raise ValueError(f"`comprehension`: {one.picture.name} has no `alt` in {', '.join(lacking)}")
        return self

    @model_validator(mode="after")
    def _traps_can_be_answered(self) -> Self:
        answers = {"acr": range(1, 6), "preference": range(-1, 2), "cmos": range(-3, 4), "abx": (-1, 1)}
        for trap in self.traps:
            if trap.answer not in answers.get(self.method, ()):
                raise ValueError(f"`traps`: {trap.answer} is no answer of the method {self.method}")
        return self


class Plan(Section):
    """What `evaluate.plan` reckons with. Variances are on the method's scale; null: those of docs/listening.md."""

    listeners: PositiveInt = 20  # that are asked
    difference: PositiveFloat | None = None  # to be found; null: 0.5, of 0 to 100 12, of votes 0.1
    power: float = Field(0.8, gt=0.5, lt=1)
    alpha: float = Field(0.05, gt=0, lt=0.5)
    margin: PositiveFloat | None = None  # that a difference must not reach to be none; null: by the method
    variance_listener: float | None = Field(None, ge=0)  # of how listeners differ in the comparison
    variance_item: float | None = Field(None, ge=0)  # of how sentences differ in it
    variance_residual: PositiveFloat | None = None  # of the rest


# Anchors are recordings made worse by rule: up to 3.5 kHz, up to 7 kHz, on one pitch.
Word = Literal["base", "adapter", "recordings", "anchor_low", "anchor_mid", "anchor_flat"]


def _not_a_word(name: str) -> str:
    if name in (*get_args(Word), "none", "first", "second"):
        raise ValueError("this name has a meaning of its own: take another")
    return name


SystemName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$"), AfterValidator(_not_a_word)]


class Trained(Section):
    """Another adapter, of the same family and base."""

    name: SystemName
    adapter: RecipePath  # the folder that training left, or its `train` folder
    unsigned: bool = False  # it is of one's own making, and needs no signature to be believed


class Files(Section):
    """Speech that somebody else made, as audio files of the sentences."""

    name: SystemName
    folder: RecipePath
    table: str | None = Field(None, min_length=1)  # CSV in the folder with the columns file and text; null: by name


class Speech(Section):
    """Speech over HTTP: a server that speaks OpenAI's protocol (vLLM, LocalAI), Mistral's or ElevenLabs'."""

    name: SystemName
    url: Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+(/[^?#@\s]*)?$")]  # up to /v1
    protocol: Literal["openai", "mistral", "elevenlabs"] = "openai"
    model: str | None = Field(None, min_length=1)
    voice: str | None = Field(None, min_length=1)  # its name or id
    clone: bool = False  # instead of a voice: a recording of the speaker goes along
    key_env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")  # environment variable with the key
    format: Literal["wav", "mp3", "flac", "opus", "pcm"] = "wav"
    rate_hz: PositiveInt = 24_000  # of pcm, which does not say it
    options: dict[str, bool | int | float | str] = {}  # further fields of the request, e.g. speed
    price_per_million: float | None = Field(None, ge=0)  # characters, in any currency
    timeout_s: PositiveFloat = 60
    attempts: PositiveInt = 5  # at each sentence, where the server is busy or fails

    @property
    def local(self) -> bool:
        """Whether the address is on this machine, so that nothing leaves it."""
        host = urlsplit(self.url).hostname or ""
        return host == "localhost" or host == "::1" or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.key_env and self.url.startswith("http://") and not self.local:
            raise ValueError("a key is sent over https:// only, or to this machine")
        if own := sorted(self.options.keys() & _OWN_FIELDS):
            raise ValueError(f"`options.{own[0]}` is set by another key of the system")
        if self.clone and (self.voice or self.protocol == "elevenlabs"):
            if self.protocol == "elevenlabs":
                raise ValueError("ElevenLabs takes no recording with a sentence: name a `voice` of your account")
            raise ValueError("give a `voice`, or `clone: true`, not both")
        if self.protocol == "elevenlabs" and (self.voice is None or self.format == "flac"):
            raise ValueError("ElevenLabs needs a `voice` (its id), and does not give flac")
        if self.protocol == "mistral" and self.format == "pcm":
            raise ValueError("Mistral's pcm is not of 16 bits: take wav or flac")
        return self


def _kind_of_system(value: Any) -> str | None:
    if not isinstance(value, dict | BaseModel):
        return "<word>"
    keys = value if isinstance(value, dict) else type(value).model_fields
    return next((f"<{key}>" for key in ("url", "folder", "adapter") if key in keys), None)


_OWN_FIELDS = {"input", "text", "model", "model_id", "voice", "voice_id", "response_format", "ref_audio", "ref_text"}
OtherSystem = Trained | Files | Speech
System = Annotated[
    Annotated[Word, Tag("<word>")]
    | Annotated[Speech, Tag("<url>")]
    | Annotated[Files, Tag("<folder>")]
    | Annotated[Trained, Tag("<adapter>")],
    Discriminator(
        _kind_of_system,
        custom_error_type="system",
        custom_error_message="a system has a `name` and a `url`, a `folder` or an `adapter`",
    ),
]


ReportLanguage = Literal["en", "fr", "ar"]
_Sentence = Annotated[str, Field(min_length=1, max_length=2000)]
# What the team says in the report, in one language or by language.
Stated = _Sentence | Annotated[dict[ReportLanguage, _Sentence], Field(min_length=1)]


class Report(Section):
    """The report of an evaluation, and what of its listening test only the team knows. Where that is null, the report
    says that it is not stated (ITU-T P.808 and ITU-R BS.1534-3 ask for it)."""

    languages: list[ReportLanguage] = Field(["en", "fr", "ar"], min_length=1)  # a page each; first: main
    recruitment: Stated | None = None  # how listeners were found, and who could take part
    pay: Stated | None = None  # what they were given for it
    instructions: Stated | None = None  # what they were told beside the sentences of the pages
    conditions: Stated | None = None  # where and how they listened, as far as it is known


class Gates(Section):
    """What the adapter must reach, surely and not by luck; what is null is not asked."""

    min_rating: float | None = None  # mean rating by listeners, in the scale of the test
    max_cer: float | None = Field(None, gt=0)  # share of wrong characters: 0.2 is twenty of a hundred
    max_gap: PositiveFloat | None = None  # by which a group is worse off than the others: points of rating, or of CER
    min_cell: int = Field(5, ge=2)  # people in a group below which it is not shown


class Pack(Section):
    """The fixed phrases of a service, spoken by the adapter."""

    voice: str | None = None  # code of the speaker; null: of those who allow tts_clone the one most recorded
    formats: list[Literal["wav", "opus"]] = Field(["wav", "opus"], min_length=1)
    max_cer: PositiveFloat = 0.3  # a phrase in which the recogniser errs more is flagged


class Edge(Section):
    """A model for small devices: how far from the original it may be, on sentences that nobody trained on."""

    voice: str | None = None  # code of the speaker; null: of those who allow tts_clone the one most recorded
    max_clips: PositiveInt = 20  # unseen sentences that are compared
    max_cer_change: float = Field(0.02, ge=0)  # by which the error rate of letters may rise; 0.02: from 10 to 12 %
    max_mel_db: float = Field(2.0, ge=0)  # mel-cepstral distortion from the original's speech
    max_duration_change: float = Field(0.05, ge=0)  # share of the original's seconds


class Serve(Section):
    """The speech server: how it is reached, and how much it takes on."""

    models: list[str] = Field(["adapter"], min_length=1)  # names of evaluate.systems; kept in memory all at once
    later: list[str] = []  # likewise, but each is opened when it is first asked for
    voices: list[str] | None = None  # codes of speakers that may be asked for; null: all who allow tts_clone
    max_chars: PositiveInt = 500  # of one text
    max_mib: PositiveFloat = Field(25, le=64)  # of one recording
    max_minutes: PositiveFloat = 5  # of one recording
    queue: PositiveInt = 64  # requests that wait or are worked on; to others it is said to come again later
    key_env: str | None = Field(None, pattern=r"^[A-Z_][A-Z0-9_]*$")  # variable that holds the key; null: no key
    log_text: bool = False  # what is said and heard goes to the log only when this is true
    host: str = "127.0.0.1"
    port: int = Field(8780, ge=0, lt=65536)
    address: str | None = Field(None, pattern=r"^https?://[^/\s]+$")  # where clients reach it from outside


class Marking(Section):
    """What files of synthetic speech say of themselves, besides the comment that each of them bears."""

    provenance: Literal["auto", "off", "required"] = "auto"  # C2PA in WAV, MP3 and FLAC; auto: where c2pa-python is
    certificate: RecipePath | None = None  # chain (PEM), the signer's first; null: one's own, made beside the keys
    key: RecipePath | None = None  # private key (PEM) of that certificate
    watermark: Literal["perth", "audioseal"] | None = None  # inaudible; needs the package of the extra `watermark`
    weights: RecipePath | None = None  # folder with AudioSeal's generator_base.pth and detector_base.pth

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("give `certificate` and its `key`, or neither")
        if (self.watermark == "audioseal") != (self.weights is not None):
            raise ValueError("`weights` are those of `watermark: audioseal`: give both, or neither")
        return self


class Evaluate(Section):
    systems: list[System] = ["base", "adapter", "recordings"]
    allow_network: bool = False  # text goes to servers beyond this machine only when this is true
    sentences: RecipePath | None = None  # text file of unseen sentences; null: those of the test split
    language: Language | None = None  # of `sentences`
    max_sentences: PositiveInt = 50
    recogniser: ModelName | None = None  # hears generated speech, for its error rate
    measures: list[Literal["prosody", "mos", "voice"]] = ["prosody", "mos", "voice"]  # of generated speech
    versa: RecipePath | None = None  # score configuration of VERSA, where that is installed; null: not asked
    loudness_lufs: float = Field(-26.0, lt=0)
    resamples: int = Field(2000, ge=100)  # of the bootstrap
    listen: Listen = Listen()
    report: Report = Report()
    gates: Gates = Gates()
    plan: Plan = Plan()
    pack: Pack = Pack()
    serve: Serve = Serve()
    edge: Edge = Edge()
    marking: Marking = Marking()

    @model_validator(mode="after")
    def _systems_have_names(self) -> Self:
        names = [system.name for system in self.systems if not isinstance(system, str)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two systems are called {min(twice)}")
        for system in self.systems:
            if isinstance(system, Speech) and not (system.local or self.allow_network):
                raise ValueError(f"`allow_network: true` lets the sentences go to {system.url} ({system.name})")
        return self


# ---------------------------------------------------------------- publish


class Limits(Section):
    """What a figure of the evaluation must keep to. The whole of its interval must, unless `sure` is false."""

    max: float | None = None
    min: float | None = None
    system: str = "adapter"  # whose figure; or `adapter - base`
    sure: bool = True

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.max is None and self.min is None:
            raise ValueError("give a `max`, a `min` or both")
        return self


def _place(value: Any, info: ValidationInfo) -> Any:
    """`hub:OWNER/NAME`, a URL, or a folder beside the recipe."""
    if not isinstance(value, str) or "://" in value:
        return value
    if value.startswith("hub:"):
        if not _ON_HUB.fullmatch(value):
            raise ValueError("a model on the hub is named hub:OWNER/NAME")
        return value
    return str(_beside_recipe(value, info))


class Publish(Section):
    """Under which conditions an adapter goes out, and where to."""

    to: Annotated[str, BeforeValidator(_place), AfterValidator(_without_password)] | None = (
        None  # hub:OWNER/NAME, a folder, or a URL that fsspec knows
    )
    base_licence: str | None = Field(None, min_length=1)  # SPDX id; null: that of the family's known bases
    licence: str | None = Field(None, min_length=1)  # SPDX id; null: the most open one that base and data allow
    abroad: bool | None = None  # null: the hub and every URL of a server are, folders are not
    gated: Literal["manual", "auto", "off"] = "manual"  # on the hub: who downloads asks first
    public: bool = True  # on the hub, once all is there; false: the repository stays private
    gates: dict[str, Limits] = {}  # by metric, as the evaluation names it; at least one, or nothing is published
    max_gap: float | None = Field(None, ge=0)  # between groups of speakers, in every gap that was measured
    same_speakers: bool = False  # a recogniser tested on voices of training alone may go out; the card says so
    dataset: str | None = None  # where the dataset is published: OWNER/NAME on the hub, or a URL
    contact: str | None = Field(None, min_length=1)  # in the card, for withdrawals; null: collect.record.contact
    key: RecipePath | None = None  # private key (PEM, EC P-256); null: made beside the keys of the recordings
    trusted: list[RecipePath] = []  # public keys (PEM) of others whose adapters and revocations are believed
    revocations: list[RecipePath] = []  # signed lists of others, besides one's own


class Recipe(Section):
    """One experiment, with a section per stage."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    work_dir: RecipePath
    seed: int = 17
    collect: Collect
    prepare: Prepare
    train: Train
    evaluate: Evaluate = Evaluate()
    publish: Publish = Publish()

    def folder(self, stage: Literal["collect", "prepare", "train", "evaluate"]) -> Path:
        """Where a stage puts what it makes."""
        return self.work_dir / stage

    def text(self) -> str:
        """The resolved recipe as YAML: every key, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), allow_unicode=True, sort_keys=False)

    def digest(self, *sections: str) -> str:
        """SHA-256 over the resolved recipe, or over some of its sections."""
        whole = self.model_dump(mode="json")
        part = {key: whole[key] for key in sections} if sections else whole
        return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


# ---------------------------------------------------------------- loading


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, apply `key.path=value` overrides, check everything.

    Raises RecipeError with every fault at once: file, line, key, value, and the nearest right key.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        data = yaml.safe_load(text)
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = dict(faults.places(tree))
    except RecursionError:
        raise RecipeError(f"{path}: nested too deep, or an alias that holds itself") from None
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: a recipe is a mapping with the keys {', '.join(Recipe.model_fields)}")
    found = [*faults.given_twice(path, tree), *faults.override(data, lines, overrides)]
    try:
        recipe = Recipe.model_validate(data, context={"folder": Path(path).resolve().parent})
    except ValidationError as error:
        found += [faults.told(path, lines, Recipe, fault) for fault in error.errors()]
    if found:
        raise RecipeError("\n".join(found))
    return recipe
