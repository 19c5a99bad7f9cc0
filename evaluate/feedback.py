"""What users of the speech server said of its answers: a line each, in a file that the next evaluation reads."""

import json
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import AwareDatetime, Field, ValidationError

from recipes.records import Row
from recipes.schema import Recipe, UserError

_LINE_BYTES = 8 * 1024  # no line is longer
_lock = threading.Lock()


class Said(Row):
    """One verdict on one answer. The words of the answer are not in it."""

    at: AwareDatetime
    request: str
    kind: Literal["speech", "transcription"]
    model: str
    weights: str  # of the adapter, so that another one is not judged by it
    rating: Literal["good", "bad"]
    comment: str = Field("", max_length=500)


def path_of(recipe: Recipe) -> Path:
    """Where verdicts are kept."""
    return recipe.folder("evaluate") / "feedback.jsonl"


def add(recipe: Recipe, **values: Any) -> Said:
    """Append a verdict. Raises pydantic's ValidationError for what is none."""
    said = Said.model_validate(values | {"at": datetime.now(UTC).replace(microsecond=0)})
    path = path_of(recipe)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock, open(path, "ab+") as file:
        _cut_half_line(file)
        file.write(said.model_dump_json().encode() + b"\n")
    return said


def _cut_half_line(file: BinaryIO) -> None:
    """Remove what a kill left of a last line: the next one must not be joined to it."""
    file.seek(max(0, file.seek(0, 2) - _LINE_BYTES))
    start, tail = file.tell(), file.read()
    if tail and not tail.endswith(b"\n"):
        file.truncate(start + tail.rfind(b"\n") + 1)


def read(recipe: Recipe) -> list[Said]:
    """All verdicts, of each answer the last. Raises UserError for a line that is none; half a last one is passed."""
    path = path_of(recipe)
    if not path.exists():
        return []
    found: dict[str, Said] = {}
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines[:-1], start=1):  # after the last line break: what a kill cut off, or nothing
        try:
            said = Said.model_validate(json.loads(line))
        except (ValueError, ValidationError):
            raise UserError(f"{path}, line {number}: no verdict; remove the line") from None
        found[said.request] = said
    return list(found.values())


@dataclass(frozen=True)
class Verdicts:
    """How many answers of one model, with these weights, users called good and bad."""

    model: str
    weights: str
    good: int
    bad: int


def verdicts(recipe: Recipe) -> list[Verdicts]:
    """What users said, by model and weights, in the order in which they were first judged."""
    counts = Counter((said.model, said.weights, said.rating) for said in read(recipe))
    judged = dict.fromkeys((model, weights) for model, weights, _ in counts)
    return [Verdicts(*one, counts[*one, "good"], counts[*one, "bad"]) for one in judged]


def summary(recipe: Recipe) -> list[str]:
    """A line for each model that users judged."""
    return [f"{one.model} ({one.weights[:12]}): {one.good} good, {one.bad} bad" for one in verdicts(recipe)]
