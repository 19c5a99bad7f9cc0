"""The dataset between prepare and train: its features; write, open, verify.

On disk, in the stage's folder: `versions/HASH/` with one Arrow table a split, `rejected.parquet`,
`lineage.json` and `recipe.yaml`; and `dataset`, a link to the version that holds. A version's name
is the hash of its rows, of its rejections and of the settings that made it.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import soundfile
import yaml
from pydantic import ValidationError

from prepare import figures as figures
from prepare import shards
from prepare import sources as sources
from prepare.clip import Samples
from prepare.hearing import dnsmos as dnsmos
from prepare.hearing import stretches_of_speech as stretches_of_speech
from prepare.hearing import voice_of_clip as voice_of_clip
from prepare.models import pretrained as pretrained
from prepare.models import pretrained_model as pretrained_model
from prepare.scratch import Lines
from prepare.text import normalise as normalise
from prepare.text.tifinagh import to_latin as to_latin
from prepare.text.variants import tolerant as tolerant
from recipes import provenance
from recipes.records import Lineage, Purpose, Quality, Rejected, Split, Utterance
from recipes.schema import Recipe, UserError

if TYPE_CHECKING:
    import datasets

    from collect.ledger import Artefact, Ledger

SPLITS: tuple[Split, ...] = get_args(Split)
_REJECTED = 10_000  # rows in a row group
_PROFILE = ("dialect", "region", "gender", "age_band")  # columns that are about the speaker
_NOT_OF_ROWS = {"workers", "executor", "parts"}  # settings that decide how rows are made, and not what they are


def open_dataset(recipe: Recipe) -> "datasets.DatasetDict":
    """The recipe's dataset: `train`, `valid` and `test`, with the fields of `Utterance` as columns.

    Rows stay on disk until they are read; audio is FLAC bytes, see `decode`. A split without a share
    is there and empty. `purposes` are those that speakers allow at this moment, and what is said of
    speakers who do not allow it any more (`profile_data`) is not there. Raises UserError when there is
    none, when it cannot be read, or when it was made with other settings than the recipe's.
    """
    return _as_allowed_now(recipe, as_made(recipe))


def as_made(recipe: Recipe) -> "datasets.DatasetDict":
    """The same, as it lies on disk: with the purposes and facts of the day on which it was made."""
    folder = dataset_folder(recipe)
    if not folder.is_dir():
        raise UserError(f"{folder}: no dataset yet; run: python -m prepare RECIPE")
    try:
        made = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
        found = _read(folder)
    except (OSError, ValueError, yaml.YAMLError) as error:
        fault = " ".join(str(error).split())
        raise UserError(f"{folder}: damaged ({fault}); remove it and run: python -m prepare RECIPE") from None
    provenance.refuse_withdrawn(folder, "run: python -m prepare RECIPE")
    if changed := _differences(made, recipe):
        raise UserError(f"{folder}: made with other settings ({changed}); run: python -m prepare RECIPE")
    return found


def _as_allowed_now(recipe: Recipe, found: "datasets.DatasetDict") -> "datasets.DatasetDict":
    made = {split: [table[name][:] for name in ("speaker", "clip", "purposes")] for split, table in found.items()}
    left = iter(sources.allowed_now(recipe, (row for columns in made.values() for row in zip(*columns, strict=True))))
    for split, (*_, was) in made.items():
        now = list(islice(left, len(was)))
        if was == now:
            continue
        told = [
            "profile_data" in before and "profile_data" not in after for before, after in zip(was, now, strict=True)
        ]
        new: dict[str, list[Any]] = {"purposes": now}
        for name in _PROFILE if any(told) else ():
            new[name] = [None if gone else fact for gone, fact in zip(told, found[split][name], strict=True)]
        rest = found[split].remove_columns(list(new))
        for name, column in new.items():
            rest = rest.add_column(name, column, feature=features()[name])
        found[split] = rest.select_columns(list(features()))
    return found


def _read(folder: Path) -> "datasets.DatasetDict":
    import datasets

    return datasets.load_from_disk(str(folder))


def register(
    recipe: Recipe,
    kind: str,
    name: str,
    place: Path,
    parents: Sequence[str],
    uses: Mapping[Purpose, Iterable[str]] | None = None,
) -> None:
    """Note in the ledger what was made from a dataset, so that a withdrawal finds it.

    `uses`: which clips it took for other purposes than the dataset's; taking one of these back finds it too.

    On a machine without the ledger, where a dataset was carried to, nothing is noted: the mark that a
    withdrawal leaves in the dataset's folder, and the lineage beside the result, are then all there is.
    """
    from collect.ledger import Artefact, ledger_exists, open_ledger

    if ledger_exists(recipe):
        with open_ledger(recipe) as ledger:
            made = Artefact(id=name, kind=kind, place=str(place), purpose=recipe.prepare.purpose)
            ledger.register(made, parents=parents)
            note_uses(ledger, made, uses or {})


def note_uses(ledger: "Ledger", made: "Artefact", uses: Mapping[Purpose, Iterable[str]]) -> None:
    """Note, purpose by purpose, the clips that something took for more than what it is for."""
    for purpose, clips in uses.items():
        if purpose != made.purpose:  # what it is for, all of its clips serve: its parents know them
            of = made.model_copy(update={"id": f"{made.id} {purpose}", "purpose": purpose})
            ledger.register(of, clips=clips)


def decode(audio: bytes) -> Samples:
    """FLAC bytes of a row as samples: float32 (n,)."""
    samples, _ = soundfile.read(io.BytesIO(audio), dtype="float32")
    return np.asarray(samples, dtype=np.float32)


def foreign_audio(data: bytes, max_minutes: float) -> tuple[Samples, int]:
    """Sound that somebody else made, whatever its format, as one channel: float32 (n,), and its rate.

    It comes in as recordings do, by the one safe door. Raises ValueError with the reason where it does not.
    """
    from collect.ledger import audio
    from prepare.clip import Clip
    from prepare.steps import mono

    try:
        found = audio.decode(data, max_minutes, max_file_mib=64)
    except audio.Refused as error:
        raise ValueError(str(error)) from None
    return mono(Clip(found.samples, found.rate_hz)).samples, found.rate_hz


def encode(samples: Samples, rate_hz: int) -> bytes:
    """Samples, float32 (n,) within ±1, as 16-bit FLAC."""
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def voice_vector(samples: Samples, rate_hz: int) -> Samples | None:
    """What makes a voice this person's: float32 (256,), of length 1; the product of two says how alike they are.

    None for less than a second of speech, and where the network is not installed (`make voices`). It is biometric
    data: only of clips whose speaker allows `voice_match`, and written nowhere. See `prepare.voiceprint`.
    """
    from importlib.util import find_spec

    if find_spec("resemblyzer") is None:
        return None
    from prepare import voiceprint
    from prepare.clip import Clip

    windows = voiceprint.vectors(Clip(samples, rate_hz))
    return voiceprint.unit(windows.mean(axis=0)) if len(windows) else None


def dataset_folder(recipe: Recipe) -> Path:
    """Where the recipe's dataset is, or will be. Its lineage: `recipes.provenance.read_lineage`."""
    return recipe.folder("prepare") / "dataset"


