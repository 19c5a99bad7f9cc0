"""Consent: what follows what, and the one rule that says yes or no, against an oracle written apart from it."""

import os
import random
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from collect.consent import STATES, Event, Notice, fault, permits
from recipes.records import PURPOSES, Clip

START = datetime(2026, 1, 1, tzinfo=UTC)
HISTORIES = int(os.environ.get("TWIZA_HISTORIES", "10000"))


def clip(name: str = "a" * 64, session: str | None = None) -> Clip:
    values = {"id": name, "speaker": "s1", "language": "ary-Arab", "transcript": "سلام", "audio": "x", "source": "x"}
    return Clip.model_validate(values | {"rate_hz": 16_000, "duration_s": 1, "session": session})


def event(state: str = "granted", *purposes: str, day: float = 0, **values: object) -> Event:
    told = {"speaker": "s1", "notice": "told", "controller": "an association", "at": START + timedelta(days=day)}
    return Event.model_validate(told | {"state": state, "purposes": list(purposes)} | values)


# ---------------------------------------------------------------- the rule


def test_without_an_event_nothing_is_permitted() -> None:
    assert not permits([], "asr_train", START, clip())


def test_a_purpose_is_permitted_when_it_was_granted() -> None:
    events = [event("granted", "store_prepare", "asr_train")]
    assert permits(events, "asr_train", START, clip())
    assert not permits(events, "tts_clone", START, clip())
    assert not permits(events, "a purpose nobody knows", START, clip())


def test_nothing_is_permitted_before_it_was_granted() -> None:
    assert not permits([event("granted", *PURPOSES, day=1)], "asr_train", START, clip())


def test_every_purpose_needs_leave_to_store() -> None:
    assert not permits([event("granted", "asr_train")], "asr_train", START, clip())


def test_publishing_a_model_needs_leave_to_make_one() -> None:
    assert not permits([event("granted", "store_prepare", "publish_model")], "publish_model", START, clip())
    able = event("granted", "store_prepare", "publish_model", "tts_multi")
    assert permits([able], "publish_model", START, clip())


def test_the_last_event_decides_alone() -> None:
    events = [event("granted", *PURPOSES), event("narrowed", "store_prepare", day=1)]
    assert permits(events, "asr_train", START, clip())
    assert not permits(events, "asr_train", START + timedelta(days=1), clip())


@pytest.mark.parametrize("state", ["requested", "withdrawn", "erased"])
def test_states_that_allow_nothing_hold_no_purpose(state: str) -> None:
    with pytest.raises(ValidationError, match="purposes must be empty"):
        event(state, "asr_train")


@pytest.mark.parametrize("state", ["suspended", "expired"])
def test_a_suspended_or_expired_consent_permits_nothing(state: str) -> None:
    assert not permits([event("granted", *PURPOSES), event(state, *PURPOSES)], "asr_train", START, clip())


def test_consent_ends_when_it_expires() -> None:
    events = [event("granted", *PURPOSES, expires=START + timedelta(days=10))]
    assert permits(events, "asr_train", START + timedelta(days=10, seconds=-1), clip())
    assert not permits(events, "asr_train", START + timedelta(days=10), clip())


def test_a_minors_record_lapses_at_18() -> None:
    events = [event("granted", *PURPOSES, by="guardian", adult_on=date(2026, 3, 1))]
    assert permits(events, "asr_train", datetime(2026, 2, 28, tzinfo=UTC), clip())
    assert not permits(events, "asr_train", datetime(2026, 3, 1, tzinfo=UTC), clip())
    grown = [*events, event("renewed", "store_prepare", "asr_train", day=70)]
    assert permits(grown, "asr_train", datetime(2026, 4, 1, tzinfo=UTC), clip())
    with pytest.raises(ValidationError, match="needs adult_on"):
        event("granted", *PURPOSES, by="guardian")


def test_a_consent_may_cover_some_recordings_only() -> None:
    events = [event("granted", *PURPOSES, scope=["a" * 64, "session 2"])]
    assert permits(events, "asr_train", START, clip("a" * 64))
    assert permits(events, "asr_train", START, clip("b" * 64, session="session 2"))
    assert not permits(events, "asr_train", START, clip("b" * 64))


# ---------------------------------------------------------------- the life cycle


@pytest.mark.parametrize(
    ("past", "new", "why"),
    [
        ([], event("narrowed"), "narrowed cannot follow nothing"),
        ([event("granted"), event("withdrawn"), event("erased")], event("granted"), "granted cannot follow erased"),
        ([event("granted")], event("erased"), "erased cannot follow granted"),
        ([event("granted", "asr_train")], event("narrowed", *PURPOSES), "narrowed, it allows more than before"),
        ([event("granted", scope=["a"])], event("narrowed"), "narrowed, it covers more than before"),
        ([event("granted", day=2)], event("withdrawn", day=1), "it is older than the last one, of 2026-01-03"),
    ],
)
def test_what_cannot_follow_is_told(past: list[Event], new: Event, why: str) -> None:
    assert fault(past, new) == why


