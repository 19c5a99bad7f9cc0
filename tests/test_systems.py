"""What is compared, on which sentences: our models, recordings, anchors, and other people's files."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import soundfile
from datasets import Dataset

from evaluate import anchors, files, models, systems
from evaluate.systems import Item
from recipes.schema import Files, Recipe, Speech, Trained, UserError, load
from tests import tiny
from tests.conftest import ROOT

RECIPE = load(ROOT / "recipes" / "demo.yaml")


def dataset(monkeypatch: pytest.MonkeyPatch, train: list[str], test: list[str]) -> None:
    def rows(texts: list[str], split: str) -> Dataset:
        names = [f"{split}{n}" for n in range(len(texts))]
        columns = {"id": names, "text_normalized": texts, "speaker": ["s1"] * len(texts)}
        columns["purposes"] = [["listen_test"]] * len(texts)
        return Dataset.from_dict(columns | {"language": ["zgh-Tfng"] * len(texts)})

    found = {"train": rows(train, "train"), "valid": rows([], "valid"), "test": rows(test, "test")}
    for module in (systems, models):
        monkeypatch.setattr(module, "open_dataset", lambda recipe: found)


def evaluated(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with other settings of evaluate."""
    return recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update=changes)})


def test_whatever_is_left_out_is_counted_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(monkeypatch, train=["ⴰⵣⵓⵍ"], test=["ⴰⵣⵓⵍ", "ⴰⴱⴱⴰ"])
    path = tmp_path / "sentences.txt"
    path.write_text("ⴰⴱⴱⴰ\n\n...\nⵉⵎⵎⵉ!\nⵜⴰⴼⵓⴽⵜ\n", encoding="utf-8")
    recipe = evaluated(RECIPE, sentences=path, language="zgh-Tfng", max_sentences=2)
    wanted, left_out = systems.items(recipe)
    assert [item.text for item in wanted] == ["ⴰⴱⴱⴰ", "ⵉⵎⵎⵉ"]
    assert wanted[0].row["id"] == "test1"  # of two alike, the one with its recording
    assert left_out == {
        "training had the same sentence": 1,
        "the same sentence twice": 1,
        "more than evaluate.max_sentences": 1,
        "no letter of the language in the line": 1,
    }


def test_two_recordings_of_one_sentence_are_two_for_a_recogniser(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(monkeypatch, train=["ⴰⵣⵓⵍ"], test=["ⴰⴱⴱⴰ", "ⴰⴱⴱⴰ"])
    generated, _ = systems.items(evaluated(RECIPE, sentences=None))
    heard, left_out = systems.items(load(ROOT / "recipes" / "nano_asr.yaml"))
    assert (len(generated), len(heard), left_out) == (1, 2, {})


def test_a_recording_is_played_to_listeners_only_where_its_speaker_agreed(tmp_path: Path) -> None:
    row = tiny.utterances()[0].model_dump()
    heard = systems.Item("ⴰⵣⵓⵍ", "zgh-Tfng", "s1", row)
    shy = systems.Item("ⴰⵎⴰⵏ", "zgh-Tfng", "s1", row | {"purposes": ["store_prepare", "tts_clone"]})
    played, _ = systems.render(RECIPE, "recordings", [heard, shy, systems.Item("ⴰⵖⵔⵓⵎ", "zgh-Tfng", "s1")])
    assert [one.item.text for one in played] == ["ⴰⵣⵓⵍ"]


@pytest.mark.parametrize(("content", "cause"), [(None, "No such file"), (b"\xff\xfe\x00", "not UTF-8 text")])
def test_a_file_of_sentences_that_cannot_be_read(tmp_path: Path, content: bytes | None, cause: str) -> None:
    path = tmp_path / "sentences.txt"
    if content:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"sentences\.txt: {cause}.*\(evaluate.sentences\)"):
        list(systems.sentences(evaluated(RECIPE, sentences=path, language="zgh-Tfng")))


def test_systems_that_the_recipe_does_not_have_are_passed_over_and_none_left_is_said() -> None:
    recogniser = load(
        ROOT / "recipes" / "nano_asr.yaml"
    )  # from a configuration, and hears: neither base nor recordings
    assert systems.compared(evaluated(recogniser, systems=["base", "adapter", "adapter"])) == ["adapter"]
    with pytest.raises(UserError, match=r"evaluate.systems: nothing to evaluate; this recipe has no base and no rec"):
        systems.compared(evaluated(recogniser, systems=["base", "recordings"]))


