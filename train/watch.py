"""The watchdog: goes through the rules as figures come in, and says what they find: once a run, at once.

Warnings are printed on stderr, stand in the row of metrics that gave them, and in `watchdog.jsonl`.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.provenance import write_text
from recipes.schema import Train
from train.rules import Row, Seen, before, during

_PLAIN = {"step", "loss", "lr"}  # rows with nothing else are too many to go through the rules for each


def warnings(seen: Seen) -> dict[str, str]:
    """What there is to say about a run as it stands: name of the rule → sentence."""
    return {rule.__name__: says for rule in before.RULES + during.RULES if (says := rule(seen))}


class Watch:
    """What a run has measured, and what has been said of it. A run that goes on after a kill reads both again."""

    def __init__(self, settings: Train, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.checks: dict[str, float] = {}  # figures from before the first step
        self._rows: list[Row] | None = None
        self._printed: set[str] = set()

    def check(self, figures: Mapping[str, float]) -> dict[str, str]:
        """Take figures of what is to be learnt from, and warn at once: learning may take days."""
        self.checks |= {f"check_{name}": value for name, value in figures.items()}
        found = warnings(Seen([{"step": 0, **self.checks}], self.settings))
        self._print(0, found)
        return found

    def row(self, row: Row) -> dict[str, str]:
        """Take a row of metrics before it is written; what there is to say now, and was not before."""
        if self._rows is None:
            self._rows = _rows_of(self.folder / "metrics.jsonl")
            self._write()  # without what a killed run had said after its last checkpoint
        said = self.said
        self._rows.append(row)
        if not row.keys() - _PLAIN:
            return {}
        found = warnings(Seen(self._rows, self.settings))
        new = {rule: says for rule, says in found.items() if rule not in said}
        if new:
            self._rows[-1] = {**row, "warnings": new}
            self._print(row["step"], new)
            self._write()
        return new

    @property
    def said(self) -> dict[str, str]:
        """Every warning of the run so far: rule → sentence."""
        return {rule: says for row in self.rows for rule, says in row.get("warnings", {}).items()}

    @property
    def rows(self) -> list[Row]:
        """The metrics, oldest first."""
        return _rows_of(self.folder / "metrics.jsonl") if self._rows is None else self._rows

    def probed(self, first: bool = False) -> dict[str, float]:
        """The newest value of every figure of the probes; `first`: that of the base, where there is one."""
        found: dict[str, float] = {}
        for row in self.rows:
            if not first or row["step"] == 0:
                found |= {key: value for key, value in row.items() if isinstance(value, int | float)}
        return {key.removeprefix("probe_"): value for key, value in found.items() if key.startswith("probe_")}

    def _print(self, step: int, found: Mapping[str, str]) -> None:
        for rule, says in found.items():
            if rule not in self._printed:
                print(f"warning at step {step}: {says} [{rule}]", file=sys.stderr)
        self._printed |= found.keys()

    def _write(self) -> None:
        lines = [
            {"step": row["step"], "rule": rule, "says": says}
            for row in self.rows
            for rule, says in row.get("warnings", {}).items()
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_text(self.folder / "watchdog.jsonl", text)


def _rows_of(path: Path) -> list[Row]:
    if not path.exists():
        return []
    found: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list(found)
