"""Measure base, adapter and recordings on unseen sentences: `python -m evaluate RECIPE [key.path=value ...]`."""

import sys

from evaluate import objective, report, results, stimuli, systems
from evaluate.statistics import Figure
from recipes.command import run
from recipes.schema import Recipe


def main(recipe: Recipe) -> None:
    wanted, left_out = systems.items(recipe)
    names = systems.compared(recipe)
    rendered = [one for name in names for one in systems.render(recipe, name, wanted)]
    measured = objective.measure(recipe, rendered)
    figures = {"validation loss": objective.validation_losses(recipe, names)}
    figures |= objective.figures(recipe, measured)
    if not recipe.train.recognises:
        stimuli.make(recipe, rendered)
    results.write(recipe, results.Results(len(wanted), left_out, figures, measured))
    page = report.write(recipe)
    summarise(recipe, figures, len(wanted), left_out)
    print(f"report: {page}")
    if not recipe.train.recognises:
        print(f"listen: python -m evaluate.listen {sys.argv[1] if len(sys.argv) > 1 else 'RECIPE'}")


def summarise(recipe: Recipe, figures: dict[str, dict[str, Figure | None]], items: int, left_out: int) -> None:
    """Every figure with its 95 % interval, and the difference that matters last."""
    print(f"{items} unseen sentences; {left_out} left out because training had them")
    for metric, by_system in figures.items():
        print(metric)
        for system, figure in by_system.items():
            print(f"  {system:<15} {figure if figure else 'nothing to measure'}")


if __name__ == "__main__":
    run(main, __doc__ or "")
