"""Speech that is heard while it is being drawn: what `synthesise_on` yields is what `synthesise` makes, in pieces.

The models are tiny and random (tests/tiny.py), and draw from noise. They know no end of speech: here it comes after
as many frames as a test asks for.
"""

from itertools import zip_longest
from typing import Any

import numpy as np
import pytest
import torch
from transformers import MimiConfig, MimiModel, PocketTTSAudioTokenizerConfig, PocketTTSAudioTokenizerModel

from recipes.schema import Family as Name
from tests.test_families import Opener, bases, opened, voice_of
from tests.tiny import _BOOKS, _CODEC
from train.families import Flowing, mimi

__all__ = ["bases", "opened"]  # fixtures
NAMES: tuple[Name, ...] = ("csm", "pocket_tts")
FRAME = 1920  # samples of a frame, 0.08 s
SHOWN = np.zeros(0, np.float32)


def lasting(family: Any, frames: int) -> Any:
    """The family, whose sentences now last for so many frames."""
    family.model.eval()
    how = family.model.generation_config
    how.do_sample = True
    if hasattr(family, "codec"):  # Pocket TTS: counted from zero, and two more after the end
        how.min_frames_before_eos, how.eos_threshold = frames - 3, -1e9
        return family
    drawn, end = 0, torch.tensor(family.config.codebook_eos_token_id)

    def begins(model: Any, given: Any, named: dict[str, Any]) -> None:
        nonlocal drawn
        drawn = drawn + 1 if named.get("inputs_embeds") is None else 0

    def codes(layer: Any, given: Any, logits: torch.Tensor) -> torch.Tensor:
        return (logits if drawn < frames else torch.full_like(logits, -1e9)).index_fill(
            -1, end, -1e9 if drawn < frames else 0.0
        )

    family.core.register_forward_pre_hook(begins, with_kwargs=True)
    for layer in (family.core.lm_head, family.core.depth_decoder.codebooks_head):
        layer.register_forward_hook(codes)
    return family


# ---------------------------------------------------------------- the codec


