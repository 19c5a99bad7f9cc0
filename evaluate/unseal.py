"""Open the key of a listening test that is over: `python -m evaluate.unseal RECIPE`. It is written down for good.

From then on the report shows ratings by system. A planned test takes no more answers; a pilot goes on.
"""

from evaluate import answers, blind, seal
from recipes.command import next_command, run
from recipes.schema import Recipe, UserError


def main(recipe: Recipe) -> None:
    there = answers.collected(recipe)
    if not there.answers:
        raise UserError("nobody has answered yet: there is nothing to unseal")
    name, plan = blind.test_of_results(recipe)
    before = seal.unsealings(recipe, name)
    if before and plan:
        print(f"unsealed already, on {before[0].at}, with {before[0].answers} answers")
    else:
        done = seal.unseal(recipe, name, there.listeners, there.answers)
        print(f"unsealed on {done.at}: {done.listeners} listeners, {done.answers} answers")
        print(f"  plan: {plan or 'none was frozen: a pilot'}")
        print(f"  SHA-256 of the key, as it was published before: {done.commitment}")
    print(next_command("evaluate.report"))


if __name__ == "__main__":
    run(main, __doc__ or "")
