"""VITS and MMS-TTS: alignment, the training step, the opponent, letters, voices, published weights.

What every family does is in tests/test_families.py and tests/test_train.py.
"""

import csv
import itertools
import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import VitsConfig, VitsModel, VitsTokenizer

from prepare import dataset
from recipes.schema import Train, UserError
from tests import tiny
from tests.babble import babble
from tests.conftest import ROOT
from tests.test_loop import same, stop_at, train, weights
from train import __main__ as script
from train import adapter
from train.batching import batches
from train.families import Example, Samples, Skip
from train.families.vits import Vits
from train.features import resampled
from train.speech import letter_frames
from train.vits.alignment import durations, likelihoods, path
from train.vits.discriminator import PERIODS, Discriminator, opposed_losses
from train.vits.letters import alike
from train.vits.model import TrainableVits, begin, fold_weight_norm
from train.vits.spectrogram import linear, log_mel

STOCHASTIC = tiny.CONFIGS["vits"] | {"use_stochastic_duration_prediction": True}
VOICES = tiny.CONFIGS["vits"] | {"speaker_embedding_size": 8}
NO_VOICE = np.zeros(0, np.float32)


def vits(config: dict[str, Any] | None = None, letters: str = "ⴰⵉⵓ", **train: Any) -> Vits:
    """A tiny model with random weights, or with `base` one from disk."""
    torch.manual_seed(1)
    given = {"family": "vits", "config": {} if "base" in train else config or tiny.CONFIGS["vits"]}
    method = {"method": "lora" if "base" in train else "full"}
    return Vits(Train.model_validate(given | method | train), letters=[letters])


def batch_of(family: Vits, *texts: str, pitch_hz: float = 120) -> dict[str, torch.Tensor]:
    clips = [babble(0.2 * len(text), pitch_hz=pitch_hz, silence_s=0.1) for text in texts]
    return family.collate(
        [family.encode(text, clip, family.voice(clip)) for text, clip in zip(texts, clips, strict=True)]
    )


# ---------------------------------------------------------------- alignment


def best_by_trying_all(scores: np.ndarray[Any, Any]) -> list[int]:
    """Durations with the highest sum of scores (frames, tokens), by trying every way to cut the frames."""
    frames, tokens = scores.shape
    ways = (np.diff([0, *cuts, frames]) for cuts in itertools.combinations(range(1, frames), tokens - 1))
    owner = np.arange(tokens)
    return list(max(ways, key=lambda counts: scores[range(frames), np.repeat(owner, counts)].sum()))


@given(st.integers(1, 9), st.data())
@settings(deadline=None)
def test_alignment_finds_the_best_of_all_monotonic_paths(frames: int, data: st.DataObject) -> None:
    tokens = data.draw(st.integers(1, frames))
    scores = np.random.default_rng(data.draw(st.integers(0, 999))).normal(size=(frames, tokens)).astype(np.float32)
    found = durations(torch.from_numpy(scores)[None], torch.tensor([frames]), torch.tensor([tokens]))
    assert found[0].tolist() == best_by_trying_all(scores)


def test_each_utterance_of_a_batch_is_aligned_as_if_alone() -> None:
    scores = torch.randn(2, 12, 5, generator=torch.Generator().manual_seed(0))
    together = durations(scores, torch.tensor([12, 7]), torch.tensor([5, 3]))
    alone = durations(scores[1:, :7, :3], torch.tensor([7]), torch.tensor([3]))
    assert together[1].tolist() == [*alone[0].tolist(), 0, 0]
    assert together.sum(1).tolist() == [12, 7]


def test_a_path_gives_each_frame_to_one_token() -> None:
    found = path(torch.tensor([[2, 1, 3], [1, 2, 0]]), 6)
    assert found.argmax(2).tolist() == [[0, 0, 1, 2, 2, 2], [0, 1, 1, 0, 0, 0]]
    assert found.sum(2).tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]


