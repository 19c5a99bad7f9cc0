"""How many listeners and sentences a test needs, and its plan: `python -m evaluate.plan RECIPE [freeze]`.

Prints what the test will be able to tell. With `freeze` the plan is written down with its SHA-256, and the key sealed
under it, before anyone listens: the question, who is excluded, the statistics, the design, the clips.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from typing import Any

from evaluate import answers, blind, design, power, seal
from evaluate.power import Variances
from evaluate.ratings import Method
from recipes.command import next_command, run
from recipes.provenance import write_text
from recipes.schema import Listen, Recipe, UserError

_QUESTIONS: dict[Method, str] = {
    "acr": "Is the mean rating of naturalness (1 to 5) of {} another than that of {}?",
    "preference": "Is {} preferred to {} more, or less, often than half of the time?",
    "cmos": "Is {} more, or less, natural than {}: is the mean comparison (-3 to 3) another than 0?",
    "abx": "Can listeners tell {} from {} more often than half of the time?",
    "mushra": "Is the mean rating (0 to 100, against the named reference) of {} another than that of {}?",
    "mushra_nr": "Is the mean rating of naturalness (0 to 100) of {} another than that of {}?",
}
_STATISTICS = {
    "primary": "crossed mixed model with listeners, sentences and their interactions with the system as random; one "
    "comparison, two-sided",
    "confirmed by": "bootstrap over listeners and sentences; where the two disagree both are reported, as not robust",
    "other comparisons": "all together, by Holm's correction, at the same alpha",
    "stopping": "at the planned number of listeners; nobody sees a rating by system before the key is unsealed",
    "missing": "a clip that could not be played has no rating; nothing is put in its place",
    "exclusions": "results with and without them",
}
_RULES = {
    "comprehension": f"fewer than {answers.COMPREHENDED:.0%} of the comprehension questions right",
    "traps": "more than half of the spoken traps missed",
    "gold": "more than half of the destroyed clips taken for good ones",
    "straight_lining": "variance of all ratings below 0.1, from 8 ratings on",
    "screening": "the screening service said fail",
}


@dataclass(frozen=True)
class Figures:
    """What the planned test can tell."""

    listeners: int
    sentences: int  # that a listener rates, in all
    trials: int  # of the primary comparison, of one listener
    difference: float  # to be found
    power: float  # to find it
    smallest: float | None  # that is found with the power wanted; None: none is
    needed: int | None  # listeners, for the difference wanted; None: no number of them is enough
    needed_sentences: int | None  # that a listener rates, in all, with the planned listeners
    most_sentences: int  # that a listener may rate within evaluate.listen.ratings
    variances: Variances


def main(recipe: Recipe, arguments: argparse.Namespace) -> None:
    there = blind.current(recipe, pilot=True)
    found = figures(recipe, there)
    tell(recipe, found)
    if arguments.action == "freeze":
        frozen, new = freeze(recipe, found)
        print(f"{'frozen' if new else 'frozen already'}: {blind.plan_file(recipe)}")
        print(f"  SHA-256 of the plan: {frozen['sha256']}")
        print(f"  SHA-256 of the key:  {frozen['plan']['key_sha256']}")
        print("publish both before anyone listens (a preregistration, a signed e-mail to a third person)")
        print(next_command("evaluate.listen"))
    else:
        print(next_command("evaluate.plan", "to freeze it", "freeze"))


def figures(recipe: Recipe, there: blind.Blind) -> Figures:
    """What the test can tell, from the pilot's variances where one was unsealed, else the assumed ones."""
    asked, planned, shape = recipe.evaluate.listen, recipe.evaluate.plan, there.shape
    variances = variances_of(recipe)
    share, cycle = primary_share(shape), design.cycle(shape)
    wanted = planned.difference or power.USUAL_DIFFERENCE[asked.method]

    def chance(listeners: int, sentences: int, difference: float) -> float:
        """With so many sentences each: listeners of one cycle hear the same, the next cycle others."""
        heard = min(max(sentences, len(shape.items)), -(-listeners // cycle) * sentences)
        trials = sentences // shape.symbols * share
        return power.power(asked.method, listeners, trials, heard, difference, variances, planned.alpha)

    people, each = planned.listeners, shape.trials
    rounds = power.fewest(lambda count: chance(people, count * shape.symbols, wanted), planned.power)
    return Figures(
        people,
        each,
        each // shape.symbols * share,
        wanted,
        chance(people, each, wanted),
        power.smallest(lambda difference: chance(people, each, difference), asked.method, planned.power),
        power.fewest(lambda listeners: chance(listeners, each, wanted), planned.power),
        rounds and rounds * shape.symbols,
        most_sentences(shape, asked.ratings),
        variances,
    )


def primary_share(shape: design.Shape) -> int:
    """How many of a listener's trials are of the primary pair, of as many as there are symbols."""
    return max((shape.pairs.count(pair) for pair in shape.pairs), default=1)


def most_sentences(shape: design.Shape, ratings: int) -> int:
    """How many sentences a listener may rate, when there is time for them."""
    sliders = shape.method in design.SLIDERS
    pages = ratings // (len(shape.systems) if sliders else 1) - shape.repeats - shape.gold - shape.traps
    return pages // shape.symbols * shape.symbols


def variances_of(recipe: Recipe) -> Variances:
    """Those of the recipe, else those of the unsealed pilot, else the assumed ones."""
    planned, method = recipe.evaluate.plan, recipe.evaluate.listen.method
    found = power.ASSUMED[method]
    name = blind.name_of(recipe, blind.clips(recipe), "pilot")
    if seal.unsealings(recipe, name):
        found = power.estimated(answers.of_test(recipe, name, None)) or found
    given = {
        part: value
        for part in ("listener", "item", "residual")
        if (value := getattr(planned, f"variance_{part}")) is not None
    }
    return Variances(**{**asdict(found), **given, "source": "the recipe"}) if given else found


def tell(recipe: Recipe, found: Figures) -> None:
    """The figures, in words."""
    planned, method = recipe.evaluate.plan, recipe.evaluate.listen.method
    unit = power.UNIT[method]
    print(
        f"{method}: {found.listeners} listeners, {found.sentences} sentences each, {found.trials} for the comparison"
    )
    spread = found.variances
    print(f"variances ({spread.source}): listener {spread.listener:.3g}, ", end="")
    print(f"sentence {spread.item:.3g}, residual {spread.residual:.3g}")
    print(f"a difference of {found.difference:g} {unit} is found with power {found.power:.2f}")
    if found.smallest is None:
        print(f"no difference is found with power {planned.power:g}")
    else:
        print(f"smallest difference found with power {planned.power:g}: {found.smallest:.2g} {unit}")
    enough = f"{found.needed} listeners" if found.needed else "no number of listeners is enough: more sentences"
    print(f"needed for {found.difference:g} {unit}: {enough}", end="")
    if found.needed_sentences and found.needed_sentences > found.most_sentences:
        print(f"; or {found.needed_sentences} sentences each, and a listener rates {found.most_sentences} at most")
    else:
        print(f"; or {found.needed_sentences} sentences each" if found.needed_sentences else "")


# ---------------------------------------------------------------- the frozen plan


def freeze(recipe: Recipe, found: Figures) -> tuple[dict[str, Any], bool]:
    """Write the plan and seal the key under it. The same plan again changes nothing. And whether it is new.

    Raises UserError while another plan's test runs.
    """
    clips = blind.clips(recipe)
    name = blind.name_of(recipe, clips, "plan")
    before = blind.plan(recipe)
    if before is not None and before["plan"]["test"] == name:
        return before, False
    if before is not None and (there := answers.collected(recipe)).answers and there.sealed:
        raise UserError(
            f"{there.listeners} listeners have answered under the frozen plan: unseal that test first "
            "(python -m evaluate.unseal), or plan in another work_dir"
        )
    key = seal.new_key(clips)
    plan = content(recipe, found, name, key.commitment)
    frozen = {"plan": plan, "sha256": blind.plan_hash(plan), "frozen": seal.now()}
    text = json.dumps(frozen, ensure_ascii=False, indent=1)
    place = seal.folder(recipe, name) / "plan.json"
    if place.is_file():  # it was frozen before another one
        text = place.read_text(encoding="utf-8")
    else:
        seal.seal(recipe, name, key, str(frozen["sha256"]))
        write_text(place, text)
    write_text(blind.plan_file(recipe), text)
    found_plan: dict[str, Any] = json.loads(text)
    return found_plan, True


def content(recipe: Recipe, found: Figures, name: str, key_sha256: str) -> dict[str, Any]:
    """Everything that is settled before anyone listens."""
    from evaluate import stimuli
    from evaluate.findings.shared import MARGIN

    asked, clips = recipe.evaluate.listen, blind.clips(recipe)
    systems = sorted({clip.system for clip in clips})
    first, second = _primary(asked, systems)
    return {
        "version": 1,
        "test": name,
        "method": asked.method,
        "question": _QUESTIONS[asked.method].format(first, second),
        "primary": [first, second],
        "systems": systems,
        "sentences": len({clip.item for clip in clips}),
        "clips_sha256": stimuli.name_of_test(clips),
        "design_seed_sha256": blind.plan_hash({"seed": blind.design_seed(recipe)}),
        "key_sha256": key_sha256,
        "settings": blind.settings(recipe),
        "exclusions": {rule: _RULES[rule] for rule in asked.exclude},
        "statistics": _STATISTICS,
        "alpha": recipe.evaluate.plan.alpha,
        "margin": recipe.evaluate.plan.margin or MARGIN[asked.method],
        "figures": json.loads(json.dumps(asdict(found))),
    }


def _primary(asked: Listen, systems: list[str]) -> tuple[str, str]:
    return blind.primary(asked, seal.Key({system: system for system in systems}, {}, ""))


if __name__ == "__main__":
    run(main, __doc__ or "", actions=("freeze",), optional=True)
