"""Simulated listeners whose true opinion is known."""

from collections.abc import Sequence

import numpy as np

from evaluate.ratings import Comparison, Person, Ratings, Score

SYSTEMS = ("adapter", "base", "recordings")
# Variances of ratings on a scale of 1 to 5, as tests of synthetic voices find them.
LISTENER, ITEM, LISTENER_SYSTEM, ITEM_SYSTEM, REST = 0.30, 0.10, 0.08, 0.08, 0.50


def rated(
    listeners: int,
    items: int,
    means: Sequence[float] = (0.5, 0.0, 1.2),
    seed: int = 1,
    everything: bool = False,
    rounded: bool = True,
) -> Ratings:
    """Ratings of clips. `means`: of the systems, around 3; unless `everything`, a listener hears a sentence once."""
    draw = np.random.default_rng(seed)
    who, what = draw.normal(0, LISTENER**0.5, listeners), draw.normal(0, ITEM**0.5, items)
    tastes = draw.normal(0, LISTENER_SYSTEM**0.5, (listeners, len(means)))
    fits = draw.normal(0, ITEM_SYSTEM**0.5, (items, len(means)))
    rows = []
    for listener in range(listeners):
        for position, item in enumerate(draw.permutation(items).tolist()):
            for system in range(len(means)):
                if not everything and (listener + item) % len(means) != system:
                    continue
                score = 3 + means[system] + who[listener] + what[item] + tastes[listener, system] + fits[item, system]
                score += draw.normal(0, REST**0.5)
                given = float(np.clip(np.round(score), 1, 5)) if rounded else float(score)
                rows.append(Score(f"l{listener:04}", f"i{item:03}", SYSTEMS[system], given, position + 1))
    return Ratings("acr", rows, [], people(listeners), ("adapter", "base"))


def compared(
    listeners: int,
    items: int,
    strengths: Sequence[float] = (0.4, 0.0, 1.2),
    side: float = 0.0,
    spread: float = 0.5,
    seed: int = 1,
) -> Ratings:
    """Preferences between two of the systems; `side`: log odds for what is heard second; `spread`: of tastes."""
    draw = np.random.default_rng(seed)
    tastes = draw.normal(0, spread, (listeners, len(strengths)))
    fits = draw.normal(0, spread, (items, len(strengths)))
    rows = []
    for listener in range(listeners):
        for position, item in enumerate(draw.permutation(items).tolist()):
            a, b = draw.permutation(len(strengths))[:2].tolist()
            of = np.asarray(strengths) + tastes[listener] + fits[item]
            apart = of[b] - of[a] + side + draw.logistic()
            score = 0.0 if abs(apart) < 0.3 else float(np.sign(apart))
            rows.append(Comparison(f"l{listener:04}", f"i{item:03}", SYSTEMS[a], SYSTEMS[b], score, position + 1))
    return Ratings("preference", [], rows, people(listeners), ("adapter", "base"))


def people(listeners: int) -> list[Person]:
    """Half of them women, a third from Sous, a quarter young."""
    return [
        Person(
            f"l{one:04}",
            {
                "gender": ("female", "male")[one % 2],
                "varieties": ("Sous", "Rif", "Atlas")[one % 3],
                "age_band": ("18-29", "30-44", "45-59", "60+")[one % 4],
            },
            {"comprehension": "pass", "headphones": ("pass", "fail", "not_run")[one % 3]},
        )
        for one in range(listeners)
    ]
