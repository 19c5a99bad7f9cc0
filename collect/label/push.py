"""Clips to Label Studio: what is withdrawn is deleted, what is missing is added, links that run out are renewed."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.progress import Progress

from collect import lineage
from collect.label import task
from collect.label.audio import Source, signed
from collect.label.drafts import Drafts
from collect.label.files import clear, copies
from collect.label.server import Project, Task, alone, data_dir, former, open_project, purge_exports
from collect.ledger import Ledger
from collect.lineage import Artefact
from recipes.records import Clip
from recipes.schema import Label, Recipe, UserError

_BATCH = 200  # clips in one import


@dataclass
class Pushed:
    """What a push did."""

    added: int = 0
    without_draft: int = 0
    drafted: int = 0
    deleted: int = 0
    renewed: int = 0
    there: int = 0
    unknown: int = 0  # tasks of clips that this ledger never had: left alone
    closed: int = 0  # tasks of withdrawals that are done now
    exports: int | None = None  # files deleted; None where the server's disk is not known


def push(project: Project, ledger: Ledger, settings: Label, drafts: Drafts) -> Pushed:
    """Bring the project to what the ledger permits now. Raises UserError when something withdrawn stays there."""
    done = Pushed()
    there = project.tasks()
    withdraw(project, ledger, settings, there, done)
    withdraw_elsewhere(project, ledger, settings, done)
    there = [row for row in there if permitted(ledger, row.clip)]
    clear(project, settings, keep={row.clip for row in there} if settings.audio == "files" else set())
    source = copies(project, ledger, settings) if settings.audio == "files" else signed(settings, ledger.keys)
    missing = [clip for clip in to_label(ledger, settings) if clip.id not in {row.clip for row in there}]
    ledger.register(artefact(project), [clip.id for clip in missing])
    add(Sending(project, ledger, settings, drafts, source), missing, done)
    renew(Sending(project, ledger, settings, drafts, source), there, done)
    if done.drafted:
        project.show(drafts.version)
    done.there = once(project)
    return done


def leave(recipe: Recipe, ledger: Ledger) -> Pushed:
    """Delete from Label Studio what is no longer permitted there, and nothing else.

    Raises UserError when the server does not answer, or when something withdrawn stays.
    """
    settings, done = recipe.collect.label, Pushed()
    with alone(recipe), open_project(recipe) as project:
        withdraw(project, ledger, settings, project.tasks(), done)
        withdraw_elsewhere(project, ledger, settings, done)
        clear(project, settings, keep={row.clip for row in project.tasks()} if settings.audio == "files" else set())
    return done


@dataclass(frozen=True)
class Sending:
    """What tasks are made with."""

    project: Project
    ledger: Ledger
    settings: Label
    drafts: Drafts
    source: Source

    def task(self, clip: Clip, version: str) -> dict[str, str]:
        """The data of a clip's task. `version`: of the draft that it was given."""
        return task.task(clip, self.source.link(clip), version)

    def draft(self, clip: Clip, text: str) -> dict[str, Any]:
        """A clip's draft, checked. The dialect is a fact about a person, shown where they allowed that."""
        told = clip.dialect in self.settings.dialects and self.ledger.permit(clip, "profile_data")
        made = task.prediction(clip, text, self.drafts.version, clip.dialect if told else None)
        self.project.check([made])
        return made


def artefact(project: Project) -> Artefact:
    """The project as lineage knows it."""
    return Artefact(id=project.mark, kind="label_studio", place=project.url, purpose="store_prepare")


def permitted(ledger: Ledger, clip: str) -> bool:
    """Whether a clip may be with annotators now."""
    found = ledger.clip(clip)
    return found is not None and ledger.permit(found, "store_prepare")


def to_label(ledger: Ledger, settings: Label) -> list[Clip]:
    """Clips that annotators are to transcribe: permitted, of the recipe's languages, not yet validated."""
    return [
        clip
        for clip in ledger.clips()
        if ledger.permit(clip, "store_prepare")
        and (settings.languages is None or clip.language in settings.languages)
        and clip.origin != "validated"
        and clip.valid
    ]


# ---------------------------------------------------------------- withdrawal


