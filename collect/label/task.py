"""What annotators see and answer: the form, a clip as a task with a draft, an annotation as a transcript."""

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import quoteattr

from recipes.records import LANGUAGES, Clip, Transcript

_NAMES = {
    "ary": "Darija",
    "zgh": "Tamazight",
    "shi": "Tachelhit",
    "tzm": "Tamazight (Atlas)",
    "rif": "Tarifit",
    "kab": "Taqbaylit",
}
_SCRIPTS = {"Arab": "ا ب ت\u200e", "Latn": "a b c", "Tfng": "ⴰ ⴱ ⵜ"}
# What is stored, and what annotators read.
QUALITIES = {
    "good": "bonne · good",
    "noisy": "bruyante · noisy",
    "distorted": "déformée · distorted",
    "cut": "coupée · cut off",
}
_VALID = {"yes": "oui · yes", "no": "non · no"}
INSTRUCTION = """<p><b>FR</b> Écoutez, corrigez le texte pour qu'il dise exactement ce qui est dit (hésitations
comprises), répondez aux questions, puis Submit. Enregistrement vide, autre langue, plusieurs voix : « utilisable :
non ».</p>
<p><b>EN</b> Listen, correct the text until it says exactly what is said (hesitations too), answer the questions, then
Submit. Nothing said, another language, several voices: “usable: no”.</p>"""


def form(languages: Sequence[str], dialects: Sequence[str]) -> str:
    """The labelling configuration: waveform, text area, language, dialect, quality, validity.

    Each line of the text takes the direction of its letters (CSS `unicode-bidi: plaintext`); an empty one that
    of the project's scripts.
    """
    direction = "rtl" if any(tag.endswith("-Arab") for tag in languages) else "ltr"
    tags = {tag: _named(*tag.split("-")) for tag in LANGUAGES if tag in languages}
    style = f"direction: {direction}; unicode-bidi: plaintext; text-align: start; font-size: 1.3em; line-height: 1.8"
    parts = [
        "<View>",
        f"  <Style>.said textarea, .said p {{ {style} }}",
        # Else the buttons show under a mouse only, and on top of where right-to-left text begins.
        "  .said [data-testid=htx-textbox-actions] { position: static; opacity: 1; pointer-events: auto }</Style>",
        '  <Audio name="audio" value="$audio" height="120"/>',
        '  <Header size="5" value="Ce qui est dit · What is said"/>',
        '  <View className="said">',
        '    <TextArea name="text" toName="audio" rows="3" editable="true" maxSubmissions="1"/>',
        "  </View>",
        _choices("language", "Langue et lettres · Language and letters", tags, required=True),
        *([_choices("dialect", "Parler · Dialect", dict.fromkeys(dialects, ""))] if dialects else []),
        _choices("quality", "Qualité du son · Sound quality", QUALITIES),
        _choices("valid", "Enregistrement utilisable · Recording usable", _VALID, required=True),
        "</View>",
    ]
    return "\n".join(parts)


def _named(language: str, script: str) -> str:
    return f"{_NAMES[language]} · {_SCRIPTS[script]}"


def _choices(name: str, title: str, values: Mapping[str, str], required: bool = False) -> str:
    """One question. `values`: what is stored, and what is shown where that is something else."""
    need = ' required="true"' if required else ""
    lines = [f'  <Header size="5" value={quoteattr(title)}/>']
    lines.append(f'  <Choices name="{name}" toName="audio" choice="single" showInline="true"{need}>')
    for stored, shown in values.items():
        alias = f" alias={quoteattr(stored)}" if shown else ""
        lines.append(f"    <Choice value={quoteattr(shown or stored)}{alias}/>")
    return "\n".join([*lines, "  </Choices>"])


def task(clip: Clip, audio: str, draft: str) -> dict[str, Any]:
    """A clip as a task's data. Nothing in it tells who speaks. `draft`: which version it was given, or none."""
    return {"clip": clip.id, "audio": audio, "language": clip.language, "draft": draft}


def prediction(clip: Clip, text: str, version: str, dialect: str | None) -> dict[str, Any]:
    """What the form holds when an annotator opens it."""
    said: list[tuple[str, str, list[str]]] = [("text", "text", [text]), ("language", "choices", [clip.language])]
    if dialect:
        said.append(("dialect", "choices", [dialect]))
    said.append(("valid", "choices", ["yes"]))
    results = [
        {"from_name": name, "to_name": "audio", "type": kind.replace("text", "textarea"), "value": {kind: value}}
        for name, kind, value in said
    ]
    return {"model_version": version, "result": results}


def transcript(clip: str, annotation: Mapping[str, Any], mark: str) -> Transcript | None:
    """What an annotation says; None for one that was skipped. `mark`: of its task."""
    if annotation.get("was_cancelled"):
        return None
    said: dict[str, str] = {}
    for result in annotation.get("result") or []:
        value = result.get("value", {})
        said[str(result.get("from_name"))] = " ".join(value.get("text") or value.get("choices") or [])
    author = annotation.get("completed_by")
    author = author.get("id") if isinstance(author, dict) else author
    return Transcript(
        id=f"{mark}:{annotation['id']}",
        clip=clip,
        text=" ".join(unicodedata.normalize("NFC", said.get("text", "")).split()),
        language=said["language"] if said.get("language") in LANGUAGES else None,
        dialect=said.get("dialect") or None,
        quality=said.get("quality") or None,
        valid=said.get("valid") != "no",
        annotator=f"ls:{author}",
        at=moment(annotation["updated_at"]),
    )


def moment(value: str | datetime) -> datetime:
    """A time as the server tells it, in UTC."""
    time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return time.astimezone(UTC)
