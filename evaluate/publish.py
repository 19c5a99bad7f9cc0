"""Publish the adapter: `python -m evaluate.publish RECIPE`, to where `publish.to` says.

Without `--yes` it only says, check by check, whether it may be published. `python -m evaluate.publish revoke
RECIPE --reason "..."` takes back what was published there: at once, with a card that says so, and on a signed
list of revocations that training and evaluation ask before they load an adapter.
"""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from evaluate import gate, package, reproduce, targets
from evaluate.gate import Candidate, Check
from recipes.command import run
from recipes.provenance import file_digest
from recipes.records import Purpose
from recipes.schema import Recipe, UserError
from train.adapter import revocation, sources


def main(recipe: Recipe, arguments: argparse.Namespace) -> int:
    place = recipe.publish.to
    if place is None:
        raise UserError("publish.to: say where to: hub:OWNER/NAME, ./FOLDER or a URL")
    if arguments.action == "revoke":
        return take_back(recipe, place, arguments.reason, arguments.delete)
    found = gate.candidate(recipe)
    checks = list(examined(found))
    if refused := [check.name for check in checks if not check.passed]:
        print(f"not published: {', '.join(refused)}")
        return 1
    folder = package.folder_of(recipe)
    package.sign(recipe, folder)
    if not arguments.yes:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            print(f"{path.stat().st_size / 1e6:10.3f} MB  {path.relative_to(folder)}")
        print(f"nothing was published; to publish {folder} to {place}, run the same command with --yes")
        return 0
    print(send(found, folder, place))
    return 0


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--yes", action="store_true", help="really publish; without it nothing leaves this machine")
    parser.add_argument("--reason", help="of a revocation: what everybody will read")
    parser.add_argument("--delete", action="store_true", help="of a revocation: leave no card either")


def examined(found: Candidate) -> list[Check]:
    """Every check of the gate, printed as it is made. The package is built on the way, to be searched and loaded."""
    recipe, built = found.recipe, list[Path]()

    def licensed() -> str:
        said = gate.licensed(found)
        built.append(package.build(found, gate.allowed_licence(found)))
        return said

    def packaged(check: Callable[[Path], str]) -> Callable[[], str]:
        def checked() -> str:
            if not built:
                raise UserError("nothing was packed, for what is refused above")
            return check(built[0])

        return checked

    checks: dict[str, Callable[[], str]] = {
        "base": lambda: gate.base(found),
        "consents": lambda: gate.consents(found),
        "evaluation": lambda: gate.report(found),
        "quality": lambda: gate.quality(found),
        "gaps": lambda: gate.gaps(found),
        "licence": licensed,
        "fresh process": packaged(lambda folder: reproduce.compare(recipe, folder)),
        "secrets, names, sound": packaged(lambda folder: package.clean(found, folder)),
    }
    made = []
    for check in gate.run(checks):
        print(check, flush=True)
        made.append(check)
    return made


def send(found: Candidate, folder: Path, place: str) -> str:
    """Note what leaves, bring it there, and close what withdrawals asked of earlier versions."""
    recipe, version = found.recipe, package.version(folder)
    was = gate.allowed_licence(found)
    purposes: tuple[Purpose, ...] = (*found.purposes, "commercial") if was.sold else found.purposes

    def still() -> None:
        """Consents and licence at this moment, not at that of the check."""
        gate.consents(found)
        if gate.allowed_licence(found) != was:
            raise UserError(f"the consents no longer bear {was.spdx}; run the same command again")

    made = file_digest(found.folder / "lineage.json")
    sources.note(recipe, place, version, purposes, found.clips, made)
    package.note_sent(recipe, place, str(found.line.weights))
    done = targets.upload(folder, place, version, still, recipe.publish.gated, recipe.publish.public)
    sources.settle(recipe, place, done, by=version)
    return done


def take_back(recipe: Recipe, place: str, reason: str | None, delete: bool) -> int:
    """Revoke: the list first, which stops all use here; then what was published; then the tasks of withdrawals."""
    if not reason or not reason.strip():
        raise UserError("a revocation needs a reason: --reason '...'; everybody will read it, so name no person")
    weights = package.sent(recipe, place)
    if not weights:
        raise UserError(f"{place}: nothing was published there from {recipe.work_dir}")
    now = datetime.now(UTC).replace(microsecond=0)
    for one in sorted(weights):
        listed = revocation.revoke(recipe, one, place, " ".join(reason.split()), now)
    print(f"revoked for training and evaluation: {listed}")
    done = targets.take_back(place, tombstone(recipe, sorted(weights), reason, now), listed, delete)
    print(done)
    print(f"tasks of withdrawals closed: {sources.settle(recipe, place, done)}")
    return 0


def tombstone(recipe: Recipe, weights: list[str], reason: str, at: datetime) -> str:
    """The card that takes the place of a model."""
    contact = recipe.publish.contact or (recipe.collect.record.contact if recipe.collect.record else None)
    lines = [
        "---",
        "tags: [revoked]",
        "---",
        "",
        f"# {recipe.name}: revoked",
        "",
        f"This model was taken back on {at:%Y-%m-%d}: {' '.join(reason.split())}",
        "",
        "Delete every copy of it, and of what was made from it. Its weights have the hash",
        *[f"`{one}`" for one in weights],
        "and stand on the signed list beside this card, `revocations.json`.",
        *(["", f"Questions: {contact}"] if contact else []),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run(main, __doc__ or "", actions=("revoke",), optional=True, options=options)
