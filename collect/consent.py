"""What speakers allowed: events that each hold the whole set of purposes, and the rule that reads them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, Field

from recipes.records import Purpose, Row

State = Literal["granted", "narrowed", "renewed", "suspended", "withdrawn"]
_OPEN: tuple[State, ...] = ("granted", "narrowed", "renewed")


class Event(Row):
    """One consent event. It holds every purpose that is allowed from then on, never a difference."""

    speaker: str
    state: State = "granted"
    purposes: list[Purpose]
    notice: str = Field(min_length=1)  # what the speaker was told, with its version
    controller: str = Field(min_length=1)  # who answers for the data
    at: AwareDatetime
    expires: AwareDatetime | None = None
    by: Literal["self", "guardian"] = "self"
    how: Literal["tick", "signature", "spoken", "licence"] = "tick"


def permits(events: Sequence[Event], purpose: Purpose, at: datetime) -> bool:
    """Whether a speaker's events allow a purpose at a moment. No event, no permission.

    `events`: of one speaker, oldest first. The last one that had happened by then decides alone.
    """
    past = [event for event in events if event.at <= at]
    if not past:
        return False
    last = past[-1]
    in_force = last.state in _OPEN and (last.expires is None or at < last.expires)
    return in_force and purpose in last.purposes
