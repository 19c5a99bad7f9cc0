"""Look at an adapter's files before any library does: nothing in them may run, lie or reach outside.

Safetensors hold numbers only, but what lies beside them is read by libraries that import modules by name,
fetch code from repositories, compile patterns and make room for as much as a header says.
"""

import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recipes.schema import UserError

# What training writes. All else is refused: nobody can list every format that runs code when it is read.
_SUFFIXES = {".json", ".jsonl", ".safetensors", ".txt", ".md", ".yaml", ".model", ".jinja", ".sig", ".pub"}
# What the hub's client lays at the top of a download for itself. No library reads it with a model.
OF_THE_HUB = (".gitattributes", ".cache")
_MOST_FILES = 200
_MOST_JSON_BYTES = 64 * 2**20
_MOST_HEADER_BYTES = 16 * 2**20
_MOST_TOKENS = 400_000  # the largest vocabulary of a base has some 150,000
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_CODE = ("auto_map", "custom_pipelines", "custom_pipeline", "trust_remote_code", "custom_generate", "auto_class")
_VOCABULARY = ("vocab.json", "tokenizer.json", "added_tokens.json", "tekken.json")
# Of PEFT's LoraConfig: what training sets. Any other key must have the library's own value.
_SET = {
    "alora_invocation_tokens",
    "auto_mapping",
    "base_model_name_or_path",
    "exclude_modules",
    "inference_mode",
    "init_lora_weights",
    "lora_alpha",
    "lora_dropout",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "r",
    "revision",
    "target_modules",
    "task_type",
    "trainable_token_indices",
    "use_dora",
    "use_rslora",
}

Tensors = Mapping[str, tuple[int, ...]]  # names and shapes


def refuse_unsafe(folder: Path) -> Tensors:
    """Look at every file of an adapter, or of a whole model. Returns its tensors: names and shapes.

    Raises UserError, in one line, for the first that should not be there or is not what it should be.
    """
    for path in _files(folder):
        if path.suffix == ".json":
            _refuse_code(path, read(path))
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise UserError(f"{folder}: no weights in safetensors there; other formats are not read")
    tensors: dict[str, tuple[int, ...]] = {}
    for path in weights:
        tensors |= header(path)
    if (folder / "adapter_config.json").exists():
        _refuse_settings(folder / "adapter_config.json", tensors)
    _refuse_vocabulary(folder)
    return tensors


def _files(folder: Path) -> Iterator[Path]:
    """Every file. Raises UserError for links, pipes and devices, strange names, and formats that can run code."""
    count = 0
    for root, folders, names in os.walk(folder):
        for name in sorted([*folders, *names]):
            path = Path(root, name)
            kind = path.lstat().st_mode
            if stat.S_ISLNK(kind) or not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise UserError(f"{path}: a link or a device, not a file of its own; remove it")
            if not re.fullmatch(r"[\w.-]+", name) or "\\" in name:
                raise UserError(f"{str(path)!r}: a name that no tool writes; remove it")
            if stat.S_ISREG(kind):
                if Path(root) == folder and name in OF_THE_HUB:
                    continue
                count += 1
                if path.suffix not in _SUFFIXES:
                    raise UserError(f"{path}: not a file that an adapter needs, and it may run code; remove it")
                yield path
        folders[:] = [name for name in folders if not (Path(root) == folder and name in OF_THE_HUB)]
    if count > _MOST_FILES:
        raise UserError(f"{folder}: {count} files, where an adapter has a dozen")


# ---------------------------------------------------------------- settings


def read(path: Path) -> Any:
    """A JSON file. Raises UserError when it is too large, too deep, says a key twice, or is no JSON."""
    if (size := path.stat().st_size) > _MOST_JSON_BYTES:
        raise UserError(f"{path}: {size / 2**20:.0f} MiB of settings, which no adapter needs")
    return _parsed(path, path.read_bytes())


