"""The watchdog: what each rule needs to speak, how it says it, and runs that are broken on purpose."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import watchdog
from benchmarks.watchdog import EITHER, GENERATOR, HEALTHY, NO_STOP, RECOGNISER, Fault, Rows, nano, sample, stopping
from recipes.schema import Train
from tests import tiny
from train.rules import Seen, before, during
from train.watch import Watch, warnings

Row = dict[str, Any]


def settings(family: str = "fastspeech2", **train: Any) -> Train:
    """Those of a run of a hundred steps."""
    return Train.model_validate({"family": family, "base": "b", "max_steps": 100, "ema": 0.99} | train)


def said(rows: list[Row], family: str = "fastspeech2") -> set[str]:
    return set(warnings(Seen(rows, settings(family))))


def probes(**figures: list[float]) -> list[Row]:
    """Rows of probes at steps 0, 40, 80 and so on (the first of a figure is the base's)."""
    count = max(map(len, figures.values()))
    return [{"step": 40 * n, **{name: values[n] for name, values in figures.items()}} for n in range(count)]


LEARNING: list[Row] = [{"step": 10, "loss": 2.0}, {"step": 80, "loss": 1.0}]
LEVEL: list[Row] = [{"step": step, "loss": 2.0} for step in (10, 20, 30)]

# What each rule is about: figures from which it speaks, and others from which it does not.
CASES: dict[str, tuple[list[Row], list[Row]]] = {
    "unknown_letters": ([{"check_unknown_letters": 0.4}], [{"check_unknown_letters": 0.005}]),
    "speaking_rate": ([{"check_letters_per_s": 17.0}], [{"check_letters_per_s": 9.0}]),
    "shuffled": ([{"check_length_correlation": 0.1}], [{"check_length_correlation": 0.75}]),
    "sampling_rate": (
        [{"check_recordings_cer": 0.9, "check_recordings_best_cer": 0.1, "check_recordings_best_speed": 1.5}],
        [{"check_recordings_cer": 0.6, "check_recordings_best_cer": 0.5, "check_recordings_best_speed": 3.0}],
    ),
    "other_transcripts": ([{"check_recordings_elsewhere": 0.75}], [{"check_recordings_elsewhere": 0.25}]),
    "deaf_judge": ([{"check_recordings_cer": 0.9}], [{"check_recordings_cer": 0.3}]),
    "left_out": ([{"check_left_out": 0.3}], [{"check_left_out": 0.02}]),
    "not_reading": (
        [*LEARNING, *probes(probe_cer=[0.95, 0.95, 0.96])],
        [*LEARNING, *probes(probe_cer=[0.95, 0.9, 0.6])],
    ),
    "worse_than_base": (probes(probe_cer=[0.2, 0.6, 0.6]), probes(probe_cer=[0.2, 0.3, 0.1])),
    "diverged": (probes(valid_loss=[1.0, 2.0]), probes(valid_loss=[1.0, 0.5])),
    "stuck": (
        [{"step": 0, "valid_loss": 2.0}, *LEVEL, {"step": 40, "valid_loss": 2.0}],
        [{"step": 0, "valid_loss": 2.0}, *LEVEL, {"step": 40, "valid_loss": 1.9}],
    ),
    "never_stops": (probes(probe_stopped=[0.0, 0.0, 0.25]), probes(probe_stopped=[0.0, 0.0, 1.0])),
    "silent": (probes(probe_silence=[0.1, 0.95, 0.9]), probes(probe_silence=[0.1, 0.3, 0.4])),
    "speaking_speed": (probes(probe_length_ratio=[1.0, 0.5, 0.4]), probes(probe_length_ratio=[3.0, 1.4, 1.1])),
    "skips_words": (
        probes(probe_skipped=[0.0, 0.4, 0.5], probe_cer=[0.9, 0.5, 0.5]),
        probes(probe_skipped=[0.0, 0.1, 0.1], probe_cer=[0.9, 0.5, 0.5]),
    ),
    "repeats_words": (
        probes(probe_repeated=[0.0, 0.4, 0.5], probe_cer=[0.9, 0.6, 0.6]),
        probes(probe_repeated=[0.0, 0.1, 0.0], probe_cer=[0.9, 0.6, 0.6]),
    ),
    "another_voice": (probes(probe_voice=[0.6, 0.2, 0.3]), probes(probe_voice=[0.6, 0.5, 0.5])),
    "adapter_without_effect": (probes(probe_lora=[0.0, 0.0]), probes(probe_lora=[0.0, 1e-5])),
    "average_lags": (
        [{"step": 40, "valid_loss": 1.0, "valid_loss_ema": 1.3}],
        [{"step": 40, "valid_loss": 1.0, "valid_loss_ema": 0.9}],
    ),
    "steps_left_out": ([{"step": 10, "steps_left_out": 5}], [{"step": 10, "steps_left_out": 1}]),
}  # fmt: skip


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_speaks_from_some_figures_and_not_from_others(rule: str) -> None:
    wrong, right = CASES[rule]
    assert said(wrong) == {rule}
    assert said(right) == set()


def test_a_recogniser_is_told_that_it_writes_too_little_or_too_much() -> None:
    assert said(probes(probe_length_ratio=[1.0, 0.1, 0.0]), "ctc") == {"writes_too_little_or_much"}
    assert said(probes(probe_length_ratio=[1.0, 4.0, 3.0]), "ctc") == {"writes_too_little_or_much"}
    assert said(probes(probe_length_ratio=[0.0, 0.9, 1.1]), "ctc") == set()


def test_every_rule_has_a_case_and_a_line_in_the_docs() -> None:
    names = {rule.__name__ for rule in before.RULES + during.RULES}
    assert names == {*CASES, "writes_too_little_or_much"}
    page = Path(__file__).parents[1].joinpath("docs", "watchdog.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in names)


@pytest.mark.parametrize("rule", CASES)
def test_a_warning_gives_the_figures_the_usual_cause_and_what_to_change(rule: str) -> None:
    (sentence,) = warnings(Seen(CASES[rule][0], settings())).values()
    assert any(character.isdigit() for character in sentence) or rule == "adapter_without_effect"
    assert any(word in sentence for word in ("cause:", "Set ", "Name one", "Lower "))
    assert "\n" not in sentence


def test_what_a_model_makes_is_judged_after_a_third_of_the_steps() -> None:
    early = [{"step": 0, "probe_cer": 0.9}, *({"step": n, "loss": 9 - n, "probe_cer": 1.0} for n in (2, 4))]
    assert said(early) == set()
    assert said([*early, {"step": 40, "loss": 1.0, "probe_cer": 1.0}]) == {"not_reading"}


def test_one_probe_alone_may_be_chance() -> None:
    assert said(probes(probe_silence=[0.1, 0.95])) == set()


def test_a_judge_that_hears_nothing_says_nothing_of_the_model() -> None:
    deaf = [{"step": 0, "check_recordings_cer": 0.9}]
    assert said([*deaf, *CASES["not_reading"][0]]) == {"deaf_judge"}


def test_a_model_that_never_stops_is_told_so_and_not_that_its_text_is_long() -> None:
    rows = probes(probe_cer=[0.3, 9.0, 9.0], probe_stopped=[1.0, 0.0, 0.0], probe_length_ratio=[1.0, 9.0, 9.0])
    assert said([*LEARNING, *rows], "whisper") == {"never_stops"}


# ---------------------------------------------------------------- a run's watchdog


def test_each_warning_is_said_once_and_stands_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch(settings(), tmp_path)
    first = watch.row({"step": 40, "probe_lora": 0.0})
    again = watch.row({"step": 60, "probe_lora": 0.0})
    assert (list(first), again) == (["adapter_without_effect"], {})
    assert capsys.readouterr().err.count("warning at step 40: LoRA adds nothing to the base") == 1
    (line,) = (tmp_path / "watchdog.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {"step": 40, "rule": "adapter_without_effect", "says": first["adapter_without_effect"]}


def test_what_is_wrong_with_the_data_is_said_before_anything_is_learnt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = Watch(settings(), tmp_path)
    assert list(watch.check({"letters_per_s": 30.0})) == ["speaking_rate"]
    assert "30.0 letters a second, too fast" in capsys.readouterr().err
    assert list(watch.row({"step": 0, **watch.checks})) == ["speaking_rate"]  # for the metrics, and the summary
    assert capsys.readouterr().err == ""


def test_a_run_that_goes_on_after_a_kill_remembers_what_was_said(tmp_path: Path) -> None:
    rows: list[Row] = [{"step": 0, "probe_cer": 0.9}, {"step": 40, "probe_lora": 0.1, "warnings": {"a_rule": "said"}}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "watchdog.jsonl").write_text('{"step": 60, "rule": "later", "says": ""}\n', encoding="utf-8")
    watch = Watch(settings(), tmp_path)
    watch.row({"step": 60, "probe_cer": 0.5})
    assert watch.said == {"a_rule": "said"}
    assert "later" not in (tmp_path / "watchdog.jsonl").read_text(encoding="utf-8")
    assert watch.probed() == {"cer": 0.5, "lora": 0.1}
    assert watch.probed(first=True) == {"cer": 0.9}


# ---------------------------------------------------------------- broken on purpose


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    return sample(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("fault", EITHER, ids=lambda fault: fault.name)
def test_a_fault_is_noticed_in_a_recogniser(tmp_path: Path, corpus: Rows, fault: Fault) -> None:
    assert set(nano(tmp_path, corpus, fault, RECOGNISER, seed=1)) & set(fault.rules)


@pytest.mark.parametrize(
    "fault", EITHER[1:3], ids=lambda fault: fault.name
)  # others need no model; all: the slow test
def test_a_fault_is_noticed_in_a_generator(tmp_path: Path, corpus: Rows, fault: Fault) -> None:
    assert set(nano(tmp_path, corpus, fault, GENERATOR, seed=1)) & set(fault.rules)


def test_a_healthy_run_is_left_in_peace(tmp_path: Path, corpus: Rows) -> None:
    assert nano(tmp_path, corpus, HEALTHY, RECOGNISER, seed=1) == []


@pytest.mark.parametrize("family", watchdog.STOPPING)
@pytest.mark.parametrize("fault", [HEALTHY, NO_STOP], ids=lambda fault: fault.name)
def test_a_model_that_never_learns_to_stop_is_noticed(tmp_path: Path, family: Any, fault: Fault) -> None:
    assert set(stopping(tmp_path, family, fault, seed=1)) == set(fault.rules)


def test_transcripts_of_one_length_in_another_order_are_noticed_by_what_is_heard(
    tmp_path: Path, corpus: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(before, "UNRELATED", -1.0)  # as where lengths say nothing
    assert "other_transcripts" in nano(tmp_path, corpus, EITHER[0], RECOGNISER, seed=1)


@pytest.mark.slow
def test_nine_of_ten_seeds_are_caught_and_no_healthy_run_is_warned(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        watchdog.main()
    assert end.value.code is False, capsys.readouterr().out


def test_tiny_utterances_are_no_cause_for_a_warning(tmp_path: Path) -> None:
    watch = Watch(settings(), tmp_path)
    lengths = [(len(row.text.replace(" ", "")), row.duration_s) for row in tiny.utterances()[:4]]
    assert watch.check({"letters_per_s": min(letters / seconds for letters, seconds in lengths)}) == {}
