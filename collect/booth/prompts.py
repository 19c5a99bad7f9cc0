"""What speakers are asked to say: read from files, ordered so that the first ones cover the sounds fastest.

A text file has one sentence a line. A CSV has columns `text`, `audio`, `picture`: with `audio` (a file beside the
CSV) the speaker hears the sentence and repeats it; with `picture` and no text they say what they see, and an
annotator writes it down later.
"""

import csv
import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recipes.records import Language, Text
from recipes.schema import UserError

Kind = Literal["read", "repeat", "describe"]
SOUNDS = {".ogg": "audio/ogg", ".mp3": "audio/mpeg", ".wav": "audio/wav", ".flac": "audio/flac"}
PICTURES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
_ORDERED = 1000  # prompts; no speaker comes to where the order would still matter
_COLUMNS = {"text", "audio", "picture"}


@dataclass(frozen=True)
class Prompt:
    """One thing to say. `text` is empty where nobody knows yet what will be said."""

    id: str  # 16 hexadecimal digits, of the content
    language: Language
    text: Text
    audio: Path | None = None
    picture: Path | None = None

    @property
    def kind(self) -> Kind:
        if self.audio:
            return "repeat"
        return "read" if self.text else "describe"


def read(files: Mapping[Language, Path]) -> dict[Language, list[Prompt]]:
    """The prompts of each language, in the order in which they are shown.

    Raises UserError naming file and line for a file that is not there, empty, or names what is not beside it.
    """
    return {language: ordered(_read(language, path)) for language, path in files.items()}


def _read(language: Language, path: Path) -> list[Prompt]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{path}: {reason} (collect.record.prompts.{language})") from None
    if path.suffix.lower() == ".csv":
        found = _rows(language, path, text.splitlines())
    else:
        found = [_prompt(language, line, None, None) for line in text.splitlines() if line.strip()]
    if not found:
        raise UserError(f"{path}: no prompt in it (collect.record.prompts.{language})")
    return list({prompt.id: prompt for prompt in found}.values())


def _rows(language: Language, path: Path, lines: list[str]) -> list[Prompt]:
    reader = csv.DictReader(lines)
    unknown = set(reader.fieldnames or ()) - _COLUMNS
    if unknown or not reader.fieldnames:
        raise UserError(f"{path}:1: columns are text, audio, picture; not {', '.join(sorted(unknown)) or 'nothing'}")
    found = []
    for row in reader:
        place = f"{path}:{reader.line_num}"
        cells = {name: (row.get(name) or "").strip() for name in _COLUMNS}
        if not any(cells.values()):
            raise UserError(f"{place}: neither text, audio nor picture")
        if cells["audio"] and not cells["text"]:
            raise UserError(f"{place}: what is heard in {cells['audio']} must be in the column text")
        audio = _beside(place, path.parent, cells["audio"], SOUNDS)
        picture = _beside(place, path.parent, cells["picture"], PICTURES)
        found.append(_prompt(language, cells["text"], audio, picture))
    return found


def _beside(place: str, folder: Path, name: str, kinds: Mapping[str, str]) -> Path | None:
    """A file named in a row: in the folder of its table, and of a kind that browsers show or play."""
    if not name:
        return None
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UserError(f"{place}: {name} lies outside the folder of the table")
    if path.suffix.lower() not in kinds:
        raise UserError(f"{place}: {name} is none of {', '.join(kinds)}")
    if not path.is_file():
        raise UserError(f"{place}: {name}: no such file")
    return path


def _prompt(language: Language, text: str, audio: Path | None, picture: Path | None) -> Prompt:
    text = " ".join(text.split())
    digest = hashlib.sha256("\n".join([language, text]).encode())
    for path in (audio, picture):
        digest.update(b"\n" + (hashlib.sha256(path.read_bytes()).digest() if path else b""))
    return Prompt(digest.hexdigest()[:16], language, text, audio, picture)


# ---------------------------------------------------------------- order


def units(text: str) -> frozenset[str]:
    """The letters of a text and the pairs of neighbours within its words: what stands in for its sounds."""
    words = "".join(letter if letter.isalpha() else " " for letter in text.casefold()).split()
    return frozenset(word[at : at + n] for word in words for n in (1, 2) for at in range(len(word) - n + 1))


def ordered(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Prompts with a text so that each brings the most units that none before it had; the others spread among them.

    Of those that bring as many, the shortest comes first. When every unit has come, it begins anew with what
    is left. This greedy cover is at most 1/e short of the best choice of any number of prompts
    (Nemhauser, Wolsey and Fisher 1978).
    """
    spoken = sorted((p for p in prompts if p.text), key=lambda p: (len(p.text), p.id))
    silent = sorted((p for p in prompts if not p.text), key=lambda p: p.id)
    return _spread(_covering(spoken), silent)


def _covering(prompts: list[Prompt]) -> list[Prompt]:
    has = [units(prompt.text) for prompt in prompts]
    left = {number for number in range(len(prompts)) if has[number]}
    holders = Counter(unit for number in left for unit in has[number])
    order: list[Prompt] = []
    while left and len(order) < _ORDERED:
        for number in _round(has, left, len(holders)):
            order.append(prompts[number])
            left.discard(number)
            for unit in has[number]:
                holders[unit] -= 1
        holders += Counter()  # units that no prompt holds any more fall out
    order += sorted((prompts[number] for number in left), key=lambda p: p.id)
    return order + [prompt for number, prompt in enumerate(prompts) if not has[number]]


def _round(has: list[frozenset[str]], left: set[int], units: int) -> Iterator[int]:
    """Numbers of prompts, best first, until all `units` that those left have between them have come."""
    covered: set[str] = set()
    # What a prompt brings only shrinks, so an old figure is an upper bound: few prompts are counted anew.
    heap = [(-len(has[number]), number) for number in left]
    heapq.heapify(heap)
    while len(covered) < units:
        bound, number = heapq.heappop(heap)
        gain = len(has[number] - covered)
        if gain < -bound:
            heapq.heappush(heap, (-gain, number))
            continue
        covered |= has[number]
        yield number


def _spread(prompts: list[Prompt], between: list[Prompt]) -> list[Prompt]:
    """Put the second list evenly among the first."""
    places = [((at + 0.5) / len(prompts), 0, at) for at in range(len(prompts))]
    places += [((at + 0.5) / len(between), 1, at) for at in range(len(between))]
    return [(prompts, between)[which][at] for _, which, at in sorted(places)]
