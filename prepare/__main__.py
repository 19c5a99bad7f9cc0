"""Make the dataset from the ledger's clips: `python -m prepare RECIPE [key.path=value ...]`.

Only clips whose speaker allowed `prepare.purpose` are read. What is finished is kept: a run that was
stopped goes on where it stopped, and a second run does nothing. `python -m prepare verify RECIPE` checks it.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from collect.ledger import Artefact, Ledger, Speaker, open_ledger
from prepare import dataset, parts, text, verify
from prepare.parts import Finished, Refusal
from prepare.split import Said, divide
from prepare.unseen import sentences
from prepare.workers import finish
from recipes import records
from recipes.command import next_command, run
from recipes.records import PURPOSES, Purpose, Quality, Rejected, Split, Utterance
from recipes.schema import Prepare, Recipe, SplitBy, UserError

_SHOWN = 20  # rejections printed; all of them are in rejected.parquet


def start(recipe: Recipe, arguments: argparse.Namespace) -> int:
    """What the command line asks for."""
    return verify.main(recipe) if arguments.action == "verify" else main(recipe)


def main(recipe: Recipe) -> int:
    text.check_rules()
    with parts.locked(recipe.folder("prepare")), open_ledger(recipe) as ledger:
        choice = choose(ledger, recipe)
        unread = finish(choice.clips, recipe)
        parts.keep_only(recipe, choice.permitted)
        finished, faults = gather(recipe, choice, unread)
        show(faults, choice.left_out)
        utterances, apart = arrange(ledger, recipe, choice, finished)
        show([], apart)
        publish(recipe, utterances, finished, choice.left_out + faults + apart)
        made = Artefact(
            id=dataset.dataset_hash(recipe),
            kind="dataset",
            place=str(dataset.dataset_folder(recipe)),
            purpose=recipe.prepare.purpose,
        )
        ledger.register(made, clips={row.clip for row in utterances.values()})
    summarise(recipe, list(utterances.values()))
    return 1 if faults else 0


@dataclass(frozen=True)
class Choice:
    """Which clips are prepared. A clip is known by the name of its part."""

    clips: dict[str, records.Clip] = field(default_factory=dict)
    left_out: list[Rejected] = field(default_factory=list)  # no consent, or filtered out by the recipe
    permitted: set[str] = field(default_factory=set)  # with consent, filtered out or not


def choose(ledger: Ledger, recipe: Recipe) -> Choice:
    """The clips that may be used and that the recipe asks for.

    Raises UserError when the ledger is empty, or has none in a language or by a speaker that is asked for.
    """
    choice = Choice()
    clips = list(ledger.clips())
    if not clips:
        raise UserError("the ledger holds no clip yet; run: python -m collect.ingest RECIPE")
    check_known("languages", recipe.prepare.languages, {clip.language for clip in clips})
    check_known("speakers", recipe.prepare.speakers, {clip.speaker for clip in clips})
    for clip in clips:
        name, reason = parts.key(recipe, clip), filtered(clip, recipe.prepare)
        asked = (recipe.prepare.purpose, *recipe.prepare.also_for)
        if lacking := [purpose for purpose in asked if not ledger.permit(clip, purpose)]:
            reason = f"consent does not cover {', '.join(lacking)}"
        if recipe.prepare.purpose not in lacking:
            choice.permitted.add(name)
        if reason:
            choice.left_out.append(rejected(clip, reason))
        else:
            choice.clips[name] = clip
    return choice


def check_known(key: str, asked: Sequence[str] | None, known: Iterable[str]) -> None:
    """A filter that names what the ledger does not have is a slip of the pen, and would leave clips out."""
    if unknown := sorted(set(asked or ()) - set(known)):
        have = ", ".join(sorted(known)[:10])
        raise UserError(f"prepare.{key}: the ledger has no clip of {', '.join(unknown)}; it has {have}")


def filtered(clip: records.Clip, settings: Prepare) -> str | None:
    """Why a clip with consent is not prepared; None when it is."""
    if not clip.valid:
        return "annotators marked it as unusable"
    if settings.languages is not None and clip.language not in settings.languages:
        return f"not in prepare.languages: {clip.language}"
    if settings.speakers is not None and clip.speaker not in settings.speakers:
        return f"not in prepare.speakers: {clip.speaker}"
    return None


def gather(recipe: Recipe, choice: Choice, unread: dict[str, str]) -> tuple[dict[str, Finished], list[Rejected]]:
    """What became of each clip: the finished ones, and those with a fault. `unread`: reasons by part."""
    finished: dict[str, Finished] = {}
    faults: list[Rejected] = []
    for name, clip in choice.clips.items():
        lost = [Refusal(reason=unread.get(name, "lost: run the same command again"))]
        made, refused = parts.utterances(recipe, name) or ({}, lost)
        finished |= made
        faults += [rejected(clip, one.reason, one.quality) for one in refused]
    return finished, sorted(faults, key=lambda row: row.source)


def rejected(clip: records.Clip, reason: str, figures: Quality | None = None) -> Rejected:
    """A clip, or a stretch of it, that is not in the dataset."""
    return Rejected(clip=clip.id, source=clip.source, reason=reason, quality=figures)


def show(faults: list[Rejected], left_out: list[Rejected]) -> None:
    """The first clips with a fault, by name; and how many there are for each reason."""
    for row in faults[:_SHOWN]:
        print(f"{row.source}: {row.reason}", file=sys.stderr)
    if len(faults) > _SHOWN:
        print(f"... and {len(faults) - _SHOWN} more", file=sys.stderr)
    for kind, count in Counter(row.reason.partition(":")[0] for row in faults).most_common():
        print(f"rejected: {count} × {kind}")
    for reason, count in Counter(row.reason for row in left_out).most_common():
        print(f"left out: {count} × {reason}")


def arrange(
    ledger: Ledger, recipe: Recipe, choice: Choice, finished: dict[str, Finished]
) -> tuple[dict[str, Utterance], list[Rejected]]:
    """Utterances by the name of their part, with their split and still without their audio; and who can be in none.

    Raises UserError when nothing is left or the splits cannot be had; an earlier dataset is then removed,
    because it holds what this recipe and these consents no longer give.
    """
    clips = {name: choice.clips[parts.clip_of(name)] for name in finished}
    people = {code: ledger.speaker(code) for code in {clip.speaker for clip in clips.values()}}
    told = {
        name: people[clip.speaker] if ledger.permit(clip, "profile_data") else None for name, clip in clips.items()
    }
    settings = recipe.prepare.split
    said = {
        name: Said(clip.speaker, finished[name].text_normalized, stratum(clip, told[name], settings))
        for name, clip in clips.items()
    }
    try:
        if not finished:
            raise UserError("no clip came through, so there is no dataset; the reasons are above")
        unseen = sentences(recipe, {clip.language for clip in clips.values()})
        splits, reasons = divide(said, settings, recipe.seed, unseen, dataset.earlier_splits(recipe))
    except UserError:
        dataset.remove(recipe)
        raise
    rows = {}
    for name, split in splits.items():
        allowed = [purpose for purpose in PURPOSES if ledger.permit(clips[name], purpose)]
        rows[name] = utterance(name, clips[name], told[name], finished[name], split, allowed)
    apart = [rejected(clips[name], why, finished[name].quality) for name, why in reasons.items()]
    return rows, apart


def stratum(clip: records.Clip, person: Speaker | None, settings: SplitBy) -> tuple[str, ...]:
    """What `prepare.split.stratify` asks for of a clip. `person`: None where facts about them may not be used."""
    dialect, gender = (clip.dialect, person.gender) if person else (None, None)
    facts = {"language": clip.language, "dialect": dialect, "gender": gender}
    return tuple(facts[key] or "not given" for key in settings.stratify)


def utterance(
    name: str, clip: records.Clip, person: Speaker | None, done: Finished, split: Split, allowed: list[Purpose]
) -> Utterance:
    """A row of the dataset, without its audio.

    `name`: of its part; pieces of one clip go by number. `person`: None where facts about them may not be used.
    """
    return Utterance(
        id=clip.id + name.removeprefix(parts.clip_of(name)),
        clip=clip.id,
        speaker=clip.speaker,
        dialect=clip.dialect if person else None,
        region=clip.region if person else None,
        gender=person.gender if person else None,
        age_band=person.age_band if person else None,
        purposes=allowed,
        audio=b"",
        split=split,
        **done.model_dump(exclude={"audio", "sound"}),
    )


def publish(
    recipe: Recipe, utterances: dict[str, Utterance], finished: dict[str, Finished], rejected: list[Rejected]
) -> None:
    """Write the dataset, unless it is there already. Audio is read one utterance at a time."""
    marks = (dataset.mark(row, finished[name].audio) for name, row in utterances.items())
    if dataset.holds(recipe, dataset.version(recipe, marks, rejected)):
        return
    whole = (
        row.model_copy(update={"audio": parts.load_audio(recipe, name, finished[name].audio)})
        for name, row in utterances.items()
    )
    dataset.write(recipe, whole, rejected)


def summarise(recipe: Recipe, utterances: list[Utterance]) -> None:
    """What was made, and what to run next."""
    for split in dataset.SPLITS:
        print(f"{split:<5} {amount([row for row in utterances if row.split == split])}")
    target = recipe.prepare.loudness_lufs
    if target is not None and (quiet := sum(row.quality.loudness_lufs < target - 0.5 for row in utterances)):
        print(f"{quiet} utterances stay below {target:g} LUFS, because their peaks would clip")
    for kind, count in Counter(flag.partition(":")[0] for row in utterances for flag in row.flags).most_common():
        print(f"flagged: {count} × {kind}")
    print(f"all   {amount(utterances)} in {dataset.dataset_folder(recipe)}")
    print(next_command("prepare.report", "what was left out, and of whom"))
    print(next_command("train"))


def amount(rows: list[Utterance]) -> str:
    """How much speech, by how many people."""
    minutes = sum(row.duration_s for row in rows) / 60
    length = f"{minutes / 60:7.1f} h  " if minutes > 100 else f"{minutes:7.1f} min"
    return f"{len(rows):6} utterances {length} {len({row.speaker for row in rows}):5} speakers"


if __name__ == "__main__":
    run(start, __doc__ or "", actions=("verify",), optional=True)
