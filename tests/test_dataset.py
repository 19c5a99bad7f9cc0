"""The dataset between prepare and train: write it, open it, decode it, check it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from prepare import dataset
from recipes import provenance
from recipes.records import Quality, Rejected, Split, Utterance, Word
from recipes.schema import Recipe, UserError

QUALITY = Quality(
    loudness_lufs=-23.0,
    active_level_dbov=-24.0,
    peak=0.5,
    snr_db=40.0,
    clipped_share=0.0,
    clicks=0,
    bandwidth_hz=8_000,
    speech_share=0.8,
    letters_per_s=12.0,
)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "tone",
            "work_dir": "work",
            "collect": {"source": "recordings"},
            "prepare": {"purpose": "tts_clone"},
            "train": {"family": "speecht5", "base": "./base"},
        },
        context={"folder": tmp_path},
    )


def utterance(name: str, split: Split = "train", words: tuple[Word, ...] = ()) -> Utterance:
    """Half a second of a tone."""
    samples = 0.5 * np.sin(np.arange(8_000) * 0.1).astype(np.float32)
    return Utterance(
        id=name,
        clip=name,
        speaker="amina",
        language="zgh-Tfng",
        text="ⴰⵣⵓⵍ!",
        text_normalized="ⴰⵣⵓⵍ",
        audio=dataset.encode(samples, 16_000),
        rate_hz=16_000,
        duration_s=0.5,
        words=list(words),
        quality=QUALITY,
        split=split,
    )


ROWS = [utterance("a", words=(Word(text="ⴰⵣⵓⵍ", start_s=0.1, end_s=0.4, score=0.9),)), utterance("b", "test")]


def test_what_is_written_is_what_is_opened(recipe: Recipe) -> None:
    dataset.write(recipe, ROWS, [Rejected(clip="c", source="c.wav", reason="too short: 0.10 s")])
    table = dataset.open_dataset(recipe)
    assert {split: len(rows) for split, rows in table.items()} == {"train": 1, "valid": 0, "test": 1}
    assert Utterance.model_validate(table["train"][0]) == ROWS[0]
    assert Utterance.model_validate(table["test"][0]) == ROWS[1]
    assert dataset.read_rejected(recipe) == [Rejected(clip="c", source="c.wav", reason="too short: 0.10 s")]
    assert dataset.verify(recipe) == []


def test_audio_decodes_to_mono_float32(recipe: Recipe) -> None:
    samples = dataset.decode(ROWS[0].audio)
    assert samples.shape == (8_000,)
    assert samples.dtype == np.float32


@settings(max_examples=25, deadline=None)
@given(arrays(np.float32, st.integers(1, 2_000), elements=st.floats(-0.96875, 0.96875, width=32)))
def test_flac_keeps_samples_to_16_bits(samples: NDArray[np.float32]) -> None:
    assert np.abs(dataset.decode(dataset.encode(samples, 16_000)) - samples).max() <= 1 / 32_768


def test_beside_it_lies_where_it_came_from(recipe: Recipe) -> None:
    folder = dataset.write(recipe, ROWS)
    line = provenance.read_lineage(folder)
    assert (line.kind, line.purpose, line.recipe) == ("dataset", "tts_clone", recipe.digest())
    assert line.clips == provenance.digest(["a", "b"])
    assert (folder / "recipe.yaml").read_text(encoding="utf-8") == recipe.text()


def test_columns_are_the_fields_of_an_utterance() -> None:
    assert list(dataset.features()) == list(Utterance.model_fields)


def test_the_hash_depends_on_the_rows_alone_and_not_on_their_order(recipe: Recipe) -> None:
    dataset.write(recipe, ROWS)
    first = dataset.dataset_hash(recipe)
    dataset.write(recipe, ROWS[::-1])
    assert dataset.dataset_hash(recipe) == first
    dataset.write(recipe, [ROWS[0]])
    assert dataset.dataset_hash(recipe) != first


def test_a_new_version_takes_the_place_of_the_old_one(recipe: Recipe) -> None:
    dataset.write(recipe, ROWS)
    dataset.write(recipe, [ROWS[0]])
    assert [path.name for path in (recipe.folder("prepare") / "versions").iterdir()] == [dataset.dataset_hash(recipe)]
    assert [row["id"] for row in dataset.open_dataset(recipe)["train"]] == ["a"]


def test_the_work_folder_can_be_moved(recipe: Recipe, tmp_path: Path) -> None:
    dataset.write(recipe, ROWS)
    shutil.move(tmp_path / "work", tmp_path / "elsewhere")
    moved = recipe.model_copy(update={"work_dir": tmp_path / "elsewhere"})
    assert len(dataset.open_dataset(moved)["train"]) == 1


def test_a_write_that_fails_leaves_the_old_version_and_no_crumbs(recipe: Recipe) -> None:
    dataset.write(recipe, ROWS)

    def interrupted() -> Iterator[Utterance]:
        yield ROWS[0]
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        dataset.write(recipe, interrupted())
    assert dataset.verify(recipe) == []
    assert len(list((recipe.folder("prepare") / "versions").iterdir())) == 1


def test_no_dataset_yet_names_the_command(recipe: Recipe) -> None:
    with pytest.raises(UserError, match="no dataset yet; run: python -m prepare RECIPE"):
        dataset.open_dataset(recipe)


def test_other_settings_than_it_was_made_with_are_named(recipe: Recipe) -> None:
    dataset.write(recipe, ROWS)
    prepare = recipe.prepare.model_copy(update={"rate_hz": 22_050, "workers": 4})
    other = recipe.model_copy(update={"prepare": prepare})
    with pytest.raises(UserError, match=r"other settings \(prepare.rate_hz: 16000 then, 22050 now\)"):
        dataset.open_dataset(other)


def test_a_damaged_table_is_a_message(recipe: Recipe) -> None:
    folder = dataset.write(recipe, ROWS)
    (folder / "train" / "state.json").unlink()
    with pytest.raises(UserError, match=r"damaged .* remove it and run: python -m prepare RECIPE"):
        dataset.open_dataset(recipe)


def test_verify_finds_a_row_that_was_changed(recipe: Recipe) -> None:
    wrong = ROWS[0].model_copy(update={"duration_s": 2.0})
    dataset.write(recipe, [wrong, ROWS[1]])
    assert dataset.verify(recipe) == ["train, row 0 (a): duration_s is 2.0, the audio has 0.5"]
    versions = recipe.folder("prepare") / "versions"
    os.rename(versions / dataset.dataset_hash(recipe), versions / ("0" * 64))
    dataset.dataset_folder(recipe).unlink()
    dataset.dataset_folder(recipe).symlink_to(versions / ("0" * 64))
    assert "the rows are not those that the version's name was computed from" in dataset.verify(recipe)
