"""Voxtral TTS: its network, how the published weights become it, and the encoder that the user brings.

The real weights were never at hand: what is read here is a file with the published names, in miniature.
"""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from recipes.schema import RecipeError, UserError, load
from tests import tiny
from train import adapter
from train.families import Skip, open_family
from train.features import samples_of
from train.voxtral_tts.acoustic import AcousticTransformer
from train.voxtral_tts.codec import Convolution, Decoder, _slopes
from train.voxtral_tts.config import Codes, config_of
from train.voxtral_tts.encoder import Encoder
from train.voxtral_tts.model import VoxtralTtsModel
from train.voxtral_tts.published import halved, ours, unsplit

ROWS = [row.model_dump() for row in tiny.utterances()[:4]]
EARLIER = tiny.utterance("earlier", "ⴰⵉⵓ ⴰ").model_dump()  # by which a voice is known
CODES = Codes(semantic_codebook_size=16, acoustic_codebook_size=5, n_acoustic_codebook=3)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.base("voxtral_tts", tmp_path_factory.mktemp("voxtral_tts") / "base")


@pytest.fixture
def family(base: str, tmp_path: Path) -> Any:
    return opened(base, tmp_path)


def opened(base: str, folder: Path, **train: Any) -> Any:
    return open_family(tiny.recipe(folder, "voxtral_tts", base=base, **train).train)


# ---------------------------------------------------------------- the published layout


def test_the_published_layout_is_read(base: str, tmp_path: Path) -> None:
    published(base, tmp_path / "published")
    saved, theirs = opened(base, tmp_path), opened(str(tmp_path / "published"), tmp_path, codec=f"{base}/codec")
    assert type(theirs.model) is type(saved.model)
    weights = theirs.model.state_dict()
    for name, weight in saved.model.state_dict().items():
        assert torch.allclose(weights[name], weight, atol=1e-6), name
    voice = theirs.voice(samples_of(theirs, EARLIER))
    assert np.array_equal(voice, saved.voice(samples_of(saved, EARLIER)))
    assert theirs.encode("ⴰ", samples_of(theirs, ROWS[0]), voice).keys() == {"ids", "codes", "learnt"}


def test_every_name_of_the_file_has_its_place(base: str, tmp_path: Path) -> None:
    names = set(load_file(published(base, tmp_path)))
    assert {
        "mm_audio_embeddings.tok_embeddings.weight",
        "mm_audio_embeddings.audio_codebook_embeddings.embeddings.weight",
        "norm.weight",
        "layers.1.attention.wq.weight",
        "layers.1.attention_norm.weight",
        "layers.1.feed_forward.w3.weight",
        "layers.1.ffn_norm.weight",
        "acoustic_transformer.layers.1.attention.wk.weight",
        "acoustic_transformer.semantic_codebook_output.weight",
        "acoustic_transformer.llm_projection.weight",
        "audio_tokenizer.quantizer.semantic_codebook.cluster_usage",
        "audio_tokenizer.quantizer.semantic_codebook.embedding_sum",
        "audio_tokenizer.decoder_blocks.0.conv.parametrizations.weight.original0",
        "audio_tokenizer.decoder_blocks.1.layers.0.attention.q_norm.weight",
        "audio_tokenizer.decoder_blocks.1.layers.0.attention_scale",
        "audio_tokenizer.decoder_blocks.2.conv.parametrizations.weight.original1",
        "audio_tokenizer.output_proj.conv.parametrizations.weight.original1",
    } < names


def test_the_sizes_of_the_published_tables() -> None:
    codes = Codes(semantic_codebook_size=8192, acoustic_codebook_size=21, n_acoustic_codebook=36)
    assert codes.count == 37
    assert codes.embedding_rows == 9088
    assert codes.rows[:2] == [8194, 23]
    config = config_of(tiny.voxtral_tts_params())
    assert config.codec.hop == 1920  # 80 ms at 24 kHz
    assert AcousticTransformer(config.acoustic, codes).semantic_codebook_output.out_features == 8320


