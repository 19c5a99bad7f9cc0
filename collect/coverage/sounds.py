"""Which sounds have been recorded: letters and letter pairs of the transcripts, against alphabet and prompts."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from collect.booth.prompts import Prompt, units
from recipes.records import Clip, Language

RARE = 10  # recordings; a letter in fewer is called rare
_SUGGESTED = 6  # prompts

# Letters that a language is written with, one for each sound or spelling that a reader would notice.
# Tifinagh and Latin: the alphabet of IRCAM, with the sign of labialisation. Arabic: with the letters of Darija.
_ARABIC = "ءابتثجحخدذرزسشصضطظعغفقكلمنهويةىڭڤپ"
_TIFINAGH = "ⴰⴱⴳⴷⴹⴻⴼⴽⵀⵃⵄⵅⵇⵉⵊⵍⵎⵏⵓⵔⵕⵖⵙⵚⵛⵜⵟⵡⵢⵣⵥⵯ"
_LATIN = "abcčdḍeɛfgǧɣhḥijklmnqrṛsṣtṭuwxyzẓ"
_ARABIZI = "abcdefghijklmnopqrstuvwxyz235679"
# Written in several ways, read in one.
_SAME = str.maketrans("أإآٱؤئگݣڨڥکی", "ااااويڭڭڭڤكي", "ـ")
# The digits of Arabizi are letters; these stand for them while letters are counted.
_DIGITS = str.maketrans("235679", "ءعخطحق")
_AS_DIGITS = str.maketrans("ءعخطحق", "235679")
_DIGIT = re.compile("(?<=[a-z])[235679]|[235679](?=[a-z])")


@dataclass(frozen=True)
class Suggestion:
    """A prompt that nobody has recorded, and what it would bring."""

    text: str
    new: tuple[str, ...]  # letters and pairs never recorded
    rare: int  # letters and pairs in fewer than `RARE` recordings


@dataclass(frozen=True)
class Sounds:
    """What has been recorded of one language's letters."""

    language: Language
    recordings: int  # with a transcript
    letters: dict[str, int]  # of the language's alphabet: in how many recordings
    others: dict[str, int]  # letters that are none of it
    pairs: int  # pairs heard; of the prompts' pairs where there are prompts
    pairs_wanted: int | None  # pairs in the prompts
    prompts: int
    prompts_left: int  # that nobody has recorded
    no_prompt: str  # letters never recorded that no prompt has
    suggestions: tuple[Suggestion, ...]

    @property
    def never(self) -> list[str]:
        """Letters in no recording."""
        return [letter for letter, count in self.letters.items() if not count]

    @property
    def rare(self) -> list[str]:
        """Letters in a few recordings."""
        return [letter for letter, count in self.letters.items() if 0 < count < RARE]


def alphabet(language: Language) -> str:
    """The letters that a language is written with in a script."""
    if language == "ary-Latn":
        return _ARABIZI
    return {"Arab": _ARABIC, "Tfng": _TIFINAGH, "Latn": _LATIN}[language.partition("-")[2]]


@lru_cache(20_000)
def units_of(text: str, language: Language) -> frozenset[str]:
    """Letters and letter pairs of a text, spellings of one letter united, vowel signs and tatweel left out."""
    bare = "".join(sign for sign in text.casefold() if unicodedata.category(sign) != "Mn").translate(_SAME)
    if language != "ary-Latn":
        return units(bare)
    found = units(_DIGIT.sub(lambda digit: digit[0].translate(_DIGITS), bare))
    return frozenset(unit.translate(_AS_DIGITS) for unit in found)


class Ear:
    """Takes in transcripts one by one; its size is that of the alphabets and the prompts."""

    def __init__(self, prompts: Mapping[Language, Sequence[Prompt]]) -> None:
        self._prompts = {language: [one for one in asked if one.text] for language, asked in prompts.items()}
        self._left = {language: {one.text for one in asked} for language, asked in self._prompts.items()}
        self._heard: dict[Language, Counter[str]] = {}
        self._recordings: Counter[Language] = Counter()
        self.untranscribed = 0

    def add(self, clip: Clip) -> None:
        """Count a clip's letters and pairs in."""
        text = " ".join(clip.transcript.split())
        self._heard.setdefault(clip.language, Counter()).update(units_of(text, clip.language))
        self._left.get(clip.language, set()).discard(text)
        self._recordings[clip.language] += bool(text)
        self.untranscribed += not text

    def sounds(self) -> list[Sounds]:
        """What has been recorded, by language: those with the most recordings first."""
        languages = sorted({*self._heard, *self._prompts}, key=lambda one: (-self._recordings[one], one))
        return [self._sounds(language) for language in languages]

    def _sounds(self, language: Language) -> Sounds:
        heard, known = self._heard.get(language, Counter()), alphabet(language)
        asked, left = self._prompts.get(language, []), self._left.get(language, set())
        wanted = {unit for one in asked for unit in units_of(one.text, language)}
        pairs = {unit for unit in heard if len(unit) == 2}
        never = [letter for letter in known if not heard[letter]]
        return Sounds(
            language=language,
            recordings=self._recordings[language],
            letters={letter: heard[letter] for letter in known},
            others={unit: n for unit, n in heard.most_common() if len(unit) == 1 and unit not in known},
            pairs=len(pairs & wanted) if asked else len(pairs),
            pairs_wanted=sum(len(unit) == 2 for unit in wanted) if asked else None,
            prompts=len(asked),
            prompts_left=len(left),
            no_prompt="".join(letter for letter in never if asked and letter not in wanted),
            suggestions=tuple(suggested([one.text for one in asked if one.text in left], heard, language)),
        )


def suggested(texts: Sequence[str], heard: Mapping[str, int], language: Language) -> list[Suggestion]:
    """Up to six texts that together bring the most of what is never or rarely recorded, the best first.

    What was never recorded comes first; of what was, it weighs the more the further it is from `RARE`
    recordings. Each choice counts as recorded for the next (greedy cover: Nemhauser, Wolsey and Fisher 1978).
    """

    def gain(has: frozenset[str]) -> tuple[int, int]:
        return sum(not count[unit] for unit in has), sum(max(0, RARE - count[unit]) for unit in has)

    need = {text: units_of(text, language) for text in texts}
    count = Counter(heard)
    found: list[Suggestion] = []
    while need and len(found) < _SUGGESTED:
        best, text = max((gain(has), text) for text, has in need.items())
        if best == (0, 0):
            break
        has = sorted(need.pop(text), key=lambda unit: (len(unit), unit))
        new = tuple(unit for unit in has if not count[unit])
        found.append(Suggestion(text, new, sum(0 < count[unit] < RARE for unit in has)))
        count.update(has)
    return found
