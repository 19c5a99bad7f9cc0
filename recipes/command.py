"""How every script starts: `python -m STAGE[.ACTION] RECIPE [key.path=value ...]`."""

import argparse
import logging
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recipes.schema import RecipeError, UserError, load


def next_command(module: str, what: str = "next", then: str = "") -> str:
    """The line that tells the user what to run next, on the same recipe with the same overrides.

    `what`: the word or words before it; `then`: those after the recipe.
    """
    words = sys.argv[1:]
    recipe = next((word for word in words if word.endswith((".yaml", ".yml"))), "RECIPE")
    overrides = [word for word in words if re.match(r"[a-z_]+(\.[a-z_]+)*=", word)]
    return " ".join(filter(None, (f"{what}: python -m {module}", shlex.quote(recipe), then, shlex.join(overrides))))


def run(
    main: Callable[..., int | None],
    doc: str,
    *,
    actions: Sequence[str] = (),
    optional: bool = False,
    options: Callable[[argparse.ArgumentParser], Any] | None = None,
) -> None:
    """Parse the command line, load the recipe, call `main(recipe)` and exit with what it returns.

    With `actions`, one of them stands before or after the recipe (or none, where that is `optional`); with
    `options`, that function adds arguments of its own. `main(recipe, arguments)` is then called with both,
    the action as `arguments.action`.

    A `UserError` (and a full disk, a missing file, a refused permission) becomes one line on
    stderr and exit code 1; a recipe with faults prints all of them and exits with 2.
    """
    words = sys.argv[1:]
    action = next((word for word in words if word in actions), None)
    if action:
        words.remove(action)
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="the YAML file of the experiment")
    if options:
        options(parser)
    parser.add_argument("overrides", nargs="*", metavar="key.path=value")
    arguments = parser.parse_args(words)
    if actions and not action and not optional:
        parser.error(f"say what to do: {', '.join(actions)}")
    arguments.action = action
    # What libraries warn each other of is nothing that a user could mend.
    warnings.filterwarnings("ignore", module=r"(accelerate|peft|torch|transformers)\.")
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    try:
        recipe = load(arguments.recipe, arguments.overrides)
    except RecipeError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    try:
        code = main(recipe, arguments) if actions or options else main(recipe)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        # Disk full, permission denied, missing file: the system's own words name the cause.
        print(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(code or 0)
