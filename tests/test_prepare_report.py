"""`python -m prepare.report RECIPE`: what preparation left out, of whom, and whether that is more than of others."""

import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

import prepare.__main__ as prepare_script
from collect import withdraw
from collect.consent import Event
from collect.ledger import Ledger, Refused, Speaker, open_ledger
from prepare import dataset, export
from prepare.report import __main__ as report
from prepare.report import chance, losses, page, players, words
from prepare.report.chance import share_interval
from prepare.report.losses import ANY, SEVERAL, tables
from prepare.report.measures import Limit, measure
from prepare.report.outcomes import FACTORS, NOT_GIVEN, Came, Outcome
from recipes.records import Clip, Purpose, Quality, Split
from recipes.schema import Recipe, UserError, load
from tests.babble import babble, noise
from tests.conftest import needs

NUMBERS = count()


def outcomes(speaker: str, kept: int, reasons: Sequence[str] = (), **facts: Any) -> list[Outcome]:
    """What became of a speaker's recordings: how many were kept, and why the others were not."""
    groups = dict.fromkeys(FACTORS, NOT_GIVEN) | {"language": "zgh-Tfng"}
    figures = {"duration_s": 2.0, **facts.pop("figures", {})}
    found = []
    for reason in [*[None] * kept, *reasons]:
        row = {"id": hashlib.sha256(str(next(NUMBERS)).encode()).hexdigest(), "speaker": speaker, "duration_s": 3.0}
        clip = Clip.model_validate(
            row | {"language": "zgh-Tfng", "transcript": "ⴰⵣⵓⵍ", "audio": "", "rate_hz": 16_000, "source": "x"}
        )
        where: tuple[Split, int] | None = None if reason else ("train", 0)
        found.append(Outcome(clip.id, clip, {**groups, **facts}, figures, reason, where))
    return found


def crowd(*groups: tuple[str, int, int, int]) -> Came:
    """By dialect: how many people, and how many recordings of each were kept and were noisy."""
    return Came(
        [
            one
            for dialect, people, kept, noisy in groups
            for number in range(people)
            for one in outcomes(f"{dialect}{number}", kept, ["noisy: 3 dB"] * noisy, dialect=dialect)
        ]
    )


def headline(came: Came, least: int = 3) -> str:
    return " ".join(words.headline(came, tables(came, least, 1), losses.speakers(came), "asr_train"))


# ---------------------------------------------------------------- who lost more


def test_a_filter_that_removes_a_dialect_is_named() -> None:
    came = crowd(("Souss", 8, 19, 1), ("Rif", 6, 8, 12), ("Atlas", 8, 20, 0))
    (table,) = tables(came, 3, 1)
    rif = next(group for group in table.groups if group.name == "Rif")
    noisy = rif.losses["noisy"]
    assert (noisy.lost, noisy.of, noisy.others_lost, noisy.others) == (72, 120, 8, 320)
    assert {group.name: group.losses["noisy"].verdict for group in table.groups} == {
        "Rif": "more",
        "Souss": "alike",
        "Atlas": "alike",
    }
    assert "440 recordings came that may be used for asr_train, 22 min as recorded; 360 stayed (82 %)" in headline(
        came
    )
    assert (
        "The most unequal filter is “noisy”: it takes 60 % of dialect Rif (72 of 120) and 2.5 % of the others "
        "(8 of 320). That is surely more." in headline(came)
    )


def test_one_speaker_with_a_bad_microphone_is_no_dialect() -> None:
    came = Came([*crowd(("Souss", 8, 20, 0), ("Rif", 8, 20, 0)).outcomes, *outcomes("x", 0, ["noisy: 1 dB"] * 20)])
    came = Came(
        [Outcome(**{**vars(o), "groups": {**o.groups, "dialect": o.groups["dialect"]}}) for o in came.outcomes]
    )
    loud = [Outcome(**{**vars(o), "groups": {**o.groups, "dialect": "Rif"}}) for o in came.outcomes if not o.kept]
    came = Came([*(o for o in came.outcomes if o.kept), *loud])
    (table,) = tables(came, 3, 1)
    assert {loss.verdict for group in table.groups for loss in group.losses.values()} == {"alike"}
    worst, *others = losses.speakers(came)
    assert worst.name == "x" and worst.losses[ANY].verdict == "more"
    assert {group.losses[ANY].verdict for group in others} == {"alike"}
    said = headline(came)
    assert "No filter is seen to take more" in said and "1 speaker loses surely more" in said
    assert "Nothing is left of 1 speaker." in said


