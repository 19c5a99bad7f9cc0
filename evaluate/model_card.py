"""The card of a published adapter: README.md in the hub's format, written from what was made and measured."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from evaluate import gate
from evaluate.gate import Candidate
from evaluate.licence import Licence
from evaluate.metrics import METRICS
from recipes.records import LANGUAGE_NAMES
from recipes.schema import Recipe
from train.adapter import dataset_hash, figures, sources

LEAST = 5  # people in a group that is shown
_HIGHER_IS_BETTER = ("rating", "preferred")  # of what listeners say
_SHOWN = ("figures", "listening")

Figures = list[tuple[tuple[str, ...], Mapping[str, Any]]]


def readme(found: Candidate, licence: Licence) -> str:
    """The card: front matter for the hub, then text for people."""
    front = yaml.safe_dump(front_matter(found, licence), allow_unicode=True, sort_keys=False)
    return f"---\n{front}---\n\n# {found.recipe.name}\n\n{summary(found)}\n\n" + "\n".join(_sections(found, licence))


def languages(found: Candidate) -> list[str]:
    """Codes of the languages, ISO 639-3: the script is no part of what the hub knows."""
    return sorted({tag.partition("-")[0] for tag in found.data.languages})


def summary(found: Candidate) -> str:
    """The adapter in a sentence."""
    kind = "recognises" if found.recipe.train.recognises else "speaks"
    spoken = " and ".join(LANGUAGE_NAMES[code] for code in languages(found))
    what = "An adapter (LoRA)" if found.recipe.train.method == "lora" else "A model"
    start = f" for {base_name(found.recipe)}" if found.recipe.train.base else ""
    return f"{what}{start} that {kind} {spoken}, made from recordings whose speakers consented to its publication."


def base_name(recipe: Recipe) -> str:
    """The base as others may know it: its name on the hub, or that of its folder."""
    base = recipe.train.base or ""
    return Path(base).name if base.startswith("/") else base


def front_matter(found: Candidate, licence: Licence) -> dict[str, Any]:
    """What the hub reads. Source: huggingface.co/docs/hub/model-cards, modelcard.md."""
    recipe = found.recipe
    front: dict[str, Any] = {"language": languages(found), "license": licence.hub}
    if recipe.train.base and not recipe.train.base.startswith("/"):
        relation = "adapter" if recipe.train.method == "lora" else "finetune"
        front |= {"base_model": recipe.train.base, "base_model_relation": relation}
    front["library_name"] = "peft" if recipe.train.method == "lora" else "transformers"
    task = "automatic-speech-recognition" if recipe.train.recognises else "text-to-speech"
    front["pipeline_tag"] = task
    if (name := recipe.publish.dataset) and "://" not in name:
        front["datasets"] = [name]
    front["tags"] = ["speech", "morocco", "consent", *(["lora"] if recipe.train.method == "lora" else [])]
    if not recipe.train.recognises:
        front["extra_gated_prompt"] = (
            "This model speaks with the voices of people who agreed to it. By asking for access you agree to use it "
            "for no deception and no imitation of a person, to say of its speech that it is synthetic, and to delete "
            "it when it is revoked."
        )
    else:
        front["extra_gated_prompt"] = "By asking for access you agree to delete this model when it is revoked."
    results = [_result(path, figure) for path, figure in shown(recipe) if path[-1] == "adapter"]
    data = {"name": f"{recipe.name}, unseen sentences", "type": recipe.publish.dataset or dataset_hash(recipe)[:12]}
    one = {"task": {"type": task}, "dataset": data, "metrics": results}
    front["model-index"] = [{"name": recipe.name, "results": [one] if results else []}]
    return front


def shown(recipe: Recipe) -> Figures:
    """The figures of the evaluation, each metric once."""
    found: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for path, figure in gate.measured_figures(recipe):
        if len(path) >= 2 and any(part in _SHOWN for part in path):
            found.setdefault(path[-2:], figure)
    return list(found.items())


def _result(path: tuple[str, ...], figure: Mapping[str, Any]) -> dict[str, Any]:
    kind = {"CER": "cer", "WER": "wer"}.get(path[0], path[0].lower().replace(" ", "_").replace(",", ""))
    interval = {"low_95": figure["low"], "high_95": figure["high"], "n": figure.get("n")}
    return {"type": kind, "name": path[0], "value": round(float(figure["value"]), 6), "args": interval}


def _sections(found: Candidate, licence: Licence) -> Iterator[str]:
    yield from _use(found)
    yield from _training(found)
    yield from _results(found)
    yield from _worse(found)
    yield from _people(found, licence)
    yield from _checking(found)


def _use(found: Candidate) -> Iterator[str]:
    hears = found.recipe.train.recognises
    yield from ("## What it is for, and what it is not for", "")
    if hears:
        yield "For: turning speech of these languages into text that a person checks, research, tools for access."
        yield "\nNot for: finding out who speaks, watching people, decisions about a person without one who listens."
    else:
        yield "For: reading text aloud in these languages, said to be synthetic wherever it is heard; research."
        yield (
            "\nForbidden: passing its speech off as a person's own, imitating or deceiving anyone, passing checks of "
            "a voice, advertising or political messages in a speaker's voice. The speakers allowed none of that."
        )
    yield "\nHow to load it: with the workbench that made it, or with PEFT on the base named above.\n"


def _training(found: Candidate) -> Iterator[str]:
    data, settings = found.data, found.recipe.train
    hours = sum(data.languages.values()) / 3600
    yield from ("## What it was made from", "")
    many = len(data.voices)
    yield f"Dataset `{dataset_hash(found.recipe)}`: {hours:.2f} hours by {_people_count(many)}."
    yield "The recordings are not here."
    yield from ("", "| language and script | hours |", "|---|---|")
    yield from (f"| {tag} | {seconds / 3600:.2f} |" for tag, seconds in sorted(data.languages.items()))
    if groups := figures.groups(data, LEAST):
        yield from ("", "| gender, dialect | speakers | hours |", "|---|---|---|")
        yield from (f"| {name} | {count} | {length:.2f} |" for name, count, length in groups)
    yield f"\nGroups of fewer than {LEAST} people are shown together or not at all.\n"
    how = f"LoRA, rank {settings.lora.r}" if settings.method == "lora" else "all weights"
    yield f"Family `{settings.family}`, {how}; at most {settings.max_steps} steps at {settings.learning_rate:g}, "
    yield f"seed {found.recipe.seed}. Code `{found.line.code}`, recipe `{found.line.recipe}`."
    if name := found.recipe.publish.dataset:
        yield f"\nThe dataset, described for machines (Croissant): {croissant_url(name)}"
    yield ""


def croissant_url(name: str) -> str:
    """Where the dataset's Croissant description is."""
    return name if "://" in name else f"https://huggingface.co/datasets/{name}/resolve/main/croissant.json"


