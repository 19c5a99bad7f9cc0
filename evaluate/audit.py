"""Known vulnerabilities in the pinned packages: `make audit`, which runs `python -m evaluate.audit`.

pip-audit asks PyPI about every line of requirements.lock. What it finds is open until `.ci/audit.yaml` explains it.
Exits with 1 where something is open, and where a package could not be asked about: pip-audit itself would say "no
known vulnerabilities found" of packages that it skipped.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from recipes.provenance import file_digest, write_text
from recipes.schema import UserError

ROOT = Path(__file__).resolve().parents[1]
LOCK, EXPLAINED, RESULT = ROOT / "requirements.lock", ROOT / ".ci" / "audit.yaml", ROOT / ".audit" / "result.json"
_TOOL = ROOT / ".audit" / "bin" / "pip-audit"
_HOW = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--aliases", "on", "--format", "json")


@dataclass(frozen=True)
class Finding:
    """A vulnerability of a package, and why it does no harm here; None: nobody explained it."""

    package: str
    version: str
    id: str
    fixed_in: tuple[str, ...]
    why: str | None


@dataclass(frozen=True)
class Audit:
    """What was found, and of which list of packages."""

    day: str
    lock: str  # SHA-256 of requirements.lock
    tool: str
    packages: int
    findings: tuple[Finding, ...]

    @property
    def open(self) -> list[Finding]:
        return [one for one in self.findings if one.why is None]


def main() -> int:
    made = audit(run())
    write_text(RESULT, json.dumps(asdict(made), ensure_ascii=False, indent=1))
    print(f"{made.packages} packages, {len(made.findings)} known vulnerabilities, {len(made.open)} open: {RESULT}")
    for one in made.findings:
        fixed = f"fixed in {', '.join(one.fixed_in)}" if one.fixed_in else "no release fixes it"
        print(f"  {one.package} {one.version} {one.id}: {one.why or f'OPEN, {fixed}'}")
    return int(bool(made.open))


def run() -> Mapping[str, Any]:
    """What pip-audit says. Raises UserError where it says nothing, with its last words."""
    out = RESULT.with_name("found.json")
    out.unlink(missing_ok=True)
    command = [str(_TOOL), "--requirement", str(LOCK), *_HOW, "--output", str(out)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        found: Mapping[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        said = done.stderr.strip().splitlines()[-1:] if _TOOL.exists() else ["it is not installed; run: make audit"]
        raise UserError(f"nothing was audited: pip-audit gave no answer: {' '.join(said)}") from None
    return found


def audit(found: Mapping[str, Any]) -> Audit:
    """The answer with what is explained. Raises UserError where packages were skipped: of them nothing is known."""
    rows = found["dependencies"]
    skipped = [row for row in rows if "skip_reason" in row]
    if skipped or not rows:
        why = skipped[0]["skip_reason"] if skipped else "no package in the answer"
        raise UserError(f"not audited: {len(skipped)} of {len(rows)} packages could not be asked about ({why})")
    reasons = explained(EXPLAINED)
    findings = [
        Finding(row["name"], row["version"], one["id"], tuple(one["fix_versions"]), _why(reasons, row["name"], one))
        for row in rows
        for one in row["vulns"]
    ]
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return Audit(today, file_digest(LOCK), "pip-audit 2.10.1, PyPI's advisories", len(rows), tuple(findings))


def _why(reasons: Mapping[tuple[str, str], str], package: str, one: Mapping[str, Any]) -> str | None:
    names = [one["id"], *one.get("aliases", [])]
    return next((reasons[package, name] for name in names if (package, name) in reasons), None)


def explained(path: Path) -> dict[tuple[str, str], str]:
    """Package and vulnerability → why it does no harm here. Raises UserError for a row without a reason."""
    rows: Sequence[Mapping[str, str]] = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    for row in rows:
        if not all(str(row.get(key, "")).strip() for key in ("package", "id", "why")):
            raise UserError(f"{path}: {row.get('id') or row}: every row has a package, an id and a why")
    return {(row["package"], row["id"]): " ".join(row["why"].split()) for row in rows}


def read() -> Audit | None:
    """The last audit of the packages as they are pinned now; None where there is none, or it was of others."""
    try:
        found = json.loads(RESULT.read_text(encoding="utf-8"))
        made = Audit(**found | {"findings": tuple(Finding(**row) for row in found["findings"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return made if made.lock == file_digest(LOCK) else None


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
