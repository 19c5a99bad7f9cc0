"""From a withdrawn clip forward to everything it touches: what was made, where it is, what is to be done."""

from collections.abc import Iterable
from datetime import date, timedelta
from itertools import islice

import sqlalchemy as sa

from collect import tables
from recipes.records import PURPOSES, Row

# What a withdrawal asks for, and within how many days. What can no longer be recalled is said, not hidden.
ACTIONS: dict[str, tuple[str, int]] = {
    "label_studio": ("delete its tasks, exports and files: python -m collect.withdraw RECIPE status", 1),
    "dataset": ("make it anew: python -m prepare RECIPE", 1),
    "voice_check": ("what comparing voices found is deleted: python -m prepare RECIPE", 1),
    "prepare_report": ("make it anew: python -m prepare.report RECIPE", 1),
    "adapter": ("train it anew or delete it: python -m train RECIPE", 30),
    "report": ("evaluate anew or delete it: python -m evaluate RECIPE", 30),
    "listening_test": ("its clips are no longer played: python -m evaluate RECIPE makes new ones", 1),
    "voice_pack": ("its phrases are no longer played: python -m evaluate.pack RECIPE makes new ones", 3),
    "edge_export": ("delete it, and recall it from devices: python -m evaluate.edge RECIPE makes a new one", 3),
    "published_dataset": ("publish it anew without them, or take it down: python -m prepare.push RECIPE", 3),
    "published": ("revoke it: python -m evaluate.publish revoke RECIPE --reason ...", 3),
}
_BATCH = 400  # ids in one query


class Artefact(Row):
    """Something made from clips: a dataset, an adapter, a report, a test, a voice pack, the tasks of annotators."""

    id: str
    kind: str
    place: str  # a folder or an address
    purpose: str | None = None


class Task(Row):
    """What one withdrawal asks of one artefact."""

    number: int  # of the consent event
    artefact: str
    kind: str
    place: str
    action: str
    clips: int  # withdrawn ones in it; 0 where it holds them through another artefact
    due: date
    state: str = "pending"
    proof: str | None = None


def register(
    connection: sa.Connection, artefact: Artefact, clips: Iterable[str], parents: Iterable[str], at_event: int
) -> None:
    """Note an artefact with what it was made from. Noting it again adds what is new and moves its place."""
    known = sa.select(tables.artefacts.c.id).where(tables.artefacts.c.id == artefact.id)
    values = artefact.model_dump() | {"at_event": at_event}
    if connection.scalar(known) is None:
        connection.execute(tables.artefacts.insert().values(**values))
    else:
        connection.execute(tables.artefacts.update().where(tables.artefacts.c.id == artefact.id).values(**values))
    for table, column, names in ((tables.contents, "clip", clips), (tables.parents, "parent", parents)):
        left = iter(names)
        while batch := set(islice(left, _BATCH)):
            noted = sa.select(table.c[column]).where(table.c.artefact == artefact.id, table.c[column].in_(batch))
            rows = [
                {column: name, "artefact": artefact.id} for name in sorted(batch - set(connection.scalars(noted)))
            ]
            if rows:
                connection.execute(table.insert(), rows)


def touched(connection: sa.Connection, clips: Iterable[str], purposes: Iterable[str] | None = None) -> dict[str, int]:
    """Everything that holds any of the clips, itself or through what it was made from: id → how many directly.

    With `purposes`: only what was made for one of them, and what was made from that.
    """
    wanted, found = sorted(set(clips)), dict[str, int]()
    direct = sa.select(tables.contents.c.artefact, sa.func.count()).group_by(tables.contents.c.artefact)
    if purposes is not None:
        served = sa.select(tables.artefacts.c.id).where(tables.artefacts.c.purpose.in_(list(purposes)))
        direct = direct.where(tables.contents.c.artefact.in_(served))
    for start in range(0, len(wanted), _BATCH):
        query = direct.where(tables.contents.c.clip.in_(wanted[start : start + _BATCH]))
        for name, count in connection.execute(query):
            found[name] = found.get(name, 0) + count
    edge = list(found)
    while edge:
        query = sa.select(tables.parents.c.artefact).distinct().where(tables.parents.c.parent.in_(edge[:_BATCH]))
        new = [name for name in connection.scalars(query) if name not in found]
        found |= dict.fromkeys(new, 0)
        edge = edge[_BATCH:] + new
    return found


def plan(
    connection: sa.Connection, number: int, clips: Iterable[str], on: date, purposes: Iterable[str] | None = None
) -> list[Task]:
    """Open a task for each artefact that a withdrawal touches. Opening them twice opens them once."""
    counts = touched(connection, clips, purposes)
    known = set(connection.scalars(sa.select(tables.tasks.c.artefact).where(tables.tasks.c.number == number)))
    columns, things = tables.artefacts, set(map(_thing, known))
    for name in sorted(set(counts) - known):
        if _thing(name) in things:
            continue
        things.add(_thing(name))
        row = connection.execute(sa.select(columns).where(columns.c.id == name)).mappings().one()
        action, days = ACTIONS[row["kind"]]
        due = (on + timedelta(days=days)).isoformat()
        values = {"number": number, "artefact": name, "kind": row["kind"], "place": row["place"]}
        values |= {"action": action, "clips": counts[name], "due": due, "state": "pending", "proof": None}
        connection.execute(tables.tasks.insert().values(**values))
    return listed(connection, number)


def _thing(artefact: str) -> str:
    """What an artefact is, that may be noted several times, each with another purpose behind its name."""
    name, _, last = artefact.rpartition(" ")
    return name if last in PURPOSES else artefact


def listed(connection: sa.Connection, number: int | None = None) -> list[Task]:
    """The tasks of one withdrawal, or of all."""
    query = sa.select(tables.tasks).order_by(tables.tasks.c.number, tables.tasks.c.artefact)
    if number is not None:
        query = query.where(tables.tasks.c.number == number)
    return [Task.model_validate(dict(row)) for row in connection.execute(query).mappings()]


def close(connection: sa.Connection, task: Task, state: str, proof: str) -> None:
    """Say what became of a task."""
    here = (tables.tasks.c.number == task.number) & (tables.tasks.c.artefact == task.artefact)
    connection.execute(tables.tasks.update().where(here).values(state=state, proof=proof))
