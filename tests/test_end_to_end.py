"""The demo's four stages as a user runs them, shortened; and the same on real recordings and real weights."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, SHARED, needs, needs_shared

DEMO = ROOT / "recipes" / "demo.yaml"
SHORT = ["train.max_steps=6", "train.validate_every=3", "train.save_every=3", "train.probe=null"]
SHORT += ["train.wandb.mode=disabled", "evaluate.max_sentences=6", "evaluate.resamples=200"]


def run(module: str, recipe: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, str(recipe), *overrides]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The work folder of a shortened demo, and what each stage printed."""
    work = tmp_path_factory.mktemp("demo") / "work"
    printed = {}
    for module in ("collect.ingest", "prepare", "train", "evaluate"):
        done = run(module, DEMO, f"work_dir={work}", *SHORT)
        assert done.returncode == 0, f"{module}: {done.stderr}"
        assert "Traceback" not in done.stderr
        printed[module] = done.stdout
    return work, printed


def test_each_stage_names_the_next_command(demo: tuple[Path, dict[str, str]]) -> None:
    _, printed = demo
    assert f"next: python -m prepare {DEMO}" in printed["collect.ingest"]
    assert f"next: python -m train {DEMO}" in printed["prepare"]
    assert f"next: python -m evaluate {DEMO}" in printed["train"]
    assert f"listen: python -m evaluate.listen {DEMO}" in printed["evaluate"]
    assert "report: " in printed["evaluate"]


def test_the_difference_comes_with_its_interval(demo: tuple[Path, dict[str, str]]) -> None:
    work, printed = demo
    assert re.search(r"adapter - base\s+-?\d\.\d+ \[-?\d\.\d+, -?\d\.\d+\] \(n = \d+\)", printed["evaluate"])
    found = json.loads((work / "evaluate" / "results.json").read_text(encoding="utf-8"))
    metrics = {"validation loss", "CER", "WER", "WER, any accepted spelling", "duration ratio"}
    metrics |= {"DNSMOS, overall", "mel-cepstral distortion", "letters a second", "real-time factor"}
    assert metrics <= set(found["figures"])
    assert {"base", "adapter", "recordings"} <= set(found["figures"]["CER"])
    for figure in found["figures"]["CER"].values():
        assert figure["n"] and figure["clusters"]


def test_a_second_run_redoes_nothing(demo: tuple[Path, dict[str, str]]) -> None:
    work, _ = demo
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.suffix in (".flac", ".safetensors")}
    assert "0 clips new" in run("collect.ingest", DEMO, f"work_dir={work}", *SHORT).stdout
    assert run("prepare", DEMO, f"work_dir={work}", *SHORT).returncode == 0
    assert "already trained" in run("train", DEMO, f"work_dir={work}", *SHORT).stdout
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_from_the_report_one_can_walk_back_to_the_clips(demo: tuple[Path, dict[str, str]]) -> None:
    work, _ = demo
    lines = [
        json.loads((work / stage / "lineage.json").read_text())
        for stage in ("evaluate", "train/adapter", "prepare/dataset")
    ]
    report, adapter, dataset = lines
    assert report["clips"] == adapter["clips"] == dataset["clips"]
    assert (report["kind"], adapter["kind"], dataset["kind"]) == ("report", "adapter", "dataset")
    assert adapter["base_hash"] and adapter["purpose"] == "tts_clone"


