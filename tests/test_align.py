"""Words in time, by forced alignment; when an alignment is not believed; long recordings as utterances."""

import itertools
import os
import random
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from prepare import align, dataset, text
from prepare.recogniser import Recogniser, emissions, open_recogniser, transcribe
from prepare.viterbi import best_path, frames_needed
from recipes.records import Language
from recipes.schema import Align, Recipe, load
from tests.babble import noise
from tests.conftest import ROOT, needs
from tests.spoken import Spoken, spoken

NANO = str(ROOT / "recipes" / "nano_asr")
SETTINGS = Align(model=NANO, delay_s=0.085)
VOICES = [("ar+m3", 140, 40), ("ar+f2", 150, 60), ("ar+Annie", 140, 55), ("ar+m7", 150, 45)]

# ---------------------------------------------------------------- the path


def random_emissions(draw: np.random.Generator, frames: int, tokens: int) -> NDArray[np.float32]:
    return np.log(draw.dirichlet(np.full(tokens, 0.5), frames) + 1e-6).astype(np.float32)


def states(ids: NDArray[np.int32]) -> NDArray[np.int32]:
    chain = np.zeros(2 * len(ids) + 1, np.int32)
    chain[1::2] = ids
    return chain


def allowed(path: NDArray[np.int32], ids: NDArray[np.int32]) -> bool:
    """Whether a path begins and ends at the ends, never goes back, and leaps only between two letters."""
    chain, steps = states(ids), itertools.pairwise(path)
    leaps = all(b - a in (0, 1) or (b - a == 2 and b % 2 and chain[a] != chain[b]) for a, b in steps)
    return bool(leaps and path[0] <= 1 and path[-1] >= len(chain) - 2)


def cost(path: NDArray[np.int32], scores: NDArray[np.float32], ids: NDArray[np.int32]) -> float:
    return float(scores[np.arange(len(path)), states(ids)[path]].sum())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), frames=st.integers(1, 6), letters=st.integers(1, 3), block=st.sampled_from([1, 9999])
)
def test_the_path_is_the_likeliest_of_all(seed: int, frames: int, letters: int, block: int) -> None:
    draw = np.random.default_rng(seed)
    scores, ids = random_emissions(draw, frames, 3), draw.integers(1, 3, letters).astype(np.int32)
    every = itertools.product(range(2 * letters + 1), repeat=frames)
    found = [cost(np.array(path), scores, ids) for path in every if allowed(np.array(path, np.int32), ids)]
    assert bool(found) == (frames_needed(ids) <= frames)
    if found:
        assert cost(best_path(scores, ids, 0, block), scores, ids) == pytest.approx(max(found), abs=1e-4)
    else:
        with pytest.raises(ValueError, match="does not fit"):
            best_path(scores, ids, 0, block)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.integers(40, 300), letters=st.integers(1, 19))
def test_the_path_never_goes_back_and_visits_every_letter(seed: int, frames: int, letters: int) -> None:
    draw = np.random.default_rng(seed)
    scores, ids = random_emissions(draw, frames, 6), draw.integers(1, 6, letters).astype(np.int32)
    path = best_path(scores, ids, 0)
    assert allowed(path, ids)
    assert set(range(1, 2 * letters + 1, 2)) <= set(path.tolist())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), block=st.integers(1, 4000))
def test_halving_a_long_recording_finds_the_same_path(seed: int, block: int) -> None:
    draw = np.random.default_rng(seed)
    scores, ids = random_emissions(draw, 300, 5), draw.integers(1, 5, 60).astype(np.int32)
    whole, halved = best_path(scores, ids, 0), best_path(scores, ids, 0, block)
    assert cost(halved, scores, ids) == pytest.approx(cost(whole, scores, ids), rel=1e-5)
    assert allowed(halved, ids)


def test_a_repeated_letter_needs_a_blank() -> None:
    scores = np.log(np.full((3, 2), 0.5, np.float32))
    assert best_path(scores, np.array([1, 1], np.int32), 0).tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="does not fit"):
        best_path(scores[:2], np.array([1, 1], np.int32), 0)


# ---------------------------------------------------------------- words in time


@cache
def nano() -> Recogniser:
    return open_recogniser(NANO)


