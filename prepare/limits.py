"""Which figures a clip may have: the limits of a recipe, each with the reason for a clip that is beyond it."""

from collections.abc import Iterator

from prepare.quality import Heard
from recipes.records import Quality
from recipes.schema import Prepare


def of_recording(heard: Heard, settings: Prepare) -> str | None:
    """Why a recording is not used, before anything costly is done with it; None where it is."""
    return next(_beyond(heard, settings), None)


def of_utterance(figures: Quality, settings: Prepare) -> str | None:
    """Why an utterance is not used; None where it is."""
    return next(_unusable(figures, settings), None)


def _beyond(heard: Heard, settings: Prepare) -> Iterator[str]:
    limit = settings.min_snr_db
    if limit is not None and heard.snr_db < limit:
        yield f"noisy: {heard.snr_db:.1f} dB, prepare.min_snr_db is {limit:g}"
    limit = settings.max_clipped_share
    if limit is not None and heard.clipped_share > limit:
        yield f"clipped: {heard.clipped_share:.3%} of the samples, prepare.max_clipped_share is {limit:g}"
    limit = settings.min_bandwidth_hz
    if limit is not None and heard.bandwidth_hz < limit:
        yield f"narrow band: sound up to {heard.bandwidth_hz:g} Hz only, prepare.min_bandwidth_hz is {limit:g}"
    limit = settings.max_t60_s
    if limit is not None and heard.t60_s is not None and heard.t60_s > limit:
        yield f"reverberant: sound takes {heard.t60_s:g} s to fade, prepare.max_t60_s is {limit:g}"


def _unusable(figures: Quality, settings: Prepare) -> Iterator[str]:
    most = settings.max_clicks
    if most is not None and figures.clicks > most:
        yield f"clicks: {figures.clicks}, prepare.max_clicks is {most}"
    pace, rate = settings.speaking_rate, figures.letters_per_s
    if pace and rate < pace.min_letters_per_s:
        limit = f"prepare.speaking_rate.min_letters_per_s is {pace.min_letters_per_s:g}"
        yield f"too little text: {rate:.1f} letters a second of speech, {limit}"
    if pace and rate > pace.max_letters_per_s:
        limit = f"prepare.speaking_rate.max_letters_per_s is {pace.max_letters_per_s:g}"
        yield f"too much text: {rate:.1f} letters a second of speech, {limit}"
