"""Statistics of a dataset for those who may not know its speakers: amounts a speaker, and groups that hide each."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

# What a row says about a person, from what is left out last to what is left out first.
FACTS = ("gender", "dialect", "age_band", "region")
Facts = tuple[str | None, ...]
Group = TypeVar("Group")


@dataclass
class Voice:
    """How much there is of one speaker."""

    utterances: int = 0
    duration_s: float = 0.0
    letters: int = 0
    snr_db: float = 0.0  # sum
    languages: set[str] = field(default_factory=set)
    splits: set[str] = field(default_factory=set)


@dataclass
class Figures:
    """What is counted in one pass over the rows, without their audio."""

    voices: dict[str, Voice] = field(default_factory=lambda: defaultdict(Voice))
    splits: dict[str, Voice] = field(default_factory=lambda: defaultdict(Voice))  # the speakers' splits unused
    languages: Counter[str] = field(default_factory=Counter)  # seconds
    sharing: dict[Facts, set[str]] = field(default_factory=lambda: defaultdict(set))  # speakers by FACTS[:n]
    clips: set[str] = field(default_factory=set)
    rates_hz: set[int] = field(default_factory=set)


def count(rows: Iterable[Mapping[str, Any]]) -> Figures:
    """Figures of rows, which need no `audio` and no `words`."""
    found = Figures()
    for row in rows:
        for voice in (found.voices[row["speaker"]], found.splits[row["split"]]):
            voice.utterances += 1
            voice.duration_s += row["duration_s"]
            voice.letters += len(row["text_normalized"])
            voice.snr_db += row["quality"]["snr_db"]
            voice.languages.add(row["language"])
            voice.splits.add(row["split"])
        found.languages[row["language"]] += row["duration_s"]
        facts = tuple(row[key] for key in FACTS)
        for length in range(1, len(FACTS) + 1):
            found.sharing[facts[:length]].add(row["speaker"])
        found.clips.add(row["clip"])
        found.rates_hz.add(row["rate_hz"])
    return found


def shareable(figures: Figures, facts: Facts, least: int) -> Facts:
    """Of facts about a speaker, those that at least so many speakers have in common; None for the rest."""
    for length in range(len(facts), 0, -1):
        if len(figures.sharing[facts[:length]]) >= least:
            return facts[:length] + (None,) * (len(facts) - length)
    return (None,) * len(facts)


def groups(figures: Figures, least: int) -> list[tuple[str, int, float]]:
    """Speakers and their hours by gender and dialect; groups of fewer than `least` are taken together."""
    rows = {facts: voices for facts, voices in figures.sharing.items() if len(facts) == 2}
    alone, several = apart(rows, least)
    shown = [(", ".join(fact or "not given" for fact in facts), rows[facts]) for facts in alone]
    together = set[str]().union(*(rows[facts] for facts in several))
    if len(together) >= least:
        shown.append(("several groups", together))
    return [
        (name, len(voices), sum(figures.voices[voice].duration_s for voice in voices) / 3600)
        for name, voices in shown
    ]


def apart(people: Mapping[Group, set[str]], least: int) -> tuple[list[Group], list[Group]]:
    """Groups that can be shown by themselves, the largest first, and those that can be shown only together.

    The smallest of the others joins those of fewer than `least` people until they are enough, so that no
    subtraction brings one back.
    """
    alone = sorted(people, key=lambda group: (-len(people[group]), str(group)))
    several: list[Group] = []
    together = set[str]()
    while alone and (len(people[alone[-1]]) < least or 0 < len(together) < least):
        together |= people[alone[-1]]
        several.append(alone.pop())
    return alone, several
