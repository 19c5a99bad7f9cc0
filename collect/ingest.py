"""Take a folder of recordings into the ledger: `python -m collect.ingest RECIPE [key.path=value ...]`.

Every clip is bound to a speaker and a consent; one without is refused and listed. What the ledger holds
already is not taken in again.
"""

import csv
import hashlib
import io
import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from collect.audio import Decoded, Refused, decode
from collect.consent import Event
from collect.decoding.limits import too_large
from collect.ledger import Ledger, Speaker, open_ledger
from collect.sources.layouts import entries
from collect.sources.metadata import Entry, read_table
from recipes.command import next_command, run
from recipes.provenance import code_version, package_versions, write_text
from recipes.records import LANGUAGES, PURPOSES, Clip
from recipes.schema import Basis, Collect, Recipe, UserError

_TOGETHER = 64  # recordings that wait for the disk together
_TOGETHER_BYTES = 256 * 2**20
_SHOWN = 20  # refusals printed; all of them are in refused.csv


@dataclass
class Count:
    """What came of the rows."""

    new: int = 0
    known: int = 0
    hours: float = 0.0
    refused: list[tuple[str, str, str]] = field(default_factory=list)  # place, file, reason
    left_out: list[tuple[str, str, str]] = field(default_factory=list)  # by the source itself


def main(recipe: Recipe) -> int:
    rows = entries(recipe)
    consents = read_consents(recipe.collect)
    with open_ledger(recipe) as ledger:
        count = take_in(ledger, recipe.collect, rows, consents)
        ledger.sweep()
        kept = list(ledger.clips())
    write_beside(recipe, count)
    for place, file, reason in count.refused[:_SHOWN]:
        print(f"{place}: {_plain(file)}: {reason}")
    if len(count.refused) > _SHOWN:
        print(f"… and {len(count.refused) - _SHOWN} more, in {recipe.folder('collect') / 'refused.csv'}")
    summarise(count, kept)
    return 1 if count.refused else 0


def take_in(
    ledger: Ledger, settings: Collect, rows: Iterable[Entry], consents: dict[str, tuple[Event, bool]]
) -> Count:
    """Take each row's recording into the ledger, or note why not. Several are written at once."""
    count, waiting = Count(), dict[str, tuple[Clip, Decoded]]()
    refusals: dict[str, str | None] = {}  # by speaker: why nothing of theirs may be kept
    with Progress(console=Console(stderr=True)) as progress:
        for entry in progress.track(rows, description="taking in"):
            if entry.left_out:
                count.left_out.append((entry.place, entry.values["file"], entry.left_out))
                continue
            try:
                clip, data = read(entry, settings)
                if clip.speaker not in refusals:
                    refusals[clip.speaker] = enrol(ledger, clip, entry, consents)
                if refusal := refusals[clip.speaker]:
                    raise Refused(refusal)
                if clip.id in waiting:
                    write(ledger, waiting, count)
                if known := ledger.clip(clip.id):
                    renew(ledger, settings, known, clip, data)
                    count.known += 1
                else:
                    sound = decode(data, settings.max_minutes, settings.max_file_mib)
                    waiting[clip.id] = measured(clip, sound), sound
            except Refused as reason:
                count.refused.append((entry.place, entry.values["file"] or "(no file)", str(reason)))
            if enough(waiting):
                write(ledger, waiting, count)
        write(ledger, waiting, count)
    return count


def enough(waiting: dict[str, tuple[Clip, Decoded]]) -> bool:
    """Whether so much is decoded that it should be written."""
    size = sum(sound.samples.nbytes for _, sound in waiting.values())
    return len(waiting) == _TOGETHER or size > _TOGETHER_BYTES


def write(ledger: Ledger, waiting: dict[str, tuple[Clip, Decoded]], count: Count) -> None:
    """Write what is waiting; nothing waits any more."""
    if waiting:
        ledger.add_all([(clip, sound.samples) for clip, sound in waiting.values()])
    count.new += len(waiting)
    count.hours += sum(sound.duration_s for _, sound in waiting.values()) / 3600
    waiting.clear()


def renew(ledger: Ledger, settings: Collect, known: Clip, clip: Clip, data: bytes) -> None:
    """A clip met again: its facts as the table now has them, its audio if that was lost."""
    update(ledger, known, clip)
    if not ledger.has_audio(known):
        ledger.restore(known, decode(data, settings.max_minutes, settings.max_file_mib).samples)


