"""The test that a recipe asks for, in codes: its sentences, its clips, its design; and whether a plan was frozen."""

import hashlib
import json
import wave
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from evaluate import design, seal, stimuli
from evaluate.seal import Key
from evaluate.stimuli import Stimulus
from recipes.schema import Listen, Picture, Recipe, UserError

# What may change without making another test of it.
_OUTSIDE = {
    "host",
    "port",
    "address",
    "database",
    "controller",
    "contact",
    "spoken",
    "languages",
    "invited",
    "screening",
    "guess",
}
RECORDINGS = "recordings"
ANCHORS = ("anchor_low", "anchor_mid")  # without which a test is not MUSHRA (BS.1534-3, 5.1)
_HEARD_AGAIN = 1.3  # people hear some clips twice
_TO_ANSWER_S = {"acr": 6.0, "preference": 7.0, "cmos": 8.0, "abx": 7.0, "mushra": 5.0, "mushra_nr": 5.0}
_HEADPHONES_S, _COMPREHENSION_S = 60.0, 12.0
_GUESS_S = 10.0  # to answer the closing question; reckoned with where it is not asked too: it makes no other test


@dataclass(frozen=True)
class Blind:
    """A test as its pages see it. `clips`: sentence → code → stimulus."""

    name: str
    plan: str | None  # SHA-256 of the frozen plan; None: a pilot
    shape: design.Shape
    clips: Mapping[str, Mapping[str, Stimulus]]
    reference: str | None  # code of the system that MUSHRA names
    left_out: Mapping[str, int]  # reason → sentences
    guess: tuple[str, str] | None = None  # codes of the two of the closing question, the one to be named first
    guess_person: bool = False  # whether that is a person


def current(recipe: Recipe, pilot: bool = False) -> Blind:
    """The test to run: that of the frozen plan, else a pilot, whose key is made and sealed when there is none.

    Raises UserError when clips or settings are no longer those of the plan, or make no test.
    """
    found = clips(recipe)
    frozen = None if pilot else plan(recipe)
    if frozen is None:
        name = name_of(recipe, found, "pilot")
        if seal.commitment(recipe, name) is None:
            seal.seal(recipe, name, seal.new_key(found), None)
        return build(recipe, name, None, found)
    name = str(frozen["plan"]["test"])
    if name != name_of(recipe, found, "plan"):
        raise UserError(
            "the clips, evaluate.listen or evaluate.plan are no longer those of the frozen plan: restore them, or "
            "freeze another plan (python -m evaluate.plan RECIPE freeze), or run a pilot (--pilot)"
        )
    return build(recipe, name, str(frozen["sha256"]), found)


def test_of_results(recipe: Recipe) -> tuple[str, str | None]:
    """Name and plan of the test whose ratings count: the frozen plan's, else the pilot's. Makes nothing."""
    frozen = plan(recipe)
    if frozen is not None:
        return str(frozen["plan"]["test"]), str(frozen["sha256"])
    return name_of(recipe, clips(recipe), "pilot"), None


def refuse_other(recipe: Recipe, frozen: Mapping[str, Any]) -> None:
    """Raise UserError where the recipe asks for another analysis, or another test, than the frozen plan settled."""
    from evaluate.findings.shared import MARGIN

    was, planned = frozen["plan"]["settings"], recipe.evaluate.plan
    other = [f"evaluate.listen.{key}" for key, now in settings(recipe).items() if now != was.get(key, now)]
    limits = {"alpha": planned.alpha, "margin": planned.margin or MARGIN[recipe.evaluate.listen.method]}
    other += [f"evaluate.plan.{key}" for key, now in limits.items() if now != frozen["plan"].get(key, now)]
    if other:
        raise UserError(
            f"{', '.join(other)}: no longer as in the frozen plan ({plan_file(recipe)}): "
            "restore it, or freeze another plan for another test (python -m evaluate.plan RECIPE freeze)"
        )


def of_these_clips(frozen: Mapping[str, Any], found: Sequence[Stimulus]) -> bool:
    """Whether the frozen plan is of the clips that there are now."""
    return bool(frozen["plan"]["clips_sha256"] == stimuli.name_of_test(found))


def clips(recipe: Recipe) -> list[Stimulus]:
    """The stimuli of the recipe. Raises UserError when there is nothing to listen to."""
    if recipe.train.recognises:
        raise UserError(f"{recipe.train.family} recognises speech: there is nothing to listen to")
    try:
        found = stimuli.read(recipe)
    except OSError:
        raise UserError("no stimuli yet; run python -m evaluate on this recipe first") from None
    if not found:
        raise UserError("no sentence has a clip: evaluate.systems and evaluate.sentences leave nothing to listen to")
    return found