def test_of_too_few_people_nothing_is_said_of_their_group() -> None:
    came = crowd(("Souss", 3, 20, 0), ("Rif", 3, 2, 18))
    (table,) = tables(came, 3, 1)
    assert all(group.few for group in table.groups)
    assert {group.name: group.losses["noisy"].verdict for group in table.groups} == {"Souss": "few", "Rif": "here"}
    assert "These recordings lose surely more; whether dialect Rif does" in headline(came)
    assert "cannot be told: too few people" in headline(crowd(("Souss", 3, 20, 0), ("Rif", 3, 20, 0)))


def test_of_very_many_people_all_is_told() -> None:
    (table,) = tables(crowd(("Souss", 700, 1, 0), ("Rif", 700, 0, 1)), 3, 1)
    assert [group.losses["noisy"].verdict for group in table.groups] == ["more", "alike"]


def test_a_group_that_is_gone_is_named_first() -> None:
    said = headline(crowd(("Souss", 8, 9, 1), ("Rif", 6, 0, 10)))
    assert "Nothing is left of dialect Rif, of which 60 came." in said and "Nothing is left of 6 speakers." in said


def test_where_no_fact_tells_groups_apart_that_is_said() -> None:
    assert tables(crowd(("Souss", 4, 9, 1)), 3, 1) == []
    assert "No fact tells groups of speakers apart here" in headline(crowd(("Souss", 4, 9, 1)))


def test_where_people_differ_and_groups_do_not_few_tables_are_marked() -> None:
    # People's shares are drawn from a beta distribution: some lose all, most lose nothing. 5 of 100 may be marked.
    draw, marked = np.random.default_rng(3), 0
    for seed in range(20):
        came = Came([])
        for number, share in enumerate(draw.beta(0.3, 2, 20)):
            lost = int(draw.binomial(12, share))
            came.outcomes.extend(outcomes(f"s{number}", 12 - lost, ["noisy: 1"] * lost, dialect="ab"[number % 5 > 2]))
        (table,) = tables(came, 3, seed)
        marked += any(loss.verdict == "more" for group in table.groups for loss in group.losses.values())
    assert marked <= 4  # more in one of 300 such tests, by the binomial distribution


def test_a_name_from_right_to_left_keeps_numbers_in_their_order() -> None:
    assert words.called("dialect", "تاريفيت") == "dialect \u2068تاريفيت\u2069"
    assert words.called("gender", NOT_GIVEN) == "those whose gender is not given"


@pytest.mark.parametrize(
    ("part", "whole", "said"), [(0, 9, "0 %"), (9, 9, "100 %"), (1, 2, "50 %"), (1, 200, "0.5 %")]
)
def test_percentages_hide_nothing(part: int, whole: int, said: str) -> None:
    assert words.percent(part, whole) == said


# ---------------------------------------------------------------- intervals


def test_an_interval_counts_people_and_not_only_recordings() -> None:
    # Everybody alike, and so many that Student's t is nearly normal: Clopper and Pearson's interval.
    alike = share_interval([1] * 300 + [0] * 300, [1] * 600)
    exact = binomtest(300, 600).proportion_ci(method="exact")
    assert alike == pytest.approx((exact.low, exact.high), abs=0.001)
    # As many recordings by six people who differ: three keep all, three nothing.
    low, high = share_interval([100] * 3 + [0] * 3, [100] * 6)
    assert low is not None and high is not None and low < 0.1 and high > 0.9
    assert share_interval([5], [10]) == (None, None)
    low, high = share_interval([10, 10, 10], [10, 10, 10])
    assert high == 1.0 and low is not None and 0.4 < low < 0.9


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=2, max_size=12))
def test_an_interval_holds_its_share(rows: list[tuple[int, int]]) -> None:
    kept, of = [min(row) for row in rows], [row[1] for row in rows]
    low, high = share_interval(kept, of)
    assert low is not None and high is not None
    assert 0 <= low <= sum(kept) / sum(of) + 1e-9 and sum(kept) / sum(of) <= high + 1e-9 <= 1 + 1e-9


