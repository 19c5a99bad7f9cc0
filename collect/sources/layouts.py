"""The layouts of folders that recordings come in: for each, a function from the recipe to its entries."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from collect.sources import hub, label_export, whatsapp
from collect.sources.metadata import Entry, Row, numbered, read_table, read_text, renamed
from recipes.records import LANGUAGES
from recipes.schema import Collect, Columns, Recipe, UserError

_TABLES = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
_FOLDER_TABLES = ("metadata.csv", "metadata.jsonl")
_VALIDATED = "validated.tsv"
_SPLITS = ("train.tsv", "dev.tsv", "test.tsv")
_COMMON_VOICE = Columns(
    file="path",
    text="sentence",
    speaker="client_id",
    language="locale",
    dialect="variant",
    region="accents",
    gender="gender",
    age_band="age",
)
_REPORTS = ("offensive-language", "grammar-or-spelling", "different-language", "difficult-pronounce")
_TEXTS = ("text", "transcription", "transcript", "sentence")  # what audiofolders call the column
_SCRIPTS = {"ARABIC": "Arab", "TIFINAGH": "Tfng", "LATIN": "Latn"}  # by the first word of a letter's Unicode name


def entries(recipe: Recipe) -> Iterable[Entry]:
    """The recordings of a source, as its layout names them.

    Raises UserError, naming file and column, for a source that cannot be used. The rows of a dataset
    are read as they are asked for, so that its audio is never all in memory.
    """
    settings = recipe.collect
    if settings.hub is None and not settings.source.is_dir():
        raise UserError(f"{settings.source}: no such folder (collect.source)")
    layout = _guess(settings) if settings.layout == "auto" else settings.layout
    if layout == "datasets":
        return hub.dataset(settings, wanted(settings))
    salt = recipe.folder("collect") / "whatsapp.salt"
    readers = {"ljspeech": ljspeech, "common_voice": common_voice, "piper": piper, "audiofolder": audiofolder}
    readers |= {"plain": plain, "label_studio": label_export.tasks}
    readers |= {"whatsapp": lambda settings: whatsapp.voice_notes(settings, salt)}
    found = list(readers[layout](settings))
    if not found:
        raise UserError(f"{settings.source}: no recording is named in it")
    return found


def _guess(settings: Collect) -> str:
    """The layout of a folder that can be told by its look."""
    folder = settings.source
    if settings.hub:
        return "datasets"
    if settings.metadata:
        return "plain"
    locales = _locales(folder)
    if locales and (locales[0] == folder or not any((folder / name).is_file() for name in _TABLES)):
        return "common_voice"
    if (folder / "wavs").is_dir() and (folder / "metadata.csv").is_file():
        first = read_text(folder / "metadata.csv").splitlines()[:1]
        if first and "|" in first[0]:
            return "ljspeech"
    return "plain"


def wanted(settings: Collect) -> set[str]:
    """The columns without which a table is of no use: the file, the text, and those that the recipe names."""
    text = {"text"} if settings.transcripts == "required" else set()
    return {"file"} | text | settings.columns.model_fields_set


def tables(settings: Collect, names: Iterable[str]) -> list[Path]:
    """The table that the recipe names, or those of the folder. Raises UserError when there is none."""
    folder = settings.source
    if settings.metadata:
        if not (folder / settings.metadata).is_file():
            raise UserError(f"{folder / settings.metadata}: no such file (collect.metadata)")
        return [folder / settings.metadata]
    if found := [folder / name for name in names if (folder / name).is_file()]:
        return found
    if settings.synthetic:
        raise UserError(f"{folder}: no speech there yet; run: python -m collect.synthetic RECIPE")
    raise UserError(f"{folder}: no table of metadata ({', '.join(names)}); name one in collect.metadata")


# ---------------------------------------------------------------- one table


def plain(settings: Collect) -> Iterator[Entry]:
    """A table of ours: one row a recording, paths inside the folder."""
    table = tables(settings, _TABLES)[0]
    return renamed(table, numbered(table), settings.columns, wanted(settings))


def ljspeech(settings: Collect) -> Iterator[Entry]:
    """LJSpeech: `name|text|normalised text`, without a header, recordings in wavs/."""
    table = tables(settings, ["metadata.csv"])[0]
    rows: list[Row] = []
    for number, line in enumerate(read_text(table).splitlines(), start=1):
        if line.strip():
            name, *texts = line.split("|")
            text = next((t.strip() for t in texts if t.strip()), "")
            rows.append((f"{table.name}:{number}", {"file": f"wavs/{name}.wav", "text": text}))
    return renamed(table, rows, settings.columns, wanted(settings))


# ---------------------------------------------------------------- Common Voice


def common_voice(settings: Collect) -> Iterator[Entry]:
    """A release of Common Voice: one locale (clips/ and its tables), or a folder of locales.

    Recordings that were reported, voted down or not yet voted on are left out, each with its reason.
    """
    folder = settings.source
    if settings.metadata:
        yield from _rows(folder, folder, tables(settings, ()))
        return
    locales = _locales(folder)
    if not locales:
        raise UserError(f"{folder}: no Common Voice release (clips/ beside {_VALIDATED}, or folders that hold these)")
    spoken = {tag.partition("-")[0] for tag in LANGUAGES}
    for locale in locales:
        if len(locales) > 1 and locale.name not in spoken:
            name = f"{locale.relative_to(folder).as_posix()}/"
            yield Entry(name, {"file": name}, left_out="a locale that is none of the languages here")
        else:
            yield from _locale(folder, locale)


def _locales(folder: Path) -> list[Path]:
    """The folders of a release that hold clips/ and its tables."""
    clips = [folder / "clips", *sorted(folder.glob("*/clips")), *sorted(folder.glob("*/*/clips"))]
    tabled = [path.parent for path in clips if path.is_dir()]
    return [path for path in tabled if any((path / name).is_file() for name in (_VALIDATED, *_SPLITS))]


def _locale(folder: Path, locale: Path) -> Iterator[Entry]:
    names = [_VALIDATED] if (locale / _VALIDATED).is_file() else _SPLITS
    yield from _rows(folder, locale, [locale / name for name in names if (locale / name).is_file()])
    for table, reason in (("invalidated.tsv", "invalidated by its listeners"), ("other.tsv", "not yet validated")):
        if (locale / table).is_file():
            for entry in _rows(folder, locale, [locale / table]):
                yield Entry(entry.place, entry.values, left_out=reason)


def _rows(folder: Path, locale: Path, paths: list[Path]) -> Iterator[Entry]:
    """The clips of one locale's tables. Its cells are not quoted: a sentence may begin with a quotation mark."""
    reports = _reports(locale / "reported.tsv")
    for path in paths:
        rows = numbered(path, quoted=False, name=path.relative_to(folder).as_posix())
        for (_, row), entry in zip(rows, renamed(path, rows, _COMMON_VOICE, {"file", "text"}), strict=True):
            file = entry.values["file"] and (locale.relative_to(folder) / "clips" / entry.values["file"]).as_posix()
            language = tag(entry.values["language"] or locale.name, entry.values["text"])
            reason = reports.get(row.get("sentence_id", "")) or reports.get(entry.values["text"], "")
            yield Entry(entry.place, {**entry.values, "file": file, "language": language}, left_out=reason)


