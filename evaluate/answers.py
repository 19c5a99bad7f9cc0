"""From answers under codes to ratings by system, once a test is unsealed; and what listeners' checks came to."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import pvariance

from evaluate import blind, design, seal
from evaluate.panel import Answer, Listener, Panel, are_there
from evaluate.ratings import Comparison, Method, Person, Ratings, Score
from evaluate.seal import Key, Sealed
from recipes.schema import Listen, Recipe

COMPREHENDED = 0.8  # share of the comprehension questions
HEADPHONES = 5  # of six tones; chance gives it to 18 of 1,000 (Woods et al. 2017)
_STRAIGHT = 0.1  # variance of ratings below which somebody always answered the same (ITU-T P.808's toolkit)
_SEVERAL = 8  # ratings needed to tell
_SAME = {"acr": 1, "cmos": 1, "preference": 0, "abx": 0, "mushra": 20, "mushra_nr": 20}  # of a repeat, apart


@dataclass(frozen=True)
class Collected:
    """How far a test is: nothing here tells systems apart."""

    listeners: int
    answers: int  # that count as ratings
    sealed: bool
    plan_hash: str | None
    elsewhere: int = 0  # answers to other tests: of other clips, other settings, or pilots
    days: tuple[str, str] | None = None  # on which answers came, the first and the last


NOBODY = Collected(0, 0, True, None)


def collected(recipe: Recipe) -> Collected:
    """How many have answered the recipe's test, and whether it is sealed. Raises UserError as `blind.clips` does."""
    name, plan = blind.test_of_results(recipe)
    if seal.commitment(recipe, name) is None or not are_there(recipe):
        return Collected(0, 0, True, plan)
    panel = Panel(recipe, name)
    try:
        rows = [row for row in panel.all() if row.kind == "scored" and row.value]
        elsewhere, days = panel.of_other_tests(), panel.days()
    finally:
        panel.close()
    listeners = {row.listener for row in rows}
    return Collected(len(listeners), len(rows), not seal.unsealings(recipe, name), plan, elsewhere, days)


def ratings(recipe: Recipe) -> Ratings:
    """The ratings by system. Raises Sealed before `python -m evaluate.unseal` was run."""
    there = collected(recipe)
    if there.sealed:
        raise Sealed(
            f"the listening test is sealed ({there.listeners} listeners, {there.answers} answers); "
            "once it is over: python -m evaluate.unseal RECIPE"
        )
    return of_test(recipe, *blind.test_of_results(recipe))


def of_test(recipe: Recipe, name: str, plan: str | None) -> Ratings:
    """The ratings of one test, by its name. For tests that were unsealed.

    Raises UserError where the recipe is no longer the plan's: what is compared, and who counts, was settled before.
    """
    frozen = blind.plan(recipe) if plan else None
    if frozen:
        blind.refuse_other(recipe, frozen)
    panel = Panel(recipe, name)
    try:
        found = unsealed(recipe.evaluate.listen, seal.open_key(recipe, name), panel.listeners(), panel.all(), plan)
    finally:
        panel.close()
    if frozen is None:
        return found
    return replace(found, margin=frozen["plan"].get("margin"), alpha=frozen["plan"].get("alpha", found.alpha))


def unsealed(
    asked: Listen, key: Key, listeners: Sequence[Listener], answers: Sequence[Answer], plan: str | None
) -> Ratings:
    """Codes turned into systems. Trials that could not be played have no rating."""
    rows: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        rows[answer.listener].append(answer)
    scores: list[Score] = []
    comparisons: list[Comparison] = []
    for given in rows.values():
        trials = [answer for answer in given if answer.kind in ("scored", "repeat", "gold", "trap")]
        for position, answer in enumerate(trials, 1):
            if answer.kind == "scored" and answer.value:
                scores += _scores(asked.method, answer, key.systems, position)
                comparisons += _comparisons(asked.method, answer, key.systems, position)
    people = [_person(asked, key, listener, rows[listener.name]) for listener in listeners]
    return Ratings(asked.method, scores, comparisons, people, blind.primary(asked, key), plan, asked.reference)


