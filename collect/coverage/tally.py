"""Who recorded how much, and under which consent: sums over the ledger's rows, never over its audio."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from collect.consent import Event
from collect.ledger import Ledger, Speaker
from recipes.records import PURPOSES, Clip, Language, Purpose

NOT_GIVEN = "not given"
TOGETHER = "several"  # in place of a value: groups too small to be shown by themselves
_SOON = timedelta(days=60)
_FACTS = ("dialect", "gender", "age_band")


@dataclass(frozen=True)
class Voice:
    """What one speaker recorded in one language and dialect, all of it under the same purposes."""

    speaker: str
    language: Language
    dialect: str
    gender: str
    age_band: str
    purposes: frozenset[Purpose]
    synthetic: bool
    clips: int = 0
    hours: float = 0.0


@dataclass(frozen=True)
class Group:
    """Voices that have language, dialect, gender and age band in common."""

    language: Language
    dialect: str
    gender: str
    age_band: str
    voices: tuple[Voice, ...]


@dataclass(frozen=True)
class Ending:
    """A consent that ends soon."""

    speaker: str
    day: date
    turns_18: bool
    recontact: bool  # whether the speaker may be asked again


@dataclass(frozen=True)
class Consents:
    """How the consents stand today."""

    states: Counter[str]  # speakers by what holds of theirs
    ending: tuple[Ending, ...]  # within 60 days, the first first
    pending: int  # tasks of withdrawals that nobody has done yet


# ---------------------------------------------------------------- counting


class Tally:
    """Adds up clips, one by one; its size is that of the speakers, not of the clips."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._speakers = {speaker.code: speaker for speaker in ledger.speakers()}
        self._allowed: dict[str, frozenset[Purpose] | None] = {}
        self._sums: dict[Voice, tuple[int, float]] = {}
        self.closed: Counter[str] = Counter()  # clips that may not be used now, by speaker
        self.closed_h = 0.0

    def add(self, clip: Clip) -> bool:
        """Count a clip in. False for one that may not even be looked at now: that is counted apart."""
        purposes = self._purposes(clip)
        if not purposes:
            self.closed[clip.speaker] += 1
            self.closed_h += clip.duration_s / 3600
            return False
        voice = _voice(clip, self._speakers[clip.speaker], purposes)
        clips, hours = self._sums.get(voice, (0, 0.0))
        self._sums[voice] = clips + 1, hours + clip.duration_s / 3600
        return True

    def voices(self) -> list[Voice]:
        """The sums so far."""
        return [replace(voice, clips=clips, hours=hours) for voice, (clips, hours) in self._sums.items()]

    def _purposes(self, clip: Clip) -> frozenset[Purpose]:
        """What the clip may be used for now. Asked once a speaker, unless a consent names clips or sittings."""
        if clip.speaker not in self._allowed:
            scoped = any(event.scope is not None for event in self._ledger.consents(clip.speaker))
            self._allowed[clip.speaker] = None if scoped else self._asked(clip)
        known = self._allowed[clip.speaker]
        return self._asked(clip) if known is None else known

    def _asked(self, clip: Clip) -> frozenset[Purpose]:
        return frozenset(purpose for purpose in PURPOSES if self._ledger.permit(clip, purpose))


def _voice(clip: Clip, speaker: Speaker, purposes: frozenset[Purpose]) -> Voice:
    """Where a clip counts. Facts about the speaker are used only where the consent says so."""
    facts = (clip.dialect, speaker.gender, speaker.age_band) if "profile_data" in purposes else (None,) * 3
    dialect, gender, age_band = (fact or NOT_GIVEN for fact in facts)
    return Voice(clip.speaker, clip.language, dialect, gender, age_band, purposes, speaker.synthetic)


def people(voices: Iterable[Voice]) -> int:
    """How many speakers they are; a synthetic voice is nobody."""
    return len({voice.speaker for voice in voices if not voice.synthetic})


def hours(voices: Iterable[Voice]) -> float:
    return sum(voice.hours for voice in voices)


def allowing(voices: Iterable[Voice], purpose: Purpose) -> list[Voice]:
    """Those that may be used for a purpose."""
    return [voice for voice in voices if purpose in voice.purposes]


# ---------------------------------------------------------------- groups


def groups(voices: Iterable[Voice], fewest: int = 1) -> list[Group]:
    """Voices by language, dialect, gender and age band, the most hours first in each language.

    No group has fewer than `fewest` people, except a language that has fewer in all. Smaller ones are taken
    together; where these are still fewer, with the next larger one, so that no subtraction brings them back.
    The parts of a whole are disjoint and nested, so every sum of rows is of `fewest` people too (k-anonymity,
    Sweeney 2002, with complementary suppression).
    """
    found = [
        Group(language, dialect, gender, age_band, tuple(part))
        for language, of_language in _by("language", voices).items()
        for (dialect, gender, age_band), part in _parts(of_language, _FACTS, fewest)
    ]
    total = {language: hours(part) for language, part in _by("language", voices).items()}
    return sorted(found, key=lambda group: (-total[group.language], group.language, -hours(group.voices)))


def _parts(voices: list[Voice], facts: Sequence[str], fewest: int) -> list[tuple[tuple[str, ...], list[Voice]]]:
    """Voices broken down by facts, as far as the parts are large enough."""
    if not facts:
        return [((), voices)]
    by_value = sorted(_by(facts[0], voices).items(), key=lambda item: people(item[1]), reverse=True)
    alone = [(value, part) for value, part in by_value if not 0 < people(part) < fewest]
    small = [voice for value, part in by_value if 0 < people(part) < fewest for voice in part]
    while small and alone and people(small) < fewest:
        small += alone.pop()[1]
    found = [((value, *rest), part) for value, whole in alone for rest, part in _parts(whole, facts[1:], fewest)]
    return found + ([((TOGETHER,) * len(facts), small)] if small else [])


def _by(fact: str, voices: Iterable[Voice]) -> dict[Any, list[Voice]]:
    """Voices by the value of one of their facts."""
    found: dict[Any, list[Voice]] = {}
    for voice in voices:
        found.setdefault(getattr(voice, fact), []).append(voice)
    return found


# ---------------------------------------------------------------- consents


def consents(ledger: Ledger) -> Consents:
    """How each speaker's consent stands, and which end within 60 days."""
    states, ending, now = Counter[str](), [], ledger.now()
    for speaker in ledger.speakers():
        past = [event for event in ledger.consents(speaker.code) if event.at <= now]
        state = _state(past[-1], now.date()) if past else "none"
        states[state] += 1
        day, turns_18 = _end(past[-1]) if past else (None, False)
        if state in ("in force", "narrowed") and day and day <= (now + _SOON).date():
            ending.append(Ending(speaker.code, day, turns_18, "recontact" in past[-1].purposes))
    pending = sum(task.state == "pending" for task in ledger.tasks())
    return Consents(states, tuple(sorted(ending, key=lambda one: (one.day, one.speaker))), pending)


def _end(event: Event) -> tuple[date | None, bool]:
    """The day on which a consent ends by itself, and whether because the speaker is 18 then."""
    expires = event.expires.date() if event.expires else None
    if event.adult_on and (expires is None or event.adult_on <= expires):
        return event.adult_on, True
    return expires, False


def _state(event: Event, today: date) -> str:
    """What holds of a speaker's consent, in a word or two."""
    if event.state in ("granted", "renewed", "narrowed"):
        day, turns_18 = _end(event)
        if day and day <= today:
            return "lapsed at 18" if turns_18 else "expired"
        return "narrowed" if event.state == "narrowed" else "in force"
    return event.state
