"""How well text is read: `python -m benchmarks.text [--quick] [--peers FOLDER]`. One line a figure; 1 when short.

Reads the development data under ../shared, and skips what is not there. Other packages that turn Arabizi into Arabic
script are measured beside ours when FOLDER holds them: `pip install --target FOLDER darija-tools cadar arabizi`.
"""

import argparse
import csv
import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from prepare.text import apply, normalise, rules_of
from prepare.text.arabizi import read_word, to_arabic
from prepare.text.language import findings
from prepare.text.scripts import foreign, script_of
from prepare.text.spoken import spell_out
from prepare.text.tifinagh import to_latin, to_tifinagh
from prepare.text.variants import key
from recipes.records import Language

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
PEERS = {
    "darija-tools": "from darija_tools.arabizi import to_arabic as read",
    "cadar": "import cadar; read = lambda word: cadar.bizi2ara(word, darija='Ma')",
    "arabizi": "from arabizi import transliterate as t; read = lambda word: t(word, emphatic_capitals=True)",
}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="every tenth line")
    options.add_argument("--peers", type=Path, help="folder that pip installed other packages into")
    chosen = options.parse_args()
    if not DATA.is_dir():
        print(f"skipped: no development data in {DATA}")
        return 0
    step = 10 if chosen.quick else 1
    short = [say(*figure) for figure in [*lines(step), *languages(step), *arabizi(step), *peers(chosen.peers)]]
    return int(any(short))


def say(name: str, value: float, goal: float, below: bool = False) -> bool:
    """Print a figure; True where it falls short of its goal."""
    short = value > goal if below else value < goal
    print(f"{name:<52} {value:8.4f}  {'≤' if below else '≥'} {goal:<7g} {'short' if short else 'ok'}", flush=True)
    return short


def lines(step: int) -> Iterator[tuple[str, float, float]]:
    """Whole lines: no letter unknown, numbers read, Tifinagh exact both ways."""
    seed = DATA / "parallel_text_seed" / "seed"
    clips = [
        row["text"] for row in csv.DictReader((DATA / "tamazight_speech" / "metadata.csv").open(encoding="utf-8"))
    ]
    tifinagh = (seed / "zgh_Tfng").read_text(encoding="utf-8").splitlines()[::step] + clips
    darija = (seed / "ary_Arab").read_text(encoding="utf-8").splitlines()[::step]
    texts: list[tuple[str, list[str], Language]] = [
        (f"Tifinagh lines ({len(tifinagh)})", tifinagh, "zgh-Tfng"),
        (f"Darija lines ({len(darija)})", darija, "ary-Arab"),
    ]
    for name, some, language in texts:
        yield f"{name}: without an unknown letter", share(known(line, language) for line in some), 0.999
        numbered = [line for line in some if any(map(str.isdecimal, line))]
        read = [not any(map(str.isdecimal, spell_out(line, language))) for line in numbered]
        yield f"  {len(numbered)} with digits: all of them read", share(read), 0.90
    yield "  Tifinagh → Latin → Tifinagh: exact", share(to_tifinagh(to_latin(line)) == line for line in tifinagh), 1.0


def known(line: str, language: Language) -> bool:
    """Whether every letter is of the script, Latin, or one that a rule mends or a sign's name stands for."""
    rules = (rule for rule in rules_of(language) if not rule.name.startswith("letters,"))
    return not foreign(apply(rules, spell_out(line, language)), script_of(language))


def languages(step: int) -> Iterator[tuple[str, float, float, bool]]:
    """How often text that is what its tag says is taken for another language."""
    own = (ROOT / "recipes" / "text" / "darija.txt").read_text(encoding="utf-8").splitlines()
    yield f"other language, false alarms: own Darija ({len(own)})", alarms(own, "ary-Arab"), 0.01, True
    path = DATA / "darija_text_doda" / "sentences.csv"
    latin = [row["darija"] for row in csv.DictReader(path.open(encoding="utf-8"))][::step]
    yield f"other language, false alarms: Arabizi ({len(latin)})", alarms(latin, "ary-Latn"), 0.01, True


def alarms(some: list[str], language: Language) -> float:
    return share(any(found.kind == "other language" for found in findings(line, language)) for line in some)


