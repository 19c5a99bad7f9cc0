"""What a listening test found: every analysis that its kind of test calls for, from its ratings.

The plan's one comparison is tested by itself; all others by Holm's correction. It is estimated by the crossed mixed
model, confirmed by other methods that assume less, and repeated without any exclusion, and without the ratings of
voices that their listener knew. Whatever cannot be told is in the findings as such.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from evaluate.findings.compared import compared
from evaluate.findings.kinds import Findings
from evaluate.findings.scored import scored
from evaluate.ratings import Comparison, Person, Ratings, Score
from evaluate.statistics import agreement
from evaluate.statistics.outcome import NotEnough
from evaluate.statistics.screening import post_screening

MID_ANCHOR = "anchor_mid"  # as recipes name it


def analyse(ratings: Ratings, resamples: int = 2000, seed: int = 17) -> Findings:
    """Everything that these ratings tell. Depends neither on the order of their rows nor on how gaps are written."""
    ratings = _in_order(ratings)
    gone = _gone(ratings)
    kept = _without(ratings, gone)
    found = (scored if ratings.scores else compared)(kept, resamples, seed)
    whole = None
    if gone:
        whole = (scored if ratings.scores else compared)(ratings, resamples, seed, confirm=False)["primary"]
    rows: list[Score | Comparison] = [*kept.scores, *kept.comparisons]
    known = sum(row.known for row in rows)
    strangers = _of_strangers(kept)
    apart = (scored if ratings.scores else compared)(strangers, resamples, seed, confirm=False) if known else {}
    who = {row.listener for row in rows}
    people = [one for one in kept.people if one.listener in who]
    return Findings(
        method=ratings.method,
        n=len(rows),
        items=len({row.item for row in rows}),
        listeners=len(who),
        excluded=dict(sorted(Counter(gone.values()).items())),
        everybody=whole,
        strangers=apart.get("primary"),
        known=known,
        checks=_counted(one.checks for one in ratings.people),
        facts=_counted(one.facts for one in people),
        blinding=_blinding(people),
        plan_hash=ratings.plan_hash,
        alpha=ratings.alpha,
        **found,
    )


def counted(ratings: Ratings) -> Ratings:
    """The ratings that count: without whom the plan, or for MUSHRA the standard, excludes."""
    ratings = _in_order(ratings)
    return _without(ratings, _gone(ratings))


def _in_order(ratings: Ratings) -> Ratings:
    """Rows in an order of their own, and none without a rating."""
    scores = [one for one in ratings.scores if one.score == one.score and one.score is not None]
    pairs = [one for one in ratings.comparisons if one.score == one.score and one.score is not None]
    return replace(
        ratings,
        scores=sorted(
            scores, key=lambda one: (one.listener, one.position, one.slot, one.item, one.system, one.score)
        ),
        comparisons=sorted(pairs, key=lambda one: (one.listener, one.position, one.item, one.first, one.score)),
    )


def _gone(ratings: Ratings) -> dict[str, str]:
    """Who is not counted, and by which rule: the plan's, and for MUSHRA the standard's."""
    gone = {one.listener: one.excluded for one in ratings.people if one.excluded}
    if ratings.method == "mushra":
        for who, why in post_screening(ratings.scores, ratings.reference, MID_ANCHOR).items():
            gone.setdefault(who, f"BS.1534-3: {why.split(' in ')[0]} too often")
    rows: list[Score | Comparison] = [*ratings.scores, *ratings.comparisons]
    rated = {row.listener for row in rows}
    return {who: why for who, why in gone.items() if who in rated}


def _without(ratings: Ratings, gone: dict[str, str]) -> Ratings:
    return replace(
        ratings,
        scores=[one for one in ratings.scores if one.listener not in gone],
        comparisons=[one for one in ratings.comparisons if one.listener not in gone],
        people=[one for one in ratings.people if one.listener not in gone],
    )


def _of_strangers(ratings: Ratings) -> Ratings:
    """Without the ratings of voices that their listener knew."""
    return replace(
        ratings,
        scores=[one for one in ratings.scores if not one.known],
        comparisons=[one for one in ratings.comparisons if not one.known],
    )


def _counted(tables: Iterable[dict[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for table in tables:
        for name, value in table.items():
            found[name][value] += 1
    return {name: dict(sorted(counts.items())) for name, counts in sorted(found.items())}


def _blinding(people: Sequence[Person]) -> tuple[float, float, float] | None:
    """How well listeners guessed at the end which was which: the check `guess`."""
    meaning = {"pass": True, "fail": False, "not_run": None}
    found = agreement.blinding(meaning[said] for one in people if (said := one.checks.get("guess")) in meaning)
    return None if isinstance(found, NotEnough) else found
