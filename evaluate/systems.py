"""What is compared, and on what: our models, recordings, other people's files and services; unseen sentences.

`compared` says which systems a recipe has, `render` lets one of them say (or hear) everything.
"""

import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import soundfile
from rich.console import Console
from rich.progress import track

from evaluate import anchors, files, models, remote
from evaluate.items import Item as Item
from evaluate.items import Rendered as Rendered
from evaluate.items import may_be_heard, may_leave, recorded
from evaluate.models import Model
from recipes.provenance import write_text
from recipes.records import Language, Purpose
from recipes.schema import Files, OtherSystem, Recipe, Speech, Trained, UserError
from train.adapter import normalise, open_dataset, sources

System = str  # its name
Wanted = str | OtherSystem  # a recipe's word, or its mapping

_SERVED = "http"  # the folder of what services said, whichever of them
_VOICE_S = 5.0  # of a recording that shows a voice, as near as there is one


def items(recipe: Recipe) -> tuple[list[Item], dict[str, int]]:
    """What is evaluated, and what was left out: reason → how many.

    Recognisers hear the test split; generators say its sentences and those of `evaluate.sentences`.
    """
    data, hears = open_dataset(recipe), recipe.train.recognises
    seen = set(data["train"]["text_normalized"]) | set(data["valid"]["text_normalized"])
    found = [Item(row["text_normalized"], row["language"], row["speaker"], row, hears) for row in data["test"]]
    if recipe.evaluate.sentences and not hears:
        voice = Counter(data["train"]["speaker"]).most_common(1)[0][0]
        found += [Item(text, language, voice) for text, language in sentences(recipe)]
    unseen = [item for item in found if item.text and item.text not in seen]
    once = list({item.id: item for item in reversed(unseen)}.values())[::-1]  # the first of each, with its recording
    kept = once[: recipe.evaluate.max_sentences]
    if not kept:
        raise UserError("no unseen sentence to evaluate: give prepare.split.test a share, or evaluate.sentences")
    empty = sum(not item.text for item in found)
    silent = sum(item.row is not None and not may_be_heard(item) for item in kept)
    left_out = {
        "recording not played: its speaker did not allow listen_test": 0 if hears else silent,
        "training had the same sentence": len(found) - empty - len(unseen),
        "the same sentence twice": len(unseen) - len(once),
        "more than evaluate.max_sentences": len(once) - len(kept),
        "no letter of the language in the line": empty,
    }
    return kept, {reason: count for reason, count in left_out.items() if count}


def sentences(recipe: Recipe) -> Iterator[tuple[str, Language]]:
    """The sentences of the recipe's text file, normalised, with their language; blank lines passed over."""
    path, language = recipe.evaluate.sentences, recipe.evaluate.language
    if path is None:
        return
    if language is None:
        raise UserError("evaluate.language: say in which language and script evaluate.sentences is written")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{path}: {cause} (evaluate.sentences)") from None
    for line in filter(str.strip, lines):
        yield normalise(line, language), language


