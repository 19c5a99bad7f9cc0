"""The gate: everything that must hold before an adapter may go out, each check with its reason."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate import licence
from evaluate.licence import Licence
from recipes.provenance import file_digest, read_lineage, refuse_withdrawn
from recipes.records import Lineage, Purpose
from recipes.schema import Limits, Recipe, UserError
from train.adapter import (
    adapter_folder,
    base_hash,
    dataset_folder,
    dataset_hash,
    figures,
    open_dataset,
    refuse_untrusted,
    sources,
)

_COLUMNS = ("clip", "speaker", "language", "split", "duration_s", "text_normalized", "quality", "rate_hz")
RATING = "mean rating by listeners"
_GATES = ("min_rating", "max_cer", "max_gap")  # keys of evaluate.gates that ask for something


@dataclass(frozen=True)
class Check:
    """One check: whether it was passed, and why."""

    name: str
    passed: bool
    why: str

    def __str__(self) -> str:
        return f"{'ok' if self.passed else 'refused':<8} {self.name}: {self.why}"


@dataclass(frozen=True)
class Candidate:
    """What would be published, with what it was made from."""

    recipe: Recipe
    folder: Path
    line: Lineage
    data: figures.Figures  # of the dataset that it learnt from and was tested on
    seen: frozenset[str]  # sentences of training and validation
    voices: Mapping[str, frozenset[str]]  # split → speakers

    @property
    def clips(self) -> set[str]:
        return self.data.clips

    @property
    def purposes(self) -> tuple[Purpose, ...]:
        """What every speaker must allow."""
        asked: list[Purpose] = [self.recipe.prepare.purpose, "publish_model"]
        if not self.recipe.train.recognises:
            asked.append("tts_clone")  # a generator speaks with the voice of whom it learnt from
        if is_abroad(self.recipe):
            asked.append("transfer_abroad")
        return tuple(dict.fromkeys(asked))


def is_abroad(recipe: Recipe) -> bool:
    """Whether what is published leaves the country, as far as the target tells. The hub always does."""
    place = recipe.publish.to or ""
    if place.startswith("hub:"):
        return True
    if recipe.publish.abroad is not None:
        return recipe.publish.abroad
    return "://" in place and not place.startswith(("file://", "local://", "memory://"))


def candidate(recipe: Recipe) -> Candidate:
    """What the recipe would publish. Raises UserError when there is no adapter, or not of this dataset."""
    folder = adapter_folder(recipe)
    if not folder.is_dir():
        raise UserError(f"{folder}: no adapter there yet; run python -m train on this recipe first")
    line = refuse_untrusted(recipe, folder)
    if line.weights is None:
        raise UserError(f"{folder}: trained before adapters kept their own hash; run python -m train again")
    data = open_dataset(recipe)
    if dataset_hash(recipe) not in line.parents:
        raise UserError(f"{folder}: not trained on {dataset_folder(recipe)} as it is now; run python -m train again")
    light = {split: rows.select_columns([*_COLUMNS, *figures.FACTS]) for split, rows in data.items()}
    seen = {text for split in ("train", "valid") for text in light[split]["text_normalized"]}
    counted = figures.count(row for rows in light.values() for row in rows)
    voices = {split: frozenset(rows["speaker"]) for split, rows in light.items()}
    return Candidate(recipe, folder, line, counted, frozenset(seen), voices)


def run(checks: Mapping[str, Callable[[], str]]) -> Iterator[Check]:
    """Each check's outcome, in order. A check says what it found, or raises UserError with why it refuses."""
    for name, check in checks.items():
        try:
            yield Check(name, True, check())
        except UserError as error:
            yield Check(name, False, str(error))


# ---------------------------------------------------------------- base, consents, licence


def base(found: Candidate) -> str:
    """The base is one that others can get, exactly as it was: pinned by commit or by hash."""
    line, settings = found.line, found.recipe.train
    if settings.base is None:
        return "none: every weight was trained here"
    if line.base_hash:
        if line.base_hash != base_hash(settings.base):
            raise UserError(f"{settings.base}: not the weights that were trained on")
        return f"{Path(settings.base).name}, weights {line.base_hash[:12]}"
    if line.base_revision is None or len(line.base_revision) != 40:
        raise UserError(f"{settings.base}: not pinned; give train.revision its commit (40 digits) and train again")
    return f"{settings.base} at {line.base_revision[:12]}"


