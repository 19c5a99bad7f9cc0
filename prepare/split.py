"""Which utterances train, validate and test: by hash, so that nothing depends on order or chance."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from prepare.near import Near
from recipes.records import Split
from recipes.schema import SplitBy, UserError

Stratum = tuple[str, ...]
_SPLITS: tuple[Split, ...] = ("test", "valid", "train")  # whoever comes first keeps its sentence
_SIMILAR = 0.85


@dataclass(frozen=True)
class Said:
    """What decides where an utterance goes: who said what. `stratum`: language, dialect, gender as asked for."""

    speaker: str
    sentence: str  # normalised
    stratum: Stratum = ()
    times: int = 1  # how many utterances it stands for


def divide(
    said: Mapping[str, Said],
    settings: SplitBy,
    seed: int,
    unseen: Collection[str] = (),
    before: Mapping[str, Split] | None = None,
) -> tuple[dict[str, Split], dict[str, str]]:
    """The split of each utterance, and of those that can be in none, the reason. Both by the utterance's name.

    `unseen`: normalised sentences that nothing is trained or validated on. `before`: the split that a speaker
    (or, by sentence, a sentence) has in the dataset that is there, for `keep`. An utterance is in its group's
    split or in none: when clips are added, one may leave the dataset, and none changes its split.
    Raises UserError for what cannot be had.
    """
    group = {name: one.sentence if settings.by == "sentence" else one.speaker for name, one in said.items()}
    listed, similar = Near(settings.similar), settings.similar
    for sentence in unseen:
        listed.add(sentence)
    on_list = {text for text in {one.sentence for one in said.values()} if unseen and listed.find(text)}
    if settings.by == "sentence":
        dealt = {name: key for name, key in group.items() if key not in on_list}
        found: dict[str, Split] = dict.fromkeys(on_list, "test")
    else:
        dealt, found = group, {}
    strata = defaultdict[str, set[Stratum]](set)
    for name, key in dealt.items():
        strata[key].add(said[name].stratum)
    places = {key: tuple(map("+".join, zip(*sorted(rows), strict=True))) for key, rows in strata.items()}
    if dealt or not found:
        found |= assign(dealt.values(), settings, seed, places, before if settings.keep else None)
    splits = {name: found[group[name]] for name in said}
    left_out = {
        name: f"its sentence is on the list prepare.split.unseen, its speaker in {splits[name]}"
        for name, one in said.items()
        if one.sentence in on_list and splits[name] != "test"
    }
    if settings.by == "both":
        left_out |= _twice_said({name: said[name] for name in said if name not in left_out}, splits, settings, seed)
        similar = similar or _SIMILAR
    if settings.by != "speaker" and similar is not None:
        left_out |= _nearly_said({name: said[name] for name in said if name not in left_out}, splits, similar)
    kept = {name: split for name, split in splits.items() if name not in left_out}
    if left_out:
        _check_left(kept, settings, sum(said[name].times for name in left_out))
    return kept, left_out


def assign(
    groups: Iterable[str],
    settings: SplitBy,
    seed: int,
    strata: Mapping[str, Stratum] | None = None,
    before: Mapping[str, Split] | None = None,
) -> dict[str, Split]:
    """The split of each group: a speaker, or a normalised sentence. Repeats and order do not matter.

    By threshold, a group's split depends on its name and the seed alone, so it stays where it is when
    others come or go; shares are then only near those asked for. With `exact`, groups in hash order
    are dealt out in exact shares (rounded, at least one each), in each of the `strata` alike, and some may
    move when clips are added; except those that `before` gives a split, which they keep.
    Raises UserError for shares that cannot be had.
    """
    names = sorted(set(groups), key=lambda name: (_fraction(name, seed), name))
    _check_possible(len(names), settings)
    if settings.exact:
        return _dealt(names, settings, strata or {}, before or {})
    found = {name: _by_threshold(_fraction(name, seed), settings) for name in names}
    _check_filled(found, settings)
    return found


def _by_threshold(fraction: float, settings: SplitBy) -> Split:
    if fraction < settings.test:
        return "test"
    return "valid" if fraction < settings.test + settings.valid else "train"


def _dealt(
    names: list[str], settings: SplitBy, strata: Mapping[str, Stratum], before: Mapping[str, Split]
) -> dict[str, Split]:
    shares = settings.test, settings.valid
    test, valid = (max(1, round(len(names) * share)) if share else 0 for share in shares)
    if test + valid >= len(names):
        raise UserError(
            f"prepare.split: {len(names)} {_plural(settings)} give {test} to test and {valid} to valid, "
            "which leaves none to train on: ask for smaller shares"
        )
    members = defaultdict[Stratum, list[str]](list)
    for name in names:
        members[strata.get(name, ())].append(name)
    rows = [members[stratum] for stratum in sorted(members)]
    tests = _spread(test, [len(row) for row in rows])
    valids = _spread(valid, [len(row) - taken for row, taken in zip(rows, tests, strict=True)])
    found: dict[str, Split] = {}
    for row, *wanted in zip(rows, tests, valids, strict=True):
        found |= {name: before[name] for name in row if name in before}
        new = [name for name in row if name not in before]
        for split, count in zip(_SPLITS, wanted, strict=False):
            short = max(0, count - sum(found.get(name) == split for name in row))
            found |= dict.fromkeys(new[:short], split)
            new = new[short:]
        found |= dict.fromkeys(new, "train")
    _check_filled(found, settings)
    return found


def _spread(count: int, sizes: list[int]) -> list[int]:
    """So many dealt out to strata in proportion to their sizes: every n-th in a row of them all, from the middle."""
    whole, taken, end = sum(sizes), 0, 0
    spread = []
    for size in sizes:
        end += size
        due = int(count * end / whole + 0.5) if whole else 0
        spread.append(due - taken)
        taken = due
    return spread


def _twice_said(
    said: Mapping[str, Said], splits: Mapping[str, Split], settings: SplitBy, seed: int
) -> dict[str, str]:
    """What must go so that no sentence is in two splits: reasons by name.

    A sentence that speakers of several splits say stays in one of these, drawn by its hash and the shares
    (rendezvous hashing): a split that joins can win it, and never hands it to a third.
    """
    where = defaultdict[str, set[Split]](set)
    for name, one in said.items():
        where[one.sentence].add(splits[name])
    shares = {"test": settings.test, "valid": settings.valid, "train": 1 - settings.test - settings.valid}
    owner = {
        sentence: max(
            sorted(found), key=lambda split: _fraction(f"{split}\n{sentence}", seed) ** (1 / max(shares[split], 1e-9))
        )
        for sentence, found in where.items()
    }
    return {
        name: f"its sentence is in {owner[one.sentence]}, its speaker in {splits[name]}"
        for name, one in said.items()
        if splits[name] != owner[one.sentence]
    }


def _nearly_said(said: Mapping[str, Said], splits: Mapping[str, Split], similar: float) -> dict[str, str]:
    """What must go so that no sentence is nearly one of another split: reasons by name. Test stays whole."""
    sentences: dict[Split, set[str]] = {split: set() for split in _SPLITS}
    for name, one in said.items():
        sentences[splits[name]].add(one.sentence)
    others, gone = Near(similar), dict[str, Split]()
    home = dict[str, Split]()
    for split in _SPLITS:
        near = {text: found for text in sorted(sentences[split]) if (found := others.find(text))}
        gone |= {text: home[found] for text, found in near.items()}
        if split != "train":
            for text in sorted(sentences[split] - near.keys()):
                others.add(text)
                home[text] = split
    return {
        name: f"its sentence is nearly one of {gone[one.sentence]}"
        for name, one in said.items()
        if one.sentence in gone
    }


def _check_possible(count: int, settings: SplitBy) -> None:
    if settings.test + settings.valid >= 1:
        raise UserError("prepare.split: valid and test together leave nothing to train on: lower them")
    wanted = 1 + (settings.test > 0) + (settings.valid > 0)
    if count >= wanted:
        return
    have = f"prepare.split: {wanted} splits need {wanted} different {_plural(settings)}, there "
    have += f"{'is' if count == 1 else 'are'} {count}"
    if settings.by != "sentence":
        raise UserError(f"{have}: set prepare.split.by to sentence, or valid and test to 0")
    raise UserError(f"{have}: add clips, or set valid and test to 0")


def _check_filled(found: Mapping[str, Split], settings: SplitBy) -> None:
    if empty := _empty(found.values(), settings):
        remedy = "set prepare.split.keep to false" if settings.exact else "set prepare.split.exact to true"
        raise UserError(f"prepare.split: {len(found)} {_plural(settings)} by hash leave {empty} empty: {remedy}")


def _check_left(kept: Mapping[str, Split], settings: SplitBy, left_out: int) -> None:
    """That leaving out what would be in two splits did not empty one."""
    if empty := _empty(kept.values(), settings):
        remedy = "or set prepare.split.by to sentence" if settings.by != "sentence" else "or similar closer to 1"
        raise UserError(
            f"prepare.split: without the {left_out} utterances whose sentence is also, or nearly, in another split "
            f"or listed as unseen, {empty} would be empty: record other sentences with each speaker, {remedy}"
        )


def _empty(found: Collection[Split], settings: SplitBy) -> str:
    wanted = {"train": 1.0, "valid": settings.valid, "test": settings.test}
    return " and ".join(split for split, share in wanted.items() if share and split not in found)


def _plural(settings: SplitBy) -> str:
    return "sentences" if settings.by == "sentence" else "speakers"


def _fraction(name: str, seed: int) -> float:
    """A number in [0, 1) that is the group's own."""
    digest = hashlib.sha256(f"{seed}\n{name}".encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53
