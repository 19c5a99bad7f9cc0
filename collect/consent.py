"""What speakers allowed: notices, events that each hold the whole set of purposes, and the rule that reads them.

Fields follow ISO/IEC TS 27560:2023 (consent record information structure); life cycle as in DESIGN.md.
"""

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal, Self, get_args

from pydantic import AwareDatetime, Field, model_validator

from recipes.records import PURPOSES, Clip, Purpose, Row, Text

State = Literal["requested", "granted", "narrowed", "renewed", "suspended", "expired", "withdrawn", "erased"]
STATES: tuple[State, ...] = get_args(State)
_OPEN: tuple[State, ...] = ("granted", "narrowed", "renewed")

# What may come after what. After `erased` nothing does: whoever comes back is a new speaker.
_NEXT: dict[State | None, tuple[State, ...]] = {
    None: ("requested", "granted"),
    "requested": ("requested", "granted", "expired", "withdrawn"),
    "granted": ("granted", "narrowed", "renewed", "suspended", "expired", "withdrawn"),
    "narrowed": ("granted", "narrowed", "renewed", "suspended", "expired", "withdrawn"),
    "renewed": ("granted", "narrowed", "renewed", "suspended", "expired", "withdrawn"),
    "suspended": ("renewed", "narrowed", "expired", "withdrawn"),
    "expired": ("requested", "granted", "renewed", "withdrawn"),
    "withdrawn": ("requested", "granted", "erased"),
    "erased": (),
}
# A purpose means nothing without these; of a group in the second table, without one of them.
_BEFORE_ALL: Purpose = "store_prepare"
_ONE_OF: dict[Purpose, tuple[Purpose, ...]] = {"publish_model": ("asr_train", "tts_multi", "tts_clone")}


class Notice(Row):
    """What speakers are told, in one language. It never changes: another text is another notice."""

    version: str = Field(min_length=1)
    language: str = Field(min_length=2)  # BCP 47, with script where there are several: zgh-Tfng, ary-Arab, fr
    text: Text = Field(min_length=1)
    audio_sha256: str | None = None  # of the notice read aloud

    @property
    def id(self) -> str:
        """`n:` and the SHA-256 of the content."""
        return "n:" + hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Event(Row):
    """One consent event. It holds every purpose that is allowed from then on, never a difference."""

    schema_version: Literal["1"] = "1"
    speaker: str = Field(min_length=1)
    state: State = "granted"
    purposes: list[Purpose]
    scope: list[str] | None = None  # ids of clips and of recording sessions that it covers; null: all of them
    notice: str = Field(min_length=1)  # id of a notice in the ledger; or what an import says speakers were told
    language: str | None = None  # in which the speaker was told
    controller: str = Field(min_length=1)  # who answers for the data
    basis: Literal["consent", "licence"] = "consent"
    jurisdiction: str = "MA"  # ISO 3166-1
    at: AwareDatetime  # when the speaker said so
    recorded: AwareDatetime | None = None  # when it was written down, by the ledger
    expires: AwareDatetime | None = None
    adult_on: date | None = None  # of a minor: the day of turning 18, on which the record lapses
    by: Literal["self", "guardian", "controller"] = "self"
    how: Literal["tick", "signature", "spoken", "licence"] = "tick"
    evidence: tuple[str, ...] = ()  # SHA-256 of a form, id of a spoken clip

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.by == "guardian" and self.adult_on is None:
            raise ValueError("a guardian's consent needs adult_on, the day on which the speaker turns 18")
        if self.state in ("requested", "withdrawn", "erased") and self.purposes:
            raise ValueError(f"an event that says {self.state} allows nothing: purposes must be empty")
        return self

    def says(self) -> str:
        """What the event says, whenever it was written down."""
        return self.model_dump_json(exclude={"recorded"})


def permits(events: Sequence[Event], purpose: str, at: datetime, clip: Clip) -> bool:
    """Whether a speaker's events allow a purpose for a clip at a moment. No event, no permission.

    `events`: of one speaker, as they were written down. The last of those that had happened by then decides
    alone. A purpose of no list, one without those it rests on, a clip out of scope: denied.
    """
    past = [event for event in events if event.at <= at]
    if not past or purpose not in PURPOSES:
        return False
    last = past[-1]
    if last.state not in _OPEN or (last.expires is not None and at >= last.expires):
        return False
    if last.adult_on is not None and at.date() >= last.adult_on:
        return False
    if last.scope is not None and clip.id not in last.scope and clip.session not in last.scope:
        return False
    given = set(last.purposes)
    rests_on = _ONE_OF.get(purpose)
    return purpose in given and _BEFORE_ALL in given and (rests_on is None or not given.isdisjoint(rests_on))


def fault(events: Sequence[Event], event: Event) -> str | None:
    """Why an event cannot follow a speaker's events; None when it can."""
    last = events[-1] if events else None
    if event.state not in _NEXT[last.state if last else None]:
        return f"{event.state} cannot follow {last.state if last else 'nothing'}"
    if last is None:
        return None
    if event.at < last.at:
        return f"it is older than the last one, of {last.at:%Y-%m-%d}"
    if event.state == "narrowed" and not set(event.purposes) <= set(last.purposes):
        return "narrowed, it allows more than before"
    if event.state == "narrowed" and last.scope is not None and not set(event.scope or ["all"]) <= set(last.scope):
        return "narrowed, it covers more than before"
    return None
