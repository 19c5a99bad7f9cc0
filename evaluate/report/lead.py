"""The first paragraph: which system, by how much, how sure, and for whom it is worse."""

from evaluate.bias import Bias, Gap
from evaluate.findings import Difference, Findings
from evaluate.ratings import Method
from evaluate.report.contents import Contents
from evaluate.report.words import Words
from evaluate.statistics import Figure

_HUNDRED = ("preference", "abx")  # methods whose differences are said of a hundred


def lead(found: Contents, say: Words) -> list[str]:
    """The report's first paragraphs, for those who read no further: the first alone says the most important."""
    by_ear, by_count, groups = listening(found, say), errors(found, say), bias(found, say)
    parts = [by_ear + groups, by_count, asked(found, say)] if by_ear else [by_count + groups, asked(found, say)]
    return [" ".join(one[0].upper() + one[1:] for one in part) for part in parts if part]


# ---------------------------------------------------------------- by ear


def listening(found: Contents, say: Words) -> list[str]:
    if found.recipe.train.recognises:
        return []
    if found.heard.state == "sealed":
        counts = {"answers": say.count(found.heard.answers), "listeners": say.count(found.heard.listeners)}
        return [say("sealed", **counts)]
    test = found.main
    first = None if test is None else test.primary or next(iter(test.others), None)
    if test is None or first is None:
        return [say("not_heard")]
    counts = {"n": say.count(first.n), "listeners": say.count(test.listeners), "items": say.count(test.items)}
    said = [compared(test, first, say), say("heard_from", **counts)]
    if test.robust is not None:
        said.append(say("sure_robust" if test.robust else "sure_not_robust"))
    said += alike(test, say)
    return [*said, say("planned" if test.plan_hash else "not_planned")]


def compared(test: Findings, one: Difference, say: Words) -> str:
    """One comparison as a sentence."""
    names = {"first": say.the(one.first), "second": say.the(one.second)}
    if one.low is None or one.high is None:
        alone = points(one.value, test.method, say, decided=False)
        return say("heard_no_interval", **names, value=alone, why=say(one.why or "unknown"))
    if test.method == "abx":
        key = "heard_apart" if one.winner else "heard_not_apart"
        return say(key, **names, by=_by(test, one.value, one.low, one.high, say, decided=bool(one.winner)))
    if not one.winner:
        return say("heard_undecided", **names, by=_by(test, one.value, one.low, one.high, say, decided=False))
    loser = one.second if one.winner == one.first else one.first
    value, low, high = (
        (one.value, one.low, one.high) if one.winner == one.first else (-one.value, -one.high, -one.low)
    )
    by = _by(test, value, low, high, say, decided=True)
    return say("heard_better", winner=say.the(one.winner), loser=say.the(loser), by=by)


def _by(test: Findings, value: float, low: float, high: float, say: Words, decided: bool) -> str:
    scale, digits = measure(test.method)
    span = say.span(low, high, digits, scale)
    value_said = points(value, test.method, say, decided)
    return say("with_interval", value=value_said, span=span, level=say.level(test.alpha))


def measure(method: Method) -> tuple[float, int]:
    """What a method's differences are multiplied by to be said, and their digits."""
    if method in _HUNDRED:
        return 100, 0
    return (1, 1) if method.startswith("mushra") else (1, 2)


def points(value: float, method: Method, say: Words, decided: bool = True) -> str:
    """A difference in the words of its scale."""
    scale, digits = measure(method)
    key = {"mushra_nr": "mushra"}.get(method, method)
    if method == "preference" and not decided:
        key = "preference_undecided"
    return say(f"unit_{key}", value=say.number(value * scale, digits, sign=not decided))


def alike(test: Findings, say: Words) -> list[str]:
    """That two are alike, where that is shown; and where no difference was found, that this does not show it."""
    if test.primary is None or test.primary.winner or test.equivalence is None or test.detectable is None:
        return []
    if test.equivalence.equivalent:
        return [say("alike", margin=plain(test.equivalence.margin, test.method, say))]
    return [say("not_shown_alike", detectable=plain(test.detectable, test.method, say))]


def plain(value: float, method: Method, say: Words) -> str:
    """A size of difference, without its scale."""
    scale, digits = measure(method)
    return say("of_hundred" if method in _HUNDRED else "points", value=say.number(value * scale, digits))


# ---------------------------------------------------------------- by measurement


