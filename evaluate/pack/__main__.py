"""The fixed phrases of a service, spoken by the adapter: `python -m evaluate.pack RECIPE phrases.csv [--approve]`.

The CSV has the columns id and text, and language where there is more than one. What was spoken is not spoken
again. --approve opens a page on this machine on which each phrase is approved or rejected.
"""

import argparse
from pathlib import Path

from evaluate import marked
from evaluate.pack import manifest, phrases, review, speak
from recipes.command import next_command, run
from recipes.schema import Recipe


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("phrases", type=Path, help="CSV in UTF-8 with the columns id, text and language")
    parser.add_argument("--approve", action="store_true", help="open the page on which phrases are approved")
    parser.add_argument("--port", type=int, default=0, help="of that page; 0: any free one")


def main(recipe: Recipe, arguments: argparse.Namespace) -> None:
    wanted = phrases.read(recipe, arguments.phrases)
    spoken = speak.all_of(recipe, wanted)
    folder = manifest.write(recipe, spoken)
    summarise(recipe, spoken, folder)
    if arguments.approve:
        review.serve(recipe, arguments.port)
    else:
        print(next_command("evaluate.pack", "to approve them", f"{arguments.phrases} --approve"))


def summarise(recipe: Recipe, spoken: list[speak.Spoken], folder: Path) -> None:
    """How many there are, and which a person should hear first."""
    print(f"{len(spoken)} phrases, {sum(one.duration_s for one in spoken):.0f} s of speech: {folder}")
    print(f"  {marked.Marks.of(recipe)}")
    if recipe.evaluate.recogniser is None:
        print("  no recogniser listened: name one in evaluate.recogniser, and errors of pronunciation are flagged")
    for one in spoken:
        if found := manifest.flags(recipe, one):
            print(f"  {one.id}: {'; '.join(found)}")
    decided = manifest.decisions(recipe)
    left = sum(one.sound not in decided for one in spoken)
    print(f"{left} of {len(spoken)} await somebody's approval")


if __name__ == "__main__":
    run(main, __doc__ or "", options=options)