def test_all_386_names_and_shapes_of_the_published_file_have_their_place() -> None:
    """At full size, without numbers in it."""
    params, wide = tiny.voxtral_tts_params(), {"dim": 3072, "hidden_dim": 9216, "n_heads": 32, "n_kv_heads": 8}
    audio, codec = (params["multimodal"][name] for name in ("audio_model_args", "audio_tokenizer_args"))
    params |= wide | {"head_dim": 128, "n_layers": 26, "vocab_size": 131_072}
    audio["acoustic_transformer_args"] |= wide | {"head_dim": 128, "input_dim": 3072, "n_layers": 3}
    codes = {"semantic_codebook_size": 8192, "acoustic_codebook_size": 21}
    audio |= codes | {"n_acoustic_codebook": 36}
    codec |= codes | {"semantic_dim": 256, "acoustic_dim": 36, "dim": 1024, "hidden_dim": 4096, "head_dim": 128}
    codec |= {"n_heads": 8, "n_kv_heads": 8, "decoder_transformer_lengths_str": "2,2,2,2"}
    config = config_of(params)
    with torch.device("meta"):
        model = VoxtralTtsModel(config)
        theirs = {name: torch.empty(shape) for name, shape in published_shapes().items()}
    assert len(theirs) == 386
    found = {name: weight.shape for name, weight in ours(theirs, config).items()}
    assert found == {name: weight.shape for name, weight in model.state_dict().items()}
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(4.0e9, rel=0.01)


def published_shapes() -> dict[str, tuple[int, ...]]:
    """What is in `consolidated.safetensors`, as the implementations that read it say."""
    audio, heard = "mm_audio_embeddings", "acoustic_transformer"
    shapes: dict[str, tuple[int, ...]] = {
        f"{audio}.tok_embeddings.weight": (131_072, 3072),
        f"{audio}.audio_codebook_embeddings.embeddings.weight": (9088, 3072),
        "norm.weight": (3072,),
        f"{heard}.norm.weight": (3072,),
        f"{heard}.llm_projection.weight": (3072, 3072),
        f"{heard}.time_projection.weight": (3072, 3072),
        f"{heard}.input_projection.weight": (3072, 36),
        f"{heard}.semantic_codebook_output.weight": (8320, 3072),
        f"{heard}.acoustic_codebook_output.weight": (36, 3072),
        "audio_tokenizer.quantizer.semantic_codebook.embedding_sum": (8192, 256),
        "audio_tokenizer.quantizer.semantic_codebook.cluster_usage": (8192,),
    }
    blocks = {"decoder_blocks.0": (1024, 292, 3), "output_proj": (240, 1024, 7)}
    blocks |= {f"decoder_blocks.{block}": (1024, 1024, 4) for block in (2, 4, 6)}
    for block, shape in blocks.items():
        split = f"audio_tokenizer.{block}.conv.parametrizations.weight.original"
        shapes |= {f"{split}0": (shape[0], 1, 1), f"{split}1": shape}
    wide = [f"layers.{n}" for n in range(26)] + [f"{heard}.layers.{n}" for n in range(3)]
    for layer in wide:
        shapes |= _layer(layer, 3072, 9216, 4096, 1024)
    for block, n in itertools.product((1, 3, 5, 7), range(2)):
        layer = f"audio_tokenizer.decoder_blocks.{block}.layers.{n}"
        shapes |= _layer(layer, 1024, 4096, 1024, 1024)
        names = ("attention.q_norm.weight", "attention.k_norm.weight", "attention_scale", "ffn_scale")
        shapes |= {f"{layer}.{name}": (1024,) for name in names}
    return shapes


def _layer(layer: str, dim: int, hidden: int, queries: int, keys: int) -> dict[str, tuple[int, ...]]:
    sizes = {"attention.wq": (queries, dim), "attention.wk": (keys, dim), "attention.wv": (keys, dim)}
    sizes |= {"attention.wo": (dim, queries), "feed_forward.w1": (hidden, dim), "feed_forward.w3": (hidden, dim)}
    sizes |= {"feed_forward.w2": (dim, hidden), "attention_norm": (dim,), "ffn_norm": (dim,)}
    return {f"{layer}.{name}.weight": shape for name, shape in sizes.items()}


