"""`prepare.executor: ray`: the same steps on other machines, which get sound and nothing to open more with."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from collect import ingest
from collect.keys import key_folder
from collect.ledger import open_ledger
from prepare import cluster, dataset, parts
from prepare.__main__ import main
from recipes.schema import Recipe, UserError, load
from tests.babble import babble
from tests.conftest import ROOT, needs
from tests.test_prepare import CORPUS, SENTENCES, finished


def corpus(folder: Path, clips: int) -> Path:
    """A recipe whose ledger holds so many clips, by two speakers."""
    (folder / "recordings").mkdir(parents=True)
    table = ["file,text,speaker"]
    for number in range(clips):
        sound = babble(1 + number % 3, pitch_hz=100 + 0.5 * number)
        soundfile.write(folder / "recordings" / f"{number}.wav", sound, 16_000)
        text = " ".join(SENTENCES[(number >> bit) % 6] for bit in range(3))
        table.append(f"{number}.wav,{text},{'amina' if number % 2 else 'brahim'}")
    (folder / "recordings" / "metadata.csv").write_text("\n".join(table), encoding="utf-8")
    (folder / "corpus.yaml").write_text(CORPUS, encoding="utf-8")
    assert ingest.main(load(folder / "corpus.yaml")) == 0
    return folder / "corpus.yaml"


@pytest.fixture
def few(tmp_path: Path) -> Recipe:
    return load(corpus(tmp_path, 4))


def batch(recipe: Recipe) -> cluster.Batch:
    name = parts.namer(recipe)
    with open_ledger(recipe) as ledger:
        return [(name(clip), clip) for clip in ledger.clips()]


# ---------------------------------------------------------------- what another machine gets


def test_a_machine_gets_sound_and_no_keys(few: Recipe) -> None:
    with open_ledger(few) as ledger:
        sent, unread = cluster.send(batch(few), ledger, few)
        key = ledger.keys._master
    assert len(sent.flac) == 4 and unread == {}
    shipped = pickle.dumps(sent)
    assert key not in shipped and b"ledger.sqlite" not in shipped and str(key_folder(few)).encode() not in shipped


def test_what_its_speaker_does_not_allow_is_not_sent(few: Recipe) -> None:
    clips = batch(few)
    with open_ledger(few) as ledger:
        (event,) = ledger.consents("amina")
        gone = {"state": "withdrawn", "purposes": [], "at": ledger.now(), "recorded": None}
        ledger.record(type(event).model_validate(event.model_dump() | gone))
        sent, unread = cluster.send(clips, ledger, few)
    assert {clip.speaker for _, clip in sent.batch} == {"brahim"}
    assert len(sent.flac) == 2 and len(unread) == 2
    assert all("consent of amina does not cover asr_train" in reason for reason in unread.values())


def test_its_parts_are_those_made_here(few: Recipe) -> None:
    assert main(few) == 0
    with open_ledger(few) as ledger:
        sent, _ = cluster.send(batch(few), ledger, few)
    came = cluster.prepare_batch(pickle.loads(pickle.dumps(sent)))
    assert came.files == parts.store(few).read(came.files) and len(came.files) == 4


def test_with_a_place_in_common_parts_do_not_come_back(few: Recipe, tmp_path: Path) -> None:
    shared = few.model_copy(update={"prepare": few.prepare.model_copy(update={"parts": f"file://{tmp_path}/shared"})})
    with open_ledger(shared) as ledger:
        sent, _ = cluster.send(batch(shared), ledger, shared)
    assert cluster.prepare_batch(sent).files == {}
    assert sorted(parts.store(shared).names()) == sorted(name for name, _ in sent.batch)


def test_a_machine_with_other_versions_prepares_nothing(few: Recipe) -> None:
    sent = cluster.Sent([], {}, few.prepare, "another digest", None)
    assert "other versions" in str(cluster.prepare_batch(sent).fault)


def test_no_recipe_and_nothing_of_a_work_folder_is_sent_along(tmp_path: Path) -> None:
    cluster._code_into(tmp_path)
    kinds = {path.suffix for path in (tmp_path / "recipes").rglob("*")}
    assert kinds == {".py"} and {path.name for path in tmp_path.iterdir()} == {"collect", "prepare", "recipes"}
    code = "from prepare import cluster, parts; print(parts.code())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == parts.code(), done.stderr


def test_without_ray_the_command_that_installs_it_is_named(few: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    asked = few.model_copy(update={"prepare": few.prepare.model_copy(update={"executor": "ray"})})
    with pytest.raises(UserError, match=r"prepare\.executor: ray is not installed: pip install ray"):
        main(asked)


# ---------------------------------------------------------------- on a real cluster of two machines


class Node:
    """A machine of the cluster: its processes are a group of their own."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", *arguments]
        command += ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--disable-usage-stats"]
        self._started = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def at_work(self) -> bool:
        """Whether it prepares a batch at this moment."""
        return any("ray::prepare_batch" in title for title in self._processes().values())

    def kill(self) -> None:
        """As when the power goes."""
        for process in [self._started.pid, *self._processes()]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._started.wait()

    def _processes(self) -> dict[int, str]:
        """Everything that it started, by number, with its title."""
        parents, titles = dict[int, int](), dict[int, str]()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                titles[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        mine = {self._started.pid}
        while more := {child for child, parent in parents.items() if parent in mine} - mine:
            mine |= more
        return {process: titles.get(process, "") for process in mine - {self._started.pid}}


@pytest.fixture
def nodes(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Node, Node]]:
    """Two machines with one core each, on this one; the first is where the command runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    folder = f"/tmp/ray-{os.getpid()}"  # a socket's path may have 107 letters
    port = address.split(":")[1]
    head = Node("--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false")
    monkeypatch.setenv("RAY_ADDRESS", address)
    wait_for(address, 1)
    other = Node(f"--address={address}")
    wait_for(address, 2)
    yield head, other
    other.kill()
    head.kill()


def wait_for(address: str, count: int) -> None:
    """Until the cluster has so many cores."""
    code = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False); print(ray.cluster_resources()['CPU'])"
    for _ in range(60):
        done = subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True)
        if done.stdout.strip() == f"{count}.0":
            return
        time.sleep(1)
    pytest.fail(f"no cluster of {count}: {done.stderr[-2000:]}")


@pytest.mark.slow
@needs("ray")
@pytest.mark.parametrize("shared", [False, True], ids=["parts come back", "parts in a place in common"])
def test_a_machine_that_is_lost_half_way_changes_nothing(
    nodes: tuple[Node, Node], tmp_path: Path, shared: bool
) -> None:
    recipe = corpus(tmp_path, 240)
    assert main(load(recipe)) == 0
    alone = dataset.dataset_hash(load(recipe))
    os.rename(tmp_path / "work" / "prepare", tmp_path / "alone")
    overrides = ["prepare.executor=ray", *([f"prepare.parts=file://{tmp_path}/shared"] if shared else [])]
    command = [sys.executable, "-m", "prepare", str(recipe), *overrides]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    store = parts.store(load(recipe, overrides))
    while running.poll() is None and not (len(list(store.names())) >= 48 and nodes[1].at_work()):
        time.sleep(0.01)
    done = len(list(store.names()))
    nodes[1].kill()
    out, error = running.communicate(timeout=600)
    assert running.returncode == 0, error
    assert 48 <= done < 240 and "240 utterances" in out
    assert dataset.dataset_hash(load(recipe)) == alone
    assert dataset.verify(load(recipe)) == []


@pytest.mark.slow
@needs("ray")
def test_without_a_cluster_the_command_that_starts_one_is_named(few: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    asked = few.model_copy(update={"prepare": few.prepare.model_copy(update={"executor": "ray"})})
    with pytest.raises(UserError, match=r"no Ray cluster .* ray start --head"):
        main(asked)
    assert finished(few) == {}