def test_likelihoods_are_those_of_normal_distributions() -> None:
    latents, means, log_stds = torch.randn(1, 3, 4), torch.randn(1, 2, 3), 0.3 * torch.randn(1, 2, 3)
    normal = torch.distributions.Normal(means[0, 1], log_stds[0, 1].exp())
    expected = torch.stack([normal.log_prob(latents[0, :, t]).sum() for t in range(4)])
    assert torch.allclose(likelihoods(latents, means, log_stds)[0, :, 1], expected, atol=1e-5)


# ---------------------------------------------------------------- the training step


def test_spectrograms_are_those_of_librosa() -> None:
    wave = tiny.samples(0.5)
    ours = linear(torch.from_numpy(wave)[None], 1024, 256)[0].numpy()
    padded = np.pad(wave, 384, "reflect")
    theirs = np.abs(librosa.stft(padded, n_fft=1024, hop_length=256, center=False))
    assert ours.shape == theirs.shape == (513, len(wave) // 256)
    assert np.allclose(ours, np.sqrt(theirs**2 + 1e-6), atol=1e-4)
    mels = librosa.filters.mel(sr=16_000, n_fft=1024, n_mels=80) @ ours
    assert np.allclose(log_mel(torch.from_numpy(ours)[None], 16_000)[0], np.log(np.maximum(mels, 1e-5)), atol=1e-4)


@pytest.mark.parametrize("config", [tiny.CONFIGS["vits"], STOCHASTIC, VOICES])
def test_every_part_learns_from_the_loss(config: dict[str, Any]) -> None:
    family = vits(config)
    family.model.train()
    batch = batch_of(family, "ⴰⵉⵓ", "ⴰⵉ")
    loss = family.loss(batch)
    loss.backward()
    last = {"flow.flows", "duration_predictor.flows", "duration_predictor.post_flows"}  # behind a coupling of zeros
    still = [name for name, weight in family.model.named_parameters() if weight.grad is None]
    assert not [name for name in still if not any(name.startswith(part) for part in last)]
    assert torch.isfinite(loss)


@pytest.mark.parametrize("config", [tiny.CONFIGS["vits"], STOCHASTIC])
def test_half_precision_gives_nearly_the_same_loss(config: dict[str, Any]) -> None:
    family = vits(config)
    family.model.eval()
    batch = batch_of(family, "ⴰⵉⵓ", "ⴰⵉ")
    with torch.no_grad():
        whole = float(family.loss(batch))
        with torch.autocast("cpu", torch.bfloat16):
            assert float(family.loss(batch)) == pytest.approx(whole, rel=0.05)


def test_pieces_are_drawn_at_random_in_training_and_stay_put_in_validation() -> None:
    model = vits().model
    frames = torch.tensor([62, 45, 100])
    model.train()
    assert model._pieces(frames)[1].tolist() != model._pieces(frames)[1].tolist()
    model.eval()
    length, starts = model._pieces(frames)
    assert (length, starts.tolist()) == (32, [15, 7, 34])
    assert model._pieces(torch.tensor([20, 60]))[0] == 20  # as short as the shortest


def test_a_new_decoder_is_quiet_and_a_new_flow_changes_nothing() -> None:
    torch.manual_seed(1)
    config = VitsConfig(**tiny.CONFIGS["vits"])
    published = VitsModel(config)
    latents = torch.randn(1, 16, 32)
    with torch.no_grad():
        assert published.decoder(latents).abs().mean() > 0.5  # transformers' random weights: no gradient passes
        begin(published)
        assert published.decoder(latents).abs().mean() < 0.2
        assert torch.allclose(published.flow(latents, torch.ones(1, 1, 32)), latents)


@pytest.mark.parametrize("config", [tiny.CONFIGS["vits"], STOCHASTIC])
def test_speech_is_that_of_transformers(config: dict[str, Any], tmp_path: Path) -> None:
    family = vits(config)
    family.model.save_pretrained(tmp_path)
    family.save_processor(tmp_path)
    theirs = VitsModel.from_pretrained(tmp_path).eval()
    ids = VitsTokenizer.from_pretrained(tmp_path)("ⴰⵉ ⵓⴰ", return_tensors="pt")
    family.model.eval()
    ours = family.synthesise("ⴰⵉ ⵓⴰ", NO_VOICE)
    torch.manual_seed(0)
    with torch.no_grad():
        assert np.array_equal(ours, theirs(**ids).waveform[0].numpy())
    assert np.array_equal(family.synthesise("ⴰⵉ ⵓⴰ", NO_VOICE), ours)


def test_a_model_that_has_learnt_nothing_does_not_speak_for_minutes() -> None:
    family = vits()
    with torch.no_grad():
        family.model.duration_predictor.proj.bias.fill_(20.0)
    assert len(family.synthesise("ⴰⵉⵓ", NO_VOICE)) == 7 * 62 * 256  # a second for each of its seven tokens


def test_nothing_to_say_is_a_moment_of_sound() -> None:
    assert 0 < len(vits().synthesise("", NO_VOICE)) <= 16_000


# ---------------------------------------------------------------- the opponent


@pytest.fixture(scope="module")
def judge() -> Discriminator:
    torch.manual_seed(1)
    made = Discriminator(32)
    made.normalise_weights()
    return made


def test_the_opponent_learns_from_its_own_loss_alone(judge: Discriminator) -> None:
    real, made = torch.randn(2, 1, 4096), torch.randn(2, 1, 4096, requires_grad=True)
    own, caught, unlike = opposed_losses(judge, real, made)
    (caught + unlike).backward(retain_graph=True)
    assert all(weight.grad is None for weight in judge.parameters())
    assert made.grad is not None and made.grad.abs().sum() > 0
    made.grad = None
    own.backward()
    assert made.grad is None
    assert all(weight.grad is not None for weight in judge.parameters())
    judge.zero_grad(set_to_none=True)


def test_speech_that_is_a_recording_has_no_unlike_features(judge: Discriminator) -> None:
    real = torch.randn(2, 1, 4000)  # no multiple of a period
    own, caught, unlike = (float(loss.detach()) for loss in opposed_losses(judge, real, real.clone()))
    assert unlike == 0
    scores = [features[-1].detach() for features in judge(real)]
    assert len(scores) == 1 + len(PERIODS)
    assert caught == pytest.approx(sum(float(((1 - s) ** 2).mean()) for s in scores), rel=1e-5)
    assert own == pytest.approx(caught + sum(float((s**2).mean()) for s in scores), rel=1e-5)


def test_a_published_opponent_has_the_published_size() -> None:
    with torch.device("meta"):
        published = Discriminator(512)
    assert sum(weight.numel() for weight in published.parameters()) / 1e6 == pytest.approx(46.7, abs=0.05)
    names = set(published.state_dict())
    assert {"discriminators.0.convs.5.weight", "discriminators.5.convs.4.weight"} <= names
    assert {"discriminators.0.final_conv.weight", "discriminators.5.final_conv.bias"} <= names


def test_adversarial_losses_are_there_in_training_alone() -> None:
    family = vits(adversarial=True)
    family.add_discriminator()
    batch = batch_of(family, "ⴰⵉⵓ", "ⴰⵉ")
    family.model.train()
    with torch.autocast("cpu", torch.bfloat16):
        found = family.model(**batch)
    assert found.keys() == {"mel", "kl", "duration", "discriminator", "generator", "features", "loss"}
    numbers = {name: float(loss.detach()) for name, loss in found.items()}
    assert numbers.pop("loss") == pytest.approx(sum(numbers.values()), rel=1e-3)
    family.model.eval()
    assert family.model(**batch).keys() == {"mel", "kl", "duration", "loss"}


def adversarial(folder: Path, **settings: Any) -> Any:
    given = {"adversarial": True, "learning_rate": 1e-3, "max_steps": 4, "save_every": 2, "validate_every": 4}
    return train(folder, family="vits", **given | settings)[1]


def test_adversarial_training_goes_on_after_a_stop_as_if_there_had_been_none(tmp_path: Path) -> None:
    base = tiny.base("vits", tmp_path / "base")
    whole = adversarial(tmp_path / "whole", base=base)
    with pytest.raises(KeyboardInterrupt):
        adversarial(tmp_path / "stopped", base=base, max_steps=4, probe=None, on_row=stop_at(4))
    again = adversarial(tmp_path / "stopped", base=base)
    ours, theirs = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert same(ours, theirs)
    opponent = [name for name in ours if "discriminator" in name]
    first = load_file(sorted((tmp_path / "whole/work/train/checkpoints").iterdir())[0] / "weights.safetensors")
    assert opponent and not any(torch.equal(first[name], ours[name]) for name in opponent)
    assert any("lora_" in name and "decoder" in name for name in ours)
    assert same(whole.model.state_dict(), again.model.state_dict())


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_opponent_is_no_part_of_the_result(method: str, tmp_path: Path) -> None:
    base = tiny.base("vits", tmp_path / "base")
    family = adversarial(tmp_path, base=base, method=method, max_steps=1)
    family.model.save_pretrained(tmp_path / "made")
    (file,) = (tmp_path / "made").glob("*.safetensors")
    saved = load_file(file)
    assert saved and not [name for name in saved if "discriminator" in name]
    if method == "full":
        assert saved.keys() == load_file(Path(base, "model.safetensors")).keys()


def test_an_opponent_in_the_base_is_taken(tmp_path: Path) -> None:
    base = tiny.base("vits", tmp_path / "base")
    torch.manual_seed(5)
    judge = Discriminator(64)
    held = {f"discriminator.{name}": weight for name, weight in judge.state_dict().items()}
    weights_of_both = load_file(Path(base, "model.safetensors")) | held
    save_file(weights_of_both, Path(base, "model.safetensors"), {"format": "pt"})
    family = vits(base=base, adversarial=True)
    family.add_discriminator()
    taken = family.core.discriminator
    assert taken is not None
    wave = torch.randn(1, 1, 2048)
    with torch.no_grad():
        assert torch.allclose(taken(wave)[0][-1], judge(wave)[0][-1], atol=1e-5)


def test_without_an_opponent_the_decoder_of_a_base_is_left_alone(tmp_path: Path) -> None:
    base = tiny.base("vits", tmp_path / "base")
    whole = vits(base=base, method="full")
    assert not any(weight.requires_grad for weight in whole.model.decoder.parameters())
    assert all(weight.requires_grad for weight in whole.model.flow.parameters())
    lora = vits(base=base)
    adapter.add_lora(lora, Train.model_validate({"family": "vits", "base": base}).lora, [])
    trained = [name for name, weight in lora.model.named_parameters() if weight.requires_grad]
    assert trained and not [name for name in trained if "decoder" in name]


# ---------------------------------------------------------------- weights as published

MMS = " '-abdefghijklmnopqrstuwyzḍḥṛṣṭẓġšḫε"  # letters as in an MMS model of Tachelhit; the first is the blank too


def published(folder: Path, config: VitsConfig, letters: str = MMS) -> dict[str, torch.Tensor]:
    """A folder as MMS-TTS is published: weight norm by its old names, the unknown letter beside the vocabulary."""
    torch.manual_seed(2)
    model = VitsModel(config)
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    held = {}
    for name, weight in model.state_dict().items():
        for new, published_name in old.items():
            name = name.replace(new, published_name)
        held[name] = weight.clone().contiguous()
    folder.mkdir(exist_ok=True)
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    settings = config.to_dict() | {"architectures": ["VitsModel"], "torch_dtype": "float32"}
    settings.pop("pad_token_id", None)
    vocabulary = {letter: number for number, letter in enumerate(letters[::-1])}
    kind = {"tokenizer_class": "VitsTokenizer", "add_blank": True, "normalize": True, "phonemize": False}
    kind |= {"pad_token": letters[-1], "unk_token": "<unk>", "is_uroman": False, "language": "shi"}
    files = {"config.json": settings, "vocab.json": vocabulary, "tokenizer_config.json": kind}
    files["special_tokens_map.json"] = {"pad_token": letters[-1], "unk_token": "<unk>"}
    files["added_tokens.json"] = {"<unk>": len(letters)}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return held


@pytest.fixture(scope="module")
def mms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model laid out as MMS-TTS is."""
    folder = tmp_path_factory.mktemp("mms")
    published(folder, VitsConfig(**STOCHASTIC | {"vocab_size": len(MMS)}))
    return folder


def test_a_model_of_the_size_and_layout_of_mms_is_read(tmp_path: Path) -> None:
    held = published(tmp_path, VitsConfig(vocab_size=len(MMS)))
    assert "flow.flows.0.wavenet.in_layers.0.weight_g" in held
    family = vits(base=str(tmp_path), method="full")
    read = family.model.state_dict()
    assert len(read) == len(held)
    for name, weight in held.items():
        name = name.replace(".weight_g", ".parametrizations.weight.original0")
        assert torch.equal(read[name.replace(".weight_v", ".parametrizations.weight.original1")], weight)
    assert sum(weight.numel() for weight in family.model.parameters()) / 1e6 == pytest.approx(36.3, abs=0.05)
    assert family.rate_hz == 16_000


def test_a_known_text_is_spelt_as_the_published_tokenizer_does(mms: Path) -> None:
    family = vits(base=str(mms))
    theirs = VitsTokenizer.from_pretrained(mms)
    for text in ("azul a gma", "Azul A Gma", "ġ-iḍ-an"):
        ids = family.encode(text, tiny.samples(1.0), NO_VOICE)["ids"]
        assert list(ids) == theirs(text).input_ids
    with pytest.raises(Skip, match=r"the tokenizer has no letter ⵣ \(train.lora.new_tokens adds it\)"):
        family.encode("ⵣ", tiny.samples(1.0), NO_VOICE)


def test_padding_is_not_told_by_the_id_of_the_blank(mms: Path) -> None:
    family = vits(base=str(mms))
    batch = batch_of(family, "azul", "a")
    assert batch["attention_mask"].sum(1).tolist() == [9, 3]


def test_tifinagh_begins_as_the_letters_that_sound_alike(mms: Path) -> None:
    family = vits(base=str(mms))
    rows = family.add_letters(["ⴰⵣⵓⵍ ⵖⵛⵅ", "ⴰ"])
    known, (first, *_) = family.tokenizer.encoder, rows["text_encoder.embed_tokens"]
    assert first == len(MMS) + 1  # the unknown letter has a row of its own now
    weight = family.model.text_encoder.embed_tokens.weight
    for tifinagh, latin in zip("ⴰⵣⵓⵍⵖⵛⵅ", "azulġšḫ", strict=True):
        assert torch.equal(weight[known[tifinagh]], weight[known[latin]])
    assert np.array_equal(family.synthesise("ⴰⵣⵓⵍ", NO_VOICE), family.synthesise("azul", NO_VOICE))


@pytest.mark.parametrize(
    ("letter", "known", "near"),
    [("ⵥ", "ẓz", "ẓ"), ("ⵥ", "z", "z"), ("ɣ", "gġ", "ġ"), ("ڭ", "كق", "ك"), ("ⵄ", "عه", "ع"), ("7", "ḥh", "ḥ")],
)
def test_what_sounds_alike(letter: str, known: str, near: str) -> None:
    assert alike(letter, dict.fromkeys(known, 0)) == near
    assert alike(letter, {}) is None


def test_lora_sits_on_plain_layers_that_do_the_same(mms: Path) -> None:
    whole, folded = (TrainableVits.from_pretrained(mms).eval() for _ in range(2))
    fold_weight_norm(folded)
    assert not [name for name in folded.state_dict() if "parametrizations" in name]
    ids = [torch.tensor([3, 0, 4, 0, 5])]
    torch.manual_seed(0)
    (first,) = whole.speak(ids, torch.zeros(1, 0), nullcontext)
    torch.manual_seed(0)
    assert torch.allclose(folded.speak(ids, torch.zeros(1, 0), nullcontext)[0], first, atol=1e-6)


def test_lora_sits_on_attention_and_convolutions_of_every_part(mms: Path) -> None:
    family = vits(base=str(mms), adversarial=True)
    adapter.add_lora(family, Train.model_validate({"family": "vits", "base": str(mms)}).lora, [])
    trained = " ".join(name for name, weight in family.model.named_parameters() if weight.requires_grad)
    parts = (
        "attention.q_proj",
        "feed_forward.conv_2",
        "flow.flows.1.wavenet.in_layers.0",
        "decoder.resblocks.2.convs2.1",
    )
    parts += ("posterior_encoder.wavenet.res_skip_layers.1", "duration_predictor.conv_dds.convs_pointwise.2")
    assert all(part in trained for part in parts)


def test_models_of_phonemes_or_numbered_speakers_are_refused(mms: Path, tmp_path: Path) -> None:
    published(
        tmp_path / "many", VitsConfig(**tiny.CONFIGS["vits"], num_speakers=5, speaker_embedding_size=8, vocab_size=41)
    )
    with pytest.raises(UserError, match=r"many knows 5 speakers by number; .* take a base of one voice"):
        vits(base=str(tmp_path / "many"))
    published(tmp_path / "spoken", VitsConfig(**tiny.CONFIGS["vits"], vocab_size=len(MMS)))
    settings = json.loads((mms / "tokenizer_config.json").read_text())
    (tmp_path / "spoken/tokenizer_config.json").write_text(json.dumps(settings | {"phonemize": True}))
    with pytest.raises(UserError, match=r"spoken reads phonemes; here models read letters"):
        vits(base=str(tmp_path / "spoken"))


# ---------------------------------------------------------------- voices


def test_a_model_with_voices_speaks_in_each() -> None:
    family = vits(VOICES)
    low, high = (family.voice(babble(0.5, pitch_hz=pitch_hz)) for pitch_hz in (100, 220))
    assert low.shape == (64,) and np.linalg.norm(low) == pytest.approx(1.0, abs=1e-5)
    torch.manual_seed(1)
    with torch.no_grad():
        family.model.decoder.cond.weight.normal_()
    one, other = family.synthesise("ⴰⵉ", low), family.synthesise("ⴰⵉ", high)
    assert not np.array_equal(one, other[: len(one)])


def test_the_number_of_voices_is_not_for_the_recipe_to_say() -> None:
    with pytest.raises(UserError, match=r"train.config.num_speakers: leave it out; with speaker_embedding_size"):
        vits(tiny.CONFIGS["vits"] | {"num_speakers": 4})


@pytest.mark.parametrize("config", [tiny.CONFIGS["vits"], VOICES])
def test_several_speakers_of_a_model_of_one_voice_are_told(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny.recipe(tmp_path, "vits", config=config, max_steps=1)
    rows = [row.model_copy(update={"speaker": f"s{n % 2}"}) for n, row in enumerate(tiny.utterances())]
    dataset.write(recipe, rows)
    script.main(recipe)
    told = "2 speakers, and this model has one voice: it becomes a mixture" in capsys.readouterr().out
    assert told == (config is not VOICES)
    family = adapter.open_model(recipe, "adapter")
    voices = adapter.voice_of(family, recipe)
    assert {voice.shape for voice in voices.values()} == {(64,) if config is VOICES else (0,)}
    assert len(family.synthesise("ⴰⵉⵓ", voices["s0"])) > 0


def test_an_opponent_is_for_vits_alone() -> None:
    with pytest.raises(ValueError, match="`adversarial` is for the family vits only"):
        Train.model_validate({"family": "ctc", "base": "x", "adversarial": True})


def test_frames_longer_than_their_window_are_refused() -> None:
    with pytest.raises(UserError, match=r"train.config: 65 spectrogram_bins are too few for frames of 256"):
        vits(tiny.CONFIGS["vits"] | {"spectrogram_bins": 65})


# ---------------------------------------------------------------- from nothing


@pytest.mark.slow
def test_a_small_model_from_nothing_finds_out_which_letter_is_where() -> None:
    """44 clips, two minutes of speech, 1,000 steps: letters come to lie where a recogniser hears them."""
    torch.set_flush_denormal(True)
    clips = list(sample_clips())
    family = vits(SMALL, letters="".join(text for text, _ in clips))
    examples = [family.encode(text, clip, NO_VOICE) for text, clip in clips]
    recogniser = adapter.open_recogniser(str(ROOT / "recipes/nano_asr"))
    heard = [centres_heard(recogniser, text, clip) for text, clip in clips]
    evenly = np.concatenate(
        [(np.arange(len(h)) + 0.5) / len(h) * len(c[1]) / 16_000 for h, c in zip(heard, clips, strict=True)]
    )
    even = float(np.abs(evenly - np.concatenate(heard)).mean())

    def misplaced_s() -> tuple[float, int]:
        found = [token_frames(family, example) for example in examples]
        centres = [(np.cumsum(frames) - frames / 2)[1::2] * 256 / 16_000 for frames in found]
        return float(np.abs(np.concatenate(centres) - np.concatenate(heard)).mean()), int(np.concatenate(found).max())

    assert misplaced_s()[0] > even  # an untrained model gives nearly all frames to one letter
    learn_by_batches(family, examples, [len(clip) / 16_000 for _, clip in clips], steps=1000, rate=2e-3)
    error_s, longest = misplaced_s()
    print(f"letters {error_s:.3f} s from where they are heard; spread evenly {even:.3f} s; longest {longest} frames")
    assert error_s < 0.7 * even
    assert longest < 80  # frames of 16 ms: a pause between sentences, and nothing like half a clip
    ratios = [len(family.synthesise(text, NO_VOICE)) / len(clip) for text, clip in clips]
    print(f"spoken / recorded: mean {np.mean(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")
    assert 0.8 < np.mean(ratios) < 1.2 and min(ratios) > 0.6 and max(ratios) < 1.5


SMALL = {
    **{"hidden_size": 64, "num_hidden_layers": 2, "ffn_dim": 256, "flow_size": 64},
    **{
        "posterior_encoder_num_wavenet_layers": 4,
        "prior_encoder_num_flows": 2,
        "prior_encoder_num_wavenet_layers": 2,
    },
    **{"upsample_initial_channel": 64, "upsample_rates": [8, 8, 4], "upsample_kernel_sizes": [16, 16, 8]},
    **{"resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]]},
    **{"use_stochastic_duration_prediction": False, "duration_predictor_filter_channels": 64},
}


def sample_clips() -> Iterator[tuple[str, Samples]]:
    """The Tamazight clips of the sample corpus, with their text."""
    with open(ROOT / "recipes/sample/metadata.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["language"] == "zgh-Tfng"]
    for row in rows:
        samples, rate_hz = soundfile.read(ROOT / "recipes/sample" / row["file"], dtype="float32")
        yield dataset.normalise(row["text"], "zgh-Tfng"), resampled(samples, rate_hz, 16_000)


def centres_heard(recogniser: Any, text: str, clip: Samples) -> np.ndarray[Any, Any]:
    """Seconds at which a recogniser hears each letter."""
    emissions = recogniser.emissions(clip)
    ids = np.asarray(recogniser.tokenizer(text).input_ids, dtype=np.int64)
    frames = letter_frames(emissions, ids, recogniser.tokenizer.pad_token_id)
    return (frames + 0.5) / len(emissions) * len(clip) / 16_000


def token_frames(family: Vits, example: Example) -> np.ndarray[Any, Any]:
    """Frames of each letter and blank, as the model aligns them."""
    family.model.eval()
    batch, model = family.collate([example]), family.core
    with torch.no_grad():
        magnitudes = linear(batch["waves"], 1024, 256)
        text = model.text_encoder(
            batch["input_ids"], torch.ones(*batch["input_ids"].shape, 1), batch["attention_mask"]
        )
        mask = torch.ones(1, 1, magnitudes.shape[2])
        latents = model.flow(model.posterior_encoder(magnitudes, mask)[1], mask)
        scores = likelihoods(latents, text.prior_means, text.prior_log_variances)
        frames, tokens = (torch.tensor([size]) for size in scores.shape[1:])
        return durations(scores, frames, tokens)[0].numpy()


def learn_by_batches(
    family: Vits, examples: list[Example], durations_s: list[float], steps: int, rate: float
) -> None:
    torch.manual_seed(1)
    family.model.train()
    optimizer = torch.optim.AdamW(family.model.parameters(), rate)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)  # at a steady one the alignment leaps
    groups = itertools.chain.from_iterable(batches(durations_s, 16, 1, epoch) for epoch in itertools.count())
    for group in itertools.islice(groups, steps):
        family.loss(family.collate([examples[index] for index in group])).backward()
        torch.nn.utils.clip_grad_norm_(family.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        falling.step()
    family.model.eval()