def test_rotation_by_halves_gives_what_rotation_by_neighbours_gave() -> None:
    torch.manual_seed(0)
    heads, size, width, length = 2, 8, 12, 5
    queries, keys = (torch.randn(heads * size, width) for _ in range(2))
    x = torch.randn(length, width)

    def scores(q: torch.Tensor, k: torch.Tensor, rotated: Any) -> torch.Tensor:
        q, k = (rotated((x @ weight.T).unflatten(1, (heads, size))) for weight in (q, k))
        return torch.einsum("qhd,khd->hqk", q, k)

    angles = torch.arange(length)[:, None, None] * 10_000.0 ** (-torch.arange(0, size, 2) / size)

    def by_neighbours(x: torch.Tensor) -> torch.Tensor:  # as complex numbers, in Mistral's own code
        turned = torch.view_as_complex(x.unflatten(2, (-1, 2))) * torch.polar(torch.ones_like(angles), angles)
        return torch.view_as_real(turned).flatten(2)

    def by_halves(x: torch.Tensor) -> torch.Tensor:  # in transformers
        first, second = x.chunk(2, -1)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)

    theirs = scores(queries, keys, by_neighbours)
    assert torch.allclose(scores(halved(queries, heads), halved(keys, heads), by_halves), theirs, atol=1e-4)
    assert not torch.allclose(scores(queries, keys, by_halves), theirs, atol=1e-1)


@pytest.mark.parametrize("layer", [nn.Conv1d(3, 5, 4, bias=False), nn.ConvTranspose1d(3, 5, 4, bias=False)])
def test_split_weights_are_made_whole_as_torch_does(layer: nn.Module) -> None:
    split = torch.nn.utils.parametrizations.weight_norm(layer)
    length, direction = split.parametrizations.weight.original0, split.parametrizations.weight.original1
    with torch.no_grad():
        length.mul_(-2.0)
    assert torch.allclose(unsplit(length, direction), split.weight)


def test_an_encoder_that_somebody_put_back_does_not_disturb(base: str, tmp_path: Path) -> None:
    path = published(base, tmp_path)
    weights = load_file(path) | {
        "audio_tokenizer.input_proj.conv.parametrizations.weight.original0": torch.ones(2, 1, 1),
        "audio_tokenizer.encoder_blocks.0.layers.0.attention.wq.weight": torch.ones(2, 2),
        "acoustic_transformer.time_embedding.inv_freq": torch.ones(2),
    }
    save_file(weights, path, {"format": "pt"})
    opened(str(tmp_path), tmp_path, codec=f"{base}/codec")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop("norm.weight"), "missing keys, the first of them language_model.norm.weight"),
        (lambda weights: weights.update({"strange": torch.ones(1)}), "unexpected keys, the first of them strange"),
    ],
)
def test_weights_that_are_not_those_of_the_model(base: str, tmp_path: Path, change: Any, said: str) -> None:
    path = published(base, tmp_path)
    weights = load_file(path)
    change(weights)
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(UserError, match=f"consolidated.safetensors: {said}"):
        opened(str(tmp_path), tmp_path, codec=f"{base}/codec")


def test_pickled_weights_in_the_published_layout_are_refused(base: str, tmp_path: Path) -> None:
    published(base, tmp_path).rename(tmp_path / "consolidated.00.pth")
    with pytest.raises(UserError, match="weights are read from safetensors only"):
        opened(str(tmp_path), tmp_path, codec=f"{base}/codec")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["multimodal", "audio_tokenizer_args", "causal"], False, "causal is False; only True is known here"),
        (["multimodal", "audio_model_args", "input_embedding_concat_type"], "cat", "only 'sum' is known here"),
        (
            ["multimodal", "audio_tokenizer_args", "decoder_convs_strides_str"],
            "1,3,2,2",
            "is not 1, then 1 or 2 each",
        ),
        (["yarn"], {"factor": 16}, "long-range positions"),
        (["multimodal"], {}, "params.json is not that of Voxtral TTS: 'audio_model_args'"),
        (["multimodal", "audio_tokenizer_args", "dim"], None, "configuration of CodecSizes is not whole"),
    ],
)
def test_another_architecture_is_refused_by_name(path: list[str], value: Any, said: str) -> None:
    section = params = tiny.voxtral_tts_params()
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    with pytest.raises(ValueError, match=said):
        config_of(params)