@pytest.mark.parametrize("frames", [1, 4, 7, 30, 140])  # 250 steps back the attention ends: 16 frames, and 125
def test_a_codec_decodes_frames_as_they_come(frames: int) -> None:
    torch.manual_seed(frames)
    pocket = PocketTTSAudioTokenizerModel(PocketTTSAudioTokenizerConfig(**_CODEC | {"latent_dim": 4})).eval()
    coded = MimiModel(MimiConfig(**_CODEC | _BOOKS)).eval()
    for part in coded.modules():
        if hasattr(part, "embed_sum"):
            torch.nn.init.normal_(part.embed_sum)
    for codec, latents, given in (
        (pocket, pocket.latent_proj, torch.randn(1, 4, frames)),
        (coded, coded.quantizer.decode, torch.randint(16, (1, 3, frames))),
    ):
        assert mimi.causal(codec)
        with torch.inference_mode():
            whole = codec.decode(given.mT if codec is pocket else given).audio_values[0, 0].numpy()
        pieces = list(mimi.decoded(codec, latents, iter(given.split(1, dim=-1))))
        assert [len(piece) // FRAME for piece in pieces] == [4] * (frames // 4) + [frames % 4] * (frames % 4 > 0)
        assert np.abs(np.concatenate(pieces) - whole).max() < 1e-5 * np.abs(whole).max()
        assert not list(mimi.decoded(codec, latents, []))


# ---------------------------------------------------------------- the families


def test_only_some_families_flow(opened: Opener) -> None:
    assert [isinstance(opened(name), Flowing) for name in (*NAMES, "speecht5")] == [True, True, False]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frames", [7, 8, 21, 50])
def test_speech_that_flows_is_the_whole_in_pieces(opened: Opener, name: Name, frames: int) -> None:
    family = lasting(opened(name), frames)
    text, voice = "a" * 8, voice_of(family)
    whole = family.synthesise(text, voice)
    assert len(whole) == frames * FRAME and family.stopped
    family.stopped = False
    pieces = list(family.synthesise_on(text, voice))
    assert [len(piece) for piece in pieces[:-1]] == [4 * FRAME] * (len(pieces) - 1) and family.stopped
    assert np.abs(np.concatenate(pieces) - whole).max() < 1e-5 * np.abs(whole).max()


def test_pocket_tts_draws_frames_as_the_library_does(opened: Opener) -> None:
    family = lasting(opened("pocket_tts"), 15)
    voice = voice_of(family)
    frames = torch.cat(list(family._drawn("abc", voice, ends := [])), dim=1)
    shown = torch.from_numpy(family._shown(voice))[None]
    ids = torch.tensor([family._prefix("abc", shown.shape[1])])
    torch.manual_seed(0)
    wanted = family.core.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        audio_prompt_latents=shown,
        audio_prompt_latents_mask=torch.ones(1, shown.shape[1], dtype=torch.long),
        max_new_tokens=30,
        frames_after_eos=2,
        return_dict_in_generate=True,
    ).audio_latents
    assert frames.shape == (1, 15, 4) and ends == [True]
    assert torch.equal(frames, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_heard_before_its_last_frame_is_drawn_and_ends_when_nobody_listens(opened: Opener, name: Name) -> None:
    family, drawn = lasting(opened(name), 20), list[int]()
    head = family.core.eos_head if name == "pocket_tts" else family.core.lm_head
    head.register_forward_hook(lambda *_: drawn.append(1))
    family.stopped = False
    pieces = family.synthesise_on("abc", voice_of(family))
    for wanted in (4, 8):
        next(pieces)
        assert len(drawn) == wanted
    pieces.close()
    assert len(drawn) == 8 and not family.stopped and not list(pieces)


@pytest.mark.parametrize("name", NAMES)
def test_those_who_take_turns_each_hear_their_own(opened: Opener, name: Name) -> None:
    family: Any = opened(name)
    family.model.eval()
    family.model.generation_config.do_sample = True
    voice, state, texts = voice_of(family), torch.get_rng_state(), ("ab", "b", "c a")
    alone = [np.concatenate(list(family.synthesise_on(text, voice))) for text in texts]
    together = list(zip_longest(*(family.synthesise_on(text, voice) for text in texts), fillvalue=SHOWN))
    for number, samples in enumerate(alone):
        assert np.array_equal(samples, np.concatenate([row[number] for row in together]))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_speech_that_does_not_end_is_cut_and_a_long_text_flows_in_pieces(
    opened: Opener, name: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = lasting(opened(name), 10)
    monkeypatch.setattr(f"train.families.{name}._LETTERS", 4)
    assert [len(piece) // FRAME for piece in family.synthesise_on("aba ab", SHOWN)] == [4, 4, 2] * 2
    assert family.stopped
    monkeypatch.setattr(f"train.families.{name}._FRAMES_A_LETTER", 1.5)
    assert [len(piece) // FRAME for piece in family.synthesise_on("aba ab", SHOWN)] == [4, 4, 1, 4, 3]
    assert not family.stopped


@pytest.mark.parametrize("name", NAMES)
def test_a_codec_that_looks_ahead_gives_whole_pieces(
    opened: Opener, name: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = lasting(opened(name), 9)
    codec = family.codec if name == "pocket_tts" else family.core.codec_model
    monkeypatch.setattr(codec.config, "use_causal_conv", False)
    (whole,) = family.synthesise_on("abc", SHOWN)
    assert np.array_equal(whole, family.synthesise("abc", SHOWN)) and family.stopped


def test_csm_that_says_nothing_says_a_tenth_of_a_second_of_it(opened: Opener) -> None:
    family = lasting(opened("csm"), 0)
    (nothing,) = family.synthesise_on("abc", SHOWN)
    assert len(nothing) == 2_400 and not nothing.any() and family.stopped
