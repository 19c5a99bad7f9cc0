"""Where a package goes: a folder, a URL, the hub. Whole or not at all, again after a failure, and back."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from evaluate import targets
from recipes.schema import UserError
from tests import hub as hubs
from tests.hub import Hub, Repository

NAME = "us/tiny-asr"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder as publishing makes it; what is in the files does not matter here."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights" * 100)
    (folder / "README.md").write_text("---\nlanguage: [zgh]\n---\n# Tiny\n", encoding="utf-8")
    (folder / "model.sig").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    (tmp_path / "revocations.json").write_text("{}", encoding="utf-8")
    return tmp_path / "revocations.json"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(targets, "WAITS_S", (0.0, 0.0, 0.0))
    with hubs.hub(monkeypatch) as running:
        yield running


def allowed() -> None:
    """Nobody has withdrawn."""


def withdrawn() -> None:
    raise UserError("no consent for publish_model: clip 3f5a")


def send(package: Path, place: str, version: str = "a" * 64) -> str:
    return targets.upload(package, place, version, allowed, "manual", True)


class Later:
    """A consent that is there when asked first, and withdrawn when asked again."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> None:
        self.asked += 1
        if self.asked > 1:
            withdrawn()


# ---------------------------------------------------------------- a folder


def test_a_folder_gets_all_files_at_once_and_nobody_elses_are_touched(package: Path, tmp_path: Path) -> None:
    next(package.glob("*.safetensors")).chmod(0o600)
    assert send(package, str(tmp_path / "out")).endswith("out: published")
    assert all(path.stat().st_mode & 0o044 for path in (tmp_path / "out").iterdir())  # others may read them
    (package / "more.json").write_text("{}", encoding="utf-8")
    send(package, str(tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in package.iterdir()}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(UserError, match="mine: not empty and nothing that was published"):
        send(package, str(tmp_path / "mine"))
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("place", ["{tmp}/out", "memory://later", "hub:us/tiny-asr"])
def test_a_consent_withdrawn_while_files_are_sent_stops_it(
    package: Path, tmp_path: Path, hub: Hub, place: str
) -> None:
    place = place.format(tmp=tmp_path)
    with pytest.raises(UserError, match="no consent for publish_model"):
        targets.upload(package, place, "b" * 64, Later(), "manual", True)
    assert not (tmp_path / "out").exists()
    assert not fsspec.filesystem("memory").exists("/later/latest.json")
    for repository in hub.repositories.values():
        assert repository.private and list(repository.files) == [".gitattributes"]


# ---------------------------------------------------------------- a URL


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_readers_of_a_url_follow_one_small_file(package: Path, tmp_path: Path, kind: str, listed: Path) -> None:
    place = {"memory": f"memory://bucket-{tmp_path.name}", "file": f"file://{tmp_path}/bucket"}[kind]
    assert "3 files sent" in send(package, place)
    files, root = fsspec.core.url_to_fs(place)
    assert files.cat_file(f"{root}/latest.json") == b'{"version": "%s"}' % (b"a" * 64)
    assert "0 files sent" in send(package, place)
    (package / "README.md").write_text("another", encoding="utf-8")
    assert "3 files sent" in send(package, place, "c" * 64)
    assert files.exists(f"{root}/{'c' * 64}/model.sig") and not files.exists(f"{root}/{'a' * 64}")
    assert targets.take_back(place, "# gone", listed, False).endswith("and a card says so")
    assert {Path(name).name for name in files.find(root)} == {"README.md", "revocations.json"}


def test_an_upload_that_broke_off_goes_on_where_it_was(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    put, sent = MemoryFileSystem.put_file, []

    def breaks(self: object, here: str, there: str, **how: object) -> None:
        if len(sent) == 2:
            raise ConnectionError("line cut")
        sent.append(there)
        put(self, here, there, **how)

    monkeypatch.setattr(MemoryFileSystem, "put_file", breaks)
    with pytest.raises(UserError, match="line cut; run the same command again"):
        send(package, "memory://broken")
    assert not fsspec.filesystem("memory").exists("/broken/latest.json")
    monkeypatch.setattr(MemoryFileSystem, "put_file", put)
    assert "1 files sent" in send(package, "memory://broken")


def test_a_url_that_nothing_knows_is_one_line(package: Path) -> None:
    with pytest.raises(UserError, match=r"gopher://x: .*\(publish.to\)"):
        send(package, "gopher://x")


# ---------------------------------------------------------------- the hub


def test_on_the_hub_the_gate_is_closed_before_anything_is_there(package: Path, hub: Hub) -> None:
    assert "published, gated, public" in send(package, f"hub:{NAME}")
    made = hub.repositories[NAME]
    assert made.gated == "manual" and not made.private
    assert set(made.files) == {".gitattributes", "README.md", "model.sig", "adapter_model.safetensors"}
    assert made.commits == ["initial commit", "Adapter " + "a" * 12]  # one commit for all files
    order = [kind for kind in hub.asked if kind in ("create", "settings", "upload", "commit")]
    assert order == ["create", "settings", "upload", "commit", "settings"]


def test_what_was_public_is_private_again_before_another_version_is_there(package: Path, hub: Hub) -> None:
    send(package, f"hub:{NAME}")
    made = hub.repositories[NAME]
    assert not made.private
    (package / "README.md").write_text("second", encoding="utf-8")
    seen: list[bool] = []
    hub.before["commit"] = lambda: seen.append(made.private)
    told = targets.upload(package, f"hub:{NAME}", "b" * 64, allowed, "manual", False)
    assert "gated, private" in told and made.private and seen == [True]


def test_an_earlier_version_leaves_no_history_and_no_bytes(package: Path, hub: Hub) -> None:
    send(package, f"hub:{NAME}")
    (package / "adapter_model.safetensors").write_bytes(b"others" * 100)
    (package / "model.sig").rename(package / "other.sig")
    send(package, f"hub:{NAME}", "c" * 64)
    made = hub.repositories[NAME]
    assert made.commits == ["Adapter " + "c" * 12] and list(made.large.values()) == [b"others" * 100]
    assert "model.sig" not in made.files


@pytest.mark.parametrize("where", ["preupload", "batch", "upload", "commit"])
def test_a_failed_upload_leaves_nothing_to_see_and_is_taken_up_again(package: Path, hub: Hub, where: str) -> None:
    hub.fail(where, *[503] * 60)
    with pytest.raises(UserError, match=r"out of order; run the same command later \(HTTP 503\)"):
        send(package, f"hub:{NAME}")
    made = hub.repositories[NAME]
    assert made.private and list(made.files) == [".gitattributes"]
    hub.failures.clear()
    hub.asked.clear()
    send(package, f"hub:{NAME}")
    assert hub.asked.count("upload") == (0 if where == "commit" else 1)  # what was sent is not sent again
    assert not made.private and len(made.files) == 4


def test_a_hub_that_is_busy_is_asked_again(package: Path, hub: Hub) -> None:
    hub.fail("create", 429)
    hub.fail("settings", 502)
    hub.fail("commit", 504)
    assert "published" in send(package, f"hub:{NAME}")
    assert hub.repositories[NAME].commits == ["initial commit", "Adapter " + "a" * 12]


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("create", 401, r"not logged in, or the token is no longer good; run: hf auth login \(HTTP 401\)"),
        ("settings", 403, r"this token may not write there; .* \(HTTP 403\)"),
        ("commit", 403, r"this token may not write there"),
        ("create", 429, r"too many requests; run the same command later"),
    ],
)
def test_a_hub_that_refuses_is_one_line(package: Path, hub: Hub, what: str, status: int, said: str) -> None:
    hub.fail(what, *[status] * 20)
    with pytest.raises(UserError, match=f"hub:{NAME}: {said}") as caught:
        send(package, f"hub:{NAME}")
    assert "\n" not in str(caught.value)
    assert all(repository.private for repository in hub.repositories.values())