def dataset_hash(recipe: Recipe) -> str:
    """The name of the version that holds: what an adapter's lineage names as its parent."""
    return dataset_folder(recipe).resolve(strict=True).name


def features() -> "datasets.Features":
    """The columns, in the order of `Utterance`."""
    from datasets import Features, List, Value

    text, real, whole = Value("string"), Value("float64"), Value("int64")
    word = {"text": text, "start_s": real, "end_s": real, "score": real}
    columns = dict.fromkeys(Utterance.model_fields, text)
    columns |= {"audio": Value("binary"), "rate_hz": whole, "duration_s": real}
    columns |= {"words": List(word), "purposes": List(text), "flags": List(text)}
    figures = {name: whole if field.annotation is int else real for name, field in Quality.model_fields.items()}
    return Features(columns | {"quality": figures})


def mark(utterance: Utterance, digest: str) -> str:
    """A hash of a row. `digest`: of its audio, which `utterance` need not have."""
    return hashlib.sha256((utterance.model_dump_json(exclude={"audio"}) + digest).encode()).hexdigest()


def version(recipe: Recipe, marks: Iterable[str], rejected: Iterable[Rejected]) -> str:
    """The hash that names a dataset. `marks`: of its rows, in any order."""
    with Lines() as lines:
        for line in marks:
            lines.add(line)
        for row in rejected:
            lines.add(_rejection(row))
        return _name(recipe, lines)


