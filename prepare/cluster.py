"""The steps on the machines of a Ray cluster.

Consents and keys stay here, where the command runs: it asks the ledger for each clip, opens its sound, and sends
that. The others get sound, transcripts and settings, and give parts back; they need no ledger, no keys and no disk
in common.
"""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collect.ledger import Ledger, decode, open_ledger
from prepare import parts
from prepare.store import Remote, Store
from prepare.workers import Batch, Done, work
from recipes import records
from recipes.records import Purpose
from recipes.schema import Prepare, Recipe, UserError

_AHEAD = 2  # batches that wait for each core of the cluster: their sound is in its memory
_TRIES = 5  # machines that may be lost under one batch
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Sent:
    """What a machine of the cluster gets: clips by the names of their parts, and the sound of those by their ids."""

    batch: Batch
    flac: dict[str, bytes]
    settings: Prepare
    code: str  # digest of what decides a clip's part
    store: Store | None  # None: parts come back

    def audio(self, clip: records.Clip, purpose: Purpose) -> tuple[NDArray[np.float32], int]:
        """As the ledger's: the sender has asked it for this purpose."""
        return decode(self.flac[clip.id])


@dataclass(frozen=True)
class Came:
    """What comes back: parts as files, unless they were stored; reasons of clips that could not be read."""

    files: dict[str, bytes]
    unread: dict[str, str]
    fault: str | None = None


def on_cluster(batches: Iterator[Batch], recipe: Recipe) -> Iterator[Done]:
    """Have batches prepared, and keep their parts: how many clips are done, and reasons of those not read.

    A batch whose machine is lost is prepared by another one. Raises UserError without a cluster, or where one
    of its machines would prepare clips in another way than this one.
    """
    kept = parts.store(recipe)
    with _connected() as ray, open_ledger(recipe) as ledger:
        task = ray.remote(num_cpus=1, max_retries=_TRIES)(prepare_batch)
        running: dict[Any, int] = {}
        for batch in batches:
            sent, unread = send(batch, ledger, recipe)
            running[task.remote(sent)] = len(batch)
            yield 0, unread
            while len(running) >= _at_once(ray):
                yield _next(ray, running, kept)
        while running:
            yield _next(ray, running, kept)


def send(batch: Batch, ledger: Ledger, recipe: Recipe) -> tuple[Sent, dict[str, str]]:
    """A batch with its sound; without the clips that cannot be read, whose reasons are returned."""
    flac, unread = dict[str, bytes](), dict[str, str]()
    for name, clip in batch:
        try:
            flac[clip.id] = ledger.flac(clip, recipe.prepare.purpose)
        except UserError as error:
            unread[name] = f"audio cannot be read: {error}"
    kept = parts.store(recipe)
    readable = [(name, clip) for name, clip in batch if clip.id in flac]
    store = kept if isinstance(kept, Remote) else None
    return Sent(readable, flac, recipe.prepare, parts.code(), store), unread


def prepare_batch(sent: Sent) -> Came:
    """Do the steps, on a machine of the cluster."""
    if parts.code() != sent.code:
        return Came({}, {}, "has other versions of the steps or of the libraries under them than this machine")
    files: dict[str, bytes] = {}
    unread = work(sent.batch, sent.settings, sent, files.update)
    if sent.store:
        sent.store.write(files)
        files = {}
    return Came(files, unread)


def _next(ray: Any, running: dict[Any, int], kept: Store) -> Done:
    """Wait for a batch and keep its parts."""
    (done, *_), _ = ray.wait(list(running), num_returns=1)
    count = running.pop(done)
    try:
        came: Came = ray.get(done)
    except ray.exceptions.RayTaskError as error:  # of our own code, there
        raise error.as_instanceof_cause() from None
    except ray.exceptions.RayError as error:
        raise UserError(f"Ray: {' '.join(str(error).split())[:200]}; run the same command again") from None
    if came.fault:
        raise UserError(f"a machine of the Ray cluster {came.fault}: install the same requirements.lock on all")
    kept.write(came.files)
    return count, came.unread


def _at_once(ray: Any) -> int:
    """How many batches may be on their way, with the machines that there are now."""
    return (1 + _AHEAD) * max(1, int(ray.cluster_resources().get("CPU", 1)))


@contextmanager
def _connected() -> Iterator[Any]:
    try:
        import ray
    except ImportError:
        raise UserError("prepare.executor: ray is not installed: pip install ray==2.60.0, on every machine") from None
    with tempfile.TemporaryDirectory() as folder:
        _code_into(Path(folder))
        try:
            env = {"working_dir": folder}
            ray.init("auto", runtime_env=env, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ray.exceptions.RaySystemError) as error:
            cause = " ".join(str(error).split())[:200]
            raise UserError(f"no Ray cluster ({cause}); start one: ray start --head, or set RAY_ADDRESS") from None
        try:
            yield ray
        finally:
            ray.shutdown()


def _code_into(folder: Path) -> None:
    """Copy the code that runs on the cluster, and nothing else of this folder: work and keys may lie in it."""
    for stage in ("collect", "prepare"):
        shutil.copytree(_ROOT / stage, folder / stage, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "recipes").mkdir()
    for path in (_ROOT / "recipes").glob("*.py"):
        shutil.copy(path, folder / "recipes")