def test_another_owners_name_and_a_wrong_token(package: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="may not write there"):
        send(package, "hub:them/tiny")
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    with pytest.raises(UserError, match="run: hf auth login"):
        send(package, f"hub:{NAME}")
    assert not hub.repositories


def test_taking_back_leaves_a_card_and_the_list_and_no_bytes(package: Path, hub: Hub, listed: Path) -> None:
    send(package, f"hub:{NAME}")
    assert "deleted and gated" in targets.take_back(f"hub:{NAME}", "# revoked", listed, False)
    made = hub.repositories[NAME]
    assert set(made.files) == {".gitattributes", "README.md", "revocations.json"}
    assert made.gated == "manual" and made.commits == ["Revoked"] and not made.large
    assert targets.take_back(f"hub:{NAME}", "", listed, True) == f"hub:{NAME}: deleted"
    assert not hub.repositories
    assert "nothing was there" in targets.take_back(f"hub:{NAME}", "", listed, False)


def test_what_is_open_stays_as_it_was_when_a_new_version_fails(package: Path, hub: Hub) -> None:
    send(package, f"hub:{NAME}")
    before = dict(hub.repositories[NAME].files)
    (package / "README.md").write_text("another", encoding="utf-8")
    hub.fail("commit", *[500] * 20)
    with pytest.raises(UserError, match="HTTP 500"):
        send(package, f"hub:{NAME}", "d" * 64)
    made: Repository = hub.repositories[NAME]
    assert made.files == before and not made.private
