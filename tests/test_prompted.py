"""CSM and Pocket TTS: a voice is shown by a clip of the speaker's, and speech is what a codec makes of it.

All models here are tiny and random (tests/tiny.py); nothing is downloaded.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipes.schema import Family as Name
from recipes.schema import UserError
from tests import tiny
from tests.test_families import ROWS, Opener, bases, encoded, learn, opened, voice_of
from train import adapter
from train.families import Prompted, Skip
from train.features import prompts, samples_of, speaker_voices

__all__ = ["bases", "opened"]  # fixtures
NAMES: tuple[Name, ...] = ("csm", "pocket_tts")


class Rows(list[dict[str, Any]]):
    """A dataset as features reads it: rows by number, columns by name."""

    def __getitem__(self, key: Any) -> Any:
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


def test_the_prompt_is_the_clip_nearest_to_five_seconds_among_the_first() -> None:
    lengths = [("amina", 1.0), ("brahim", 9.0), ("amina", 6.5), ("amina", 4.0), ("brahim", 12.0), ("amina", 5.0)]
    assert prompts(lengths) == {"amina": 5, "brahim": 1}
    assert prompts(lengths, most=3) == {"amina": 3, "brahim": 1}


@pytest.mark.parametrize("name", NAMES)
def test_a_speaker_is_known_by_one_of_their_clips(opened: Opener, name: Name) -> None:
    family = opened(name)
    assert isinstance(family, Prompted)
    voices = speaker_voices(family, Rows(ROWS))
    longest = max(ROWS, key=lambda row: row["duration_s"])
    shown = family.prompt("amina", longest["text"], samples_of(family, longest))
    assert np.array_equal(voices["amina"], shown)
    assert shown.dtype == np.float32


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_is_not_its_own_prompt(opened: Opener, name: Name) -> None:
    family: Any = opened(name)
    clip, other = (samples_of(family, row) for row in ROWS[:2])
    key = {"csm": "codes", "pocket_tts": "shown"}[name]
    alone = family.encode("ⴰⵉⵓ", clip, np.zeros(0, np.float32))[key]
    assert np.array_equal(family.encode("ⴰⵉⵓ", clip, family.prompt("amina", "ⴰⵉⵓ", clip))[key], alone)
    assert len(family.encode("ⴰⵉⵓ", clip, family.prompt("amina", "ⴰⵉⵓ ⴰⵉ", other))[key]) > len(alone)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_text_and_voice_sound_the_same_each_time(opened: Opener, name: Name) -> None:
    family = opened(name)
    family.model.eval()
    family.model.generation_config.do_sample = True
    voice = voice_of(family)
    first, state = family.synthesise("ⴰⵉ", voice), torch.get_rng_state()
    assert np.array_equal(family.synthesise("ⴰⵉ", voice), first)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("name", "key"), [("csm", "_LETTERS"), ("pocket_tts", "_LETTERS")])
def test_a_long_text_is_spoken_in_pieces(
    opened: Opener, name: Name, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    family: Any = opened(name)
    family.model.eval()
    monkeypatch.setattr(f"train.families.{name}.{key}", 4)
    said: list[str] = []
    monkeypatch.setattr(family, "_speak", lambda text, *rest: said.append(text) or np.ones(3, np.float32))
    assert len(family.synthesise("ⴰⵉⵓ ⴰⵉ ⵓ", np.zeros(0, np.float32))) == 6
    assert said == ["ⴰⵉⵓ", "ⴰⵉ ⵓ"]


@pytest.mark.parametrize("name", NAMES)
def test_without_a_prompt_there_is_speech_as_well(opened: Opener, name: Name) -> None:
    family = opened(name)
    family.model.eval()
    assert family.synthesise("ⴰ", np.zeros(0, np.float32)).dtype == np.float32


# ---------------------------------------------------------------- CSM


def test_csm_reads_the_speaker_the_text_and_the_speech_of_the_context_first(opened: Opener) -> None:
    family: Any = opened("csm")
    family.add_letters(tiny.TEXTS)
    clip, other = (samples_of(family, row) for row in ROWS[:2])
    voice = family.prompt("amina", "ⴰⵉⵓ ⴰⵉ", other)
    ids = family.encode("ⴰⵉⵓ", clip, voice)["ids"]
    text = family.tokenizer.decode(ids[ids != family.config.audio_token_id])
    number = text[len("<|begin_of_text|>[") : text.index("]")]
    assert 0 <= int(number) < 1000
    turn = "<|begin_of_text|>[{}]{}<|end_of_text|><|audio_eos|>"
    assert text == turn.format(number, "ⴰⵉⵓ ⴰⵉ") + turn.format(number, "ⴰⵉⵓ")


def test_csm_learns_the_sentence_and_not_its_context(opened: Opener) -> None:
    family: Any = opened("csm")
    examples = encoded(family, ROWS[:2])
    labels = family.collate(examples)["labels"]
    assert labels.shape[2] == family.config.num_codebooks
    for row, example in enumerate(examples):
        learnt = labels[row][labels[row, :, 0] != -100]
        frames = int(example["learnt"][0])
        assert np.array_equal(learnt[:-1], example["codes"][-frames:])
        assert (learnt[-1] == family.config.codebook_eos_token_id).all()


def test_the_base_itself_computes_the_same_loss_from_the_sound(opened: Opener) -> None:
    family: Any = opened("csm")
    family.model.eval()
    clip = samples_of(family, ROWS[1])
    batch = family.collate([family.encode("ⴰⵉⵓ", clip, np.zeros(0, np.float32))])
    ids, learnt = batch["input_ids"], batch["labels"][..., 0] != -100
    with torch.no_grad():
        theirs = family.model(
            input_ids=ids,
            input_values=torch.from_numpy(clip)[None, None],
            input_values_cutoffs=torch.tensor([[len(clip)]]),
            labels=torch.where(learnt, ids, -100),
        ).loss
        assert float(family.loss(batch)) == pytest.approx(float(theirs), rel=1e-5)


def test_a_context_that_leaves_no_room_is_left_out(opened: Opener) -> None:
    family: Any = opened("csm")
    clip = tiny.samples(9.0)  # of 120 positions, 78 at 24 kHz
    long = family.prompt("amina", "ⴰ", tiny.samples(8.0))
    assert len(family.encode("ⴰ", clip, long)["codes"]) == len(family.encode("ⴰ", clip, long[:1])["codes"])
    with pytest.raises(Skip, match="the model holds 120"):
        family.encode("ⴰ", tiny.samples(15.0), long)


@pytest.mark.parametrize("targets", [None, ["q_proj"]])
def test_lora_leaves_the_codec_alone(opened: Opener, targets: list[str] | None) -> None:
    family: Any = opened("csm")
    lora = tiny.recipe(Path(), "csm", base="./base", lora={"targets": targets}).train.lora
    adapter.add_lora(family, lora, tiny.TEXTS)
    adapted = [name for name, weight in family.model.named_parameters() if weight.requires_grad]
    assert any("backbone_model" in name for name in adapted)
    assert any("depth_decoder" in name for name in adapted)
    assert not [name for name in adapted if "codec" in name]


# ---------------------------------------------------------------- Pocket TTS


def test_pocket_tts_spells_words_with_new_letters_and_leaves_the_others_to_the_base(opened: Opener) -> None:
    family: Any = opened("pocket_tts")
    assert family.add_letters(["ⴰⵣⵓⵍ salam سلام"])
    family.add_letters(["ⴰⵣⵓⵍ"])
    voiceless = family.encode("ⴰⵣ sal سلا", tiny.samples(0.5), np.zeros(0, np.float32))["ids"]
    tokens = family.tokenizer.convert_ids_to_tokens(voiceless)
    assert tokens[: tokens.index("<audio_bos>")] == [*"▁ⴰⵣ", *"▁sal", *"▁سلا"]
    assert set(tokens[tokens.index("<audio_bos>") + 1 :]) == {"<audio_latent>"}


def test_a_new_letter_of_pocket_tts_starts_as_the_mean_of_what_there_is(opened: Opener) -> None:
    family: Any = opened("pocket_tts")
    ((path, rows),) = family.add_letters(["ⵣ"]).items()
    weight = family.model.get_submodule(path).weight
    assert weight[rows[0]].abs().sum() > 0
    assert family.add_letters(["ⵣ"]) == {}


def test_training_leaves_the_statistics_of_frames_as_they_were(opened: Opener) -> None:
    family: Any = opened("pocket_tts")
    before = family.model.latent_mean.clone(), family.model.latent_std.clone()
    learn(family, ROWS[:1], 3, 1e-3)
    assert torch.equal(family.model.latent_mean, before[0]) and torch.equal(family.model.latent_std, before[1])


def test_the_loss_of_pocket_tts_repeats(opened: Opener) -> None:
    family: Any = opened("pocket_tts")
    batch = family.collate(encoded(family, ROWS[:2]))
    family.model.eval()
    with torch.no_grad():
        assert float(family.loss(batch)) == float(family.loss(batch))  # validation: the same noise each time
    family.model.train()
    losses = []
    for _ in range(2):  # training: as far as torch's generator is where it was
        torch.manual_seed(5)
        losses.append([float(family.loss(batch).detach()) for _ in range(6)])
    assert losses[0] == losses[1]
    assert len(set(losses[0])) > 1


def test_a_base_without_a_codec_says_which_key_to_set(opened: Opener, bases: dict[Name, str], tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(bases["pocket_tts"], folder)
    (folder / "processor_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"train.codec: .*bare names no codec in its processor_config.json"):
        opened("pocket_tts", base=str(folder))
    assert opened("pocket_tts", base=str(folder), codec=f"{bases['pocket_tts']}/codec").rate_hz == 24_000


def test_a_flow_head_that_cannot_be_trained_is_refused(
    opened: Opener, bases: dict[Name, str], tmp_path: Path
) -> None:
    folder = tmp_path / "drifting"
    shutil.copytree(bases["pocket_tts"], folder)
    config = json.loads((folder / "config.json").read_text())
    config["flow_head_config"]["flow_type"] = "drifting"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"its flow head \(drifting\) cannot be trained"):
        opened("pocket_tts", base=str(folder))
