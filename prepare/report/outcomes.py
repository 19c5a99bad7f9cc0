"""What became of every recording that the recipe asked for, and of whom it is as far as that may be said."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from collect.ledger import Ledger, Speaker
from prepare import dataset
from prepare.figures import FACTS
from recipes.records import Clip, Quality, Rejected, Split
from recipes.schema import Recipe, UserError

if TYPE_CHECKING:
    import datasets

NOT_GIVEN = "not given"
FACTORS = ("language", *FACTS)  # what recordings are grouped by
_LIGHT = ["id", "clip", "duration_s", "quality", "flags"]
_UNASKED = "not in prepare."  # a reason that is the recipe's choice, and no filter


@dataclass(frozen=True)
class Outcome:
    """What became of a recording, or of one stretch of a long one."""

    id: str  # of the utterance; of the clip where it was left out
    clip: Clip
    groups: Mapping[str, str]  # by factor
    figures: Mapping[str, float]  # what was measured, by the names of `Quality`, and duration_s
    reason: str | None = None  # why it was left out
    row: tuple[Split, int] | None = None  # where it is in the dataset
    stretch: bool = False  # left out, and only a part of its recording
    private: bool = False  # says what tells who somebody is: neither shown nor played

    @property
    def kept(self) -> bool:
        return self.reason is None

    @property
    def kind(self) -> str:
        """The reason without what is of this recording alone."""
        return (self.reason or "").partition(":")[0]


@dataclass(frozen=True)
class Came:
    """All that the recipe asked for and may use, and how much it did not or may not."""

    outcomes: list[Outcome]
    not_asked: Counter[str] = field(default_factory=Counter)  # recordings that no filter looked at, by reason
    new: int = 0  # in the ledger, and not in the dataset yet
    synthetic: frozenset[str] = frozenset()  # speakers who are nobody

    @property
    def kept(self) -> list[Outcome]:
        return [one for one in self.outcomes if one.kept]

    @property
    def left_out(self) -> list[Outcome]:
        return [one for one in self.outcomes if not one.kept]


def gather(ledger: Ledger, recipe: Recipe) -> Came:
    """Every recording with consent at this moment, beside the dataset that was made.

    Raises UserError when there is no dataset, or when it holds a recording whose consent does not cover it any more.
    """
    kept = _kept(dataset.open_dataset(recipe))
    left_out = _by_clip((row.clip, row) for row in dataset.read_rejected(recipe))
    outcomes, not_asked, new = list[Outcome](), Counter[str](), 0
    speakers = {speaker.code: speaker for speaker in ledger.speakers()}
    for clip in ledger.clips():
        if any(not ledger.permit(clip, purpose) for purpose in (recipe.prepare.purpose, *recipe.prepare.also_for)):
            not_asked["no consent for this"] += 1
            continue
        mine, reasons = kept.pop(clip.id, []), left_out.get(clip.id, [])
        if any(row.reason.startswith(_UNASKED) for row in reasons):
            not_asked[reasons[0].reason.partition(":")[0]] += 1
            continue
        new += not mine and not reasons
        person = speakers[clip.speaker] if ledger.permit(clip, "profile_data") else None
        groups = _groups(clip, person)
        outcomes += [Outcome(clip=clip, groups=groups, **row) for row in mine]
        outcomes += _rejected(clip, groups, reasons, whole=len(reasons) == 1 and not mine)
    if kept:
        raise UserError(
            f"{len(kept)} clips of the dataset, the first {min(kept)[:12]}, have no consent for "
            f"{recipe.prepare.purpose} any more; run: python -m prepare RECIPE"
        )
    synthetic = frozenset(code for code, speaker in speakers.items() if speaker.synthetic)
    return Came(outcomes, not_asked, new, synthetic)


def _kept(rows: "datasets.DatasetDict") -> dict[str, list[dict[str, Any]]]:
    """What an `Outcome` says of each utterance, by clip."""
    return _by_clip(
        (
            row["clip"],
            {
                "id": row["id"],
                "figures": _figures(row["quality"], row["duration_s"]),
                "row": (split, number),
                "private": _tells_who(row["flags"]),
            },
        )
        for split, table in rows.items()
        for number, row in enumerate(table.select_columns(_LIGHT))
    )


def _rejected(clip: Clip, groups: Mapping[str, str], rows: list[Rejected], whole: bool) -> Iterable[Outcome]:
    """What was left out of a clip. `whole`: all of it, and not a stretch."""
    for row in rows:
        figures = _figures(row.quality.model_dump() if row.quality else {}, None)
        if whole:
            figures["duration_s"] = _said_duration_s(row.reason) or clip.duration_s
        private = _tells_who([row.reason])
        yield Outcome(clip.id, clip, groups, figures, row.reason, stretch=not whole, private=private)


def _said_duration_s(reason: str) -> float | None:
    """How long a recording was when its duration decided: silence at its ends may have gone by then."""
    found = re.search(r": ([\d.]+) s\b.*prepare\.(min|max)_duration_s", reason)
    return float(found[1]) if found else None


def _figures(quality: Mapping[str, Any], duration_s: float | None) -> dict[str, float]:
    """The figures there are, as numbers."""
    known = {"duration_s": duration_s} | {name: quality.get(name) for name in Quality.model_fields}
    return {name: float(value) for name, value in known.items() if isinstance(value, int | float)}


def _groups(clip: Clip, person: Speaker | None) -> dict[str, str]:
    """What a recording is counted under. `person`: None where facts about them may not be used."""
    found = {"language": str(clip.language)} | dict.fromkeys(FACTS, NOT_GIVEN)
    if person:
        told = {"gender": person.gender, "age_band": person.age_band, "dialect": clip.dialect, "region": clip.region}
        found |= {fact: value for fact, value in told.items() if value}
    return found


def _tells_who(findings: Iterable[str]) -> bool:
    return any(finding.startswith("personal data") for finding in findings)


def _by_clip(rows: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for clip, row in rows:
        found[clip].append(row)
    return dict(found)
