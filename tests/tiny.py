"""Tiny models of every family, with random weights, and a dataset of four utterances to train them on."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from prepare import dataset
from recipes.records import Quality, Split, Utterance
from recipes.schema import Family, Recipe
from tests.babble import babble

QUALITY = Quality(
    loudness_lufs=-23.0,
    active_level_dbov=-24.0,
    peak=0.5,
    snr_db=40.0,
    clipped_share=0.0,
    clicks=0,
    bandwidth_hz=8_000,
    speech_share=0.8,
    letters_per_s=12.0,
)
TEXTS = ("ⴰⵉⵓ", "ⴰⵉⵓ ⴰⵉ", "ⴰⵉⵓ ⴰⵉⵓ", "ⴰⵉ")  # what `babble` says, five letters a second

CONFIGS: dict[Family, dict[str, Any]] = {
    "ctc": {
        "model_type": "wav2vec2-bert",
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "conv_depthwise_kernel_size": 7,
        "layerdrop": 0.0,
    },
    "speecht5": {
        "hidden_size": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "encoder_max_relative_position": 20,
        "speech_decoder_prenet_units": 32,
        "speech_decoder_postnet_layers": 2,
        "speech_decoder_postnet_units": 32,
        "speaker_embedding_dim": 64,
        "max_speech_positions": 100,
        "max_text_positions": 40,
    },
    "fastspeech2": {
        "hidden_size": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_linear_units": 64,
        "decoder_linear_units": 64,
        "decoder_kernel_size": 7,
        "duration_predictor_channels": 16,
        "energy_predictor_channels": 16,
        "pitch_predictor_channels": 16,
        "speech_decoder_postnet_layers": 2,
        "speech_decoder_postnet_units": 32,
    },
    "vits": {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "ffn_dim": 64,
        "flow_size": 16,
        "use_stochastic_duration_prediction": False,
        "duration_predictor_filter_channels": 16,
        "posterior_encoder_num_wavenet_layers": 2,
        "prior_encoder_num_flows": 2,
        "prior_encoder_num_wavenet_layers": 1,
        "upsample_initial_channel": 64,
        "upsample_rates": [8, 8, 4],
        "upsample_kernel_sizes": [16, 16, 8],
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3]],
    },
    "csm": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 120,
        "num_codebooks": 3,
        "vocab_size": 19,
        "codebook_pad_token_id": 18,
    },
    "pocket_tts": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 120,
        "latent_dim": 4,
        "latent_stats_ema_steps": 0,
    },
    "whisper": {
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_target_positions": 60,
    },
}


def utterance(name: str, text: str, split: Split = "train", duration_s: float | None = None) -> Utterance:
    """`text` in a voice of its own pitch, 0.2 s a letter unless told."""
    length_s = duration_s or 0.2 * len(text.replace(" ", ""))
    samples = babble(length_s, pitch_hz=110 + 10 * len(text), silence_s=0.1)
    return Utterance(
        purposes=["store_prepare", "asr_train", "tts_clone", "listen_test"],
        id=name,
        clip=name,
        speaker="amina",
        language="zgh-Tfng",
        text=text,
        text_normalized=text,
        audio=dataset.encode(samples, 16_000),
        rate_hz=16_000,
        duration_s=len(samples) / 16_000,
        quality=QUALITY,
        split=split,
    )


def utterances() -> list[Utterance]:
    """Four utterances, the same ones to train on, to validate with and to test."""
    splits: tuple[Split, ...] = ("train", "valid", "test")
    return [utterance(f"{split}-{n}", text, split) for split in splits for n, text in enumerate(TEXTS)]


def recipe(folder: Path, family: Family, **train: Any) -> Recipe:
    """A recipe of a few quick steps. `work_dir` is in the folder; nothing is written."""
    if family == "voxtral_tts":
        train = {"codec": f"{train['base']}/codec"} | train
    settings: dict[str, Any] = {
        "family": family,
        "method": "lora" if "base" in train else "full",
        "config": {} if "base" in train else CONFIGS[family],
        "learning_rate": 3e-3,
        "warmup_steps": 0,
        "max_steps": 4,
        "batch_s": 4,
        "probe": None,
        "wandb": {"mode": "disabled"},
    }
    return Recipe.model_validate(
        {
            "name": "tiny",
            "work_dir": "work",
            "collect": {"source": "recordings"},
            "prepare": {"purpose": "tts_clone", "languages": ["zgh-Tfng"]},
            "train": settings | train,
        },
        context={"folder": folder},
    )


def base(family: Family, folder: Path, letters: str = "ⴰⵉⵓ", **train: Any) -> str:
    """A base model of the family on disk, random, that knows a few letters. Returns its folder."""
    import torch

    from train.families import open_family

    torch.manual_seed(1)
    folder.mkdir(parents=True)
    if family in _BUILT:
        _BUILT[family](folder)
    else:
        made = open_family(recipe(folder, family, **train).train, letters=[letters])
        made.model.save_pretrained(folder)
        made.save_processor(folder)
    return str(folder)


def _whisper(folder: Path) -> None:
    """Bytes for tokens, no merges, and the special tokens of a model that knows one language."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )

    special = ["<|endoftext|>", "<|startoftranscript|>", "<|ar|>", "<|transcribe|>", "<|notimestamps|>"]
    vocabulary = {token: index for index, token in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    ids = {"bos_token_id": 256, "eos_token_id": 256, "pad_token_id": 256, "decoder_start_token_id": 257}
    settings: dict[str, Any] = CONFIGS["whisper"] | ids
    settings |= {"vocab_size": len(tokenizer), "begin_suppress_tokens": None, "suppress_tokens": None}
    model: Any = WhisperForConditionalGeneration(WhisperConfig(**settings))
    model.generation_config.no_timestamps_token_id = tokenizer.convert_tokens_to_ids("<|notimestamps|>")
    for part in (model, tokenizer, WhisperFeatureExtractor()):
        part.save_pretrained(folder)


def _bytes(*special: str) -> Any:
    """A tokenizer of bytes, without merges, and the special tokens after them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


def _csm(folder: Path) -> None:
    """Text as bytes, speech as three codes of sixteen in each frame."""
    import torch
    from transformers import CsmConfig, CsmForConditionalGeneration

    tokenizer = _bytes("<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>")
    begin, _, audio, end = range(256, 260)
    ids = {"bos_token_id": begin, "pad_token_id": audio, "audio_token_id": audio, "audio_eos_token_id": end}
    size = CONFIGS["csm"]
    depth = {key: size[key] for key in ("hidden_size", "num_codebooks", "vocab_size", "num_attention_heads")}
    depth |= {"backbone_hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_key_value_heads": 2}
    settings: dict[str, Any] = size | ids | {"text_vocab_size": len(tokenizer)}
    codec = _CODEC | _BOOKS | {"model_type": "mimi"}
    model: Any = CsmForConditionalGeneration(CsmConfig(**settings, depth_decoder_config=depth, codec_config=codec))
    for part in model.codec_model.modules():  # books of codes are learnt elsewhere: new ones are empty
        if hasattr(part, "embed_sum"):
            torch.nn.init.normal_(part.embed_sum)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _pocket_tts(folder: Path) -> None:
    """Text as letters between word boundaries, speech as four numbers in each frame; the codec beside it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        PocketTTSAudioTokenizerConfig,
        PocketTTSAudioTokenizerModel,
        PocketTTSConfig,
        PocketTTSFeatureExtractor,
        PocketTTSForConditionalGeneration,
        PreTrainedTokenizerFast,
    )

    pieces = ["<unk>", "<pad>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    made = Tokenizer(models.Unigram([(piece, -float(rank)) for rank, piece in enumerate(pieces)], unk_id=0))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", pad_token="<pad>")
    names = ("audio_prompt", "audio_latent", "audio_prompt_bos", "audio_bos")
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<{name}>" for name in names]})
    ids = {f"{name}_token_id": len(pieces) + rank for rank, name in enumerate(names)}
    head = {"hidden_size": 32, "num_hidden_layers": 1, "latent_dim": 4, "condition_dim": 32}
    sizes = CONFIGS["pocket_tts"] | ids | {"vocab_size": len(tokenizer), "pad_token_id": 1}
    codec = PocketTTSAudioTokenizerModel(PocketTTSAudioTokenizerConfig(**_CODEC | {"latent_dim": 4}))
    for part in (
        PocketTTSForConditionalGeneration(PocketTTSConfig(**sizes, flow_head_config=head)),
        tokenizer,
        PocketTTSFeatureExtractor(),
    ):
        part.save_pretrained(folder)
    codec.save_pretrained(folder / "codec")
    about = {"audio_tokenizer": {"audio_tokenizer_name_or_path": str(folder / "codec")}}
    (folder / "processor_config.json").write_text(json.dumps(about), encoding="utf-8")