def published(base: str, folder: Path) -> Path:
    """A folder in Mistral AI's layout that holds the weights of `base`. Returns the file of weights."""
    folder.mkdir(exist_ok=True)
    (folder / "params.json").write_text(json.dumps(tiny.voxtral_tts_params()), encoding="utf-8")
    (folder / "tekken.json").write_bytes(Path(base, "tekken.json").read_bytes())
    weights = {}
    for name, weight in load_file(Path(base, "model.safetensors")).items():
        weights |= theirs(name, weight)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / "consolidated.safetensors")
    return folder / "consolidated.safetensors"


def theirs(name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """One of our weights as the published file has it."""
    if name == "audio_tokenizer.semantic_codebook.weight":
        used = torch.arange(1.0, 1 + len(weight))
        book = "audio_tokenizer.quantizer.semantic_codebook"
        return {f"{book}.embedding_sum": weight * used[:, None], f"{book}.cluster_usage": used}
    if name.startswith("audio_tokenizer.") and ".conv." in name:
        length = weight.flatten(1).norm(dim=1)[:, None, None]
        split = name.replace(".weight", ".parametrizations.weight.original")
        return {f"{split}0": length, f"{split}1": 3 * weight}
    for heads, part in ((2, "q"), (1, "k")):
        if f"self_attn.{part}_proj" in name:
            weight = weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
    return {_published_name(name): weight}


def _published_name(name: str) -> str:
    if not name.startswith("language_model."):
        return name.replace("audio_embeddings.", "mm_audio_embeddings.audio_codebook_embeddings.embeddings.")
    name = name.removeprefix("language_model.").replace("embed_tokens", "mm_audio_embeddings.tok_embeddings")
    name = name.replace("input_layernorm", "attention_norm").replace("post_attention_layernorm", "ffn_norm")
    for here, there in (("gate", "w1"), ("down", "w2"), ("up", "w3")):
        name = name.replace(f"mlp.{here}_proj", f"feed_forward.{there}")
    for part in "qkvo":
        name = name.replace(f"self_attn.{part}_proj", f"attention.w{part}")
    return name


# ---------------------------------------------------------------- the flow


def flow(**sizes: Any) -> AcousticTransformer:
    torch.manual_seed(0)
    return AcousticTransformer(config_of(tiny.voxtral_tts_params()).acoustic, CODES).eval()


def test_noise_is_carried_along_a_straight_line_to_the_codes() -> None:
    """Known answer: where the velocity is that of the line, any number of steps arrives."""
    model, noise = flow(), torch.randn(4, 3)
    codes = torch.tensor([[0, 2, 4], [1, 1, 1], [4, 4, 4], [3, 0, 2]])
    straight = model.numbers(codes) - noise
    model.velocity = lambda x, times, hidden: straight.repeat(len(x) // 4, 1)  # type: ignore[method-assign]
    assert torch.equal(model.drawn(torch.zeros(4, 32), noise), codes)


def test_what_the_flow_learns_is_the_velocity_of_that_line() -> None:
    model, targets = flow(), torch.tensor([[3, 0, 2, 4], [0, -100, -100, -100]])
    noise, times, seen = torch.randn(2, 3), torch.tensor([0.25, 0.5]), {}

    def velocity(x: torch.Tensor, times: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        seen.update(x=x, times=times)
        return model.numbers(targets[:1, 1:]) - noise[:1]

    model.velocity = velocity  # type: ignore[method-assign]
    losses = model.losses(torch.randn(2, 32), targets, noise, times)
    assert losses["acoustic"].item() == 0.0
    assert torch.allclose(seen["x"], 0.75 * noise[:1] + 0.25 * torch.tensor([[-1.0, 0.0, 1.0]]))
    assert seen["times"].tolist() == [0.25]  # the end of audio has no acoustic codes
    assert losses["semantic"].item() > 0


def test_guidance_goes_beyond_the_velocity_without_the_language_model() -> None:
    model, hidden = flow(), torch.ones(1, 32)
    model.velocity = lambda x, times, state: state[:, :1].expand(-1, 3)  # type: ignore[method-assign]
    drawn = model.drawn(hidden, torch.full((1, 3), -0.9))
    assert drawn.tolist() == [[3, 3, 3]]  # -0.9 + 1.2 = 0.3 is nearest to level 3 of -1, -0.5, 0, 0.5, 1


def test_in_training_one_frame_in_ten_is_learnt_without_the_language_model() -> None:
    model, dropped = flow().train(), []
    model.velocity = lambda x, times, state: dropped.append(state.eq(0).all(1)) or x  # type: ignore
    targets = torch.ones(4000, 4, dtype=torch.long)
    model.losses(torch.ones(4000, 32), targets, torch.randn(4000, 3), torch.rand(4000))
    assert 0.08 < float(dropped[0].float().mean()) < 0.12


def test_the_time_is_told_apart_and_positions_of_frames_are_not() -> None:
    model, x, hidden = flow(), torch.randn(2, 3), torch.randn(2, 32)
    early, late = (model.velocity(x, torch.full((2,), time), hidden) for time in (0.0, 0.9))
    assert not torch.allclose(early, late)
    assert torch.allclose(model.velocity(x[1:], torch.zeros(1), hidden[1:]), early[1:], atol=1e-6)


def test_an_utterance_has_the_same_validation_loss_each_time_and_in_any_company(family: Any) -> None:
    family.model.eval()
    short, long = (family.encode(row["text"], samples_of(family, row), np.zeros(0)) for row in (ROWS[3], ROWS[2]))
    state = torch.get_rng_state()
    with torch.no_grad():
        each = [family.model(**family.collate([example])) for example in (short, long)]
        both = family.model(**family.collate([long, short]))
    assert torch.equal(torch.get_rng_state(), state)
    for name, length in (("acoustic", 0), ("semantic", 1)):
        frames = [len(example["codes"]) + length for example in (short, long)]
        total = sum(float(loss[name]) * count for loss, count in zip(each, frames, strict=True))
        assert float(both[name]) == pytest.approx(total / sum(frames), rel=1e-4)


# ---------------------------------------------------------------- what the language model reads


def test_a_prompt_is_what_the_published_tokenizer_makes_of_a_voice_and_a_text(family: Any) -> None:
    voice = family.voice(samples_of(family, EARLIER))
    example = family.encode("ab", samples_of(family, ROWS[0]), voice)
    shown, spoken = len(voice) // 4, int(example["learnt"][0])
    ids = family.tokenizer.convert_ids_to_tokens(example["ids"])
    frames = ["[AUDIO]"] * (shown + 1)  # and the end of them
    assert ids[: shown + 3] == ["<s>", "[BEGIN_AUDIO]", *frames]
    assert ids[shown + 3 :] == [
        *("[NEXT_AUDIO_TEXT]", "a", "b", "[REPEAT_AUDIO_TEXT]", "[BEGIN_AUDIO]"),
        *["[AUDIO]"] * spoken,
    ]
    assert family.encode("ab", samples_of(family, ROWS[0]), voice[:0])["ids"][2] == family._next


def test_an_utterance_is_not_its_own_voice(family: Any) -> None:
    samples = samples_of(family, ROWS[0])
    own, other = family.voice(samples), family.voice(samples_of(family, EARLIER))
    lengths = [len(family.encode("ⴰ", samples, voice)["codes"]) for voice in (own, other)]
    assert lengths == [len(own) // 4, len(own) // 4 + len(other) // 4 + 1]


def test_where_a_voice_does_not_fit_the_utterance_is_learnt_without(family: Any) -> None:
    voice = family.voice(np.zeros(100 * 1920, np.float32))
    example = family.encode("ⴰ", samples_of(family, ROWS[2]), voice)
    assert len(example["codes"]) == int(example["learnt"][0])
    with pytest.raises(Skip, match=r"letters and frames of 10.0 s; the model holds 120"):
        family.encode("ⴰ", np.zeros(240_000, np.float32), voice)


def test_each_code_has_rows_of_its_own(family: Any) -> None:
    core = family.core
    rows = core.audio_embeddings.weight
    codes = torch.tensor([[3, 0, 1, 4], [-1, -1, -1, -1]])
    frame = rows[2 + 3] + rows[18 + 2 + 0] + rows[25 + 2 + 1] + rows[32 + 2 + 4]
    end = rows[1] + rows[18] + rows[25] + rows[32]
    assert torch.allclose(core.embedded(codes), torch.stack([frame, end]), atol=1e-6)


def test_text_that_is_there_already_is_not_learnt_anew(family: Any) -> None:
    rows = family.core.get_input_embeddings().weight
    assert not rows.requires_grad
    added = family.add_letters(["ⵣa"])
    assert list(added) == ["language_model.embed_tokens"]
    assert len(added["language_model.embed_tokens"]) == 1  # `a` is a token as it is
    assert family.core.get_input_embeddings().weight.requires_grad
    assert family.add_letters(["ⵣ"]) == {}


def test_frames_come_one_by_one_as_if_all_were_read_at_once(family: Any) -> None:
    """The loss reads an utterance whole, speaking reads it frame after frame: the same semantic codes."""
    core = family.core.eval()
    ids = torch.tensor([family._prefix("ⴰⵉ", 0)])
    with torch.inference_mode():
        spoken = torch.stack(list(core.frames(ids, ids < 0, torch.zeros(0, 4, dtype=torch.long), 6)))
        whole = torch.cat([core.language_model.embed_tokens(ids)[0], core.embedded(spoken)])
        states = core.language_model(inputs_embeds=whole[None]).last_hidden_state[0, ids.shape[1] - 1 : -1]
        likeliest = core.acoustic_transformer.semantic(states).argmax(1) - 1
    assert torch.equal(likeliest, spoken[:, 0])


# ---------------------------------------------------------------- the codec


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(config_of(tiny.voxtral_tts_params()).codec).eval()


def frames_of(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    semantic = torch.randint(16, (count, 1), generator=generator)
    return torch.cat([semantic, torch.randint(5, (count, 3), generator=generator)], 1)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 30))
def test_a_frame_is_80_ms(count: int) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        assert Decoder(config_of(tiny.voxtral_tts_params()).codec)(frames_of(count)).shape == (count * 1920,)


def test_the_decoder_looks_back_only_and_not_far(decoder: Decoder) -> None:
    codes = frames_of(40)
    other = codes.clone()
    other[20] = torch.tensor([15, 0, 4, 0])
    with torch.no_grad():
        changed = (decoder(codes) - decoder(other)).abs().unflatten(0, (40, 1920)).amax(1) > 0
    assert not changed[:20].any()
    assert changed[20]
    assert not changed[33:].any()  # two frames for each stage and the first convolution, and a little for the others


def test_each_stage_sees_twice_the_positions_of_the_one_before(decoder: Decoder) -> None:
    assert [block.window for block in decoder.decoder_blocks if hasattr(block, "window")] == [2, 4, 8, 16]


def test_slopes_halve_from_one() -> None:
    assert _slopes(8) == [2.0**-n for n in range(8)]
    assert _slopes(2) == [1.0, 2.0**-4]
    assert len(_slopes(6)) == 6


@pytest.mark.parametrize("ends", ["replicate", "reflect"])
@pytest.mark.parametrize("length", [1, 3, 9])
def test_a_convolution_keeps_the_length_however_short(ends: str, length: int) -> None:
    layer, x = Convolution(1, 1, 7, ends), torch.arange(1.0, 1 + length)[None, None]
    with torch.no_grad():
        layer.conv.weight.zero_()[0, 0, -1] = 1.0  # the newest position alone
        assert torch.equal(layer(x), x)


def test_the_numbers_of_the_codec_are_those_of_the_flow(decoder: Decoder) -> None:
    seen: list[torch.Tensor] = []
    handle = decoder.decoder_blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    codes = frames_of(3)
    with torch.no_grad():
        decoder(codes)
    handle.remove()
    assert torch.allclose(seen[0][0, 8:].T, flow().numbers(codes[:, 1:]))
    assert torch.equal(seen[0][0, :8].T, decoder.semantic_codebook.weight[codes[:, 0]])


# ---------------------------------------------------------------- the encoder


def test_without_an_encoder_one_sentence_says_why(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(tiny.recipe(tmp_path, "csm", base="./base").text(), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"train: Voxtral TTS cannot be trained .* lack the encoder") as error:
        load(path, ["train.family=voxtral_tts"])
    assert "\n" not in str(error.value)


def test_an_encoder_turns_each_80_ms_into_codes(base: str) -> None:
    encoder = Encoder(f"{base}/codec", CODES, 1920)
    assert encoder(tiny.samples(1.0)).shape == (math.ceil(16_000 / 1920), 4)
    assert encoder(np.zeros(1, np.float32)).tolist() == [[8, 2, 2, 2]]


def test_an_encoder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"encoder\.onnx"):
        Encoder(str(tmp_path), CODES, 1920)


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"torch.save() would be a pickle")
    with pytest.raises(UserError, match=r"train\.codec: .*encoder\.onnx is no ONNX network"):
        Encoder(str(tmp_path), CODES, 1920)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"acoustic": 5}, r"gives int64 \(1, 6, 2\) for 3840 samples, not int64 \(1, 4, 2\)"),
        ({"bias": 40.0}, "gives codes outside of 0 to 15 and 4"),
        ({"bias": -40.0}, "gives codes outside of 0 to 15 and 4"),
    ],
)
def test_codes_of_another_codec_are_refused(tmp_path: Path, made: dict[str, Any], said: str) -> None:
    encoder = Encoder(tiny.voxtral_tts_encoder(tmp_path / "codec", **made), CODES, 1920)
    with pytest.raises(UserError, match=said):
        encoder(np.ones(3840, np.float32))