# ---------------------------------------------------------------- groups that are too small to be shown


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abcd")), min_size=1, max_size=20),
    st.integers(1, 4),
    st.sets(st.integers(0, 9)),
)
def test_no_group_is_of_fewer_people_than_asked(rows: list[tuple[int, str]], least: int, synthetic: set[int]) -> None:
    came = Came(
        [one for speaker, dialect in rows for one in outcomes(str(speaker), 1, ["noisy: 1"], dialect=dialect)],
        synthetic=frozenset(map(str, synthetic)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chance, "_DEALS", 19)
        found = tables(came, least, 1)
    for table in found:
        assert sum(group.came for group in table.groups) == len(came.outcomes)
        for group in table.groups:
            assert group.people == 0 or group.people >= least


def test_small_groups_are_shown_together_and_a_language_always() -> None:
    came = crowd(("Souss", 4, 5, 1), ("Rif", 2, 5, 1), ("Figuig", 1, 5, 1))
    darija = [Outcome(**{**vars(o), "groups": {**o.groups, "language": "ary-Arab"}}) for o in came.outcomes[:6]]
    by_language, by_dialect = tables(Came([*came.outcomes[6:], *darija]), 3, 1)
    assert [(group.name, group.people) for group in by_dialect.groups] == [("Souss", 4), (SEVERAL, 3)]
    assert [(group.name, group.people) for group in by_language.groups] == [("zgh-Tfng", 6), ("ary-Arab", 1)]


def test_beside_a_voice_stand_only_facts_that_enough_people_share_together() -> None:
    came = Came([one for n in range(4) for one in outcomes(str(n), 1, gender="female", dialect="ab"[n == 3])])
    told = page.Facts(came, 3)
    assert [told.of(one) for one in came.outcomes[2:]] == [["zgh-Tfng", "female", "a"], ["zgh-Tfng", "female"]]


# ---------------------------------------------------------------- figures and whom to hear


def recipe_of(**prepare: Any) -> Recipe:
    whole = {"name": "t", "work_dir": "w", "collect": {"source": "s"}, "train": {"family": "ctc", "base": "x/y"}}
    return Recipe.model_validate(whole | {"prepare": {"purpose": "asr_train", **prepare}}, context={"folder": Path()})


def test_a_figure_says_its_unit_and_the_limits_that_the_recipe_sets_it() -> None:
    prepare = recipe_of(min_snr_db=15).prepare
    assert measure("snr_db", prepare).limits == (Limit("prepare.min_snr_db", 15, "low"),)
    assert [limit.key for limit in measure("duration_s", prepare).limits] == [
        "prepare.min_duration_s",
        "prepare.max_duration_s",
    ]
    rated = recipe_of(mos={"min_ovrl": 2.5}).prepare
    assert measure("mos_ovrl", rated).limits == (Limit("prepare.mos.min_ovrl", 2.5, "low"),)
    assert measure("clipped_share", prepare).said(0.0123) == "1.23\N{NO-BREAK SPACE}%"
    assert measure("loudness_lufs", prepare).target == -23
    unknown = measure("brightness_of_it_hz", prepare)  # a figure that nobody has described
    assert (unknown.label, unknown.said(1234)) == ("Brightness of it", "1.23\N{NO-BREAK SPACE}kHz")


def test_every_figure_of_an_utterance_has_a_label_and_those_that_differ_a_plot() -> None:
    prepare = recipe_of(min_snr_db=15).prepare
    known = [measure(name, prepare) for name in ("duration_s", *Quality.model_fields)]
    assert all(one.label[0].isupper() and "_" not in one.label for one in known)
    came = Came(outcomes("a", 2, figures={"snr_db": 20.0}) + outcomes("b", 0, ["noisy: 3"], figures={"snr_db": 3.0}))
    by_name = {one.name: one for one in known}
    alike, differ = page.figures(came, [], [by_name["duration_s"], by_name["snr_db"]])
    assert (alike["plots"], alike["measure"].said(alike["alike"])) == ([], "2\N{NO-BREAK SPACE}s")
    assert "kept 2, median 20, nine tenths from 20 to 20; left out 1, median 3" in differ["plots"][0]


def test_the_worst_and_those_on_both_sides_of_a_limit_are_heard() -> None:
    quality = [("snr_db", value) for value in (30.0, 16.0, 15.0, 14.0, 9.0, 2.0, -4.0)]
    came = Came([])
    for name, value in quality:
        reasons = [] if value >= 15 else [f"noisy: {value} dB, prepare.min_snr_db is 15"]
        came.outcomes.extend(outcomes("a", not reasons, reasons, figures={name: value}))
    came.outcomes.extend(outcomes("a", 0, ["no speech found: prepare.vad.threshold is 0.5"] * 3))
    noise, silence = players.shelves(came, [measure("snr_db", recipe_of(min_snr_db=15).prepare)])
    assert {title: [one.figures["snr_db"] for one in some] for title, some in noise.lists.items()} == {
        "the worst left out": [-4, 2],
        "just left out": [14, 9],
        "just kept": [15, 16],
    }
    assert silence.title == "Left out: no speech found" and len(silence.lists["drawn by lot"]) == 2


# ---------------------------------------------------------------- the whole, from a ledger

PEOPLE = {  # dialect, gender, sound of the room, whether facts may be used
    **{f"fatima{n}": ("Souss", "female", 0.0, True) for n in range(3)},
    **{f"brahim{n}": ("تاريفيت", "male", 0.02, True) for n in range(3)},
    **{f"hidden{n}": ("Figuig", "female", 0.0, False) for n in range(3)},
}
RECIPE = """
name: atlas
work_dir: work
collect: {source: recordings}
prepare: {purpose: asr_train, min_snr_db: 20, split: {by: sentence, exact: true}}
train: {family: ctc, base: x/y}
"""
PURPOSES: tuple[Purpose, ...] = ("store_prepare", "asr_train", "profile_data")
PHONE = "0612345678"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe whose ledger was prepared: nine people, two recordings of each."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "atlas.yaml").write_text(RECIPE, encoding="utf-8")
    recipe = load(folder / "atlas.yaml")
    with open_ledger(recipe) as ledger:
        for code, (_, gender, _, facts) in PEOPLE.items():
            enrol(ledger, code, PURPOSES if facts else PURPOSES[:2], gender=gender)
        enrol(ledger, "refuses", ("store_prepare",), gender="female")
        for number, (code, (dialect, _, level, _)) in enumerate(sorted(PEOPLE.items())):
            for take, word in enumerate(("ⴰⵣⵓⵍ", "ⴰⵎⴰⵏ")):
                sound = babble(0.8, pitch_hz=100 + 7 * number + take)
                add(ledger, code, f"{word} {'ⴰ' * (number + 1)}", sound + noise(len(sound) / 16_000, level), dialect)
        add(ledger, "fatima0", f"عيط ليا {PHONE}", babble(0.9), "Souss", "ary-Arab")
        add(ledger, "refuses", "ⴰⵡⴰⵍ", babble(0.7), "Souss")
    assert prepare_script.main(recipe) == 1
    return folder


def copied(folder: Path, to: Path) -> Recipe:
    """A copy of a prepared folder, whose ledger knows where things are now."""
    shutil.copytree(folder, to, symlinks=True)
    recipe = load(to / "atlas.yaml")
    prepare_script.main(recipe)
    return recipe


@pytest.fixture(scope="module")
def made(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A copy with its report, to look at."""
    recipe = copied(prepared, tmp_path_factory.mktemp("made") / "copy")
    report.main(recipe)
    return recipe


@pytest.fixture
def recipe(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A copy to do with as a test likes; its report has no plots of figures, which take a while."""
    monkeypatch.setattr(page, "figures", lambda *_: [])
    recipe = copied(prepared, tmp_path / "copy")
    report.main(recipe)
    return recipe


def enrol(ledger: Ledger, code: str, purposes: Sequence[Purpose], **facts: Any) -> None:
    event = {"speaker": code, "purposes": list(purposes), "notice": "told", "controller": "an association"}
    event |= {"at": datetime.now(UTC) - timedelta(days=9)}
    ledger.enrol(Speaker(code=code, **facts), Event.model_validate(event))


def add(ledger: Ledger, code: str, text: str, sound: Any, dialect: str, language: str = "zgh-Tfng") -> None:
    name = hashlib.sha256(f"{code} {text}".encode()).hexdigest()
    row = {"id": name, "speaker": code, "transcript": text, "language": language, "dialect": dialect, "audio": ""}
    row |= {"rate_hz": 16_000, "duration_s": len(sound) / 16_000, "source": f"{code}/+212600000000.wav"}
    ledger.add(Clip.model_validate(row), np.clip(sound, -1, 1)[:, None])


def html(recipe: Recipe) -> str:
    return report.place(recipe).read_text(encoding="utf-8")


def test_the_page_says_who_lost_what(made: Recipe) -> None:
    text = html(made)
    assert "19 recordings came that may be used for asr_train" in text and "12 stayed (63 %)" in text
    assert "Not looked at: 1 recording, no consent for this." in text
    assert '<th scope="row">noisy</th>' in text and "prepare.min_snr_db" in text and "تاريفيت" in text
    assert "it takes 100 % of gender male (6 of 6) and 0 % of the others (0 of 13)" in text
    assert text.count("<audio") == text.count("data:audio/flac;base64,") > 5


def test_it_names_nobody_and_asks_nothing_of_the_network(made: Recipe) -> None:
    text = re.sub(r"base64,[\w+/=]+", "", html(made))
    for secret in (*PEOPLE, "refuses", "+2126", PHONE, "Figuig", str(made.work_dir)):
        assert secret not in text, secret
    assert export.pseudonym("fatima0", export.read_salt(made)) in text
    assert "default-src 'none'" in text and "<script" not in text
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert addresses <= {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}  # names, not places
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)


def test_facts_need_their_own_consent(made: Recipe) -> None:
    shown = set(re.findall(r"<bdi>(.*?)</bdi>", html(made)))
    assert shown == {"zgh-Tfng", "ary-Arab", "female", "male", "Souss", "تاريفيت", NOT_GIVEN}


def test_only_its_owner_can_read_it_and_it_lies_with_its_dataset(made: Recipe) -> None:
    assert report.place(made).stat().st_mode & 0o777 == 0o600
    assert report.place(made).resolve().parent == dataset.dataset_folder(made).resolve()
    assert "Private." in html(made) and "do not send it on" in html(made)


def test_twice_is_once(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    before, text = report.place(recipe).stat().st_mtime_ns, html(recipe)
    capsys.readouterr()
    report.main(recipe)
    said = capsys.readouterr().out
    assert "The most unequal filter is “noisy”" in said and str(report.place(recipe)) in said
    assert (report.place(recipe).stat().st_mtime_ns, html(recipe)) == (before, text)
    assert dataset.verify(recipe) == []


@pytest.mark.parametrize("who", ["fatima0", "brahim1"])  # one whose recordings stayed; one whose were left out
def test_a_withdrawal_removes_it_at_once(recipe: Recipe, who: str) -> None:
    with open_ledger(recipe) as ledger:
        withdraw.withdraw(ledger, who)
        tasks = {task.kind: task.state for task in ledger.tasks()}
    assert not report.place(recipe).exists() and tasks["prepare_report"] == "done"
    if who == "fatima0":
        with pytest.raises(UserError, match="made from recordings that were withdrawn"):
            report.main(recipe)
    prepare_script.main(recipe)
    report.main(recipe)
    assert f"{17 if who == 'brahim1' else 16} recordings came" in html(recipe)


def test_without_consent_it_refuses(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = Ledger.permit
    monkeypatch.setattr(
        Ledger, "permit", lambda self, clip, *w: clip.speaker != "fatima1" and allowed(self, clip, *w)
    )
    with pytest.raises(UserError, match=r"2 clips of the dataset, the first \w{12}, have no consent for asr_train"):
        report.main(recipe)


def test_what_was_left_out_is_heard_through_the_gate_only(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = set[str]()

    def refuse(self: Ledger, clip: Clip, purpose: Purpose) -> Any:
        asked.add(clip.speaker)
        raise Refused("ended meanwhile")

    monkeypatch.setattr(Ledger, "audio", refuse)
    report.main(recipe)
    assert asked and asked <= {"brahim0", "brahim1", "brahim2"}  # personal data is not even asked for
    assert "its audio cannot be read" in html(recipe)


def test_sound_that_has_no_room_is_counted(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(players, "_ROOM_MIB", 0.04)
    report.main(recipe)
    assert 0 < html(recipe).count("<audio") < 5 and "had no room in this page" in html(recipe)


def test_without_a_dataset_or_a_ledger_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "atlas.yaml").write_text(RECIPE, encoding="utf-8")
    recipe = load(tmp_path / "atlas.yaml")
    with pytest.raises(UserError, match="no ledger here"):
        report.main(recipe)
    with open_ledger(recipe), pytest.raises(UserError, match="no dataset yet; run: python -m prepare RECIPE"):
        report.main(recipe)


@pytest.fixture
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    arguments += ["--autoplay-policy=no-user-gesture-required"]
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        yield opened
        opened.close()


PLAY = """async () => {
  const heard = []
  for (const player of document.querySelectorAll('audio')) {
    const moved = new Promise((done, failed) => { player.ontimeupdate = () => player.currentTime > 0 && done()
                                                   player.onerror = () => failed(player.error.message) })
    await player.play(); await moved; player.pause(); heard.push(player.duration)
  }
  return heard
}"""


@needs("chromium")
def test_players_play_on_a_phone_and_nothing_else_is_loaded(made: Recipe, browser: Any) -> None:
    faults, asked = [], []
    phone = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    phone.on("console", lambda message: faults.append(message.text))
    phone.on("pageerror", lambda error: faults.append(str(error)))
    phone.on("request", lambda request: asked.append(request.url.partition(":")[0]))
    phone.goto(report.place(made).as_uri())
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    durations = phone.evaluate(PLAY)
    assert durations and all(0.5 < duration < 3 for duration in durations)
    assert set(asked) <= {"file", "data"} and not faults
    assert phone.get_attribute("li .text", "dir") == "auto"
