"""What DNSMOS says of utterances: once each, kept in their parts; and which of them the recipe rejects for it."""

import numpy as np

from prepare import dataset, mos, parts
from prepare.clip import Clip, Samples
from prepare.parts import Finished, Rated
from prepare.steps import resample
from prepare.workers import spread
from recipes.schema import Mos, Recipe


def judge(recipe: Recipe, finished: dict[str, Finished]) -> tuple[dict[str, Finished], dict[str, str]]:
    """Utterances with their ratings, and the reasons of those below a limit. Both by the name of their part.

    Without `prepare.mos` nothing is rated, and no rating of another run is shown.
    """
    settings = recipe.prepare.mos
    if settings is None:
        return finished, {}
    rated = {name: _known(recipe, name) for name in finished}
    missing = [(name, finished[name].audio) for name in finished if not _enough(rated[name], settings)]
    for found in spread(_work, missing, recipe, "rating"):
        rated |= found
    stay, reasons = dict[str, Finished](), dict[str, str]()
    for name, made in finished.items():
        figures = _figures(rated[name], settings)
        if reason := _fault(figures, settings):
            reasons[name] = reason
        else:
            stay[name] = made.model_copy(update={"quality": made.quality.model_copy(update=figures)})
    return stay, reasons


def _known(recipe: Recipe, name: str) -> Rated | None:
    """What the part holds, by these networks."""
    part = parts.load(recipe, name)
    return part.rated if part and part.rated and part.rated.by == mos.made_by() else None


def _enough(rated: Rated | None, settings: Mos) -> bool:
    return rated is not None and (rated.ovrl is not None or _sure(rated, settings))


def _sure(rated: Rated, settings: Mos) -> bool:
    """Whether the small network has decided already, so that the large one is not asked."""
    if settings.when == "always" or settings.min_ovrl is None:
        return False
    below = settings.min_p808 is not None and rated.p808 < settings.min_p808
    return below or rated.p808 >= settings.min_ovrl + settings.sure_margin


def _work(batch: list[tuple[str, str]], recipe: Recipe) -> dict[str, Rated]:
    """Rate the parts of a batch, (name, digest of the audio), and keep it in them."""
    settings, made = recipe.prepare.mos, dict[str, Rated]()
    assert settings
    for name, digest in batch:
        part, audio = parts.load(recipe, name), parts.load_audio(recipe, {name: digest})[name]
        assert part and part.finished
        made[name] = _rate(heard(audio, part.finished.rate_hz), _known(recipe, name), settings)
        parts.save(recipe, name, part.model_copy(update={"rated": made[name]}), audio)
    return made


def heard(audio: bytes, rate_hz: int) -> Samples:
    """FLAC bytes as DNSMOS takes them: float32 (n,) at 16 kHz, within ±1."""
    samples = resample(Clip(dataset.decode(audio), rate_hz), mos.RATE_HZ).samples
    return np.clip(samples, -1, 1)


def _rate(samples: Samples, known: Rated | None, settings: Mos) -> Rated:
    rated = known or Rated(by=mos.made_by(), p808=round(mos.p808(samples), 3))
    if _enough(rated, settings):
        return rated
    large = mos.p835(samples)
    values = {"ovrl": round(large.ovrl, 3), "sig": round(large.sig, 3), "bak": round(large.bak, 3)}
    return rated.model_copy(update=values)


def _figures(rated: Rated | None, settings: Mos) -> dict[str, float | None]:
    """The columns of `Quality`. What the recipe would not have asked for is not shown, though it may be known."""
    assert rated
    found: dict[str, float | None] = {"mos_p808": rated.p808}
    if not _sure(rated, settings):
        found |= {"mos_ovrl": rated.ovrl, "mos_sig": rated.sig, "mos_bak": rated.bak}
    return found


def _fault(figures: dict[str, float | None], settings: Mos) -> str | None:
    for name in ("p808", "ovrl", "sig", "bak"):
        value, least = figures.get(f"mos_{name}"), getattr(settings, f"min_{name}")
        if value is not None and least is not None and value < least:
            return f"sounds poor: DNSMOS {name} {value:.2f}, prepare.mos.min_{name} is {least:g}"
    return None
