"""What is published of an adapter: a folder with its weights, what it reads text with, and what is known of it."""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluate import gate, leaks, model_card
from evaluate.gate import Candidate
from evaluate.licence import Licence
from recipes.provenance import digest, write_text
from recipes.schema import Recipe, UserError
from train.adapter import files_digest, signature, sources

# Of the adapter's folder: they say where and who, or hold for it alone.
_LEFT_OUT = ("recipe.yaml", "README.md", "WITHDRAWN.txt", signature.SIGNATURE)
_PATHS = ("base_model_name_or_path", "name_or_path", "_name_or_path", "audio_tokenizer_name_or_path")


def folder_of(recipe: Recipe) -> Path:
    """Where the package is, or will be."""
    return recipe.folder("evaluate") / "package"


def build(found: Candidate, licence: Licence) -> Path:
    """Write the package, whole or not at all. The same adapter and the same evaluation give the same files."""
    whole = folder_of(found.recipe)
    part = whole.with_name(f".package.{os.getpid()}")
    for left in whole.parent.glob(".package.*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        shutil.copytree(found.folder, part, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        for path in part.rglob("*.json"):
            _without_places(path)
        _write(part / "evaluation.json", evaluation(found.recipe))
        _write(part / "sbom.cdx.json", sbom(found, licence))
        (part / "README.md").write_text(model_card.readme(found, licence), encoding="utf-8")
        changed = {"base": model_card.base_name(found.recipe) or None, "files": files_digest(part)}
        _write(part / "lineage.json", found.line.model_copy(update=changed).model_dump(mode="json"))
        shutil.rmtree(whole, ignore_errors=True)
        os.replace(part, whole)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return whole


def version(folder: Path) -> str:
    """The name of a package's content; its signature, which is new each time, counts not."""
    return digest(f"{name} {value}" for name, value in signature.digests(folder).items())


def sign(recipe: Recipe, folder: Path) -> None:
    """Sign a package, unless it is signed as it is."""
    key = signature.private_key(signature.key_path(recipe))
    if (folder / signature.SIGNATURE).exists():
        try:
            signature.verify_folder(folder, {signature.fingerprint(key.public_key()): key.public_key()})
            return
        except UserError:
            (folder / signature.SIGNATURE).unlink()
    signature.sign_folder(folder, recipe.name, key)


def clean(found: Candidate, folder: Path) -> str:
    """Nothing in the package is a secret, a name, a place or sound. Raises UserError naming the files."""
    names = sources.names(found.recipe) | set(found.data.voices)
    if found.recipe.publish.contact:  # whom to write to is meant to be read
        names -= {found.recipe.publish.contact}
    places = [str(found.recipe.work_dir), str(found.recipe.work_dir.parent), str(Path.home())]
    here = [place for place in places if len(place) > 3]
    if leaked := list(leaks.search(folder, names, here)):
        more = f", and {len(leaked) - 5} more" if len(leaked) > 5 else ""
        raise UserError(f"{'; '.join(leaked[:5])}{more}")
    count = sum(path.is_file() for path in folder.rglob("*"))
    return f"none in {count} files; {len(names)} names were looked for, though not in vocabularies"


def note_sent(recipe: Recipe, place: str, weights: str) -> None:
    """Keep which weights went where: what a revocation must name."""
    found = _sent(recipe)
    found.setdefault(place, [])
    if weights not in found[place]:
        found[place].append(weights)
    write_text(_sent_path(recipe), json.dumps(found, indent=1))


def sent(recipe: Recipe, place: str) -> list[str]:
    """The weights that were ever published in a place from here."""
    return sorted(_sent(recipe).get(place, []))


def _sent(recipe: Recipe) -> dict[str, list[str]]:
    path = _sent_path(recipe)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _sent_path(recipe: Recipe) -> Path:
    return recipe.folder("evaluate") / "published.json"


def evaluation(recipe: Recipe) -> list[dict[str, Any]]:
    """The figures, without the sentences."""
    rows = gate.measured_figures(recipe)
    once = {path: figure for path, figure in rows}
    return [{"names": list(path), **figure} for path, figure in once.items()]


def _without_places(path: Path) -> None:
    """Names of folders on this machine become the names of their last part."""
    if path.stat().st_size > 64 * 2**20:
        return
    content = json.loads(path.read_text(encoding="utf-8"))
    if _shorten(content):
        _write(path, content)


def _shorten(value: Any) -> bool:
    """Whether anything was changed."""
    changed = False
    if isinstance(value, dict):
        for key, below in value.items():
            if key in _PATHS and isinstance(below, str) and below.startswith("/"):
                value[key], changed = Path(below).name, True
            else:
                changed |= _shorten(below)
    elif isinstance(value, list):
        changed = any([_shorten(below) for below in value])
    return changed


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True), encoding="utf-8")


def sbom(found: Candidate, licence: Licence) -> Mapping[str, Any]:
    """What it is made of, and by which software. Source: CycloneDX 1.6, cyclonedx.org/docs/1.6/json."""
    line = found.line
    main = {
        "type": "machine-learning-model",
        "bom-ref": "adapter",
        "name": found.recipe.name,
        "version": str(line.weights)[:12],
        "hashes": [{"alg": "SHA-256", "content": line.weights}],
        "licenses": [{"license": {"id": licence.spdx}}],
    }
    parts: list[dict[str, Any]] = []
    if name := model_card.base_name(found.recipe):
        base = {"type": "machine-learning-model", "bom-ref": "base", "name": name}
        parts.append(base | {"version": line.base_revision or str(line.base_hash)[:12]})
    data = {"type": "data", "bom-ref": "dataset", "name": f"{found.recipe.name} dataset", "version": line.parents[0]}
    parts.append(data | {"hashes": [{"alg": "SHA-256", "content": line.parents[0]}]})
    for package, number in sorted(line.versions.items()):
        address = f"pkg:pypi/{package.replace('_', '-').lower()}@{number.replace('+', '%2B')}"
        parts.append({"type": "library", "bom-ref": address, "name": package, "version": number, "purl": address})
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, str(line.weights))}",
        "version": 1,
        "metadata": {"timestamp": line.created.isoformat(), "component": main},
        "components": parts,
        "dependencies": [{"ref": "adapter", "dependsOn": [part["bom-ref"] for part in parts]}],
    }
