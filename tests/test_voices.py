"""Comparing voices: only with consent, nothing kept; another voice, two voices, one voice under two codes."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import soundfile

import prepare.__main__ as prepare_script
from collect import ingest, withdraw
from collect.ledger import open_ledger
from collect.synthetic import speak, write_table
from prepare import dataset, voiceprint, voices
from prepare.clip import Clip, Samples
from recipes.records import Rejected
from recipes.schema import Recipe, UserError, load
from tests.babble import babble
from tests.conftest import ROOT, SHARED, needs, needs_shared

# Two voices of espeak-ng that the network tells apart: 0.6 alike, clips of one voice 0.8 and more.
LOW, HIGH = "ar+m1 -g 3 -s 145 -p 45", "ar+f3 -g 3 -s 145 -p 50"
RECIPE = """
name: corpus
work_dir: work
collect: {source: recordings, language: zgh-Tfng}
prepare: {purpose: asr_train, split: {by: sentence, exact: true}, voices: {}}
train: {family: whisper, base: ./base}
"""
CONSENT = "speaker,purposes,notice,controller,given_on,expires_on,by,how,synthetic\n"
BARE = "store_prepare asr_train"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, Samples]]]:
    """Sentences in each of the two voices: text and samples at 16 kHz."""
    folder, found = tmp_path_factory.mktemp("said"), {}
    lines = (ROOT / "recipes/text/sample_tamazight.txt").read_text(encoding="utf-8").splitlines()
    texts = sorted(lines, key=len)[-24:]
    for voice in (LOW, HIGH):
        found[voice] = []
        for text in texts:
            speak(text, voice, folder / "one.flac")
            found[voice].append((text, soundfile.read(folder / "one.flac", dtype="float32")[0]))
    return found


@pytest.fixture
def corpus(tmp_path: Path, said: dict[str, list[tuple[str, Samples]]]) -> Recipe:
    """amina has six clips, one by another voice and one with two; idir and zahra have one voice; tarik says no."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    low, high = said[LOW], said[HIGH]
    clips = [(f"amina{n}", "amina", *low[n]) for n in range(6)]
    clips += [("stranger", "amina", *high[6])]
    clips += [("both", "amina", low[7][0] + " " + high[8][0], np.concatenate([low[7][1], high[8][1]]))]
    clips += [(f"idir{n}", "idir", *high[9 + n]) for n in range(5)]
    clips += [(f"zahra{n}", "zahra", *high[14 + n]) for n in range(5)]
    clips += [(f"tarik{n}", "tarik", *low[19 + n]) for n in range(4)] + [("tarik4", "tarik", *high[23])]
    for name, _, _, samples in clips:
        soundfile.write(folder / f"{name}.wav", samples, 16_000)
    rows = [(f"{name}.wav", text, speaker) for name, speaker, text, _ in clips]
    write_table(folder / "metadata.csv", ["file", "text", "speaker"], rows)
    consents = [
        f"{speaker},{BARE}{'' if speaker == 'tarik' else ' voice_match'},notice 1,us,2026-01-01,,self,tick,true\n"
        for speaker in ("amina", "idir", "zahra", "tarik")
    ]
    (folder / "consents.csv").write_text(CONSENT + "".join(consents), encoding="utf-8")
    (tmp_path / "corpus.yaml").write_text(RECIPE, encoding="utf-8")
    recipe = load(tmp_path / "corpus.yaml")
    assert ingest.main(recipe) == 0
    return recipe


def flags(recipe: Recipe) -> dict[str, list[str]]:
    """The flags of each file of the dataset that has any, without what they measure."""
    with open_ledger(recipe) as ledger:
        files = {clip.id: clip.source.removesuffix(".wav") for clip in ledger.clips()}
    rows = [row for table in dataset.open_dataset(recipe).values() for row in table]
    return {files[row["clip"]]: [flag.partition(":")[0] for flag in row["flags"]] for row in rows if row["flags"]}