def _name(recipe: Recipe, marks: Lines) -> str:
    marks.add(json.dumps(_settings(recipe), sort_keys=True))
    return provenance.digest_in_order(marks.in_order())


def _rejection(row: Rejected) -> str:
    return hashlib.sha256(row.model_dump_json().encode()).hexdigest()


def audio_digest(audio: bytes) -> str:
    """SHA-256 of an utterance's FLAC bytes."""
    return hashlib.sha256(audio).hexdigest()


def write(recipe: Recipe, utterances: Iterable[Utterance], rejected: Iterable[Rejected] = ()) -> Path:
    """Write a version, make it the one that holds, remove the others. Returns the folder it is opened from.

    `utterances` and `rejected` are gone through once, in their own order, and never held whole in memory.
    Nothing is left behind when it fails.
    """
    versions = recipe.folder("prepare") / "versions"
    clear_unfinished(recipe)
    part = versions / f".{os.getpid()}"
    part.mkdir(parents=True)
    try:
        with Lines() as marks, Lines() as clips:
            _write_tables(part, utterances, marks, clips)
            _write_rejected(part / "rejected.parquet", rejected, marks)
            held, name = provenance.digest_in_order(clips.different()), _name(recipe, marks)
        line = provenance.lineage(recipe, "dataset", purpose=recipe.prepare.purpose, clips=held)
        provenance.sign_folder(recipe, part, line)
        final = versions / name
        if final.exists():
            shutil.rmtree(final)
        os.replace(part, final)
    except OSError as error:  # a full disk: the libraries do not say which file
        raise OSError(error.errno, error.strerror or str(error), error.filename or str(versions)) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    point_to(dataset_folder(recipe), final)
    _remove_versions(versions, keep=final.name)
    return dataset_folder(recipe)


def holds(recipe: Recipe, name: str) -> bool:
    """Whether the version called `name` is the one in force, and whole."""
    folder = dataset_folder(recipe)
    return folder.is_dir() and folder.resolve().name == name and (folder / "lineage.json").is_file()


def earlier_splits(recipe: Recipe) -> dict[str, Split]:
    """Who, or by sentence what, is in which split of the dataset that is there: what `prepare.split.keep` keeps.

    Empty without `keep`, without a dataset, or where that was split by another seed or in another way.
    """
    folder, settings = dataset_folder(recipe), recipe.prepare.split
    if not settings.keep or not folder.is_dir():
        return {}
    try:
        made = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
        if (made["seed"], made["prepare"]["split"]) != (recipe.seed, settings.model_dump(mode="json")):
            return {}
        column = "text_normalized" if settings.by == "sentence" else "speaker"
        rows = _read(folder)
        return {name: split for split in SPLITS for name in rows[split].unique(column)}
    except (OSError, ValueError, KeyError, yaml.YAMLError):
        return {}  # damaged: there is nothing to keep


def remove(recipe: Recipe) -> None:
    """Remove the dataset and every version of it."""
    dataset_folder(recipe).unlink(missing_ok=True)
    _remove_versions(recipe.folder("prepare") / "versions", keep=None)


def clear_unfinished(recipe: Recipe) -> None:
    """Remove what an interrupted `write` left."""
    for path in (recipe.folder("prepare") / "versions").glob(".*"):
        shutil.rmtree(path, ignore_errors=True)