def withdraw(project: Project, ledger: Ledger, settings: Label, there: Iterable[Task], done: Pushed) -> None:
    """Delete what is no longer permitted, see that it is gone, and close what withdrawals asked for."""
    gone = forbidden(project, ledger, there, done)
    asked = pending(ledger, project.mark)
    if not gone and not asked:
        return
    project.delete([row.id for row in gone])
    left = [row for row in project.tasks() if row.clip in {was.clip for was in gone}]
    left += [row for row in gone[:20] if project.has(row.id)]
    if left:
        raise UserError(f"{project.url}: task {left[0].id} of a withdrawn clip is still there; delete it by hand")
    done.deleted += len(gone)
    close(ledger, settings, asked, project.id, f"{len(gone)} tasks deleted, none listed afterwards", done)


def withdraw_elsewhere(project: Project, ledger: Ledger, settings: Label, done: Pushed) -> None:
    """The same in projects of this server that the recipe had before, under another title."""
    server = project.url.rpartition("/projects/")[0]
    for mark in sorted({row.artefact for row in pending(ledger) if row.place.startswith(f"{server}/projects/")}):
        if old := former(project, mark):
            withdraw(old, ledger, settings, old.tasks(), done)
            clear(old, settings, keep={row.clip for row in old.tasks()})
        else:
            number = int(mark.removeprefix("ls:").partition("@")[0])
            close(ledger, settings, pending(ledger, mark), number, "the project is no longer there", done)


def pending(ledger: Ledger, mark: str | None = None) -> list[lineage.Task]:
    """What withdrawals still ask of Label Studio, or of one project."""
    found = [row for row in ledger.tasks() if row.kind == "label_studio" and row.state == "pending"]
    return [row for row in found if mark is None or row.artefact == mark]


def close(
    ledger: Ledger, settings: Label, asked: Iterable[lineage.Task], number: int, proof: str, done: Pushed
) -> None:
    """Delete what a project exported, where the server's disk is known, and say what was done."""
    folder = data_dir(settings)
    if folder:
        purged = purge_exports(folder, number)
        done.exports = (done.exports or 0) + purged
        proof += f"; {purged} export files deleted"
    else:
        proof += "; exports on the server's disk not looked at"
    at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    for row in asked:
        ledger.close_task(row, "done", f"{at}: {proof}")
        done.closed += 1


def forbidden(project: Project, ledger: Ledger, there: Iterable[Task], done: Pushed) -> list[Task]:
    """Tasks of clips that may not be there. One of a clip that this ledger never had is another ledger's."""
    found = []
    for row in there:
        if permitted(ledger, row.clip):
            continue
        if ledger.clip(row.clip) is None and project.mark not in ledger.touched([row.clip]):
            done.unknown += 1
        else:
            found.append(row)
    return found


# ---------------------------------------------------------------- tasks


def add(sending: Sending, clips: list[Clip], done: Pushed) -> None:
    """Import clips that have no task yet, each with its draft."""
    version = sending.drafts.version
    with Progress(console=Console(stderr=True), disable=not clips) as progress:
        bar = progress.add_task("sending", total=len(clips))
        for start in range(0, len(clips), _BATCH):
            batch = clips[start : start + _BATCH]
            texts = sending.drafts.write(batch)
            sending.project.add(
                [
                    {
                        "data": sending.task(clip, version),
                        "predictions": [sending.draft(clip, texts[clip.id])] if clip.id in texts else [],
                    }
                    for clip in batch
                ]
            )
            done.added += len(batch)
            done.drafted += len(texts)
            done.without_draft += len(batch) - len(texts)
            progress.advance(bar, len(batch))


def renew(sending: Sending, there: list[Task], done: Pushed) -> None:
    """Give tasks a new link before theirs runs out, and those that nobody began the drafts of another version."""
    for row in there:
        stale = row.draft != sending.drafts.version and row.annotations == 0
        if sending.source.lasts(row.clip, row.audio) and not stale:
            continue
        clip = sending.ledger.clip(row.clip)
        if clip is None:
            continue
        if stale:
            for text in sending.drafts.write([clip]).values():
                sending.project.draft(row, sending.draft(clip, text))
                done.drafted += 1
        sending.project.revise(row, sending.task(clip, sending.drafts.version if stale else row.draft))
        done.renewed += 1


def once(project: Project) -> int:
    """Delete second tasks of a clip, as two pushes at once can make, where nobody began them. How many clips."""
    by_clip: dict[str, list[Task]] = defaultdict(list)
    for row in project.tasks():
        by_clip[row.clip].append(row)
    more = []
    for rows in by_clip.values():
        rows.sort(key=lambda row: (-row.annotations, row.id))
        more += [row.id for row in rows[1:] if row.annotations == 0]
    project.delete(more)
    return len(by_clip)
