"""What a researcher reads first: how much came, how much stayed, and who lost most by it."""

import unicodedata
from collections.abc import Iterable, Sequence

from prepare.report.losses import ANY, SEVERAL, Group, Loss, Table
from prepare.report.outcomes import NOT_GIVEN, Came
from recipes.records import Purpose

FACTOR = {
    "language": "language",
    "gender": "gender",
    "dialect": "dialect",
    "region": "region",
    "age_band": "age",
}


def headline(came: Came, tables: Sequence[Table], alone: Sequence[Group], purpose: Purpose) -> list[str]:
    """The finding in plain sentences."""
    return [amounts(came, purpose), *unequal(tables), *speakers_apart(alone), *voices_left_out(came), *beside(came)]


def amounts(came: Came, purpose: Purpose) -> str:
    """How many came and stayed, and how much speech that is."""
    clips = {one.clip.id: one.clip.duration_s for one in came.outcomes}
    pieces = (
        f", with the stretches of long ones {len(came.outcomes)} pieces" if len(clips) < len(came.outcomes) else ""
    )
    recorded, stayed = span(sum(clips.values())), len(came.kept)
    speech = span(sum(one.figures["duration_s"] for one in came.kept))
    people = len({one.clip.speaker for one in came.kept})
    return (
        f"{count(len(clips), 'recording')} came that may be used for {purpose}, {recorded} as recorded"
        f"{pieces}; {stayed} stayed ({percent(stayed, len(came.outcomes))}), which is {speech} of speech by "
        f"{count(people, 'speaker')}."
    )


def voices_left_out(came: Came) -> Iterable[str]:
    """Whether somebody is gone altogether."""
    gone = {one.clip.speaker for one in came.left_out} - {one.clip.speaker for one in came.kept}
    if gone:
        yield f"Nothing is left of {count(len(gone), 'speaker')}."


def unequal(tables: Sequence[Table]) -> Iterable[str]:
    """Groups that are gone, and the filter that is most unequal, as far as that can be told."""
    if not tables:
        yield "No fact tells groups of speakers apart here, so no filter can be seen to take more from one of them."
        return
    for table in tables:
        for group in table.groups:
            if group.came and not group.stayed:
                yield f"Nothing is left of {called(table.factor, group.name)}, of which {group.came} came."
    for verdict, surely in (("more", True), ("here", False)):
        if found := _most(tables, verdict):
            yield _sentence(*found, surely=surely)
            return
    if all(group.few for table in tables for group in table.groups):
        yield "Whether a filter takes more from one group than from another cannot be told: too few people."
    else:
        yield "No filter is seen to take more from one group than from the others."


def _most(tables: Sequence[Table], verdict: str) -> tuple[str, Group, str, Loss] | None:
    """The largest difference of those with a verdict: of a single reason, or else of all together."""
    for together in (False, True):
        found = [
            (table.factor, group, reason, loss)
            for table in tables
            for group in table.groups
            for reason, loss in group.losses.items()
            if loss.verdict == verdict and (reason == ANY) == together and loss.share > loss.others_share
        ]
        if found:
            return max(found, key=lambda one: one[3].share - one[3].others_share)
    return None


def _sentence(factor: str, group: Group, reason: str, loss: Loss, surely: bool) -> str:
    what = "Together, the filters take" if reason == ANY else f"The most unequal filter is “{reason}”: it takes"
    who = called(factor, group.name)
    said = (
        f"{what} {percent(loss.lost, loss.of)} of {who} ({loss.lost} of {loss.of}) and "
        f"{percent(loss.others_lost, loss.others)} of the others ({loss.others_lost} of {loss.others})."
    )
    if surely:
        return f"{said} That is surely more."
    return f"{said} These recordings lose surely more; whether {who} does, so few or so unlike people cannot tell."


def speakers_apart(alone: Sequence[Group]) -> Iterable[str]:
    """How many speakers lose more than others."""
    if more := sum(group.losses[ANY].verdict == "more" for group in alone):
        yield f"{count(more, 'speaker')} {'loses' if more == 1 else 'lose'} surely more than all others."


def beside(came: Came) -> Iterable[str]:
    """What no filter looked at."""
    for reason, number in came.not_asked.most_common():
        yield f"Not looked at: {count(number, 'recording')}, {reason}."
    if came.new:
        yield f"{count(came.new, 'recording')} came in since: python -m prepare takes them up."


def called(factor: str, name: str) -> str:
    """A group in a sentence."""
    if name == SEVERAL:
        return f"several small groups of {FACTOR[factor]}"
    if name == NOT_GIVEN:
        return f"those whose {FACTOR[factor]} is not given"
    if any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in name):
        name = f"\u2068{name}\u2069"  # numbers beside it stay in their order
    return f"{FACTOR[factor]} {name}"


def percent(part: float, whole: float) -> str:
    """`12 %`; with a digit more where whole numbers would hide something."""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f} %" if share in (0, 100) or 10 <= share <= 90 else f"{share:.1f} %"


def count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def span(seconds: float) -> str:
    """`48 s`, `24 min`, `1.6 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
