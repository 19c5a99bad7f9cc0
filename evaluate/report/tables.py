"""The report's tables: findings as rows of text, in the words of a language."""

from typing import Any

from evaluate import plots
from evaluate.bias import Bias, Gap, disclosed
from evaluate.findings import Confirmation, Difference, Findings
from evaluate.gates import Gate
from evaluate.metrics import METRICS
from evaluate.report import stated
from evaluate.report.contents import Contents
from evaluate.report.lead import gap_measure, measure, plain
from evaluate.report.words import Words
from evaluate.statistics import Figure

_ON_THE_SCALE = ("bootstrap", "wilcoxon", "permutation")  # methods in the unit of the ratings


def cells(figure: Figure | None, say: Words) -> tuple[str, str, str]:
    """A figure for a table: its value, its interval or why there is none, and its n."""
    if figure is None:
        return "", say("nothing to measure"), "0"
    value, n = say.number(figure.value, 3), say.count(figure.n)
    if figure.low is None or figure.high is None:
        return value, say(figure.why or "unknown"), n
    return value, say.span(figure.low, figure.high, 3), n


def heading(metric: str, say: Words) -> tuple[str, str]:
    """A metric's name; and its unit, and which way is better."""
    known = METRICS.get(metric)
    if known is None:
        return say.metric(metric), ""
    way = say(f"better_{known.better if known.target is None else 'target'}", target=say.number(known.target or 0, 0))
    return say.metric(metric), f"{say.unit(known.unit)} · {way}" if known.unit else way


def figures(row: dict[str, Figure | None], say: Words) -> list[tuple[str, str, str, str, bool]]:
    """A metric's rows: name, value, interval, n, and whether there is an interval."""
    return [(say.row(name), *cells(one, say), bool(one and one.low is not None)) for name, one in row.items()]


# ---------------------------------------------------------------- a listening test


def listening(found: Findings, say: Words) -> dict[str, Any]:
    """Everything that the page shows of a test."""
    means = {one.system: one.mean for one in found.heard}
    strengths = {
        name: Figure(value, low, high, found.n, found.listeners, found.no_strengths)
        for name, (value, low, high) in found.strengths.items()
    }
    drawn = [plots.intervals(say("mean_rating"), means, None, say.row, from_zero=False)] if means else []
    if strengths:
        drawn.append(plots.intervals(say("strengths"), strengths, 0.0, say.row, from_zero=False))
    return {
        "method": say(f"method_{found.method}"),
        "interval": say("interval", level=say.level(found.alpha)),
        "plots": drawn,
        "spread": [spread(one, say) for one in found.heard],
        "lowest": 0 if found.method.startswith("mushra") else 1,
        "width": 100 if found.method.startswith("mushra") else 5,
        "no_strengths": say("no_strengths", why=say(found.no_strengths)) if found.no_strengths else None,
        "matrix": matrix(found, say),
        "differences": differences(found, say),
        "confirmed": [confirmation(one, found, say) for one in found.confirmations],
        "notes": notes(found, say),
    }


def differences(found: Findings, say: Words) -> list[dict[str, Any]]:
    rows = []
    if found.primary:
        rows.append(_difference(found.primary, found, say) | {"note": say("primary")})
    if found.everybody:
        rows.append(_difference(found.everybody, found, say) | {"note": say("everybody")})
    if found.strangers:
        rows.append(_difference(found.strangers, found, say) | {"note": say("strangers")})
    return rows + [_difference(one, found, say) | {"note": ""} for one in found.others]


def _difference(one: Difference, found: Findings, say: Words) -> dict[str, Any]:
    scale, digits = measure(found.method)
    known = one.low is not None
    return {
        "name": say.pair(one.first, one.second),
        "value": say.number(one.value * scale, digits, sign=True),
        "span": say.span(one.low, one.high, digits, scale) if known else say(one.why or "unknown"),
        "p": say.chance(one.p),
        "holm": say.chance(one.p_holm),
        "n": say.count(one.n),
        "sure": one.winner is not None,
    }


def confirmation(one: Confirmation, found: Findings, say: Words) -> tuple[str, str, str, str]:
    """Method, value with interval, p, and what it says."""
    scale, digits = measure(found.method) if one.method in _ON_THE_SCALE else (1, 2)
    value = "" if one.value is None else say.number(one.value * scale, digits, sign=True)
    if one.low is not None:
        span = say.span(one.low, one.high, digits, scale)
        value = say("with_interval", value=value, span=span, level=say.level(found.alpha))
    primary = found.primary
    if one.sign is None or primary is None:
        says = f"{say('says_nothing')}: {say(one.why or 'unknown')}"
    else:
        says = (say("says_neither"), say.system(primary.first), say.system(primary.second))[one.sign]
    return say(f"method_{one.method}"), value, say.chance(one.p), says


