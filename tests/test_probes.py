"""Probes: what a model in training says or writes, in figures; what its adapter does; where all that goes."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prepare import dataset
from recipes.schema import RecipeError, UserError, load
from tests import tiny
from tests.babble import babble
from tests.conftest import needs
from train import __main__ as script
from train import adapter
from train.corpus import corpus_figures, recordings_heard
from train.effect import adapter_effect, lora_size
from train.families import Attentive, Stopping, open_family
from train.pictures import attention_pictures, drawn
from train.probes import COSTS, MISSING, Heard, Probes, aligned, figures, silence_share, skipped_and_repeated, told
from train.progress import Bar

WORDS = st.lists(st.text("abcd", min_size=1, max_size=4), max_size=6)

# ---------------------------------------------------------------- what was heard, in figures


def heard(text: str, heard: str | None, **more: Any) -> Heard:
    return Heard(text, heard, None, **{"length_ratio": 1.0, "stopped": None} | more)


def test_figures_are_over_all_probes() -> None:
    found = figures(
        [
            heard("one two three", "one two three", stopped=True, silence=0.2, voice=0.8),
            heard("four five", "four", stopped=False, silence=0.4, length_ratio=3.0),
        ]
    )
    assert found == pytest.approx(
        {
            "length_ratio": 2.0,
            "cer": 5 / 22,  # edits a letter, " five" of both sentences
            "skipped": 1 / 5,
            "repeated": 0.0,
            "stopped": 0.5,
            "silence": 0.3,
            "voice": 0.8,
        }
    )


def test_what_nobody_measured_is_no_figure() -> None:
    assert figures([heard("one", None)]) == {"length_ratio": 1.0}


@pytest.mark.parametrize(
    ("wanted", "said", "skipped", "repeated"),
    [
        ("one two three", "one two three", 0, 0),
        ("one two three", "one three", 1, 0),
        ("one two three", "", 3, 0),
        ("one two three", "one two two three", 0, 1),
        ("one two three", "one two tvo three", 0, 1),  # as a recogniser hears it
        ("one two three", "one two three three three", 0, 2),
        ("one two three", "wan tu free", 0, 0),  # misheard, and all there
        ("one two three", "one banana two three", 0, 0),  # put in, and no repetition
    ],
)
def test_words_that_are_skipped_or_said_again(wanted: str, said: str, skipped: int, repeated: int) -> None:
    assert skipped_and_repeated(wanted.split(), said.split()) == (skipped, repeated)


@given(WORDS, WORDS)
def test_an_alignment_leaves_no_word_out(wanted: list[str], said: list[str]) -> None:
    pairs = aligned(wanted, said)
    assert [word for word, _ in pairs if word is not None] == wanted
    assert [word for _, word in pairs if word is not None] == said
    assert (None, None) not in pairs


@given(WORDS)
def test_a_text_beside_itself_has_nothing_skipped(words: list[str]) -> None:
    assert aligned(words, words) == [(word, word) for word in words]


def test_silence_is_what_is_below_fifty_decibels() -> None:
    speech = babble(1.0, silence_s=0.0)
    assert silence_share(speech, 16_000) < 0.3
    assert silence_share(np.concatenate([speech, np.zeros(16_000, np.float32)]), 16_000) == pytest.approx(
        0.6, abs=0.1
    )
    assert silence_share(np.full(1_600, np.nan, np.float32), 16_000) == 1.0
    assert silence_share(np.zeros(0, np.float32), 16_000) == 1.0


def test_the_cost_of_a_figure_falls_as_the_model_gets_better() -> None:
    assert COSTS["cer"](0.1) < COSTS["cer"](0.2)
    assert COSTS["stopped"](1.0) < COSTS["stopped"](0.5)
    assert COSTS["voice"](0.8) < COSTS["voice"](0.6)
    assert COSTS["length_ratio"](1.1) < COSTS["length_ratio"](2.0) == COSTS["length_ratio"](0.5)
    assert set(MISSING) < set(COSTS)


@pytest.mark.parametrize(
    ("name", "cost", "words"),
    [
        ("valid_loss", 0.5, "validation loss 0.500"),
        ("probe.cer", 0.25, "probe.cer 0.250"),
        ("probe.voice", -0.7, "probe.voice 0.700"),
        ("probe.length_ratio", math.log(1.1), "probe.length_ratio within 10% of 1"),
        ("probe.voice", math.inf, "probe.voice could not be measured; the last weights are kept, so"),
    ],
)
def test_the_summary_names_the_figure_that_decided(name: str, cost: float, words: str) -> None:
    assert told(name, cost) == words


# ---------------------------------------------------------------- families: ends, letters, attention


@pytest.mark.parametrize(
    ("name", "runs_on", "known"),
    [
        ("ctc", False, "ⴰⵉⵓ"),
        ("whisper", True, "ⴰⵉⵓⵣ"),
        ("qwen3_asr", True, "ⴰⵉⵓⵣ"),
        ("voxtral", True, "ⴰⵉⵓⵣ"),
        ("speecht5", True, "ⴰⵉⵓ"),
        ("fastspeech2", False, "ⴰⵉⵓ"),
        ("csm", True, "ⴰⵉⵓⵣ"),
        ("pocket_tts", True, ""),
        ("vits", False, "ⴰⵉⵓ"),
        ("voxtral_tts", True, "ⴰⵉⵓⵣ"),
    ],
)
def test_families_say_which_letters_they_lack_and_whether_they_can_run_on(
    tmp_path: Path, name: Any, runs_on: bool, known: str
) -> None:
    family = open_family(tiny.recipe(tmp_path, name, base=tiny.base(name, tmp_path / "base")).train)
    assert isinstance(family, Stopping) == runs_on
    assert family.unknown(["ⴰⵉⵓ ⵣ"]) == [letter for letter in "ⴰⵉⵓⵣ" if letter not in known]
    family.add_letters(["ⴰⵉⵓ ⵣ"])
    assert family.unknown(["ⴰⵉⵓ ⵣ"]) == []


@pytest.mark.parametrize("name", ["whisper", "voxtral", "csm"])
def test_a_random_model_runs_on_until_it_is_cut_off(tmp_path: Path, name: Any) -> None:
    family = open_family(tiny.recipe(tmp_path, name, base=tiny.base(name, tmp_path / "base")).train)
    family.model.eval()
    assert isinstance(family, Stopping) and family.stopped
    if family.recognises:
        family.transcribe(tiny.samples(1.0), "zgh-Tfng")
    else:
        family.synthesise("ⴰⵉⵓ", family.voice(tiny.samples(1.0)))
    assert not family.stopped


@pytest.mark.parametrize(
    ("name", "tokens", "over_time"),
    [
        ("whisper", ["ⴰ", "ⵉ", "ⵓ", " ", "ⴰ", "ⵉ"], False),
        ("speecht5", ["▁", "ⴰ", "ⵉ", "ⵓ", "▁", "ⴰ", "ⵉ", "</s>"], True),
        ("fastspeech2", [" ", "ⴰ", "ⵉ", "ⵓ", " ", "ⴰ", "ⵉ", " "], True),
        ("vits", ["", "ⴰ", "", "ⵉ", "", "ⵓ", "", " ", "", "ⴰ", "", "ⵉ", ""], True),
    ],
)
def test_attention_is_a_picture_of_which_sound_belongs_to_which_letter(
    tmp_path: Path, name: Any, tokens: list[str], over_time: bool
) -> None:
    recogniser = tiny.base("ctc", tmp_path / "ctc")
    settings = {"base": tiny.base(name, tmp_path / "base"), "aligner": recogniser}
    family = open_family(tiny.recipe(tmp_path, name, **settings).train)
    family.add_letters(tiny.TEXTS)
    family.model.eval()
    assert isinstance(family, Attentive)
    samples = tiny.samples(1.2)
    found, weights = family.attention("ⴰⵉⵓ ⴰⵉ", samples, family.voice(samples))
    assert found == tokens
    assert weights.dtype == np.float32 and weights.shape[0] == len(tokens) and (weights >= 0).all()
    if over_time:  # each moment belongs to the letters, wholly
        assert weights.sum(0) == pytest.approx(1.0, abs=1e-3)
    pixels = drawn(found, weights)
    assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3)
    row = tiny.utterance("a", "ⴰⵉⵓ ⴰⵉ").model_dump()
    probes = Probes(family, [row], {"amina": family.voice(samples)})
    assert [picture.caption for picture in attention_pictures(probes)] == ["ⴰⵉⵓ ⴰⵉ"]


def test_a_family_without_attention_has_no_pictures(tmp_path: Path) -> None:
    family = open_family(tiny.recipe(tmp_path, "ctc", base=tiny.base("ctc", tmp_path / "base")).train)
    assert attention_pictures(Probes(family, [tiny.utterance("a", "ⴰ").model_dump()], {})) == []


# ---------------------------------------------------------------- the adapter


def with_lora(folder: Path, **lora: Any) -> Probes:
    family = open_family(tiny.recipe(folder, "ctc", base=tiny.base("ctc", folder / "base")).train)
    recipe = tiny.recipe(folder, "ctc", base="./base", lora={"r": 3, "alpha": 5, "dropout": 0.0} | lora)
    adapter.add_lora(family, recipe.train.lora, tiny.TEXTS)
    family.model.eval()
    return Probes(family, [tiny.utterance("a", "ⴰⵉⵓ ⴰⵉ").model_dump()], {})


def teach(probes: Probes) -> None:
    """Something for every LoRA factor that begins at zero."""
    torch.manual_seed(3)
    for name, weight in probes.family.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)


def test_an_adapter_that_has_learnt_nothing_has_no_effect(tmp_path: Path) -> None:
    assert adapter_effect(with_lora(tmp_path)) == {"lora": 0.0, "adapter": 0.0}


@pytest.mark.parametrize("rslora", [False, True])
def test_the_size_of_lora_is_that_of_its_products(tmp_path: Path, rslora: bool) -> None:
    probes = with_lora(tmp_path, rslora=rslora)
    teach(probes)
    scale = 5 / (3**0.5 if rslora else 3)
    products = [
        scale * (layer.lora_B["default"].weight.flatten(1) @ layer.lora_A["default"].weight.flatten(1)).detach()
        for layer in probes.family.model.modules()
        if isinstance(layer, adapter.LoraLayer)
    ]
    expected = torch.cat([product.ravel() for product in products]).pow(2).mean().sqrt()
    assert lora_size(probes.family.model) == pytest.approx(float(expected), rel=1e-4)
    found = adapter_effect(probes)
    assert found["lora"] > 0 and found["adapter"] > 1e-3


def test_a_scale_of_zero_is_an_adapter_without_effect(tmp_path: Path) -> None:
    probes = with_lora(tmp_path)
    teach(probes)
    for layer in probes.family.model.modules():
        if isinstance(layer, adapter.LoraLayer):
            layer.scaling["default"] = 0.0
    assert adapter_effect(probes) == {"lora": 0.0, "adapter": 0.0}


def test_a_model_that_trains_whole_has_no_adapter(tmp_path: Path) -> None:
    family = open_family(tiny.recipe(tmp_path, "ctc", base=tiny.base("ctc", tmp_path / "base")).train)
    assert adapter_effect(Probes(family, [], {})) == {}


# ---------------------------------------------------------------- before training


class Reader:
    """A recogniser that knows each recording by its length, and says what it was told."""

    rate_hz = 16_000

    def __init__(self, says: dict[int, str]) -> None:
        self.says = says

    def transcribe(self, samples: Any, language: str) -> str:
        return self.says.get(round(len(samples) / 1600), "")


ROWS = [tiny.utterance(f"u{n}", text, duration_s=n * 0.5) for n, text in enumerate(("abc def", "ghi jkl", "mno"), 2)]


def length(row: Any, speed: float = 1.0) -> int:
    return round(row.duration_s / speed * 10)


def test_a_recogniser_that_hears_the_transcripts_finds_nothing() -> None:
    reader: Any = Reader({length(row): row.text for row in ROWS})
    assert recordings_heard(reader, [row.model_dump() for row in ROWS]) == {"cer": 0.0}


def test_recordings_at_a_wrong_rate_are_understood_at_another_speed() -> None:
    reader: Any = Reader({length(row, 1.5): row.text for row in ROWS})
    found = recordings_heard(reader, [row.model_dump() for row in ROWS])
    assert found == {"cer": 1.0, "best_speed": 1.5, "best_cer": 0.0, "elsewhere": 0.0}


def test_transcripts_of_other_clips_are_recognised_as_such() -> None:
    texts = [row.text for row in ROWS]
    reader: Any = Reader({length(row): text for row, text in zip(ROWS, texts[1:] + texts[:1], strict=True)})
    found = recordings_heard(reader, [row.model_dump() for row in ROWS], texts)
    assert found["elsewhere"] == 1.0 and found["best_speed"] == 1.0


def test_figures_of_a_corpus(tmp_path: Path) -> None:
    family = open_family(tiny.recipe(tmp_path, "ctc", base=tiny.base("ctc", tmp_path / "base")).train)
    texts = ["ⴰⵉ" * (1 + n % 7) for n in range(30)]
    seconds = [0.2 + len(text) / 10 for text in texts]
    found = corpus_figures(family, {"text_normalized": texts, "duration_s": seconds})
    assert found["length_correlation"] == pytest.approx(1.0)
    assert found["unknown_letters"] == 0.0
    assert 6 < found["letters_per_s"] < 10
    few = corpus_figures(family, {"text_normalized": ["ⴰⵣ ⴰⵣ"] * 5, "duration_s": [1.0] * 5})
    assert few == {"unknown_letters": 0.5, "letters_per_s": 4.0}  # too few, and all alike


# ---------------------------------------------------------------- the best by what is heard


def test_a_figure_that_is_unknown_or_needs_probes_is_refused_with_the_recipe(tmp_path: Path) -> None:
    demo = Path(__file__).parents[1] / "recipes" / "demo.yaml"
    with pytest.raises(RecipeError, match=r"train.early_stop: .*'probe.cer'"):
        load(demo, ["train.early_stop=probe.beauty"])
    with pytest.raises(RecipeError, match=r"`early_stop: probe.cer` needs `probe`"):
        load(demo, ["train.early_stop=probe.cer", "train.probe=null"])


def test_a_figure_that_is_not_measured_is_refused_before_training(tmp_path: Path) -> None:
    probe = {"every": 1, "count": 1}
    recipe = tiny.recipe(tmp_path, "ctc", early_stop="probe.voice", probe=probe)
    dataset.write(recipe, tiny.utterances())
    with pytest.raises(UserError, match=r"probe.voice is not measured here: it needs speakers .*there is probe.cer"):
        script.main(recipe)


def test_the_best_weights_by_a_probe_are_kept_and_the_summary_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = {"every": 2, "count": 2}
    base = tiny.base("ctc", tmp_path / "base")
    recipe = tiny.recipe(tmp_path, "ctc", base=base, early_stop="probe.cer", probe=probe, max_steps=4, ema=0.9)
    dataset.write(recipe, tiny.utterances())
    script.main(recipe)
    rows = [json.loads(line) for line in (recipe.folder("train") / "metrics.jsonl").read_text("utf-8").splitlines()]
    measured = [(row["probe_cer"], row["step"]) for row in rows if "probe_cer" in row]
    measured += [(row["probe_cer_ema"], row["step"]) for row in rows if "probe_cer_ema" in row]
    assert [step for _, step in measured] == [0, 2, 4, 2, 4]
    out = capsys.readouterr().out
    assert f"best probe.cer {min(measured)[0]:.3f} at step {min(measured)[1]}" in out
    assert "last probe: length_ratio" in out and "(base " in out


# ---------------------------------------------------------------- where it goes


@needs("tensorboard")
def test_tensorboard_gets_figures_warnings_sound_and_pictures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = {"base": tiny.base("fastspeech2", tmp_path / "base"), "aligner": tiny.base("ctc", tmp_path / "ctc")}
    probe = {"every": 2, "count": 1}
    recipe = tiny.recipe(tmp_path, "fastspeech2", **settings, tensorboard=True, max_steps=2, probe=probe)
    dataset.write(recipe, tiny.utterances())
    script.main(recipe)
    seen = EventAccumulator(str(recipe.folder("train") / "tensorboard"))
    tags = seen.Reload().Tags()
    assert {"valid/loss", "probe/cer", "probe/lora"} <= set(tags["scalars"])
    assert tags["audio"] == ["probe/0"] and tags["images"] == ["attention/0"]
    assert [event.step for event in seen.Scalars("probe/cer")] == [0, 2]
    assert any("deaf_judge" in tag for tag in tags["tensors"])  # a random recogniser


def test_without_tensorboard_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    recipe = tiny.recipe(tmp_path, "ctc", tensorboard=True)
    dataset.write(recipe, tiny.utterances())
    with pytest.raises(UserError, match=r"train.tensorboard: needs TensorBoard: pip install tensorboard"):
        script.main(recipe)


def test_wandb_gets_sound_pictures_and_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"base": tiny.base("fastspeech2", tmp_path / "base"), "aligner": tiny.base("ctc", tmp_path / "ctc")}
    probe, wandb = {"every": 2, "count": 1}, {"mode": "offline"}
    recipe = tiny.recipe(tmp_path, "fastspeech2", **settings, wandb=wandb, max_steps=2, probe=probe)
    dataset.write(recipe, tiny.utterances())
    script.main(recipe)
    media = recipe.folder("train") / "wandb"
    assert list(media.glob("offline-run-*/files/media/images/attention_*.png"))
    assert list(media.glob("offline-run-*/files/media/audio/probe_*.wav"))
    assert "[deaf_judge]" in capsys.readouterr().out


def test_the_bar_says_how_fast_it_goes() -> None:
    bar = Bar(total=10, start=2, visible=False)
    bar.show(3, 1.25, took_s=0.5, utterances=4, audio_s=10.0)
    bar.show(4, math.nan, took_s=1.5, utterances=8, audio_s=30.0)
    assert bar.speed() == "6.0 utterances/s, 20 × real time"
    assert bar.progress.tasks[0].completed == 4
    assert bar.progress.tasks[0].fields["loss"] == ""