def _scores(method: Method, answer: Answer, systems: Mapping[str, str], position: int) -> list[Score]:
    if method in design.PAIRED:
        return []
    return [
        Score(answer.listener, answer.item, systems[code], float(value), position, slot, answer.known)
        for slot, (code, value) in enumerate(zip(answer.systems, answer.value, strict=True))
    ]


def _comparisons(method: Method, answer: Answer, systems: Mapping[str, str], position: int) -> list[Comparison]:
    if method not in design.PAIRED:
        return []
    first, second = (systems[code] for code in answer.systems[:2])
    score = float(bool(answer.right)) if method == "abx" else float(answer.value[0])
    return [Comparison(answer.listener, answer.item, first, second, score, position, answer.known)]


# ---------------------------------------------------------------- checks


def _person(asked: Listen, key: Key, listener: Listener, answers: Sequence[Answer]) -> Person:
    found = checks(asked.method, listener, answers) | _guess(asked, key, answers)
    excluded = next((rule for rule in asked.exclude if found.get(rule) == "fail"), None)
    facts = {key: value for key, value in listener.facts.items() if value}
    facts["pages"] = listener.language
    if known := sum(answer.known for answer in answers if answer.kind == "scored"):
        facts["knew_the_voice"] = str(known)
    return Person(listener.name, facts, found, excluded)


def _guess(asked: Listen, key: Key, answers: Sequence[Answer]) -> dict[str, str]:
    """What the closing question came to, which only the key tells.

    `not_run`: "I cannot tell". Whoever skipped it, or did not come so far, has no such check.
    """
    given = next((answer for answer in answers if answer.kind == "guess" and answer.value), None)
    wanted = blind.guessed(asked, key)
    if given is None or wanted is None:
        return {}
    if given.value[0] == 0:
        return {"guess": "not_run"}
    named = key.systems[given.systems[0 if given.value[0] < 0 else 1]]
    return {"guess": "pass" if named == wanted[0] else "fail"}


def checks(method: Method, listener: Listener, answers: Sequence[Answer]) -> dict[str, str]:
    """Each check of a listener: pass, fail, not_run (also where it was skipped), or error."""
    by_kind: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_kind[answer.kind].append(answer)
    found = {
        "comprehension": _share(by_kind["comprehension"], COMPREHENDED),
        "headphones": _share(by_kind["headphones"], HEADPHONES / 6),
        "traps": _share(by_kind["trap"], 0.5),
        "gold": _share(by_kind["gold"], 0.5),
        "repeats": _repeats(method, by_kind),
        "straight_lining": _straight(method, by_kind["scored"]),
        "screening": listener.screening,
    }
    for variety in sorted({answer.item for answer in by_kind["comprehension"]}):
        rows = [answer for answer in by_kind["comprehension"] if answer.item == variety]
        found[f"comprehension {variety}"] = _share(rows, COMPREHENDED)
    return found


def _share(answers: Sequence[Answer], needed: float) -> str:
    """Whether enough answers are right; one that was skipped, or could not be played, is none."""
    given = [bool(answer.right) for answer in answers if answer.right is not None]
    if not given:
        return "not_run"
    return "pass" if sum(given) >= needed * len(given) - 1e-9 else "fail"


def _repeats(method: Method, by_kind: Mapping[str, Sequence[Answer]]) -> str:
    first = {(answer.item, *answer.systems): answer.value for answer in by_kind.get("scored", ())}
    apart = []
    for answer in by_kind.get("repeat", ()):
        before = first.get((answer.item, *answer.systems))
        if before and answer.value:
            apart.append(sum(abs(a - b) for a, b in zip(before, answer.value, strict=True)) / len(before))
    if not apart:
        return "not_run"
    return "pass" if sum(apart) / len(apart) <= _SAME[method] else "fail"


def _straight(method: Method, scored: Sequence[Answer]) -> str:
    values = [value for answer in scored for value in answer.value]
    if len(values) < _SEVERAL or method == "abx":
        return "not_run"
    return "fail" if pvariance(values) < _STRAIGHT else "pass"