def spread(one: Any, say: Words) -> dict[str, Any]:
    """A system's ratings as parts of a bar."""
    counts = one.spread.counts
    return {
        "name": say.system(one.system),
        "parts": [
            (step, 100 * count / one.spread.n, int(float(step)) if len(counts) else 0)
            for step, count in counts.items()
        ],
        "n": say.count(one.spread.n),
        "median": say(
            "median",
            value=say.number(one.spread.median, 1),
            span=say.span(one.spread.low_quartile, one.spread.high_quartile, 1),
        ),
        "two": say("two_opinions") if one.spread.two_opinions else "",
    }


def matrix(found: Findings, say: Words) -> dict[str, Any] | None:
    """Who was preferred to whom, of 100; with how strongly to tint a cell, -1 to 1."""
    names = list(found.matrix)
    if not names:
        return None
    rows = []
    for row in names:
        line: list[Any] = []
        for column in names:
            counts = found.matrix[row].get(column)
            if counts is None or not sum(counts):
                line.append(None)
                continue
            won, tied, lost = (100 * count / sum(counts) for count in counts)
            line.append((say.number(won, 0), say.number(tied, 0), say.count(sum(counts)), (won - lost) / 100))
        rows.append((say.system(row), line))
    return {"columns": [say.system(name) for name in names], "rows": rows}


def notes(found: Findings, say: Words) -> list[str]:
    """What belongs to a test beside its differences."""
    scale, digits = measure(found.method)
    said = []
    if found.equivalence:
        same = found.equivalence
        values = {
            "margin": plain(same.margin, found.method, say),
            "span": say.span(same.low, same.high, digits, scale),
            "level": say.level(2 * found.alpha),
        }
        said.append(say("equivalence", verdict=say("answer_yes" if same.equivalent else "answer_no"), **values))
    if found.detectable:
        said.append(say("detectable", value=plain(found.detectable, found.method, say)))
    if found.effect:
        key = "order_effect" if found.heard else "side_effect"
        moved = say.number(found.effect.value * scale, digits, sign=True)
        said.append(say(key, value=moved, span=say.span(found.effect.low, found.effect.high, digits, scale)))
    if found.any_time:
        span = say.span(found.any_time.low, found.any_time.high, digits, scale)
        said.append(say("any_time", span=span, may=say("answer_yes" if found.any_time.may_stop else "answer_no")))
    if found.agreement:
        told = {k: say.number(v, 2) if isinstance(v, float) else say(v) for k, v in found.agreement.items()}
        said.append(say("agreement", **told))
    if found.friedman:
        test = found.friedman
        values = {"statistic": say.number(test.statistic, 1), "p": say.chance(test.p), "n": say.count(test.n)}
        said.append(say("friedman", **values))
    if found.known:
        said.append(say("known_voices", n=say.count(found.known)))
    if found.blinding:
        value, low, high = found.blinding
        said.append(say("blinding", value=say.number(value), span=say.span(low, high)))
    if found.variances:
        parts = (f"{say(f'v_{name}')} {say.number(one, 3)}" for name, one in found.variances.items())
        said.append(say("variances", parts=" · ".join(parts)))
    return said


# ---------------------------------------------------------------- groups and gates


def bias(table: Bias, say: Words) -> dict[str, Any]:
    """A heat map: a row a group, a column a system; cells hold value, gap with interval, tint and mark."""
    systems = list(dict.fromkeys(gap.system for gap in table.gaps))
    most = max((abs(gap.gap) for gap in table.gaps if gap.gap is not None), default=0.0) or 1.0
    factors: dict[str, dict[str, Any]] = {}
    for gap in table.gaps:
        factor = factors.setdefault(say.factor(gap.kind, gap.factor), {"rows": {}, "hidden": set()})
        if gap.hidden:
            factor["hidden"].add(gap.group)
            continue
        row = factor["rows"].setdefault(
            gap.group, {"group": say.group(gap), "people": say.count(gap.people), "cells": {}}
        )
        row["cells"][gap.system] = _cell(gap, most, *gap_measure(table), say)
    for factor in factors.values():
        factor["rows"] = [
            row | {"cells": [row["cells"].get(name) for name in systems]} for row in factor["rows"].values()
        ]
        counts = {"n": say.count(table.min_cell), "count": say.count(len(factor["hidden"]))}
        factor["hidden"] = say("not_shown_groups", **counts) if factor["hidden"] else ""
    return {
        "title": say(f"bias_{table.metric}"),
        "systems": [say.system(name) for name in systems],
        "factors": factors,
    }


