"""Consent events in a hash chain: each is hashed with the hash of the one before, so none can be changed unseen.

A chain alone cannot show that its end was cut off: a receipt, kept by a speaker or on paper, does.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import sqlalchemy as sa

from collect.consent import Event, fault
from collect.tables import events, lock
from recipes.schema import UserError

_START = "0" * 64  # what the first event is chained to
_LAST = sa.select(events).order_by(events.c.number.desc()).limit(1)
BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Receipt:
    """A place in the chain. Whoever keeps one can prove later that nothing up to it was changed."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


def read_receipt(text: str) -> Receipt:
    """A receipt as it is printed, `number:hash`. Raises UserError for anything else."""
    number, _, link = text.partition(":")
    if not number.isdecimal() or len(link) != 64:
        raise UserError(f"`{text}`: not a receipt, like 12:3f5a… with 64 digits after the colon")
    return Receipt(int(number), link)


def end(connection: sa.Connection) -> tuple[Receipt, datetime]:
    """Where the chain ends, and when its last event was written down."""
    row = connection.execute(_LAST).first()
    if row is None:
        return Receipt(0, _START), BEGINNING
    return Receipt(row.number, row.hash), _recorded(row.event)


@lru_cache(maxsize=8)  # asked for each clip that is read, and seldom another
def _recorded(event: str) -> datetime:
    return Event.model_validate_json(event).recorded or BEGINNING


def history(connection: sa.Connection, speaker: str) -> list[Event]:
    """A speaker's events, oldest first. Raises UserError when one was altered."""
    before = events.alias("before")
    query = sa.select(events.c.number, events.c.event, events.c.hash, before.c.hash.label("last"))
    query = query.outerjoin(before, before.c.number == events.c.number - 1)
    rows = connection.execute(query.where(events.c.speaker == speaker).order_by(events.c.number)).all()
    for row in rows:
        if row.hash != link(row.last or _START, speaker, row.event):
            raise UserError(_broken(row.number, speaker))
    return [Event.model_validate_json(row.event) for row in rows]


def append(connection: sa.Connection, event: Event, now: datetime) -> Receipt:
    """Add an event, in a transaction. Raises UserError when it cannot follow what the speaker said before."""
    lock(connection)
    mine = sa.select(events.c.event).where(events.c.speaker == event.speaker)
    past = connection.scalars(mine.order_by(events.c.number.desc()).limit(1)).all()
    if why := fault([Event.model_validate_json(text) for text in past], event):
        raise UserError(f"consent of {event.speaker}: {why}")
    last, recorded = end(connection)
    written = event.model_copy(update={"recorded": max(now, recorded)}).model_dump_json()
    new = Receipt(last.number + 1, link(last.hash, event.speaker, written))
    connection.execute(events.insert().values(number=new.number, speaker=event.speaker, event=written, hash=new.hash))
    return new


def verify(connection: sa.Connection, receipts: Iterable[Receipt] = ()) -> int:
    """Walk the chain; how many events there are.

    Raises UserError naming the first event that was altered, or that a receipt knows otherwise.
    """
    known = {receipt.number: receipt.hash for receipt in receipts}
    last, count = _START, 0
    for number, speaker, event, found in connection.execute(sa.select(*events.c).order_by(events.c.number)):
        count += 1
        last = link(last, speaker, event)
        if number != count or found != last:
            raise UserError(_broken(count, speaker))
        if known.pop(number, last) != last:
            raise UserError(f"consent event {number} of {speaker}: not what its receipt says")
    if known:
        raise UserError(f"the ledger ends at consent event {count}; there is a receipt of event {max(known)}")
    return count


def link(last: str, speaker: str, event: str) -> str:
    """The hash of an event after another: SHA-256 over both."""
    return hashlib.sha256(json.dumps([last, speaker, event]).encode()).hexdigest()


def _broken(number: int, speaker: str) -> str:
    return f"consent event {number} of {speaker}: altered, or one before it removed or added"
