"""Coverage: who recorded how much for what, which sounds, how, and what to record next."""

import hashlib
import os
import random
import re
import tracemalloc
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from collect import tables
from collect.consent import Event
from collect.coverage import __main__ as coverage
from collect.coverage import page as coverage_page
from collect.coverage import tally
from collect.coverage.conditions import wilson
from collect.coverage.sounds import alphabet, suggested, units_of
from collect.coverage.survey import Survey, survey
from collect.coverage.tally import NOT_GIVEN, TOGETHER, Voice, groups, hours, people
from collect.coverage.targets import sentence, span, steps
from collect.ledger import Ledger, Speaker, open_ledger
from collect.withdraw import withdraw
from recipes.records import LANGUAGES, PURPOSES, Clip, Purpose
from recipes.schema import Recipe, Target, UserError, load
from tests.conftest import needs

CLIPS = int(os.environ.get("TWIZA_COVERAGE_CLIPS", "5000"))
NOW = datetime.now(UTC)
ALL: tuple[Purpose, ...] = ("store_prepare", "asr_train", "tts_multi", "profile_data")
RECIPE = """
name: atlas
work_dir: work
collect:
  source: recordings
  coverage:
    targets:
      - {language: zgh-Tfng, gender: female, age_band: 30-44, purpose: tts_multi, hours: 2, speakers: 5}
prepare: {purpose: asr_train}
train: {family: ctc, base: x/y}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "atlas.yaml").write_text(RECIPE, encoding="utf-8")
    return load(tmp_path / "atlas.yaml")


def enrol(ledger: Ledger, code: str, purposes: Iterable[Purpose] = ALL, **facts: Any) -> None:
    event = {"speaker": code, "purposes": list(purposes), "notice": "told", "controller": "an association"}
    event |= {"at": NOW - timedelta(days=9)} | {
        key: facts.pop(key) for key in ("expires", "adult_on", "by") if key in facts
    }
    ledger.enrol(Speaker(code=code, **facts), Event.model_validate(event))


def clip(name: object, speaker: str, text: str = "ⴰⵣⵓⵍ", **values: Any) -> Clip:
    row = {"id": hashlib.sha256(str(name).encode()).hexdigest(), "speaker": speaker, "language": "zgh-Tfng"}
    row |= {"transcript": text, "audio": "none", "rate_hz": 48_000, "duration_s": 36.0, "source": f"{name}.wav"}
    return Clip.model_validate(row | values)


def insert(recipe: Recipe, clips: Iterable[Clip]) -> None:
    """Put rows into a ledger without audio: all that coverage reads of most clips."""
    engine = tables.connect(f"sqlite:///{recipe.folder('collect') / 'ledger.sqlite'}")
    rows = [{"id": one.id, "speaker": one.speaker, "clip": one.model_dump_json()} for one in clips]
    with tables.transactions(engine).begin() as connection:
        connection.execute(tables.clips.insert(), rows)
    engine.dispose()


def surveyed(recipe: Recipe) -> Survey:
    with open_ledger(recipe) as ledger:
        return survey(recipe, ledger)


def page_of(recipe: Recipe) -> str:
    coverage.main(recipe)
    return (recipe.folder("collect") / "coverage.html").read_text(encoding="utf-8")


# ---------------------------------------------------------------- counting


def test_hours_and_speakers_are_counted_by_what_each_clip_may_be_used_for(recipe: Recipe) -> None:
    with open_ledger(recipe) as ledger:
        enrol(ledger, "amina", gender="female")
        enrol(ledger, "brahim", ("store_prepare", "asr_train"), gender="male")
    insert(recipe, [clip(1, "amina"), clip(2, "amina"), clip(3, "brahim")])
    voices = surveyed(recipe).voices
    assert (people(voices), round(hours(voices), 6)) == (2, 0.03)
    assert (
        people(tally.allowing(voices, "tts_multi")),
        sum(v.clips for v in tally.allowing(voices, "tts_multi")),
    ) == (1, 2)


def test_facts_count_only_of_those_who_allow_it(recipe: Recipe) -> None:
    with open_ledger(recipe) as ledger:
        enrol(ledger, "amina", gender="female", age_band="30-44")
        enrol(ledger, "brahim", ("store_prepare", "asr_train"), gender="male", age_band="60+")
    insert(recipe, [clip(1, "amina", dialect="tarifit"), clip(2, "brahim", dialect="figuig")])
    facts = {v.speaker: (v.dialect, v.gender, v.age_band) for v in surveyed(recipe).voices}
    assert facts == {"amina": ("tarifit", "female", "30-44"), "brahim": (NOT_GIVEN,) * 3}
    assert "figuig" not in page_of(recipe)


def test_recordings_without_a_consent_in_force_are_counted_apart_and_not_looked_at(recipe: Recipe) -> None:
    with open_ledger(recipe) as ledger:
        enrol(ledger, "amina")
        enrol(ledger, "lapsed", expires=NOW - timedelta(days=1))
    insert(recipe, [clip(1, "amina"), clip(2, "lapsed", text="ⵥⵥⵥ")])
    found = surveyed(recipe)
    assert (found.closed, round(found.closed_h, 6)) == (1, 0.01)
    assert found.sounds[0].letters["ⵥ"] == 0 and found.conditions.rates.total() == 1


def test_a_consent_that_names_sittings_is_asked_clip_by_clip(recipe: Recipe) -> None:
    with open_ledger(recipe) as ledger:
        enrol(ledger, "amina")
        past = ledger.consents("amina")[-1]
        ledger.record(past.model_copy(update={"state": "narrowed", "scope": ["morning"], "recorded": None}))
    insert(recipe, [clip(1, "amina", session="morning"), clip(2, "amina", session="evening")])
    found = surveyed(recipe)
    assert (sum(v.clips for v in found.voices), found.closed) == (1, 1)


def test_consents_that_end_within_60_days_are_named_and_withdrawals_counted(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_ledger(recipe) as ledger:
        enrol(ledger, "soon", expires=NOW + timedelta(days=30))
        enrol(ledger, "later", expires=NOW + timedelta(days=90))
        enrol(ledger, "young", (*ALL, "recontact"), by="guardian", adult_on=(NOW + timedelta(days=7)).date())
        enrol(ledger, "gone")
        withdraw(ledger, "gone")
    insert(recipe, [clip(1, "soon")])
    page = page_of(recipe)
    told = capsys.readouterr().out
    assert "consents: 3 in force, 1 erased" in told
    assert re.search(r"young: the speaker turns 18 on .*; may be asked again\n  soon: it expires on", told)
    assert "soon: it expires" in told and "did not allow recontact" in told and "later" not in told
    assert "2 end, 1 of them because the speaker turns 18" in page
    assert not re.search("young|soon:", page)  # the page names nobody


# ---------------------------------------------------------------- groups that are too small to be shown

VALUES = st.sampled_from(["a", "b", "c", NOT_GIVEN])
VOICES = st.lists(
    st.builds(
        Voice,
        speaker=st.integers(0, 12).map(str),
        language=st.sampled_from(LANGUAGES[:2]),
        dialect=VALUES,
        gender=VALUES,
        age_band=VALUES,
        purposes=st.just(frozenset(ALL)),
        synthetic=st.just(False),
        clips=st.just(1),
        hours=st.just(0.5),
    ),
    unique=True,
)


@given(VOICES, st.integers(1, 5))
def test_no_group_is_smaller_than_asked_and_nobody_is_lost(voices: list[Voice], fewest: int) -> None:
    found = groups(voices, fewest)
    assert sorted(map(repr, (v for group in found for v in group.voices))) == sorted(map(repr, voices))
    for group in found:
        alone = sum(other.language == group.language for other in found) == 1
        assert people(group.voices) >= fewest or (alone and group.dialect == TOGETHER)


@given(VOICES, st.integers(1, 5))
def test_no_subtraction_brings_a_small_group_back(voices: list[Voice], fewest: int) -> None:
    # What is left of a language, a dialect, or a gender of it, when a row is taken away: nobody, or enough.
    found = groups(voices, fewest)
    for facts in (("language",), ("language", "dialect"), ("language", "dialect", "gender")):
        for group in found:
            rest = [g for g in found if g is not group and all(getattr(g, f) == getattr(group, f) for f in facts)]
            assert people(v for g in rest for v in g.voices) >= (fewest if rest else 0)


def test_the_page_breaks_nothing_down_below_the_recipes_number(recipe: Recipe) -> None:
    with open_ledger(recipe) as ledger:
        for number in range(4):
            enrol(ledger, f"w{number}", gender="female", age_band="18-29")
        enrol(ledger, "m", gender="male", age_band="60+")
    insert(recipe, [clip(code, code) for code in ("w0", "w1", "w2", "w3", "m")])
    page = page_of(recipe)
    assert "all together" in page and "60+" not in page and "male" not in page.replace("female", "")
    free = recipe.collect.coverage.model_copy(update={"min_speakers": 1})
    whole = recipe.model_copy(update={"collect": recipe.collect.model_copy(update={"coverage": free})})
    assert "60+" in page_of(whole)


def test_too_few_for_a_purpose_is_a_dot(recipe: Recipe) -> None:
    voices = [
        Voice(str(n), "ary-Arab", "a", "b", "c", frozenset(ALL[: 2 + (n == 0)]), False, 1, 0.5) for n in range(3)
    ]
    assert coverage_page.cell(voices, 3, "asr_train") == ("1.50", "3")
    assert coverage_page.cell(voices, 3, "tts_multi") == ("·", "< 3")
    assert coverage_page.cell(voices, 3, "tts_clone") == ("–", "")


# ---------------------------------------------------------------- sounds


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [
        ("ⴰⵣ", "zgh-Tfng", {"ⴰ", "ⵣ", "ⴰⵣ"}),
        ("مُـغ", "ary-Arab", {"م", "غ", "مغ"}),  # vowel signs and tatweel are no letters
        ("گال أنا", "ary-Arab", {"ڭ", "ا", "ل", "ن", "ڭا", "ال", "ان", "نا"}),  # spellings of one letter are one
        ("7ta 15", "ary-Latn", {"7", "t", "a", "7t", "ta"}),  # digits beside letters are letters
        ("Aẓ", "rif-Latn", {"a", "ẓ", "aẓ"}),
    ],
)
def test_letters_and_pairs_of_a_text(text: str, language: Any, found: set[str]) -> None:
    assert units_of(text, language) == found


def test_every_language_has_an_alphabet_of_letters_that_can_be_counted() -> None:
    for language in LANGUAGES:
        letters = alphabet(language)  # type: ignore[arg-type]
        assert len(set(letters)) == len(letters) >= 31
        if language != "ary-Latn":
            assert all(units_of(letter, language) == {letter} for letter in letters)  # type: ignore[arg-type]


def with_prompts(recipe: Recipe, folder: Path, *lines: str) -> Recipe:
    (folder / "prompts.txt").write_text("\n".join(lines), encoding="utf-8")
    record = "{controller: c, contact: t, prompts: {zgh-Tfng: prompts.txt}}"
    return load(folder / "atlas.yaml", [f"collect.record={record}"])


def test_letters_never_and_rarely_recorded_and_the_prompts_that_bring_them(recipe: Recipe, tmp_path: Path) -> None:
    recipe = with_prompts(recipe, tmp_path, "ⴰⵣⵓⵍ", "ⵣⵣⵣ ⴰⵣⵓⵍ", "ⵥⵥ ⵚⵚ", "ⵥⵥ")
    with open_ledger(recipe) as ledger:
        enrol(ledger, "amina")
    insert(
        recipe, [*(clip(n, "amina") for n in range(10)), clip("b", "amina", text="ⴱ"), clip("c", "amina", text="")]
    )
    found = surveyed(recipe)
    (sounds,) = found.sounds
    assert found.untranscribed == 1 and sounds.recordings == 11
    assert sounds.letters["ⴰ"] == 10 and sounds.rare == ["ⴱ"] and {"ⵥ", "ⵚ", "ⵯ"} < set(sounds.never)
    assert (sounds.pairs, sounds.pairs_wanted) == (3, 6)  # ⴰⵣ ⵣⵓ ⵓⵍ, of these and ⵣⵣ ⵥⵥ ⵚⵚ
    assert (sounds.prompts, sounds.prompts_left) == (4, 3)
    assert "ⵯ" in sounds.no_prompt and "ⵥ" not in sounds.no_prompt
    assert sounds.suggestions[0].text == "ⵥⵥ ⵚⵚ"
    assert sounds.suggestions[0].new == ("ⵚ", "ⵥ", "ⵚⵚ", "ⵥⵥ")
    page = page_of(recipe)
    assert "default-src 'none'" in page  # it loads nothing
    assert 'class="never"><bdi>ⵥ</bdi>' in page and 'class="rare"><bdi>ⴱ</bdi>' in page


def test_each_suggestion_counts_for_the_next() -> None:
    found = [one.text for one in suggested(["ab", "ab c", "zz"], {}, "rif-Latn")]
    assert found[:2] == ["ab c", "zz"]
    assert suggested(["ab"], dict.fromkeys(("a", "b", "ab"), 10), "rif-Latn") == []


# ---------------------------------------------------------------- what to record next


def voice(speaker: str, hours: float, **values: Any) -> Voice:
    facts = {"language": "rif-Latn", "dialect": NOT_GIVEN, "gender": "female", "age_band": "30-44"}
    return Voice(
        **{"speaker": speaker, "purposes": frozenset(ALL), "synthetic": False, "hours": hours} | facts | values
    )


WOMEN: dict[str, Any] = {"language": "rif-Latn", "gender": "female", "age_band": "30-44", "purpose": "tts_multi"}


@pytest.mark.parametrize(
    ("target", "hours", "said"),
    [
        ({"speakers": 5}, [0.4], "24 min of 2 h, 1 of 5 speakers: record 1.6 h more, from 4 more people"),
        ({}, [], "0 min of 2 h, 0 of 1 speaker: record 2 h, from 1 speaker"),
        ({"speakers": 3}, [1.5, 1.0], "2.5 h of 2 h, 2 of 3 speakers: the hours are there; record 1 more person"),
        ({"speakers": 2}, [0.5, 0.5], "1 h of 2 h, 2 of 2 speakers: record 1 h more"),
        ({"speakers": 2}, [1, 1], "2 h of 2 h, 2 of 2 speakers: reached"),
        # 3 h of one voice are half an hour of a voice here; 1.5 h more need three others
        (
            {"max_h_each": 0.5},
            [3],
            "30 min of 2 h, 1 of 1 speaker (at most 30 min of each counts): record 1.5 h more, from 3 more people",
        ),
    ],
)
def test_what_to_record_next_is_said_in_a_plain_sentence(target: Any, hours: list[float], said: str) -> None:
    wanted = Target.model_validate(WOMEN | {"hours": 2} | target)
    (step,) = steps([wanted], [voice(str(n), one) for n, one in enumerate(hours)])
    assert sentence(step) == f"Tarifit (Latin), women 30-44, for tts_multi: {said}"


def test_only_those_count_who_are_asked_for() -> None:
    others = [voice("a", 1, gender="male"), voice("b", 1, language="zgh-Tfng"), voice("c", 1, synthetic=True)]
    others += [voice("d", 1, purposes=frozenset(["store_prepare"])), voice("e", 1, gender=NOT_GIVEN)]
    (step,) = steps([Target(**WOMEN, hours=2)], others)
    assert (step.hours, step.speakers) == (0, 0)


def test_a_voice_to_clone_is_not_made_of_many_speakers() -> None:
    wanted = Target.model_validate(WOMEN | {"purpose": "tts_clone", "hours": 1})
    (step,) = steps([wanted], [voice(str(n), 0.2, purposes=frozenset(["tts_clone"])) for n in range(5)])
    assert (step.hours, step.speakers, round(step.more_h, 6), step.more_people) == (0.2, 1, 0.8, 0)


def test_the_furthest_from_its_target_comes_first() -> None:
    wanted = [Target(**WOMEN, hours=h, speakers=n) for h, n in ((1, 1), (1, 4), (4, 1))]
    assert [step.target for step in steps(wanted, [voice("a", 1)])] == [wanted[1], wanted[2], wanted[0]]


def test_of_few_people_the_page_says_neither_number_nor_hours() -> None:
    (step,) = steps([Target(**WOMEN, hours=2, speakers=5)], [voice("a", 0.4)])
    assert sentence(step, fewest=3).endswith("fewer than 3 people so far; 2 h of 5 speakers are wanted")


@pytest.mark.parametrize(
    ("given", "said"), [(0, "0 min"), (0.001, "1 min"), (0.4, "24 min"), (0.999, "1 h"), (1.62, "1.6 h")]
)
def test_hours_in_words(given: float, said: str) -> None:
    assert span(given) == said


# ---------------------------------------------------------------- recording conditions


def test_level_noise_and_clipping_are_measured_on_a_few_clips(recipe: Recipe) -> None:
    rng, tone = np.random.default_rng(5), np.sin(np.arange(32_000) / 9) * (np.arange(32_000) % 8000 > 3000)
    with open_ledger(recipe) as ledger:
        enrol(ledger, "amina")
        for name, gain, noise in (
            ("good", 0.3, 1e-4),
            ("loud", 4.0, 1e-4),
            ("noisy", 0.3, 0.2),
            ("quiet", 0.005, 1e-5),
        ):
            samples = (gain * tone + noise * rng.standard_normal(len(tone))).clip(-1, 1).astype(np.float32)[:, None]
            ledger.add(clip(name, "amina", rate_hz=16_000, duration_s=2.0), samples)
    insert(recipe, [clip("lost", "amina")])
    found = surveyed(recipe).conditions
    assert len(found.heard) == 4 and found.unheard == {"lost or damaged": 1}
    for doubt in ("clipped", "too_quiet", "too_noisy"):
        count, low, high = found.share(doubt)
        assert count == 1 and 0 < low < 0.25 < high < 0.75
    assert found.rates == {16_000: 4, 48_000: 1} and found.lengths == {2: 4, 36: 1}


def test_the_draw_is_bounded_the_same_each_time_and_can_be_none(recipe: Recipe) -> None:
    with open_ledger(recipe) as ledger:
        enrol(ledger, "amina")
    insert(recipe, [clip(n, "amina") for n in range(50)])

    def drawn(wanted: int) -> set[str]:
        less = recipe.collect.coverage.model_copy(update={"measured_clips": wanted})
        found = surveyed(recipe.model_copy(update={"collect": recipe.collect.model_copy(update={"coverage": less})}))
        return {name for _, name, _ in found.conditions._drawn}

    assert len(drawn(10)) == 10 and drawn(10) == drawn(10) and drawn(10) < drawn(20) and not drawn(0)


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert [round(x, 4) for x in wilson(1, 10)] == [0.0179, 0.4042]  # Brown, Cai and DasGupta 2001, by hand
    assert wilson(0, 0) == (0.0, 1.0) and wilson(0, 10)[0] == 0.0


# ---------------------------------------------------------------- the command


def test_without_recordings_it_says_so_in_a_line(recipe: Recipe) -> None:
    with pytest.raises(UserError, match="no ledger yet; run"):
        coverage.main(recipe)
    with open_ledger(recipe) as ledger:
        enrol(ledger, "amina", expires=NOW - timedelta(days=1))
    with pytest.raises(UserError, match="no recording yet"):
        coverage.main(recipe)
    insert(recipe, [clip(1, "amina")])
    with pytest.raises(UserError, match="1 recordings, but no consent in force"):
        coverage.main(recipe)


def test_the_table_and_the_page_say_what_is_there(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    with open_ledger(recipe) as ledger:
        enrol(ledger, "amina", gender="female", age_band="30-44")
    insert(recipe, [clip(1, "amina", dialect="<b>تشلحيت</b>"), clip(2, "amina")])
    first = page_of(recipe)
    told = capsys.readouterr().out
    assert re.search(r"zgh-Tfng.*female.*30-44.*0\.01/1", told) and "2 recordings, 1 min, 1 speaker" in told
    assert "women 30-44, for tts_multi: 1 min of 2 h, 1 of 5 speakers: record 2 h more, from 4 more people" in told
    assert "fewer than 3 people so far" in first and "amina" not in first and "<b>تش" not in first
    assert not re.findall(r'(?:src|href)="(?!data:|#)', first)  # it needs no other file
    assert page_of(recipe) == first


def test_a_narrow_terminal_shows_the_recipes_purposes_and_says_how_many_are_left_out(recipe: Recipe) -> None:
    voices = [Voice("a", "ary-Arab", "b", "c", "d", frozenset(PURPOSES), False, 1, 0.5)]
    console = Console(width=80)
    drawn = coverage.table(console, recipe, voices)
    headings = [column.header for column in drawn.columns]
    assert headings == ["language", "dialect", "gender", "age band", "all", "asr\ntrain", "tts\nmulti"]
    assert str(drawn.caption).startswith("9 other purposes")
    assert len(coverage.table(Console(width=300), recipe, voices).columns) == 16


def many(recipe: Recipe, count: int) -> None:
    """A ledger of `count` rows by a hundred speakers."""
    rng = random.Random(3)
    with open_ledger(recipe) as ledger:
        for number in range(100):
            enrol(ledger, f"s{number}", gender=rng.choice(["female", "male"]), age_band=rng.choice(["18-29", "60+"]))
    words = [f"ⴰ{a}ⵓ{b}" for a in alphabet("zgh-Tfng") for b in alphabet("zgh-Tfng")]
    insert(
        recipe, (clip(n, f"s{rng.randrange(100)}", rng.choice(words), dialect=rng.choice("ab")) for n in range(count))
    )


def test_memory_does_not_grow_with_the_clips(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "atlas.yaml").write_text(
            RECIPE.replace("coverage:", "coverage:\n    measured_clips: 0"), encoding="utf-8"
        )
        recipe = load(folder / "atlas.yaml")
        many(recipe, count)
        surveyed(recipe)
        tracemalloc.start()
        assert sum(v.clips for v in surveyed(recipe).voices) == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(CLIPS) < peak(CLIPS // 10) + 2**20


@needs("chromium")
def test_the_page_fits_phone_and_desktop(recipe: Recipe) -> None:
    from playwright.sync_api import sync_playwright

    many(recipe, 300)
    page_of(recipe)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        for width in (320, 1280):
            page: Any = browser.new_page(viewport={"width": width, "height": 740})
            page.goto(f"file://{recipe.folder('collect')}/coverage.html")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            fonts = "document.fonts.ready.then(() => document.fonts.check('16px \"Noto Sans Tifinagh\"', 'ⵣ'))"
            assert page.evaluate(fonts)
        browser.close()