def read_rejected(recipe: Recipe) -> list[Rejected]:
    """Every clip that did not come through, with its reason."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(dataset_folder(recipe) / "rejected.parquet")
    return [Rejected.model_validate(row) for row in table.to_pylist()]


def verify(recipe: Recipe) -> list[str]:
    """Read the whole dataset and say what is wrong with it, one finding a line; none is good.

    Checked: columns, every row against `Utterance`, ids, audio (decodes, rate, duration), the hash, the lineage.
    Raises UserError as `open_dataset` does.
    """
    findings: list[str] = []
    marks: list[str] = []
    ids, clips = set[str](), set[str]()
    for split, table in as_made(recipe).items():
        if table.features != features():
            findings.append(f"{split}: the columns are not those of an utterance")
        for number, raw in enumerate(table):
            try:
                row = Utterance.model_validate(raw)
            except ValidationError as error:
                fault = error.errors()[0]
                findings.append(f"{split}, row {number}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}")
                continue
            findings += [f"{split}, row {number} ({row.id}): {fault}" for fault in _faults(row, str(split))]
            marks.append(mark(row, audio_digest(row.audio)))
            ids.add(row.id)
            clips.add(row.clip)
    if len(ids) < len(marks):
        findings.append("two rows have one id")
    if version(recipe, marks, read_rejected(recipe)) != dataset_hash(recipe):
        findings.append("the rows are not those that the version's name was computed from")
    line: Lineage = provenance.read_lineage(dataset_folder(recipe))
    if line.clips != provenance.digest(clips):
        findings.append("lineage.json: clips: not the clips of the rows")
    return findings


def _faults(row: Utterance, split: str) -> Iterator[str]:
    if row.split != split:
        yield f"split says {row.split}"
    try:
        samples, rate_hz = soundfile.read(io.BytesIO(row.audio), dtype="float32")
    except soundfile.LibsndfileError as error:
        yield f"audio cannot be decoded: {error.error_string}"
        return
    if rate_hz != row.rate_hz or samples.ndim != 1:
        yield f"audio is {rate_hz} Hz with shape {samples.shape}, not {row.rate_hz} Hz mono"
    elif abs(len(samples) / rate_hz - row.duration_s) > 1 / rate_hz:
        yield f"duration_s is {row.duration_s}, the audio has {len(samples) / rate_hz}"


def _write_tables(folder: Path, utterances: Iterable[Utterance], marks: Lines, clips: Lines) -> None:
    """One table a split. Notes the marks of the rows and the ids of their clips."""
    with ExitStack() as stack:
        tables = {split: stack.enter_context(shards.Table(folder / split, features(), split)) for split in SPLITS}
        for row in utterances:
            line = mark(row, audio_digest(row.audio))
            tables[row.split].add(row.model_dump(), line)
            marks.add(line)
            clips.add(row.clip)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(SPLITS)}), encoding="utf-8")


def _write_rejected(path: Path, rejected: Iterable[Rejected], marks: Lines) -> None:
    import pyarrow
    import pyarrow.parquet as parquet

    columns = dict.fromkeys(Rejected.model_fields, pyarrow.string())
    columns["quality"] = features().arrow_schema.field("quality").type  # as the dataset's rows have it
    schema = pyarrow.schema(columns.items())
    left = iter(rejected)
    with parquet.ParquetWriter(path, schema) as writer:
        while rows := list(islice(left, _REJECTED)):
            writer.write_table(pyarrow.Table.from_pylist([row.model_dump() for row in rows], schema))
            for row in rows:
                marks.add(_rejection(row))


def point_to(link: Path, target: Path) -> None:
    """Make `link` lead to `target`, in one step, by a relative path so that the work folder can be moved."""
    part = link.with_name(f".{link.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    part.symlink_to(os.path.relpath(target, link.parent))
    os.replace(part, link)


def _remove_versions(versions: Path, keep: str | None) -> None:
    """A clip that left must not live on in an older version."""
    for path in versions.glob("*"):
        if path.name != keep:
            shutil.rmtree(path)


def _settings(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe decides the rows."""
    return {"seed": recipe.seed, "prepare": recipe.prepare.model_dump(mode="json", exclude=_NOT_OF_ROWS)}


def _differences(made: dict[str, Any], recipe: Recipe) -> str:
    """`prepare.rate_hz: 16000 then, 22050 now`, for every such key."""
    then, now = made.get("prepare", {}), _settings(recipe)["prepare"]
    keys = [(f"prepare.{key}", then.get(key), value) for key, value in now.items()]
    keys.append(("seed", made.get("seed"), recipe.seed))
    return ", ".join(f"{key}: {old} then, {new} now" for key, old, new in keys if old != new)
