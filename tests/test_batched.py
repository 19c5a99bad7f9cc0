"""Speech of many texts at once: what each of them is alone, whatever else is in the batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from recipes.schema import Family as Name
from tests import tiny
from tests.test_vits import STOCHASTIC
from train.families import Batched, Spoken, batches, open_family, speak_all
from train.families.speecht5 import SpeechT5
from train.padding import whole

PLACES = ["train.families.speecht5.together", "train.vits.model.together"]

TEXTS = ["ⴰⵉⵓ ⴰⵉ", "ⴰ", "ⴰⵉⵓ ⴰⵉⵓ ⴰⵉ ⵓⵓ", "ⵉⵓ", "ⴰⵉⵓ ⴰⵉ", "ⵓ ⵉ"]


def opened(family: Name, folder: Path, **train: Any) -> Any:
    """A tiny generator; SpeechT5 stops of itself, sooner or later."""
    torch.manual_seed(3)
    found: Any = open_family(tiny.recipe(folder, family, **train).train, letters=[" ".join(TEXTS)])
    found.model.eval()
    if family == "speecht5":
        with torch.no_grad():
            found.model.speech_decoder_postnet.prob_out.weight.normal_(std=2.0)
            found.model.speech_decoder_postnet.prob_out.bias.fill_(-4.0)
    return found


def alike(one: Spoken, other: Spoken) -> bool:
    same = one.stopped == other.stopped and len(one.samples) == len(other.samples)
    return same and np.allclose(one.samples, other.samples, atol=2e-3 * max(1e-3, np.abs(one.samples).max()))


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions of many rows at once."""
    for place in PLACES:
        monkeypatch.setattr(place, lambda module, device: whole(module))


def voice_for(family: Any) -> Any:
    return family.voice(tiny.samples(1.0))


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("speecht5", tiny.CONFIGS["speecht5"]),
        ("vits", tiny.CONFIGS["vits"]),
        ("vits", STOCHASTIC),
        ("vits", STOCHASTIC | {"speaker_embedding_size": 16}),
        ("fastspeech2", tiny.CONFIGS["fastspeech2"]),
    ],
)
@pytest.mark.parametrize("gpu", [False, True])
def test_in_a_batch_each_text_is_spoken_as_it_is_alone(
    family: Name, config: dict[str, Any], gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if gpu:
        as_on_a_gpu(monkeypatch)
    model = opened(family, tmp_path, config=config, aligner=None)
    voice = voice_for(model)
    alone = []
    for text in TEXTS:
        samples = model.synthesise(text, voice)
        alone.append(Spoken(samples, getattr(model, "stopped", True)))
    state = torch.get_rng_state()
    together: dict[int, Spoken] = {}
    for some in speak_all(model, TEXTS, voice):
        together |= some
    assert all(alike(together[place], one) for place, one in enumerate(alone))
    assert torch.equal(torch.get_rng_state(), state)
    if isinstance(model, Batched):
        others = model.synthesise_many(TEXTS[:2], voice)  # and whoever else is there
        assert all(alike(mine, one) for mine, one in zip(others, alone, strict=False))
        assert len({len(one.samples) for one in alone}) > 2  # they end at different times


def test_speecht5_draws_what_generate_of_transformers_draws(tmp_path: Path) -> None:
    family: SpeechT5 = opened("speecht5", tmp_path)
    voice, lengths = voice_for(family), []
    drawn = family.synthesise_many(TEXTS, voice)
    family._waves = lambda rows: [row.numpy() for row in rows]  # type: ignore[method-assign]
    frames = [one.samples for one in family.synthesise_many(TEXTS, voice)]
    for text, ours in zip(TEXTS, frames, strict=True):
        ids = torch.from_numpy(family._ids(text))[None]
        torch.manual_seed(0)
        with torch.no_grad():
            theirs = family.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                speaker_embeddings=torch.from_numpy(voice)[None],
                minlenratio=1.0,
                maxlenratio=min(20.0, 198 / ids.shape[1]),
            ).numpy()
        assert np.allclose(ours, theirs, atol=1e-5)
        lengths.append(len(theirs))
    stopped = [one.stopped for one in drawn]
    assert len(set(lengths)) > 2 and any(stopped)


def test_a_text_that_does_not_end_is_cut_off_and_others_are_not(tmp_path: Path) -> None:
    family = opened("speecht5", tmp_path)
    with torch.no_grad():
        family.model.speech_decoder_postnet.prob_out.bias.fill_(-1e4)
    spoken = family.synthesise_many(["ⴰ", "ⴰⵉⵓ"], voice_for(family))
    assert [one.stopped for one in spoken] == [False, False]
    assert len(spoken[0].samples) < len(spoken[1].samples)  # each by its own letters
    with torch.no_grad():
        family.model.speech_decoder_postnet.prob_out.bias.fill_(1e4)
    assert family.synthesise_many(["ⴰ"], voice_for(family))[0].stopped
    assert family.synthesise_many([], voice_for(family)) == []


def test_a_vocoder_hears_silence_behind_each_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_a_gpu(monkeypatch)
    small = {"upsample_initial_channel": 16, "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]]}
    sizes = {"upsample_rates": [16, 16], "upsample_kernel_sizes": [32, 32]}
    SpeechT5HifiGan(SpeechT5HifiGanConfig(**small, **sizes)).save_pretrained(tmp_path / "even")
    SpeechT5HifiGan(
        SpeechT5HifiGanConfig(**small, upsample_rates=[16, 16], upsample_kernel_sizes=[31, 32])
    ).save_pretrained(tmp_path / "odd")
    for name in ("even", "odd"):
        family = opened("speecht5", tmp_path, vocoder=str(tmp_path / name))
        voice = voice_for(family)
        many = family.synthesise_many(TEXTS, voice)
        assert whole(family._vocoder) == (name == "even")
        assert all(
            alike(one, family.synthesise_many([text], voice)[0]) for one, text in zip(many, TEXTS, strict=True)
        )


def test_what_is_decoded_at_once_fits_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_a_gpu(monkeypatch)
    family = opened("vits", tmp_path)
    before = family.synthesise_many(TEXTS, voice_for(family))
    monkeypatch.setattr("train.vits.model._FRAMES_AT_ONCE", 5)
    after = family.synthesise_many(TEXTS, voice_for(family))
    assert all(alike(one, other) for one, other in zip(before, after, strict=True))


@given(st.lists(st.integers(0, 500), max_size=120))
def test_batches_hold_every_text_once_and_texts_of_like_length(lengths: list[int]) -> None:
    found = batches(lengths)
    assert sorted(place for some in found for place in some) == list(range(len(lengths)))
    assert all(len(some) == 1 or len(some) * (max(lengths[n] for n in some)) <= 2_000 for some in found)
    ordered = [lengths[place] for some in found for place in some]
    assert ordered == sorted(lengths, reverse=True)
    assert all(len(some) == 1 for some in batches(lengths, many=False))
