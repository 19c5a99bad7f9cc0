"""Clip after clip: in one process, in several, or on other machines."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice

from rich.console import Console
from rich.progress import Progress

from collect.ledger import Ledger, open_ledger
from prepare import chain, parts
from prepare.chain import Ready, ready
from prepare.clip import Reject, Unread
from prepare.parts import Part
from recipes import records
from recipes.schema import Recipe

_BATCH = 16  # clips that a process takes at a time
_AHEAD = 2  # batches that wait for each process
_TOGETHER_S = 60.0  # of sound that is held at once, to be aligned together

Batch = list[tuple[str, records.Clip]]
Done = tuple[int, dict[str, str]]  # how many clips, and the reasons of those that could not be read


def finish(clips: Iterable[tuple[str, records.Clip]], count: int, recipe: Recipe) -> dict[str, str]:
    """Make the part of every clip, given by the name of its part. `count`: how many there are.

    Returns the reasons of those that could not be read, and have no part.
    """
    unread: dict[str, str] = {}
    if not count:
        return unread
    in_process = recipe.prepare.workers == 1 or count <= _BATCH
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("preparing", total=count)
        for done, found in (_one_by_one if in_process else _side_by_side)(batches(clips), recipe):
            unread |= found
            progress.advance(bar, done)
    return unread


def batches(clips: Iterable[tuple[str, records.Clip]]) -> Iterator[Batch]:
    """Some clips at a time."""
    left = iter(clips)
    while batch := list(islice(left, _BATCH)):
        yield batch


def _one_by_one(batches: Iterator[Batch], recipe: Recipe) -> Iterator[Done]:
    with open_ledger(recipe) as ledger:
        for batch in batches:
            yield len(batch), _work(batch, recipe, ledger)


def _side_by_side(batches: Iterator[Batch], recipe: Recipe) -> Iterator[Done]:
    """Fresh processes rather than forks: an open database and a network's threads do not survive a fork."""
    context = multiprocessing.get_context("spawn")
    count = recipe.prepare.workers
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(recipe,)) as pool:
        running = set[Future[Done]]()
        try:
            for batch in batches:
                running.add(pool.submit(_take, batch))
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
    return len(batch), _work(batch, _mine.recipe, _mine.ledger)


def _work(batch: Batch, recipe: Recipe, ledger: Ledger) -> dict[str, str]:
    unread, waiting = {}, dict[str, Ready]()
    together_s = _TOGETHER_S if recipe.prepare.align else 0.0
    for name, clip in batch:
        try:
            waiting[name] = ready(clip, ledger, recipe.prepare)
        except Unread as reason:
            unread[name] = str(reason)
        except Reject as reason:
            parts.save(recipe, name, Part(rejected=str(reason)))
        if sum(one.utterance.duration_s for one in waiting.values()) > together_s:
            _save(waiting, recipe)
            waiting.clear()
    _save(waiting, recipe)
    return unread


def _save(waiting: dict[str, Ready], recipe: Recipe) -> None:
    for name, outcome in zip(waiting, chain.finish(list(waiting.values()), recipe.prepare), strict=True):
        made = [one for one in outcome if not isinstance(one, str)]
        reasons = [one for one in outcome if isinstance(one, str)]
        if len(outcome) > 1:
            parts.save_pieces(recipe, name, made, reasons)
        elif made:
            finished, audio = made[0]
            parts.save(recipe, name, Part(finished=finished), audio)
        else:
            parts.save(recipe, name, Part(rejected=reasons[0]))
