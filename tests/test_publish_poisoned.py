"""Adapters made to harm: each is refused in one line, before any library reads it, and nothing in it runs."""

import json
import os
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from recipes.provenance import read_lineage, write_text
from recipes.schema import Family, Recipe, Trained, UserError
from tests import tiny
from tests.conftest import SHARED, needs_shared
from tests.published import ready
from train import inspect, revocation, signature
from train.adapter import adapter_folder, open_adapter, open_model, open_recogniser, refuse_untrusted

RAN = "it-ran.txt"
Poison = Callable[[Path, Recipe], object]
WEIGHTS = "adapter_model.safetensors"


class Bomb:
    """A pickle that writes a file where it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def bomb(folder: Path) -> bytes:
    return pickle.dumps(Bomb(folder.parent / RAN))


def settings(folder: Path, name: str = "adapter_config.json", **changes: Any) -> None:
    """Change keys of a JSON file."""
    path = folder / name
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(found | changes), encoding="utf-8")


def weights(folder: Path, header: bytes, body: bytes = b"", length: int | None = None) -> None:
    """Safetensors with a header of one's own."""
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + body)


def row(shape: list[int], begin: int, end: int, kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


def module(folder: Path) -> None:
    (folder / "modeling_evil.py").write_text(f"open({str(folder.parent / RAN)!r}, 'w')", encoding="utf-8")


def sign(folder: Path, recipe: Recipe) -> None:
    signature.sign_folder(folder, "tiny", signature.private_key(signature.key_path(recipe)))


def altered_after_signing(folder: Path, recipe: Recipe) -> None:
    sign(folder, recipe)
    tensors = load_file(folder / WEIGHTS)
    name = min(tensors)
    save_file(tensors | {name: tensors[name] + 0.5}, folder / WEIGHTS)


def added_after_signing(folder: Path, recipe: Recipe) -> None:
    sign(folder, recipe)
    (folder / "chat_template.jinja").write_text("{{ 1 }}", encoding="utf-8")


def signed_by_a_stranger(folder: Path, recipe: Recipe) -> None:
    key = signature.private_key(folder.parent / "stranger.pem")
    signature.sign_folder(folder, "tiny", key)


def with_a_forged_signature(folder: Path, recipe: Recipe) -> None:
    """A stranger's, which says that it is ours."""
    signed_by_a_stranger(folder, recipe)
    own = signature.private_key(signature.key_path(recipe))
    bundle = json.loads((folder / "model.sig").read_text(encoding="utf-8"))
    bundle["verificationMaterial"]["publicKey"]["hint"] = signature.fingerprint(own.public_key())
    (folder / "model.sig").write_text(json.dumps(bundle), encoding="utf-8")


def revoked(folder: Path, recipe: Recipe) -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    revocation.revoke(recipe, revocation.weights_digest(folder), "hub:us/tiny", "a speaker withdrew", at)


def of_another_base(folder: Path, recipe: Recipe) -> None:
    assert recipe.train.base
    shutil.rmtree(recipe.train.base)
    torch.manual_seed(5)
    tiny.base("ctc", Path(recipe.train.base), "ⴰⵉⵓ")


def of_another_kind_of_base(folder: Path, recipe: Recipe) -> None:
    """Weights for layers that the base does not have, with a lineage to go with them."""
    tensors = load_file(folder / WEIGHTS)
    save_file({name.replace("linear_q", "linear_z"): tensor for name, tensor in tensors.items()}, folder / WEIGHTS)
    relabel(folder)


def of_another_size(folder: Path, recipe: Recipe) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file({name: torch.cat([tensor, tensor], 1) for name, tensor in tensors.items()}, folder / WEIGHTS)
    relabel(folder)


def relabel(folder: Path) -> None:
    """A lineage that says the weights are as they should be."""
    line = read_lineage(folder).model_copy(update={"weights": revocation.weights_digest(folder), "files": None})
    write_text(folder / "lineage.json", line.model_dump_json())


def resized(folder: Path, recipe: Recipe) -> None:
    """Tokens that the model was not trained with."""
    found = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    settings(folder, "vocab.json", **{f"x{n}": len(found) + n for n in range(50)})


POISONS: dict[str, tuple[Poison, str]] = {
    "a pickle for weights": (
        lambda f, r: (f / "adapter_model.bin").write_bytes(bomb(f)),
        "may run code",
    ),
    "only a pickle": (
        lambda f, r: ((f / WEIGHTS).unlink(), (f / "adapter_model.bin").write_bytes(bomb(f))),
        "may run code",
    ),
    "a pickle called safetensors": (lambda f, r: (f / WEIGHTS).write_bytes(bomb(f)), "not safetensors"),
    "a pickle in a folder": (
        lambda f, r: ((f / "runs").mkdir(), (f / "runs" / "optimizer.pt").write_bytes(bomb(f))),
        "may run code",
    ),
    "a module": (lambda f, r: module(f), "may run code"),
    "remote code in the tokenizer": (
        lambda f, r: settings(f, "tokenizer_config.json", auto_map={"AutoTokenizer": ["modeling_evil.T", None]}),
        "`auto_map` asks to run code",
    ),
    "remote code, deep inside": (
        lambda f, r: settings(f, "config.json", text={"inner": [{"trust_remote_code": True}]}),
        "`trust_remote_code` asks to run code",
    ),
    "a kernel from the hub": (
        lambda f, r: settings(f, "config.json", _attn_implementation="them/evil:run"),
        "names code on the hub",
    ),
    "a library to import": (
        lambda f, r: settings(f, auto_mapping={"parent_library": "modeling_evil", "base_model_class": "T"}),
        "would import 'modeling_evil'",
    ),
    "another library to import": (
        lambda f, r: settings(f, megatron_config={"a": 1}, megatron_core="modeling_evil"),
        "is not one that training sets",
    ),
    "a pattern without end": (lambda f, r: settings(f, target_modules="(a+)+$"), "is a pattern"),
    "a link to elsewhere": (
        lambda f, r: (f / "merges.txt").symlink_to("/etc/hostname"),
        "a link or a device",
    ),
    "a pipe": (lambda f, r: os.mkfifo(f / "vocab.txt"), "a link or a device"),
    "a name that leads out": (lambda f, r: (f / "..\\..\\x.json").touch(), "a name that no tool writes"),
    "an index that leads out": (
        lambda f, r: settings(f, "model.safetensors.index.json", weight_map={"a": "../../base/model.safetensors"}),
        "leads out of the folder",
    ),
    "a header of an exabyte": (lambda f, r: weights(f, b"{}", length=2**60), "its header would have"),
    "a header as large as the disk": (lambda f, r: weights(f, b" " * (17 * 2**20)), "its header would have"),
    "a header without bottom": (lambda f, r: weights(f, b'{"a":' + b"[" * 200_000), "damaged, or made to harm"),
    "a tensor outside the file": (
        lambda f, r: weights(f, json.dumps({"a": row([2**40], 0, 2**42)}).encode()),
        "bytes of weights, and its header describes",
    ),
    "tensors over each other": (
        lambda f, r: weights(f, json.dumps({"a": row([2], 0, 8), "b": row([2], 4, 12)}).encode(), b"\0" * 12),
        "tensors overlap",
    ),
    "bytes after the weights": (
        lambda f, r: weights(f, json.dumps({"a": row([1], 0, 4)}).encode(), b"\0" * 4 + bomb(f)),
        "bytes of weights, and its header describes 4",
    ),
    "a key that is there twice": (
        lambda f, r: (f / "config.json").write_text('{"a": 1, "a": 2}'),
        "a key is there twice",
    ),
    "a token with a number beyond all": (
        lambda f, r: settings(f, "vocab.json", x=2**31),
        "a number that no vocabulary has",
    ),
    "a resized vocabulary": (resized, "tokenizer or settings were altered"),
    "rows that nobody trained": (
        lambda f, r: settings(f, trainable_token_indices={"embed": [5_000_000]}),
        "rows that no vocabulary has",
    ),
    "of another base": (of_another_base, "not the weights that"),
    "for layers that are not there": (of_another_kind_of_base, "not made for this base"),
    "of another size": (of_another_size, "not made for this base"),
    "revoked": (revoked, "revoked on 2026-03-01: a speaker withdrew; it must not be used"),
    "altered after signing": (altered_after_signing, "altered, added or removed after it was signed"),
    "added to after signing": (added_after_signing, r"chat_template.jinja: altered, added or removed"),
    "signed by a stranger": (signed_by_a_stranger, "signed by a key that is not trusted"),
    "with a forged signature": (with_a_forged_signature, "not that of the key it names"),
}


@pytest.mark.parametrize("kind", POISONS)
def test_a_poisoned_adapter_is_refused_in_one_line_and_nothing_runs(kind: str, tmp_path: Path) -> None:
    recipe = ready(tmp_path / "w")
    folder = adapter_folder(recipe)
    refuse_untrusted(recipe, folder)
    poison, said = POISONS[kind]
    poison(folder, recipe)
    with pytest.raises(UserError, match=said) as caught:
        open_adapter(recipe, folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    with pytest.raises(UserError):
        open_model(recipe, "adapter")
    assert not list(tmp_path.rglob(RAN)) and "modeling_evil" not in sys.modules


def test_there_are_twenty_of_them_and_more() -> None:
    assert len(POISONS) >= 20


def test_a_healthy_adapter_opens_signed_and_unsigned(tmp_path: Path) -> None:
    recipe = ready(tmp_path / "w")
    assert open_model(recipe, "adapter").recognises
    sign(adapter_folder(recipe), recipe)
    assert open_model(recipe, "adapter").recognises


def test_an_adapter_from_elsewhere_opens_with_its_signature_only(tmp_path: Path) -> None:
    recipe = ready(tmp_path / "w")
    theirs = Path(shutil.copytree(adapter_folder(recipe), tmp_path / "downloads" / "adapter"))
    sign(theirs, recipe)
    (theirs / ".gitattributes").write_text("*.safetensors filter=lfs\n")  # as the hub's client leaves a download
    (theirs / ".cache" / "huggingface").mkdir(parents=True)
    (theirs / ".cache" / "huggingface" / "model.sig.metadata").touch()
    assert open_adapter(recipe, theirs).recognises
    (theirs / "model.sig").unlink()  # whoever alters it would delete this too
    for opened in (lambda: open_adapter(recipe, theirs), lambda: open_model(recipe, "adapter", theirs)):
        with pytest.raises(UserError, match=r"downloads/adapter: no model.sig in it, so nobody vouches for it; .*"):
            opened()
    for named in (theirs, theirs.parent):  # the folder itself, or the one that training keeps it in
        ours = Trained(name="last-month", adapter=named, unsigned=True)
        settings = recipe.evaluate.model_copy(update={"systems": [ours]})
        refuse_untrusted(recipe.model_copy(update={"evaluate": settings}), theirs)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_no_bytes_make_the_reader_of_headers_stumble(tmp_path_factory: Any, content: bytes, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(struct.pack("<Q", length) + content)
    try:
        found = inspect.header(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert all(size >= 0 for shape in found.values() for size in shape)


@pytest.mark.parametrize("family", get_args(Family))
def test_what_every_family_writes_passes(family: Family, tmp_path: Path) -> None:
    folder = Path(tiny.base(family, tmp_path / "base"))
    shutil.rmtree(folder / "codec", ignore_errors=True)  # of the base, never of an adapter
    assert inspect.refuse_unsafe(folder)


@needs_shared("models/whisper-tiny-en")
def test_so_does_a_model_as_it_is_published() -> None:
    assert inspect.refuse_unsafe(SHARED / "models" / "whisper-tiny-en")


# ---------------------------------------------------------------- the list of revocations


def test_a_list_that_was_changed_or_signed_by_others_is_not_believed(tmp_path: Path) -> None:
    recipe = ready(tmp_path / "w")
    folder, at = adapter_folder(recipe), datetime(2026, 3, 1, tzinfo=UTC)
    for weights_of in ("a" * 64, "b" * 64):
        path = revocation.revoke(recipe, weights_of, "./out", "tried", at)
    assert [entry.number for entry in revocation.read(recipe, path)] == [1, 2]
    refuse_untrusted(recipe, folder)
    other = ready(tmp_path / "other")
    revocation.revoke(other, revocation.weights_digest(folder), "./out", "not theirs to say", at)
    shutil.copyfile(revocation.list_path(other), path)
    with pytest.raises(UserError, match="not signed by a trusted key"):
        refuse_untrusted(recipe, folder)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match="get it anew"):
        open_model(recipe, "adapter")


def test_a_list_of_others_counts_where_their_key_is_trusted(tmp_path: Path) -> None:
    other, at = ready(tmp_path / "other"), datetime(2026, 3, 1, tzinfo=UTC)
    recipe = ready(tmp_path / "w")
    theirs = revocation.revoke(other, revocation.weights_digest(adapter_folder(recipe)), "./out", "theirs", at)
    key = signature.key_path(other).with_suffix(".pub")
    trusting = recipe.model_copy(
        update={"publish": recipe.publish.model_copy(update={"trusted": [key], "revocations": [theirs]})}
    )
    with pytest.raises(UserError, match="revoked on 2026-03-01: theirs"):
        open_model(trusting, "adapter")


def test_a_model_that_was_revoked_is_neither_trained_on_nor_evaluated_nor_heard_with(tmp_path: Path) -> None:
    from train import __main__ as script

    recipe, at = ready(tmp_path / "w"), datetime(2026, 3, 1, tzinfo=UTC)
    assert recipe.train.base
    revocation.revoke(recipe, revocation.weights_digest(Path(recipe.train.base)), "./out", "a base", at)
    with pytest.raises(UserError, match="base: revoked on 2026-03-01: a base"):
        script.main(recipe)
    for opened in (
        lambda: open_model(recipe, "base"),
        lambda: open_model(recipe, "adapter"),  # it was made from it
        lambda: open_adapter(recipe, adapter_folder(recipe)),
        lambda: open_recogniser(str(recipe.train.base), recipe),
    ):
        with pytest.raises(UserError, match="base: revoked on 2026-03-01: a base; it must not be used"):
            opened()


@pytest.mark.parametrize("words", [{"model": 0, "vocab": 1, "added_tokens": 2}, {"shi": {"a": 0}, "kab": {"b": 0}}])
def test_words_of_a_vocabulary_are_not_taken_for_its_structure(tmp_path: Path, words: dict[str, Any]) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps(words), encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": [["a", -1.5]]}}), encoding="utf-8")
    weights(tmp_path, b"{}")
    assert inspect.refuse_unsafe(tmp_path) == {}