def _reports(path: Path) -> dict[str, str]:
    """Why sentences were reported, by id and by text. A reason in a reader's own words is `other`."""
    found: dict[str, str] = {}
    for _, row in read_table(path, quoted=False) if path.is_file() and path.stat().st_size else ():
        reason = row.get("reason", "")
        told = f"its sentence was reported: {reason if reason in _REPORTS else 'other'}"
        found |= {key: told for key in (row.get("sentence_id"), row.get("sentence")) if key}
    return found


def tag(locale: str, text: str) -> str:
    """The language tag of a locale and the letters of a text: zgh-Tfng of `zgh` and ⵎⴰⴼ; "" for none of ours."""
    if locale in LANGUAGES:
        return locale
    letters = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in text if letter.isalpha())
    script = _SCRIPTS.get(max(letters, key=letters.__getitem__, default=""), "")
    found = f"{locale.partition('-')[0]}-{script}"
    return found if found in LANGUAGES else ""


# ---------------------------------------------------------------- Piper Recording Studio


def piper(settings: Collect) -> Iterator[Entry]:
    """Piper Recording Studio's output: [user_CODE/]LANGUAGE/GROUP/ID.webm or .wav, and ID.txt with the prompt."""
    folder = settings.source
    audio = [path for path in sorted(folder.rglob("*")) if path.suffix in (".webm", ".wav")]
    for path in audio:
        language, user = path.absolute().parents[1].name, path.absolute().parents[2].name
        prompt = path.with_suffix(".txt")
        text = read_text(prompt).strip() if prompt.is_file() else ""
        values = dict.fromkeys(Columns.model_fields, "")
        values |= {"file": path.relative_to(folder).as_posix(), "text": text, "language": tag(language, text)}
        values |= {"speaker": user if user.startswith("user_") else ""}
        yield Entry(prompt.relative_to(folder).as_posix(), values)
    if not audio:
        raise UserError(f"{folder}: no LANGUAGE/GROUP/ID.webm or .wav in it; name Piper Recording Studio's output")


# ---------------------------------------------------------------- audiofolder


def audiofolder(settings: Collect) -> Iterator[Entry]:
    """`datasets`' audiofolder: metadata.csv or .jsonl, in subfolders too, with `file_name` beside each table."""
    folder = settings.source
    paths = sorted(path for name in _FOLDER_TABLES for path in folder.rglob(name) if path.is_file())
    if not paths and not settings.metadata:
        raise UserError(f"{folder}: no {' or '.join(_FOLDER_TABLES)} in it: its recordings have no transcripts")
    for path in tables(settings, ()) if settings.metadata else paths:
        rows = numbered(path, name=path.relative_to(folder).as_posix())
        columns = _folder_columns(settings, rows)
        for entry in renamed(path, rows, columns, wanted(settings)):
            file = entry.values["file"] and (path.parent.relative_to(folder) / entry.values["file"]).as_posix()
            yield Entry(entry.place, {**entry.values, "file": file})


def _folder_columns(settings: Collect, rows: list[Row]) -> Columns:
    """The recipe's columns, with the names audiofolders have where the recipe gives none."""
    have = {key for _, row in rows for key in row}
    usual = {"file": "file_name", "text": next((name for name in _TEXTS if name in have), "text")}
    return settings.columns.model_copy(
        update={key: name for key, name in usual.items() if key not in settings.columns.model_fields_set}
    )
