"""What has been recorded, and what to record next: `python -m collect.coverage RECIPE`.

Prints a table and writes `collect/coverage.html`: hours and speakers by language, dialect, gender, age band and
purpose, letters and letter pairs, recording conditions, consents that end soon, and the way to the recipe's targets.
"""

from rich.console import Console
from rich.table import Table

from collect.coverage import page as coverage_page
from collect.coverage import tally
from collect.coverage.conditions import Conditions, quantile
from collect.coverage.sounds import Sounds
from collect.coverage.survey import Survey, survey
from collect.coverage.tally import Group, Voice, allowing, hours, people
from collect.coverage.targets import language_name, sentence, span
from collect.ledger import ledger_exists, open_ledger
from recipes.command import run
from recipes.provenance import write_text
from recipes.records import PURPOSES, Purpose
from recipes.schema import Recipe, UserError

_PIPED = 160  # columns, where the output is no terminal that says how wide it is


def main(recipe: Recipe) -> None:
    if not ledger_exists(recipe):
        raise UserError(f"{recipe.folder('collect')}: no ledger yet; run collect.ingest or collect.record first")
    with open_ledger(recipe) as ledger:
        found = survey(recipe, ledger)
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, _PIPED))
    console.print(table(console, recipe, found.voices))
    print("\n".join([*summary(found), "", *next_steps(recipe, found)]))
    path = recipe.folder("collect") / "coverage.html"
    write_text(path, coverage_page.render(recipe, found))
    print(f"page with plots: {path}")


# ---------------------------------------------------------------- on the terminal


def table(console: Console, recipe: Recipe, voices: list[Voice]) -> Table:
    """Hours and speakers by group, in all and by purpose; where that is too wide, by the recipe's purposes alone."""
    found = tally.groups(voices)
    given = [purpose for purpose in PURPOSES[1:] if allowing(voices, purpose)]
    whole = _table(found, given)
    if console.measure(whole, options=console.options.update(max_width=10_000)).maximum <= console.width:
        return whole
    named = {recipe.prepare.purpose, *(target.purpose for target in recipe.collect.coverage.targets)}
    shown = [purpose for purpose in given if purpose in named]
    return _table(found, shown, f"{len(given) - len(shown)} other purposes: in a wider window, or on the page")


def _table(found: list[Group], purposes: list[Purpose], caption: str | None = None) -> Table:
    drawn = Table(
        title="hours/speakers", title_justify="left", caption=caption, caption_justify="left", pad_edge=False
    )
    facts = [fact for fact in ("dialect", "gender", "age_band") if {getattr(group, fact) for group in found} != _NO]
    for heading in ("language", *(fact.replace("_", " ") for fact in facts)):
        drawn.add_column(heading)
    for heading in ("all", *(purpose.replace("_", "\n") for purpose in purposes)):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for group in found:
        cells = [_cell(group.voices), *(_cell(allowing(group.voices, purpose)) for purpose in purposes)]
        drawn.add_row(group.language, *(getattr(group, fact) for fact in facts), *cells)
    return drawn


_NO = {tally.NOT_GIVEN}


def _cell(voices: list[Voice] | tuple[Voice, ...]) -> str:
    return f"{hours(voices):.2f}/{people(voices)}" if voices else "-"


def summary(found: Survey) -> list[str]:
    """What else there is to know, a line each."""
    lines = [
        f"{sum(v.clips for v in found.voices)} recordings, {span(hours(found.voices))}, {_speakers(found.voices)}"
    ]
    if found.closed:
        lines.append(f"not counted: {found.closed} recordings, {span(found.closed_h)}: no consent in force")
    if found.untranscribed:
        lines.append(f"{found.untranscribed} recordings have no transcript yet")
    lines += [_sounds(sounds) for sounds in found.sounds]
    lines += [_conditions(found.conditions)]
    lines.append("consents: " + ", ".join(f"{n} {state}" for state, n in found.consents.states.most_common()))
    for one in found.consents.ending:
        why = f"{'the speaker turns 18' if one.turns_18 else 'it expires'} on {one.day}"
        lines.append(
            f"  {one.speaker}: {why}; {'may be asked again' if one.recontact else 'did not allow recontact'}"
        )
    if found.consents.pending:
        lines.append(f"withdrawals: {found.consents.pending} tasks pending (collect.withdraw RECIPE status)")
    return lines


def _speakers(voices: list[Voice]) -> str:
    count, made = people(voices), len({voice.speaker for voice in voices if voice.synthetic})
    said = [f"{count} speaker" + ("" if count == 1 else "s")] if count or not made else []
    if made:
        said.append(f"{made} synthetic voice" + ("" if made == 1 else "s") + " (towards no target)")
    return " and ".join(said)


def _sounds(sounds: Sounds) -> str:
    there = sum(map(bool, sounds.letters.values()))
    said = f"{language_name(sounds.language)}: {there} of {len(sounds.letters)} letters, {sounds.pairs} "
    said += f"of the prompts' {sounds.pairs_wanted} letter pairs" if sounds.prompts else "letter pairs"
    said += f"; never: {' '.join(sounds.never)}" if sounds.never else ""
    return said + (f"; rare: {' '.join(sounds.rare)}" if sounds.rare else "")


def _conditions(found: Conditions) -> str:
    rates = ", ".join(f"{n} at {rate_hz / 1000:g} kHz" for rate_hz, n in found.rates.most_common(4))
    if not found.heard:
        return f"recordings: {rates}; none measured"
    median = quantile([one.level_db - one.noise_db for one in found.heard], 0.5)
    doubts = ", ".join(
        f"{name} {count} ({low:.0%} to {high:.0%} of all)"
        for name, doubt in (("clipped", "clipped"), ("too quiet", "too_quiet"), ("too noisy", "too_noisy"))
        for count, low, high in [found.share(doubt)]
    )
    unheard = "".join(f"; {n} not opened: {why}" for why, n in found.unheard.items())
    return f"recordings: {rates}; of {len(found.heard)} measured: {doubts}, median SNR {median:.0f} dB{unheard}"


def next_steps(recipe: Recipe, found: Survey) -> list[str]:
    """What to record next, the most urgent first."""
    lines = (
        ["to record next:"]
        if found.steps
        else ["to record next: no targets in the recipe (collect.coverage.targets)"]
    )
    lines += [f"  {sentence(step)}" for step in found.steps]
    for sounds in found.sounds:
        lines += [f"  a prompt in {language_name(sounds.language)}: {one.text}" for one in sounds.suggestions[:3]]
    return lines


if __name__ == "__main__":
    run(main, __doc__ or "")
