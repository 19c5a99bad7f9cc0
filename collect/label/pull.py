"""Annotations to the ledger: what changed since the last time, and what annotators agree on."""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from collect.label import agreement, task
from collect.label.agreement import Verdict
from collect.label.server import Changed, Project
from collect.ledger import Ledger
from recipes.records import Clip, Transcript
from recipes.schema import Label, Recipe

_OVERLAP = timedelta(minutes=10)  # read again, for what was saved while the last pull was reading


@dataclass
class Pulled:
    """What a pull did."""

    read: int = 0  # tasks that changed
    new: int = 0
    changed: int = 0
    removed: int = 0
    forbidden: int = 0  # annotations of clips that may no longer be used
    amended: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter)


@dataclass(frozen=True)
class Conflict:
    """A clip that annotators do not agree about."""

    clip: Clip
    about: str


def pull(project: Project, ledger: Ledger, settings: Label, recipe: Recipe) -> Pulled:
    """Take over what changed since the last pull; then settle every clip that annotators agree on."""
    done = Pulled()
    state = _state(recipe)
    last = read_state(state, project.mark)
    newest = last
    for changed in project.changed(last - _OVERLAP if last else None):
        newest = max(newest or changed.at, changed.at)
        done.read += 1
        clip = ledger.clip(changed.clip)
        if clip is None or not ledger.permit(clip, "store_prepare"):
            done.forbidden += len(changed.annotations)
        else:
            take(ledger, changed, done)
    settle(ledger, settings, done)
    if newest:  # the server's clock, not ours
        write_state(state, project.mark, newest)
    return done


def take(ledger: Ledger, changed: Changed, done: Pulled) -> None:
    """Write a task's annotations into the ledger, and forget those of this task that are no longer there."""
    known = {row.id: row for row in ledger.transcripts(changed.clip) if row.id.startswith(f"{changed.mark}:")}
    said = [task.transcript(changed.clip, annotation, changed.mark) for annotation in changed.annotations]
    for row in filter(None, said):
        before = known.pop(row.id, None)
        if before == row:
            continue
        ledger.add_transcript(row)
        done.new += before is None
        done.changed += before is not None
    for name in known:
        ledger.remove_transcript(name)
        done.removed += 1


def settle(ledger: Ledger, settings: Label, done: Pulled) -> list[Conflict]:
    """Give each clip what its annotators agree on. Where they do not, it stays as it was and is returned."""
    conflicts = []
    for clip, said in transcribed(ledger):
        verdict, about = agreement.verdict(said, settings.annotators, settings.agree_cer)
        done.verdicts[verdict] += 1
        after = clip
        if verdict == "agreed":
            after = agreement.settled(clip, said)
        elif verdict == "unusable":
            after = clip.model_copy(update={"valid": False})
        elif verdict == "conflict":
            conflicts.append(Conflict(clip, about))
        if after != clip:
            ledger.amend(after)
            done.amended += 1
    return conflicts


def transcribed(ledger: Ledger) -> list[tuple[Clip, list[Transcript]]]:
    """Clips that annotators wrote something of and that may be used, each with the last word of each of them."""
    by_clip: dict[str, list[Transcript]] = {}
    for row in ledger.transcripts():
        by_clip.setdefault(row.clip, []).append(row)
    return [
        (clip, agreement.newest(by_clip[clip.id]))
        for clip in ledger.clips()
        if clip.id in by_clip and ledger.permit(clip, "store_prepare")
    ]


# ---------------------------------------------------------------- how far the last pull came


def _state(recipe: Recipe) -> Path:
    return recipe.folder("collect") / "label.json"


def read_state(path: Path, mark: str) -> datetime | None:
    """Up to when the project was pulled; None when it never was, or that is lost: then everything is read again."""
    try:
        return datetime.fromisoformat(json.loads(path.read_text(encoding="utf-8"))[mark])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_state(path: Path, mark: str, at: datetime) -> None:
    """Remember up to when a project was pulled."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps({mark: at.isoformat()}) + "\n", encoding="utf-8")
    os.replace(part, path)
