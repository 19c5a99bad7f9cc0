"""Take a consent back: `python -m collect.withdraw RECIPE CODE [--purpose PURPOSE ...]`.

CODE is what the speaker's receipt says, or the speaker's code in the ledger. `python -m collect.withdraw
RECIPE status` lists what withdrawals still ask for.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path

import yaml

from collect.chain import Receipt
from collect.consent import Event
from collect.ledger import Ledger, open_ledger
from collect.lineage import Task
from recipes.command import run
from recipes.provenance import file_digest, mark_withdrawn
from recipes.records import PURPOSES, Purpose
from recipes.schema import Recipe, UserError
from web.codes import typed

_BASE: Purpose = "store_prepare"  # without it nothing may be kept
_REMOVED = ("voice_check", "prepare_report")  # files that a withdrawal removes at once: a command makes them anew


@dataclass(frozen=True)
class WithdrawalReceipt:
    """What a speaker is told: done, still to be done, cannot be recalled."""

    speaker: str
    day: date
    purposes: tuple[Purpose, ...]  # taken back; empty: all
    clips: int  # recordings that cannot be read any more
    tasks: tuple[Task, ...]
    proof: Receipt

    def text(self, language: str = "en", sentences: Mapping[Purpose, str] | None = None) -> str:
        """The receipt as plain text, in a language of the booth. `sentences`: how that calls the purposes."""
        say = {key: row.get(language, row["en"]) for key, row in _sentences().items()}
        whole = not self.purposes
        taken_back = [f"  - {(sentences or {}).get(purpose, purpose)}" for purpose in self.purposes]
        done = [say["blocked"], *([say["erased"].format(clips=self.clips)] if whole else [])]
        done += [f"{task.kind}: {task.proof}" for task in self.tasks if task.state == "done"]
        open_tasks = [task for task in self.tasks if task.state == "pending"]
        pending = [say["task"].format(kind=task.kind, due=task.due) for task in open_tasks]
        first = say["all" if whole else "some"].format(day=self.day)
        lines = [say["title"], "", first, *taken_back, ""]
        for heading, items in ((say["done"], done), (say["pending"], pending or [say["nothing"]])):
            lines += [f"{heading}:", *(f"  - {item}" for item in items)]
        return "\n".join([*lines, f"{say['lost']}:", f"  - {say['copies']}", "", f"{say['proof']}: {self.proof}", ""])


def main(recipe: Recipe, arguments: argparse.Namespace) -> int:
    with open_ledger(recipe) as ledger:
        if arguments.code == "status":
            settle(ledger)
            leave_label_studio(recipe, ledger)
            return status(ledger)
        speaker = (
            ledger.speaker_of(arguments.code.upper()) or ledger.speaker_of(typed(arguments.code)) or arguments.code
        )
        receipt = withdraw(ledger, speaker, arguments.purpose)
        leave_label_studio(recipe, ledger)
        receipt = replace(receipt, tasks=tuple(ledger.tasks(receipt.proof.number)))
    print(receipt.text())
    for task in receipt.tasks:
        if task.state != "pending":
            continue
        print(f"{task.kind}, by {task.due}: {task.action}\n  {task.place}")
    return 0


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("code", help="of a receipt or of a speaker; or the word `status`")
    parser.add_argument(
        "--purpose", action="append", choices=PURPOSES, help="take back this one only; can be repeated"
    )


def withdraw(ledger: Ledger, speaker: str, purposes: Sequence[Purpose] | None = None) -> WithdrawalReceipt:
    """Take back some purposes of a speaker, or all. New use is blocked when the first event is written.

    Taking back all, or leave to store, destroys the speaker's key. Run twice, or again after it was
    interrupted, it goes on where it was. Raises UserError for a speaker that the ledger does not know.
    """
    past = ledger.consents(speaker)
    if not past:
        raise UserError(f"{speaker}: no such code in the ledger")
    last = past[-1]
    left = [purpose for purpose in last.purposes if purpose not in (purposes or PURPOSES)]
    if last.state in ("withdrawn", "erased") or _BASE not in left:
        return _withdraw_all(ledger, speaker, last)
    clips = [clip.id for clip in ledger.clips(speaker)]
    proof = ledger.record(_next(ledger, last, "narrowed", left))
    tasks = _carry_out(ledger, proof.number, clips, ledger.now().date(), purposes)
    return WithdrawalReceipt(speaker, ledger.now().date(), tuple(purposes or ()), 0, tuple(tasks), proof)


def leave_label_studio(recipe: Recipe, ledger: Ledger) -> None:
    """Delete what was withdrawn from Label Studio, where a withdrawal asks for it and the server answers."""
    if not any(task.kind == "label_studio" and task.state == "pending" for task in ledger.tasks()):
        return
    from collect.label.push import leave

    try:
        leave(recipe, ledger)
    except UserError as error:
        print(f"Label Studio, not done yet: {error}", file=sys.stderr)


def status(ledger: Ledger) -> int:
    """Print what withdrawals still ask for. 1 when something is overdue."""
    tasks = ledger.tasks()
    pending = [task for task in tasks if task.state == "pending"]
    today = ledger.now().date()
    for task in pending:
        late = " OVERDUE" if task.due < today else ""
        print(f"{task.kind}, by {task.due}{late}: {task.action}\n  {task.place} ({task.clips} recordings in it)")
    print(f"{len(pending)} pending, {len(tasks) - len(pending)} done")
    return int(any(task.due < today for task in pending))


def settle(ledger: Ledger) -> None:
    """Finish withdrawals that were interrupted, and close the tasks whose artefact is no longer there."""
    for speaker in ledger.speakers():
        past = ledger.consents(speaker.code)
        if past and past[-1].state == "withdrawn":
            _withdraw_all(ledger, speaker.code, past[-1])
    for task in ledger.tasks():
        if task.state == "pending" and (proof := gone(task)):
            ledger.close_task(task, "done", proof)


def gone(task: Task) -> str | None:
    """How it is known that an artefact is no longer where it was; None when it is, or cannot be looked at."""
    place = Path(task.place)
    if task.kind not in ("dataset", "adapter", "report", "listening_test", "voice_pack", "edge_export", *_REMOVED):
        return None
    if not place.exists():
        return f"{place} is gone"
    if task.kind == "dataset":
        return None if place.resolve().name == task.artefact.split()[0] else f"{place} was made anew"
    line = place if task.kind == "prepare_report" else place / "lineage.json"
    return None if line.is_file() and file_digest(line) in task.artefact else f"{place} was made anew"


def _withdraw_all(ledger: Ledger, speaker: str, last: Event) -> WithdrawalReceipt:
    clips = [clip.id for clip in ledger.clips(speaker)]
    if last.state not in ("withdrawn", "erased"):
        ledger.record(_next(ledger, last, "withdrawn", []))
        last = ledger.consents(speaker)[-1]
    number = ledger.number_of(speaker, "withdrawn")
    tasks = _carry_out(ledger, number, clips, last.at.date())
    if last.state != "erased":
        ledger.record(_next(ledger, last, "erased", []))
    ledger.erase([speaker])
    return WithdrawalReceipt(speaker, last.at.date(), (), len(clips), tuple(tasks), ledger.receipt(number))


def _next(ledger: Ledger, last: Event, state: str, purposes: list[Purpose]) -> Event:
    """The event that follows; it says again whatever it does not change."""
    values = {"state": state, "purposes": purposes, "at": ledger.now(), "recorded": None, "by": "self"}
    return Event.model_validate(last.model_dump() | values)


def _carry_out(
    ledger: Ledger, number: int, clips: list[str], day: date, purposes: Sequence[Purpose] | None = None
) -> list[Task]:
    """Open the tasks of a withdrawal and do what can be done at once."""
    tasks = ledger.plan(number, clips, purposes)
    _mark(tasks, day)
    for task in tasks:
        if task.kind in _REMOVED and task.state == "pending":
            Path(task.place).unlink(missing_ok=True)
            ledger.close_task(task, "done", str(gone(task)))
    return ledger.tasks(number)


def _mark(tasks: Sequence[Task], day: date) -> None:
    """Leave a mark in the folders of what was made, which every stage looks for before it uses it."""
    for task in tasks:
        if task.state == "pending" and gone(task) is None and task.kind not in ("label_studio", *_REMOVED):
            mark_withdrawn(Path(task.place), day, task.clips)
            if task.kind == "adapter":  # features and checkpoints lie beside it
                mark_withdrawn(Path(task.place).parent, day, task.clips)


@cache
def _sentences() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = yaml.safe_load(
        Path(__file__).with_name("withdrawal.yaml").read_text(encoding="utf-8")
    )
    return found


if __name__ == "__main__":
    run(main, __doc__ or "", options=options)