def test_the_report_is_one_file_that_needs_no_network(demo: tuple[Path, dict[str, str]]) -> None:
    work, _ = demo
    text = (work / "evaluate" / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|report\.(?:fr|ar)\.html")[^"#]', text)  # only the other languages
    assert text.count("data:audio/mpeg;base64,") >= 12 and "<svg" in text
    assert "nano model made from synthetic speech" in text
    assert not re.search(r"synthetic-aicha|/evaluate/stimuli/", text)


@needs("chromium")
def test_the_report_can_be_opened_and_heard(demo: tuple[Path, dict[str, str]]) -> None:
    from playwright.sync_api import sync_playwright

    work, _ = demo
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        page: Any = browser.new_page(viewport={"width": 360, "height": 740})
        page.goto(f"file://{work}/evaluate/report.html")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        # To its end: the page's own policy forbids the strings of code that playwright waits with.
        page.evaluate("new Promise(end => { const a = document.querySelector('audio'); a.onended = end; a.play() })")
        browser.close()


def finished(parts: Path) -> list[Path]:
    """The clips that are done: files whose name is a hash."""
    return [path for path in parts.glob("*/*") if re.fullmatch("[0-9a-f]{64}", path.name)]


def test_prepare_finishes_after_an_interruption_without_repeating_work(tmp_path: Path) -> None:
    run("collect.ingest", DEMO, f"work_dir={tmp_path}")
    command = [sys.executable, "-m", "prepare", str(DEMO), f"work_dir={tmp_path}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = tmp_path / "prepare" / "parts"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and len(finished(parts)) < 5:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in finished(parts)}
    assert process.returncode == -signal.SIGKILL and 5 <= len(before) < 44
    done = run("prepare", DEMO, f"work_dir={tmp_path}")
    assert done.returncode == 0 and "44 utterances" in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in before}


# ---------------------------------------------------------------- mistakes, as a user meets them


@pytest.mark.parametrize(
    ("module", "overrides", "message"),
    [
        ("prepare", [], "the ledger holds no clip yet; run: python -m collect.ingest"),
        ("train", [], "no dataset yet; run: python -m prepare"),
        ("evaluate", [], "no dataset yet"),
        ("evaluate.listen", [], "no stimuli yet; run python -m evaluate"),
        ("evaluate.report", [], "no results yet; run python -m evaluate"),
        ("collect.ingest", ["collect.source=./gone"], "no such folder (collect.source)"),
    ],
)
def test_a_stage_out_of_order_says_what_to_run(
    tmp_path: Path, module: str, overrides: list[str], message: str
) -> None:
    done = run(module, DEMO, f"work_dir={tmp_path}", *overrides)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_base_model_that_does_not_exist(demo: tuple[Path, dict[str, str]]) -> None:
    work, _ = demo
    done = run("train", DEMO, f"work_dir={work}", "train.base=./gone", *SHORT)
    assert done.returncode == 1
    assert "gone: no such folder" in done.stderr and "Traceback" not in done.stderr


# ---------------------------------------------------------------- real recordings, real weights


@pytest.mark.real
@needs("onnxscript")
@needs_shared("models/whisper-tiny-en")
@needs_shared("data/tamazight_speech")
def test_whisper_learns_tamazight_from_real_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """300 clips of Common Voice, 240/30/30, with Tifinagh letters as new tokens and a window as long as the clips."""
    steps = 150  # validation loss rises from here on
    whole = {
        "name": "real",
        "work_dir": str(tmp_path / "work"),
        "collect": {
            "source": str(SHARED / "data" / "tamazight_speech"),
            "language": "zgh-Tfng",
            "speaker": "unknown",
            "basis": {
                "purposes": ["store_prepare", "asr_train"],
                "notice": "Common Voice, CC0-1.0",
                "controller": "Common Voice",
                "given_on": "2024-01-01",
            },
        },
        "prepare": {"purpose": "asr_train", "split": {"by": "sentence", "valid": 0.1, "test": 0.1, "exact": True}},
        "train": {
            "family": "whisper",
            "base": str(SHARED / "models" / "whisper-tiny-en"),
            "audio_context": "fit",
            "lora": {"r": 32, "alpha": 64},
            "learning_rate": 1e-3,
            "warmup_steps": 15,
            "max_steps": steps,
            "batch_s": 24,
            "validate_every": 50,
            "save_every": 50,
            "probe": None,
            "wandb": {"mode": "disabled"},
        },
    }
    recipe = tmp_path / "real.yaml"
    recipe.write_text(yaml.safe_dump(whole), encoding="utf-8")
    for module in ("collect.ingest", "prepare", "train", "evaluate"):
        done = run(module, recipe)
        assert done.returncode == 0, done.stderr
    with capsys.disabled():
        print(f"\n{steps} steps\n{done.stdout}")
    cer = json.loads((tmp_path / "work" / "evaluate" / "results.json").read_text())["figures"]["CER"]
    assert cer["base"]["n"] == cer["adapter"]["n"] == 30
    assert cer["adapter - base"]["high"] < 0, "the adapter is not surely better than the base"
    assert cer["adapter"]["value"] < 0.6 * cer["base"]["value"]

    limits = ("evaluate.edge.max_clips=30", "evaluate.edge.max_cer_change=0.05")  # of a model that errs in each third
    done = run("evaluate.edge", recipe, *limits)
    assert done.returncode == 0, done.stderr
    with capsys.disabled():
        print(done.stdout)
    found = json.loads((tmp_path / "work" / "evaluate" / "edge" / "report.json").read_text(encoding="utf-8"))
    original, whole, small = found["versions"]
    assert original["cer"] == pytest.approx(cer["adapter"]["value"])
    assert whole["differs"] == 0 and whole["cer"] == original["cer"]
    assert small["size_mib"] < 0.35 * original["size_mib"]
