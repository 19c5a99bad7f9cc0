"""What a run knows of each clip and of the utterances it became. On disk, so that their number does not matter."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from prepare.parts import Finished, Refusal, clip_of
from prepare.scratch import close, scratch
from prepare.split import Said
from recipes.records import Clip, Quality, Rejected, Split, Utterance

_AT_ONCE = 500  # rows in memory
_TABLES = """
CREATE TABLE clips (
    number INTEGER PRIMARY KEY,  -- in the ledger's order
    name TEXT NOT NULL UNIQUE,   -- of its part
    clip TEXT NOT NULL,
    permitted INTEGER NOT NULL,
    waits INTEGER NOT NULL       -- asked for, and what becomes of it is not known yet
);
CREATE TABLE utterances (
    number INTEGER PRIMARY KEY,
    clip INTEGER NOT NULL,
    name TEXT NOT NULL,          -- of its part
    finished TEXT NOT NULL,
    facts TEXT,                  -- what its part does not know: of the speaker, and of consents
    said INTEGER
);
CREATE INDEX in_order ON utterances (clip);
CREATE TABLE said (
    number INTEGER PRIMARY KEY,
    said TEXT NOT NULL UNIQUE,
    times INTEGER NOT NULL,
    split TEXT,                  -- or else
    apart TEXT                   -- why it can be in none
);
CREATE TABLE rejected (
    kind TEXT NOT NULL,
    clip TEXT NOT NULL,
    source TEXT NOT NULL,
    reason TEXT NOT NULL,
    quality TEXT                 -- as far as it was measured
);
"""

# Not asked for or not allowed; something is wrong with it; no split can have it.
Kind = Literal["left out", "fault", "apart"]


@dataclass(frozen=True)
class Entry:
    """An utterance on its way. `name`: of its part."""

    number: int
    name: str
    clip: Clip
    finished: Finished


@dataclass(frozen=True)
class Line:
    """An utterance that is in a split, still without its audio. `part`, `audio`: the name of its part, its digest."""

    utterance: Utterance
    part: str
    audio: str


class Manifest:
    """The clips of a run, in the ledger's order, and what became of them."""

    def __init__(self) -> None:
        self._db = scratch()
        self._db.executescript(_TABLES)
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        close(self._db, error)

    # -------------------------------------------------- clips

    def add(self, name: str, clip: Clip, permitted: bool, reason: str | None = None) -> None:
        """A clip by the name of its part; with a `reason` it is left out."""
        row = name, clip.model_dump_json(), permitted, reason is None
        self._db.execute("INSERT INTO clips (name, clip, permitted, waits) VALUES (?, ?, ?, ?)", row)
        if reason:
            self.reject("left out", clip, reason)

    def waiting(self) -> Iterator[tuple[str, Clip]]:
        """Clips of which it is not known what became, by the names of their parts."""
        query = "SELECT number, name, clip FROM clips WHERE waits AND number > ? ORDER BY number LIMIT ?"
        for _, name, clip in self._some_at_a_time(query):
            yield name, Clip.model_validate_json(clip)

    def count_waiting(self) -> int:
        """How many they are."""
        return int(self._db.execute("SELECT COUNT(*) FROM clips WHERE waits").fetchone()[0])

    def permits(self, name: str) -> bool:
        """Whether a clip that may be used has a part of this name."""
        return self._db.execute("SELECT 1 FROM clips WHERE name = ? AND permitted", (name,)).fetchone() is not None

    def became(self, name: str, clip: Clip, made: Mapping[str, Finished], refused: Iterable[Refusal]) -> None:
        """What became of a clip: utterances by the names of their parts, and what did not come through."""
        self._db.execute("UPDATE clips SET waits = 0 WHERE name = ?", (name,))
        query = "INSERT INTO utterances (clip, name, finished) SELECT number, ?, ? FROM clips WHERE name = ?"
        self._db.executemany(query, ((piece, done.model_dump_json(), name) for piece, done in made.items()))
        for one in refused:
            self.reject("fault", clip, one.reason, one.quality)

    # -------------------------------------------------- utterances

    def entries(self) -> Iterator[Entry]:
        """Every utterance. Those that it has come past may be described or dropped meanwhile."""
        query = (
            "SELECT u.number, u.name, c.clip, u.finished FROM utterances u JOIN clips c ON c.number = u.clip "
            "WHERE u.number > ? ORDER BY u.number LIMIT ?"
        )
        for number, name, clip, finished in self._some_at_a_time(query):
            yield Entry(number, name, Clip.model_validate_json(clip), Finished.model_validate_json(finished))

    def describe(self, entry: Entry, facts: Mapping[str, Any], said: Said) -> None:
        """What an utterance's part does not know, and what decides its split."""
        row = (json.dumps([said.speaker, said.sentence, *said.stratum]),)
        query = "INSERT INTO said (said, times) VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1"
        (number,) = self._db.execute(f"{query} RETURNING number", row).fetchone()
        values = json.dumps(facts), number, entry.number
        self._db.execute("UPDATE utterances SET facts = ?, said = ? WHERE number = ?", values)

    def renew(self, entry: Entry, finished: Finished) -> None:
        """An utterance of which more is known."""
        self._db.execute(
            "UPDATE utterances SET finished = ? WHERE number = ?", (finished.model_dump_json(), entry.number)
        )

    def lose(self, entry: Entry, reason: str, kind: Kind) -> None:
        """An utterance that is in no dataset for what was found late. The others of its clip stay."""
        self._db.execute("DELETE FROM utterances WHERE number = ?", (entry.number,))
        self.reject(kind, entry.clip, reason, entry.finished.quality)

    def drop(self, entry: Entry, reason: str) -> None:
        """Leave out an utterance, with the others of its clip."""
        query = "DELETE FROM utterances WHERE clip = (SELECT clip FROM utterances WHERE number = ?)"
        if self._db.execute(query, (entry.number,)).rowcount:
            self.reject("left out", entry.clip, reason)

    def said(self) -> dict[str, Said]:
        """Who says what, each once, however many utterances that is."""
        found = {}
        for number, text, times in self._db.execute("SELECT number, said, times FROM said ORDER BY number"):
            speaker, sentence, *stratum = json.loads(text)
            found[str(number)] = Said(speaker, sentence, tuple(stratum), times)
        return found

    def divide(self, splits: Mapping[str, Split], apart: Mapping[str, str]) -> None:
        """Put into splits what is `said`; and the reasons of what can be in none."""
        self._db.executemany(
            "UPDATE said SET split = ? WHERE number = ?", ((split, n) for n, split in splits.items())
        )
        self._db.executemany("UPDATE said SET apart = ? WHERE number = ?", ((why, n) for n, why in apart.items()))
        query = (
            "SELECT c.clip, s.apart, u.finished FROM utterances u JOIN clips c ON c.number = u.clip JOIN said s "
            "ON s.number = u.said WHERE s.apart IS NOT NULL ORDER BY u.clip, u.number"
        )
        for clip, reason, finished in self._db.execute(query):
            done = Finished.model_validate_json(finished)
            self.reject("apart", Clip.model_validate_json(clip), reason, done.quality)

    def lines(self) -> Iterator[Line]:
        """The rows of the dataset, in the ledger's order."""
        query = (
            "SELECT u.name, c.clip, u.finished, u.facts, s.split FROM utterances u JOIN clips c ON c.number = u.clip "
            "JOIN said s ON s.number = u.said WHERE s.split IS NOT NULL ORDER BY u.clip, u.number"
        )
        for name, clip, finished, facts, split in self._db.execute(query):
            whose, done = json.loads(clip), json.loads(finished)
            audio = done.pop("audio")
            del done["sound"]
            mine = {
                "id": whose["id"] + name.removeprefix(clip_of(name)),
                "clip": whose["id"],
                "speaker": whose["speaker"],
            }
            row = {**mine, **json.loads(facts), **done, "audio": b"", "split": split}
            yield Line(Utterance.model_validate(row), name, audio)

    def clips(self) -> Iterator[str]:
        """The ids of the clips that these rows are of."""
        query = (
            "SELECT clip FROM clips c WHERE EXISTS (SELECT 1 FROM utterances u JOIN said s ON s.number = u.said "
            "WHERE u.clip = c.number AND s.split IS NOT NULL) ORDER BY number"
        )
        return (json.loads(clip)["id"] for (clip,) in self._db.execute(query))

    # -------------------------------------------------- what is not in the dataset

    def reject(self, kind: Kind, clip: Clip, reason: str, figures: Quality | None = None) -> None:
        """A clip or a part of one that is not in the dataset, with its `figures` where it was measured."""
        row = kind, clip.id, clip.source, reason, figures and figures.model_dump_json()
        self._db.execute("INSERT INTO rejected VALUES (?, ?, ?, ?, ?)", row)

    def rejected(self, kind: Kind | None = None) -> Iterator[Rejected]:
        """Those of a kind, or all: left out, with a fault (by their files), apart."""
        query = (
            "SELECT clip, source, reason, quality FROM rejected WHERE ?1 IS NULL OR kind = ?1 "
            "ORDER BY kind = 'apart', kind = 'fault', CASE kind WHEN 'fault' THEN source END, rowid"
        )
        for clip, source, reason, figures in self._db.execute(query, (kind,)):
            measured = Quality.model_validate_json(figures) if figures else None
            yield Rejected(clip=clip, source=source, reason=reason, quality=measured)

    def _some_at_a_time(self, query: str) -> Iterator[Any]:
        """Rows of a query whose first column is their number; between them, others may be written."""
        last = 0
        while rows := self._db.execute(query, (last, _AT_ONCE)).fetchall():
            yield from rows
            last = rows[-1][0]