def test_another_encoder_means_other_features(base: str, tmp_path: Path) -> None:
    one = adapter.base_hash(f"{base}/codec")
    assert one != adapter.base_hash(tiny.voxtral_tts_encoder(tmp_path / "codec", bias=1.0))
    assert one is not None


# ---------------------------------------------------------------- learning


def test_what_training_whole_has_saved_comes_back_with_its_letters(base: str, family: Any, tmp_path: Path) -> None:
    family.add_letters(["ⵣ"])
    family.model.eval()
    family.model.save_pretrained(tmp_path / "whole")
    family.save_processor(tmp_path / "whole")
    again = opened(str(tmp_path / "whole"), tmp_path, codec=f"{base}/codec", method="full")
    again.model.eval()
    voice = family.voice(samples_of(family, EARLIER))
    assert len(again._prefix("ⵣ", 0)) == len(family._prefix("ⵣ", 0)) == 6  # one token
    assert np.array_equal(again.synthesise("ⵣ", voice), family.synthesise("ⵣ", voice))


@pytest.mark.slow
def test_four_utterances_are_learnt_by_heart_code_for_code(family: Any) -> None:
    family.add_letters(tiny.TEXTS)
    voice = family.voice(samples_of(family, EARLIER))
    examples = [family.encode(row["text"], samples_of(family, row), voice) for row in ROWS]
    batch = family.collate(examples * 4)  # noise is drawn anew for each
    weights = [weight for weight in family.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, 1e-2)
    torch.manual_seed(2)

    def spoken_right(text: str, example: Any) -> bool:
        torch.manual_seed(0)
        ids = torch.tensor([family._prefix(text, len(voice) // 4)])
        shown = torch.from_numpy(family._closed(family._shown(voice)))
        frames = list(family.core.frames(ids, ids == family._frame, shown, 60))
        own = torch.from_numpy(example["codes"][-int(example["learnt"][0]) :]).long()
        return bool(frames) and torch.equal(torch.stack(frames), own)

    def known() -> bool:
        family.model.eval()
        with torch.inference_mode(), torch.random.fork_rng():
            texts = [row["text"] for row in ROWS]
            return all(spoken_right(text, example) for text, example in zip(texts, examples, strict=True))

    for step in range(400):
        if step % 25 == 24 and known():
            break
        family.model.train()
        family.loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert known()
