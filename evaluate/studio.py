"""The same test in Label Studio: `python -m evaluate.studio RECIPE export`, then `import --file EXPORT.json`.

`export` writes tasks, labelling interface and clips into `evaluate/listening/TEST/label_studio/`; `import` reads the
project's export (JSON) back. Its blinding is weaker than that of evaluate.listen: see docs/listening.md.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from evaluate import design, seal
from evaluate.listen.course import Incomplete, Step, read
from evaluate.listen.trials import kind_of, labels_of, question_of, rows_of, sentence_of
from evaluate.listen.visit import PAGES, Running
from evaluate.panel import Answer, Listener
from recipes.command import next_command, run
from recipes.provenance import write_text
from recipes.schema import INTERFACES, Recipe, UserError
from web.page import strings

_MOST_NUMBERS = 2**31  # what a database holds
_PREFIX = "/data/local-files/?d=listening/"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listeners", type=int, metavar="N", help="how many are exported; default: as planned")
    parser.add_argument("--language", choices=INTERFACES, default="fr", help="of the labelling interface")
    parser.add_argument("--prefix", default=_PREFIX, help=f"what stands before a clip's name; default: {_PREFIX}")
    parser.add_argument("--file", type=Path, help="what Label Studio exported, as JSON")
    parser.add_argument("--pilot", action="store_true", help="the pilot, not the planned test")


def main(recipe: Recipe, arguments: argparse.Namespace) -> None:
    with closing(Running(recipe, arguments.pilot)) as running:
        if running.over:
            raise UserError("the planned test was unsealed and is over")
        if arguments.action == "export":
            count = arguments.listeners or recipe.evaluate.plan.listeners
            place = export(running, count, arguments.language, arguments.prefix)
            print(f"{place}: tasks.json and config.xml for {count} listeners, and their clips")
            print("give each annotator the tasks of one number (filter by `listener`), sorted by `place`")
            if (place / "closing.json").is_file():
                print("and then its task of a second project (closing.json, closing.xml): the last question")
            return
        if arguments.file is None:
            raise UserError("--file: name what Label Studio exported")
        added = bring(running, arguments.file)
        print(f"{added} answers are new")
        print(next_command("evaluate.unseal", "when it is over"))


# ---------------------------------------------------------------- there


def export(running: Running, listeners: int, language: str, prefix: str) -> Path:
    """Write what Label Studio needs for so many listeners. The same again writes the same.

    The closing question is a project of its own, for after the other: `closing.json` and `closing.xml`.
    """
    folder = seal.folder(running.recipe, running.blind.name) / "label_studio"
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    for name, config, some in (("tasks", "config", _trials), ("closing", "closing", _closing)):
        found = [(number, *row) for number in range(listeners) for row in some(running, _numbered(number))]
        for unused in (f"{name}.json", f"{config}.xml") if not found else ():  # of an earlier choice
            (folder / unused).unlink(missing_ok=True)
        if found:
            tasks = [_task(running, folder / "clips", prefix, *row) for row in found]
            write_text(folder / f"{name}.json", json.dumps(tasks, ensure_ascii=False, indent=1))
            write_text(folder / f"{config}.xml", interface(running, found[0][2], language))
    return folder


def _task(running: Running, clips: Path, prefix: str, number: int, place: int, step: Step) -> dict[str, Any]:
    """A step of a listener; its clips are written."""
    data: dict[str, Any] = {"listener": number, "place": place, "text": sentence_of(running, step)[0]}
    for slot, label in enumerate(_names(step)):
        token = running.named("studio", number, place, slot)
        (clips / f"{token}.wav").write_bytes(running.sent(step, slot, token))
        data[f"clip_{label.lower()}"] = f"{prefix}{token}.wav"
    return {"data": data}


def interface(running: Running, step: Step, language: str) -> str:
    """The labelling interface for steps like this one, in a language of the pages."""
    t, kind = strings(language, PAGES), kind_of(running, step)
    question, lead = question_of(kind, t)
    lines = ["<View>", f"  <Header value={quoteattr(question)}/>"]
    lines += ['  <Text name="text" value="$text"/>'] if step.is_trial else []
    lines.append(f"  <Header value={quoteattr(lead)} size='5'/>")
    for label in _names(step):
        lines.append(f"  <Header value={quoteattr(t['reference'] if label == 'R' else label)} size='4'/>")
        lines.append(f'  <Audio name="{label.lower()}" value="$clip_{label.lower()}"/>')
        if kind in design.SLIDERS and label != "R":
            lines.append(f'  <Number name="slider_{label.lower()}" toName="{label.lower()}" min="0" max="100"/>')
    if kind not in design.SLIDERS:
        lines.append('  <Choices name="choice" toName="a" choice="single" required="true">')
        for row in rows_of(kind, step, t):
            said = row.text.replace("{it}", row.letter)
            lines.append(f'    <Choice value={quoteattr(said)} alias="{row.value}"/>')
        lines.append("  </Choices>")
    return "\n".join([*lines, "</View>", ""])


def _names(step: Step) -> list[str]:
    """What the clips of a task are called; R is MUSHRA's named reference."""
    return [label or "A" for label in labels_of(step)] + (["R"] if step.named else [])


