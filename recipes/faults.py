"""What is wrong with a recipe: each fault on a line, with file, line, key, value, and the nearest right key."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Tag

Key = tuple[str | int, ...]  # ("train", "lora", "r"); a number is the place in a list


def places(node: yaml.Node | None, at: Key = ()) -> Iterator[tuple[Key, str]]:
    """The place of every key: its path and `line N`."""
    children: list[tuple[str | int, yaml.Node, int]] = []
    if isinstance(node, yaml.MappingNode):
        children = [(key.value, value, key.start_mark.line) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(index, value, value.start_mark.line) for index, value in enumerate(node.value)]
    for key, value, line in children:
        yield (*at, key), f"line {line + 1}"
        yield from places(value, (*at, key))


def given_twice(path: Path, node: yaml.Node | None, at: str = "") -> Iterator[str]:
    """Keys given twice in one mapping: YAML would keep the last without a word."""
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from given_twice(path, child, at)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield f"{path}, line {key.start_mark.line + 1}: {at}{key.value}: given twice"
            seen.add(key.value)
            yield from given_twice(path, value, f"{at}{key.value}.")


def override(data: dict[str, Any], lines: dict[Key, str], overrides: Sequence[str]) -> Iterator[str]:
    """Put each `key.path=value` into the data; yields the faults of those that cannot be."""
    for given in overrides:
        key, equals, value = given.partition("=")
        names = key.split(".")
        if not equals or not all(names):
            yield f"{given}: an override is written key.path=value"
            continue
        place: Any = data
        for depth, name in enumerate(names[:-1], start=1):
            if place.get(name) is None:
                place[name] = {}
                lines[tuple(names[:depth])] = "command line"
            place = place[name]
            if not isinstance(place, dict):
                yield f"{given}: {'.'.join(names[:depth])} holds a value, not a section"
                break
        else:
            try:
                place[names[-1]] = yaml.safe_load(value)
            except (yaml.YAMLError, ValueError, RecursionError):
                place[names[-1]] = value
            lines[tuple(names)] = "command line"


def told(path: Path, lines: dict[Key, str], root: type[BaseModel], fault: Any) -> str:
    """One of pydantic's errors as one line: place, key, what is wrong, the value."""
    where: Key = fault["loc"]
    place = next((lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in lines), "line 1")
    key = ".".join(str(name) for name in where if not str(name).startswith("<")) or "recipe"  # `<` begins a tag
    if fault["type"] == "extra_forbidden":
        names = _fields(root, where[:-1])
        near = difflib.get_close_matches(str(where[-1]), names, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(names)}"
        return f"{path}, {place}: {key}: unknown key; {hint}"
    if fault["type"] == "missing":
        return f"{path}, {place}: {key}: required and not given"
    message = fault["msg"].removeprefix("Value error, ")
    got = "" if isinstance(fault["input"], dict) else f", got {fault['input']!r}"
    return f"{path}, {place}: {key}: {message}{got}"


def _fields(root: type[BaseModel], where: Key) -> list[str]:
    """Names of the keys that the section at `where` knows."""
    section: type[BaseModel] = root
    tagged: dict[str, type[BaseModel]] = {}
    for name in where:
        if name in tagged:
            section = tagged[str(name)]
        elif field := section.model_fields.get(str(name)):
            tagged = dict(_sections(field.annotation))
            section = tagged.get("", section)
    return list(section.model_fields)


def _sections(kind: Any, tag: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """The sections in a type, each with the tag that it has in a union."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield tag, kind
    own = next((part.tag for part in get_args(kind) if isinstance(part, Tag)), tag)
    for part in get_args(kind):
        yield from _sections(part, own)
