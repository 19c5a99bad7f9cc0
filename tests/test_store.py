"""Where finished clips lie: a folder, or a place that fsspec reaches."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

import prepare.__main__ as script
from prepare import dataset
from prepare.store import Folder, Remote, Store, open_store
from recipes.schema import UserError
from tests.test_prepare import Ledger, recipe
from tests.test_prepare import ledger as ledger

FILES = {"ab12": b"one", "cd34": b"line\nand sound", "cd56-01": b"piece\n"}


@pytest.fixture
def bucket() -> Iterator[str]:
    """An object store in memory."""
    yield "memory://bucket/parts"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(params=["folder", "file://", "memory://"])
def store(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> Store:
    return open_store({"folder": str(tmp_path), "file://": f"file://{tmp_path}/parts"}.get(request.param, bucket))


def test_what_is_written_is_read(store: Store) -> None:
    store.write(FILES)
    assert store.read(["ab12", "gone", "cd34"]) == {"ab12": b"one", "cd34": b"line\nand sound"}
    assert {name: head.split(b"\n")[0] for name, head in store.heads(["cd34"]).items()} == {"cd34": b"line"}
    assert sorted(store.names()) == sorted(FILES)
    store.write({"ab12": b"anew"})
    assert store.read(["ab12"]) == {"ab12": b"anew"}
    store.remove(["ab12", "never there"])
    assert sorted(store.names()) == ["cd34", "cd56-01"]


def test_an_empty_store_is_empty(store: Store) -> None:
    assert (list(store.names()), store.read(["x"]), store.heads([])) == ([], {}, {})


def test_a_folder_holds_no_more_than_a_file_system_likes(tmp_path: Path) -> None:
    (tmp_path / "0123").write_bytes(b"of an earlier layout")
    Folder(tmp_path).write(FILES)
    assert sorted(Folder(tmp_path).names()) == sorted(FILES)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*-*")) == ["cd/cd56-01"]
    assert not (tmp_path / "0123").exists()


@pytest.mark.parametrize("url", ["s4://bucket/x", "nonsense://x"])
def test_a_place_that_nothing_here_can_reach_is_one_line(url: str) -> None:
    with pytest.raises(UserError, match=r"prepare\.parts: .*: Protocol not known"):
        Remote(url).write(FILES)


def test_the_dataset_is_the_same_wherever_its_parts_are(ledger: Ledger, tmp_path: Path, bucket: str) -> None:
    ask = recipe(tmp_path)
    script.main(ask)
    away = recipe(tmp_path / "away", parts=bucket)
    script.main(away)
    assert dataset.dataset_hash(away) == dataset.dataset_hash(ask)
    assert not (away.folder("prepare") / "parts").exists() and len(list(open_store(bucket).names())) == 6


def test_an_object_that_came_over_half_is_made_again(ledger: Ledger, tmp_path: Path, bucket: str) -> None:
    ask = recipe(tmp_path, parts=bucket)
    script.main(ask)
    made, held = dataset.dataset_hash(ask), open_store(bucket)
    first, second, *_ = sorted(held.names())
    held.write({first: held.read([first])[first][:-100], second: b"{"})
    ledger.read.clear()
    script.main(ask)
    assert len(ledger.read) == 2 and dataset.dataset_hash(ask) == made


def test_withdrawn_clips_leave_the_bucket_too(ledger: Ledger, tmp_path: Path, bucket: str) -> None:
    ask = recipe(tmp_path, parts=bucket)
    script.main(ask)
    ledger.granted[next(ledger.clips()).id].clear()
    script.main(ask)
    assert len(list(open_store(bucket).names())) == 5
