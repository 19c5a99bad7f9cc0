"""What a recipe's text is made of, and what of it a base model's tokenizer does not know."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from prepare.text import normalise
from prepare.text.language import tag
from recipes.records import Language
from recipes.schema import UserError


@dataclass(frozen=True)
class Inventory:
    """Characters and words of normalised text, by how often they occur; and insertions by language."""

    texts: int
    characters: dict[str, int]
    words: dict[str, int]
    languages: dict[str, int]  # of words: own, fra, eng, und
    dropped: dict[str, int]  # characters of the raw text that normalisation drops


@dataclass(frozen=True)
class Tokens:
    """How a base model's tokenizer takes the text."""

    base: str
    unknown_characters: dict[str, int]  # that it has no token for
    unknown_words: dict[str, int]  # that hold one
    tokens_per_word: float
    proposed: list[str]  # tokens to add, so that nothing is unknown


def take(texts: Iterable[tuple[str, Language]]) -> Inventory:
    """Count characters and words of transcripts, each with its language tag."""
    characters: Counter[str] = Counter()
    words: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    count = 0
    for text, language in texts:
        normal = normalise(text, language)
        characters.update(normal.replace(" ", ""))
        words.update(normal.split())
        languages.update(word.language for word in tag(text, language))
        dropped.update(c for c in text.lower() if c.isalnum() and c not in normal)
        count += 1
    return Inventory(count, *(dict(c.most_common()) for c in (characters, words, languages, dropped)))


def against(found: Inventory, base: str, revision: str | None = None) -> Tokens:
    """The inventory through a tokenizer. Raises UserError where the base's cannot be loaded."""
    tokenizer = _tokenizer(base, revision)
    unknown = {c: n for c, n in found.characters.items() if _is_unknown(tokenizer, c)}
    words = {word: n for word, n in found.words.items() if set(word) & set(unknown)}
    pieces = sum(n * len(_ids(tokenizer, word)) for word, n in found.words.items())
    total = sum(found.words.values())
    return Tokens(base, unknown, words, pieces / total if total else 0.0, sorted(unknown))


def as_json(found: Inventory, tokens: Tokens | None) -> dict[str, Any]:
    """Both, to be written beside the dataset."""
    return {"inventory": asdict(found), "tokenizer": asdict(tokens) if tokens else None}


def lines(found: Inventory, tokens: Tokens | None) -> list[str]:
    """Both, for a person."""
    said = [f"{found.texts} transcripts, {sum(found.words.values())} words, {len(found.words)} of them different"]
    said.append(f"words by language: {_counted(found.languages)}")
    said.append(f"{len(found.characters)} characters: {' '.join(sorted(found.characters))}")
    rare = {c: n for c, n in found.characters.items() if n < 5}
    said += [f"fewer than five times: {_counted({_named(c): n for c, n in rare.items()})}"] if rare else []
    if found.dropped:
        named = {_named(c): n for c, n in list(found.dropped.items())[:20]}
        said.append(f"dropped by normalisation: {_counted(named)}")
    if tokens is None:
        return said
    said.append(f"{tokens.base}: {tokens.tokens_per_word:.2f} tokens a word")
    if not tokens.proposed:
        return [*said, "its tokenizer knows every character: no token to add"]
    share = sum(tokens.unknown_words.values()) / max(1, sum(found.words.values()))
    said.append(f"unknown to its tokenizer: {_counted({_named(c): n for c, n in tokens.unknown_characters.items()})}")
    said.append(f"words that hold one: {share:.1%}, for example {' '.join(list(tokens.unknown_words)[:8])}")
    return [*said, f"tokens to add (train.lora.new_tokens does): {' '.join(tokens.proposed)}"]


def _tokenizer(base: str, revision: str | None) -> Any:
    from transformers import AutoProcessor, AutoTokenizer

    try:
        try:
            return AutoTokenizer.from_pretrained(base, revision=revision, trust_remote_code=False)
        except (KeyError, ValueError):
            return AutoProcessor.from_pretrained(base, revision=revision, trust_remote_code=False).tokenizer
    except Exception as error:  # of many kinds: each loader has its own
        cause = " ".join(str(error).split())[:200]
        raise UserError(f"train.base: the tokenizer of {base} cannot be loaded: {cause}") from None


def _ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return found


def _is_unknown(tokenizer: Any, character: str) -> bool:
    """Whether a character becomes the unknown token, or is dropped."""
    ids = _ids(tokenizer, character)
    return not ids or tokenizer.unk_token_id in ids


def _named(character: str) -> str:
    return f"{character} (U+{ord(character):04X} {unicodedata.name(character, '?').lower()})"


def _counted(table: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in table.items())
