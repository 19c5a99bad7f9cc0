"""The dataset's card: README.md in the hub's format, with what may be done with it and what it cannot do."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

import yaml

from prepare.figures import Figures, groups
from prepare.terms import Terms
from recipes.records import LANGUAGE_NAMES, PURPOSES, Lineage
from recipes.schema import Prepare, Recipe

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_TASKS = {"asr_train": "automatic-speech-recognition", "tts_multi": "text-to-speech", "tts_clone": "text-to-speech"}
COLUMNS = {
    "id": "of the utterance",
    "clip": "the recording it came from: SHA-256 of the file that was collected",
    "speaker": "a code made for this publication; it says nothing about the person",
    "language": "BCP 47, with script",
    "dialect": "as the speaker said it, where that hides them among others",
    "region": "as the speaker said it, where that hides them among others",
    "gender": "as the speaker said it, where that hides them among others",
    "age_band": "as the speaker said it, where that hides them among others",
    "purposes": "what the speaker allowed when the dataset was made",
    "text": "as given or transcribed",
    "text_normalized": "in the one written form that is trained and scored",
    "audio": "FLAC, mono, 16 bits",
    "rate_hz": "sampling rate",
    "duration_s": "seconds",
    "words": "word times with scores, where there is an alignment",
    "quality": "loudness (LUFS), active speech level (dBov), peak, SNR (dB), shares of clipped samples and of "
    "speech, clicks, bandwidth (Hz), reverberation time (s), letters a second, DNSMOS ratings",
    "flags": "what was found in the transcript, its alignment or the sound, where such clips are kept",
    "split": "train, valid or test",
}


@dataclass(frozen=True)
class About:
    """All that a card and its metadata say."""

    recipe: Recipe
    figures: Figures
    terms: Terms
    made: Lineage
    version: str
    rejected: Mapping[str, int]  # reasons with counts

    @property
    def hours(self) -> float:
        return sum(voice.duration_s for voice in self.figures.voices.values()) / 3600

    @property
    def utterances(self) -> int:
        return sum(voice.utterances for voice in self.figures.voices.values())

    @property
    def languages(self) -> list[str]:
        """ISO 639-3."""
        return sorted({tag.partition("-")[0] for tag in self.figures.languages})

    @property
    def summary(self) -> str:
        spoken = " and ".join(LANGUAGE_NAMES[code] for code in self.languages)
        count = len(self.figures.voices)
        length = f"{self.hours:.1f} hours" if self.hours >= 1 else f"{self.hours * 60:.1f} minutes"
        return (
            f"{length} of {spoken}: {self.utterances} utterances with transcripts, "
            f"by {count} {'speaker' if count == 1 else 'speakers'}."
        )


def readme(about: About) -> str:
    """The card: front matter for the hub, then text for people."""
    return f"---\n{_front(about)}---\n\n# {about.recipe.name}\n\n{about.summary}\n\n" + "\n".join(_sections(about))


def reasons(rows: Iterable[str]) -> Counter[str]:
    """Reasons for which clips are not in a dataset, without what names a single clip."""
    return Counter(reason.partition(":")[0] for reason in rows)


def _front(about: About) -> str:
    found: dict[str, object] = {"pretty_name": about.recipe.name, "language": about.languages}
    found["license"] = about.terms.licence
    if about.terms.licence == "other":
        found |= {"license_name": "consents-of-the-speakers", "license_link": "README.md"}
    found["task_categories"] = sorted({_TASKS[use] for use in about.terms.purposes if use in _TASKS})
    size = next((name for limit, name in _SIZES if about.utterances < limit), "1M<n<10M")
    found |= {"size_categories": [size], "tags": ["speech", "croissant", "morocco"], "viewer": True}
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in sorted(about.figures.splits)]
    found["configs"] = [{"config_name": "default", "data_files": files}]
    return yaml.safe_dump(found, allow_unicode=True, sort_keys=False)


def _sections(about: About) -> Iterable[str]:
    yield from ("## What is in it", "", "| split | utterances | hours |", "|---|---|---|")
    for split in sorted(about.figures.splits):
        part = about.figures.splits[split]
        yield f"| {split} | {part.utterances} | {part.duration_s / 3600:.2f} |"
    split = about.recipe.prepare.split.by
    apart = {"speaker": "speaker", "sentence": "sentence", "both": "speaker and no sentence"}[split]
    yield f"\nNo {apart} is in two splits.\n"
    yield from ("| language | hours |", "|---|---|")
    for tag, seconds in sorted(about.figures.languages.items()):
        yield f"| {tag} | {seconds / 3600:.2f} |"
    yield from ("", "| column | what |", "|---|---|")
    yield from (f"| `{name}` | {what} |" for name, what in COLUMNS.items())
    yield from _speakers(about)
    yield from _licence(about)
    yield from _making(about)


def _speakers(about: About) -> Iterable[str]:
    least = about.recipe.collect.coverage.min_speakers
    minutes = sorted(voice.duration_s / 60 for voice in about.figures.voices.values())
    yield from ("", "## Who speaks", "")
    if len(minutes) >= least:
        yield f"Minutes a speaker: {minutes[0]:.1f} to {minutes[-1]:.1f}, in the middle {median(minutes):.1f}."
    yield "`speakers.csv` has the amount of each, under the code that the rows use.\n"
    if shown := groups(about.figures, least):
        yield from ("| gender, dialect | speakers | hours |", "|---|---|---|")
        yield from (f"| {name} | {count} | {hours:.2f} |" for name, count, hours in shown)
        yield ""
    yield (
        f"Groups of fewer than {least} people are shown together or not at all, and a row names a fact only where at "
        f"least {least} speakers share it. Facts are those that speakers chose to give and to have used. A voice is "
        "itself a mark of a person: do not try to find out who speaks."
    )


def _licence(about: About) -> Iterable[str]:
    terms = about.terms
    yield from ("", "## Licence and consent", "")
    if terms.licence == "other":
        yield "No general licence: what the speakers allowed, all of them, is what may be done."
    else:
        yield f"Licence: {terms.licence}, as the source gives it. Within it, the speakers' consents are:"
    yield from ("", f"- allowed by every clip: {', '.join(terms.purposes) or 'nothing'}")
    lacking = [purpose for purpose in PURPOSES if purpose not in terms.purposes]
    yield f"- not allowed by every clip, so not allowed for the dataset: {', '.join(lacking) or 'nothing'}"
    yield f"- what speakers were told: {'; '.join(terms.notices)}"
    yield f"- who answers for the data: {'; '.join(terms.controllers)}"
    if terms.until:
        yield f"- the first of the consents ends on {terms.until}"
    yield (
        "\nConsent can be taken back. The dataset is then published anew without those recordings: use the newest "
        "version, and delete what it no longer has."
    )


def _altered(settings: Prepare) -> Iterable[str]:
    """What was done to the sound itself."""
    if settings.high_pass_hz is not None:
        yield f"High-pass at {settings.high_pass_hz:g} Hz. "
    if settings.repair_clicks:
        yield "Clicks interpolated. "
    if settings.noise_reduction_db is not None:
        yield f"Steady noise turned down by up to {settings.noise_reduction_db:g} dB. "
    if settings.edge_silence_s is not None:
        yield f"{settings.edge_silence_s:g} s of silence before and after speech. "


def _making(about: About) -> Iterable[str]:
    settings = about.recipe.prepare
    level = "loudness left as it was"
    if settings.loudness_lufs is not None:
        level = f"loudness set to {settings.loudness_lufs:g} LUFS (ITU-R BS.1770)"
    elif settings.active_level_dbov is not None:
        level = f"speech set to {settings.active_level_dbov:g} dBov (ITU-T P.56)"
    yield from ("", "## How it was made", "")
    yield f"Resampled to {settings.rate_hz} Hz mono; silence at the ends {'trimmed' if settings.vad else 'kept'}; "
    yield f"{level}; {settings.min_duration_s:g} to {settings.max_duration_s:g} s."
    yield "".join(_altered(settings))
    yield f"Dataset `{about.version}`, code `{about.made.code}`, recipe `{about.made.recipe}`.\n"
    if about.rejected:
        yield from ("| left out because | recordings |", "|---|---|")
        yield from (f"| {reason} | {count} |" for reason, count in sorted(about.rejected.items()))
    yield from ("", "## Limits", "")
    yield (
        "Speech that was collected for this purpose is not how all people speak: look at the tables above before "
        "claiming that a figure holds for a dialect, a gender or an age. Spelling has no one standard in these "
        "languages; error rates need the same normalisation on both sides. Names and other personal facts that are "
        "said aloud are not removed by machine."
    )
