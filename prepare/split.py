"""Which utterances train, validate and test: by hash, so that nothing depends on order or chance."""

import hashlib
from collections.abc import Iterable

from recipes.records import Split
from recipes.schema import SplitBy, UserError


def assign(groups: Iterable[str], settings: SplitBy, seed: int) -> dict[str, Split]:
    """The split of each group: a speaker, or a normalised sentence. Repeats and order do not matter.

    By threshold, a group's split depends on its name and the seed alone, so it stays where it is when
    others come or go; shares are then only near those asked for. With `exact`, groups in hash order
    are dealt out in exact shares (rounded, at least one each), and some may move when clips are added.
    Raises UserError for shares that cannot be had.
    """
    names = sorted(set(groups), key=lambda name: (_fraction(name, seed), name))
    _check_possible(len(names), settings)
    if settings.exact:
        return _dealt(names, settings)
    found = {name: _by_threshold(_fraction(name, seed), settings) for name in names}
    _check_filled(found, settings)
    return found


def _by_threshold(fraction: float, settings: SplitBy) -> Split:
    if fraction < settings.test:
        return "test"
    return "valid" if fraction < settings.test + settings.valid else "train"


def _dealt(names: list[str], settings: SplitBy) -> dict[str, Split]:
    shares = settings.test, settings.valid
    test, valid = (max(1, round(len(names) * share)) if share else 0 for share in shares)
    if test + valid >= len(names):
        raise UserError(
            f"prepare.split: {len(names)} {_plural(settings)} give {test} to test and {valid} to valid, "
            "which leaves none to train on: ask for smaller shares"
        )
    return {
        name: "test" if place < test else "valid" if place < test + valid else "train"
        for place, name in enumerate(names)
    }


def _check_possible(count: int, settings: SplitBy) -> None:
    if settings.test + settings.valid >= 1:
        raise UserError("prepare.split: valid and test together leave nothing to train on: lower them")
    wanted = 1 + (settings.test > 0) + (settings.valid > 0)
    if count >= wanted:
        return
    have = f"prepare.split: {wanted} splits need {wanted} different {_plural(settings)}, there "
    have += f"{'is' if count == 1 else 'are'} {count}"
    if settings.by == "speaker":
        raise UserError(f"{have}: set prepare.split.by to sentence, or valid and test to 0")
    raise UserError(f"{have}: add clips, or set valid and test to 0")


def _check_filled(found: dict[str, Split], settings: SplitBy) -> None:
    wanted = {"train": 1.0, "valid": settings.valid, "test": settings.test}
    empty = [split for split, share in wanted.items() if share and split not in found.values()]
    if empty:
        raise UserError(
            f"prepare.split: {len(found)} {_plural(settings)} by hash leave {' and '.join(empty)} empty: "
            "set prepare.split.exact to true"
        )


def _plural(settings: SplitBy) -> str:
    return {"speaker": "speakers", "sentence": "sentences"}[settings.by]


def _fraction(name: str, seed: int) -> float:
    """A number in [0, 1) that is the group's own."""
    digest = hashlib.sha256(f"{seed}\n{name}".encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53