def _parsed(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        cause = "nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())[:80]
        raise UserError(f"{path}: damaged, or made to harm: {cause}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _refuse_code(path: Path, settings: Any) -> None:
    """Raises UserError where settings name code to be run, or a file outside the folder."""
    for key, value in _settings(settings) if path.name not in _VOCABULARY else ():
        if key in _CODE and value:
            raise UserError(f"{path}: `{key}` asks to run code that came with the model; nothing of it was run")
        if "attn_implementation" in key and isinstance(value, str) and not re.fullmatch(r"\w*", value):
            raise UserError(f"{path}: `{key}` names code on the hub ({value[:60]!r}); nothing of it was run")
        outside = isinstance(value, str) and ".." in re.split(r"[/\\]", value)
        if outside or (path.name.endswith(".index.json") and isinstance(value, str) and "/" in value):
            raise UserError(f"{path}: `{key[:60]}` leads out of the folder ({value[:60]!r})")


def _settings(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield str(name), below
            yield from _settings(below, str(name))
    elif isinstance(value, list):
        for below in value:
            yield key, below
            yield from _settings(below, key)


def _refuse_settings(path: Path, tensors: Tensors) -> None:
    """Raises UserError when a LoRA's settings ask for more than training ever sets."""
    from peft import LoraConfig

    found = read(path)
    if not isinstance(found, dict) or found.get("peft_type") != "LORA":
        raise UserError(f"{path}: not the settings of a LoRA")
    own: Any = LoraConfig()
    usual = json.loads(json.dumps(own.to_dict(), default=str))
    for key, value in found.items():
        if key not in _SET and (key not in usual or value != usual[key]):
            raise UserError(f"{path}: `{key}` is not one that training sets; this adapter is not read")
    library = (found.get("auto_mapping") or {}).get("parent_library", "transformers")
    if not re.fullmatch(r"(transformers|train)(\.\w+)*", str(library)):
        raise UserError(f"{path}: `auto_mapping` would import {str(library)[:40]!r}; nothing of it was run")
    for key in ("target_modules", "exclude_modules", "modules_to_save"):
        names = found.get(key) or []
        if not isinstance(names, list) or not all(re.fullmatch(r"[\w.]+", str(name)) for name in names):
            raise UserError(f"{path}: `{key}` is a pattern, not a list of layers; this adapter is not read")
    if not isinstance(found.get("r"), int) or not 0 < found["r"] <= 4096:
        raise UserError(f"{path}: a rank of {str(found.get('r'))[:20]}")
    _refuse_rows(path, found.get("trainable_token_indices") or {}, tensors)


def _refuse_rows(path: Path, rows: Any, tensors: Tensors) -> None:
    """Raises UserError when the new rows of an embedding are not those that the weights hold."""
    lists = rows.values() if isinstance(rows, dict) else [rows]
    for ids in lists:
        if not isinstance(ids, list) or not all(isinstance(i, int) and 0 <= i < _MOST_TOKENS for i in ids):
            raise UserError(f"{path}: `trainable_token_indices` names rows that no vocabulary has")
        held = [shape[0] for name, shape in tensors.items() if "token_adapter" in name or "trainable_tokens" in name]
        if held and len(ids) not in held:
            raise UserError(f"{path}: {len(ids)} new letters, but weights for {held[0]}; this adapter is not read")


def _refuse_vocabulary(folder: Path) -> None:
    """Raises UserError for a tokenizer that would make the model grow without measure."""
    for name in _VOCABULARY:
        path = folder / name
        if not path.exists():
            continue
        found = read(path)
        if not isinstance(found, dict):
            raise UserError(f"{path}: not a vocabulary")
        tables = [found] if name in ("vocab.json", "added_tokens.json") else _tables(found)
        if max((len(table) for table in tables if isinstance(table, dict | list)), default=0) > _MOST_TOKENS:
            raise UserError(f"{path}: more tokens than any model has")
        for number in (number for table in tables for number in _numbers(table)):
            if not isinstance(number, int) or not 0 <= number < _MOST_TOKENS:
                raise UserError(f"{path}: a token with a number that no vocabulary has")


def _tables(found: Mapping[str, Any]) -> list[Any]:
    """The lists of tokens in a `tokenizer.json` or `tekken.json`."""
    model = found.get("model")
    return [model.get("vocab") if isinstance(model, dict) else None, found.get("added_tokens"), found.get("vocab")]


def _numbers(table: Any) -> Iterator[Any]:
    """The numbers of tokens: values of a mapping, which may have one a language; `id` of rows that have one."""
    if isinstance(table, dict):
        for value in table.values():
            yield from _numbers(value) if isinstance(value, dict) else (value,)
    elif isinstance(table, list):
        yield from (row["id"] for row in table if isinstance(row, dict) and "id" in row)


# ---------------------------------------------------------------- weights


def header(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a safetensors file. Its body is not read.

    Raises UserError when the header is too large, or does not describe the file byte for byte.
    Source: github.com/huggingface/safetensors, "Format".
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(_MOST_HEADER_BYTES, size - 8):
            raise UserError(f"{path}: not safetensors, or cut off: its header would have {length} bytes")
        content = file.read(length)
    rows = _parsed(path, content)
    if not content.startswith(b"{") or not isinstance(rows, dict):
        raise UserError(f"{path}: not safetensors")
    spans, shapes = [], {}
    for name, row in rows.items():
        if name == "__metadata__":
            continue
        try:
            begin, end = row["data_offsets"]
            shape = tuple(row["shape"])
            whole = all(type(n) is int and n >= 0 for n in (*shape, begin, end))
            fits = whole and end - begin == math.prod(shape) * _BYTES[row["dtype"]]
        except (KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            raise UserError(f"{path}: {str(name)[:60]}: its shape, kind and place do not go together")
        spans.append((begin, end))
        shapes[str(name)] = shape
    last = 0
    for begin, end in sorted(spans):
        if begin != last:
            raise UserError(f"{path}: tensors overlap, or leave gaps that hold something else")
        last = end
    if last != size - 8 - length:
        raise UserError(f"{path}: {size - 8 - length} bytes of weights, and its header describes {last}")
    return shapes
