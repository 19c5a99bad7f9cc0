"""Which recordings are worth hearing: the worst, and those on both sides of each limit. And their sound."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from collect.ledger import Ledger
from prepare import dataset, steps
from prepare.clip import Clip
from prepare.report.measures import Limit, Measure
from prepare.report.outcomes import Came, Outcome
from recipes.schema import Recipe, UserError

if TYPE_CHECKING:
    import datasets

_EACH = 2  # players in a list
_LONGEST_S = 12.0  # of a recording
_ROOM_MIB = 10.0  # of sound in the page, as it is written there


@dataclass(frozen=True)
class Player:
    """A recording to hear."""

    outcome: Outcome
    number: int  # the same wherever the recording comes again
    sound: str | None = None  # FLAC in base64
    note: str | None = None  # what a listener should know, or why there is no sound
    again: bool = False  # its sound is with an earlier player


@dataclass(frozen=True)
class Shelf:
    """Players for one question."""

    title: str
    lists: dict[str, list[Outcome]]  # by what they are
    measure: Measure | None = None
    players: dict[str, list[Player]] = field(default_factory=dict)


def shelves(came: Came, measures: Sequence[Measure]) -> list[Shelf]:
    """Who should be heard: by limit, by reason without one, and where there is no limit, the worst that stayed."""
    heard = [one for one in came.outcomes if not one.private and not one.stretch]
    kept, left_out = [one for one in heard if one.kept], [one for one in heard if not one.kept]
    found, limited = list[Shelf](), set[str]()
    for measure in measures:
        for limit in measure.limits:
            beyond = [one for one in left_out if limit.key in (one.reason or "")]
            limited |= {one.kind for one in beyond}
            found.append(_by_limit(measure, limit, kept, beyond))
        if measure.worse and not measure.limits:
            worst = _ranked(kept, measure, measure.worse)
            found.append(Shelf(f"{measure.label}: no limit", {"the worst that stayed": worst[:_EACH]}, measure))
    reasons = dict.fromkeys(one.kind for one in sorted(left_out, key=lambda one: one.kind))
    for reason in reasons:
        if reason not in limited:
            those = sorted((one for one in left_out if one.kind == reason), key=_lot)
            found.append(Shelf(f"Left out: {reason}", {"drawn by lot": those[:_EACH]}))
    return [shelf for shelf in found if any(shelf.lists.values())]


def _by_limit(measure: Measure, limit: Limit, kept: Iterable[Outcome], beyond: Iterable[Outcome]) -> Shelf:
    gone = _ranked(beyond, measure, limit.side)
    lists = {
        "the worst left out": gone[:_EACH],
        "just left out": gone[_EACH:][::-1][:_EACH],
        "just kept": _ranked(kept, measure, limit.side)[:_EACH],
    }
    side = "below" if limit.side == "low" else "above"
    return Shelf(f"{measure.label}: left out {side} {measure.said(limit.value)}", lists, measure)


def _ranked(those: Iterable[Outcome], measure: Measure, worse: str) -> list[Outcome]:
    """The worst first, by a figure that they have."""
    known = [one for one in those if measure.name in one.figures]
    sign = 1 if worse == "low" else -1
    return sorted(known, key=lambda one: (sign * one.figures[measure.name], one.id))


def _lot(one: Outcome) -> str:
    return hashlib.sha256(one.id.encode()).hexdigest()


# ---------------------------------------------------------------- sound


def filled(ledger: Ledger, recipe: Recipe, found: Sequence[Shelf]) -> tuple[list[Shelf], int]:
    """The shelves with their sound, the first of each list first; and how many had no room in the page."""
    rows = dataset.open_dataset(recipe)
    ranked = sorted(
        ((rank, one) for shelf in found for some in shelf.lists.values() for rank, one in enumerate(some)),
        key=lambda item: item[0],
    )
    room, silent, players = _ROOM_MIB * 2**20, 0, dict[str, Player]()
    for _, one in ranked:
        if one.id in players:
            continue
        sound, note = _sound(ledger, recipe, rows, one)
        if sound and len(sound) > room:
            sound, note, silent = None, "no room in this page", silent + 1
        room -= len(sound or "")
        players[one.id] = Player(one, 0, sound, note)
    return list(_numbered(found, players)), silent


def _numbered(found: Sequence[Shelf], players: dict[str, Player]) -> Iterable[Shelf]:
    """Players in the order of the page; the sound is with the first of a recording."""
    numbers = dict[str, int]()
    for shelf in found:
        lists = {}
        for title, some in shelf.lists.items():
            row = []
            for one in some:
                again = one.id in numbers
                number = numbers.setdefault(one.id, len(numbers) + 1)
                player = replace(players[one.id], number=number, again=again)
                row.append(replace(player, sound=None) if again else player)
            if row:
                lists[title] = row
        yield replace(shelf, players=lists)


def _sound(
    ledger: Ledger, recipe: Recipe, rows: "datasets.DatasetDict", one: Outcome
) -> tuple[str | None, str | None]:
    """The beginning of a recording as FLAC in base64, and a note. What was left out comes by the ledger's gate."""
    rate_hz = recipe.prepare.rate_hz
    if one.row:
        split, number = one.row
        flac: bytes = rows[split][number]["audio"]
        if one.figures["duration_s"] <= _LONGEST_S:
            return base64.b64encode(flac).decode(), None
        sound = Clip(dataset.decode(flac), rate_hz)
    else:
        try:
            sound = Clip(*ledger.audio(one.clip, recipe.prepare.purpose))
        except UserError:
            return None, "its audio cannot be read"
        sound = steps.mono(replace(sound, samples=np.nan_to_num(sound.samples, posinf=0.0, neginf=0.0)))
    cut = sound.duration_s > _LONGEST_S
    sound = steps.limit_peak(steps.resample(steps.cut(sound, 0, _LONGEST_S), rate_hz))
    return base64.b64encode(dataset.encode(sound.samples, rate_hz)).decode(), "its beginning only" if cut else None
