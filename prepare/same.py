"""Utterances that say the same again: one sound twice, or one sentence more often than wanted."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prepare import parts
from prepare.fingerprint import agreement, read
from prepare.parts import Finished
from recipes import records
from recipes.records import Quality
from recipes.schema import Prepare

SAME = 5  # words of two fingerprints that agree: see prepare.fingerprint.agreement


@dataclass(frozen=True)
class Said:
    """An utterance of the whole dataset, for comparison. `sound`: its fingerprint."""

    id: str
    speaker: str
    text: str
    quality: Quality
    sound: str


def once_each(
    settings: Prepare, clips: Mapping[str, records.Clip], finished: Mapping[str, Finished]
) -> tuple[dict[str, Finished], dict[str, str]]:
    """What is kept of a dataset's utterances, and the reasons of the others: `same_audio` and `max_same_text`.

    All by the name of their part.
    """
    kept, reasons = dict(finished), dict[str, str]()
    names = {parts.identity(name, clips[name]): name for name in finished}
    copies = sounds(_said(names, clips, finished)) if settings.same_audio else {}
    for mine, theirs in copies.items():
        name, clip, other = names[mine], clips[names[mine]], clips[names[theirs]]
        whose = "" if clip.speaker == other.speaker else " by another speaker"
        if settings.same_audio == "flag":
            flags = [*kept[name].flags, f"same sound: as {theirs}{whose}"]
            kept[name] = kept[name].model_copy(update={"flags": flags})
        else:
            what = f"as {other.source}{whose} ({theirs[:12]}), which is kept"
            reasons[name] = f"same sound: {what}; prepare.same_audio is reject"
            del kept[name]
    if (most := settings.max_same_text) is not None:
        left = {name: part for name, part in names.items() if part in kept}
        for mine in texts(_said(left, clips, finished), most):
            reasons[names[mine]] = f"same text: {most} that say it are kept, prepare.max_same_text is {most}"
            del kept[names[mine]]
    return kept, dict(sorted(reasons.items()))


def _said(names: Mapping[str, str], clips: Mapping[str, records.Clip], made: Mapping[str, Finished]) -> list[Said]:
    return [
        Said(name, clips[part].speaker, made[part].text_normalized, made[part].quality, made[part].sound)
        for name, part in names.items()
    ]


def sounds(said: Sequence[Said]) -> dict[str, str]:
    """Utterances whose sound another has too: by id, that of the copy which stays.

    The copy that stays is the one with the widest band, then the least clipping, then the smallest id: what it
    contains decides, and not the order. Time grows with the number of utterances, not with that of pairs: those
    are compared that share words of their fingerprints, and follow one another among those that have them.
    """
    ranked = sorted(said, key=lambda one: (-one.quality.bandwidth_hz, one.quality.clipped_share, one.id))
    prints = [read(one.sound) for one in ranked]
    if not prints:
        return {}
    owner = np.repeat(np.arange(len(prints)), [len(found.words) for found in prints])
    values = np.concatenate([found.words for found in prints])
    order = np.lexsort((owner, values))
    values, owner = values[order], owner[order]
    follows = values[1:] == values[:-1]
    pairs, counts = np.unique(owner[:-1][follows] * len(prints) + owner[1:][follows], return_counts=True)
    first = list(range(len(prints)))
    for pair in pairs[counts > 1]:
        one, other = (_root(first, int(number)) for number in divmod(pair, len(prints)))
        mine, theirs = (prints[int(number)] for number in divmod(pair, len(prints)))
        if agreement(mine, theirs) >= SAME:
            first[max(one, other)] = min(one, other)
    best = {number: _root(first, number) for number in range(len(ranked))}
    return {ranked[number].id: ranked[stays].id for number, stays in best.items() if stays != number}


def texts(said: Sequence[Said], most: int) -> set[str]:
    """Ids of the utterances that are one too many, of those that say the same sentence.

    Speakers take turns until `most` are kept, so that a sentence stays with as many voices as it can; among one
    speaker's the smaller id goes first.
    """
    turns = defaultdict[tuple[str, str], int](int)
    groups = defaultdict[str, list[tuple[int, str]]](list)
    for one in sorted(said, key=lambda one: one.id):
        groups[one.text].append((turns[one.text, one.speaker], one.id))
        turns[one.text, one.speaker] += 1
    return {name for group in groups.values() for _, name in sorted(group)[most:]}


def _root(first: list[int], number: int) -> int:
    while first[number] != number:
        first[number] = first[first[number]]
        number = first[number]
    return number