def test_consent_can_come_back_after_a_withdrawal_but_not_after_erasure() -> None:
    gone = [event("granted", "store_prepare"), event("withdrawn")]
    assert fault(gone, event("granted", "store_prepare", day=1)) is None
    assert all(fault([*gone, event("erased")], event(state, day=1)) for state in STATES)


def test_a_notice_is_named_by_its_content() -> None:
    told = Notice(version="1", language="ary-Arab", text="حنا كنجمعو الصوت")
    assert told.id == Notice(**told.model_dump()).id and told.id.startswith("n:")
    assert told.id != told.model_copy(update={"text": "شي حاجة أخرى"}).id


# ---------------------------------------------------------------- against an oracle


def oracle(events: list[dict[str, object]], purpose: str, at: float, name: str, session: str | None) -> bool:
    """The rule, told again in other words: walk through time and keep what holds."""
    holding: dict[str, object] | None = None
    for told in events:
        if told["day"] <= at:  # type: ignore[operator]
            holding = told
    if holding is None:
        return False
    answers = [
        holding["state"] in {"granted", "narrowed", "renewed"},
        holding["expires"] is None or at < holding["expires"],  # type: ignore[operator]
        holding["adult_day"] is None or int(at) < holding["adult_day"],  # type: ignore[operator]
        holding["scope"] is None or name in holding["scope"] or session in holding["scope"],  # type: ignore[operator]
        "store_prepare" in holding["purposes"],  # type: ignore[operator]
        purpose in holding["purposes"],  # type: ignore[operator]
    ]
    if purpose == "publish_model":
        answers.append(bool({"asr_train", "tts_multi", "tts_clone"} & set(holding["purposes"])))  # type: ignore[call-overload]
    return all(answers)


def a_history(draw: random.Random) -> list[dict[str, object]]:
    told, day = [], 0.0
    for _ in range(draw.randint(0, 50)):
        day += draw.choice([0, 0, 0.25, 1, 7])
        state = draw.choice([*STATES, "granted", "granted", "narrowed"])
        allowed = state not in ("requested", "withdrawn", "erased")
        told.append(
            {
                "day": day,
                "state": state,
                "purposes": draw.sample(PURPOSES, draw.randint(0, 12)) if allowed else [],
                "expires": day + draw.choice([0, 1, 30]) if draw.random() < 0.3 else None,
                "adult_day": int(day) + draw.choice([0, 1, 20]) if draw.random() < 0.2 else None,
                "scope": draw.sample(["a" * 64, "b" * 64, "one", "two"], draw.randint(0, 3))
                if draw.random() < 0.3
                else None,
            }
        )
    return told


def as_event(told: dict[str, object]) -> Event:
    values = {"scope": told["scope"], "by": "guardian" if told["adult_day"] is not None else "self"}
    if told["expires"] is not None:
        values["expires"] = START + timedelta(days=told["expires"])  # type: ignore[arg-type]
    if told["adult_day"] is not None:
        values["adult_on"] = (START + timedelta(days=told["adult_day"])).date()  # type: ignore[arg-type]
    return event(told["state"], *told["purposes"], day=told["day"], **values)  # type: ignore[arg-type,misc]


def test_the_rule_agrees_with_an_oracle() -> None:
    """`TWIZA_HISTORIES` random histories, each asked for every purpose at several moments and clips."""
    asked = yes = 0
    for seed in range(HISTORIES):
        draw = random.Random(seed)
        told = a_history(draw)
        events = [as_event(one) for one in told]
        for purpose in PURPOSES:
            at = draw.choice([0.0, *[one["day"] for one in told], draw.uniform(0, 60)])
            name, session = draw.choice(["a" * 64, "b" * 64, "c" * 64]), draw.choice([None, "one", "two", "three"])
            expected = oracle(told, purpose, at, name, session)  # type: ignore[arg-type]
            got = permits(events, purpose, START + timedelta(days=at), clip(name, session))  # type: ignore[arg-type]
            assert got == expected, (seed, purpose, at)
            asked, yes = asked + 1, yes + got
    assert asked == 12 * HISTORIES and 0.02 < yes / asked < 0.5  # both answers were asked for


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PURPOSES), unique=True), st.sampled_from(PURPOSES))
def test_taking_a_purpose_away_never_adds_one(purposes: list[str], lost: str) -> None:
    before = [event("granted", *purposes)]
    after = [event("granted", *(p for p in purposes if p != lost))]
    for purpose in PURPOSES:
        assert permits(before, purpose, START, clip()) or not permits(after, purpose, START, clip())
