"""Clip after clip, in one process or in several."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

from rich.console import Console
from rich.progress import track

from collect.ledger import open_ledger
from prepare import chain, parts
from prepare.chain import Ready, ready
from prepare.clip import Reject, Unread
from prepare.parts import Part, Refusal
from recipes import records
from recipes.schema import Recipe

_BATCH = 16  # clips that a process takes at a time
_TOGETHER_S = 60.0  # of sound that is held at once, to be aligned together

Batch = list[tuple[str, records.Clip]]


def finish(clips: dict[str, records.Clip], recipe: Recipe) -> dict[str, str]:
    """Make the part of every clip that has none yet. `clips`: by the name of their part.

    Returns the reasons of those that could not be read, and have no part.
    """
    todo = [(name, clip) for name, clip in clips.items() if parts.utterances(recipe, name) is None]
    batches = [todo[at : at + _BATCH] for at in range(0, len(todo), _BATCH)]
    done = _side_by_side if recipe.prepare.workers > 1 and len(batches) > 1 else _one_by_one
    steps = done(batches, recipe)
    unread: dict[str, str] = {}
    for found in track(steps, "preparing", len(batches), console=Console(stderr=True), disable=not todo):
        unread |= found
    return unread


def _one_by_one(batches: list[Batch], recipe: Recipe) -> Iterator[dict[str, str]]:
    for batch in batches:
        yield _work(batch, recipe)


def _side_by_side(batches: list[Batch], recipe: Recipe) -> Iterator[dict[str, str]]:
    """Fresh processes rather than forks: an open database and a network's threads do not survive a fork."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(recipe.prepare.workers, mp_context=context, initializer=_end_with_parent)
    try:
        for job in as_completed([pool.submit(_work, batch, recipe) for batch in batches]):
            yield job.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """A worker leaves Ctrl-C to its parent, and does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(batch: Batch, recipe: Recipe) -> dict[str, str]:
    unread, waiting = {}, dict[str, Ready]()
    together_s = _TOGETHER_S if recipe.prepare.align else 0.0
    with open_ledger(recipe) as ledger:
        for name, clip in batch:
            try:
                waiting[name] = ready(clip, ledger, recipe.prepare)
            except Unread as reason:
                unread[name] = str(reason)
            except Reject as reason:
                refused = Refusal(reason=str(reason), quality=reason.quality)
                parts.save(recipe, name, Part(rejected=refused))
            if sum(one.utterance.duration_s for one in waiting.values()) > together_s:
                _save(waiting, recipe)
                waiting.clear()
    _save(waiting, recipe)
    return unread


def _save(waiting: dict[str, Ready], recipe: Recipe) -> None:
    for name, outcome in zip(waiting, chain.finish(list(waiting.values()), recipe.prepare), strict=True):
        made = [one for one in outcome if not isinstance(one, Refusal)]
        refused = [one for one in outcome if isinstance(one, Refusal)]
        if len(outcome) > 1:
            parts.save_pieces(recipe, name, made, refused)
        elif made:
            finished, audio = made[0]
            parts.save(recipe, name, Part(finished=finished), audio)
        else:
            parts.save(recipe, name, Part(rejected=refused[0]))