def write_sentences(recipe: Recipe, wanted: Sequence[Item]) -> Path:
    """The sentences with their ids, for whoever is to speak them: `sentences.csv`. Returns it."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "language", "text"])
    table.writerows([item.id, item.language, item.text] for item in wanted)
    path = recipe.folder("evaluate") / "sentences.csv"
    write_text(path, text.getvalue())
    return path


def name_of(system: Wanted) -> str:
    """What a system is called in figures and files."""
    return system if isinstance(system, str) else system.name


def compared(recipe: Recipe) -> list[Wanted]:
    """The systems of the recipe that exist: a model from a `config` has no base, recognition no recordings.

    Raises UserError when none is left, and for one that speaks where the recipe recognises.
    """
    absent = set()
    if recipe.train.base is None:
        absent.add("base")
    if recipe.train.recognises:
        absent.add("recordings")
    found = [s for s in _once(recipe.evaluate.systems) if name_of(s) not in absent]
    if not found:
        raise UserError(
            f"evaluate.systems: nothing to evaluate; this recipe has no {' and no '.join(sorted(absent))}"
        )
    speaks = [name_of(s) for s in found if not (s in ("base", "adapter") or isinstance(s, Trained))]
    if speaks and recipe.train.recognises:
        raise UserError(f"evaluate.systems: {speaks[0]} speaks, and {recipe.train.family} recognises speech")
    return found


def _once(systems: Sequence[Wanted]) -> list[Wanted]:
    return list({name_of(system): system for system in systems}.values())


def render_all(recipe: Recipe, wanted: Sequence[Item]) -> tuple[list[Rendered], dict[str, int]]:
    """All items by all systems of the recipe, and what they left out."""
    rendered: list[Rendered] = []
    left_out: dict[str, int] = {}
    for system in compared(recipe):
        made, without = render(recipe, system, wanted)
        rendered += made
        left_out |= without
    return rendered, left_out


def render(recipe: Recipe, system: Wanted, wanted: Sequence[Item]) -> tuple[list[Rendered], dict[str, int]]:
    """All items by one system, and what it left out: reason → how many. Nothing is made or paid for twice."""
    match system:
        case "recordings":
            rate_hz = recipe.prepare.rate_hz
            return [Rendered(system, i, recorded(i), rate_hz) for i in wanted if may_be_heard(i)], {}
        case "anchor_low" | "anchor_mid" | "anchor_flat":
            return anchors.render(recipe, system, wanted), {}
        case Files():
            return files.read(system, wanted)
        case Speech():
            return served(recipe, system, wanted)
        case _:
            return models.render(recipe, Model.of(system), wanted), {}


# ---------------------------------------------------------------- services


def served(recipe: Recipe, system: Speech, wanted: Sequence[Item]) -> tuple[list[Rendered], dict[str, int]]:
    """What a service says of the sentences that may go to it. Raises UserError when it says none of them."""
    folder, left_out = recipe.folder("evaluate") / "rendered" / _SERVED, Counter[str]()
    shown = prompts(recipe, system) if system.clone else {}
    allowed = []
    for item in wanted:
        if not system.local and not may_leave(item):
            left_out[f"{system.name}: not sent: its speaker did not allow transfer_abroad"] += 1
        elif system.clone and item.speaker not in shown:
            left_out[f"{system.name}: not sent: its speaker did not allow their voice to be"] += 1
        else:
            allowed.append((item, shown.get(item.speaker)))
    places = [remote.place(folder, system, item.text, prompt) for item, prompt in allowed]
    todo = [(*pair, path) for pair, path in zip(allowed, places, strict=True) if remote.note_of(path) is None]
    if todo:
        left_out.update(_ask(recipe, system, todo))
    found = []
    for (item, _), path in zip(allowed, places, strict=True):
        if note := remote.note_of(path):
            samples, rate_hz = soundfile.read(path, dtype="float32")
            found.append(Rendered(system.name, item, samples, rate_hz, took_s=note.took_s, cost=note.cost))
            left_out[f"{system.name}: shorter than speech can be, and kept as it came"] += note.short
    if not found:
        reasons = "; ".join(reason for reason, count in left_out.items() if count)
        raise UserError(f"{system.name}: no sentence was spoken: {reasons}")
    return found, {reason: count for reason, count in left_out.items() if count}


def _ask(recipe: Recipe, system: Speech, todo: Sequence[tuple[Item, remote.Prompt | None, Path]]) -> Counter[str]:
    """Ask for sentences and keep what comes, one after the other. Returns why some were not spoken."""
    left_out = Counter[str]()
    with remote.open_client(system) as client:
        for item, prompt, path in track(todo, system.name, console=Console(stderr=True), disable=len(todo) < 5):
            wanted = _takes(system, item, prompt)
            if not all(sources.may(recipe, sources.clip_of(row), asked) for row, asked in wanted.items()):
                left_out[f"{system.name}: not sent: its speaker has just taken that back"] += 1
                continue
            try:
                samples, note = remote.speak(client, system, item.text, prompt)
            except remote.NotSpoken as error:
                left_out[f"{system.name}: not spoken: {error}"] += 1
                continue
            models.write_sound(path, samples, note.rate_hz)
            remote.keep(path, note, {row: list[str](asked) for row, asked in wanted.items()})
    return left_out


def _takes(system: Speech, item: Item, prompt: remote.Prompt | None) -> dict[str, list[Purpose]]:
    """The purposes it takes to ask for a sentence, by row: of its words, and of the one that shows the voice."""
    abroad: list[Purpose] = [] if system.local else ["transfer_abroad"]
    words: dict[str, list[Purpose]] = {item.row["id"]: abroad} if item.row is not None else {}
    return words | ({prompt.id: ["tts_clone", *abroad]} if prompt else {})


def prompts(recipe: Recipe, system: Speech) -> dict[str, remote.Prompt]:
    """A recording of each speaker that may show a service their voice, from training, as near to 5 s as there is.

    It takes `tts_clone`; and `transfer_abroad`, where the service is not on this machine.
    """
    from evaluate.stimuli import wav

    train, asked = open_dataset(recipe)["train"], {"tts_clone"} | (set() if system.local else {"transfer_abroad"})
    nearest: dict[str, tuple[float, int]] = {}
    for number, speaker in enumerate(train["speaker"]):
        if asked <= set(train["purposes"][number]):
            distance = abs(train["duration_s"][number] - _VOICE_S)
            nearest[speaker] = min(nearest.get(speaker, (distance, number)), (distance, number))
    rows = {speaker: train[number] for speaker, (_, number) in nearest.items()}
    rate_hz = recipe.prepare.rate_hz
    return {
        speaker: remote.Prompt(
            row["id"], wav(recorded(Item("", row["language"], speaker, row)), rate_hz), row["text"]
        )
        for speaker, row in rows.items()
    }


def forget(recipe: Recipe) -> None:
    """Remove what other weights, or other data, rendered: a voice that left must not live on here.

    What a service said stays, for it was paid for, as long as the words and voices behind it may still be used so.
    """
    own = [Model("base", "base"), Model("adapter", "adapter")]
    own += [Model.of(system) for system in recipe.evaluate.systems if isinstance(system, Trained)]
    kept = {models.identity(recipe, model) for model in own} | {_SERVED}
    rendered = recipe.folder("evaluate") / "rendered"
    for folder in rendered.glob("*"):
        if folder.name not in kept:
            shutil.rmtree(folder)
    allowed: dict[str, set[str]] = {}
    for split in open_dataset(recipe).values():
        allowed |= {name: set(may) for name, may in zip(split["id"], split["purposes"], strict=True)}
    for path, wanted in _kept_of_services(recipe):
        if not all(set(purposes) <= allowed.get(row, set()) and row in allowed for row, purposes in wanted.items()):
            path.unlink()
            path.with_suffix(".flac").unlink(missing_ok=True)


def needs(recipe: Recipe) -> Iterator[tuple[str, list[Purpose]]]:
    """The rows whose words or voice services were given, of what is kept, and the purposes that it takes."""
    for _, wanted in _kept_of_services(recipe):
        yield from wanted.items()


def _kept_of_services(recipe: Recipe) -> Iterator[tuple[Path, dict[str, list[Purpose]]]]:
    for path in sorted((recipe.folder("evaluate") / "rendered" / _SERVED).glob("*.json")):
        yield path, json.loads(path.read_text(encoding="utf-8"))["needs"]
