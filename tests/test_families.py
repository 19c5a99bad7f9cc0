"""The model families: each learns, refuses what it cannot learn from, and takes new letters.

All models here are tiny and random (tests/tiny.py); nothing is downloaded.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMForXVector,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from recipes.schema import Family as Name
from recipes.schema import UserError
from tests import tiny
from tests.babble import babble
from train import adapter
from train.families import Example, Family, Samples, Skip, in_pieces, open_family
from train.features import samples_of
from train.loop import _recompute_activations

NAMES: tuple[Name, ...] = (
    *("ctc", "whisper", "qwen3_asr", "voxtral"),
    *("speecht5", "fastspeech2", "csm", "pocket_tts", "voxtral_tts", "vits"),
)
Opener = Callable[..., Family]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[Name, str]:
    folder = tmp_path_factory.mktemp("bases")
    return {name: tiny.base(name, folder / name) for name in NAMES}


@pytest.fixture
def opened(bases: dict[Name, str], tmp_path: Path) -> Opener:
    """`opened(name, **train)`: the family on its tiny base."""

    def opened(name: Name, **train: Any) -> Family:
        settings = {"base": bases[name], "aligner": bases["ctc"]} | train
        return open_family(tiny.recipe(tmp_path, name, **settings).train)

    return opened


ROWS = [row.model_dump() for row in tiny.utterances()[:4]]
EARLIER = tiny.utterance("earlier", "ⴰⵉⵓ ⴰ").model_dump()  # by which a voice is known


def voice_of(family: Family) -> Samples:
    return family.voice(samples_of(family, EARLIER))


def encoded(family: Family, rows: list[dict[str, Any]]) -> list[Example]:
    voice = voice_of(family)
    return [family.encode(row["text"], samples_of(family, row), voice) for row in rows]


def learn(
    family: Family, rows: list[dict[str, Any]], steps: int, rate: float, known: Callable[[], bool] = lambda: False
) -> tuple[float, float]:
    """Train on some utterances until they are known, `steps` at most. The loss before and after, without dropout.

    At a constant rate the loss leaps now and then, differently on each machine: hence `known`, not a fixed end.
    """
    torch.manual_seed(2)
    batch = family.collate(encoded(family, rows))
    weights = [weight for weight in family.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, rate)

    def loss() -> float:
        family.model.eval()
        with torch.no_grad():
            return float(family.loss(batch))

    before = loss()
    for step in range(steps):
        if step % 10 == 9 and known():
            break
        family.model.train()
        family.loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return before, loss()


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize(
    ("name", "rows", "steps"),
    [("ctc", ROWS, 400), ("whisper", [ROWS[1], ROWS[3]], 300), ("qwen3_asr", ROWS, 200), ("voxtral", ROWS, 200)],
)
def test_a_recogniser_learns_utterances_by_heart(
    opened: Opener, name: Name, rows: list[dict[str, Any]], steps: int
) -> None:
    family = opened(name)
    family.add_letters(tiny.TEXTS)

    def known() -> bool:
        family.model.eval()
        return [family.transcribe(samples_of(family, row), "zgh-Tfng") for row in rows] == [
            row["text"] for row in rows
        ]

    before, after = learn(family, rows, steps, 1e-2, known)
    assert known() and after < before / 5


@pytest.mark.parametrize(
    ("name", "rows", "steps", "rate"),
    [
        ("speecht5", [ROWS[1], ROWS[3]], 900, 5e-3),
        ("fastspeech2", ROWS, 400, 3e-3),
        ("csm", ROWS, 300, 1e-2),
        ("pocket_tts", ROWS, 300, 5e-3),
        ("voxtral_tts", [ROWS[1], ROWS[3]] * 4, 300, 1e-2),  # noise is drawn anew for each
        ("vits", ROWS, 400, 3e-3),
    ],
)
def test_a_generator_learns_utterances_by_heart(
    opened: Opener, name: Name, rows: list[dict[str, Any]], steps: int, rate: float
) -> None:
    # Without an opponent VITS leaves the decoder of its base alone, and that of a random base can say nothing.
    family = opened(name, adversarial=name == "vits")
    family.add_letters(tiny.TEXTS)
    voice = voice_of(family)
    batch = family.collate(encoded(family, rows))
    with torch.no_grad():
        family.model.eval()
        first = float(family.loss(batch))

    def known() -> bool:  # it also knows where to stop
        family.model.eval()
        with torch.no_grad():
            learnt = float(family.loss(batch)) < first / 5
        lengths = [len(family.synthesise(row["text"], voice)) / len(samples_of(family, row)) for row in rows]
        return learnt and all(0.6 < length < 1.4 for length in lengths)

    learn(family, rows, steps, rate, known)
    assert known()


@pytest.mark.parametrize("name", NAMES)
def test_lora_leaves_the_base_as_it_is_and_learns_all_the_same(opened: Opener, name: Name) -> None:
    family = opened(name)
    frozen = {key: tensor.clone() for key, tensor in family.model.state_dict().items()}
    lora = tiny.recipe(Path(), name, base="./base", lora={"r": 4, "alpha": 8, "new_tokens": False}).train.lora
    adapter.add_lora(family, lora, tiny.TEXTS)
    trained = [key for key, weight in family.model.named_parameters() if weight.requires_grad]
    assert trained
    assert all("lora_" in key for key in trained)
    for module in family.model.modules():  # statistics of batches are not part of an adapter
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = 0.0
    before, after = learn(family, ROWS[3:], 6, 1e-2)
    assert after < before
    now = family.model.unload().state_dict()
    assert all(torch.equal(now[key], tensor) for key, tensor in frozen.items() if "num_batches" not in key)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_made_and_learnt_in_half_precision(opened: Opener, name: Name) -> None:
    family = opened(name)
    examples = encoded(family, ROWS[2:])
    family.model.train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = family.loss(family.collate(examples))
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize("name", ["qwen3_asr", "voxtral", "csm", "pocket_tts", "voxtral_tts"])
def test_activations_can_be_computed_again(opened: Opener, name: Name) -> None:
    losses = []
    for again in (False, True):
        family = opened(name)
        lora = tiny.recipe(Path(), name, base="./base", lora={"dropout": 0.0}).train.lora
        torch.manual_seed(1)
        adapter.add_lora(family, lora, tiny.TEXTS)
        if again:
            _recompute_activations(family)
        losses.append(learn(family, ROWS[2:], 2, 1e-2)[1])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_family_either_hears_or_speaks(opened: Opener, name: Name) -> None:
    family = opened(name)
    with pytest.raises(TypeError, match="it does not"):
        if family.recognises:
            family.synthesise("ⴰⵉⵓ", np.zeros(64, np.float32))
        else:
            family.transcribe(tiny.samples(1.0), "zgh-Tfng")


@pytest.mark.parametrize(
    "name", ["ctc", "qwen3_asr", "voxtral", "speecht5", "fastspeech2", "csm", "voxtral_tts", "vits"]
)
def test_padding_does_not_change_the_loss_of_an_utterance(opened: Opener, name: Name) -> None:
    family = opened(name)
    family.model.eval()
    long, short = encoded(family, ROWS[2:])
    with torch.no_grad():
        apart = [float(family.loss(family.collate([example]))) for example in (short, short)]
        together = float(family.loss(family.collate([short, short])))
        mixed = float(family.loss(family.collate([short, long])))
    assert together == pytest.approx(sum(apart) / 2, rel=0.02)
    assert np.isfinite(mixed)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("name", "text", "duration_s", "reason"),
    [
        ("ctc", "ⴰⵉⵓ" * 20, 0.4, "60 letters do not fit into"),
        ("ctc", "ⴰⴰ", 0.06, "3 letters do not fit into"),  # a blank must part two equal letters
        ("ctc", "ⴰ", 0.02, "shorter than 0.05 s"),
        ("whisper", "ⴰ", 31.0, "31.0 s; Whisper hears 30 s"),
        ("whisper", "ⴰⵉⵓ" * 20, 1.0, "183 tokens; the decoder holds 60"),
        ("qwen3_asr", "ⴰ", 20.0, "311 tokens of sound and text; the model holds 200"),
        ("voxtral", "ⴰ", 2.5, "2.5 s; Voxtral hears 2 s at once"),
        ("voxtral", "ⴰⵉⵓ" * 20, 1.0, "211 tokens of sound and text; the model holds 120"),
        ("csm", "ⴰ", 0.02, "shorter than 0.05 s"),
        ("csm", "ⴰ", 20.0, "letters and frames of 13.3 s; the model holds 120"),
        ("pocket_tts", "a", 0.02, "shorter than 0.05 s"),
        ("pocket_tts", "a", 20.0, "letters and frames of 13.3 s; the model holds 120"),
        ("voxtral_tts", "ⴰ", 0.02, "shorter than 0.05 s"),
        ("voxtral_tts", "ⴰ", 20.0, "letters and frames of 13.3 s; the model holds 120"),
        ("speecht5", "ⴰ", 0.02, "shorter than 0.05 s"),
        ("speecht5", "ⴰ", 4.0, "4.0 s are 125 decoder steps; the decoder holds 100"),
        ("speecht5", "ⴰ" * 60, 1.0, "62 letters; the encoder holds 40"),
        ("fastspeech2", "ⴰⵉⵓ" * 20, 0.4, "the transcript does not fit into the speech"),
        ("fastspeech2", "ⴰⵣ", 0.4, "the aligner does not know the letter ⵣ"),
        ("fastspeech2", "ⴰ", 0.02, "shorter than 0.06 s"),
        ("vits", "ⴰ", 0.02, "shorter than 0.06 s"),
        ("vits", "ⴰⵉⵓ" * 20, 0.4, "121 tokens do not fit into 25 frames: transcript longer than the speech"),
        ("vits", "ⴰ", 31.0, "31.0 s; VITS learns from 30 s at most"),
    ],
)
def test_what_cannot_be_learnt_is_skipped_with_a_reason(
    opened: Opener, name: Name, text: str, duration_s: float, reason: str
) -> None:
    family = opened(name)
    with pytest.raises(Skip, match=reason):
        family.encode(text, tiny.samples(duration_s), np.zeros(0, np.float32))


def test_a_base_that_is_not_there(opened: Opener, tmp_path: Path) -> None:
    for name in NAMES:
        with pytest.raises(UserError, match="/nowhere: no such folder; name a model folder") as error:
            opened(name, base=str(tmp_path / "nowhere"))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_pickled_weights_are_refused_because_a_pickle_can_run_code(
    opened: Opener, bases: dict[Name, str], tmp_path: Path, name: Name
) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(bases[name], folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="weights are read from safetensors only"):
        opened(name, base=str(folder))


@pytest.mark.parametrize("name", NAMES)
def test_damaged_weights_are_a_message(opened: Opener, bases: dict[Name, str], tmp_path: Path, name: Name) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(bases[name], folder)
    (folder / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0not safetensors")
    with pytest.raises(UserError, match="damaged cannot be loaded"):
        opened(name, base=str(folder))


@pytest.mark.parametrize("name", NAMES)
def test_a_base_of_another_family_is_named(opened: Opener, bases: dict[Name, str], name: Name) -> None:
    for other in set(NAMES) - {name}:
        with pytest.raises(UserError, match=rf"^model {bases[other]} (is a \w+|cannot be loaded)"):
            opened(name, base=bases[other])


def test_a_model_is_not_filled_with_random_weights_for_those_that_are_missing(
    opened: Opener, bases: dict[Name, str], tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(bases["speecht5"], folder)
    shutil.copy(Path(bases["whisper"], "model.safetensors"), folder)
    with pytest.raises(UserError, match="is no SpeechT5ForTextToSpeech: most of its weights are missing"):
        opened("speecht5", base=str(folder))


@pytest.mark.parametrize("name", ["ctc", "speecht5", "fastspeech2", "vits"])
def test_a_misspelt_key_of_the_architecture_is_named(tmp_path: Path, name: Name) -> None:
    config = tiny.CONFIGS[name] | {"hiden_size": 32}
    settings = tiny.recipe(tmp_path, name, config=config, aligner="./aligner").train
    with pytest.raises(UserError, match=r"train.config.hiden_size: \w+ has no such key; did you mean `hidden_size`"):
        open_family(settings, letters=["ⴰ"])


@pytest.mark.parametrize("wrong", [{"hidden_size": "many"}, {"hidden_size": 33}])
def test_values_that_make_no_model_are_a_message(tmp_path: Path, wrong: dict[str, Any]) -> None:
    settings = tiny.recipe(tmp_path, "speecht5", config=tiny.CONFIGS["speecht5"] | wrong).train
    with pytest.raises(UserError, match=r"^train.config: "):
        open_family(settings, letters=["ⴰ"])


@pytest.mark.parametrize(("context", "frames"), [(4, 400), ("fit", 124), (None, 3000)])
def test_whisper_hears_as_much_as_the_recipe_says(opened: Opener, context: Any, frames: int) -> None:
    family, rows = opened("whisper", audio_context=context), [ROWS[1], ROWS[3]]  # of 1.2 s and 0.4 s
    assert family.collate(encoded(family, rows))["input_features"].shape == (2, 80, frames)


@pytest.mark.parametrize("context", [4, "fit"])
def test_whisper_learns_in_a_shorter_context_as_well(opened: Opener, context: Any) -> None:
    family, rows = opened("whisper", audio_context=context), [ROWS[1], ROWS[3]]

    def known() -> bool:
        family.model.eval()
        return all(family.transcribe(samples_of(family, row), "zgh-Tfng") == row["text"] for row in rows)

    learn(family, rows, 300, 1e-2, known)
    assert known()


@pytest.mark.parametrize(("context", "most_s"), [(4, 4), ("fit", 30), (None, 30)])
def test_a_clip_longer_than_whisper_hears_is_skipped(opened: Opener, context: Any, most_s: int) -> None:
    family = opened("whisper", audio_context=context)
    with pytest.raises(Skip, match=rf"{most_s + 1}.0 s; Whisper hears {most_s} s at once"):
        family.encode("ⴰ", np.zeros((most_s + 1) * family.rate_hz, np.float32), np.zeros(0, np.float32))


@pytest.mark.parametrize(
    ("name", "context", "most_s"), [("whisper", 4, 4), ("voxtral", None, 2), ("qwen3_asr", None, 5)]
)
def test_a_recording_longer_than_is_heard_at_once_is_heard_whole_in_pieces(
    opened: Opener, name: Name, context: Any, most_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    family: Any = opened(name, audio_context=context)
    family.model.eval()
    whole = np.resize(babble(3.0), round(2.2 * most_s * family.rate_hz))
    pieces = in_pieces(whole, family.most_samples, family.rate_hz)
    assert len(pieces) > 2 and family.most_samples == most_s * family.rate_hz
    alone = [family.transcribe(piece, "zgh-Tfng") for piece in pieces]
    assert family.transcribe(whole, "zgh-Tfng") == " ".join(filter(None, alone))
    ended = iter([False, *[True] * 9])  # one piece that was cut off is enough
    monkeypatch.setattr(type(family), "_transcribe", lambda *_: ("ⴰ", next(ended)))
    assert family.transcribe(whole, "zgh-Tfng") == " ".join("ⴰ" * len(pieces)) and not family.stopped


@given(st.integers(0, 20_000), st.integers(1, 20), st.integers(0, 9))
def test_pieces_are_the_whole_recording_and_neither_long_nor_very_short(length: int, tenths: int, seed: int) -> None:
    samples, most = np.random.default_rng(seed).normal(0, 0.1, length).astype(np.float32), 100 * tenths
    pieces = in_pieces(samples, most, 1_000)
    assert np.array_equal(np.concatenate(pieces), samples)
    assert all(len(piece) <= most for piece in pieces)
    assert len(pieces) == 1 or min(map(len, pieces)) >= most // 4


def test_a_recording_is_cut_where_it_is_quiet() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000 * 16).astype(np.float32)
    for pause_s in (6.5, 12.0):
        samples[round(pause_s * 16_000) : round((pause_s + 0.4) * 16_000)] = 0
    ends_s = np.cumsum([len(piece) / 16_000 for piece in in_pieces(samples, 16_000 * 8, 16_000)])
    assert ends_s == pytest.approx([6.7, 12.2, 16.0], abs=0.2)


@pytest.mark.parametrize("length_s", [0.0, 0.01, 0.049])
def test_sound_that_is_too_short_for_ctc_is_heard_with_silence_after_it(opened: Opener, length_s: float) -> None:
    family = opened("ctc")
    assert isinstance(family.transcribe(tiny.samples(1.0)[: round(length_s * family.rate_hz)], "zgh-Tfng"), str)


@pytest.mark.parametrize("length_s", [0.0, 0.3, 1.2345, 3.99, 29.99, 30.0])
def test_silence_that_is_filled_in_later_is_that_of_the_published_features(opened: Opener, length_s: float) -> None:
    family: Any = opened("whisper")
    samples = np.resize(tiny.samples(2.0), round(length_s * family.rate_hz))
    theirs = family.features(samples, sampling_rate=family.rate_hz, return_tensors="np").input_features
    ours = family.collate([family.encode("ⴰ", samples, np.zeros(0, np.float32))])["input_features"]
    assert np.abs(ours.numpy() - theirs).max() < 1e-3  # kept in half precision


def test_whispers_encoder_of_any_length_is_the_published_one_on_its_whole_window(opened: Opener) -> None:
    encoder = opened("whisper").model.get_encoder().eval()
    inputs = torch.randn(1, 80, 3000)
    with torch.no_grad():
        ours = encoder(inputs).last_hidden_state
        encoder.__class__ = WhisperEncoder
        assert torch.equal(ours, encoder(inputs).last_hidden_state)


def test_an_adapter_for_a_shorter_window_is_loaded_with_it(opened: Opener, tmp_path: Path) -> None:
    family = opened("whisper", audio_context=4)
    adapter.add_lora(family, tiny.recipe(Path(), "whisper", base="./base").train.lora, tiny.TEXTS)
    family.model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    family.save_processor(tmp_path / "adapter")
    again = opened("whisper", audio_context=4)
    assert again.model.config.max_source_positions == 200
    assert '"chunk_length": 4' in next((tmp_path / "adapter").glob("*processor_config.json")).read_text()


@pytest.mark.parametrize(("context", "frames"), [(4, 400), (2.5, 250), ("fit", 124)])
def test_a_whisper_that_was_trained_whole_says_itself_what_it_hears(
    opened: Opener, tmp_path: Path, context: Any, frames: int
) -> None:
    family = opened("whisper", audio_context=context)
    family.model.save_pretrained(tmp_path / "made")
    family.save_processor(tmp_path / "made")
    again = adapter.open_recogniser(str(tmp_path / "made"))
    assert again.collate(encoded(again, [ROWS[1]]))["input_features"].shape == (1, 80, frames)
    if context == 4:
        with pytest.raises(UserError, match=r"train.audio_context: 10 s are more than the base's 4 s"):
            opened("whisper", base=str(tmp_path / "made"), audio_context=10)


def test_the_earlier_name_of_the_context_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`window_s` is now `audio_context`: seconds as before, or `fit`"):
        tiny.recipe(tmp_path, "whisper", base="./base", window_s=15)


def test_whisper_needs_a_base_for_its_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train.base: Whisper needs a base"):
        open_family(tiny.recipe(tmp_path, "whisper").train)


def test_fastspeech2_needs_an_aligner(opened: Opener) -> None:
    family = opened("fastspeech2", aligner=None)
    with pytest.raises(UserError, match=r"train.aligner: this family needs a CTC recogniser"):
        family.encode("ⴰ", tiny.samples(1.0), np.zeros(64, np.float32))


def test_a_lora_target_that_the_model_has_not(opened: Opener) -> None:
    lora = tiny.recipe(Path(), "ctc", base="./base", lora={"targets": ["q_porj"]}).train.lora
    with pytest.raises(UserError, match=r"train.lora.targets: the model has no layer q_porj"):
        adapter.add_lora(opened("ctc"), lora, tiny.TEXTS)


def test_ctc_takes_the_mean_also_where_its_base_takes_the_sum(bases: dict[Name, str], tmp_path: Path) -> None:
    """As published wav2vec 2.0 bases say: else a loss would grow with the batch."""
    base = shutil.copytree(bases["ctc"], tmp_path / "sum")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(config | {"ctc_loss_reduction": "sum"}), encoding="utf-8")
    family = open_family(tiny.recipe(tmp_path, "ctc", base=str(base)).train)
    family.model.eval()
    example = family.encode("ⴰⵉⵓ", tiny.samples(1.0), np.zeros(0, np.float32))
    with torch.no_grad():
        one, four = (float(family.loss(family.collate([example] * count))) for count in (1, 4))
    assert four == pytest.approx(one, rel=1e-4)


# ---------------------------------------------------------------- letters


def test_ctc_hears_letters_that_were_added(opened: Opener) -> None:
    family: Any = opened("ctc")
    family.add_letters(["ⵣⴰ ⵣ"])
    text = "ⵣⵣ ⴰⵣⵓ ⵣ"
    labels = family.encode(text, tiny.samples(2.0), np.zeros(0, np.float32))["labels"]
    assert len(labels) == len(text)
    assert family.tokenizer.unk_token_id not in labels
    blank = family.tokenizer.pad_token_id
    heard = [frame for label in labels for frame in (blank, label, label)]  # each letter for two frames
    assert family.tokenizer.decode(heard) == text


def test_a_letter_that_ctc_does_not_know_yet_is_unlikely(opened: Opener) -> None:
    family: Any = opened("ctc")
    before = family.emissions(tiny.samples(1.0))
    family.add_letters(["ⵣ"])
    after = family.emissions(tiny.samples(1.0))
    assert after.shape == (before.shape[0], before.shape[1] + 1)
    assert (after.argmax(1) == before.argmax(1)).all()
    assert family.fully_trained() == ["lm_head"]


def test_speecht5_keeps_words_apart_whichever_letters_were_added(opened: Opener) -> None:
    family: Any = opened("speecht5")
    first = len(family.tokenizer)
    assert family.add_letters(["ⴰⵣⵓⵍ", "ⵍⵣ"]) == {"speecht5.encoder.prenet.embed_tokens": [first, first + 1]}
    ids = family.encode("ⵣⵣ ⴰⵣⵓ ⵍ", tiny.samples(1.0), np.zeros(64, np.float32))["ids"]
    assert family.tokenizer.convert_ids_to_tokens(ids) == [*"▁ⵣⵣ▁ⴰⵣⵓ▁ⵍ", "</s>"]


def test_speecht5_spells_a_known_text_as_its_tokenizer_does(opened: Opener) -> None:
    family: Any = opened("speecht5")
    ids = family.encode("ⴰⵉ ⵓⴰ", tiny.samples(1.0), np.zeros(64, np.float32))["ids"]
    assert list(ids) == family.tokenizer("ⴰⵉ ⵓⴰ").input_ids


@pytest.mark.parametrize(("name", "layers"), [("qwen3_asr", 1), ("voxtral", 2)])
def test_letters_that_were_added_are_written_after_lora(opened: Opener, name: Name, layers: int) -> None:
    family: Any = opened(name)
    lora = tiny.recipe(Path(), name, base="./base", lora={"r": 8, "alpha": 16, "dropout": 0.0}).train.lora
    adapter.add_lora(family, lora, tiny.TEXTS)
    rows = [key for key, weight in family.model.named_parameters() if weight.requires_grad and "token" in key]
    assert len(rows) == layers  # Voxtral's output layer is not its embedding

    def known() -> bool:
        family.model.eval()
        return family.transcribe(samples_of(family, ROWS[3]), "zgh-Tfng").startswith(ROWS[3]["text"])

    learn(family, ROWS[3:], 100, 1e-2, known)
    assert known()


@pytest.mark.parametrize("name", ["speecht5", "fastspeech2", "vits"])
def test_a_new_letter_starts_as_the_mean_of_those_there_are(opened: Opener, name: Name) -> None:
    family = opened(name)
    ((path, rows),) = family.add_letters(["ⵣ"]).items()
    weight = family.model.get_submodule(path).weight
    letters = slice({"speecht5": 4, "fastspeech2": 3}.get(name, 0), rows[0])
    assert torch.allclose(weight[rows[0]], weight[letters].mean(0), atol=1e-6)
    assert family.add_letters(["ⵣⴰ"]) == {}


# ---------------------------------------------------------------- voices and vocoders of SpeechT5


def test_the_same_text_and_voice_sound_the_same_each_time(opened: Opener) -> None:
    family = opened("speecht5")
    family.model.eval()
    voice = family.voice(tiny.samples(1.0))
    first, state = family.synthesise("ⴰⵉ", voice), torch.get_rng_state()
    assert np.array_equal(family.synthesise("ⴰⵉ", voice), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_text_longer_than_the_encoder_is_spoken_in_pieces(opened: Opener) -> None:
    family = opened("speecht5")
    family.model.eval()
    assert len(family.synthesise("ⴰⵉⵓ " * 20, family.voice(tiny.samples(1.0)))) > 0


def test_without_an_encoder_a_voice_is_64_statistics_of_unit_length(opened: Opener) -> None:
    voice = opened("speecht5").voice(tiny.samples(1.0))
    assert voice.shape == (64,)
    assert np.linalg.norm(voice) == pytest.approx(1.0, abs=1e-5)


def test_a_speaker_encoder_gives_x_vectors(opened: Opener, tmp_path: Path) -> None:
    family = opened("speecht5", speaker_encoder=x_vector_model(tmp_path, 64))
    low, high = (family.voice(babble(0.5, pitch_hz=pitch_hz)) for pitch_hz in (100, 220))
    assert low.shape == (64,)
    assert np.linalg.norm(low) == pytest.approx(1.0, abs=1e-5)
    assert not np.allclose(low, high)
    assert family.voice(tiny.samples(0.1)).shape == (64,)  # shorter than its convolutions need


def test_an_encoder_of_another_size_is_refused(opened: Opener, tmp_path: Path) -> None:
    family = opened("speecht5", speaker_encoder=x_vector_model(tmp_path, 32))
    with pytest.raises(UserError, match=r"train.speaker_encoder: .* gives 32 numbers .* the base wants 64"):
        family.voice(tiny.samples(1.0))


def test_a_vocoder_turns_each_frame_into_256_samples(opened: Opener, tmp_path: Path) -> None:
    family = opened("speecht5", vocoder=hifi_gan(tmp_path, 80))
    family.model.eval()
    wave = family.synthesise("ⴰⵉ", family.voice(tiny.samples(1.0)))
    assert len(wave) % 256 == 0
    assert np.abs(wave).max() <= 1.0
    with pytest.raises(UserError, match=r"train.vocoder: .* takes 40 mel bins; the base draws 80"):
        opened("speecht5", vocoder=hifi_gan(tmp_path, 40)).synthesise("ⴰ", np.zeros(64, np.float32))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"speech_decoder_prenet_dropout": 0.0}, "speech_decoder_prenet_dropout: 0 would silence"),
        ({"speaker_embedding_dim": 32}, "speaker_embedding_dim: 32 is too few"),
    ],
)
def test_settings_that_would_fail_silently_are_refused(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    settings = tiny.recipe(tmp_path, "speecht5", config=tiny.CONFIGS["speecht5"] | wrong).train
    with pytest.raises(UserError, match=message):
        open_family(settings, letters=["ⴰ"])


def x_vector_model(folder: Path, numbers: int) -> str:
    config = WavLMConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(16, 16),
        conv_stride=(10, 32),
        conv_kernel=(10, 32),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        tdnn_dim=(16, 16, 16, 16, 32),
        xvector_output_dim=numbers,
    )
    WavLMForXVector(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return str(folder)


def hifi_gan(folder: Path, bins: int) -> str:
    config = SpeechT5HifiGanConfig(model_in_dim=bins, upsample_initial_channel=32)
    SpeechT5HifiGan(config).save_pretrained(folder)
    return str(folder)
