"""The dataset as Parquet with its card and metadata: `python -m prepare.export RECIPE`.

It goes into `work_dir/prepare/dataset/parquet`, and goes with its version of the dataset. Nothing leaves the
machine: that is `python -m prepare.push RECIPE`.
"""

import csv
import hmac
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collect.ledger import Artefact, Ledger, open_ledger
from prepare import card, croissant, dataset, figures, parts, terms
from prepare.card import About
from prepare.figures import FACTS, Figures
from recipes import provenance
from recipes.command import next_command, run
from recipes.schema import Recipe, UserError

if TYPE_CHECKING:
    import datasets
    import pyarrow

_BATCH = 64  # rows in memory, and in a row group
_SHARD_BYTES = 500_000_000
_LIGHT = ("id", "clip", "speaker", "language", "split", "duration_s", "text_normalized", "quality", "rate_hz", *FACTS)


def main(recipe: Recipe) -> None:
    with parts.locked(recipe.folder("prepare")), open_ledger(recipe) as ledger:
        folder, about = make(ledger, recipe)
    files = sorted((folder / "data").glob("*.parquet"))
    print(f"{about.summary} {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")
    print(f"every clip allows: {', '.join(about.terms.purposes)}; licence: {about.terms.licence}")
    print(folder)
    print(next_command("prepare.push"))