def arabizi(step: int) -> Iterator[tuple[str, float, float]]:
    """Words whose Arabic form a person wrote down: all of them, and those that were not looked at before."""
    for part in ("seen or held out", "held out"):
        some = gold(part)
        read_word.cache_clear()
        began = time.perf_counter()
        guesses = [read_word(word) for word, _ in some]
        spent_s = time.perf_counter() - began
        right = [accepted(guess.text, forms) for guess, (_, forms) in zip(guesses, some, strict=True)]
        sure = [guess.sure for guess in guesses]
        letter_for_letter = [
            normalise(guess.text, "ary-Arab") in forms for guess, (_, forms) in zip(guesses, some, strict=True)
        ]
        yield f"Arabizi, {len(some)} words {part}: accuracy", share(right), 0.75
        yield "  letter for letter", share(letter_for_letter), 0.70
        yield f"  share that is sure ({sum(sure)})", share(sure), 0.70
        yield "  accuracy where sure", share(r for r, s in zip(right, sure, strict=True) if s), 0.95
        yield (
            "  letter for letter where sure",
            share(r for r, s in zip(letter_for_letter, sure, strict=True) if s),
            0.85,
        )
        among = [
            any(accepted(one, forms) for one in (guess.text, *guess.others))
            for guess, (_, forms) in zip(guesses, some, strict=True)
        ]
        yield "  right one among the six likeliest", share(among), 0.95
        yield "  words a second", len(some) / spent_s, 50
    path = DATA / "darija_text_doda" / "sentences.csv"
    text = [row["darija"] for row in csv.DictReader(path.open(encoding="utf-8"))][:: 10 * step]
    words = sum(len(re.findall(r"[\w']+", line)) for line in text)
    unsure = sum(len(to_arabic(line).unsure) for line in text)
    yield f"Arabizi, {len(text)} sentences: words that are sure", 1 - unsure / words, 0.70


def peers(folder: Path | None) -> Iterator[tuple[str, float, float]]:
    """Accuracy of other packages on the same words, all of which they answer, and how far ours is above it."""
    if not folder:
        print("skipped: other packages; pip install --target FOLDER darija-tools cadar arabizi, then --peers FOLDER")
        return
    some = gold("seen or held out")
    ours = share(accepted(read_word(word).text, forms) for word, forms in some)
    for name, line in PEERS.items():
        code = f"import sys\n{line}\nfor word in sys.stdin.read().split(): print(read(word))"
        done = subprocess.run(
            [sys.executable, "-c", code],
            input="\n".join(word for word, _ in some),
            capture_output=True,
            text=True,
            cwd=folder,
            env={"PYTHONPATH": str(folder), "PYTHONIOENCODING": "utf-8"},
        )
        if done.returncode:
            print(f"skipped: {name}: {done.stderr.strip().splitlines()[-1]}")
            continue
        theirs = share(accepted(read, forms) for read, (_, forms) in zip(done.stdout.splitlines(), some, strict=True))
        print(f"{f'{name}: accuracy, {len(some)} words':<52} {theirs:8.4f}")
        yield f"  ours less {name}'s", ours - theirs, 0.0


def gold(part: str) -> list[tuple[str, list[str]]]:
    """Words of the word lists, with the spellings in Arabic script that are right."""
    forms = {}
    for line in (ROOT / "benchmarks" / "arabizi_gold.tsv").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            digest, spellings, which = line.split("\t")
            if which in part:
                forms[digest] = spellings.split("|")
    words = {}
    for path in sorted((DATA / "darija_text_doda").glob("*_categories/*.csv")):
        for row in csv.DictReader(path.open(encoding="utf-8")):
            for cell in row.values():
                word = cell.strip() if isinstance(cell, str) else ""
                if (digest := hashlib.sha256(word.encode()).hexdigest()[:16]) in forms:
                    words[word] = forms[digest]
    return sorted(words.items())


def accepted(read: str, forms: list[str]) -> bool:
    """Whether a reading is one of the right words, in any accepted spelling."""
    return key(read, "ary-Arab") in {key(form, "ary-Arab") for form in forms}


def share(some: Iterator[bool] | list[bool]) -> float:
    values = list(some)
    return sum(values) / len(values) if values else 1.0


if __name__ == "__main__":
    raise SystemExit(main())
