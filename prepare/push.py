"""Publish the dataset: `python -m prepare.push RECIPE --to OWNER/NAME` (on the hub) or `--to ./FOLDER`.

Without `--go` it only says what would be published. Nothing is published unless every clip, at that moment,
may be published (`publish_audio`) and kept abroad (`transfer_abroad`), and serve what the dataset is for.
`--take-down` removes what was published there.
"""

import argparse
import os
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from collect.ledger import Artefact, Ledger, open_ledger
from prepare import export, parts, terms
from prepare.card import About
from recipes import provenance
from recipes.command import run
from recipes.records import Purpose
from recipes.schema import Recipe, UserError

PURPOSES: tuple[Purpose, ...] = ("publish_audio", "transfer_abroad")
_FACTS: tuple[Purpose, ...] = ("profile_data",)  # are in it where speakers allow it and enough people share them
_SHOWN = 20


def main(recipe: Recipe, arguments: argparse.Namespace) -> int:
    place = destination(arguments.to)
    if arguments.take_down:
        return take_down(recipe, place, arguments.go)
    with parts.locked(recipe.folder("prepare")), open_ledger(recipe) as ledger:
        folder, about = export.make(ledger, recipe)
        if not permitted(ledger, recipe, about):
            return 1
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        print(f"{about.summary} licence: {about.terms.licence}; every clip allows: {', '.join(about.terms.purposes)}")
        if not arguments.go:
            for path in files:
                print(f"{path.stat().st_size / 1e6:10.3f} MB  {path.relative_to(folder)}")
            print(f"nothing was published; to publish this to {place}, run the same command with --go")
            return 0
        note(ledger, folder, about, place)
        if place.startswith("hub:"):
            proof = to_hub(folder, place.removeprefix("hub:"), arguments.public)
        else:
            proof = to_folder(folder, Path(place))
        settle(ledger, place, proof, by=folder.resolve().name)
    print(proof)
    return 0


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--to", required=True, metavar="PLACE", help="OWNER/NAME on the hub, or ./FOLDER, /FOLDER")
    parser.add_argument("--go", action="store_true", help="really publish; without it nothing leaves this machine")
    parser.add_argument("--take-down", action="store_true", help="remove what was published there; it needs --go too")
    parser.add_argument("--public", action="store_true", help="a new repository on the hub is open to all")


def destination(text: str) -> str:
    """`hub:OWNER/NAME`, or the full path of a folder. Raises UserError for what is neither."""
    if text.startswith(("./", "../", "/", "~")):
        return str(Path(text).expanduser().resolve())
    if text.count("/") == 1 and all(text.split("/")):
        return f"hub:{text}"
    raise UserError(f"--to {text}: give OWNER/NAME on the hub, or a folder as ./FOLDER or /FOLDER")


def permitted(ledger: Ledger, recipe: Recipe, about: About) -> bool:
    """Whether every clip may be published, now. Prints the clips that may not, and what they lack."""
    wanted = dict.fromkeys((recipe.prepare.purpose, *PURPOSES))
    lacking = list(terms.refused(ledger, about.figures.clips, list(wanted)))
    for name, source, purposes in lacking[:_SHOWN]:
        print(f"clip {name[:12]} ({source}): no consent for {', '.join(purposes)}")
    if len(lacking) > _SHOWN:
        print(f"... and {len(lacking) - _SHOWN} more")
    if not lacking:
        return True
    many = Counter(purpose for *_, purposes in lacking for purpose in purposes)
    said = ", ".join(f"{purpose} {count}" for purpose, count in many.items())
    print(f"not published: {len(lacking)} of {len(about.figures.clips)} clips may not be ({said})")
    only = f"'prepare.also_for=[{', '.join(PURPOSES)}]'"
    print(f"to publish the others: python -m prepare RECIPE {only}, then push with the same setting")
    return False