def _tekken(folder: Path, special: list[str]) -> None:
    """A vocabulary of bytes in Mistral's own format, as theirs are published."""
    tekken = {
        "config": {
            "pattern": "[^ ]+| ",
            "num_vocab_tokens": 256,
            "default_vocab_size": 256 + len(special),
            "default_num_special_tokens": len(special),
            "version": "v7",
        },
        "vocab": [
            {"rank": byte, "token_bytes": base64.b64encode(bytes([byte])).decode(), "token_str": None}
            for byte in range(256)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": token, "is_control": True} for rank, token in enumerate(special)
        ],
    }
    (folder / "tekken.json").write_text(json.dumps(tekken), encoding="utf-8")


def _voxtral(folder: Path) -> None:
    """Two seconds of window."""
    from transformers import VoxtralConfig, VoxtralForConditionalGeneration, WhisperFeatureExtractor

    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>", "[AUDIO]", "[BEGIN_AUDIO]", "[TRANSCRIBE]"]
    _tekken(folder, special)
    text = {"vocab_size": 256 + len(special), "max_position_embeddings": 120} | _DECODER
    audio = {"num_mel_bins": 80, "max_source_positions": 100} | _ENCODER
    config = VoxtralConfig(text_config=text, audio_config=audio, audio_token_id=special.index("[AUDIO]"))
    VoxtralForConditionalGeneration(config).save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=2).save_pretrained(folder)


