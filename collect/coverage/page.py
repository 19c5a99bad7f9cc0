"""The coverage page: one HTML file that opens offline and names no speaker."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from collect.booth.hearing import NOISY_DB, QUIET_DB
from collect.coverage import drawings
from collect.coverage.conditions import Conditions
from collect.coverage.sounds import RARE
from collect.coverage.survey import Survey
from collect.coverage.tally import NOT_GIVEN, TOGETHER, Group, Voice, allowing, groups, hours, people
from collect.coverage.targets import language_name, sentence, span
from recipes.records import PURPOSES, AgeBand, Language, Purpose
from recipes.schema import Recipe
from web import offline
from web.page import direction

_PAGES = Path(__file__).parent
_AGES: tuple[str, ...] = get_args(AgeBand)


def render(recipe: Recipe, found: Survey) -> str:
    """The page as HTML. Groups of fewer than `collect.coverage.min_speakers` people are in it only together."""
    fewest = recipe.collect.coverage.min_speakers
    shown = groups(found.voices, fewest)
    return offline.render(
        _PAGES,
        "coverage.html",
        name=recipe.name,
        today=datetime.now(UTC).date(),
        found=found,
        fewest=fewest,
        rare=RARE,
        recordings=sum(voice.clips for voice in found.voices),
        hours=hours(found.voices),
        speakers=people(found.voices),
        synthetic=len({voice.speaker for voice in found.voices if voice.synthetic}),
        no_facts=people(v for v in found.voices if "profile_data" not in v.purposes),
        purposes=[purpose for purpose in PURPOSES[1:] if allowing(found.voices, purpose)],
        tables={language: [group for group in shown if group.language == language] for language in _languages(shown)},
        plots=plots(shown, fewest),
        sound_plots=sound_plots(found.conditions),
        figures=figures(found.conditions),
        steps=[(step, sentence(step, fewest)) for step in found.steps],
        turning_18=sum(one.turns_18 for one in found.consents.ending),
        cell=cell,
        label=label,
        language_name=language_name,
        direction=direction,
        span=span,
    )


def cell(voices: Sequence[Voice], fewest: int, purpose: Purpose | None = None) -> tuple[str, str]:
    """Hours and speakers for a table, of all or of those for a purpose; of too few people, neither."""
    part = allowing(voices, purpose) if purpose else voices
    count = people(part)
    if not part:
        return "–", ""
    if purpose and 0 < count < fewest:
        return "·", f"< {fewest}"
    return f"{hours(part):.2f}", str(count) if count else "synthetic"


def label(group: Group, rows: Sequence[Group]) -> list[str]:
    """What a row of a language's table is called: its facts, without those that no row of it has."""
    facts = ("dialect", "gender", "age_band")
    told = [getattr(group, fact) for fact in facts if {getattr(row, fact) for row in rows} != {NOT_GIVEN}]
    return ["all together"] if len(rows) == 1 and set(told) <= {TOGETHER} else list(dict.fromkeys(told))


def _languages(shown: Sequence[Group]) -> list[Language]:
    return list(dict.fromkeys(group.language for group in shown))


# ---------------------------------------------------------------- plots


def plots(shown: Sequence[Group], fewest: int) -> list[str]:
    """Hours by purpose, and by age and gender in each language: sums of what the table shows, of nothing else."""
    by_purpose: dict[str, dict[str, float]] = {}
    for language in _languages(shown):
        for purpose in PURPOSES:
            parts = [allowing(group.voices, purpose) for group in shown if group.language == language]
            told = [hours(part) for part in parts if part and not 0 < people(part) < fewest]
            if told:
                by_purpose.setdefault(purpose, {})[language_name(language)] = sum(told)
    ordered = {str(purpose): by_purpose[purpose] for purpose in PURPOSES if purpose in by_purpose}
    drawn = [drawings.stacked("What may be used for what", ordered, "hours")] if ordered else []
    for language in _languages(shown):
        ages = _ages([group for group in shown if group.language == language])
        if len(ages) > 1:
            drawn.append(drawings.stacked(f"{language_name(language)}: age and gender", ages, "hours"))
    return drawn


def _ages(shown: Sequence[Group]) -> Mapping[str, Mapping[str, float]]:
    """Hours by age band, then by gender."""
    found: dict[str, dict[str, float]] = {}
    order = (*_AGES, TOGETHER, NOT_GIVEN)
    for group in sorted(shown, key=lambda group: order.index(group.age_band)):
        row = found.setdefault(group.age_band, {})
        row[group.gender] = row.get(group.gender, 0.0) + hours(group.voices)
    return found


def sound_plots(conditions: Conditions) -> list[str]:
    """Durations of all recordings; level and noise of those that were measured."""
    drawn = [drawings.lengths("Duration", conditions.lengths)]
    if conditions.heard:
        noise = [one.level_db - one.noise_db for one in conditions.heard]
        drawn.append(drawings.histogram("Speech over noise", noise, "dB", NOISY_DB))
        drawn.append(
            drawings.histogram("Level of speech", [one.level_db for one in conditions.heard], "dBFS", QUIET_DB)
        )
    return drawn


def figures(conditions: Conditions) -> list[dict[str, Any]]:
    """What was measured, a row each: how many of how many, and the interval of the share among all."""
    rows = []
    for doubt, said in (
        ("clipped", "clipped: the loudest parts are cut off"),
        ("too_quiet", f"too quiet: speech below {QUIET_DB:g} dB of full scale"),
        ("too_noisy", f"too noisy: speech less than {NOISY_DB:g} dB over the pauses"),
    ):
        count, low, high = conditions.share(doubt)
        rows.append({"said": said, "count": count, "n": len(conditions.heard), "low": low, "high": high})
    return rows if conditions.heard else []