def _people_count(count: int) -> str:
    return f"{count} speakers" if count >= LEAST else f"fewer than {LEAST} speakers"


def _results(found: Candidate) -> Iterator[str]:
    yield from ("## How good it is", "")
    yield f"Measured {gate.report(found)}. Intervals hold 95 %.\n"
    yield from ("| metric | system | value | interval | n |", "|---|---|---|---|---|")
    for (metric, system), figure in shown(found.recipe):
        interval = "none: " + str(figure.get("why"))
        if figure["low"] is not None and figure["high"] is not None:
            interval = f"{figure['low']:.3f} to {figure['high']:.3f}"
        yield f"| {metric} | {system} | {figure['value']:.3f} | {interval} | {figure.get('n')} |"
    yield ""


def _worse(found: Candidate) -> Iterator[str]:
    """Where the adapter is surely or perhaps worse, and what nobody measured."""
    yield from ("## Where it is worse", "")
    table = {path: figure for path, figure in gate.measured_figures(found.recipe) if len(path) >= 2}
    said = []
    for path, figure in table.items():
        if path[-1] == "adapter - base" and _is_worse(path[-2], float(figure["value"])):
            sure = figure["low"] is not None and (figure["low"] > 0 or figure["high"] < 0)
            said.append(
                f"- {path[-2]}: {'worse' if sure else 'perhaps worse'} than the base, by {abs(figure['value']):.3f}"
            )
    groups = [f"- {what}: worse off by {size:.3f}" for size, what in sorted(gate.worse_off(found.recipe)) if size > 0]
    yield from said or ["- In no figure above is it worse than its base."]
    tags = ", ".join(sorted(found.data.languages))
    yield f"- Heard in training: {tags}, {gate.unseen_speakers(found)} in the test. Anything else was not measured."
    if gate.heard_them_all(found):
        yield "- Every speaker of the test was in training too: how well it hears anybody else is not known."
    yield from groups
    if not list(gate.worse_off(found.recipe)):
        yield "- Differences between groups of speakers were not measured: do not claim that it serves all alike."
    yield ""


def _is_worse(metric: str, difference: float) -> bool:
    """Whether a difference to the base is for the worse. Of figures that should be near something, none is."""
    known = METRICS.get(metric)
    higher = known.better == "higher" if known else any(word in metric for word in _HIGHER_IS_BETTER)
    if known and known.better == "near":
        return False
    return difference < 0 if higher else difference > 0


def _people(found: Candidate, licence: Licence) -> Iterator[str]:
    recipe = found.recipe
    terms = sources.agreed(recipe, found.clips)
    contact = recipe.publish.contact or (recipe.collect.record.contact if recipe.collect.record else None)
    yield from ("## Licence, consent, and taking it back", "")
    yield f"Licence: {licence.spdx}. Within it, every speaker allows {', '.join(terms.purposes)}, and nothing else."
    yield f"\nWhat speakers were told: {'; '.join(terms.notices)}."
    yield f"\nWho answers for the data: {'; '.join(terms.controllers)}."
    if terms.until:
        yield f"\nThe first of the consents ends on {terms.until}."
    reach = f", or write to {contact}" if contact else ""
    yield (
        "\nA speaker takes a consent back with the code on the receipt, at any time and without a reason, on the "
        f"page or with the people who recorded{reach}. This model is then revoked: it is taken from here within "
        "three days, and its hash goes on the signed list of revocations. Copies of it must then be deleted.\n"
    )


def _checking(found: Candidate) -> Iterator[str]:
    yield from ("## How to check it", "")
    yield f"Weights: `{found.line.weights}` (SHA-256 over those of the safetensors files)."
    yield "`model.sig` signs every file (OpenSSF Model Signing): `model_signing verify key . --signature model.sig "
    yield "--public_key KEY.pub`, with a key that you got elsewhere. `lineage.json` says from what it was made, "
    yield "`sbom.cdx.json` with which software, `evaluation.json` has the figures.\n"
