"""Papers for a public buyer in Morocco: `python -m evaluate.papers RECIPE [--language fr|ar]`.

A record of processing for the CNDP (Law 09-08), a data-protection impact assessment, a datasheet, a model card and
a statement on security, in French and Arabic, as Markdown and as pages for print. They state what the artefacts
say, with the file that says it; what only a person knows is left blank, and listed at the top. No legal advice.
"""

import argparse
from pathlib import Path
from typing import get_args

from evaluate.papers.facts import Facts, gather
from evaluate.papers.paper import NAMES, Language, Paper
from recipes.command import run
from recipes.provenance import refuse_withdrawn, write_text
from recipes.schema import Recipe
from train.adapter import dataset_folder


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--language", choices=get_args(Language), help="only this one; without it both")


def main(recipe: Recipe, arguments: argparse.Namespace) -> None:
    refuse_withdrawn(dataset_folder(recipe), "run python -m prepare on this recipe, then train and evaluate again")
    facts = gather(recipe)
    folder = recipe.folder("evaluate") / "papers"
    languages: tuple[Language, ...] = (arguments.language,) if arguments.language else get_args(Language)
    for language in languages:
        for paper in write(facts, folder, language, len(languages) > 1):
            print(summary(paper))
    print(f"papers: {folder}   (no legal advice: fill in the blanks, and let somebody who knows the law read them)")


def write(facts: Facts, folder: Path, language: Language, other: bool = True) -> list[Paper]:
    """The papers in one language, as Markdown and as HTML. The same artefacts give the same files.

    `other`: they are written in the other language too, and each links to its like.
    """
    papers = [Paper(facts, language, name) for name in NAMES]
    for paper in papers:
        text = paper.markdown()
        write_text(folder / f"{paper.name}.{language}.md", text)
        write_text(folder / f"{paper.name}.{language}.html", paper.html(text, NAMES, other))
    return papers


def summary(paper: Paper) -> str:
    """What is left to do on a paper."""
    first = f"  {paper.name}.{paper.language}: {len(paper.blanks)} blanks for a person"
    return first + (f"; not made yet: {', '.join(paper.missing)}" if paper.missing else "")


if __name__ == "__main__":
    run(main, __doc__ or "", options=options)
