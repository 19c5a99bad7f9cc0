"""Make the dataset from the ledger's clips: `python -m prepare RECIPE [key.path=value ...]`.

Only clips whose speaker allowed `prepare.purpose` are read. What is finished is kept: a run that was
stopped goes on where it stopped, and a second run does nothing. `python -m prepare verify RECIPE` checks it.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from collect.ledger import Artefact, Ledger, Speaker, open_ledger
from prepare import dataset, parts, rating, same, text, verify, voices
from prepare.manifest import Entry, Kind, Manifest
from prepare.parts import Finished, Refusal
from prepare.split import Said, divide
from prepare.unseen import sentences
from prepare.workers import batches, finish
from recipes import records
from recipes.command import next_command, run
from recipes.records import PURPOSES, Language, Purpose, Utterance
from recipes.schema import Prepare, Recipe, SplitBy, UserError

_AT_ONCE, _WITH_AUDIO, _RATED_AT_ONCE = 500, 32, 5_000  # rows in memory
_SHOWN = 20  # rejections printed; all of them are in rejected.parquet


def start(recipe: Recipe, arguments: argparse.Namespace) -> int:
    """What the command line asks for."""
    return verify.main(recipe) if arguments.action == "verify" else main(recipe)


def main(recipe: Recipe) -> int:
    text.check_rules()
    with parts.locked(recipe.folder("prepare")), open_ledger(recipe) as ledger, Manifest() as manifest:
        choose(ledger, recipe, manifest)
        gather(recipe, manifest)  # what an earlier run has finished
        unread = finish(manifest.waiting(), manifest.count_waiting(), recipe)
        parts.keep_only(recipe, manifest.permits)
        gather(recipe, manifest)
        give_up(manifest, unread)
        judge(ledger, recipe, manifest)
        once_each(recipe, manifest)
        show(manifest, "fault")
        show(manifest, "left out")
        arrange(ledger, recipe, manifest)
        show(manifest, "apart")
        publish(recipe, manifest)
        made = Artefact(
            id=dataset.dataset_hash(recipe),
            kind="dataset",
            place=str(dataset.dataset_folder(recipe)),
            purpose=recipe.prepare.purpose,
        )
        ledger.register(made, clips=manifest.clips())
        dataset.note_uses(ledger, made, uses(recipe, manifest))
        summarise(recipe, (line.utterance for line in manifest.lines()))
        return int(any(manifest.rejected("fault")))


def uses(recipe: Recipe, manifest: Manifest) -> dict[Purpose, Iterable[str]]:
    """The clips that are in the dataset because, or with facts that, another purpose allows too."""
    found: dict[Purpose, Iterable[str]] = {purpose: manifest.clips() for purpose in recipe.prepare.also_for}
    rows = (line.utterance for line in manifest.lines())
    return found | {"profile_data": (row.clip for row in rows if "profile_data" in row.purposes)}


def choose(ledger: Ledger, recipe: Recipe, manifest: Manifest) -> None:
    """Note the clips that may be used and that the recipe asks for, and why the others are left out.

    Raises UserError when the ledger is empty, or has none in a language or by a speaker that is asked for.
    """
    name_of, languages, speakers = parts.namer(recipe), set[str](), set[str]()
    for clip in ledger.clips():
        languages.add(clip.language)
        speakers.add(clip.speaker)
        lacking = refused(ledger, clip, recipe.prepare)
        reason = f"consent does not cover {', '.join(lacking)}" if lacking else filtered(clip, recipe.prepare)
        manifest.add(name_of(clip), clip, recipe.prepare.purpose not in lacking, reason)
    if not speakers:
        raise UserError("the ledger holds no clip yet; run: python -m collect.ingest RECIPE")
    check_known("languages", recipe.prepare.languages, languages)
    check_known("speakers", recipe.prepare.speakers, speakers)


def refused(ledger: Ledger, clip: records.Clip, settings: Prepare) -> list[Purpose]:
    """What the recipe needs and the clip's speaker does not allow."""
    return [purpose for purpose in (settings.purpose, *settings.also_for) if not ledger.permit(clip, purpose)]


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


