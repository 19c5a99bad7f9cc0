"""From an adapter back to the consents: what training and evaluation ask of the ledger.

All of it is of the moment at which it is asked. Raises UserError where there is no ledger to ask.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.records import PURPOSES, Purpose
from recipes.schema import Recipe, UserError

if TYPE_CHECKING:
    from collect.ledger import Ledger
    from prepare.terms import Terms

_PUBLISHED = "published"


@dataclass(frozen=True)
class Lacking:
    """A clip that may not serve some purposes."""

    clip: str
    purposes: tuple[Purpose, ...]


def lacking(recipe: Recipe, clips: Collection[str], purposes: Collection[Purpose]) -> list[Lacking]:
    """The clips that may not serve each of the purposes, now; one that is gone lacks them all."""
    from prepare import terms

    with _ledger(recipe) as ledger:
        ledger.verify()  # a chain that was altered permits nothing
        return [Lacking(name, tuple(which)) for name, _, which in terms.refused(ledger, clips, purposes)]


def allowed_now(recipe: Recipe, rows: Iterable[tuple[str, str, Sequence[Purpose]]]) -> list[list[Purpose]]:
    """What is left of what speakers allowed when rows were made; nothing of a clip that is gone.

    `rows`: speaker, clip and purposes of each. On a machine without the ledger all is as it was then.
    """
    from collect.ledger import ledger_exists, open_ledger

    if not ledger_exists(recipe):
        return [list(purposes) for _, _, purposes in rows]
    left: list[list[Purpose]] = []
    known: dict[tuple[str, str | None], set[Purpose]] = {}  # by speaker, and by clip where a consent names clips
    with open_ledger(recipe) as ledger:
        by_clip = {who.code: any(event.scope for event in ledger.consents(who.code)) for who in ledger.speakers()}
        for speaker, clip, purposes in rows:
            key = speaker, clip if by_clip.get(speaker) else None
            if key not in known:
                found = ledger.clip(clip)
                known[key] = {purpose for purpose in PURPOSES if found and ledger.permit(found, purpose)}
            left.append([purpose for purpose in purposes if purpose in known[key]])
    return left


def may(recipe: Recipe, clip: str, purposes: Iterable[Purpose]) -> bool:
    """Whether a clip may serve all the purposes at this moment; without the ledger nobody can say no."""
    from collect.ledger import ledger_exists, open_ledger

    if not ledger_exists(recipe):
        return True
    with open_ledger(recipe) as ledger:
        found = ledger.clip(clip)
        return found is not None and all(ledger.permit(found, purpose) for purpose in purposes)


def clip_of(row: str) -> str:
    """The clip that a row of the dataset, by its id, is of."""
    return row.partition("-")[0]


def agreed(recipe: Recipe, clips: Collection[str]) -> "Terms":
    """What all clips allow, what their speakers were told, and by whom."""
    from prepare import terms

    with _ledger(recipe) as ledger:
        return terms.resolve(ledger, clips)


def told(recipe: Recipe, clips: Collection[str]) -> dict[str, list[str]]:
    """What speakers were told, or the licence of the source, and which clips are theirs."""
    from prepare import terms

    found: dict[str, list[str]] = {}
    with _ledger(recipe) as ledger:
        names = {s.code: ledger.consents(s.code) for s in ledger.speakers()}
        for clip in terms.held(ledger, clips):
            found.setdefault(terms.told(ledger, names[clip.speaker][-1].notice), []).append(clip.id)
    return found


def names(recipe: Recipe) -> set[str]:
    """What must be in nothing that is published: codes of speakers, and how they can be reached."""
    found = set[str]()
    with _ledger(recipe) as ledger:
        for speaker in ledger.speakers():
            found.add(speaker.code)
            past = ledger.consents(speaker.code)
            if past and past[-1].state not in ("withdrawn", "erased") and (how := ledger.keys.contact(speaker.code)):
                found.add(how)
    return found


def note(recipe: Recipe, place: str, version: str, purposes: Collection[Purpose], clips: set[str], made: str) -> None:
    """Write down what is about to leave, before it does: a withdrawal of any of the purposes must find it.

    `made`: what it was made from, the id of the adapter.
    """
    from collect.ledger import Artefact

    with _ledger(recipe) as ledger:
        for purpose in purposes:
            left = Artefact(id=f"{place} {version} {purpose}", kind=_PUBLISHED, place=place, purpose=purpose)
            ledger.register(left, clips=clips, parents=[made])


def settle(recipe: Recipe, place: str, proof: str, by: str | None = None) -> int:
    """Close what withdrawals asked of publications in a place. `by`: the version that is there now. How many."""
    count = 0
    with _ledger(recipe) as ledger:
        for task in ledger.tasks():
            asked = task.kind == _PUBLISHED and task.place == place and task.state == "pending"
            if asked and (by is None or f" {by} " not in task.artefact):
                ledger.close_task(task, "done", f"{datetime.now(UTC):%Y-%m-%d} {proof}")
                count += 1
    return count


def key_folder(recipe: Recipe) -> Path:
    """Where the keys of a recipe are."""
    from collect.ledger import key_folder as of

    return of(recipe)


@contextmanager
def _ledger(recipe: Recipe) -> Iterator["Ledger"]:
    from collect.ledger import ledger_exists, open_ledger

    if not ledger_exists(recipe):
        raise UserError(f"{recipe.folder('collect')}: no ledger here to ask for consents; publish where it is")
    with open_ledger(recipe) as ledger:
        yield ledger
