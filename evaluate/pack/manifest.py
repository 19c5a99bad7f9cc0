"""What a pack holds, as tables for machines and a page for ears; and what people decided about it."""

import base64
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import soundfile

from evaluate import marked
from evaluate.pack.speak import Spoken, folder_of, voice_for
from recipes.provenance import file_digest, lineage, read_lineage, sign_folder, unmark, write_text
from recipes.records import Purpose
from recipes.schema import Recipe, UserError
from train.adapter import adapter_folder, register
from web.offline import render
from web.page import LANGUAGES, direction, strings

Decided = Literal["approved", "rejected"]
PAGES = Path(__file__).parent / "pages"
_PLAYERS_MIB = 20.0  # of sound in the page that needs no other file; what does not fit is counted


@dataclass(frozen=True)
class Decision:
    """What somebody decided about one sound. It says nothing of another sound of the same phrase."""

    sound: str
    id: str
    decided: Decided
    note: str = ""


def write(recipe: Recipe, spoken: Sequence[Spoken]) -> Path:
    """Write tables, pages and lineage, and remove sounds of earlier packs. Returns the folder."""
    folder = folder_of(recipe)
    _clear(folder / "sounds", spoken)
    tables(recipe, spoken)
    for language in LANGUAGES:
        write_text(folder / f"listen.{language}.html", page(recipe, spoken, language))
    _sign(recipe, folder)
    return folder


