"""The ratings that a report is made from, as far as they may be read."""

from dataclasses import dataclass, field
from typing import Literal

from evaluate import blind
from evaluate.answers import collected, ratings
from evaluate.ratings import Ratings
from recipes.schema import Recipe, UserError


@dataclass(frozen=True)
class Heard:
    """The listening test as it stands. Sealed: there are answers, and nobody knows which system is which."""

    state: Literal["none", "sealed", "open"]
    ratings: list[Ratings] = field(default_factory=list)
    listeners: int = 0
    answers: int = 0
    earlier: int = 0  # answers to other renderings, other settings, or pilots
    days: tuple[str, str] | None = None  # on which answers came, the first and the last


def heard(recipe: Recipe) -> Heard:
    """What people said of this recipe's systems; by system only once python -m evaluate.unseal opened the key.

    Answers under a frozen plan of other clips say nothing of these. Raises UserError when the frozen plan, or the
    key, is not as it was, or the recipe's listening test not as it was frozen.
    """
    if recipe.train.recognises:
        return Heard("none")
    try:
        clips = blind.clips(recipe)
    except UserError:  # there are none
        return Heard("none")
    there, frozen = collected(recipe), blind.plan(recipe)
    if frozen and not blind.of_these_clips(frozen, clips):
        return Heard("none", earlier=there.answers + there.elsewhere)
    if not there.answers:
        return Heard("none", earlier=there.elsewhere)
    if there.sealed:
        return Heard("sealed", [], there.listeners, there.answers, there.elsewhere, there.days)
    return Heard("open", [ratings(recipe)], there.listeners, there.answers, there.elsewhere, there.days)
