"""Whether clips are by the speaker they say: other voices, two voices in a clip, one voice under two codes.

A voice's vector is biometric data. It is made only of clips whose speaker allows `voice_match`, held in memory
for the length of one run, and written nowhere; what is written is how alike two voices are. Nothing is ever
merged or renamed: a person decides.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from collect.ledger import Artefact, Ledger, open_ledger
from prepare import dataset, parts, voice, voiceprint
from prepare.clip import Clip, Samples
from prepare.parts import Finished
from prepare.workers import spread
from recipes import provenance, records
from recipes.records import Row
from recipes.schema import Recipe, Voices

LEAST = 5  # clips of a speaker, to know what the voice is
_APART = 2  # windows on either side, to know that there are two voices
_SHOWN = 20
_BLOCK = 1024  # speakers compared with all others at once


class Alike(Row):
    """Two speakers who may be one person."""

    speakers: tuple[str, str]
    likeness: float


class Found(Row):
    """What a comparison of voices gave. It holds no vector."""

    of: str  # digest of what was compared, and how
    doubts: dict[str, list[str]]  # by the name of the part
    alike: list[Alike]
    checked: int
    short: int  # with too little speech
    few: int  # of speakers with too few clips to know their voice
    unasked: int  # clips whose speaker does not allow it


def judge(
    ledger: Ledger, recipe: Recipe, clips: Mapping[str, records.Clip], finished: dict[str, Finished]
) -> tuple[dict[str, Finished], dict[str, str]]:
    """Utterances with what was found in their flags, or the reasons of those the recipe rejects for it.

    `clips`, `finished`: by the name of their part. Without `prepare.voices` nothing is compared, and what an
    earlier run found is removed.
    """
    settings, path = recipe.prepare.voices, place(recipe)
    if settings is None:
        path.unlink(missing_ok=True)
        return finished, {}
    asked = {name: clip for name, clip in clips.items() if ledger.permit(clip, "voice_match")}
    found = _earlier(path, _digest(settings, asked, finished, len(clips)))
    if found is None:
        found = compare(ledger, recipe, settings, asked, finished, len(clips))
        provenance.write_text(path, found.model_dump_json(indent=1))
    of = Artefact(id=f"voices {found.of}", kind="voice_check", place=str(path), purpose="voice_match")
    ledger.register(of, clips={clip.id for clip in asked.values()})
    _say(found, settings)
    if settings.on_finding == "reject":
        reasons = {name: "; ".join(doubts) for name, doubts in found.doubts.items()}
        return {name: made for name, made in finished.items() if name not in reasons}, reasons
    flagged = {name: [*made.flags, *found.doubts.get(name, [])] for name, made in finished.items()}
    return {name: made.model_copy(update={"flags": flagged[name]}) for name, made in finished.items()}, {}


def place(recipe: Recipe) -> Path:
    """Where it is written what was found."""
    return recipe.folder("prepare") / "voices.json"


def compare(
    ledger: Ledger,
    recipe: Recipe,
    settings: Voices,
    asked: Mapping[str, records.Clip],
    finished: Mapping[str, Finished],
    among: int,
) -> Found:
    """Compare the voices of clips. `among`: how many there are with those that may not be compared."""
    todo = [(name, finished[name].audio, asked[name]) for name in asked]
    made: dict[str, tuple[Samples, float]] = {}
    for batch in spread(_work, todo, recipe, "comparing voices"):
        made |= batch
    # Consent may have gone while the networks were at work.
    asked = {name: clip for name, clip in asked.items() if ledger.permit(clip, "voice_match")}
    of_speaker: dict[str, list[str]] = defaultdict(list)
    for name in sorted(made.keys() & asked.keys()):
        of_speaker[asked[name].speaker].append(name)
    doubts: dict[str, list[str]] = defaultdict(list)
    voices_of: dict[str, Samples] = {}
    for speaker, names in sorted(of_speaker.items()):
        for name in names:
            if settings.min_within is not None and made[name][1] < settings.min_within:
                doubts[name].append(f"two voices: {made[name][1]:.2f} alike")
        if len(names) < LEAST:
            continue
        voices_of[speaker], own = own_likeness(np.stack([made[name][0] for name in names]))
        for name, likeness in zip(names, own, strict=True):
            if settings.min_own is not None and likeness < settings.min_own:
                doubts[name].append(f"another voice: {likeness:.2f} like the speaker's other clips")
    known = sum(len(of_speaker[speaker]) for speaker in voices_of)
    checked = sum(map(len, of_speaker.values()))
    return Found(
        of=_digest(settings, asked, finished, among),
        doubts=dict(doubts),
        alike=list(alike(voices_of, settings.same)) if settings.same is not None else [],
        checked=checked,
        short=len(asked) - checked,
        few=checked - known,
        unasked=among - len(asked),
    )


def own_likeness(vectors: Samples) -> tuple[Samples, Samples]:
    """A speaker's voice, (256,), and how like it each clip is, (n,). `vectors`: float32 (n, 256), length 1.

    The voice is the mean of the three quarters nearest to it, so that a few clips by someone else do not move
    it; a clip is compared with the others and never with itself.
    """
    inside = np.ones(len(vectors), bool)
    for _ in range(3):
        near = vectors @ voiceprint.unit(vectors[inside].sum(axis=0))
        inside = near >= np.sort(near)[len(near) // 4]
    total = vectors[inside].sum(axis=0)
    others = total[None] - vectors * inside[:, None]
    likeness: Samples = (vectors * voiceprint.unit(others)).sum(axis=1)
    return voiceprint.unit(total), likeness


def alike(voices_of: Mapping[str, Samples], same: float) -> Iterator[Alike]:
    """Speakers whose voices are at least so alike, the most alike first. `voices_of`: (256,) each, length 1."""
    names = sorted(voices_of)
    matrix = np.stack([voices_of[name] for name in names]) if names else np.zeros((0, 1), np.float32)
    found: list[tuple[float, int, int]] = []
    for start in range(0, len(names), _BLOCK):
        near = matrix[start : start + _BLOCK] @ matrix.T
        for row, column in np.argwhere(near >= same):
            if start + row < column:
                found.append((-round(float(near[row, column]), 3), start + int(row), int(column)))
    for likeness, one, other in sorted(found):
        yield Alike(speakers=(names[one], names[other]), likeness=-likeness)


def within(windows: Samples) -> float:
    """How alike the two most unlike parts of a clip are, 1 where there are no two. `windows`: float32 (n, 256).

    Windows fall into two groups about the two that are least alike (k-means with k = 2).
    """
    if len(windows) < 2 * _APART:
        return 1.0
    first, second = np.unravel_index((windows @ windows.T).argmin(), (len(windows), len(windows)))
    centres = windows[[first, second]]
    for _ in range(10):
        nearer = (windows @ centres.T).argmax(axis=1)
        groups = [windows[nearer == number] for number in (0, 1)]
        if min(map(len, groups)) < _APART:
            return 1.0
        centres = voiceprint.unit(np.stack([group.mean(axis=0) for group in groups]))
    return float(centres[0] @ centres[1])


def _work(batch: list[tuple[str, str, records.Clip]], recipe: Recipe) -> dict[str, tuple[Samples, float]]:
    """The voice of each clip, (256,), and how alike its parts are; nothing of one with too little speech."""
    made = {}
    with open_ledger(recipe) as ledger:
        for name, digest, clip in batch:
            part = parts.load(recipe, name)
            if part is None or part.finished is None or not ledger.permit(clip, "voice_match"):
                continue
            sound = dataset.decode(parts.load_audio(recipe, {name: digest})[name])
            windows = voiceprint.vectors(Clip(sound, part.finished.rate_hz))
            if len(windows):
                made[name] = voiceprint.unit(windows.mean(axis=0)), within(windows)
    return made


def _digest(settings: Voices, asked: Mapping[str, records.Clip], finished: Mapping[str, Finished], among: int) -> str:
    """Of all that decides what is found."""
    clips = sorted((name, finished[name].audio, clip.speaker) for name, clip in asked.items())
    code = [
        provenance.file_digest(Path(str(module.__file__))) for module in (sys.modules[__name__], voiceprint, voice)
    ]
    return provenance.digest([json.dumps([settings.model_dump(), clips, among, code], sort_keys=True)])


def _earlier(path: Path, of: str) -> Found | None:
    """What the same comparison found before."""
    try:
        found = Found.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return None
    return found if found.of == of else None


def _say(found: Found, settings: Voices) -> None:
    print(
        f"voices: {found.checked} clips compared; not: {found.unasked} without consent for voice_match, "
        f"{found.short} with too little speech; {found.few} of speakers with fewer than {LEAST} clips"
    )
    for pair in found.alike[:_SHOWN]:
        one, other = pair.speakers
        print(f"one voice under two codes? {one} and {other}: {pair.likeness:.2f} alike; listen, nothing is merged")
    if len(found.alike) > _SHOWN:
        print(f"... and {len(found.alike) - _SHOWN} more pairs, in voices.json")