def tables(recipe: Recipe, spoken: Sequence[Spoken]) -> None:
    """`manifest.json` and `manifest.csv`, with what was decided so far."""
    folder, weights = folder_of(recipe), marked.adapter_hash(recipe)
    found = rows(recipe, spoken)
    about = {
        "name": recipe.name,
        "adapter": weights,
        "marked": marked.statement(recipe, weights),
        "marks": marked.Marks.of(recipe).told(list(recipe.evaluate.pack.formats)),
        "recogniser": recipe.evaluate.recogniser and Path(recipe.evaluate.recogniser).name,
        "max_cer": recipe.evaluate.pack.max_cer,
        "loudness_lufs": recipe.evaluate.loudness_lufs,
    }
    write_text(folder / "manifest.json", json.dumps(about | {"phrases": found}, ensure_ascii=False, indent=1))
    out = io.StringIO()
    table = csv.DictWriter(out, list(found[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(row | {"flags": "; ".join(row["flags"])} for row in found)
    write_text(folder / "manifest.csv", out.getvalue())


def rows(recipe: Recipe, spoken: Sequence[Spoken]) -> list[dict[str, Any]]:
    """One row a phrase."""
    decided = decisions(recipe)
    found = []
    for one in spoken:
        decision = decided.get(one.sound)
        files = {kind: f"sounds/{one.sound}.{kind}" for kind in one.formats}
        found.append(
            {"id": one.id, "text": one.text, "language": one.language, **files, "voice": one.voice}
            | {"duration_s": one.duration_s, "loudness_lufs": one.loudness_lufs, "cer": one.cer, "heard": one.heard}
            | {"flags": flags(recipe, one), "decided": decision.decided if decision else None}
            | {"note": decision.note if decision else ""}
        )
    return found


def flags(recipe: Recipe, one: Spoken) -> list[str]:
    """Why a person should listen to this one with care."""
    wanted, found = recipe.evaluate.loudness_lufs, []
    if one.loudness_lufs is None:
        found.append("silence")
    elif abs(one.loudness_lufs - wanted) > 1:
        found.append(f"loudness {one.loudness_lufs:.1f} LUFS, not {wanted:g}")
    if one.cer is not None and one.cer > recipe.evaluate.pack.max_cer:
        found.append(f"CER {one.cer:.2f}: heard as {one.heard!r}")
    if one.unknown:
        found.append(f"letters that the model never learnt: {one.unknown}")
    if not one.stopped:
        found.append("did not end by itself, and was cut off")
    return found


# ---------------------------------------------------------------- pages


def page(recipe: Recipe, spoken: Sequence[Spoken], language: str) -> str:
    """All phrases to listen to, as one file that needs no other and no network."""
    shown, left, silent = [], _PLAYERS_MIB * 2**20, 0
    for one in spoken:
        data = None
        if left > 0:
            data = base64.b64encode(compressed(recipe, one)).decode()
            left -= len(data)
        else:
            silent += 1
        shown.append(seen(recipe, one) | {"data": data})
    shell = {"t": strings(language, PAGES), "language": language, "dir": direction(language)}
    others = [(one, strings(one, PAGES)["name"]) for one in LANGUAGES]
    marked_as = marked.statement(recipe, marked.adapter_hash(recipe))
    values = {"phrases": shown, "recipe": recipe, "languages": others, "silent": silent, "marked": marked_as}
    return render(PAGES, "listen.html", **shell, **values)


def seen(recipe: Recipe, one: Spoken) -> dict[str, Any]:
    """A phrase as pages show it: with its direction, its flags, and what was decided."""
    decision = decisions(recipe).get(one.sound)
    return {
        "one": one,
        "dir": direction(one.language),
        "flags": flags(recipe, one),
        "decided": decision.decided if decision else None,
        "note": decision.note if decision else "",
    }


def compressed(recipe: Recipe, one: Spoken) -> bytes:
    """A phrase as MP3, which every browser plays."""
    path = folder_of(recipe) / "sounds" / f"{one.sound}.{one.formats[0]}"
    samples, rate_hz = soundfile.read(path, dtype="float32")
    return marked.encode(samples, rate_hz, "mp3", "Synthetic speech, made by a machine; no person said this.")


# ---------------------------------------------------------------- decisions


def decisions(recipe: Recipe) -> dict[str, Decision]:
    """What was decided, by sound. Raises UserError for a table that was damaged."""
    path = folder_of(recipe) / "decisions.csv"
    if not path.exists():
        return {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            found = [Decision(r["sound"], r["id"], r["decided"], r["note"]) for r in csv.DictReader(file)]  # type: ignore[arg-type]
    except (KeyError, UnicodeDecodeError, csv.Error):
        raise UserError(f"{path}: not a table of decisions; mend it, or move it away and decide again") from None
    if wrong := next((one for one in found if one.decided not in get_args(Decided)), None):
        raise UserError(f"{path}: {wrong.id} is {wrong.decided!r}; approved or rejected")
    return {one.sound: one for one in found}


def decide(recipe: Recipe, made: Sequence[Decision], undone: Sequence[str] = ()) -> None:
    """Add decisions to those there are, in place of earlier ones on the same sounds; `undone`: sounds without."""
    kept = decisions(recipe) | {one.sound: one for one in made}
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["sound", "id", "decided", "note"])
    table.writerows([d.sound, d.id, d.decided, d.note] for sound, d in kept.items() if sound not in undone)
    write_text(folder_of(recipe) / "decisions.csv", out.getvalue())


# ---------------------------------------------------------------- the folder


def _clear(sounds: Path, spoken: Sequence[Spoken]) -> None:
    """Remove what no phrase has any more, and what a killed run left half written."""
    kept = {f"{one.sound}.{kind}" for one in spoken for kind in [*one.formats, "json"]}
    for path in sounds.iterdir():
        if path.name not in kept:
            path.unlink()


def _sign(recipe: Recipe, folder: Path) -> None:
    """Say what the pack was made from, whose voice it is too, so that a withdrawal finds it."""
    made = adapter_folder(recipe)
    parents = [file_digest(made / "lineage.json")]
    unmark(folder)
    if not _signed(folder, parents):
        line = read_lineage(made)
        base = {"base": line.base, "base_revision": line.base_revision, "base_hash": line.base_hash}
        made_from = lineage(recipe, "report", purpose=line.purpose, clips=line.clips, parents=parents, **base)
        sign_folder(recipe, folder, made_from)
    uses: dict[Purpose, set[str]] = {"tts_clone": marked.clips_of(recipe, voice_for(recipe))}
    register(recipe, "voice_pack", file_digest(folder / "lineage.json"), folder, parents, uses)


def _signed(folder: Path, parents: list[str]) -> bool:
    try:
        return read_lineage(folder).parents == parents
    except (OSError, ValueError):
        return False  # the first, or damaged