@needs("espeak-ng")
@needs("resemblyzer")
def test_what_a_comparison_finds_and_what_it_leaves_behind(
    corpus: Recipe, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, made = voiceprint.vectors, list[Samples]()
    monkeypatch.setattr(voiceprint, "vectors", lambda clip: made.append(whole(clip)) or made[-1])
    assert prepare_script.main(corpus) == 0
    out = capsys.readouterr().out
    assert flags(corpus) == {"stranger": ["another voice"], "both": ["two voices"]}
    assert "voices: 18 clips compared; not: 5 without consent for voice_match, 0 with too little speech" in out
    assert "one voice under two codes? idir and zahra: 0.9" in out and "tarik" not in out and "amina and" not in out
    assert dataset.verify(corpus) == []
    written = [path.read_bytes() for path in corpus.work_dir.rglob("*") if path.is_file()]
    vectors = [one for windows in made for one in (*windows, voiceprint.unit(windows.mean(axis=0)))]
    assert (
        len(made) == 18
        and not [  # of a window or of a clip, none is in any file
            one
            for one in vectors
            if any(one[:8].tobytes() in content or f"{one.max():.5f}".encode() in content for content in written)
        ]
    )


@needs("espeak-ng")
@needs("resemblyzer")
def test_a_second_run_compares_nothing_and_gives_the_same(corpus: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_script.main(corpus)
    before = dataset.dataset_hash(corpus)
    monkeypatch.setattr(voiceprint, "vectors", lambda clip: pytest.fail("compared again"))
    assert prepare_script.main(corpus) == 0 and dataset.dataset_hash(corpus) == before


@needs("espeak-ng")
@needs("resemblyzer")
def test_a_recipe_may_reject_what_is_found(corpus: Recipe) -> None:
    strict = load(corpus.work_dir.parent / "corpus.yaml", ["prepare.voices.on_finding=reject"])
    assert prepare_script.main(strict) == 1
    reasons = {row.source: row.reason for row in dataset.read_rejected(strict)}
    assert reasons.keys() == {"stranger.wav", "both.wav"}
    assert reasons["stranger.wav"].startswith("another voice: 0.")
    assert isinstance(dataset.read_rejected(strict)[0], Rejected)


@needs("espeak-ng")
@needs("resemblyzer")
def test_taking_voice_match_back_deletes_what_was_found_and_ends_the_comparison(
    corpus: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_script.main(corpus)
    assert withdraw.main(corpus, argparse.Namespace(code="amina", purpose=["voice_match"])) == 0
    assert not voices.place(corpus).exists()
    with open_ledger(corpus) as ledger:
        assert [(task.kind, task.state) for task in ledger.tasks()] == [("voice_check", "done")]
    dataset.open_dataset(corpus)  # what was allowed for training stays
    capsys.readouterr()
    assert prepare_script.main(corpus) == 0
    assert "voices: 10 clips compared; not: 13 without consent" in capsys.readouterr().out
    assert flags(corpus) == {}


@needs("espeak-ng")
@needs("resemblyzer")
def test_consent_that_ends_while_voices_are_compared_counts(corpus: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = voices.spread

    def withdrawn_meanwhile(*arguments: object) -> object:
        yield from whole(*arguments)  # type: ignore[arg-type]
        with open_ledger(corpus) as ledger:
            withdraw.withdraw(ledger, "zahra", ["voice_match"])

    monkeypatch.setattr(voices, "spread", withdrawn_meanwhile)
    prepare_script.main(corpus)
    found = voices.Found.model_validate_json(voices.place(corpus).read_text(encoding="utf-8"))
    assert found.alike == [] and found.unasked == 10


@needs("espeak-ng")
@needs("resemblyzer")
def test_level_and_pauses_do_not_make_another_voice(said: dict[str, list[tuple[str, Samples]]]) -> None:
    samples = said[LOW][0][1]
    paused = np.concatenate([samples, np.zeros(32_000, np.float32)])
    for changed in (samples * np.float32(0.05), paused):
        one, other = (voiceprint.vectors(Clip(sound, 16_000)).mean(axis=0) for sound in (samples, changed))
        assert voiceprint.unit(one) @ voiceprint.unit(other) > 0.98


@needs("resemblyzer")
def test_too_little_speech_and_silence_have_no_voice() -> None:
    assert voiceprint.vectors(Clip(babble(0.5), 16_000)).shape == (0, 256)
    assert voiceprint.vectors(Clip(np.zeros(32_000, np.float32), 16_000)).shape == (0, 256)


def test_without_the_network_or_with_another_one_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voiceprint._file.cache_clear()
    monkeypatch.setattr(voiceprint, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"no voice network: run: make voices"):
        voiceprint._file()
    (tmp_path / "pretrained.pt").write_bytes(b"a pickle that runs something")
    place = argparse.Namespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(voiceprint, "find_spec", lambda name: place)
    with pytest.raises(UserError, match=r"not the weights of resemblyzer 0\.1\.4; they are not read"):
        voiceprint._file()


def near(centre: Samples, count: int, spread: float) -> Samples:
    """Vectors about a direction."""
    draw = np.random.default_rng(count)
    return voiceprint.unit(centre + spread * draw.standard_normal((count, 256)).astype(np.float32))


ONE, OTHER = np.eye(2, 256, dtype=np.float32)


def test_a_few_strangers_do_not_move_a_speakers_voice() -> None:
    vectors = np.concatenate([near(ONE, 9, 0.01), near(OTHER, 2, 0.01)])
    voice, likeness = voices.own_likeness(vectors)
    assert voice @ ONE > 0.95 and likeness[:9].min() > 0.9 and likeness[9:].max() < 0.2


def test_two_voices_in_a_clip_need_two_windows_each() -> None:
    one, other = near(ONE, 5, 0.01), near(OTHER, 2, 0.01)
    assert voices.within(np.concatenate([one, other])) < 0.2
    assert voices.within(np.concatenate([one, other[:1]])) == 1.0  # one window is a cough
    assert voices.within(one) > 0.9 and voices.within(one[:3]) == 1.0 and voices.within(one[:0]) == 1.0


def test_speakers_who_sound_alike_come_in_pairs_the_likest_first() -> None:
    close = voiceprint.unit(ONE + 0.3 * OTHER)
    found = list(voices.alike({"c": close, "b": OTHER, "a": ONE}, 0.2))
    assert [pair.speakers for pair in found] == [("a", "c"), ("b", "c")]
    assert found[0].likeness > found[1].likeness and list(voices.alike({}, 0.2)) == []


@pytest.mark.real
@needs("resemblyzer")
@needs_shared("data/tamazight_speech")
def test_people_who_speak_alone_are_not_heard_as_two() -> None:
    """Each clip is compared with itself only: whose it is must not be found out."""
    flagged = 0
    for path in sorted((SHARED / "data/tamazight_speech/clips").iterdir()):
        flagged += voices.within(voiceprint.vectors(Clip(*soundfile.read(path, dtype="float32")))) < 0.76
    assert flagged <= 6
