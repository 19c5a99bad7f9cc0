"""One HTML file a language that says what was found, with players and plots: `python -m evaluate.report RECIPE`.

Writes `report.html` (and `report.fr.html`, `report.ar.html`; `evaluate.report.languages`) and `report.json` beside
the results. The pages need no network and ask for nothing. Ends with 1 where one of evaluate.gates has failed.
"""

import json

from evaluate import gates
from evaluate.report.page import write
from recipes.command import run
from recipes.schema import Recipe


def main(recipe: Recipe) -> int:
    page = write(recipe)
    said = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))["lead"]
    print("\n".join(said.get("en") or next(iter(said.values()))))
    print(f"report: {page}")
    return 1 if gates.tell(gates.reported(recipe)) else 0


if __name__ == "__main__":
    run(main, __doc__ or "")
