"""DNSMOS ratings: the numbers of speechmos at less cost, once an utterance, and what a recipe does with them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import prepare.__main__ as script
from prepare import dataset, mos
from recipes.schema import Mos
from tests.babble import babble, noise
from tests.conftest import SHARED, needs_shared
from tests.test_prepare import Ledger, recipe
from tests.test_prepare import ledger as ledger

LIMIT = 1e-3


def difference(samples: NDArray[np.float32]) -> float:
    """The largest between our ratings of a clip and those of speechmos."""
    from speechmos import dnsmos

    theirs = dnsmos.run(samples, mos.RATE_HZ)
    ours = mos.p835(samples)
    found = {"ovrl_mos": ours.ovrl, "sig_mos": ours.sig, "bak_mos": ours.bak, "p808_mos": mos.p808(samples)}
    return max(abs(theirs[key] - value) for key, value in found.items())


# 0.6 s is repeated 16 times and fills one window; 8 s twice, which makes seven; 11.1 s is two as it is.
@pytest.mark.parametrize("duration_s", [0.6, 8.0, 11.1])
def test_ratings_are_those_of_speechmos(duration_s: float) -> None:
    sound = babble(duration_s, silence_s=0) + noise(duration_s, 0.01)[: int(duration_s * 16_000)]
    assert difference(sound.astype(np.float32)) < LIMIT


def test_silence_is_rated_as_speechmos_rates_it() -> None:
    assert difference(np.zeros(150_000, np.float32)) < LIMIT


@pytest.mark.real
@needs_shared("data/tamazight_speech")
def test_ratings_of_real_clips_are_those_of_speechmos() -> None:
    for path in sorted((SHARED / "data/tamazight_speech/clips").iterdir())[::20]:
        samples, rate_hz = soundfile.read(path, dtype="float32")
        assert difference(np.clip(soxr.resample(samples, rate_hz, 16_000), -1, 1)) < LIMIT


@given(st.integers(144_160, 800_000))
def test_windows_are_those_of_speechmos_even_where_its_arithmetic_loses_one(count: int) -> None:
    size, begins = int(9.01 * 16_000), []
    for index in range(int(np.floor(count / 16_000) - 9.01) + 1):  # as speechmos cuts, and skips what is short
        if len(range(count)[int(index * 16_000) : int((index + 9.01) * 16_000)]) >= size:
            begins.append(index)
    assert mos._windows(count) == begins


@pytest.mark.parametrize("fault", [np.nan, np.inf, 1.5])
def test_what_is_no_sound_is_refused(fault: float) -> None:
    samples = np.zeros(16_000, np.float32)
    samples[7] = fault
    for rate in (mos.p808, mos.p835):
        with pytest.raises(ValueError, match="within ±1"):
            rate(samples)
        with pytest.raises(ValueError, match="at least one sample"):
            rate(samples[:0])


def test_noise_behind_a_voice_costs_the_background_most() -> None:
    clean = mos.p835(babble(3))
    noisy = mos.p835(babble(3) + noise(4, 0.05))
    assert clean.bak - noisy.bak > 1 and clean.bak - noisy.bak > clean.sig - noisy.sig


@pytest.fixture
def rated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which networks were asked, one entry a clip."""
    asked: list[str] = []
    small, large = mos.p808, mos.p835
    monkeypatch.setattr(mos, "p808", lambda samples: asked.append("p808") or small(samples))
    monkeypatch.setattr(mos, "p835", lambda samples: asked.append("p835") or large(samples))
    return asked


def figures(folder: Path, **settings: object) -> dict[str, tuple[float | None, float | None]]:
    """What the dataset says of each clip: P.808 and overall."""
    ask = recipe(folder, mos=settings or None)
    rows = [row for table in dataset.open_dataset(ask).values() for row in table]
    assert not dataset.verify(ask)
    return {row["clip"]: (row["quality"]["mos_p808"], row["quality"]["mos_ovrl"]) for row in rows}


def test_an_utterance_is_rated_once_whatever_the_limits(
    ledger: Ledger, tmp_path: Path, rated: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(recipe(tmp_path)) == 0
    assert rated == [] and set(figures(tmp_path).values()) == {(None, None)}  # off unless asked for
    ledger.read.clear()
    loose = {"min_ovrl": 1.01}
    assert script.main(recipe(tmp_path, mos=loose)) == 0
    assert (rated.count("p808"), rated.count("p835"), ledger.read) == (6, 6, [])
    found = figures(tmp_path, **loose)
    overall = sorted(float(ovrl or 0) for _, ovrl in found.values())
    between = (overall[0] + overall[1]) / 2
    assert script.main(recipe(tmp_path, mos={"min_ovrl": between})) == 1
    assert len(figures(tmp_path, min_ovrl=between)) == 5 and len(rated) == 12
    (row,) = dataset.read_rejected(recipe(tmp_path, mos={"min_ovrl": between}))
    assert row.reason == f"sounds poor: DNSMOS ovrl {overall[0]:.2f}, prepare.mos.min_ovrl is {between:g}"
    assert "rejected: 1 × sounds poor" in capsys.readouterr().out
    assert script.main(recipe(tmp_path)) == 0
    assert set(figures(tmp_path).values()) == {(None, None)} and len(rated) == 12


def test_only_what_the_small_network_leaves_open_goes_to_the_large_one(
    ledger: Ledger, tmp_path: Path, rated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mos, "_raw", lambda sound, windows: np.full((len(windows), 3), 3))  # who is asked, not what
    script.main(recipe(tmp_path, mos={"min_p808": 1}))
    small = sorted(float(p808 or 0) for p808, _ in figures(tmp_path, min_p808=1).values())
    margin = (small[2] + small[3]) / 2 - 1  # three clips are surely above a limit of 1
    unsure = {"min_ovrl": 1, "when": "unsure", "sure_margin": margin}
    script.main(recipe(tmp_path, mos=unsure))
    found = figures(tmp_path, **unsure)  # they were all rated before; the dataset does not depend on that
    assert {p808: ovrl is None for p808, ovrl in found.values()} == {p: p >= 1 + margin for p in small}
    fresh = tmp_path / "fresh"
    rated.clear()
    script.main(recipe(fresh, mos=unsure))
    assert (rated.count("p808"), rated.count("p835")) == (6, 3)
    assert figures(fresh, **unsure) == found


def test_a_clip_that_is_surely_good_is_decided_by_one_limit_only() -> None:
    with pytest.raises(ValueError, match="`when: unsure` needs `min_ovrl`"):
        Mos(when="unsure")
    with pytest.raises(ValueError, match="neither `min_sig` nor `min_bak`"):
        Mos(when="unsure", min_ovrl=2.5, min_sig=3)
