"""Tables that lie beside recordings: found, read, and their columns given the project's names."""

import csv
import difflib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.schema import Collect, Columns, UserError

_NAMES = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
_COMMON_VOICE = ("validated.tsv", "train.tsv", "dev.tsv", "test.tsv")
_COMMON_VOICE_COLUMNS = Columns(
    file="path",
    text="sentence",
    speaker="client_id",
    language=None,
    dialect="variant",
    region="accents",
    gender="gender",
    age_band="age",
)
# What other corpora write for gender and age, in our words. Anything else is left out, as not given.
_GENDERS = {"male": "male", "m": "male", "male_masculine": "male"}
_GENDERS |= {"female": "female", "f": "female", "female_feminine": "female", "other": "other"}
_AGES = {"teens": None, "twenties": "18-29", "thirties": "30-44", "forties": None, "fifties": None}
_AGES |= {"sixties": "60+", "seventies": "60+", "eighties": "60+", "nineties": "60+"}
_AGES |= {band: band for band in ("under18", "18-29", "30-44", "45-59", "60+")}


@dataclass(frozen=True)
class Entry:
    """One row of a table: where it stands, and what it says in the project's names ("" where nothing)."""

    place: str  # file:row, counted as a spreadsheet does
    values: Mapping[str, str]


def entries(settings: Collect) -> list[Entry]:
    """The rows of a source's table. Raises UserError naming file and column for a table that cannot be used."""
    folder = settings.source
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder (collect.source)")
    layout, paths = _find(settings)
    columns = _COMMON_VOICE_COLUMNS if layout == "common_voice" else settings.columns
    found: list[Entry] = []
    for path in paths:
        found += _rename(path, list(_ljspeech(path) if layout == "ljspeech" else read_table(path)), columns, layout)
    if not found:
        raise UserError(f"{paths[0]}: no row in it")
    return found


def _find(settings: Collect) -> tuple[str, list[Path]]:
    """The layout of a source and its tables."""
    folder, layout = settings.source, settings.layout
    if settings.metadata:
        path = folder / settings.metadata
        if not path.is_file():
            raise UserError(f"{path}: no such file (collect.metadata)")
        return ("plain" if layout == "auto" else layout), [path]
    if layout in ("auto", "common_voice"):
        tables = [folder / name for name in _COMMON_VOICE if (folder / name).is_file()]
        if tables and (folder / "clips").is_dir():
            return "common_voice", tables[:1] if tables[0].name == "validated.tsv" else tables
    if layout in ("auto", "ljspeech") and (folder / "wavs").is_dir() and (folder / "metadata.csv").is_file():
        first = _text(folder / "metadata.csv").splitlines()[:1]
        if layout == "ljspeech" or (first and "|" in first[0]):
            return "ljspeech", [folder / "metadata.csv"]
    plain = [folder / name for name in _NAMES if (folder / name).is_file()]
    if layout in ("auto", "plain") and plain:
        return "plain", plain[:1]
    if settings.synthetic:
        raise UserError(f"{folder}: no speech there yet; run: python -m collect.synthetic RECIPE")
    raise UserError(f"{folder}: no table of metadata ({', '.join(_NAMES)}); name one in collect.metadata")


def read_table(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV, TSV or JSONL file with their numbers. Raises UserError with file and row."""
    text = _text(path)
    if path.suffix == ".jsonl":
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                yield number, _json_row(path, number, line)
        return
    if not text.strip():
        raise UserError(f"{path}: empty")
    delimiter = "\t" if path.suffix == ".tsv" else ("," if "," in text.splitlines()[0] else ";")
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, restkey="", strict=True)
    try:
        for row in reader:
            if row.get(""):
                raise UserError(f"{path}:{reader.line_num}: more cells than the header has columns")
            yield reader.line_num, {str(k).strip(): (v or "").strip() for k, v in row.items() if k}
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not a table: {error}") from None


def _json_row(path: Path, number: int, line: str) -> dict[str, str]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}:{number}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise UserError(f'{path}:{number}: a row is an object, like {{"file": …, "text": …}}')
    return {key: "" if value is None else str(value).strip() for key, value in row.items()}


def _ljspeech(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """LJSpeech: `name|text|normalised text`, without a header, recordings in wavs/."""
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            name, *texts = line.split("|")
            yield (
                number,
                {"file": f"wavs/{name}.wav", "text": next((t.strip() for t in texts if t.strip()), "")},
            )


def _rename(path: Path, rows: list[tuple[int, dict[str, str]]], columns: Columns, layout: str) -> Iterator[Entry]:
    given = columns.model_fields_set
    have = list(dict.fromkeys(key for _, row in rows for key in row))
    for key, name in columns.model_dump().items():
        wanted = key in ("file", "text") or (key in given and layout != "common_voice")
        if rows and name and wanted and name not in have:
            near = difflib.get_close_matches(name, have, n=1)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise UserError(
                f"{path}: no column `{name}` (collect.columns.{key}); {hint}the table has: {', '.join(have)}"
            )
    for number, row in rows:
        values = {key: row.get(name, "") if name else "" for key, name in columns.model_dump().items()}
        values["gender"] = _GENDERS.get(values["gender"].lower(), "")
        values["age_band"] = _AGES.get(values["age_band"]) or ""
        if layout == "common_voice" and values["file"]:
            values["file"] = f"clips/{values['file']}"
        yield Entry(f"{path.name}:{number}", values)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); save the table as UTF-8") from None
