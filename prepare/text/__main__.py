"""Look at a recipe's text: `python -m prepare.text inventory|arabizi RECIPE [key.path=value ...]`.

inventory: characters and words, what the base model's tokenizer does not know, and the tokens to add.
arabizi: Arabizi in Arabic script, and the words that are unsure, for an annotator.
"""

import argparse
import csv
import io
import json
from collections import Counter
from collections.abc import Iterator

from collect.ledger import open_ledger
from prepare.text import inventory
from prepare.text.arabizi import Guess, to_arabic
from recipes import records
from recipes.command import run
from recipes.provenance import write_text
from recipes.schema import Recipe, UserError


def main(recipe: Recipe, arguments: argparse.Namespace) -> None:
    if arguments.action == "inventory":
        take_inventory(recipe)
    else:
        list_unsure(recipe)


def take_inventory(recipe: Recipe) -> None:
    """Print the inventory, and write it whole to `work_dir/prepare/inventory.json`."""
    found = inventory.take((clip.transcript, clip.language) for clip in _clips(recipe))
    tokens = inventory.against(found, recipe.train.base, recipe.train.revision) if recipe.train.base else None
    print(*inventory.lines(found, tokens), sep="\n")
    path = recipe.folder("prepare") / "inventory.json"
    write_text(path, json.dumps(inventory.as_json(found, tokens), ensure_ascii=False, indent=1))
    print(f"all of it: {path}")


def list_unsure(recipe: Recipe) -> None:
    """Write unsure words, the most frequent first, to `work_dir/prepare/unsure.csv`."""
    counts: Counter[str] = Counter()
    guesses: dict[str, Guess] = {}
    where: dict[str, str] = {}
    clips = [clip for clip in _clips(recipe) if clip.language == "ary-Latn"]
    for clip in clips:
        for word, guess in to_arabic(clip.transcript).unsure:
            counts[word] += 1
            guesses[word] = guess
            where.setdefault(word, clip.source)
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(["word", "times", "reading", "confidence", "others", "first in"])
    for word, times in counts.most_common():
        guess = guesses[word]
        table.writerow([word, times, guess.text, f"{guess.confidence:.2f}", " ".join(guess.others), where[word]])
    path = recipe.folder("prepare") / "unsure.csv"
    write_text(path, out.getvalue())
    print(f"{len(clips)} transcripts in Arabizi, {len(counts)} words unsure: {path}")


def _clips(recipe: Recipe) -> Iterator[records.Clip]:
    """The clips with a transcript that the recipe asks for and their speakers allow. Raises UserError for none."""
    settings, some = recipe.prepare, False
    with open_ledger(recipe) as ledger:
        for clip in list(ledger.clips()):
            wanted = settings.languages is None or clip.language in settings.languages
            wanted = wanted and (settings.speakers is None or clip.speaker in settings.speakers)
            if wanted and clip.transcript.strip() and ledger.permit(clip, settings.purpose):
                some = True
                yield clip
    if not some:
        raise UserError(f"the ledger has no transcript that may be used for {settings.purpose}")


if __name__ == "__main__":
    run(main, __doc__ or "", actions=("inventory", "arabizi"))
