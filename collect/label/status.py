"""How far transcription is: tasks, verdicts, conflicts to look at, agreement with n and interval, withdrawals."""

from collections import Counter

from collect.label import agreement
from collect.label.agreement import VERDICTS, Verdict
from collect.label.pull import transcribed
from collect.label.push import permitted
from collect.label.server import Project, open_project
from collect.ledger import Ledger
from recipes.records import Transcript
from recipes.schema import Recipe, UserError

_SHOWN = 20


def report(recipe: Recipe, ledger: Ledger) -> None:
    """Print it. What the ledger knows comes first, so that it is there when the server is not."""
    settings = recipe.collect.label
    verdicts: Counter[Verdict] = Counter()
    conflicts: dict[str, str] = {}
    said: dict[str, list[Transcript]] = {}
    for clip, transcripts in transcribed(ledger):
        verdict, about = agreement.verdict(transcripts, settings.annotators, settings.agree_cer)
        verdicts[verdict] += 1
        said[clip.id] = transcripts
        if verdict == "conflict":
            conflicts[clip.id] = about
    for verdict in VERDICTS:
        print(f"{verdict:<10} {verdicts[verdict]:6} clips")
    figures(said, recipe.seed)
    try:
        with open_project(recipe) as project:
            places = on_server(project, ledger)
    except UserError:
        show(conflicts, {})
        raise
    show(conflicts, places)


def on_server(project: Project, ledger: Ledger) -> dict[str, str]:
    """Print what is in Label Studio. Returns where each clip's task is."""
    there = project.tasks()
    begun = sum(row.annotations > 0 for row in there)
    print(f"tasks      {len(there):6} in Label Studio, {begun} annotated: {project.url}")
    left = sum(not permitted(ledger, row.clip) for row in there)
    asked = sum(row.artefact == project.mark and row.state == "pending" for row in ledger.tasks())
    if left or asked:
        print(f"withdrawn  {left:6} tasks to delete, {asked} withdrawals open; push does it")
    return {row.clip: f"{project.url}/data?task={row.id}" for row in there}


def show(conflicts: dict[str, str], places: dict[str, str]) -> None:
    """The first conflicts, with the page where they are resolved."""
    for name, about in list(conflicts.items())[:_SHOWN]:
        print(f"conflict   clip {name[:12]}: {about}  {places.get(name, '')}".rstrip())
    if len(conflicts) > _SHOWN:
        print(f"… and {len(conflicts) - _SHOWN} more")


def figures(said: dict[str, list[Transcript]], seed: int) -> None:
    """Agreement between annotators. Clips that one alone transcribed say nothing of it."""
    alone = sum(len(rows) < 2 for rows in said.values())
    print(f"agreement of clips with two annotators or more; {alone} with one are not in it")
    if found := agreement.between(said, seed):
        figure, pairs = found
        print(f"  CER between transcripts    {figure}   n = {pairs} pairs of {figure.clips} clips")
    for question, figure in agreement.alphas(said, seed).items():
        print(f"  Krippendorff's α, {question:<8} {figure}   n = {figure.clips} clips")