def consents(found: Candidate) -> str:
    """Every clip's consent, asked of the ledger at this moment. Raises UserError naming clips and purposes."""
    wanted = found.purposes
    lacking = sources.lacking(found.recipe, found.clips, wanted)
    if lacking:
        said = [
            f"{purpose}: {licence.shown([one.clip for one in lacking if purpose in one.purposes])}"
            for purpose in wanted
            if any(purpose in one.purposes for one in lacking)
        ]
        others = f"'prepare.also_for=[{', '.join(wanted[1:])}]'"
        without = f"without them: python -m prepare RECIPE {others}, and train again"
        raise UserError(f"no consent for {'; '.join(said)}; {without}")
    return f"all {len(found.clips)} clips allow, now: {', '.join(wanted)}"


def allowed_licence(found: Candidate) -> Licence:
    """The licence that base, data and consents allow together. Raises UserError naming clause and clips."""
    recipe = found.recipe
    of_base = licence.of_base(recipe.train.base, recipe.train.family, recipe.publish.base_licence)
    unsold = [one.clip for one in sources.lacking(recipe, found.clips, ["commercial"])]
    return licence.resolve(of_base, sources.told(recipe, found.clips), unsold, recipe.publish.licence)


def licensed(found: Candidate) -> str:
    """The licence, in words."""
    which = allowed_licence(found)
    return f"{which.spdx}, {'commercial use allowed' if which.sold else 'no commercial use'}"


# ---------------------------------------------------------------- evaluation


def report(found: Candidate) -> str:
    """The evaluation is there, is of this adapter, and was made on what training never saw."""
    folder = found.recipe.folder("evaluate")
    if not (folder / "results.json").is_file():
        raise UserError("not evaluated yet; run: python -m evaluate RECIPE")
    refuse_withdrawn(folder, "run: python -m evaluate RECIPE")
    if file_digest(found.folder / "lineage.json") not in read_lineage(folder).parents:
        raise UserError("the evaluation is of another adapter; run: python -m evaluate RECIPE")
    measured = _json(folder / "results.json").get("measured", [])
    texts = {str(row["text"]) for row in measured if row.get("system") == "adapter"}
    if not texts:
        raise UserError("the evaluation measured nothing of the adapter; run: python -m evaluate RECIPE")
    if known := texts & found.seen:
        raise UserError(f"{len(known)} of {len(texts)} evaluated sentences were in training; evaluate again")
    if heard_them_all(found) and not found.recipe.publish.same_speakers:
        raise UserError(
            "tested only on speakers that it had heard; split by speaker (prepare.split.by: both), train and "
            "evaluate again, or say publish.same_speakers=true, which the card repeats"
        )
    return f"on {len(texts)} sentences that training never had, {unseen_speakers(found)}"


def heard_them_all(found: Candidate) -> bool:
    """Whether a recogniser was tested on voices from training only: how it hears others is not known then.

    A generator is always tested on the voices that it knows: it has no others.
    """
    known = found.voices["train"] | found.voices["valid"]
    return found.recipe.train.recognises and found.voices["test"] <= known


def unseen_speakers(found: Candidate) -> str:
    """Whose voices the evaluation heard."""
    known = found.voices["train"] | found.voices["valid"]
    tested = found.voices["test"]
    if not tested:
        return "no recordings of people among them"
    new = len(tested - known)
    if new == len(tested):
        return "of speakers that it never heard"
    return "of speakers that it had heard" if not new else "of speakers some of whom it had heard"


def quality(found: Candidate) -> str:
    """Every limit of `publish.gates` and `evaluate.gates` is kept. Raises UserError for the first that is not."""
    recipe = found.recipe
    asked = {key: value for key in _GATES if (value := getattr(recipe.evaluate.gates, key)) is not None}
    if not recipe.publish.gates and not asked:
        raise UserError("no limits: say in publish.gates how good it must be, such as {CER: {max: 0.3}}")
    table = dict(measured_figures(recipe))
    said = [_kept(metric, limits, table) for metric, limits in recipe.publish.gates.items()]
    told = _report(recipe).get("gates", [])
    for key, value in asked.items():
        row = next((r for r in told if str(r["key"]).partition(",")[0] == key and r["asked"] == value), None)
        if row is None:
            raise UserError(f"evaluate.gates.{key}: not in the report; run: python -m evaluate.report RECIPE")
        if row["verdict"] != "passed":
            raise UserError(f"evaluate.gates.{key}: {row['verdict']}: found {_number(row['found'])}, asked {value:g}")
        said.append(f"{row['key']} {_number(row['found'])}")
    return "; ".join(said)