def test_whatever_decides_an_output_is_in_the_name_it_is_kept_under(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "open_dataset", lambda recipe: {"test": {"id": ["clip-one"]}})
    weights = {"/base": "b" * 64, "/vocoder": "v" * 64}
    monkeypatch.setattr(models, "base_hash", lambda name: weights.get(str(name)))

    def name(which: Literal["base", "adapter"] = "base", **train: Any) -> str:
        settings = RECIPE.train.model_copy(update={"base": "/base", "vocoder": "/vocoder"} | train)
        recipe = RECIPE.model_copy(update={"work_dir": tmp_path, "train": settings})
        return models.identity(recipe, models.Model(which, which))

    changes = ({"mms_adapter": "ary"}, {"codec": "/codec"}, {"vocoder": None}, {"speaker_encoder": "/encoder"})
    known = [name(), name("adapter", audio_context="fit"), name("adapter"), *(name(**change) for change in changes)]
    known += [name(mms_adapter="shi"), name(quantise="nf4")]
    weights["/vocoder"] = "w" * 64
    known.append(name())
    assert len(set(known)) == len(known)
    assert name("base", audio_context="fit") == name()  # it hears as it was published
    weights["/elsewhere"] = "w" * 64
    assert name(vocoder="/elsewhere") == name()  # the same weights in another place


def test_what_other_data_rendered_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPE.model_copy(update={"work_dir": tmp_path})
    dataset(monkeypatch, train=["ⴰⵣⵓⵍ", "ⵉⵎⵎⵉ"], test=["ⴰⴱⴱⴰ"])
    folder = tmp_path / "evaluate" / "rendered" / models.identity(recipe, models.Model("base", "base"))
    folder.mkdir(parents=True)
    systems.forget(evaluated(recipe, systems=["recordings"]))  # not asked for this time, still true
    assert folder.is_dir()
    dataset(monkeypatch, train=["ⴰⵣⵓⵍ"], test=["ⴰⴱⴱⴰ"])  # a speaker withdrew
    systems.forget(recipe)
    assert not folder.exists()


# ---------------------------------------------------------------- other people's files


def tone(path: Path, seconds: float = 1.0, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.2 * np.sin(np.arange(int(seconds * 22_050)) / 10), 22_050, **options)
    return path


WANTED = [
    Item("ⴰⵣⵓⵍ", "zgh-Tfng", "s1"),
    Item("ⴰⵎⴰⵏ", "zgh-Tfng", "s1"),
    Item("ⴰⵖⵔⵓⵎ", "zgh-Tfng", "s1", {"id": "clip-7"}),
]


def test_files_are_matched_by_the_ids_of_sentences_and_what_is_missing_is_counted(tmp_path: Path) -> None:
    system = Files(name="studio", folder=tmp_path)
    tone(tmp_path / f"{WANTED[0].id}.wav")
    tone(tmp_path / "more" / "clip-7.ogg")  # by its recording's name
    tone(tmp_path / "test.wav")
    found, left_out = files.read(system, WANTED)
    assert [one.item.text for one in found] == ["ⴰⵣⵓⵍ", "ⴰⵖⵔⵓⵎ"] and found[0].rate_hz == 22_050
    assert left_out == {"studio: no file for the sentence": 1, "studio: file of no sentence here": 1}
    tone(tmp_path / f"{WANTED[0].id}.flac")
    with pytest.raises(UserError, match=rf"{WANTED[0].id}.wav: the sentence has a file already"):
        files.read(system, WANTED)