def plan(recipe: Recipe) -> dict[str, Any] | None:
    """The plan that was frozen last, with its hash; None when there is none. Raises UserError for a changed one."""
    path = plan_file(recipe)
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        right = found["sha256"] == plan_hash(found["plan"])
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise UserError(f"{path}: this plan was changed after it was frozen; restore it from a backup")
    return found


def plan_file(recipe: Recipe) -> Path:
    return recipe.folder("evaluate") / "plan.json"


def plan_hash(found: Mapping[str, Any]) -> str:
    """SHA-256 of a plan, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(found, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def settings(recipe: Recipe) -> dict[str, Any]:
    """What of evaluate.listen makes the test: other values make another test."""
    asked = recipe.evaluate.listen.model_dump(mode="json", exclude=_OUTSIDE)
    for kind in ("traps", "comprehension"):
        for row, made in zip(asked[kind], getattr(recipe.evaluate.listen, kind), strict=True):
            row["audio"] = hashlib.sha256(_bytes(made.audio, kind)).hexdigest()
    for row, question in zip(asked["comprehension"], recipe.evaluate.listen.comprehension, strict=True):
        row["choices"] = [_choice(one) for one in question.choices]
    return asked


def _choice(one: str | Picture) -> str | dict[str, str | None]:
    """A choice as what is seen: other words for the same picture make no other test."""
    if isinstance(one, str):
        return one
    return {"picture": hashlib.sha256(_bytes(one.picture, "comprehension")).hexdigest(), "text": one.text}


def _bytes(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror} (evaluate.listen.{key})") from None


def name_of(recipe: Recipe, found: Sequence[Stimulus], kind: str) -> str:
    """A name for a pilot, or a planned test, with these clips and settings: answers to another say nothing of it."""
    parts = [kind, stimuli.name_of_test(found), json.dumps(settings(recipe), sort_keys=True), str(recipe.seed)]
    if kind == "plan":
        planned = recipe.evaluate.plan
        parts.append(planned.model_dump_json(exclude={"margin"} if planned.margin is None else None))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


# ---------------------------------------------------------------- what it consists of


def build(recipe: Recipe, name: str, plan: str | None, found: Sequence[Stimulus]) -> Blind:
    """The test in codes. Raises UserError when the method cannot be used on these clips."""
    key = seal.open_key(recipe, name)
    asked = recipe.evaluate.listen
    by_name = {stimulus.name: stimulus for stimulus in found}
    codes = set(key.systems)
    whole = {item: row for item, row in key.clips.items() if set(row) == codes}
    if not whole:
        counts = Counter(code for row in key.clips.values() for code in row)
        fewest = key.systems[min(counts, key=lambda code: (counts[code], key.systems[code]))]
        raise UserError(
            f"no sentence has a clip of every system: {fewest} has the fewest; leave it out of evaluate.systems"
        )
    clips = {item: {code: by_name[name] for code, name in row.items()} for item, row in whole.items()}
    reference = reference_of(asked, key)
    shape = shaped(recipe, key, clips)
    lacking = len(key.clips) - len(whole)
    left_out = {"not said by every system": lacking} if lacking else {}
    named = reference if asked.method == "mushra" else None
    last = guessed(asked, key)
    coded = (key.code(last[0]), key.code(last[1])) if last else None
    return Blind(name, plan, shape, clips, named, left_out, coded, bool(last and last[0] == RECORDINGS))


def shaped(recipe: Recipe, key: Key, clips: Mapping[str, Mapping[str, Stimulus]]) -> design.Shape:
    """The design for these clips: as many trials as ratings and minutes allow."""
    asked = recipe.evaluate.listen
    pairs = paired(asked, key)
    gold = 0 if asked.method in design.SLIDERS else asked.gold
    bare = design.Shape(asked.method, tuple(sorted(clips)), tuple(sorted(key.systems)), pairs, 0, design_seed(recipe))
    if asked.method in design.SLIDERS and len(bare.systems) > design.MOST_SLIDERS:
        raise UserError(f"evaluate.listen.method: {asked.method} takes 12 systems at most, not {len(bare.systems)}")
    extra = asked.repeats + gold + len(asked.traps)
    each = len(bare.systems) if asked.method in design.SLIDERS else 1
    around = (_HEADPHONES_S if asked.headphones else 0) + _COMPREHENSION_S * len(asked.comprehension)
    around += _GUESS_S + 2 * _HEARD_AGAIN * max(_longest_s(recipe, row) for row in clips.values())
    trials = design.trials_within(
        bare.symbols,
        list(durations(recipe, clips).values()),
        asked.ratings,
        each,
        asked.minutes - around / 60,
        extra,
        asked.training,
    )
    if not trials:
        raise UserError(
            f"evaluate.listen: {bare.symbols} sentences or more are needed for this method and these systems, "
            f"and {asked.ratings} ratings and {asked.minutes:g} minutes must hold them ({len(clips)} sentences here)"
        )
    return design.Shape(
        asked.method,
        bare.items,
        bare.systems,
        pairs,
        trials,
        bare.seed,
        training=asked.training,
        repeats=asked.repeats,
        gold=gold,
        traps=len(asked.traps),
    )


def durations(recipe: Recipe, clips: Mapping[str, Mapping[str, Stimulus]]) -> dict[str, float]:
    """How long a trial with each sentence takes a listener, in seconds, with the time to answer."""
    asked = recipe.evaluate.listen
    found = {}
    for item, row in clips.items():
        longest_s = _longest_s(recipe, row)  # which all clips of a sentence are padded to
        if asked.method in design.SLIDERS:
            clips_heard = len(row) + (asked.method == "mushra")
            found[item] = _HEARD_AGAIN * longest_s * clips_heard + _TO_ANSWER_S[asked.method] * len(row)
        else:
            slots = {"acr": 1, "abx": 3}.get(asked.method, 2)
            found[item] = _HEARD_AGAIN * longest_s * slots + _TO_ANSWER_S[asked.method]
    return found


def _longest_s(recipe: Recipe, row: Mapping[str, Stimulus]) -> float:
    return max(_length_s(recipe, stimulus) for stimulus in row.values())


def _length_s(recipe: Recipe, stimulus: Stimulus) -> float:
    path = recipe.folder("evaluate") / "stimuli" / f"{stimulus.name}.wav"
    with wave.open(str(path)) as file:
        return float(file.getnframes() / file.getframerate())


def paired(asked: Listen, key: Key) -> tuple[tuple[str, str], ...]:
    """The pairs of the paired methods, in codes; the primary one twice. Anchors are for scales, not for pairs."""
    if asked.method not in design.PAIRED:
        return ()
    systems = [system for system in sorted(key.systems.values()) if not system.startswith("anchor_")]
    if len(systems) < 2:
        raise UserError(
            f"evaluate.listen.method: {asked.method} compares two systems, and there is one; use method: acr"
        )
    main = {*primary(asked, key)}
    pairs = [(a, b) for a, b in combinations(systems, 2) for _ in range(1 + ({a, b} == main and len(systems) > 2))]
    coded = [(key.code(a), key.code(b)) for a, b in pairs]
    return tuple(sorted((min(pair), max(pair)) for pair in coded))


def primary(asked: Listen, key: Key) -> tuple[str, str]:
    """The two systems that the test is for. Raises UserError for one that has no clips."""
    there = sorted(key.systems.values())
    if asked.primary:
        for system in asked.primary:
            if system not in there:
                raise UserError(f"evaluate.listen.primary: {system} has no clips; there are {', '.join(there)}")
        return asked.primary
    usual = [system for system in ("adapter", "base", "recordings") if system in there]
    named = [*usual, *(system for system in there if system not in usual), ""]
    return named[0], named[1]


def reference_of(asked: Listen, key: Key) -> str | None:
    """The code of MUSHRA's reference.

    Raises UserError when the method is `mushra` and the reference, or one of the standard's anchors, has no clips.
    """
    lacking = [name for name in ANCHORS if name not in key.systems.values()]
    if asked.method == "mushra" and asked.reference in key.systems.values() and lacking:
        raise UserError(
            f"evaluate.listen.method: mushra needs {' and '.join(lacking)} (ITU-R BS.1534-3): add them to "
            "evaluate.systems and run python -m evaluate again, or use method: mushra_nr"
        )
    if asked.reference in key.systems.values():
        return key.code(asked.reference)
    if asked.method == "mushra":
        raise UserError(
            f"evaluate.listen.reference: {asked.reference} has no clips; name another, or use method: mushra_nr"
        )
    return None


def guessed(asked: Listen, key: Key) -> tuple[str, str] | None:
    """The two systems of the closing question, the one to be named first: a person, else the adapter.

    None where it is not asked. Recordings that MUSHRA shows as its reference are not asked for: everybody was told.
    """
    there = {*key.systems.values()}
    told = {asked.reference} if asked.method == "mushra" else set()
    usual = [system for system in (RECORDINGS, "adapter", "base") if system in there - told]
    return (usual[0], usual[1]) if asked.guess and len(usual) > 1 else None


def design_seed(recipe: Recipe) -> str:
    """Without this secret nobody can work out who hears what."""
    return seal.derived(recipe, f"design {recipe.seed}").hex()