def gaps(found: Candidate) -> str:
    """No group of speakers or listeners is worse off by more than `publish.max_gap`, as far as was measured."""
    most = found.recipe.publish.max_gap
    known = sorted(worse_off(found.recipe), reverse=True)
    if not known:
        if most is not None:
            raise UserError("publish.max_gap is set, and the evaluation measured no gap between groups")
        return "none was measured"
    size, what = known[0]
    if most is not None and size > most:
        raise UserError(f"{what} is worse off by {size:.3f}, above publish.max_gap ({most:g})")
    return f"of {len(known)} groups, {what} is worst off: {size:.3f}" + ("" if most is None else f", within {most:g}")


def worse_off(recipe: Recipe) -> Iterator[tuple[float, str]]:
    """By how much each group is worse off with the adapter, and which it is: what the report's `bias` found."""
    for one in _report(recipe).get("bias", []):
        for row in one.get("gaps", []):
            if row.get("system") == "adapter" and row.get("worse") is not None:
                yield float(row["worse"]), f"{row['factor']} {row['group']} ({one['metric']})"


def _report(recipe: Recipe) -> Mapping[str, Any]:
    """What the report says, for machines; nothing where there is none."""
    path = recipe.folder("evaluate") / "report.json"
    found: Mapping[str, Any] = _json(path) if path.is_file() else {}
    return found


def _number(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.3f}"


def measured_figures(recipe: Recipe) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every figure of results and report, by the names that lead to it: figures, metric, system."""
    for name in ("results.json", "report.json"):
        path = recipe.folder("evaluate") / name
        if path.is_file():
            yield from _figures(_json(path), ())


def _figures(value: Any, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    if isinstance(value, dict):
        if isinstance(value.get("value"), int | float) and "low" in value and "high" in value:
            yield names, value
            return
        for name, below in value.items():
            yield from _figures(below, (*names, str(name)))
    elif isinstance(value, list) and names[-1:] != ("measured",):
        for row in value:
            if isinstance(row, dict) and "system" in row and isinstance(row.get("mean"), dict):  # of a listening test
                yield from _figures(row["mean"], (*names, RATING, str(row["system"])))
                continue
            about = row.get("metric") or row.get("name") if isinstance(row, dict) else None
            yield from _figures(row, (*names, str(about)) if about else names)


def _kept(metric: str, limits: Limits, table: Mapping[tuple[str, ...], Mapping[str, Any]]) -> str:
    """One limit that is kept, in words. Raises UserError for one that is not, or cannot be told."""
    figure = next((figure for path, figure in table.items() if path[-2:] == (metric, limits.system)), None)
    if figure is None:
        known = sorted({path[-2] for path in table if len(path) > 1})
        raise UserError(
            f"publish.gates: no figure {metric} of {limits.system}; measured: {', '.join(known) or 'none'}"
        )
    low, value, high = figure["low"], figure["value"], figure["high"]
    if limits.sure and (low is None or high is None):
        if figure.get("why") != "all alike: no interval":
            raise UserError(
                f"{metric} is {value:.3f} without an interval ({figure.get('why')}): more sentences, or "
                f"publish.gates.{metric}.sure=false"
            )
        low = high = value
    upper, lower = (high, low) if limits.sure else (value, value)
    interval = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    if limits.max is not None and upper > limits.max:
        raise UserError(f"{metric} of {limits.system} is {value:.3f}{interval}, and may be {limits.max:g} at most")
    if limits.min is not None and lower < limits.min:
        raise UserError(f"{metric} of {limits.system} is {value:.3f}{interval}, and must be {limits.min:g} at least")
    return f"{metric} {value:.3f}{interval}"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path}: damaged; run: python -m evaluate RECIPE") from None