def read(entry: Entry, settings: Collect) -> tuple[Clip, bytes]:
    """A row as a clip not yet measured, and its bytes. Raises Refused with the reason."""
    values = entry.values
    language = values["language"] or settings.language or ""
    speaker = values["speaker"] or settings.speaker or ""
    if not values["file"]:
        raise Refused("names no file")
    if not values["text"] and settings.transcripts == "required":
        raise Refused("has no transcript; to take it in and write one later, collect.transcripts: later")
    if not language:
        raise Refused("has no language; give a column, or collect.language")
    if language not in LANGUAGES:
        raise Refused(f"language `{language}` is none of {', '.join(LANGUAGES)}")
    if not speaker:
        raise Refused("has no speaker; give a column, or collect.speaker for a corpus of one voice")
    data = entry.audio
    if data is None:
        data = read_file(settings.source.resolve(), values["file"], settings.max_file_mib)
    clip = Clip.model_validate(
        {
            "id": hashlib.sha256(data).hexdigest(),
            "speaker": speaker,
            "language": language,
            "dialect": values["dialect"] or None,
            "region": values["region"] or None,
            "transcript": values["text"],
            "origin": entry.origin,
            "audio": "unkept",
            "rate_hz": 1,
            "duration_s": 1,
            "source": values["file"],
        }
    )
    return clip, data


def read_file(folder: Path, name: str, max_file_mib: float) -> bytes:
    """The bytes of a regular file named in a table.

    Raises Refused when it is not there, not inside the folder, not a file (a pipe, a device), or too large.
    A link is followed where it leads inside; what is opened is then what was checked.
    """
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise Refused("lies outside the folder of the source")
        if not stat.S_ISREG(path.lstat().st_mode):  # opening a device may already do something
            raise Refused("is no regular file")
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as file:
            opened = os.fstat(handle)
            if not stat.S_ISREG(opened.st_mode):
                raise Refused("is no regular file")
            if opened.st_size > max_file_mib * 2**20:
                raise too_large(opened.st_size, max_file_mib)
            return file.read(opened.st_size)
    except FileNotFoundError:
        raise Refused("no such file") from None
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror}") from None
    except (ValueError, RuntimeError):  # a NUL in the name; a loop of links
        raise Refused("no file can have this name") from None


def measured(clip: Clip, sound: Decoded) -> Clip:
    """The clip with the rate and duration of its decoded samples."""
    return clip.model_copy(update={"rate_hz": sound.rate_hz, "duration_s": sound.duration_s})


def update(ledger: Ledger, known: Clip, clip: Clip) -> None:
    """A clip met again: its facts may have been corrected, its speaker may not have changed."""
    if known.speaker != clip.speaker:
        raise Refused(f"the same recording is in the ledger as one of {known.speaker}")
    facts = {"transcript", "origin", "language", "dialect", "region", "source"}
    # A validated transcript outlives the table it came from, and any transcript a table that has none.
    if not clip.transcript or (known.origin != "prompt" and clip.origin == "prompt"):
        facts -= {"transcript", "origin"}
    if known.origin == "validated" and clip.origin == "prompt":  # annotators also said in what letters it is
        facts -= {"language", "dialect"}
    same = {name: getattr(clip, name) for name in facts}
    if any(getattr(known, name) != value for name, value in same.items()):
        ledger.amend(known.model_copy(update=same))


# ---------------------------------------------------------------- consent


def enrol(ledger: Ledger, clip: Clip, entry: Entry, consents: dict[str, tuple[Event, bool]]) -> str | None:
    """Enter a speaker and their consent. Returns why nothing of theirs may be kept, or None."""
    found = consents.get(clip.speaker) or consents.get("*")
    if found is None:
        return f"no consent of speaker {clip.speaker}"
    event, synthetic = found
    facts = {"gender": entry.values["gender"] or None, "age_band": entry.values["age_band"] or None}
    speaker = Speaker.model_validate({"code": clip.speaker, "synthetic": synthetic, **facts})
    try:
        ledger.enrol(speaker, event.model_copy(update={"speaker": clip.speaker}))
    except UserError as error:
        return str(error)
    if not ledger.permit(clip, "store_prepare"):
        state = ledger.consents(clip.speaker)[-1].state
        return f"the consent of {clip.speaker} ({state}) does not cover store_prepare, or not any more"
    return None


