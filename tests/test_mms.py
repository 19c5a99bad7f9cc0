"""MMS: one CTC model with a small adapter, letters and an output layer for each language."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from prepare import dataset
from recipes.schema import UserError
from tests import tiny
from tests.test_families import ROWS, learn
from tests.test_train import ELSEWHERE, ROOT, outcome
from train import __main__ as script
from train.adapter import add_lora
from train.families import open_family

LETTERS = {"eng": "abc", "ary": "ابت", "rif-script_latin": "abc"}


@pytest.fixture(scope="module")
def mms(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny MMS model on disk: English in the model, Darija in a file beside it, Rifian as a pickle."""
    folder = tmp_path_factory.mktemp("mms")
    torch.manual_seed(3)
    vocabulary = {
        language: {token: index for index, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *letters])}
        for language, letters in LETTERS.items()
    }
    size = len(vocabulary["eng"])
    config = Wav2Vec2Config(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16, 16),
        conv_stride=(10, 32),
        conv_kernel=(10, 32),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        do_stable_layer_norm=True,
        adapter_attn_dim=4,
        apply_spec_augment=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        layerdrop=0.0,
    )
    model = Wav2Vec2ForCTC(config)
    model.save_pretrained(folder)
    other = {name: torch.randn_like(weight) * 0.1 for name, weight in model._get_adapters().items()}
    save_file(other, folder / "adapter.ary.safetensors")
    torch.save(other, folder / "adapter.rif-script_latin.bin")
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    settings = {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "word_delimiter_token": "|",
        "target_lang": "eng",
        **special,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return str(folder)


def opened(folder: Path, base: str, **train: Any) -> Any:
    return open_family(tiny.recipe(folder, "ctc", base=base, **train).train)


def test_a_language_brings_its_letters_and_its_weights(mms: str, tmp_path: Path) -> None:
    english, darija = opened(tmp_path, mms), opened(tmp_path, mms, mms_adapter="ary")
    assert "ب" in darija.tokenizer.get_vocab() and "ب" not in english.tokenizer.get_vocab()
    assert not torch.equal(english.model.lm_head.weight, darija.model.lm_head.weight)


def test_its_adapter_and_output_layer_train_whole_beside_lora(mms: str, tmp_path: Path) -> None:
    family = opened(tmp_path, mms, mms_adapter="ary")
    add_lora(family, tiny.recipe(tmp_path, "ctc", base=mms).train.lora, tiny.TEXTS)
    trained = [name for name, weight in family.model.named_parameters() if weight.requires_grad]
    for part in ("adapter_layer", "lm_head", "lora_"):
        assert any(part in name for name in trained), part
    family.model.eval()
    before, after = learn(family, ROWS[:1], 20, 1e-2)
    assert after < before


def test_an_adapter_on_a_language_comes_back_in_another_process(mms: str, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, "ctc", base=mms, mms_adapter="ary", learning_rate=0.02)
    dataset.write(recipe, tiny.utterances())
    script.main(recipe)
    path = tmp_path / "mms.yaml"
    path.write_text(recipe.text(), encoding="utf-8")
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", ELSEWHERE, str(path)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | threads, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here, there = outcome(recipe), np.load(path.with_suffix(".npz"))
    assert np.array_equal(here["losses"], there["losses"])
    assert np.array_equal(here["text"], there["text"])


def test_a_language_that_the_base_has_not(mms: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be loaded: .*adapter.zgh"):
        opened(tmp_path, mms, mms_adapter="zgh")


def test_an_adapter_in_a_pickle_is_refused(mms: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="weights are read from safetensors only"):
        opened(tmp_path, mms, mms_adapter="rif-script_latin")


def test_a_model_without_languages_says_so(tmp_path: Path) -> None:
    base = tiny.base("ctc", tmp_path / "base")
    with pytest.raises(UserError, match=r"train.mms_adapter: .*base is no MMS model"):
        opened(tmp_path, base, mms_adapter="ary")


def test_a_model_that_was_trained_without_a_mask_is_given_none(mms: str, tmp_path: Path) -> None:
    family = opened(tmp_path, mms, mms_adapter="ary")
    family.features.return_attention_mask = False
    batch = family.collate([{"inputs": tiny.samples(1.0), "labels": family.tokenizer("ابت").input_ids}])
    assert set(batch) == {"input_values", "labels"}
    assert torch.isfinite(family.loss(batch))