@cache
def sentences(count: int = 6) -> list[tuple[Spoken, str]]:
    """Sentences of both languages in four voices, with their normalised texts."""
    found = []
    languages: tuple[tuple[Language, str], ...] = (("ary-Arab", "darija"), ("zgh-Tfng", "tamazight"))
    for language, name in languages:
        lines = (ROOT / "recipes" / "text" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines[7 :: len(lines) // count]):
            voice, speed, pitch = VOICES[number % len(VOICES)]
            found.append((spoken(line, voice, speed, pitch), text.normalise(line, language)))
    return found


def placed(said: Spoken, words: str, how: Align = SETTINGS) -> align.Alignment | str:
    return align.place(nano(), how, words, heard(said), said.samples)


@cache
def heard(said: Spoken) -> NDArray[np.float32]:
    return emissions(nano(), [said.samples])[0]


def findings(said: Spoken, words: str, how: Align = SETTINGS) -> list[str]:
    found = placed(said, words, how)
    if isinstance(found, str):
        return [found]
    return align.faults(found, how, align.Stretch(0, len(found.words)))


@needs("espeak-ng")
def test_words_are_where_the_synthesiser_put_them() -> None:
    errors_s = []
    for said, words in sentences():
        found = placed(said, words)
        assert not isinstance(found, str) and [word.text for word in found.words] == words.split()
        for word, (start_s, end_s) in zip(found.words, said.times, strict=True):
            errors_s += [abs(word.start_s - start_s), abs(word.end_s - end_s)]
    assert np.median(errors_s) <= 0.020
    assert np.percentile(errors_s, 90) <= 0.040


@needs("espeak-ng")
def test_letters_lie_in_their_word_one_after_the_other() -> None:
    for said, words in sentences():
        found = placed(said, words)
        assert not isinstance(found, str)
        assert "".join(letter.text for letter in found.letters) == words.replace(" ", "")
        for before, after in itertools.pairwise(found.letters):
            assert before.start_s <= before.end_s <= after.start_s + 1e-9
        for word in found.words:
            own = [letter for letter in found.letters if word.start_s <= letter.start_s < word.end_s]
            assert "".join(letter.text for letter in own) == word.text
        assert all(0 <= word.score <= 1 for word in found.words + found.letters)


@needs("espeak-ng")
def test_a_long_recording_is_heard_in_windows_that_join_without_a_seam() -> None:
    samples = np.concatenate([said.samples for said, _ in sentences()])
    assert len(samples) > 31 * 16_000
    (whole,) = emissions(nano(), [samples])
    assert abs(len(whole) - len(samples) / nano().step) < 3
    words = " ".join(words for _, words in sentences())
    (found,) = align.align(nano(), SETTINGS, [samples], [words])
    assert not isinstance(found, str)
    starts, at = [], 0.0
    for said, _ in sentences():
        starts += [at + start_s for start_s, _ in said.times]
        at += len(said.samples) / 16_000
    errors_s = np.abs(np.array(starts) - [word.start_s for word in found.words])
    assert np.median(errors_s) <= 0.020 and np.percentile(errors_s, 95) <= 0.1


# ---------------------------------------------------------------- when it is not to be believed


def wrong(words: str, others: list[str], draw: random.Random) -> dict[str, str]:
    """Transcripts that are not what was said: another one; a word too many, too few, exchanged; half of it."""
    right, strange = (
        words.split(),
        draw.choice([one for other in others for one in other.split() if one not in words]),
    )
    at = draw.randrange(len(right))
    return {
        "another": draw.choice(others),
        "replaced": " ".join([*right[:at], strange, *right[at + 1 :]]),
        "missing": " ".join([*right[:at], *right[at + 1 :]]),
        "added": " ".join([*right[:at], strange, *right[at:]]),
        "half": " ".join(right[: len(right) // 2]),
    }


@needs("espeak-ng")
def test_wrong_transcripts_are_flagged_and_right_ones_are_not() -> None:
    draw = random.Random(17)
    flagged, alarms = [], []
    for said, words in sentences():
        alarms.append(bool(findings(said, words)))
        others = [other for _, other in sentences() if other != words and (other[0] < "ⴰ") == (words[0] < "ⴰ")]
        flagged += [bool(findings(said, other)) for other in wrong(words, others, draw).values()]
    assert np.mean(flagged) >= 0.95
    assert np.mean(alarms) <= 0.05


@needs("espeak-ng")
@pytest.mark.parametrize(
    ("words", "finding"),
    [
        ("hello world", "nothing to align: the recogniser knows no letter of the transcript"),
        ("ⵜⵉⴼⴰⵡⵉⵏ hello world", "letters the recogniser does not know: 59% of them (dehlorw)"),
        ("ⵜⵉⴼⴰⵡⵉⵏ " * 100, "transcript longer than the speech: 799 letters and spaces do not fit into"),
        ("ⵜⵉⴼⴰⵡⵉⵏ " * 3, "weak alignment: score 0.00, prepare.align.min_score is 0.5"),
    ],
)
def test_a_finding_says_what_is_wrong(words: str, finding: str) -> None:
    assert findings(sentences()[-1][0], words.strip())[0].startswith(finding)


@needs("espeak-ng")
def test_letters_that_pile_up_are_found_and_every_limit_can_be_switched_off() -> None:
    off = {"max_unknown_share": None, "min_score": None, "min_word_score": None, "crop_words": None}
    said = Spoken(noise(1.0, 0.01), [])
    words = "ⵜⵉⴼⴰⵡⵉⵏ ⵜⴰⵎⴰⵣⵉⵔⵜ ⵜⴰⵎⵖⴰⵔⵜ ⵜⵉⴳⵎⵎⵉ ⵜⴰⴷⴷⴰⵔⵜ"
    (finding,) = findings(said, words, SETTINGS.model_copy(update=off | {"max_letters_per_s": 20.0}))
    assert finding.startswith("piled up: ")
    assert findings(said, words, SETTINGS.model_copy(update=off | {"max_letters_per_s": None})) == []


@needs("espeak-ng")
def test_the_crop_test_hears_words_by_themselves() -> None:
    said, words = sentences()[-1]
    found = placed(said, words)
    assert not isinstance(found, str)
    assert align.crop_fault(nano(), said.samples, found.words, SETTINGS) is None
    moved = align.moved(found.words, -0.4)  # half a word late
    finding = align.crop_fault(nano(), said.samples, moved, SETTINGS)
    assert finding and finding.startswith("crop test: cut out, words are heard as others (")


def test_what_the_model_heard_as_text() -> None:
    tokens = nano().tokenizer.get_vocab()
    likeliest = [tokens[letter] for letter in ("ⴰ", "ⴰ", "<pad>", "ⴰ", "|", "ⵣ")]
    assert transcribe(nano(), np.eye(len(tokens), dtype=np.float32)[likeliest]) == "ⴰⴰ ⵣ"


# ---------------------------------------------------------------- through prepare

CORPUS = """
name: corpus
work_dir: work
collect:
  source: recordings
  language: zgh-Tfng
  basis: {purposes: [store_prepare, asr_train], notice: test v1, controller: nobody, given_on: 2026-01-01}
prepare:
  purpose: asr_train
  max_duration_s: 8
  split: {by: sentence, valid: 0, test: 0}
  align: {model: NANO, delay_s: 0.085, mfa: {acoustic: zgh, dictionary: zgh}}
train: {family: whisper, base: ./base}
"""
LINES = [
    "ⴰⵣⵓⵍ ⴰ ⵜⵎⵖⴰⵔⵜ, ⴰⴷ ⵏⵛⵛ ⴰⵖⵔⵓⵎ ⵉⴹ ⴰⴷ.",
    "ⵜⵡⵀⵍ ⵄⵜⵜⵉ ⴳ ⵜⵃⴰⵏⵓⵜ ⵙ ⵡⵓⵍ ⵢⴻⵎⵎⴻⵟⵟⴰⵏ.",
    "ⵜⵙⵚⴱⵏ ⵜⵙⵍⵉⵜ ⵜⴰⵥⵔⴱⵉⵢⵜ ⵉⴼⵓⵍⴽⵉⵏ ⵙ ⵡⵓⵍ ⵢⴻⵎⵎⴻⵟⵟⴰⵏ.",
]


def run(command: str, *words: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PATH": path} if path else {})
    line = [sys.executable, "-m", command, *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A short clip, one with another's transcript, and a recording of three sentences in one file; prepared."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "recordings").mkdir()
    parts = [spoken(line).samples for line in LINES]
    pause = np.zeros(12_000, np.float32)
    sounds = {
        "short": (parts[0], LINES[0]),
        "wrong": (parts[1], LINES[2]),
        "long": (np.concatenate([piece for part in parts for piece in (part, pause)]), " ".join(LINES)),
    }
    table = ["file,text,speaker"]
    for name, (samples, line) in sounds.items():
        around = np.zeros(4_000, np.float32)
        soundfile.write(folder / "recordings" / f"{name}.wav", np.concatenate([around, samples, around]), 16_000)
        table.append(f'{name}.wav,"{line}",amina')
    (folder / "recordings" / "metadata.csv").write_text("\n".join(table), encoding="utf-8")
    (folder / "recipe.yaml").write_text(CORPUS.replace("NANO", NANO), encoding="utf-8")
    ingested = run("collect.ingest", str(folder / "recipe.yaml"))
    assert ingested.returncode == 0, ingested.stderr
    prepared = run("prepare", str(folder / "recipe.yaml"))
    assert prepared.returncode == 1, prepared.stderr  # one is rejected
    assert "rejected: 1 × weak alignment" in prepared.stdout
    return load(folder / "recipe.yaml")


@needs("espeak-ng")
def test_a_long_recording_becomes_utterances_and_a_wrong_transcript_is_rejected(corpus: Recipe) -> None:
    (rejected,) = dataset.read_rejected(corpus)
    assert rejected.source == "wrong.wav" and rejected.reason.startswith("weak alignment: score 0.")
    rows = list(dataset.open_dataset(corpus)["train"])
    pieces = [row for row in rows if "-" in row["id"]]
    assert [row["id"].removeprefix(row["clip"]) for row in pieces] == [f"-{n + 1:02}" for n in range(len(pieces))]
    assert " ".join(row["text"] for row in pieces) == " ".join(LINES)
    assert [row["text"] for row in rows if "-" not in row["id"]] == [LINES[0]]
    for row in rows:
        assert row["duration_s"] <= 8 and row["flags"] == []
        assert " ".join(word["text"] for word in row["words"]) == row["text_normalized"]
        assert all(0 <= word["start_s"] < word["end_s"] <= row["duration_s"] + 0.001 for word in row["words"])
    assert dataset.verify(corpus) == []


@needs("espeak-ng")
def test_a_second_run_does_nothing_and_a_lost_piece_is_made_again(corpus: Recipe) -> None:
    made, parts = dataset.dataset_hash(corpus), corpus.folder("prepare") / "parts"
    before = {path: path.stat().st_mtime_ns for path in parts.glob("*/*")}
    recipe = str(corpus.work_dir.parent / "recipe.yaml")
    run("prepare", recipe)
    assert {path: path.stat().st_mtime_ns for path in parts.glob("*/*")} == before
    next(parts.glob("*/*-02")).unlink()
    run("prepare", recipe)
    assert set(parts.glob("*/*")) == set(before) and dataset.dataset_hash(corpus) == made


@needs("espeak-ng")
def test_words_for_praat_and_for_scoring_tools(corpus: Recipe) -> None:
    recipe = str(corpus.work_dir.parent / "recipe.yaml")
    done = run("prepare.align", recipe, "--textgrid", "--ctm", "--letters")
    assert done.returncode == 0, done.stderr
    rows = {row["id"]: row for row in dataset.open_dataset(corpus)["train"]}
    folder = corpus.folder("prepare") / "words"
    for name, row in rows.items():
        grid = (folder / f"{name}.TextGrid").read_text(encoding="utf-8")
        assert grid.count('class = "IntervalTier"') == 2 and f"xmax = {row['duration_s']:g}" in grid
        texts = [found for found in re.findall(r'text = "(.*)"', grid) if found]
        assert texts[: len(row["words"])] == row["text_normalized"].split()
        assert "".join(texts[len(row["words"]) :]) == row["text_normalized"].replace(" ", "")
    lines = (folder / "words.ctm").read_text(encoding="utf-8").splitlines()
    assert len(lines) == sum(len(row["words"]) for row in rows.values())
    assert re.fullmatch(r"[0-9a-f]{64}(-\d\d)? 1 \d+\.\d{3} \d+\.\d{3} [ⴰ-ⵯ]+ [01]\.\d{3}", lines[0])


FAKE_MFA = """#!/bin/sh
# Each word in a tenth of a second, as `mfa align CORPUS DICTIONARY ACOUSTIC OUT` would write it.
[ "$1 $3 $4" = "align zgh zgh" ] || exit 1
for lab in "$2"/*/*.lab; do
  mkdir -p "$5/amina"
  set -- "$1" "$2" "$3" "$4" "$5" $(cat "$lab")
  name=$(basename "$lab" .lab)
  echo '{"tiers": {"words": {"entries": [[0.0, 0.1, "'"$6"'"], [0.1, 0.3, ""]]}}}' > "$5/amina/$name.json"
done
"""


@needs("espeak-ng")
def test_the_montreal_aligner_where_it_is_installed(corpus: Recipe, tmp_path: Path) -> None:
    recipe = str(corpus.work_dir.parent / "recipe.yaml")
    (tmp_path / "mfa").write_text(FAKE_MFA, encoding="utf-8")
    (tmp_path / "mfa").chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    done = run("prepare.align", recipe, "--ctm", "--mfa", path=path)
    assert done.returncode == 0, done.stderr
    lines = (corpus.folder("prepare") / "mfa" / "words.ctm").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(dataset.open_dataset(corpus)["train"])
    assert all(" 1 0.000 0.100 " in line for line in lines)
    nothing = run("prepare.align", recipe, "--mfa", path=path)
    assert nothing.stderr.strip() == "error: say what to write: --textgrid, --ctm or both"
    (tmp_path / "mfa").write_text("#!/bin/sh\necho no such model: zgh >&2; exit 1\n", encoding="utf-8")
    failed = run("prepare.align", recipe, "--ctm", "--mfa", path=path)
    assert failed.stderr.strip() == "error: mfa align failed: no such model: zgh"
    assert "is not installed: conda install" in run("prepare.align", recipe, "--ctm", "--mfa", path="/bin").stderr