def _numbered(number: int) -> Listener:
    return Listener(f"studio {number}", number, "fr", {}, True, "not_run")


def _trials(running: Running, listener: Listener) -> list[tuple[int, Step]]:
    """The trials of a listener with their places, without training and without checks that need this app."""
    steps = enumerate(running.way(listener))
    return [(place, step) for place, step in steps if step.is_trial and step.kind != "training"]


def _closing(running: Running, listener: Listener) -> list[tuple[int, Step]]:
    """The closing question of a listener, with its place; none where it is not asked."""
    return [(place, step) for place, step in enumerate(running.way(listener)) if step.kind == "guess"]


# ---------------------------------------------------------------- and back


def bring(running: Running, path: Path) -> int:
    """Add the answers of a project's export. Returns how many are new.

    Raises UserError, with nothing written, for a file that is no such export, or of another test, or for a listener's
    number that two people answered or somebody in evaluate.listen has.
    """
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))
        rows = [row for task in tasks for row in _annotations(task)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        cause = getattr(error, "strerror", None) or "no export of Label Studio as JSON"
        raise UserError(f"{path}: {cause}") from None
    known = {listener.number: listener for listener in running.panel.listeners()}
    brought: list[tuple[Listener, list[Answer]]] = []
    for number, person in sorted(_people(path, rows).items()):
        name = _pseudonym(running, number, person)
        listener = known.get(number) or replace(_numbered(number), name=name)
        if listener.name != name:
            raise UserError(f"{path}: number {number} is taken by a listener of evaluate.listen")
        steps = dict(_trials(running, listener) + _closing(running, listener))
        mine = [row for row in rows if row[0] == number]
        brought.append((listener, [_answer(path, steps, place, listener, result) for _, place, _, result in mine]))
    for listener, _ in brought:
        if listener.number not in known:
            running.panel.enrol_as(listener.number, listener.name)
    return sum(running.panel.add(answer) for _, given in brought for answer in given)


Row = tuple[int, int, str, Sequence[Any]]  # listener, place, annotator, results


def _annotations(task: Mapping[str, Any]) -> list[Row]:
    data = task["data"]
    found: list[Row] = []
    for one in task.get("annotations", []):
        if not one.get("was_cancelled"):
            person = one["completed_by"]
            who = str(person["id"] if isinstance(person, dict) else person)
            found.append((int(str(data["listener"])), int(str(data["place"])), who, list(one["result"])))
    return found


def _people(path: Path, rows: Sequence[Row]) -> dict[int, str]:
    """Which annotator has which number. Raises UserError."""
    people: dict[int, str] = {}
    for number, _, person, _ in rows:
        if not 0 <= number < _MOST_NUMBERS:
            raise UserError(f"{path}: listener {number}: no number that was exported")
        if people.setdefault(number, person) != person:
            raise UserError(f"{path}: listener {number} was answered by two annotators; keep one of them")
    return people


def _answer(path: Path, steps: Mapping[int, Step], place: int, listener: Listener, result: Sequence[Any]) -> Answer:
    """One annotation as an answer. Label Studio does not tell what was heard: shares are kept as 0."""
    try:
        if place not in steps:
            raise Incomplete
        answer = read(steps[place], place, listener.name, _form(steps[place], result), None)
    except Incomplete:
        raise UserError(f"{path}: listener {listener.number}, place {place}: no answer of this test") from None
    return replace(answer, heard=[0.0] * len(answer.heard))


def _form(step: Step, result: Sequence[Any]) -> dict[str, str]:
    """The results of an annotation as the form of the web test. What the interface does not ask is passed over."""
    form = {f"heard{slot}": "1" for slot in range(len(step.sounds))}
    ours = {f"slider_{label.lower()}": f"slider{slot}" for slot, label in enumerate(labels_of(step))}
    ours["choice"] = "choice"
    for one in result:
        match one:
            case {"from_name": str(name), "value": {"choices": [value]} | {"number": value}} if name in ours:
                form[ours[name]] = str(value).partition(".")[0]
    return form


def _pseudonym(running: Running, number: int, person: str) -> str:
    return hashlib.sha256(running.named("annotator", number, person).encode()).hexdigest()[:16]


if __name__ == "__main__":
    run(main, __doc__ or "", actions=("export", "import"), options=options)
