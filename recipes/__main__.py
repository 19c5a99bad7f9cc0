"""Check a recipe and print it with every default filled in: `python -m recipes RECIPE [key=value ...]`."""

from recipes.command import run
from recipes.schema import Recipe


def main(recipe: Recipe) -> None:
    print(recipe.text(), end="")


if __name__ == "__main__":
    run(main, __doc__ or "")
