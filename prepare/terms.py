"""What may be done with a dataset, resolved from the consents of every clip in it at this moment."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date

from collect.ledger import Ledger
from recipes.records import PURPOSES, Clip, Purpose
from recipes.schema import UserError

# Licences by the names that the hub knows them by, and whether they allow commercial use.
LICENCES = {
    "cc0-1.0": True,
    "cc-by-4.0": True,
    "cc-by-3.0": True,
    "cc-by-sa-4.0": True,
    "cc-by-nc-4.0": False,
    "cc-by-nc-sa-4.0": False,
    "odc-by": True,
    "pddl": True,
    "mit": True,
    "apache-2.0": True,
}


@dataclass(frozen=True)
class Terms:
    """What all clips have in common, and who was told what."""

    purposes: tuple[Purpose, ...]  # which every clip may serve
    licence: str  # by the hub's name; `other` where the consents are all there is
    notices: tuple[str, ...]  # what speakers were told, or the licence, as the ledger names it
    controllers: tuple[str, ...]
    until: date | None = None  # when the first of the consents ends


def resolve(ledger: Ledger, clips: Collection[str]) -> Terms:
    """The terms of clips, by their ids: purposes are those that each of them may serve, now.

    Their one notice is the licence where it is one, does not contradict the purposes, and is the same for all.
    Raises UserError when a clip is not in the ledger any more.
    """
    purposes, speakers = set(PURPOSES), set[str]()
    for clip in held(ledger, clips):
        purposes = {purpose for purpose in purposes if ledger.permit(clip, purpose)}
        speakers.add(clip.speaker)
    last = [ledger.consents(speaker)[-1] for speaker in sorted(speakers)]
    notices = sorted({event.notice for event in last})
    names = {notice.lower().replace(" ", "-") for notice in notices}
    licence = names.pop() if len(names) == 1 else "other"
    if licence not in LICENCES or (LICENCES[licence] and "commercial" not in purposes):
        licence = "other"
    ends = [event.expires.date() for event in last if event.expires]
    return Terms(
        purposes=tuple(purpose for purpose in PURPOSES if purpose in purposes),
        licence=licence,
        notices=tuple(dict.fromkeys(told(ledger, notice) for notice in notices)),
        controllers=tuple(sorted({event.controller for event in last})),
        until=min(ends, default=None),
    )


def refused(
    ledger: Ledger, clips: Collection[str], purposes: Collection[Purpose]
) -> Iterator[tuple[str, str, list[Purpose]]]:
    """The clips that may not serve each of the purposes, now: id, source, and the purposes that they lack."""
    known = set[str]()
    for clip in ledger.clips():
        if clip.id in clips:
            known.add(clip.id)
            if lacking := [purpose for purpose in purposes if not ledger.permit(clip, purpose)]:
                yield clip.id, clip.source, lacking
    for name in sorted(set(clips) - known):
        yield name, "withdrawn", list(purposes)


def held(ledger: Ledger, clips: Collection[str]) -> Iterator[Clip]:
    """The clips with these ids. Raises UserError, after them, when some are not there."""
    count = 0
    for clip in ledger.clips():
        if clip.id in clips:
            count += 1
            yield clip
    if missing := len(clips) - count:
        raise UserError(f"{missing} clips of the dataset are no longer in the ledger; run: python -m prepare RECIPE")


def told(ledger: Ledger, notice: str) -> str:
    """A notice as people name it: its version, where the ledger holds its text."""
    if not notice.startswith("n:"):
        return notice
    try:
        return f"notice {ledger.notice(notice)[0].version}"
    except KeyError:
        return notice
