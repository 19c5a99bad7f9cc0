"""`python -m evaluate.edge` as a developer of a phone meets it: a folder to copy, a table, and what is refused."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
import torch
import transformers

from evaluate.edge import __main__ as script
from evaluate.edge import check, graphs, report
from evaluate.edge.runners.vits import Noise
from evaluate.edge.vits import spline
from prepare import dataset
from recipes.provenance import mark_withdrawn
from recipes.schema import Family, Recipe, UserError
from tests import tiny
from tests.conftest import ROOT, needs
from train import adapter
from train.adapter import adapter_folder, open_model, samples_of, voice_of
from train.families import in_pieces, open_family
from train.families.ctc import letter_tokenizer

pytestmark = needs("onnxscript")
UNSEEN = ("ⵉⴰⵓ", "ⵓⵓⵉ ⴰ", "ⴰⵓ ⵉⵉⵓ")


def wav2vec2(folder: Path) -> str:
    """A tiny wav2vec 2.0 with the adapters of MMS in its layers, that knows three letters. Returns its folder."""
    config = transformers.Wav2Vec2Config(
        vocab_size=6,
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
        layerdrop=0.0,
        pad_token_id=0,
    )
    torch.manual_seed(1)
    made: Any = transformers.Wav2Vec2ForCTC(config)
    made.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    letter_tokenizer(["ⴰⵉⵓ"]).save_pretrained(folder)
    return str(folder)


def ready(folder: Path, family: Family, edge: dict[str, Any] | None = None, **train: Any) -> Recipe:
    """A dataset with three unseen sentences, and a model of random weights in place of a trained one."""
    recipe = tiny.recipe(folder, family, **train)
    limits = {"max_cer_change": 9.0} | (edge or {})  # random weights are as sure of one letter as of another
    recipe = recipe.model_copy(
        update={"evaluate": recipe.evaluate.model_validate({"edge": limits, "max_sentences": 10})}
    )
    rows = [row for row in tiny.utterances() if row.split != "test"]
    rows += [tiny.utterance(f"test-{n}", text, "test") for n, text in enumerate(UNSEEN)]
    dataset.write(recipe, rows)
    torch.manual_seed(1)
    made = open_family(recipe.train, letters=["".join(tiny.TEXTS)])
    if recipe.train.method == "lora":
        adapter.add_lora(made, recipe.train.lora, tiny.TEXTS)
    torch.manual_seed(2)
    for name, weight in made.model.named_parameters():
        if weight.requires_grad and ("lora_B" in name or "conv_p" in name or "duration" in name):
            torch.nn.init.normal_(weight, std=0.3)  # what begins as zeros would hide mistakes
    adapter.save(recipe, made)
    return recipe


def vocoder(folder: Path) -> str:
    """A HiFi-GAN that is heard: random weights as they come are nearly silent."""
    config = transformers.SpeechT5HifiGanConfig(
        upsample_initial_channel=32, resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]]
    )
    torch.manual_seed(3)
    made: Any = transformers.SpeechT5HifiGan(config)
    for weight in made.parameters():
        if weight.dim() == 3:
            torch.nn.init.normal_(weight, std=(weight[0].numel()) ** -0.5)
    made.save_pretrained(folder / "vocoder")
    return str(folder / "vocoder")


def run(recipe: Recipe) -> Path:
    script.main(recipe)
    return report.folder_of(recipe)


def whisper(folder: Path, **train: Any) -> Recipe:
    base = tiny.base("whisper", folder / "base")
    return ready(folder, "whisper", base=base, **train)


MADE: dict[str, Callable[[Path], Recipe]] = {
    "whisper": lambda folder: whisper(folder),
    "whisper that hears what there is": lambda folder: whisper(folder, audio_context="fit"),
    "wav2vec 2.0": lambda folder: ready(folder, "ctc", base=wav2vec2(folder / "base")),
    "wav2vec2-bert": lambda folder: ready(folder, "ctc"),
    "speecht5": lambda folder: ready(folder, "speecht5", vocoder=vocoder(folder)),
    "vits": lambda folder: ready(folder, "vits", config=tiny.CONFIGS["vits"] | {"speaker_embedding_size": 8}),
}
SLOW = ("whisper that hears what there is", "wav2vec2-bert")
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MADE]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Recipe, Path]]:
    """`exported(name)`: an export of each kind, made when it is first asked for; tests only read it."""
    made: dict[str, tuple[Recipe, Path]] = {}

    def exported(name: str) -> tuple[Recipe, Path]:
        if name not in made:
            recipe = MADE[name](tmp_path_factory.mktemp("edge"))
            made[name] = recipe, run(recipe)
        return made[name]

    return exported


Exported = Callable[[str], tuple[Recipe, Path]]


def both(recipe: Recipe, folder: Path) -> tuple[list[Any], list[Any]]:
    """What the model of ours and the run.py of a folder make of the unseen sentences."""
    family, other = open_model(recipe, "adapter"), check.opened(folder)
    rows = list(adapter.open_dataset(recipe)["test"])
    if recipe.train.recognises:
        clips = [samples_of(family, row) for row in rows]
        clips += [tiny.samples(seconds) for seconds in (0.5, 1.37, 2.02)]
        clips.append(clips[0][8_000:8_480])  # 0.03 s, less than CTC hears
        return [family.transcribe(clip, "zgh-Tfng") for clip in clips], [other.transcribe(clip) for clip in clips]
    voice = voice_of(family, recipe)["amina"]
    texts = [row["text_normalized"] for row in rows] + ["ⴰ", "ⴰⵣⵉ ⵓⵉⴰ ⵉⵓⵉ ⴰⴰ"]
    return [family.synthesise(text, voice) for text in texts], [other.speak(text) for text in texts]


# ---------------------------------------------------------------- the same


@pytest.mark.parametrize("name", NAMES)
def test_run_py_gives_what_the_model_gives(exported: Exported, name: str) -> None:
    recipe, folder = exported(name)
    ours, theirs = both(recipe, folder / "float")
    if recipe.train.recognises:
        assert ours == theirs and any(ours)
    else:
        for one, other in zip(ours, theirs, strict=True):
            assert np.abs(one).max() > 0.01
            np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_eight_bits_stay_within_what_is_tolerated_and_weigh_less(exported: Exported, name: str) -> None:
    recipe, folder = exported(name)
    original, whole, small = (
        check.Row(**row) for row in json.loads((folder / "report.json").read_text())["versions"]
    )
    assert [original.version, whole.version, small.version] == ["original", "float", "int8"]
    assert small.size_mib < whole.size_mib
    if recipe.train.recognises:
        assert whole.differs == 0 and whole.cer == original.cer
        assert check.faults(recipe, [original, whole, small]) == []
    else:
        assert whole.mel_db is not None and whole.mel_db < 0.01 and whole.duration_change == 0
        assert small.mel_db is not None and small.mel_db <= recipe.evaluate.edge.max_mel_db


def test_an_adapter_and_its_letters_are_merged(exported: Exported) -> None:
    recipe, folder = exported("whisper")
    assert recipe.train.method == "lora"
    settings = json.loads((folder / "int8" / "settings.json").read_text(encoding="utf-8"))
    assert "ⴰ".encode().hex() in settings["tokens"]  # one token, where the base has three


@pytest.mark.slow
def test_vits_with_random_durations(tmp_path: Path) -> None:
    config = tiny.CONFIGS["vits"] | {"use_stochastic_duration_prediction": True}
    recipe = ready(tmp_path, "vits", config=config)
    for one, other in zip(*both(recipe, run(recipe) / "float"), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("tokens", [1, 3, 7, 8, 9, 40, 41])
def test_noise_is_that_of_torch(tokens: int) -> None:
    torch.manual_seed(0)
    first, across = torch.randn(1, 2, tokens), torch.randn_like(torch.zeros(tokens, 13).T[None])
    noise = Noise(0)
    np.testing.assert_allclose(noise.block(2 * tokens), first.numpy().reshape(-1), atol=1e-5)
    np.testing.assert_allclose(noise.stream(13 * tokens), across[0].T.numpy().reshape(-1), atol=1e-6)


def test_the_spline_is_that_of_transformers() -> None:
    from transformers.models.vits.modeling_vits import _unconstrained_rational_quadratic_spline as theirs

    torch.manual_seed(0)
    values = torch.cat([torch.randn(1, 1, 200) * 4, torch.tensor([[[-5.0, 5.0, 0.0, 9.0, -9.0]]])], dim=2)
    widths, heights, slopes = (torch.randn(1, 1, 205, bins) for bins in (10, 10, 9))
    wanted, _ = theirs(values, widths, heights, slopes, reverse=True, tail_bound=5.0)
    torch.testing.assert_close(spline(values, widths, heights, slopes, 5.0), wanted, atol=2e-4, rtol=1e-4)


# ---------------------------------------------------------------- what others can do with it


@pytest.mark.parametrize(
    "path", sorted((ROOT / "evaluate" / "edge" / "runners").glob("[a-z]*.py")), ids=lambda p: p.stem
)
def test_a_runner_needs_numpy_and_onnxruntime_alone(path: Path) -> None:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        found |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
        found |= {node.module} if isinstance(node, ast.ImportFrom) else set()
    assert {str(name).split(".")[0] for name in found} - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


@pytest.mark.parametrize("name", ["wav2vec 2.0", "vits"])
def test_a_folder_runs_wherever_it_is_copied(exported: Exported, tmp_path: Path, name: str) -> None:
    recipe, folder = exported(name)
    for path in (folder / "int8").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())

    def call(*words: str) -> str:
        command = [sys.executable, "-I", "run.py", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    if recipe.train.recognises:
        soundfile.write(tmp_path / "clip.wav", tiny.samples(1.5), 16_000, "PCM_16")
        assert call("clip.wav").strip()
    else:
        call("ⴰⵉⵓ", "speech.wav")
        with soundfile.SoundFile(tmp_path / "speech.wav") as file:
            assert file.comment.startswith("Synthetic speech, made by a machine; no person said this.")
            assert len(file) > 1_000


@pytest.mark.parametrize("most_s", [4, 30])
def test_a_device_cuts_long_recordings_in_the_same_places(most_s: int) -> None:
    from evaluate.edge.runners import whisper as runner

    samples = np.random.default_rng(1).normal(0, 0.1, 70 * 16_000).astype(np.float32)
    ours, theirs = (cut(samples, most_s * 16_000, 16_000) for cut in (in_pieces, runner.pieces))
    assert [len(piece) for piece in ours] == [len(piece) for piece in theirs]
    model: Any = object.__new__(runner.Model)
    model.rate_hz, model.settings = 16_000, {"most_samples": most_s * 16_000}
    model.transcribe_piece = lambda piece: f"{len(piece)}"
    assert model.transcribe(samples) == " ".join(str(len(piece)) for piece in ours)


def test_merged_weights_load_in_plain_transformers(exported: Exported) -> None:
    recipe, folder = exported("wav2vec 2.0")
    family, clip = open_model(recipe, "adapter"), tiny.samples(1.5)
    model = transformers.AutoModelForCTC.from_pretrained(folder / "merged").eval()
    features = transformers.AutoFeatureExtractor.from_pretrained(folder / "merged")
    letters = transformers.Wav2Vec2CTCTokenizer.from_pretrained(folder / "merged")
    with torch.inference_mode():
        scores = model(**features(clip, sampling_rate=16_000, return_tensors="pt")).logits[0]
    said = letters.decode(scores.argmax(-1)).replace("<unk>", " ")
    assert " ".join(said.split()) == family.transcribe(clip, "zgh-Tfng")

    recipe, folder = exported("whisper")
    family = open_model(recipe, "adapter")
    whole: Any = transformers.WhisperForConditionalGeneration.from_pretrained(folder / "merged").eval()
    heard = transformers.AutoFeatureExtractor.from_pretrained(folder / "merged")
    tokens = transformers.WhisperTokenizer.from_pretrained(folder / "merged")
    inputs = heard(np.pad(clip, (0, 480)), sampling_rate=16_000, return_tensors="pt").input_features
    with torch.inference_mode():
        prompt = torch.tensor([family.prompt_tokens()])
        ids = whole.generate(inputs, decoder_input_ids=prompt, max_new_tokens=20, num_beams=1)[0]
    said = " ".join(tokens.decode(ids, skip_special_tokens=True).split())
    assert said and family.transcribe(clip, "zgh-Tfng").startswith(said[:3])

    recipe, folder = exported("vits")
    family = open_model(recipe, "adapter")
    speaker: Any = transformers.VitsModel.from_pretrained(folder / "merged").eval()
    ids = torch.from_numpy(family._ids("ⴰⵉⵓ"))[None]
    torch.manual_seed(0)
    with torch.inference_mode():
        wave = speaker(ids, speaker_id=0).waveform[0].numpy()
    ours = family.synthesise("ⴰⵉⵓ", voice_of(family, recipe)["amina"])
    assert len(wave) == len(ours)


@pytest.mark.parametrize("name", ["speecht5", "wav2vec 2.0"])
def test_a_report_says_what_it_is_and_how_near(exported: Exported, name: str) -> None:
    recipe, folder = exported(name)
    found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    line = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
    assert found["adapter"] == adapter.revocation.weights_digest(adapter_folder(recipe))
    assert found["purpose"] == line["purpose"] == "tts_clone" and found["clips"] == line["clips"]
    assert found["compared"] == {"clips": 3, "cores": 1, "processor": found["compared"]["processor"]}
    assert set(found["tolerances"]) <= {"max_cer_change", "max_mel_db", "max_duration_change"}
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert ("Synthetic speech must be marked" in text) == (name == "speecht5")
    for path in folder.glob("*/*.onnx"):
        model = onnx.load(path)
        assert {one.key: one.value for one in model.metadata_props}["adapter"] == found["adapter"]
        assert str(ROOT).encode() not in path.read_bytes()  # where it was made is nobody's business


# ---------------------------------------------------------------- again, and never


def test_running_twice_makes_nothing_twice(exported: Exported, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, folder = exported("wav2vec 2.0")
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert run(recipe) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    assert "| int8" in capsys.readouterr().out
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".edge")] == []


@pytest.mark.slow
def test_an_export_that_is_too_far_off_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = ready(tmp_path, "vits", edge={"max_mel_db": 1e-6})
    with pytest.raises(UserError, match=r"int8: [\d.]+ dB from the original, over evaluate.edge.max_mel_db"):
        run(recipe)
    assert "| int8" in capsys.readouterr().out  # with the figures
    assert not report.folder_of(recipe).exists() and not list(recipe.folder("evaluate").glob(".edge*"))


def test_tolerances_are_kept_to() -> None:
    recipe = tiny.recipe(Path("/nowhere"), "ctc")
    rows = [
        check.Row("original", 1, 1, cer=0.10),
        check.Row("float", 1, 1, cer=0.12),
        check.Row("int8", 1, 1, cer=0.13),
    ]
    assert check.faults(recipe, rows) == ["int8: CER rises by 0.0300, over evaluate.edge.max_cer_change"]
    rows = [check.Row("original", 1, 1, mel_db=0, duration_change=0)]
    rows += [check.Row("int8", 1, 1, mel_db=float("nan"), duration_change=0.06)]
    assert len(check.faults(recipe, rows)) == 2


@pytest.mark.parametrize("family", ["fastspeech2", "qwen3_asr"])
def test_other_families_are_refused_with_those_that_work(tmp_path: Path, family: Family) -> None:
    base = {"base": "some/base"} if family == "qwen3_asr" else {}
    with pytest.raises(UserError, match="has no export for small devices; whisper, ctc, speecht5, vits have"):
        run(tiny.recipe(tmp_path, family, **base))


def test_a_network_that_no_file_holds_is_refused(tmp_path: Path) -> None:
    huge = torch.nn.Linear(30_000, 20_000, device="meta")  # 2.2 GiB, of which none is taken
    with pytest.raises(UserError, match=r"model.onnx would have 2.2 GiB; an ONNX file holds 2: take a smaller base"):
        graphs.write(tmp_path / "model.onnx", huge, [torch.zeros(1)], ["x"], ["y"], {})


def test_speecht5_without_a_vocoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train.vocoder: SpeechT5 is exported with its vocoder"):
        run(ready(tmp_path, "speecht5"))


def test_only_a_voice_that_is_allowed_speaks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluate.edge.voice: somebody is no speaker who allows tts_clone; amina"):
        run(ready(tmp_path, "vits", edge={"voice": "somebody"}))


@pytest.mark.parametrize("what", ["adapter", "dataset"])
def test_what_was_withdrawn_is_not_exported(tmp_path: Path, what: str) -> None:
    recipe = ready(tmp_path, "ctc", base=wav2vec2(tmp_path / "base"))
    place = adapter_folder(recipe) if what == "adapter" else adapter.dataset_folder(recipe)
    mark_withdrawn(place, date(2026, 1, 1), 2)
    with pytest.raises(UserError, match="withdrawn"):
        run(recipe)


def test_an_adapter_of_another_dataset_is_refused_for_nobody_knows_what_it_has_seen(tmp_path: Path) -> None:
    recipe = ready(tmp_path, "ctc", base=wav2vec2(tmp_path / "base"))
    dataset.write(recipe, tiny.utterances())
    with pytest.raises(UserError, match="not trained on the dataset as it is now"):
        run(recipe)


def test_a_pickle_in_the_adapter_is_not_opened(tmp_path: Path) -> None:
    recipe = ready(tmp_path, "ctc", base=wav2vec2(tmp_path / "base"))
    (adapter_folder(recipe) / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError):
        run(recipe)
    assert not report.folder_of(recipe).exists()