def make(ledger: Ledger, recipe: Recipe) -> tuple[Path, About]:
    """Export the dataset, unless that very export is there. Returns its folder, and what it says of itself.

    Raises UserError when there is no dataset, or one that holds a clip whose consent does not cover its
    purpose any more.
    """
    rows = dataset.open_dataset(recipe)
    about = describe(ledger, recipe, rows)
    salt = read_salt(recipe)
    version = dataset.dataset_folder(recipe).resolve()
    text = card.readme(about)
    name = provenance.digest([about.version, text, hmac.digest(salt, b"export", "sha256").hex()])
    link = folder_of(recipe)
    if not (version / name / "croissant.json").is_file():
        part = version / f".{name}.{os.getpid()}"
        for unfinished in version.glob(".*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        try:
            write(part, rows, about, text, salt)
            shutil.rmtree(version / name, ignore_errors=True)
            os.replace(part, version / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    made = Artefact(id=name, kind="dataset", place=str(link), purpose=recipe.prepare.purpose)
    ledger.register(made, clips=about.figures.clips, parents=[about.version])
    old = link.resolve() if link.is_symlink() else None
    dataset.point_to(version / link.name, version / name)
    if old and old != version / name:
        shutil.rmtree(old, ignore_errors=True)
    return link, about


def folder_of(recipe: Recipe) -> Path:
    """Where the export is, or will be."""
    return dataset.dataset_folder(recipe) / "parquet"


def describe(ledger: Ledger, recipe: Recipe, rows: "datasets.DatasetDict") -> About:
    """All that the card says, from the rows and from the consents at this moment."""
    light = (row for split in rows.values() for row in split.select_columns(list(_LIGHT)))
    found = figures.count(light)
    purpose = recipe.prepare.purpose
    if lacking := list(terms.refused(ledger, found.clips, [purpose])):
        raise UserError(
            f"{len(lacking)} clips of the dataset, the first {lacking[0][0][:12]}, have no consent for {purpose} "
            "any more; run: python -m prepare RECIPE"
        )
    return About(
        recipe=recipe,
        figures=found,
        terms=terms.resolve(ledger, found.clips),
        made=provenance.read_lineage(dataset.dataset_folder(recipe)),
        version=dataset.dataset_hash(recipe),
        rejected=card.reasons(row.reason for row in dataset.read_rejected(recipe)),
    )


def write(folder: Path, rows: "datasets.DatasetDict", about: About, text: str, salt: bytes) -> None:
    """Write an export: `data/SPLIT-*.parquet`, card, metadata, amounts by speaker, lineage."""
    (folder / "data").mkdir(parents=True)
    code = pseudonyms(about.figures, salt)
    least = about.recipe.collect.coverage.min_speakers
    for split, table in rows.items():
        if len(table):
            write_split(folder / "data", str(split), table, lambda row: outward(row, code, about.figures, least))
    (folder / "README.md").write_text(text, encoding="utf-8")
    (folder / "speakers.csv").write_text(amounts(about.figures, code), encoding="utf-8")
    (folder / "lineage.json").write_text(about.made.model_dump_json(indent=2), encoding="utf-8")
    described = json.dumps(croissant.describe(about, folder), ensure_ascii=False, indent=1)
    (folder / "croissant.json").write_text(described, encoding="utf-8")


def write_split(
    folder: Path, split: str, rows: "datasets.Dataset", outward: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """One or more Parquet files of a split, some rows at a time."""
    import pyarrow
    import pyarrow.parquet as parquet

    count = max(1, -(-rows.data.nbytes // _SHARD_BYTES))
    schema = columns(rows).arrow_schema
    for number in range(count):
        path = folder / f"{split}-{number:05}-of-{count:05}.parquet"
        shard = rows.shard(count, number, contiguous=True)
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in _batches(shard):
                made = [outward(row) for row in batch.to_pylist()]
                writer.write_table(pyarrow.Table.from_pylist(made, schema))


def columns(rows: "datasets.Dataset") -> "datasets.Features":
    """The dataset's columns, its audio in the type that the hub plays."""
    from datasets import Audio, Features

    rates = set(rows.unique("rate_hz"))
    audio = Audio(sampling_rate=rates.pop() if len(rates) == 1 else None)
    return Features({name: audio if name == "audio" else kind for name, kind in dataset.features().items()})


def outward(row: dict[str, Any], code: dict[str, str], found: Figures, least: int) -> dict[str, Any]:
    """A row as others may see it: another code for the speaker, and no fact that only a few people share."""
    facts = figures.shareable(found, tuple(row[key] for key in FACTS), least)
    audio = {"bytes": row["audio"], "path": f"{row['id']}.flac"}
    return row | dict(zip(FACTS, facts, strict=True)) | {"speaker": code[row["speaker"]], "audio": audio}


def pseudonyms(found: Figures, salt: bytes) -> dict[str, str]:
    """The code of each speaker outside."""
    return {name: pseudonym(name, salt) for name in found.voices}


def pseudonym(speaker: str, salt: bytes) -> str:
    """A code in place of a speaker's own, which none can compute who does not have the salt."""
    return "s" + hmac.digest(salt, speaker.encode(), "sha256").hex()[:12]


def amounts(found: Figures, code: dict[str, str]) -> str:
    """`speakers.csv`: how much there is of each speaker, and nothing about the person."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["speaker", "utterances", "minutes", "letters_per_s", "mean_snr_db", "languages", "splits"])
    for name in sorted(found.voices, key=code.__getitem__):
        voice = asdict(found.voices[name])
        seconds, many = voice["duration_s"], voice["utterances"]
        figures_ = [many, f"{seconds / 60:.2f}", f"{voice['letters'] / seconds:.1f}", f"{voice['snr_db'] / many:.1f}"]
        writer.writerow([code[name], *figures_, *(" ".join(sorted(voice[key])) for key in ("languages", "splits"))])
    return out.getvalue()


def read_salt(recipe: Recipe) -> bytes:
    """The secret of the codes outside; made once, readable by its owner only."""
    path = recipe.folder("prepare") / "export.salt"
    if not path.exists():
        part = path.with_name(f".{path.name}.{os.getpid()}")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        os.replace(part, path)
    return path.read_bytes()


def _batches(rows: "datasets.Dataset") -> Iterator["pyarrow.Table"]:
    yield from rows.with_format("arrow").iter(batch_size=_BATCH)


if __name__ == "__main__":
    run(main, __doc__ or "")
