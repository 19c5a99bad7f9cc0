"""The ratings that a report is made from, as far as they may be read."""

from dataclasses import dataclass, field
from typing import Literal

from evaluate import stimuli
from evaluate.answers import Answer, Answers
from evaluate.ratings import Comparison, Person, Ratings, Score
from recipes.schema import Recipe

_PRIMARY = ("adapter", "base")


@dataclass(frozen=True)
class Heard:
    """The listening test as it stands. Sealed: there are answers, and nobody knows which system is which."""

    state: Literal["none", "sealed", "open"]
    ratings: list[Ratings] = field(default_factory=list)
    listeners: int = 0
    answers: int = 0
    earlier: int = 0  # answers to other renderings


def heard(recipe: Recipe) -> Heard:
    """What people said of this recipe's systems."""
    if recipe.train.recognises or not (recipe.folder("evaluate") / "answers.sqlite").is_file():
        return Heard("none")
    kept = Answers(recipe, stimuli.name_of_test(stimuli.read(recipe)))
    try:
        answers, earlier = kept.all(), kept.of_other_tests()
    finally:
        kept.close()
    found = [one for one in (scores(answers), comparisons(answers)) if one]
    listeners = len({answer.listener for answer in answers})
    return Heard("open" if found else "none", found, listeners, len(answers), earlier)


def scores(answers: list[Answer]) -> Ratings | None:
    """Each clip's rating by itself, where there are any."""
    rows = [
        Score(one.listener, one.item, system, float(score), one.number, one.systems.index(system))
        for one in answers
        for system, score in one.ratings.items()
    ]
    return Ratings("acr", rows, [], _people(answers), _PRIMARY) if rows else None


def comparisons(answers: list[Answer]) -> Ratings | None:
    """Which of two was preferred, where that was asked."""
    rows = []
    for one in answers:
        if one.preferred and len(one.systems) == 2:
            first, second = one.systems
            score = {first: -1.0, second: 1.0}.get(one.preferred, 0.0)
            rows.append(Comparison(one.listener, one.item, first, second, score, one.number))
    return Ratings("preference", [], rows, _people(answers), _PRIMARY) if rows else None


def _people(answers: list[Answer]) -> list[Person]:
    return [Person(name) for name in dict.fromkeys(one.listener for one in answers)]
