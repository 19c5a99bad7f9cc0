"""The sizes of Voxtral TTS, in the words of its `params.json`.

Source: mistralai/Voxtral-4B-TTS-2603; what the words mean is from vLLM-Omni, where Mistral AI put the model's code.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from transformers import MistralConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

SPECIAL = 2  # of each codebook's embedding the first rows: no code, end of audio
NOTHING, END = range(SPECIAL)
_ROUNDED_TO = 128  # rows of tables
# What the code takes for granted. A file that says otherwise is of another model.
_FIXED: dict[str, Any] = {
    "channels": 1,
    "causal": True,
    "qk_norm": True,
    "layer_scale": True,
    "conv_weight_norm": True,
    "half_attn_window_upon_downsampling": True,
    "use_biases": False,
    "input_embedding_concat_type": "sum",
    "codebook_pattern": "parallel",
}


@dataclass(frozen=True)
class Codes:
    """What a frame is made of: one semantic code, and acoustic ones, each a level of one number."""

    semantic_codebook_size: int
    acoustic_codebook_size: int  # levels
    n_acoustic_codebook: int

    @property
    def count(self) -> int:
        """Codes of a frame."""
        return 1 + self.n_acoustic_codebook

    @property
    def rows(self) -> list[int]:
        """Of each code, how many rows of the embedding are its own."""
        return [self.semantic_codebook_size + SPECIAL] + [
            self.acoustic_codebook_size + SPECIAL
        ] * self.n_acoustic_codebook

    @property
    def embedding_rows(self) -> int:
        """Rows of the embedding that all codes share."""
        return rounded_up(sum(self.rows))


@dataclass(frozen=True)
class AcousticSizes:
    """Of the transformer that draws a frame's acoustic codes."""

    dim: int
    n_layers: int
    head_dim: int
    hidden_dim: int
    n_heads: int
    n_kv_heads: int
    norm_eps: float = 1e-5
    n_decoding_steps: int = 8  # the paper's; the published file names none


@dataclass(frozen=True)
class CodecSizes:
    """Of the codec's decoder, from codes to samples."""

    sampling_rate: int
    pretransform_patch_size: int  # samples
    patch_proj_kernel_size: int
    semantic_codebook_size: int
    semantic_dim: int
    acoustic_codebook_size: int
    acoustic_dim: int
    attn_sliding_window_size: int  # positions looked back on, where there are most of them a second
    dim: int
    hidden_dim: int
    head_dim: int
    n_heads: int
    n_kv_heads: int
    qk_norm_eps: float
    norm_eps: float
    decoder_transformer_lengths_str: str
    decoder_convs_kernels_str: str
    decoder_convs_strides_str: str

    @property
    def stages(self) -> list[tuple[int, int, int]]:
        """Layers of each transformer, with kernel and stride of the convolution before it."""
        texts = self.decoder_transformer_lengths_str, self.decoder_convs_kernels_str, self.decoder_convs_strides_str
        lengths, kernels, strides = ([int(number) for number in text.split(",")] for text in texts)
        if strides[0] != 1 or not set(strides[1:]) <= {1, 2}:
            raise ValueError(
                f"decoder_convs_strides_str: {self.decoder_convs_strides_str} is not 1, then 1 or 2 each"
            )
        return list(zip(lengths, kernels, strides, strict=True))

    @property
    def hop(self) -> int:
        """Samples of a frame."""
        return self.pretransform_patch_size * math.prod(stride for _, _, stride in self.stages)


class VoxtralTtsConfig(PreTrainedConfig):
    """A language model's configuration, and two sections of `params.json` as they are there."""

    model_type = "voxtral_tts"
    sub_configs_defaults = {"text_config": SubConfigSpec(MistralConfig)}  # noqa: RUF012, as the library has it

    text_config: dict[str, Any] | PreTrainedConfig | None = None
    audio_model: dict[str, Any] | None = None
    audio_tokenizer: dict[str, Any] | None = None

    @property
    def codes(self) -> Codes:
        return _read(Codes, self.audio_model)

    @property
    def acoustic(self) -> AcousticSizes:
        return _read(AcousticSizes, (self.audio_model or {}).get("acoustic_transformer_args"))

    @property
    def codec(self) -> CodecSizes:
        return _read(CodecSizes, self.audio_tokenizer)


Sizes = TypeVar("Sizes", Codes, AcousticSizes, CodecSizes)


def _read(kind: type[Sizes], given: Any) -> Sizes:
    """The keys that are known of a section; what else it holds is for others. Raises ValueError."""
    known = {field.name: given[field.name] for field in fields(kind) if given and given.get(field.name) is not None}
    try:
        return kind(**known)
    except TypeError as error:
        raise ValueError(f"the configuration of {kind.__name__} is not whole: {error}") from None


def rounded_up(rows: int) -> int:
    """To what the published tables are rounded up to."""
    return -(-rows // _ROUNDED_TO) * _ROUNDED_TO


def config_of(params: dict[str, Any]) -> VoxtralTtsConfig:
    """The configuration that a `params.json` stands for. Raises ValueError when it is of another model."""
    try:
        audio, tokenizer = (params["multimodal"][name] for name in ("audio_model_args", "audio_tokenizer_args"))
        lengths = [params[name] for name in ("max_seq_len", "max_position_embeddings") if name in params]
        text = MistralConfig(
            vocab_size=params["vocab_size"],
            hidden_size=params["dim"],
            intermediate_size=params["hidden_dim"],
            num_hidden_layers=params["n_layers"],
            num_attention_heads=params["n_heads"],
            num_key_value_heads=params["n_kv_heads"],
            head_dim=params["head_dim"],
            rms_norm_eps=params["norm_eps"],
            max_position_embeddings=min(lengths),
            rope_parameters={"rope_type": "default", "rope_theta": params["rope_theta"]},
            sliding_window=None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"params.json is not that of Voxtral TTS: {error}") from None
    sections = (
        params,
        audio,
        audio.get("audio_encoding_args", {}),
        audio.get("acoustic_transformer_args", {}),
        tokenizer,
    )
    for section in sections:
        for key in set(_FIXED) & set(section):
            if section[key] != _FIXED[key]:
                raise ValueError(f"params.json: {key} is {section[key]!r}; only {_FIXED[key]!r} is known here")
    if params.get("yarn") or audio["acoustic_transformer_args"].get("input_dim", params["dim"]) != params["dim"]:
        raise ValueError("params.json: long-range positions (yarn), or an acoustic part of another width")
    config = VoxtralTtsConfig(text_config=text.to_dict(), audio_model=audio, audio_tokenizer=tokenizer)
    _ = config.codes, config.acoustic, config.codec.stages  # whole, or an error here
    return config