def read_consents(settings: Collect) -> dict[str, tuple[Event, bool]]:
    """Consents by speaker, `*` for all, each with whether the voice is synthetic.

    Raises UserError naming the row when the table or the basis cannot be read.
    """
    if settings.basis:
        return {"*": (_from_basis(settings.basis), False)}
    path = settings.source / (settings.consents or "consents.csv")
    if settings.consents is None or not path.is_file():
        raise UserError(
            f"{path}: no table of consents; write one (speaker, purposes, notice, controller, given_on), "
            "or give collect.basis"
        )
    return dict(_consent(path, number, row) for number, row in read_table(path))


def _consent(path: Path, number: int, row: dict[str, str]) -> tuple[str, tuple[Event, bool]]:
    missing = [name for name in ("speaker", "purposes", "notice", "controller", "given_on") if not row.get(name)]
    if missing:
        raise UserError(f"{path}:{number}: {missing[0]} is not given")
    purposes = row["purposes"].replace(";", " ").split()
    if unknown := [purpose for purpose in purposes if purpose not in PURPOSES]:
        raise UserError(f"{path}:{number}: purpose `{unknown[0]}` is none of {', '.join(PURPOSES)}")
    values = {
        "speaker": row["speaker"],
        "purposes": purposes,
        "notice": row["notice"],
        "controller": row["controller"],
        "at": _date(f"{path}:{number}: given_on", row["given_on"]),
        "expires": _date(f"{path}:{number}: expires_on", row["expires_on"]) if row.get("expires_on") else None,
        "language": row.get("language") or None,
        "adult_on": row.get("adult_on") or None,
        "by": row.get("by") or "self",
        "how": row.get("how") or "tick",
    }
    try:
        event = Event.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        said = f"{fault['loc'][0]}: {fault['msg']}, got {fault['input']!r}" if fault["loc"] else fault["msg"]
        raise UserError(f"{path}:{number}: {said}") from None
    return row["speaker"], (event, row.get("synthetic", "").lower() in ("true", "yes", "1"))


def _from_basis(basis: Basis) -> Event:
    return Event(
        speaker="*",
        purposes=basis.purposes,
        notice=basis.notice,
        controller=basis.controller,
        at=_midnight(basis.given_on),
        expires=_midnight(basis.expires_on) if basis.expires_on else None,
        basis="licence",
        by="controller",
        how="licence",
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _date(place: str, text: str) -> datetime:
    try:
        return _midnight(date.fromisoformat(text))
    except ValueError:
        raise UserError(f"{place}: `{text}` is not a date like 2026-01-31") from None


# ---------------------------------------------------------------- results


def write_beside(recipe: Recipe, count: Count) -> None:
    """The list of refusals and of what the source left out, the resolved recipe, and what made it."""
    folder = recipe.folder("collect")
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([("row", "file", "reason"), *count.refused, *count.left_out])
    write_text(folder / "refused.csv", out.getvalue())
    write_text(folder / "recipe.yaml", recipe.text())
    versions = [f"{name} {version}" for name, version in package_versions().items()]
    write_text(folder / "versions.txt", "\n".join([f"code {code_version()}", *versions]) + "\n")


def _plain(name: str) -> str:
    """A file's name for the terminal: what turns the line round or steers the terminal is shown as a mark."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)


def summarise(count: Count, kept: list[Clip]) -> None:
    """What was done, what the ledger holds, and the next command."""
    print(f"{count.new} clips new ({count.hours:.2f} h), {count.known} known, {len(count.refused)} refused")
    for reason, number in Counter(reason for _, _, reason in count.left_out).most_common():
        print(f"left out: {number} × {reason}")
    print(f"the ledger holds {len(kept)} clips, {sum(clip.duration_s for clip in kept) / 3600:.2f} h")
    for language, clips in sorted(Counter(clip.language for clip in kept).items()):
        speakers = {clip.speaker for clip in kept if clip.language == language}
        print(f"  {language}: {clips} clips, {len(speakers)} speakers")
    print(next_command("prepare"))


if __name__ == "__main__":
    run(main, __doc__ or "")
