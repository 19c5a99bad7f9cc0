"""Clip after clip: in one process, in several, or on other machines."""

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, track

from collect.ledger import Ledger, open_ledger
from prepare import chain, parts
from prepare.chain import Ready, Sounds, ready
from prepare.clip import Reject, Unread
from prepare.parts import Refusal
from recipes import records
from recipes.schema import Prepare, Recipe

_BATCH = 16  # clips that a process takes at a time
_AHEAD = 2  # batches that wait for each process
_TOGETHER_S = 60.0  # of sound that is held at once, to be aligned together

T = TypeVar("T")
Made = TypeVar("Made")
Batch = list[tuple[str, records.Clip]]
Keep = Callable[[Mapping[str, bytes]], None]
Done = tuple[int, dict[str, str]]  # how many clips, and the reasons of those that could not be read


def finish(clips: Iterable[tuple[str, records.Clip]], count: int, recipe: Recipe) -> dict[str, str]:
    """Make the part of every clip, given by the name of its part. `count`: how many there are.

    Returns the reasons of those that could not be read, and have no part.
    """
    unread: dict[str, str] = {}
    if not count:
        return unread
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("preparing", total=count)
        for done, found in _executor(recipe, count)(batches(clips, _BATCH), recipe):
            unread |= found
            progress.advance(bar, done)
    return unread


def _executor(recipe: Recipe, count: int) -> Callable[[Iterator[Batch], Recipe], Iterator[Done]]:
    if recipe.prepare.executor == "ray":
        from prepare.cluster import on_cluster

        return on_cluster
    return _one_by_one if recipe.prepare.workers == 1 or count <= _BATCH else _side_by_side


def spread(work: Callable[[list[T], Recipe], Made], todo: Sequence[T], recipe: Recipe, label: str) -> Iterator[Made]:
    """What `work`, a function of a module, makes of each batch: in this process, or in several in any order."""
    some = batches(todo, _BATCH)
    alone = recipe.prepare.workers == 1 or len(todo) <= _BATCH
    made = (work(batch, recipe) for batch in some) if alone else _pooled(partial(_with, recipe, work), some, recipe)
    yield from track(made, label, math.ceil(len(todo) / _BATCH), console=Console(stderr=True), disable=not todo)


def _with(recipe: Recipe, work: Callable[[list[T], Recipe], Made], batch: list[T]) -> Made:
    return work(batch, recipe)


def batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Some at a time."""
    left = iter(things)
    while batch := list(islice(left, size)):
        yield batch


def _one_by_one(batches: Iterator[Batch], recipe: Recipe) -> Iterator[Done]:
    with open_ledger(recipe) as ledger:
        for batch in batches:
            yield len(batch), work(batch, recipe.prepare, ledger, parts.store(recipe).write)


def _side_by_side(batches: Iterator[Batch], recipe: Recipe) -> Iterator[Done]:
    return _pooled(_take, batches, recipe)


def _pooled(work: Callable[[list[T]], Made], batches: Iterator[list[T]], recipe: Recipe) -> Iterator[Made]:
    """Fresh processes rather than forks: an open database and a network's threads do not survive a fork."""
    context = multiprocessing.get_context("spawn")
    count = recipe.prepare.workers
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(recipe,)) as pool:
        running = set[Future[Made]]()
        try:
            for batch in batches:
                running.add(pool.submit(work, batch))
                if len(running) >= count * (1 + _AHEAD):
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (job.result() for job in done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (job.result() for job in done)
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass
class _Mine:
    """What a process of the pool keeps open from its first batch to its last."""

    recipe: Recipe
    ledger: Ledger
    stack: ExitStack


_mine: _Mine


def _begin(recipe: Recipe) -> None:
    """A process of the pool leaves Ctrl-C to its parent, and does not outlive it."""
    global _mine
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    stack = ExitStack()
    _mine = _Mine(recipe, stack.enter_context(open_ledger(recipe)), stack)


def _take(batch: Batch) -> Done:
    return len(batch), work(batch, _mine.recipe.prepare, _mine.ledger, parts.store(_mine.recipe).write)


def work(batch: Batch, settings: Prepare, sounds: Sounds, keep: Keep) -> dict[str, str]:
    """Do the steps. Hands each part to `keep` as a file; returns the reasons of clips that could not be read."""
    unread, waiting = {}, dict[str, Ready]()
    together_s = _TOGETHER_S if settings.align else 0.0
    for name, clip in batch:
        try:
            waiting[name] = ready(clip, sounds, settings)
        except Unread as reason:
            unread[name] = str(reason)
        except Reject as reason:
            keep(parts.files(name, [], [Refusal(reason=str(reason), quality=reason.quality)]))
        if sum(one.utterance.duration_s for one in waiting.values()) > together_s:
            _end(waiting, settings, keep)
            waiting.clear()
    _end(waiting, settings, keep)
    return unread


def _end(waiting: dict[str, Ready], settings: Prepare, keep: Keep) -> None:
    for name, outcome in zip(waiting, chain.finish(list(waiting.values()), settings), strict=True):
        made = [one for one in outcome if not isinstance(one, Refusal)]
        keep(parts.files(name, made, [one for one in outcome if isinstance(one, Refusal)]))
