"""What recordings served for in an evaluation, beyond what their dataset is for.

It is noted purpose by purpose, so that taking one back finds the evaluation as taking everything back does.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from evaluate.blind import ANCHORS, RECORDINGS
from evaluate.items import Rendered
from evaluate.systems import needs
from recipes.provenance import mark_withdrawn
from recipes.records import Purpose
from recipes.schema import Recipe, UserError
from train.adapter import open_dataset, sources

Uses = dict[Purpose, set[str]]  # purpose → ids of clips

_RECORDED = (RECORDINGS, *ANCHORS, "anchor_flat")  # listeners hear speakers themselves


def of(recipe: Recipe, rendered: Sequence[Rendered]) -> Uses:
    """Played to listeners, told of to services, compared as voices, counted in groups: which clips, each."""
    found: Uses = {"listen_test": set(), "profile_data": set(), "voice_match": set()}
    rows = [(one.system, one.item.row) for one in rendered if one.item.row is not None]
    found["profile_data"] = {row["clip"] for _, row in rows if "profile_data" in row["purposes"]}
    if recipe.train.recognises:
        return found
    found["listen_test"] = {row["clip"] for system, row in rows if system in _RECORDED}
    if "voice" in recipe.evaluate.measures:
        train, heard = open_dataset(recipe)["train"], {one.item.speaker for one in rendered}
        whose = zip(train["speaker"], train["clip"], train["purposes"], strict=True)
        found["voice_match"] = {clip for who, clip, may in whose if who in heard and "voice_match" in may}
    for row, purposes in needs(recipe):
        for purpose in purposes:
            found.setdefault(purpose, set()).add(sources.clip_of(row))
    return found


def refuse_taken_back(recipe: Recipe, uses: Uses) -> None:
    """Raises UserError, and marks the evaluation, where a speaker took something back while it was being made."""
    open_dataset(recipe)
    gone = {clip for purpose, clips in uses.items() for clip in clips if not sources.may(recipe, clip, [purpose])}
    if gone:
        folder = recipe.folder("evaluate")
        mark_withdrawn(folder, datetime.now(UTC).date(), len(gone))
        raise UserError(
            f"{folder}: {len(gone)} of its recordings may no longer be used so, since a moment ago; "
            "run the same command again"
        )
