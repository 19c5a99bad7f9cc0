"""Tiny models of every family, with random weights, and a dataset of four utterances to train them on."""

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
    if family == "whisper":
        _whisper(folder)
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


def samples(duration_s: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Some speech, float32 (n,), at 16 kHz."""
    return babble(duration_s, silence_s=0)
