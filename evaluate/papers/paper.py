"""One paper in one language: a Markdown template filled with facts, with its blanks and its sources listed."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluate.papers.facts import MADE_BY, Facts
from evaluate.report.words import Words
from web.offline import render

Language = Literal["fr", "ar"]
NAMES = ("register", "dpia", "datasheet", "card", "security")
_HERE = Path(__file__).parent
_OPEN, _CLOSE = "\u27e6", "\u27e7"  # around a blank
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")


class Paper:
    """What a template asks for. Every fact that it shows, and every blank that it leaves, is noted."""

    def __init__(self, facts: Facts, language: Language, name: str) -> None:
        self.facts, self.language, self.name = facts, language, name
        self.say = Words(language)
        self.blanks: list[str] = []
        self.missing: dict[str, None] = {}  # commands that make what is not there yet
        self.sources: list[str] = []

    # ---------------------------------------------------------------- what templates call

    def word(self, key: str) -> str:
        """A word or sentence of the papers; what has no translation is itself."""
        return _words().get(key, {}).get(self.language) or self.plain(key)

    def has(self, key: str) -> bool:
        return key in self.facts

    def is_(self, key: str, value: Any = True) -> bool:
        """Whether a fact is known and has a value; it is not shown by this."""
        return key in self.facts and self.facts[key].value == value

    def fact(self, key: str) -> str:
        """A fact with the number of its source; where it is not there, what would make it."""
        if key not in self.facts:
            command = MADE_BY[key.partition(".")[0]]
            self.missing[command] = None
            return f"{_OPEN}{self.word('not_yet')} {self.isolated(command)}{_CLOSE}"
        return f"{self.shown(self.facts[key].value)} {self.source(key)}"

    def rows(self, key: str) -> list[Any]:
        """The rows of a fact, for a table; `source` goes above it."""
        return list(self.facts[key].value) if key in self.facts else []

    def source(self, key: str) -> str:
        place = self.facts[key].source
        if place not in self.sources:
            self.sources.append(place)
        return f"[{self.sources.index(place) + 1}]"

    def blank(self, what: str) -> str:
        """A place that a person fills in."""
        self.blanks.append(what)
        return f"{_OPEN}{self.word('blank')} {len(self.blanks)}{self.word('colon')} {what}{_CLOSE}"

    def shown(self, value: Any) -> str:
        """A value as text: numbers as the language writes them, codes as words."""
        if isinstance(value, bool):
            return self.word("yes" if value else "no")
        if isinstance(value, int):
            return self.say.number(value, 0)
        if isinstance(value, float):
            return self.say.number(value, 2 if value >= 1 else 3)
        if isinstance(value, list | tuple):
            return self.word("comma").join(self.shown(one) for one in value) or self.word("none")
        return self.word(value)

    def number(self, value: float | None, digits: int = 3) -> str:
        return "" if value is None else self.say.number(value, digits)

    def language_name(self, tag: str) -> str:
        """`zgh-Tfng` in words."""
        code, _, script = tag.partition("-")
        return f"{self.word(code)} ({self.word(script)})"

    def group(self, name: str) -> str:
        """A group of speakers, such as `female, Sous`."""
        return self.word("comma").join(self.word(part) for part in name.split(", "))

    def plain(self, text: object) -> str:
        """Text of an artefact: no Markdown of its own, in one line, in its own direction."""
        return self.isolated(_SPECIAL.sub(r"\\\1", " ".join(str(text).split())))

    def isolated(self, text: str) -> str:
        """In Arabic, text in Latin letters keeps its order (Unicode Standard Annex 9, section 2.4)."""
        return f"\u2068{text}\u2069" if self.language == "ar" else text

    # ---------------------------------------------------------------- the whole

    def markdown(self) -> str:
        """The paper, with its blanks and what is missing at the top, and its sources at the end."""
        body = _templates().get_template(f"{self.name}.{self.language}.md").render(p=self)
        title, _, rest = body.strip().partition("\n")
        head = [title, "", f"> {self.word('no_advice')}", ""]
        head += self._list("blanks_title", [f"{n}. {what}" for n, what in enumerate(self.blanks, 1)])
        head += self._list("missing_title", [f"- {self.isolated(f'`{command}`')}" for command in self.missing])
        foot = ["", f"## {self.word('sources_title')}", "", self.word("sources_note"), ""]
        foot += [f"- \\[{n}\\] {self.isolated(f'`{place}`')}" for n, place in enumerate(self.sources, 1)]
        return self._spaced("\n".join([*head, rest.strip(), *foot, ""]))

    def _spaced(self, text: str) -> str:
        """In French, no line begins with a colon or a closing mark."""
        if self.language != "fr":
            return text
        return re.sub(r" (?=[:;?!»])", "\u00a0", text).replace("« ", "«\u00a0")

    def _list(self, title: str, lines: Iterable[str]) -> list[str]:
        found = list(lines)
        return [f"## {self.word(title)} ({len(found)})", "", *found, ""] if found else []

    def html(self, text: str, names: Iterable[str], other: bool = True) -> str:
        """The same for print: one page that needs no other file. `other`: it is there in the other language too."""
        from markdown_it import MarkdownIt

        made = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
        made = re.sub(rf"{_OPEN}(.*?){_CLOSE}", r'<span class="blank">\1</span>', made)
        made = re.sub(r"(?<!<li>)\[(\d+)\]", r'<sup class="src">\1</sup>', made)
        links = [(name, self.word(f"title_{name}")) for name in names]
        shown = {"title": self.word(f"title_{self.name}"), "language": self.language, "name": self.name}
        return render(_HERE, "paper.html", body=made, links=links, other=other, **shown)


@cache
def _words() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = yaml.safe_load((_HERE / "words.yaml").read_text(encoding="utf-8"))
    return found


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