def gather(recipe: Recipe, manifest: Manifest) -> None:
    """Note what became of each clip that has a part."""
    for some in batches(manifest.waiting(), _AT_ONCE):
        found = parts.outcomes(recipe, [name for name, _ in some])
        for name, clip in some:
            if name in found:
                manifest.became(name, clip, *found[name])


def give_up(manifest: Manifest, unread: dict[str, str]) -> None:
    """Clips without a part have a fault. `unread`: reasons by part."""
    for name, clip in manifest.waiting():
        manifest.became(name, clip, {}, [Refusal(reason=unread.get(name, "lost: run the same command again"))])


def judge(ledger: Ledger, recipe: Recipe, manifest: Manifest) -> None:
    """What is heard in utterances that are finished goes into them; what the recipe rejects for it goes out."""
    if recipe.prepare.mos:
        for some in batches(manifest.entries(), _RATED_AT_ONCE):
            settle(manifest, some, *rating.judge(recipe, {entry.name: entry.finished for entry in some}))
    asked = list(manifest.entries()) if recipe.prepare.voices else []  # each voice is compared with all
    made = {entry.name: entry.finished for entry in asked}
    settle(manifest, asked, *voices.judge(ledger, recipe, {entry.name: entry.clip for entry in asked}, made))


def once_each(recipe: Recipe, manifest: Manifest) -> None:
    """Sounds and sentences that are there already are flagged or left out, as the recipe says."""
    if recipe.prepare.same_audio or recipe.prepare.max_same_text:
        every = list(manifest.entries())  # each is compared with all
        clips, made = {one.name: one.clip for one in every}, {one.name: one.finished for one in every}
        settle(manifest, every, *same.once_each(recipe.prepare, clips, made), kind="apart")


def settle(
    manifest: Manifest, some: list[Entry], stay: dict[str, Finished], reasons: dict[str, str], kind: Kind = "fault"
) -> None:
    """Note what utterances became, or why they are in no dataset; both by the names of their parts."""
    for entry in some:
        if entry.name in reasons:
            manifest.lose(entry, reasons[entry.name], kind)
        else:
            manifest.renew(entry, stay[entry.name])


def show(manifest: Manifest, kind: Kind) -> None:
    """How many clips there are for each reason; of those with a fault, the first ones by name."""
    reasons, faulty = Counter[str](), kind == "fault"
    for number, row in enumerate(manifest.rejected(kind)):
        reasons[row.reason.partition(":")[0]] += 1
        if faulty and number < _SHOWN:
            print(f"{row.source}: {row.reason}", file=sys.stderr)
    if faulty and reasons.total() > _SHOWN:
        print(f"... and {reasons.total() - _SHOWN} more", file=sys.stderr)
    for reason, count in reasons.most_common():
        print(f"{'rejected' if faulty else 'left out'}: {count} × {reason}")


def arrange(ledger: Ledger, recipe: Recipe, manifest: Manifest) -> None:
    """Give utterances their facts, by the consents of now, and their split.

    Raises UserError when nothing is left or the splits cannot be had; an earlier dataset is then removed,
    because it holds what this recipe and these consents no longer give.
    """
    settings, languages, people = recipe.prepare.split, set[Language](), dict[str, Speaker]()
    for entry in manifest.entries():
        clip = entry.clip
        if lacking := refused(ledger, clip, recipe.prepare):  # withdrawn since the run began
            manifest.drop(entry, f"consent does not cover {', '.join(lacking)}")
            parts.remove(recipe, entry.name)
            continue
        if clip.speaker not in people:
            people[clip.speaker] = ledger.speaker(clip.speaker)
        person = people[clip.speaker] if ledger.permit(clip, "profile_data") else None
        allowed = [purpose for purpose in PURPOSES if ledger.permit(clip, purpose)]
        sentence = entry.finished.text_normalized if counts_sentences(settings) else ""
        said = Said(clip.speaker, sentence, stratum(clip, person, settings))
        manifest.describe(entry, facts(clip, person, allowed), said)
        languages.add(clip.language)
    try:
        if not languages:
            raise UserError("no clip came through, so there is no dataset; the reasons are above")
        unseen = sentences(recipe, languages)
        manifest.divide(*divide(manifest.said(), settings, recipe.seed, unseen, dataset.earlier_splits(recipe)))
    except UserError:
        dataset.remove(recipe)
        raise


