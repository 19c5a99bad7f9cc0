"""What the artefacts say, each fact with the file that says it. What is not there is no fact, and is not guessed."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate import audit, gate, marked, model_card, package, results
from evaluate.gate import Candidate
from evaluate.model_card import LEAST
from recipes.records import PURPOSES
from recipes.schema import Recipe, UserError
from train.adapter import adapter_folder, dataset_folder, dataset_hash, figures, sources

# Which command makes what a group of facts is read from.
MADE_BY = {
    "recipe": "python -m recipes",
    "dataset": "python -m prepare",
    "consents": "python -m collect.ingest",
    "adapter": "python -m train",
    "results": "python -m evaluate",
    "package": "python -m evaluate.publish",
    "audit": "make audit",
}


@dataclass(frozen=True)
class Fact:
    """A value, and the file in which it stands, as seen from the work folder."""

    value: Any
    source: str


Facts = Mapping[str, Fact]  # by group and name: dataset.hours


def gather(recipe: Recipe) -> dict[str, Fact]:
    """All facts that there are, by name. What has not been made yet, or was withdrawn, gives none."""
    found = dict(_recipe(recipe))
    for more in (_dataset, _adapter):
        found |= _of(recipe, more)
    found |= _of(recipe, _results)
    found |= _of(recipe, _package)
    return found | dict(_audit())


def _of(recipe: Recipe, read: Callable[[Recipe], Iterator[tuple[str, Fact]]]) -> dict[str, Fact]:
    """The facts of one artefact; none where it is not there."""
    try:
        return dict(read(recipe))
    except (UserError, OSError):
        return {}


def _recipe(recipe: Recipe) -> Iterator[tuple[str, Fact]]:
    def said(name: str, value: Any) -> tuple[str, Fact]:
        return f"recipe.{name}", Fact(value, "recipe.yaml")

    record, train = recipe.collect.record, recipe.train
    yield said("name", recipe.name)
    yield said("digest", recipe.digest())
    yield said("purpose", recipe.prepare.purpose)
    yield said("recognises", train.recognises)
    yield said("family", train.family)
    yield said("method", train.method)
    yield said("base", model_card.base_name(recipe) or "none")
    yield said("steps", train.max_steps)
    yield said("abroad", gate.is_abroad(recipe))
    yield said("network", recipe.evaluate.allow_network)
    yield said("database", "PostgreSQL" if recipe.collect.database else "SQLite")
    yield said("host", recipe.evaluate.serve.host)
    yield said("serve_key", recipe.evaluate.serve.key_env is not None)
    yield said("log_text", recipe.evaluate.serve.log_text)
    yield said("provenance", f"provenance_{recipe.evaluate.marking.provenance}")
    yield said("watermark", recipe.evaluate.marking.watermark or "none")
    yield said("gated", recipe.publish.gated)
    if recipe.publish.to:
        yield said(
            "to",
            recipe.publish.to if "://" in recipe.publish.to or recipe.publish.to.startswith("hub:") else "folder",
        )
    if contact := recipe.publish.contact or (record.contact if record else None):
        yield said("contact", contact)
    if record:
        yield said("controller", record.controller)
        yield said("consent_months", record.consent_months)
        yield said("asked", list(record.purposes))
    elif recipe.collect.basis:
        yield said("controller", recipe.collect.basis.controller)


def _dataset(recipe: Recipe) -> Iterator[tuple[str, Fact]]:
    from train.adapter import open_dataset

    place = _seen(recipe, dataset_folder(recipe))
    columns = ["clip", "speaker", "language", "split", "duration_s", "text_normalized", "quality", "rate_hz"]
    light = [rows.select_columns([*columns, *figures.FACTS]) for rows in open_dataset(recipe).values()]
    data = figures.count(row for rows in light for row in rows)

    def said(name: str, value: Any) -> tuple[str, Fact]:
        return f"dataset.{name}", Fact(value, place)

    yield said("hash", dataset_hash(recipe))
    yield said("clips", len(data.clips))
    yield said("hours", sum(data.languages.values()) / 3600)
    yield said("speakers", len(data.voices) if len(data.voices) >= LEAST else f"< {LEAST}")
    yield said("languages", sorted((tag, seconds / 3600) for tag, seconds in data.languages.items()))
    yield said("groups", figures.groups(data, LEAST))
    yield said("splits", [(name, split.utterances) for name, split in sorted(data.splits.items())])
    given = (fact for fact in figures.FACTS if any(value is not None for rows in light for value in rows[fact]))
    yield said("facts", sorted(given))
    yield from _consents(recipe, data.clips)


def _consents(recipe: Recipe, clips: set[str]) -> Iterator[tuple[str, Fact]]:
    try:
        terms = sources.agreed(recipe, clips)
        lacking = {one.clip: set(one.purposes) for one in sources.lacking(recipe, clips, PURPOSES)}
    except UserError:
        return
    place = _seen(recipe, recipe.folder("collect")) + " (PostgreSQL)" * bool(recipe.collect.database)

    def said(name: str, value: Any) -> tuple[str, Fact]:
        return f"consents.{name}", Fact(value, place)

    yield said("controllers", list(terms.controllers))
    yield said("notices", list(terms.notices))
    yield said("purposes", list(terms.purposes))
    allowed = [(purpose, sum(purpose not in lacking.get(clip, ()) for clip in clips)) for purpose in PURPOSES]
    yield said("by_purpose", [(purpose, count) for purpose, count in allowed if count])
    if terms.until:
        yield said("until", f"{terms.until:%Y-%m-%d}")


def _adapter(recipe: Recipe) -> Iterator[tuple[str, Fact]]:
    from recipes.provenance import read_lineage

    folder = adapter_folder(recipe)
    weights, line = marked.adapter_hash(recipe), read_lineage(folder)
    place = _seen(recipe, folder / "lineage.json")
    said = {
        "weights": weights,
        "created": f"{line.created:%Y-%m-%d}",
        "code": line.code,
        "seed": line.seed,
        "base_pin": line.base_revision or line.base_hash or "none",
        "versions": sorted(line.versions.items()),
        "bytes": sum(path.stat().st_size for path in folder.rglob("*.safetensors")),
    }
    for name, value in said.items():
        yield f"adapter.{name}", Fact(value, place)


def _results(recipe: Recipe) -> Iterator[tuple[str, Fact]]:
    gate.report(_candidate(recipe))  # only of this very adapter, and of unseen sentences
    known = results.read(recipe)
    folder = recipe.folder("evaluate")
    rows = [(metric, system, figure) for (metric, system), figure in model_card.shown(recipe)]
    listened = any(metric not in known.figures for metric, _, _ in rows)
    place = _seen(recipe, folder / "results.json")
    if listened:
        place += f", {_seen(recipe, folder / 'report.json')}"
    yield "results.figures", Fact(rows, place)
    yield "results.sentences", Fact(known.items, _seen(recipe, folder / "results.json"))
    yield "results.left_out", Fact(sorted(known.left_out.items()), _seen(recipe, folder / "results.json"))
    yield "results.speakers", Fact(gate.unseen_speakers(_candidate(recipe)), _seen(recipe, dataset_folder(recipe)))
    if gaps := sorted(gate.worse_off(recipe), reverse=True):
        yield "results.gaps", Fact(gaps, _seen(recipe, folder / "report.json"))


def _candidate(recipe: Recipe) -> Candidate:
    return gate.candidate(recipe)


def _package(recipe: Recipe) -> Iterator[tuple[str, Fact]]:
    folder = package.folder_of(recipe)
    bill = folder / "sbom.cdx.json"
    parts = json.loads(bill.read_text(encoding="utf-8"))
    kinds = [part["type"] for part in parts["components"]]
    yield "package.parts", Fact(len(kinds), _seen(recipe, bill))
    yield "package.libraries", Fact(kinds.count("library"), _seen(recipe, bill))
    licences = [one["license"]["id"] for one in parts["metadata"]["component"]["licenses"]]
    yield "package.licence", Fact(", ".join(licences), _seen(recipe, bill))
    yield "package.signed", Fact((folder / "model.sig").is_file(), _seen(recipe, folder))
    yield "package.files", Fact(sum(path.is_file() for path in folder.rglob("*")), _seen(recipe, folder))
    sent = recipe.folder("evaluate") / "published.json"
    if sent.is_file():
        places = sorted(json.loads(sent.read_text(encoding="utf-8")))
        yield "package.places", Fact([_shown_place(one) for one in places], _seen(recipe, sent))


def _shown_place(place: str) -> str:
    """Where something was published; of a folder on this machine its name alone."""
    return place if place.startswith("hub:") or "://" in place else Path(place).name


def _audit() -> Iterator[tuple[str, Fact]]:
    if done := audit.read():
        place = audit.RESULT.relative_to(audit.ROOT).as_posix()
        said = {"day": done.day, "tool": done.tool, "packages": done.packages, "open": len(done.open)}
        said |= {"known": len(done.findings), "explained": [(f.package, f.id, f.why) for f in done.findings if f.why]}
        yield from ((f"audit.{name}", Fact(value, place)) for name, value in said.items())


def _seen(recipe: Recipe, path: Path) -> str:
    """A path as seen from the work folder: no name of this machine's folders is written."""
    return path.relative_to(recipe.work_dir).as_posix() if path.is_relative_to(recipe.work_dir) else path.name