def note(ledger: Ledger, folder: Path, about: About, place: str) -> None:
    """Write down what is about to leave, before it does: a withdrawal must find it, of what its card allows too."""
    for purpose in dict.fromkeys((*PURPOSES, *about.terms.purposes, *_FACTS)):
        name = f"{place} {folder.resolve().name} {purpose}"
        made = Artefact(id=name, kind="published_dataset", place=place, purpose=purpose)
        ledger.register(made, clips=about.figures.clips, parents=[folder.resolve().name])


def to_folder(folder: Path, target: Path) -> str:
    """Copy an export, in place of an earlier one. Returns what was done. Raises UserError for a folder of others."""
    if target.exists() and not (target / "croissant.json").is_file() and any(target.iterdir()):
        raise UserError(f"{target}: not empty and no earlier copy of a dataset; name another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    part, old = (target.with_name(f".{target.name}.{word}.{os.getpid()}") for word in ("new", "old"))
    try:
        shutil.copytree(folder, part)
        if target.exists():
            os.replace(target, old)
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return f"{target}: published, in place of what was there"


def to_hub(folder: Path, name: str, public: bool) -> str:
    """Make an export the only content of a dataset on the hub, with no history. Returns what was done.

    Earlier shards are deleted from the hub's storage too: they may hold recordings that were withdrawn.
    Raises UserError when the hub does not take it.
    """
    from huggingface_hub import HfApi, errors

    api = HfApi()
    try:
        api.create_repo(name, repo_type="dataset", private=not public, exist_ok=True)
        done = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            repo_type="dataset",
            commit_message=f"Dataset {folder.resolve().name[:12]}",
            delete_patterns="*",
        )
        api.super_squash_history(name, repo_type="dataset", commit_message=f"Dataset {folder.resolve().name[:12]}")
        here = {provenance.file_digest(path) for path in folder.rglob("*") if path.is_file()}
        if stale := [file for file in api.list_lfs_files(name, repo_type="dataset") if file.file_oid not in here]:
            api.permanently_delete_lfs_files(name, stale, repo_type="dataset")
    # Refused, no network, no login, no such name; the library does not list the first where mypy looks.
    except (errors.HTTPError, OSError, ValueError) as error:  # type: ignore[attr-defined]
        cause = " ".join(str(error).split())[:200]
        raise UserError(f"hub:{name}: {cause}; log in with: hf auth login, and run the same command again") from None
    return f"{done.commit_url}: published, without history; {len(stale)} older files deleted from the hub's storage"


def take_down(recipe: Recipe, place: str, go: bool) -> int:
    """Remove a publication, and close what withdrawals asked of it. Raises UserError where there is none."""
    from huggingface_hub import HfApi, errors

    target = Path(place)
    if not place.startswith("hub:") and not (target / "croissant.json").is_file():
        raise UserError(f"{place}: no copy of a dataset there")
    if not go:
        print(f"nothing was removed; to remove {place}, run the same command with --go")
        return 0
    if place.startswith("hub:"):
        try:
            HfApi().delete_repo(place.removeprefix("hub:"), repo_type="dataset", missing_ok=True)
        except (errors.HTTPError, OSError, ValueError) as error:  # type: ignore[attr-defined]
            raise UserError(f"{place}: {' '.join(str(error).split())[:200]}") from None
    else:
        shutil.rmtree(target)
    with open_ledger(recipe) as ledger:
        settle(ledger, place, f"{place}: taken down")
    print(f"{place}: taken down")
    return 0


def settle(ledger: Ledger, place: str, proof: str, by: str | None = None) -> None:
    """Close what withdrawals asked of publications in a place. `by`: the export that is there now, if any."""
    for task in ledger.tasks():
        earlier = task.kind == "published_dataset" and task.place == place and task.state == "pending"
        if earlier and (by is None or by not in task.artefact):
            ledger.close_task(task, "done", f"{datetime.now(UTC):%Y-%m-%d} {proof}")


if __name__ == "__main__":
    run(main, __doc__ or "", options=options)
