"""Let every system say (or hear) unseen sentences, and measure how: `python -m evaluate RECIPE [key=value]`."""

from evaluate import feedback, gates, objective, report, results, stimuli, systems, uses, versa
from evaluate.metrics import metric_of
from recipes.command import next_command, run
from recipes.schema import Recipe


def main(recipe: Recipe) -> None:
    versa.command(recipe)  # what is not installed is said before anything is rendered
    wanted, left_out = systems.items(recipe)
    systems.forget(recipe)
    rendered, unspoken = systems.render_all(recipe, wanted)
    measured, unheard = objective.measure(recipe, rendered)
    losses, unmeasured = objective.validation_losses(recipe)
    voices, unasked = objective.similarities(recipe, rendered)
    others, unscored = versa.measure(recipe, rendered)
    figures = {"validation loss": losses} | objective.figures(recipe, measured) | voices | others
    if not recipe.train.recognises:
        stimuli.make(recipe, rendered)
    left_out |= unspoken | unheard | unmeasured | unasked | unscored
    found = results.Results(len(wanted), left_out, figures, measured)
    used = uses.of(recipe, rendered)
    results.write(recipe, found, used)
    uses.refuse_taken_back(recipe, used)
    page = report.write(recipe)
    summarise(found)
    for line in feedback.summary(recipe):
        print(f"users of the speech server said of {line}")
    gates.tell(gates.reported(recipe))
    print(f"report: {page}")
    if not recipe.train.recognises:
        print(next_command("evaluate.listen", "listen"))


def summarise(found: results.Results) -> None:
    """Every figure with its 95 % interval, and the difference that matters last."""
    print(f"{found.items} unseen sentences")
    for reason, count in found.left_out.items():
        print(f"  left out: {count}, {reason}")
    for metric, by_system in found.figures.items():
        if not by_system:
            continue
        print(f"{metric_of(metric).heading}, with 95 % interval")
        width = max(15, *map(len, by_system))
        for system, figure in by_system.items():
            print(f"  {system:<{width}} {figure if figure else 'nothing to measure'}")
    if difference := found.figures.get("CER", {}).get("adapter - base"):
        print(f"CER, adapter less base: {difference}")


if __name__ == "__main__":
    run(main, __doc__ or "")
