"""One walk over the ledger: everything that the coverage report shows, counted and measured."""

from dataclasses import dataclass

from collect.booth import prompts
from collect.coverage import tally
from collect.coverage.conditions import Conditions
from collect.coverage.sounds import Ear, Sounds
from collect.coverage.tally import Consents, Tally, Voice
from collect.coverage.targets import Step, steps
from collect.ledger import Ledger
from recipes.schema import Recipe, UserError


@dataclass(frozen=True)
class Survey:
    """Everything that was counted and measured."""

    voices: list[Voice]
    closed: int  # clips that may not be used now
    closed_h: float
    untranscribed: int
    sounds: list[Sounds]
    conditions: Conditions
    consents: Consents
    steps: list[Step]


def survey(recipe: Recipe, ledger: Ledger) -> Survey:
    """One walk over the clips' rows, then a few clips' audio. Raises UserError when nothing may be looked at."""
    settings = recipe.collect.coverage
    asked = prompts.read(recipe.collect.record.prompts) if recipe.collect.record else {}
    count, ear, conditions = Tally(ledger), Ear(asked), Conditions(settings.measured_clips, recipe.seed)
    for clip in ledger.clips():
        if count.add(clip):
            ear.add(clip)
            conditions.add(clip)
    voices, closed = count.voices(), count.closed.total()
    if not voices:
        why = f"{closed} recordings, but no consent in force for any" if closed else "no recording yet"
        raise UserError(f"{recipe.folder('collect')}: {why}; nothing to look at (collect.ingest, collect.record)")
    conditions.measure(ledger)
    return Survey(
        voices=voices,
        closed=closed,
        closed_h=count.closed_h,
        untranscribed=ear.untranscribed,
        sounds=ear.sounds(),
        conditions=conditions,
        consents=tally.consents(ledger),
        steps=steps(settings.targets, voices),
    )
