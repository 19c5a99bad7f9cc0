"""The dataset's words for other tools: TextGrid and CTM files, and the Montreal Forced Aligner's opinion of them."""

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prepare import dataset, textgrid
from prepare.align import align
from prepare.clip import Clip
from prepare.recogniser import RATE_HZ, open_recogniser
from prepare.steps import resample
from recipes.provenance import write_text
from recipes.records import Utterance, Word
from recipes.schema import Align, Mfa, Recipe, UserError


def options(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--textgrid", action="store_true", help="one TextGrid an utterance, for Praat and ELAN")
    parser.add_argument("--ctm", action="store_true", help="one CTM file of all utterances")
    parser.add_argument("--letters", action="store_true", help="a second tier of letters, aligned again")
    parser.add_argument("--mfa", action="store_true", help="words by the Montreal Forced Aligner (prepare.align.mfa)")


def main(recipe: Recipe, arguments: argparse.Namespace) -> int:
    how = recipe.prepare.align
    if how is None:
        raise UserError("the recipe has no section prepare.align: name the recogniser that places the words")
    if not (arguments.textgrid or arguments.ctm):
        raise UserError("say what to write: --textgrid, --ctm or both")
    folder = recipe.folder("prepare") / ("mfa" if arguments.mfa else "words")
    other = by_mfa(recipe, how.mfa) if arguments.mfa else None
    lines, count = [], 0
    for row in utterances(recipe):
        words = row.words if other is None else other.get(row.id, [])
        tiers = {"words": words} | ({"letters": letters(row, how)} if arguments.letters else {})
        if arguments.textgrid:
            write_text(folder / f"{row.id}.TextGrid", textgrid.textgrid(tiers, row.duration_s))
        lines.append(textgrid.ctm(row.id, words))
        count += bool(words)
    if arguments.ctm:
        write_text(folder / "words.ctm", "".join(lines))
    print(f"{count} of {len(lines)} utterances with words in time, in {folder}")
    return 0


def utterances(recipe: Recipe) -> Iterator[Utterance]:
    """Every row of the dataset."""
    for table in dataset.open_dataset(recipe).values():
        yield from map(Utterance.model_validate, table)


def letters(row: Utterance, how: Align) -> list[Word]:
    """The letters of an utterance in time; none where they cannot be placed."""
    sound = resample(Clip(dataset.decode(row.audio), row.rate_hz), RATE_HZ).samples
    (found,) = align(open_recogniser(how.model, how.revision, how.adapter), how, [sound], [row.text_normalized])
    return [] if isinstance(found, str) else found.letters


def by_mfa(recipe: Recipe, mfa: Mfa | None) -> dict[str, list[Word]]:
    """The words of every utterance as `mfa align` places them, by its id; those it gave up on are not there.

    Source: McAuliffe et al., "Montreal Forced Aligner", Interspeech 2017.
    """
    if mfa is None:
        raise UserError("name MFA's models: prepare.align.mfa: {acoustic: ..., dictionary: ...}")
    if not shutil.which("mfa"):
        remedy = "conda install -c conda-forge montreal-forced-aligner"
        raise UserError(f"the Montreal Forced Aligner is not installed: {remedy}")
    with tempfile.TemporaryDirectory() as name:
        corpus, out = Path(name, "corpus"), Path(name, "out")
        for row in utterances(recipe):
            place = corpus / row.speaker
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{row.id}.flac").write_bytes(row.audio)
            (place / f"{row.id}.lab").write_text(row.text_normalized, encoding="utf-8")
        command = ["mfa", "align", str(corpus), mfa.dictionary, mfa.acoustic, str(out)]
        done = subprocess.run([*command, "--output_format", "json", "--clean"], capture_output=True, text=True)
        if done.returncode:
            cause = " ".join((done.stderr or done.stdout).split())[-200:]
            raise UserError(f"mfa align failed: {cause}")
        return {path.stem: textgrid.read_mfa(path) for path in out.rglob("*.json")}
