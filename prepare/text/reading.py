"""A transcript on its way into the dataset: what is found in it, what is put into words, and its normal form."""

from dataclasses import dataclass

from prepare.clip import Reject
from prepare.text import check, normalise, personal
from prepare.text.arabizi import to_arabic
from prepare.text.language import findings
from prepare.text.spoken import spell_out
from recipes.records import Language
from recipes.schema import Answer, Prepare, Text


@dataclass(frozen=True)
class Transcript:
    """A transcript that can be used. `text`: as it was written, less what was masked."""

    text: str
    normal: str
    language: Language
    flags: tuple[str, ...]


def read(text: str, language: Language, settings: Prepare) -> Transcript:
    """The transcript as the recipe wants it. Raises Reject, with the reason, where it cannot be used."""
    if not text.strip():
        raise Reject("no transcript yet")
    flags: list[str] = []
    text = _without_personal(text, settings.text, flags)
    answers: dict[str, Answer | None] = {
        "other language": settings.text.other_language,
        "foreign word": settings.text.foreign_words,
        "emoji": settings.text.emoji,
        "link": settings.text.links,
    }
    for finding in findings(text, language):
        _answer(answers[finding.kind], finding.reason, flags)
    spoken, written = _in_arabic(text, language) if settings.text.arabizi == "arabic" else (text, language)
    if settings.text.numbers == "words":
        spoken = spell_out(spoken, written, settings.text.phone_digits)
    check(spoken, written, settings.min_script_share)
    return Transcript(text, normalise(spoken, written), written, tuple(flags))


def _without_personal(text: str, settings: Text, flags: list[str]) -> str:
    if settings.personal is None:
        return text
    found = personal.find(text, settings.personal_finder)
    if settings.personal == "mask":
        return personal.mask(text, found)
    for kind in dict.fromkeys(one.kind for one in found):  # what it is, never the thing itself
        _answer(settings.personal, f"personal data: {kind}", flags)
    return text


def _in_arabic(text: str, language: Language) -> tuple[str, Language]:
    """Arabizi in Arabic script, where every word is sure; another language as it is."""
    if language != "ary-Latn":
        return text, language
    done = to_arabic(text)
    if done.unsure:
        words = ", ".join(
            f"{word!r} ({' or '.join((guess.text, *guess.others[:1]))}?)" for word, guess in done.unsure
        )
        raise Reject(f"unsure Arabizi: {words}; python -m prepare.text arabizi RECIPE lists such words")
    return done.text, "ary-Arab"


def _answer(answer: Answer | None, reason: str, flags: list[str]) -> None:
    if answer == "reject":
        raise Reject(reason)
    if answer == "flag":
        flags.append(reason)
