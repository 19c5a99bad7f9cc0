"""Figures of VERSA (Shi et al., "VERSA: a versatile evaluation toolkit for speech, audio, and music", NAACL 2025).

VERSA is installed by those who want it, in an environment of its own: its scorer `versa-score` is run as a program,
on the clips of one system after the other, with the score configuration that `evaluate.versa` names. The environment
variable VERSA_SCORE names another command, such as `/opt/versa/bin/python -m versa.bin.scorer`.
"""

import ast
import json
import math
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import soundfile

from evaluate.items import Item, Rendered, recorded
from evaluate.kept import Kept
from evaluate.objective import Figures, Seen, row_of
from recipes.schema import Recipe, UserError

_PREFIX = "VERSA: "
_NO_FIGURES = ("text", "vad")  # parts of the names of what VERSA itself leaves out of its summary
Scores = dict[str, dict[str, float]]  # clip → metric → value


def command(recipe: Recipe) -> list[str]:
    """How the scorer is called; nothing where it is not asked for. Raises UserError where it is not there."""
    if recipe.evaluate.versa is None or recipe.train.recognises:
        return []
    asked = shlex.split(os.environ.get("VERSA_SCORE", "versa-score"))
    if not asked or shutil.which(asked[0]) is None:
        raise UserError(
            f"{asked[0] if asked else 'VERSA_SCORE'}: not found; install VERSA (docs/systems.md), name its scorer in "
            "the environment variable VERSA_SCORE, or leave evaluate.versa out"
        )
    if not recipe.evaluate.versa.is_file():
        raise UserError(f"{recipe.evaluate.versa}: no such file (evaluate.versa, VERSA's score configuration)")
    return asked


def measure(recipe: Recipe, rendered: Sequence[Rendered]) -> tuple[Figures, dict[str, int]]:
    """VERSA's figures of each system that speaks, with n and interval; and how many clips it gave none for."""
    scorer = command(recipe)
    if not scorer or recipe.evaluate.versa is None:
        return {}, {}
    kept, config = Kept(recipe.folder("evaluate") / "versa"), recipe.evaluate.versa
    seen: dict[str, Seen] = {}
    silent = 0
    spoken = [one for one in rendered if one.samples is not None]
    systems = list(dict.fromkeys(one.system for one in spoken))
    for system in systems:
        clips = [one for one in spoken if one.system == system]
        content = [b"versa", shlex.join(scorer).encode(), config.read_bytes()]
        content += [part for one in clips for part in (one.item.id.encode(), one.samples.tobytes())]  # type: ignore[union-attr]
        scores: Scores = kept.get(b"\n".join(content), lambda clips=clips: score(recipe, scorer, config, clips))  # type: ignore[misc]
        silent += sum(not scores.get(one.item.id) for one in clips)
        for one in clips:
            for metric, value in scores.get(one.item.id, {}).items():
                rows = seen.setdefault(_PREFIX + metric, {name: {} for name in systems})
                rows[system][one.item.id] = one.item, (value, 1.0)
    kept.forget()
    figures = {metric: row_of(recipe, metric, rows) for metric, rows in sorted(seen.items())}
    return figures, {"clip that VERSA gave no figure for": silent} if silent else {}


def score(recipe: Recipe, scorer: Sequence[str], config: Path, clips: Sequence[Rendered]) -> Scores:
    """Run the scorer on one system's clips. Raises UserError, with the last line that it said, where it fails."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = ["--score_config", str(config), "--io", "soundfile"]
        arguments += ["--pred", _listed(folder, "pred", clips), "--text", _texts(folder, clips)]
        if all(one.item.row is not None for one in clips):
            spoken = [Rendered("gt", one.item, recorded(one.item), recipe.prepare.rate_hz) for one in clips]
            arguments += ["--gt", _listed(folder, "gt", spoken)]
        out = folder / "scores.jsonl"
        done = subprocess.run([*scorer, *arguments, "--output_file", str(out)], capture_output=True, text=True)
        if done.returncode or not out.is_file():
            said = (done.stderr or done.stdout).strip().splitlines()
            raise UserError(f"{scorer[0]}: {said[-1] if said else 'wrote no scores'} (evaluate.versa)")
        return read(out, {one.item.id: one.item for one in clips})


def _listed(folder: Path, kind: str, clips: Sequence[Rendered]) -> str:
    """Clips as files and their list in Kaldi's form: a name and a path a line."""
    (folder / kind).mkdir()
    lines = []
    for one in clips:
        path = folder / kind / f"{one.item.id}.wav"
        soundfile.write(path, one.samples, one.rate_hz, "PCM_16")
        lines.append(f"{one.item.id} {path}\n")
    (folder / f"{kind}.scp").write_text("".join(lines), encoding="utf-8")
    return str(folder / f"{kind}.scp")


def _texts(folder: Path, clips: Sequence[Rendered]) -> str:
    lines = [f"{one.item.id} {one.item.text}\n" for one in clips]
    (folder / "text").write_text("".join(lines), encoding="utf-8")
    return str(folder / "text")


def read(path: Path, items: Mapping[str, Item]) -> Scores:
    """What the scorer wrote: a line a clip with `key` and a number a metric, as JSON or as a Python dictionary.

    Texts that it wrote beside the numbers, and values that are no finite numbers, are left out. Raises UserError.
    """
    found: Scores = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        row = _row(line)
        if row is None or str(row.get("key")) not in items:
            raise UserError(f"VERSA's scores, line {number}: no scores of a clip of this evaluation: {line[:80]}")
        found[str(row["key"])] = {
            name: float(value)
            for name, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not any(part in name for part in _NO_FIGURES)
        }
    return found


def _row(line: str) -> dict[str, object] | None:
    for parse in (json.loads, ast.literal_eval):  # of the present version, and of those before
        try:
            row = parse(line)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(row, dict):
            return row
    return None
