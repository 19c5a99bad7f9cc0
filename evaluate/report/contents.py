"""All that a report says, before it is put into words."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from evaluate import bias, feedback, gates, results
from evaluate.bias import FACTORS, Bias, disclosed
from evaluate.feedback import Verdicts
from evaluate.findings import Findings, analyse, counted
from evaluate.gates import Gate
from evaluate.report import stated
from evaluate.report.heard import Heard, heard
from evaluate.results import Results
from evaluate.statistics import Figure
from recipes.provenance import read_lineage
from recipes.records import Lineage
from recipes.schema import Recipe, UserError
from train.adapter import open_dataset


@dataclass(frozen=True)
class Contents:
    """The findings of an evaluation, of every kind."""

    recipe: Recipe
    results: Results
    lineage: Lineage
    heard: Heard
    tests: list[Findings]
    bias: list[Bias]
    gates: list[Gate]
    users: list[Verdicts] = field(
        default_factory=list
    )  # what they said of the speech server's answers: no blind test

    @property
    def main(self) -> Findings | None:
        """The test that the report begins with: pairs tell small differences where single ratings do not."""
        return max(self.tests, key=lambda one: (one.method in ("preference", "cmos"), one.n), default=None)

    def json(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe.name,
            "lineage": self.lineage.model_dump(mode="json"),
            "results": asdict(self.results),
            "listening": {
                "state": self.heard.state,
                "listeners": self.heard.listeners,
                "answers": self.heard.answers,
                "of_earlier_renderings": self.heard.earlier,
                "stated": stated.json(self.recipe, self.heard),
                "tests": [asdict(one) | {"robust": one.robust} | self._told(one) for one in self.tests],
            },
            "bias": [one.json() for one in self.bias],
            "gates": [asdict(one) for one in self.gates],
            "users": {"blind": False, "answers": [asdict(one) for one in self.users]},
        }

    def _told(self, test: Findings) -> dict[str, Any]:
        """What listeners said of themselves, and how their checks went: null for numbers that tell of few."""
        fewest = self.recipe.evaluate.gates.min_cell
        facts = {key: disclosed(counts, test.listeners, fewest) for key, counts in test.facts.items()}
        checks = {key: disclosed(counts, sum(counts.values()), fewest) for key, counts in test.checks.items()}
        return {"facts": facts, "checks": checks}


def contents(recipe: Recipe) -> Contents:
    """Everything there is to report. Raises UserError when the recipe was not evaluated yet."""
    found = results.read(recipe)
    told = heard(recipe)
    tests = [analyse(one, recipe.evaluate.resamples, recipe.seed) for one in told.ratings]
    speakers = speaker_facts(recipe)
    fewest = recipe.evaluate.gates.min_cell
    voices = {one.item: one.speaker for one in found.measured}
    gaps = [bias.of_ratings(counted(one), voices, speakers, fewest, recipe.seed) for one in told.ratings]
    rows = [
        (str(m.system), m.speaker, m.item, float(m.char_edits), float(m.chars))
        for m in found.measured
        if m.heard is not None
    ]
    gaps.append(bias.of_errors(rows, speakers, fewest, recipe.seed))
    gaps = [one for one in gaps if one.gaps]
    cer = found.figures.get("CER", {}).get("adapter")
    by_ear = next((one for one in gaps if one.metric != "CER"), None)  # what voices are judged by
    judged = gaps[0] if gaps and recipe.train.recognises else by_ear
    passed = gates.gates(recipe.evaluate.gates, rating_of(tests), cer, judged)
    line, users = read_lineage(recipe.folder("evaluate")), feedback.verdicts(recipe)
    return Contents(recipe, found, line, told, tests, gaps, passed, users)


def rating_of(tests: list[Findings]) -> Figure | None:
    """The adapter's mean rating, where clips were rated."""
    return next((one.mean for test in tests for one in test.heard if one.system == "adapter"), None)


def speaker_facts(recipe: Recipe) -> Mapping[str, Mapping[str, str]]:
    """What the dataset may say of its speakers: factor → group. Nothing where the dataset is gone."""
    try:
        data = open_dataset(recipe)
    except (UserError, OSError):
        return {}
    found: dict[str, dict[str, str]] = {}
    for split in data.values():
        if missing := {"speaker", *FACTORS} - {*split.column_names}:
            assert missing <= {*FACTORS}
            continue
        for speaker, *facts in zip(*(split[name] for name in ("speaker", *FACTORS)), strict=True):
            known = {factor: fact for factor, fact in zip(FACTORS, facts, strict=True) if fact}
            found.setdefault(speaker, {}).update(known)
    return found