def errors(found: Contents, say: Words) -> list[str]:
    row = found.results.figures.get("CER", {})
    mine, theirs, gap = (row.get(name) for name in ("adapter", "base", "adapter - base"))
    said = []
    if mine and theirs and gap:
        said.append(_errors(mine, theirs, gap, say))
    elif mine:
        said.append(say("errors_alone", mine=rate(mine, say), n=say.count(mine.n)))
    loss = found.results.figures.get("validation loss", {}).get("adapter - base")
    if not said and loss and loss.low is not None and loss.high is not None and loss.apart_from_zero:
        first, second = ("adapter", "base") if loss.value < 0 else ("base", "adapter")
        low, high = sorted((abs(loss.low), abs(loss.high)))
        values = {"gap": say.number(abs(loss.value)), "span": say.span(low, high)}
        said.append(say("loss_better", winner=say.the(first), loser=say.the(second), **values))
    if (people := row.get("recordings")) and not found.recipe.train.recognises:
        said.append(say("judge", rate=rate(people, say)))
    return said


def _errors(mine: Figure, theirs: Figure, gap: Figure, say: Words) -> str:
    rates = [say.number(100 * one.value, 1) for one in (mine, theirs)]
    names = {"first": say.the("adapter"), "second": say.the("base"), "n": say.count(gap.n)}
    if gap.low is None or gap.high is None:
        return say("errors_no_interval", **names, mine=rates[0], theirs=rates[1], why=say(gap.why or "unknown"))
    if not gap.apart_from_zero:
        values = {"gap": say.number(100 * gap.value, 1, sign=True), "span": say.span(gap.low, gap.high, 1, 100)}
        return say("errors_undecided", **names, mine=rates[0], theirs=rates[1], **values)
    winner, loser = ("adapter", "base") if gap.value < 0 else ("base", "adapter")
    if winner == "base":
        rates.reverse()
    low, high = sorted((abs(gap.low), abs(gap.high)))
    values = {"n": say.count(gap.n), "gap": say.number(100 * abs(gap.value), 1), "span": say.span(low, high, 1, 100)}
    return say(
        "errors_better", winner=say.the(winner), loser=say.the(loser), mine=rates[0], theirs=rates[1], **values
    )


def rate(figure: Figure, say: Words) -> str:
    """A share as of a hundred, with its interval."""
    value = say.number(100 * figure.value, 1)
    if figure.low is None or figure.high is None:
        return say("no_interval", value=value, why=say(figure.why or "unknown"))
    return say("with_interval", value=value, span=say.span(figure.low, figure.high, 1, 100))


# ---------------------------------------------------------------- for whom


def bias(found: Contents, say: Words) -> list[str]:
    """The adapter's worst group: by ear where people listened, else by errors."""
    told = [(one, one.worst["adapter"]) for one in found.bias if "adapter" in one.worst]
    if not told and any(gap.gap is not None for one in found.bias for gap in one.of("adapter")):
        return [say("worse_nobody")]
    if not told:
        return [say("worse_unknown", n=say.count(found.recipe.evaluate.gates.min_cell))]
    table, worst = max(told, key=lambda pair: pair[1].surely == "worse")
    key = "worse_for" if worst.surely == "worse" else "worse_unsure"
    name = f"{say.group(worst)} ({say.factor(worst.kind, worst.factor)})"
    return [say(key, group=name, gap=gap_said(table, worst, found, say))]


def gap_said(table: Bias, gap: Gap, found: Contents, say: Words) -> str:
    """A gap in words, with its interval."""
    scale, digits = gap_measure(table)
    value = say("points" if scale == 1 else "of_hundred", value=say.number((gap.gap or 0) * scale, digits, sign=True))
    if gap.low is None or gap.high is None:
        return say("no_interval", value=value, why=say("not enough data for an interval"))
    return say("with_interval", value=value, span=say.span(gap.low, gap.high, digits, scale))


def gap_measure(table: Bias) -> tuple[float, int]:
    """What gaps are multiplied by to be said, and their digits: shares are of a hundred."""
    return {"rating": (1.0, 2), "preference": (100.0, 0), "CER": (100.0, 1)}[table.metric]


def asked(found: Contents, say: Words) -> list[str]:
    """What became of the recipe's gates."""
    said = []
    for verdict, sentence in (
        ("failed", "gate_lead_failed"),
        ("not shown", "gate_lead_open"),
        ("passed", "gate_lead_passed"),
    ):
        limits = [
            f"{say(f'gate_{one.key}')} {say.number(one.asked, 2)}" for one in found.gates if one.verdict == verdict
        ]
        if limits:
            said.append(say(sentence, keys=say("list_comma").join(limits)))
    return said