def counts_sentences(settings: SplitBy) -> bool:
    """Whether what is said decides a split, and not only who says it."""
    return settings.by != "speaker" or settings.unseen is not None


def stratum(clip: records.Clip, person: Speaker | None, settings: SplitBy) -> tuple[str, ...]:
    """What `prepare.split.stratify` asks for of a clip. `person`: None where facts about them may not be used."""
    dialect, gender = (clip.dialect, person.gender) if person else (None, None)
    facts = {"language": clip.language, "dialect": dialect, "gender": gender}
    return tuple(facts[key] or "not given" for key in settings.stratify)


def facts(clip: records.Clip, person: Speaker | None, allowed: list[Purpose]) -> dict[str, Any]:
    """Columns of an utterance that say who speaks, and what they allow. `person`: as for `stratum`."""
    return {
        "dialect": clip.dialect if person else None,
        "region": clip.region if person else None,
        "gender": person.gender if person else None,
        "age_band": person.age_band if person else None,
        "purposes": allowed,
    }


def publish(recipe: Recipe, manifest: Manifest) -> None:
    """Write the dataset, unless it is there already."""
    marks = (dataset.mark(line.utterance, line.audio) for line in manifest.lines())
    if dataset.holds(recipe, dataset.version(recipe, marks, manifest.rejected())):
        return
    dataset.write(recipe, whole(recipe, manifest), manifest.rejected())


def whole(recipe: Recipe, manifest: Manifest) -> Iterator[Utterance]:
    """The rows of the dataset with their audio."""
    for some in batches(manifest.lines(), _WITH_AUDIO):
        audio = parts.load_audio(recipe, {line.part: line.audio for line in some})
        yield from (line.utterance.model_copy(update={"audio": audio[line.part]}) for line in some)


@dataclass
class Amount:
    """How much speech, by how many people."""

    utterances: int = 0
    duration_s: float = 0.0
    speakers: set[str] = field(default_factory=set)

    def add(self, row: Utterance) -> None:
        self.utterances += 1
        self.duration_s += row.duration_s
        self.speakers.add(row.speaker)

    def __str__(self) -> str:
        minutes = self.duration_s / 60
        length = f"{minutes / 60:7.1f} h  " if minutes > 100 else f"{minutes:7.1f} min"
        return f"{self.utterances:6} utterances {length} {len(self.speakers):5} speakers"


def summarise(recipe: Recipe, utterances: Iterable[Utterance]) -> None:
    """What was made, and what to run next."""
    whole, splits = Amount(), {split: Amount() for split in dataset.SPLITS}
    target, quiet, flags = recipe.prepare.loudness_lufs, 0, Counter[str]()
    for row in utterances:
        whole.add(row)
        splits[row.split].add(row)
        quiet += target is not None and row.quality.loudness_lufs < target - 0.5
        flags.update(flag.partition(":")[0] for flag in row.flags)
    for split, amount in splits.items():
        print(f"{split:<5} {amount}")
    if quiet:
        print(f"{quiet} utterances stay below {target:g} LUFS, because their peaks would clip")
    for kind, count in flags.most_common():
        print(f"flagged: {count} × {kind}")
    print(f"all   {whole} in {dataset.dataset_folder(recipe)}")
    print(next_command("prepare.report", "what was left out, and of whom"))
    print(next_command("train"))


if __name__ == "__main__":
    run(start, __doc__ or "", actions=("verify",), optional=True)
