"""What sound files say of themselves: `python -m evaluate.marks FILE ... [--trust CERTIFICATES]`.

For each file the comment, the signed manifest (C2PA) with whether it holds, and whether a watermark is heard. Exits
with 1 where a file has a manifest that does not hold: its sound, or what it says, was altered after it was signed.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from evaluate import credentials, watermark
from recipes.schema import UserError

_MOST_BYTES = 256 * 2**20
_MOST_MINUTES = 30
_COMMENT = re.compile(
    rb"Synthetic speech, made by a machine; no person said this\."
    rb"(?: [a-z0-9][a-z0-9_-]*, adapter (?:[0-9a-f]{64}|none, base [!-~]+))?"
)


def main(words: Sequence[str] | None = None) -> int:
    """Say it of every file; 1 where a manifest does not hold, or a file cannot be read."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("files", nargs="+", type=Path, metavar="FILE")
    options.add_argument("--trust", type=Path, help="certificates (PEM) of authorities that you believe")
    options.add_argument(
        "--audioseal", type=Path, help="folder with AudioSeal's weights; Perth's are found by themselves"
    )
    asked = options.parse_args(words)
    trusted = asked.trust.read_bytes() if asked.trust else b""
    return int(any([not told(path, trusted, asked.audioseal) for path in asked.files]))


def told(path: Path, trusted: bytes = b"", audioseal: Path | None = None) -> bool:
    """Print what a file says; False where its manifest does not hold, or it cannot be read."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"over {_MOST_BYTES // 2**20} MiB")
        data = path.read_bytes()
    except (OSError, UserError) as error:
        print(f"{path}\n  cannot be read: {getattr(error, 'strerror', None) or error}")
        return False
    print(path)
    print(f"  comment:   {comment(data) or 'does not say that the speech is synthetic'}")
    holds, lines = _manifest(data, trusted)
    print(f"  manifest:  {lines[0]}")
    for line in lines[1:]:
        print(f"             {line}")
    print(f"  watermark: {'; '.join(_watermarks(data, audioseal))}", flush=True)
    return holds


def comment(data: bytes) -> str | None:
    """What the comment says, found by its own words: no container is taken apart for it."""
    found = _COMMENT.search(data)
    return found[0].decode("ascii") if found else None


def _manifest(data: bytes, trusted: bytes) -> tuple[bool, list[str]]:
    if not credentials.installed():
        return True, ["not looked for: pip install c2pa-python==0.38.1"]
    try:
        found = credentials.read(data, trusted)
    except UserError as error:
        return False, [str(error)]
    if found is None:
        return True, ["none: never signed, or lost where the file was converted"]
    known = {"Trusted": "by a signer that you trust", "Valid": "by an unknown signer"}.get(found.state, "")
    lines = [f"holds, {known}" if found.whole else f"DOES NOT HOLD: {', '.join(found.faults) or found.state}"]
    lines.append(f"signed by {found.signer or 'nobody named'}")
    for action in found.actions:
        agent = action.get("softwareAgent")
        by = " ".join(str(agent.get(key, "")) for key in ("name", "version")) if isinstance(agent, dict) else agent
        kind = str(action.get("digitalSourceType", "")).rsplit("/", 1)[-1]
        lines.append(f"{action.get('action')}: {kind or 'source not said'}, by {by}")
    lines += [f"{key}: {value}" for key, value in sorted(found.synthesis.items())]
    return found.whole, [_plain(line) for line in lines]


def _plain(line: str) -> str:
    """A file's words, without what moves a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:300]


def _watermarks(data: bytes, audioseal: Path | None) -> Iterator[str]:
    from train.adapter import foreign_audio

    kinds: list[tuple[watermark.Kind, Path | None]] = [("perth", None)] if find_spec("perth") else []
    kinds += [("audioseal", audioseal)] if audioseal else []
    if not kinds:
        yield "not listened for: pip install resemble-perth==1.0.1"
        return
    try:
        samples, rate_hz = foreign_audio(data, _MOST_MINUTES)
    except ValueError as error:
        yield f"not listened for: {error}"
        return
    for kind, weights in kinds:
        sure = watermark.detect(samples, rate_hz, kind, weights)
        yield f"{kind} {'heard' if sure > watermark.THRESHOLD else 'not heard'} ({sure:.2f}, from 0 to 1)"


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
