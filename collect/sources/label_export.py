"""What Label Studio exports: JSON, JSON_MIN or CSV, with transcripts that annotators have validated."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from collect.sources.metadata import Entry, cell, check_columns, read_table, read_text, values
from recipes.schema import Collect, Columns, UserError

_TEXTS = ("transcription", "transcript", "text")  # what projects call the text area
_SOUND = re.compile(r"\.(wav|flac|mp3|ogg|opus|m4a|webm|3gp|amr|wma)\b", re.IGNORECASE)
_PIECES = "transcribed in pieces: one transcript of the whole recording is needed"
_UPLOAD_MARK = re.compile(r"[0-9a-f]{8}-")  # what the server puts before the name of an uploaded file


@dataclass(frozen=True)
class _Task:
    """One task with the annotation that counts."""

    place: str
    cells: Mapping[str, Any]  # the task's data and, over them, the annotation's answers
    annotated: bool
    at: str  # when the annotation was last changed
    areas: frozenset[str] = field(default_factory=frozenset)  # names of the text areas, where the export tells
    fault: str = ""


def tasks(settings: Collect) -> Iterator[Entry]:
    """The tasks of an export, each with its newest annotation. Raises UserError for a file that is no export.

    Who annotated is not read. A task that was skipped, or transcribed in pieces, is left out with its reason.
    """
    path = _export(settings)
    found = list(_newest(_from_csv(path) if path.suffix == ".csv" else _from_json(path)))
    if not found:
        return
    columns = _columns(path, settings.columns, found)
    taken: dict[str, str] = {}
    for task in found:
        text, fault = _said(task.cells.get(columns.text) if task.annotated else None)
        fault = task.fault or fault
        row = {key: _answer(value) for key, value in task.cells.items()} | {columns.text: text}
        file = _file(settings.source, row.get(columns.file, ""))
        if file and not fault and taken.setdefault(file, task.place) != task.place:
            fault = f"the same recording as {taken[file]}"
        yield Entry(
            task.place,
            {**values(row, columns), "file": file},
            origin="validated" if text else "prompt",
            left_out=fault,
        )


def _export(settings: Collect) -> Path:
    """The exported file: the one that the recipe names, or the only one in the folder."""
    folder = settings.source
    if settings.metadata:
        found = [folder / settings.metadata]
    else:
        files = (path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".csv"))
        found = [path for path in files if path.name != settings.consents]
    if len(found) != 1 or not found[0].is_file():
        raise UserError(f"{folder}: {len(found)} exports (.json, .csv) in it; name the one in collect.metadata")
    return found[0]


# ---------------------------------------------------------------- the three formats


def _from_json(path: Path) -> Iterator[_Task]:
    """Tasks of a JSON export (with `data` and `annotations`), or rows of JSON_MIN."""
    try:
        items = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {' '.join(str(error).split())}") from None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UserError(f"{path}: not a list of tasks; export the project from Label Studio as JSON or JSON_MIN")
    for number, item in enumerate(items, start=1):
        place = f"{path.name}: task {item.get('id', number)}"
        if not isinstance(item.get("data"), dict):
            yield _minimal(place, item)
            continue
        try:
            yield _whole(place, item)
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(f"{place}: not a task as Label Studio exports it: {error}") from None


def _whole(place: str, item: Mapping[str, Any]) -> _Task:
    """A task of the JSON export: its ground truth, or its newest annotation that was not skipped."""
    every = item.get("annotations") or item.get("completions") or []
    done = [one for one in every if not (one.get("was_cancelled") or one.get("skipped"))]
    done.sort(key=lambda one: (bool(one.get("ground_truth")), _at(one)))
    answers: dict[str, list[Any]] = {}
    areas = {result["from_name"] for one in done for result in one["result"] if result.get("type") == "textarea"}
    for result in done[-1]["result"] if done else []:
        if "from_name" in result:  # relations between regions have none
            answers.setdefault(result["from_name"], []).append(result["value"])
    skipped = "skipped by its annotator" if every and not done else ""
    at = _at(done[-1]) if done else ""
    return _Task(place, {**item["data"], **answers}, bool(done), at, frozenset(areas), skipped)


def _minimal(place: str, item: Mapping[str, Any]) -> _Task:
    """A row of JSON_MIN or CSV: one annotation, its answers beside the task's data."""
    return _Task(place, item, bool(item.get("annotation_id")), _at(item))