def test_files_are_matched_by_a_table_whatever_the_marks_of_its_texts(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    tone(tmp_path / "b.flac")
    (tmp_path / "list.csv").write_text("file,text\na.wav,ⴰⵣⵓⵍ!\nb.flac,ⴰⵎⴰⵏ.\n", encoding="utf-8")
    found, left_out = files.read(Files(name="studio", folder=tmp_path, table="list.csv"), WANTED)
    assert [one.item.text for one in found] == ["ⴰⵣⵓⵍ", "ⴰⵎⴰⵏ"]
    assert left_out == {"studio: no file for the sentence": 1}


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("file;text\n", r"list.csv: no column file; the table has the columns file and text"),
        ("file,text\nno.wav,ⴰⵣⵓⵍ\n", r"list.csv, line 2: no.wav: no such file in the folder"),
        ("file,text\n../a.wav,ⴰⵣⵓⵍ\n", r"list.csv, line 2: ../a.wav: no such file in the folder"),
        ("file,text\na.wav,\n", r"list.csv, line 2: file or text is empty"),
        ("file,text\na.wav,ⴰⵣⵓⵍ\nb.wav,ⴰⵣⵓⵍ\n", r"list.csv, line 3: the sentence has a file already: a.wav"),
        ("file,text\na.wav,ⴰⵣⵓⵍ\na.wav,ⴰⵎⴰⵏ\n", r"list.csv: a.wav is given twice"),
        ("file,text\na.wav,ⵜⴰⴼⵓⴽⵜ\n", r"no file for any of 3 sentences \(studio\); list.csv names none of them"),
        ("file,text\nhalf.wav,ⴰⵣⵓⵍ\n", r"half.wav: cut short"),
    ],
)
def test_a_table_that_does_not_hold(tmp_path: Path, table: str, told: str) -> None:
    folder = tmp_path / "given"
    tone(tmp_path / "a.wav")
    tone(folder / "a.wav")
    whole = tone(folder / "b.wav").read_bytes()
    (folder / "half.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "list.csv").write_text(table, encoding="utf-8")
    with pytest.raises(UserError, match=told):
        files.read(Files(name="studio", folder=folder, table="list.csv"), WANTED)


def test_every_kind_of_system_is_compared_under_its_name() -> None:
    service = Speech.model_validate({"name": "vllm", "url": "http://localhost:1/v1", "options": {"speed": 1.1}})
    recipe = evaluated(RECIPE, systems=["base", service, Files(name="studio", folder=Path("x")), "recordings"])
    assert [systems.name_of(one) for one in systems.compared(recipe)] == ["base", "vllm", "studio", "recordings"]


def test_whoever_is_to_speak_the_sentences_gets_a_list(tmp_path: Path) -> None:
    path = systems.write_sentences(RECIPE.model_copy(update={"work_dir": tmp_path}), WANTED[:1])
    assert path.read_text(encoding="utf-8") == f"id,language,text\n{WANTED[0].id},zgh-Tfng,ⴰⵣⵓⵍ\n"


def test_a_folder_without_an_adapter_is_named(tmp_path: Path) -> None:
    recipe = evaluated(RECIPE, systems=[Trained(name="older", adapter=tmp_path)])
    (system,) = systems.compared(recipe)
    with pytest.raises(UserError, match=r"no adapter there \(older\); name a folder that training made"):
        systems.render(recipe, system, WANTED)


def test_recognisers_hear_and_do_not_speak() -> None:
    recogniser = load(ROOT / "recipes" / "nano_asr.yaml")
    with pytest.raises(UserError, match=r"evaluate.systems: anchor_low speaks, and ctc recognises speech"):
        systems.compared(evaluated(recogniser, systems=["adapter", "anchor_low"]))


# ---------------------------------------------------------------- anchors


def response_db(name: str, rate_hz: int, at_hz: list[float]) -> list[float]:
    from scipy.signal import freqz

    taps = anchors.taps(rate_hz, *anchors._EDGES_HZ[name])
    _, gain = freqz(taps, worN=np.array(at_hz), fs=rate_hz)
    return [float(20 * np.log10(abs(value))) for value in gain]


@pytest.mark.parametrize(("name", "times"), [("anchor_low", 1), ("anchor_mid", 2)])
@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 24_000, 48_000])
def test_the_filters_of_mushra_keep_to_its_bounds(name: str, times: int, rate_hz: int) -> None:
    passed = response_db(name, rate_hz, list(np.linspace(20, 3_500 * times, 500)))
    assert max(map(abs, passed)) <= 0.1
    stopped = [f for f in np.linspace(4_000 * times, 8_000 * times, 500) if f <= rate_hz / 2]
    assert max(response_db(name, rate_hz, stopped)) <= -25
    far = [f for f in stopped if f >= 4_500 * times]
    assert not far or max(response_db(name, rate_hz, far)) <= -50


def test_an_anchor_is_neither_delayed_nor_longer() -> None:
    click = np.zeros(4_000, np.float32)
    click[2_000] = 1
    for name in ("anchor_low", "anchor_mid"):
        found = anchors.low_pass(click, 16_000, name)
        assert len(found) == 4_000 and found.argmax() == 2_000


def test_recordings_without_the_band_have_no_anchor() -> None:
    with pytest.raises(UserError, match=r"anchor_mid needs prepare.rate_hz of 16000 or more, not 8000"):
        anchors.low_pass(np.zeros(100, np.float32), 8_000, "anchor_mid")


def test_the_flat_anchor_has_one_pitch_and_the_pace_of_the_recording() -> None:
    time = np.arange(32_000) / 16_000
    glide = 2 * np.pi * (140 * time + 40 * time**2)  # from 140 to 300 Hz
    voice = sum(np.sin(n * glide) / n for n in range(1, 20)) * np.hanning(32_000)
    said = (0.1 * voice).astype(np.float32)
    found = anchors.flat(said, 16_000)
    again = anchors.flat(said, 16_000)
    np.testing.assert_array_equal(found, again)
    assert len(found) == len(said)
    middle = found[8_000:24_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    octave = spectrum[90:180]  # one bin is one hertz
    assert abs(90 + int(octave.argmax()) - 110) <= 2
    for at in range(4_000, 28_000, 4_000):  # as loud as it was
        was, now = (np.sqrt(np.mean(x[at : at + 4_000] ** 2)) for x in (said, found))
        assert 0.4 < now / was < 2.5


def test_anchors_are_made_only_of_recordings_that_may_be_played() -> None:
    row = tiny.utterances()[0].model_dump()
    heard = Item("ⴰⵣⵓⵍ", "zgh-Tfng", "s1", row)
    shy = Item("ⴰⵎⴰⵏ", "zgh-Tfng", "s1", row | {"purposes": ["tts_clone"]})
    made, _ = systems.render(RECIPE, "anchor_low", [heard, shy, Item("ⴰⵖⵔⵓⵎ", "zgh-Tfng", "s1")])
    assert [one.item.text for one in made] == ["ⴰⵣⵓⵍ"] and made[0].system == "anchor_low"