VOXTRAL_TTS_TOKENS = ["<unk>", "<s>", "</s>", "[AUDIO]", "[BEGIN_AUDIO]", "[REPEAT_AUDIO_TEXT]", "[NEXT_AUDIO_TEXT]"]


def voxtral_tts_params() -> dict[str, Any]:
    """`params.json` of Voxtral TTS in miniature: its keys, small numbers; four codes a frame in place of 37."""
    sizes = {"n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "hidden_dim": 64, "dim": 32, "use_biases": False}
    codes = {"semantic_codebook_size": 16, "acoustic_codebook_size": 5}
    return {
        **sizes,
        "n_layers": 2,
        "causal": True,
        "rope_theta": 1_000_000.0,
        "norm_eps": 1e-5,
        "vocab_size": 256 + len(VOXTRAL_TTS_TOKENS),
        "tied_embeddings": True,
        "max_seq_len": 120,
        "multimodal": {
            "bos_token_id": 1,
            "audio_model_args": {
                **codes,
                "n_acoustic_codebook": 3,
                "audio_encoding_args": {"codebook_pattern": "parallel", "num_codebooks": 4, "sampling_rate": 24_000},
                "input_embedding_concat_type": "sum",
                "acoustic_transformer_args": {**sizes, "input_dim": 32, "n_layers": 2, "sigma": 1e-5},
                "p_uncond": 0.0,
            },
            "audio_tokenizer_args": {
                **codes,
                "channels": 1,
                "sampling_rate": 24_000,
                "pretransform_patch_size": 240,
                "patch_proj_kernel_size": 7,
                "semantic_dim": 8,
                "acoustic_dim": 3,
                "conv_weight_norm": True,
                "causal": True,
                "attn_sliding_window_size": 16,
                "half_attn_window_upon_downsampling": True,
                **sizes,
                "dim": 16,
                "head_dim": 8,
                "n_kv_heads": 2,
                "qk_norm": True,
                "qk_norm_eps": 1e-6,
                "norm_eps": 0.01,
                "layer_scale": True,
                "layer_scale_init": 0.01,
                "decoder_transformer_lengths_str": "1,1,1,1",
                "decoder_convs_kernels_str": "3,4,4,4",
                "decoder_convs_strides_str": "1,2,2,2",
                "voice": {"casual_female": 0},
            },
        },
    }


def _voxtral_tts(folder: Path) -> None:
    """Text as bytes, speech as four codes in each frame; beside it an encoder, which the published one lacks."""
    from train.voxtral_tts.config import config_of
    from train.voxtral_tts.model import VoxtralTtsModel

    VoxtralTtsModel(config_of(voxtral_tts_params())).save_pretrained(folder)
    _tekken(folder, VOXTRAL_TTS_TOKENS)
    voxtral_tts_encoder(folder / "codec")


def voxtral_tts_encoder(folder: Path, semantic: int = 16, levels: int = 5, acoustic: int = 3, bias: float = 0) -> str:
    """A network that makes codes of sound, each by a random filter over its frame. Returns its folder."""
    import onnx
    from onnx import TensorProto, helper

    folder.mkdir(parents=True)
    filters = np.random.default_rng(0).standard_normal((1 + acoustic, 1, 1920)).astype(np.float32)
    sizes = np.array([[semantic - 1], *[[levels - 1]] * acoustic], np.float32)
    weights = {"filters": filters / 4, "half": np.full(1, 0.5, np.float32), "levels": sizes}
    weights["bias"] = np.full(1, bias, np.float32)
    nodes = [
        helper.make_node("Conv", ["sound", "filters"], ["heard"], strides=[1920]),
        helper.make_node("Tanh", ["heard"], ["bent"]),
        helper.make_node("Mul", ["bent", "half"], ["halved"]),
        helper.make_node("Add", ["halved", "half"], ["shares"]),  # between 0 and 1
        helper.make_node("Mul", ["shares", "levels"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["moved"]),
        helper.make_node("Round", ["moved"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["codes"], to=TensorProto.INT64),
    ]
    given = helper.make_tensor_value_info("sound", TensorProto.FLOAT, [1, 1, "samples"])
    made = helper.make_tensor_value_info("codes", TensorProto.INT64, [1, 1 + acoustic, "frames"])
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "encoder", [given], [made], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "encoder.onnx")
    return str(folder)


def _qwen3_asr(folder: Path) -> None:
    """Words as bytes, and the tokens that a conversation is made of."""
    from transformers import Qwen3ASRConfig, Qwen3ASRFeatureExtractor, Qwen3ASRForConditionalGeneration

    special = ("<|im_start|>", "<|im_end|>", "<|audio_start|>", "<|audio_pad|>", "<|audio_end|>", "<asr_text>")
    tokenizer = _bytes(*special)
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 200, "tie_word_embeddings": True} | _DECODER
    audio = {"num_mel_bins": 80, "output_dim": 32, "downsample_hidden_size": 4} | _ENCODER
    end = special.index("<|im_end|>") + 256
    ids = {"audio_token_id": 259, "timestamp_token_id": 0, "pad_token_id": end, "eos_token_id": end}
    model: Any = Qwen3ASRForConditionalGeneration(Qwen3ASRConfig(text_config=text, audio_config=audio, **ids))
    for part in (model, tokenizer, Qwen3ASRFeatureExtractor(feature_size=80)):
        part.save_pretrained(folder)


_DECODER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
_ENCODER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
_CODEC: dict[str, Any] = {
    "hidden_size": 16,
    "num_filters": 4,
    "upsample_groups": 16,
    "num_hidden_layers": 1,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
_BOOKS: dict[str, Any] = {
    "codebook_size": 16,
    "codebook_dim": 8,
    "vector_quantization_hidden_dimension": 8,
    "num_quantizers": 3,
}
_BUILT = {
    "whisper": _whisper,
    "csm": _csm,
    "pocket_tts": _pocket_tts,
    "qwen3_asr": _qwen3_asr,
    "voxtral": _voxtral,
    "voxtral_tts": _voxtral_tts,
}


def random_lora(family: Any, seed: int, std: float) -> None:
    """Give the adapter of a family, which begins as nothing, random weights."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in family.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=std)


def samples(duration_s: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Some speech, float32 (n,), at 16 kHz."""
    return babble(duration_s, silence_s=0)
