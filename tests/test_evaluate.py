"""What is evaluated and counted, and how a finding is put into words and pictures."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from evaluate import objective, plots, report, results, stimuli, systems
from evaluate.objective import Measured
from evaluate.results import Results
from evaluate.statistics import Figure, crossed_mean
from evaluate.systems import Item, Rendered
from recipes.records import Language
from recipes.schema import Recipe, UserError, load
from tests import tiny
from tests.conftest import ROOT

RECIPE = load(ROOT / "recipes" / "demo.yaml")


@pytest.mark.parametrize(
    ("text", "heard", "counts"),
    [
        ("ⴰⵣⵓⵍ", "ⴰⵣⵓⵍ", (0, 4, 0, 1)),
        ("فين غادي", "فين", (5, 8, 1, 2)),
        ("كتب", "", (3, 3, 1, 1)),
        ("ab cd", "ab xd ef", (4, 5, 2, 2)),
    ],
)
def test_errors_are_edits_over_what_was_said(text: str, heard: str, counts: tuple[int, int, int, int]) -> None:
    assert objective.errors(text, heard) == counts


def test_a_choice_among_accepted_spellings_is_no_error() -> None:
    text, heard = "ما كاينش ثلاثة ديال الناس فالدار", "ماكاينش تلاتة ديال ناس ف الدار"
    assert objective.errors(text, heard)[2:] == (6, 6)
    assert objective.tolerant_errors(text, heard, "ary-Arab") == (1, 5)  # الناس and ناس are two words


def measured(system: str, edits: list[int]) -> list[Measured]:
    return [
        Measured(system, f"i{n}", "s1", f"text {n}", "x", wrong, 10, min(wrong, 2), 2, 1.0, 0, 2)  # type: ignore[arg-type]
        for n, wrong in enumerate(edits)
    ]


def test_base_and_adapter_are_compared_on_the_same_sentences() -> None:
    rows = measured("base", [5, 6, 7, 8, 6, 7]) + measured("adapter", [1, 2, 1, 2, 0, 3])
    recipe = load(ROOT / "recipes" / "nano_asr.yaml")  # a recogniser: no durations to measure
    found = objective.figures(recipe, rows)
    assert found["CER"]["base"] and found["CER"]["base"].value == pytest.approx(39 / 60)
    gap = found["CER"]["adapter - base"]
    assert gap and gap.value == pytest.approx(-30 / 60) and gap.apart_from_zero and gap.n == 6


def test_speakers_are_the_clusters_where_there_are_enough_of_them() -> None:
    rows = [Measured("base", str(n), f"s{n % 6}", f"t{n}", "", 0, 1, 0, 1, 1.0, 0, 1) for n in range(12)]
    assert len(set(objective.clusters(rows))) == 6
    assert len(set(objective.clusters(rows[:1] * 12))) == 1


@pytest.mark.parametrize(
    ("heard", "language", "text"),
    [
        ("السَّلامُ عليكم!", "ary-Arab", "السلام عليكم"),
        ("ⴰⵣⵓⵍ, ⴰ ⴱⴰⴱⴰ.", "zgh-Tfng", "ⴰⵣⵓⵍ ⴰ ⴱⴰⴱⴰ"),
        ("Bghit, ATAY.", "ary-Latn", "bghit atay"),
        ("جسفت ⴰⵣⵓⵍ", "zgh-Tfng", "جسفت ⴰⵣⵓⵍ"),  # another script is kept, and so counts as wrong
        ("", "zgh-Tfng", ""),
    ],
)
def test_what_was_heard_is_compared_in_the_form_of_the_text(heard: str, language: Language, text: str) -> None:
    found = objective.comparable(heard, language)
    assert found == text == objective.comparable(found, language)


def said(seed: int, text: str = "ⴰⵣⵓⵍ") -> Rendered:
    samples = np.random.default_rng(seed).standard_normal(1600).astype(np.float32)
    return Rendered("base", Item(text, "zgh-Tfng", f"s{seed}"), samples, 16_000)


def test_a_clip_is_heard_once_and_what_was_heard_goes_when_the_clip_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def transcribe(samples: object, language: str) -> str:
        calls.append(language)
        return "ⴰⵣⵓⵍ!"

    recogniser = SimpleNamespace(rate_hz=16_000, transcribe=transcribe)
    monkeypatch.setattr(objective, "open_recogniser", lambda name: recogniser)
    recipe = RECIPE.model_copy(update={"work_dir": tmp_path})
    one, *_ = objective.measure(recipe, [said(1), said(2)])
    assert (one.heard, one.char_edits, one.duration_s) == ("ⴰⵣⵓⵍ", 0, 0.1) and len(calls) == 2
    assert objective.measure(recipe, [said(2)])[0].heard == "ⴰⵣⵓⵍ" and len(calls) == 2
    assert len(list((tmp_path / "evaluate" / "heard").iterdir())) == 1


# ---------------------------------------------------------------- what is evaluated


def dataset(monkeypatch: pytest.MonkeyPatch, train: list[str], test: list[str]) -> None:
    def rows(texts: list[str], split: str) -> Dataset:
        names = [f"{split}{n}" for n in range(len(texts))]
        columns = {"id": names, "text_normalized": texts, "speaker": ["s1"] * len(texts)}
        columns["purposes"] = [["listen_test"]] * len(texts)
        return Dataset.from_dict(columns | {"language": ["zgh-Tfng"] * len(texts)})

    found = {"train": rows(train, "train"), "valid": rows([], "valid"), "test": rows(test, "test")}
    monkeypatch.setattr(systems, "open_dataset", lambda recipe: found)


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
    played = systems.render(RECIPE, "recordings", [heard, shy, systems.Item("ⴰⵖⵔⵓⵎ", "zgh-Tfng", "s1")])
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


def test_what_other_data_rendered_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPE.model_copy(update={"work_dir": tmp_path})
    dataset(monkeypatch, train=["ⴰⵣⵓⵍ", "ⵉⵎⵎⵉ"], test=["ⴰⴱⴱⴰ"])
    folder = tmp_path / "evaluate" / "rendered" / systems.identity(recipe, "base")
    folder.mkdir(parents=True)
    systems.forget(evaluated(recipe, systems=["recordings"]))  # not asked for this time, still true
    assert folder.is_dir()
    dataset(monkeypatch, train=["ⴰⵣⵓⵍ"], test=["ⴰⴱⴱⴰ"])  # a speaker withdrew
    systems.forget(recipe)
    assert not folder.exists()


def test_utterances_without_a_loss_are_counted_and_left_out_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Dataset.from_dict({"text_normalized": [f"t{n}" for n in range(102)], "speaker": ["s1"] * 102})
    monkeypatch.setattr(objective, "open_dataset", lambda recipe: {"valid": rows})
    monkeypatch.setattr(objective, "open_model", lambda recipe, system: SimpleNamespace(recognises=True, of=system))

    def losses(model: Any, rows: Any, voices: Any) -> list[float]:
        return [float("nan") if model.of == "base" and n == 7 else n + (model.of == "base") for n in range(len(rows))]

    monkeypatch.setattr(objective, "losses", losses)
    found, left_out = objective.validation_losses(RECIPE, ["base", "adapter"])
    assert left_out == {
        "validation utterances beyond the first 100": 2,
        "validation utterances that the model cannot encode": 1,
    }
    assert {system: figure.n for system, figure in found.items() if figure} == dict.fromkeys(found, 99)
    assert str(found["adapter - base"]) == "-1.000 (all alike: no interval, n = 99)"


# ---------------------------------------------------------------- in words


BETTER = Figure(-0.3, -0.4, -0.2, 30, 30)
UNSURE = Figure(-0.1, -0.3, 0.1, 30, 30)
WORSE = Figure(0.3, 0.2, 0.4, 30, 30)
FEW = Figure(-0.3, None, None, 2, 2, "not enough data for an interval")


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (BETTER, "The adapter is better than the base: 30.00 fewer errors (95 % interval 20.00 to 40.00)"),
        (WORSE, "The adapter is worse than the base: 30.00 more errors (95 % interval 20.00 to 40.00)"),
        (
            UNSURE,
            "No difference between adapter and base can be told (-10.00 errors, 95 % interval -30.00 to +10.00)",
        ),
        (FEW, "The adapter gives -30.00 errors against the base (not enough data for an interval)"),
    ],
)
def test_a_difference_is_put_into_words_with_how_sure_it_is(gap: Figure, words: str) -> None:
    assert report.verdict(gap, 100, "errors") == words


def test_there_is_less_loss_and_there_are_fewer_errors() -> None:
    assert "0.30 less loss" in report.verdict(BETTER, 1, "loss")
    assert "0.30 more loss" in report.verdict(WORSE, 1, "loss")


def test_the_summary_says_what_is_not_known() -> None:
    rate = Figure(0.5, 0.4, 0.6, 30, 30)
    figures = {"CER": {"base": rate, "adapter": rate, "recordings": rate, "adapter - base": UNSURE}}
    found = Results(30, {"training had the same sentence": 2}, figures, [])
    said = " ".join(report.summary(RECIPE, found, {}))
    assert "No difference between adapter and base can be told" in said
    assert (
        "on the same 30 unseen sentences: 50.0 (40.0 to 60.0) with it, 50.0 (40.0 to 60.0) with the base model"
        in said
    )
    assert (
        "The recogniser that counted is itself wrong on 50.0 (40.0 to 60.0) of 100 characters of recordings" in said
    )
    assert "Nobody has compared them by ear yet" in said
    assert "Left out: 2, training had the same sentence." in said
    of_a_recogniser = " ".join(report.summary(load(ROOT / "recipes" / "nano_asr.yaml"), found, {}))
    assert "ear" not in of_a_recogniser.split()  # there is nothing to listen to


@pytest.mark.parametrize(
    ("liked", "told"),
    [
        (Figure(0.7, 0.6, 0.8, 60, 20), True),
        (Figure(0.3, 0.2, 0.4, 60, 20), True),
        (Figure(0.6, 0.45, 0.75, 60, 20), False),
        (Figure(0.9, None, None, 10, 1, "not enough data for an interval"), False),
        (crossed_mean([1.0] * 36, [n // 6 for n in range(36)], [n % 6 for n in range(36)], 100, 1), True),
        (crossed_mean([0.5] * 36, [n // 6 for n in range(36)], [n % 6 for n in range(36)], 100, 1), False),
    ],
)
def test_a_preference_is_claimed_only_where_the_answers_tell_one(liked: Figure, told: bool) -> None:
    found = Results(30, {}, {}, [])
    words = report.summary(RECIPE, found, {"preferred over base": {"adapter": liked}})[-1]
    assert words.startswith("Listeners preferred the adapter in") and f"{liked.n} in all" in words
    assert ("does not tell which of the two they prefer" in words) != told


def test_no_figure_is_shown_without_its_uncertainty() -> None:
    assert report.cells(None) == ("", "nothing to measure", "0")
    assert report.cells(BETTER) == ("-0.300", "-0.400 to -0.200", "30")
    assert report.cells(FEW) == ("-0.300", "not enough data for an interval", "2")


# ---------------------------------------------------------------- the page and its parts


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"work_dir": tmp_path})
    figures = {"CER": {"base": BETTER, "adapter": FEW, "recordings": None}}
    written = Results(2, {"the same sentence twice": 1}, figures, measured("base", [1, 2]))
    results.write(recipe, written)
    assert results.read(recipe) == written


@pytest.mark.parametrize("content", ["", "{}", '{"items": 1, "left_out": 2, "figures": {}, "measured": []}'])
def test_results_of_another_version_are_asked_for_again(tmp_path: Path, content: str) -> None:
    recipe = RECIPE.model_copy(update={"work_dir": tmp_path})
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate" / "results.json").write_text(content)
    with pytest.raises(UserError, match=r"results\.json: not as this version writes it; run python -m evaluate"):
        results.read(recipe)


def test_clips_that_have_no_room_in_the_page_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPE.model_copy(update={"work_dir": tmp_path})
    spoken = [said(n, f"text {n}") for n in range(3)]
    stimuli.make(recipe, spoken)
    rows = [Measured("base", s.item.id, s.item.speaker, s.item.text, "x", 1, 10, 1, 2, 0.1, 1, 2) for s in spoken]
    found = Results(3, {}, {}, rows)
    players, silent = report.players(recipe, found)
    assert silent == 0 and all(row["systems"][0]["sound"] for row in players)
    monkeypatch.setattr(report, "_PLAYERS_MIB", 1e-6)
    players, silent = report.players(recipe, found)
    assert silent == 2 and [bool(row["systems"][0]["sound"]) for row in players] == [True, False, False]
    assert [row["text"] for row in players] == ["text 0", "text 1", "text 2"]  # the words are there all the same


def test_a_plot_says_in_words_what_it_shows_and_is_the_same_every_time() -> None:
    drawn = plots.intervals("C<R", {"base": BETTER, "adapter": None, "adapter - base": FEW})
    assert 'role="img" aria-label="C&lt;R: base -0.300 [-0.400, -0.200] (n = 30)"' in drawn
    assert drawn == plots.intervals("C<R", {"base": BETTER})


def test_curves_need_two_validations_and_leave_room_for_every_point(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert plots.curves(path) is None
    path.write_text('{"step": 0, "valid_loss": 2.0}\n{"step": 5, "loss": 1.5}\n')
    assert plots.curves(path) is None
    path.write_text(path.read_text() + '{"step": 9, "valid_loss": 1.25, "probe_cer": 0.0}\n')
    drawn = plots.curves(path)
    assert drawn and "validation loss 2.000 at step 0, 1.250 at step 9" in drawn


def test_clips_of_a_report_can_be_read_by_every_browser(tmp_path: Path) -> None:
    from evaluate.stimuli import wav

    tone = np.sin(np.arange(16_000) / 20).astype(np.float32) * 0.3
    assert report._compressed(wav(tone, 16_000))[:2] in (b"\xff\xf3", b"\xff\xfb", b"ID")