def _cell(gap: Gap, most: float, scale: float, digits: int, say: Words) -> dict[str, Any]:
    known = gap.gap is not None
    return {
        "value": say.number((gap.value or 0) * scale, digits),
        "gap": say.number((gap.gap or 0) * scale, digits, sign=True) if known else "",
        "span": say.span(gap.low, gap.high, digits, scale) if gap.low is not None else "",
        "pooled": say.number(gap.shrunken * scale, digits, sign=True) if gap.shrunken is not None else "",
        "tint": round((gap.worse or 0) / most, 2),
        "mark": {"worse": "▲", "better": "▼", None: ""}[gap.surely],
    }


def gate(one: Gate, say: Words) -> dict[str, str]:
    span = say.span(one.low, one.high, 3) if one.low is not None else ""
    found = say("unknown") if one.found is None else f"{say.number(one.found, 3)} {f'({span})' if span else ''}"
    about = f" ({say.factor(one.about.kind, one.about.factor)}: {say.group(one.about)})" if one.about else ""
    return {
        "asked": f"{say(f'gate_{one.key}')} {say.number(one.asked, 3)}",
        "found": found + about,
        "verdict": say(f"verdict_{one.verdict}"),
        "kind": one.verdict.split()[0],
    }


# ---------------------------------------------------------------- how this was done


def done(found: Contents, say: Words) -> list[tuple[str, list[str]]]:
    """What has to be reported of any evaluation, whoever asks."""
    recipe, test = found.recipe, found.main
    systems = list(dict.fromkeys(str(one.system) for one in found.results.measured))
    source = say.isolated(recipe.evaluate.sentences.name) if recipe.evaluate.sentences else say("f_test_split")
    items = say("f_items_text", n=say.count(found.results.items), source=source, seed=say.isolated(str(recipe.seed)))
    reasons = [
        say("left_out", count=say.count(count), reason=say(reason))
        for reason, count in found.results.left_out.items()
    ]
    rows = [
        (say("f_systems"), [", ".join(say.system(name) for name in systems)]),
        (say("f_items"), [items, *reasons]),
    ]
    if not recipe.train.recognises:
        rows.append((say("f_sound"), [say("f_sound_text", lufs=say.number(recipe.evaluate.loudness_lufs, 1))]))
    if test:
        rows += _listened(found, test, say)
    if found.heard.earlier:
        rows.append((say("f_missing"), [say("f_earlier", n=say.count(found.heard.earlier))]))
    return rows


def _listened(found: Contents, test: Findings, say: Words) -> list[tuple[str, list[str]]]:
    fewest = found.recipe.evaluate.gates.min_cell
    gone = sum(test.excluded.values())
    counts = {"began": say.count(found.heard.listeners), "counted": say.count(test.listeners)}
    per = {
        "n": say.count(test.n),
        "listener": say.number(test.n / max(1, test.listeners), 1),
        "item": say.number(test.n / max(1, test.items), 1),
    }
    excluded = [f"{say(reason)}: {say.count(count)}" for reason, count in test.excluded.items()]
    return [
        (say("f_scale"), [say(f"method_{one.method}") for one in found.tests]),
        (say("f_listeners"), [say("f_listeners_text", **counts)]),
        (say("f_excluded"), excluded if gone else [say("none")]),
        (say("f_told"), _counts(test.facts, fewest, say, test.listeners) or [say("none")]),
        (say("f_checks"), _counts(test.checks, fewest, say) or [say("none")]),
        (say("f_per"), [say("f_per_text", **per)]),
        (say("f_order"), [say("f_order_text", seed=say.isolated(str(found.recipe.seed)))]),
        (say("f_plan"), [say.isolated(test.plan_hash) if test.plan_hash else say("f_no_plan")]),
        (say("f_model"), [say("differences_note")]),
        (say("f_missing"), [say("f_missing_text")]),
        *stated.rows(found.recipe, found.heard, test, fewest, say),
    ]


def _counts(table: dict[str, dict[str, int]], fewest: int, say: Words, people: int | None = None) -> list[str]:
    """How many of each, but for numbers that tell of few people. `people`: all of them, where some said nothing."""
    said = []
    for name, counts in table.items():
        told = disclosed(counts, sum(counts.values()) if people is None else people, fewest)
        parts = (f"{say.isolated(value)} {stated.number(told[value], counts[value], fewest, say)}" for value in told)
        said.append(f"{say.isolated(name)}: {' · '.join(parts)}")
    return said


def made_from(found: Contents, say: Words) -> list[tuple[str, str]]:
    line = found.lineage
    versions = ", ".join(f"{name} {version}" for name, version in line.versions.items())
    rows = {
        "f_base": line.base or say("from_configuration"),
        "f_revision": line.base_revision or line.base_hash,
        "f_clips": line.clips,
        "f_recipe": line.recipe,
        "f_code": line.code,
        "f_seed": str(line.seed),
        "f_packages": versions,
    }
    return [(say(key), value or "") for key, value in rows.items()]
