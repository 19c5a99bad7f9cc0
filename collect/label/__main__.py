"""Transcription by people, in Label Studio: `python -m collect.label RECIPE push|pull|status|serve`.

push: tasks for clips with consent; what was withdrawn is deleted there. pull: transcripts into the ledger.
status: how many, and how far annotators agree. serve: the audio that annotators hear, while they work.
"""

import argparse

from collect.label import agreement, audio, drafts, task
from collect.label.pull import pull
from collect.label.push import Pushed, push
from collect.label.server import Project, address, alone, open_project
from collect.label.status import report
from collect.ledger import Ledger, ledger_exists, open_ledger
from recipes.command import next_command, run
from recipes.records import LANGUAGES
from recipes.schema import Recipe, UserError
from web.serve import door, serve


def main(recipe: Recipe, arguments: argparse.Namespace) -> None:
    if not ledger_exists(recipe):
        raise UserError("there is no ledger yet; run: python -m collect.ingest RECIPE")
    actions = {"push": send, "pull": fetch, "status": report, "serve": answer}
    with open_ledger(recipe) as ledger:
        actions[arguments.action](recipe, ledger)


def send(recipe: Recipe, ledger: Ledger) -> None:
    """Push, and say what was done."""
    settings = recipe.collect.label
    source = drafts.source(settings, ledger)
    with alone(recipe), open_project(recipe, form(recipe, ledger)) as project:
        done = push(project, ledger, settings, source)
    print(f"{done.added} tasks new, {done.there} in all: {project.url}")
    if done.without_draft and settings.drafts != "none":
        print(f"{done.without_draft} of the new ones have no draft")
    if done.renewed:
        print(f"{done.renewed} tasks got a new link or draft")
    tell_withdrawn(done, project)
    print(next_command("collect.label", then="serve" if settings.audio == "signed" else "pull"))


def tell_withdrawn(done: Pushed, project: Project) -> None:
    """What a push deleted, and what it could not look at."""
    if done.deleted or done.closed:
        print(f"{done.deleted} tasks of withdrawn clips deleted; {done.closed} withdrawal tasks closed")
        if done.exports is None:
            print("exports may hold them still: delete them on the server's disk, or give collect.label.data_dir")
        else:
            print(f"{done.exports} exports deleted from the server's disk")
    if done.unknown:
        print(f"{done.unknown} tasks are of clips that this ledger does not know; they were left alone")


def fetch(recipe: Recipe, ledger: Ledger) -> None:
    """Pull, and say what came."""
    settings = recipe.collect.label
    with alone(recipe), open_project(recipe) as project:
        done = pull(project, ledger, settings, recipe)
    print(f"{done.read} tasks changed: {done.new} transcripts new, {done.changed} changed, {done.removed} taken back")
    if done.forbidden:
        print(f"{done.forbidden} annotations of clips that may no longer be used: not taken; push deletes them")
    counts = ", ".join(f"{done.verdicts[verdict]} {verdict}" for verdict in agreement.VERDICTS)
    print(f"clips: {counts}; {done.amended} amended in the ledger")
    print(next_command("collect.label", then="status"))


def answer(recipe: Recipe, ledger: Ledger) -> None:
    """Let annotators hear, until stopped."""
    settings = recipe.collect.label
    with door(settings.host, settings.port, "give another collect.label.port and audio_url") as listening:
        print(f"audio for {address(settings)} at {settings.audio_url}   (Ctrl-C ends it)", flush=True)
        serve(audio.application(settings, ledger), listening)


def form(recipe: Recipe, ledger: Ledger) -> str:
    """The labelling configuration, with the languages of the clips, each in all its scripts."""
    settings = recipe.collect.label
    spoken = {clip.language.split("-")[0] for clip in ledger.clips()}
    if settings.languages is not None:
        spoken = {tag.split("-")[0] for tag in settings.languages}
    if not spoken:
        raise UserError("the ledger holds no clip yet; run: python -m collect.ingest RECIPE")
    return task.form([tag for tag in LANGUAGES if tag.split("-")[0] in spoken], settings.dialects)


if __name__ == "__main__":
    run(main, __doc__ or "", actions=("push", "pull", "status", "serve"))