def _from_csv(path: Path) -> Iterator[_Task]:
    """Rows of the CSV export; what is not a plain answer is JSON in its cell."""
    for number, row in read_table(path):
        cells = {key: _unpacked(value) for key, value in row.items()}
        yield _minimal(f"{path.name}: task {row.get('id') or number}", cells)


def _unpacked(value: str) -> Any:
    try:
        return json.loads(value) if value.startswith(("[", "{")) else value
    except ValueError:
        return value  # a text that begins with a bracket


def _at(annotation: Mapping[str, Any]) -> str:
    return cell(annotation.get("updated_at") or annotation.get("created_at"))


def _newest(found: Iterator[_Task]) -> Iterator[_Task]:
    """Of the annotations of one task, the one that was changed last. Times are ISO 8601, all in UTC."""
    best: dict[str, _Task] = {}
    for task in found:
        if task.place not in best or task.at >= best[task.place].at:
            best[task.place] = task
    yield from best.values()


# ---------------------------------------------------------------- what they say


def _columns(path: Path, given: Columns, found: list[_Task]) -> Columns:
    """The recipe's columns; those it does not name, by what the export holds."""
    have = list(dict.fromkeys(key for task in found for key in task.cells))
    areas = sorted({name for task in found for name in task.areas})
    sounds = [key for key in have if any(_SOUND.search(cell(task.cells.get(key))) for task in found)]
    guessed = {
        "file": "audio" if "audio" in have or not sounds else sounds[0],
        "text": areas[0] if len(areas) == 1 else next((name for name in _TEXTS if name in have), "transcription"),
    }
    named = given.model_fields_set
    columns = given.model_copy(update={key: name for key, name in guessed.items() if key not in named})
    text = {"text"} if any(task.annotated for task in found) else set()
    check_columns(path, have, columns, {"file"} | text | named)
    return columns


def _said(answer: Any) -> tuple[str, str]:
    """The transcript in an answer, and what is wrong with it."""
    parts = answer if isinstance(answer, list) else [] if answer is None else [answer]
    if any(isinstance(part, dict) and "start" in part for part in parts):
        return "", _PIECES
    texts: list[str] = []
    for part in parts:
        inside = part.get("text", []) if isinstance(part, dict) else part
        texts += map(cell, inside if isinstance(inside, list) else [inside])
    texts = [text for text in texts if text]
    if len(texts) > 1:
        return "", _PIECES
    return "".join(texts), ""


def _answer(value: Any) -> str:
    """What a task says of itself, or was answered to a question with choices."""
    parts = value if isinstance(value, list) else [value]
    choices = [part["choices"] if isinstance(part, dict) and "choices" in part else [part] for part in parts]
    return ", ".join(cell(choice) for some in choices for choice in some)


def _file(folder: Path, address: str) -> str:
    """The file of the folder that a task's address means; the last part of the address where there is none.

    `/data/upload/PROJECT/MARK-NAME`, `/data/local-files/?d=PATH`, or any other address or path, each by the
    longest of its endings that is a file of the folder; an upload also by the name it had before.
    """
    parts = urlsplit(address)
    path = parse_qs(parts.query).get("d", [""])[0] or unquote(parts.path)
    steps = [step for step in path.replace("\\", "/").split("/") if step not in ("", ".", "..")]
    endings = ["/".join(steps[at:]) for at in range(len(steps))]
    if steps and "upload" in steps:
        endings.append(_UPLOAD_MARK.sub("", steps[-1], count=1))
    return next((ending for ending in endings if (folder / ending).is_file()), steps[-1] if steps else "")
