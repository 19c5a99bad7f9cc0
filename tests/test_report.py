"""The report: what it says in three languages, that it is true to its figures, and that it reads from the right."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from evaluate import bias, feedback, results, stimuli
from evaluate.findings import analyse
from evaluate.gates import gates, tell
from evaluate.objective import Measured
from evaluate.ratings import Ratings
from evaluate.report import contents as contents_module
from evaluate.report import page, players, stated, tables
from evaluate.report.__main__ import main as report_main
from evaluate.report.contents import Contents, rating_of
from evaluate.report.heard import Heard
from evaluate.report.lead import lead
from evaluate.report.words import Words
from evaluate.results import Results
from evaluate.statistics import Figure
from evaluate.systems import Item, Rendered
from recipes.records import Lineage
from recipes.schema import Gates, Recipe, load
from tests.conftest import ROOT, needs
from tests.panels import compared, rated

ELSEWHERE = "work_dir=nothing/was/made/here"
RECIPE = load(ROOT / "recipes" / "demo.yaml", [ELSEWHERE])
HEARS = load(ROOT / "recipes" / "nano_asr.yaml", [ELSEWHERE])
RATE = Figure(0.5, 0.4, 0.6, 30, 30)
BETTER = Figure(-0.3, -0.4, -0.2, 30, 30)
UNSURE = Figure(-0.1, -0.3, 0.1, 30, 30)
WORSE = Figure(0.3, 0.2, 0.4, 30, 30)
FEW = Figure(-0.3, None, None, 2, 2, "not enough data for an interval")
LINEAGE = Lineage(
    kind="report", recipe="r" * 8, code="c" * 8, versions={}, seed=1, created=datetime(2026, 1, 1, tzinfo=UTC)
)
NONE = Gates()
LANGUAGES: tuple[Any, ...] = ("en", "fr", "ar")


def found(
    *ratings: Ratings,
    recipe: Recipe = RECIPE,
    gap: Figure | None = None,
    asked: Gates = NONE,
    sealed: bool = False,
) -> Contents:
    """What there is to report, as from files."""
    figures = {"CER": {"base": RATE, "adapter": RATE, "recordings": RATE, "adapter - base": gap}} if gap else {}
    told = Heard("sealed", [], 12, 340) if sealed else Heard("open" if ratings else "none", [*ratings], 20, 400)
    tests = [analyse(one, 200) for one in ratings]
    gaps = [bias.of_ratings(one, {}, {}, 5, 1) for one in ratings]
    passed = gates(asked, rating_of(tests), None, gaps[0] if gaps else None)
    return Contents(
        recipe, Results(30, {"training had the same sentence": 2}, figures, []), LINEAGE, told, tests, gaps, passed
    )


def said(content: Contents, language: Any = "en") -> str:
    return " ".join(lead(content, Words(language)))


def bare(text: str) -> str:
    """Without what only keeps directions apart."""
    return re.sub("[\u2066\u2068\u2069]", "", text)


# ---------------------------------------------------------------- the first paragraph


def test_the_first_paragraph_says_who_is_better_by_how_much_how_sure_and_for_whom() -> None:
    content = found(rated(24, 20, (1.2, 0.0, 1.5), seed=2), gap=BETTER)
    first, second = lead(content, Words("en"))
    primary = content.tests[0].primary
    assert primary and primary.low
    by = f"{primary.value:.2f} points of a scale from 1 to 5 (95 % interval {primary.low:.2f} to {primary.high:.2f})"
    assert first.startswith(f"Listeners found the adapted system better than the base model: {by}. ")
    assert f"That is from {primary.n} answers by 24 listeners on 20 sentences." in first
    assert "No plan was fixed before the test" in first
    assert "No group was found to be surely worse off; the gap that stands out most is that of" in first
    assert second.startswith("The adapted system makes fewer errors than the base model: 30.0 wrong characters fewer")


@pytest.mark.parametrize("language", LANGUAGES)
def test_intervals_of_a_test_are_of_the_level_that_its_plan_asked_for(language: Any) -> None:
    content = found(replace(rated(24, 20, (1.2, 0.0, 1.5), seed=2), alpha=0.01), gap=BETTER)
    words = bare(said(content, language)).replace("\N{NO-BREAK SPACE}", " ")
    assert "99" in words.split("95")[0] and "95" in words  # of ratings; errors keep to 95 %
    shown = tables.listening(content.tests[0], Words(language))
    assert "99" in shown["interval"] and any("98" in note for note in shown["notes"])
    assert all("95" not in row[1] for row in shown["confirmed"])


@pytest.mark.parametrize(("alpha", "level"), [(0.05, "95"), (0.025, "97.5"), (0.001, "99.9"), (1e-9, "100")])
def test_levels_have_the_digits_that_they_need(alpha: float, level: str) -> None:
    assert Words("en").level(alpha) == level


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (BETTER, "The adapted system makes fewer errors than the base model: 30.0 wrong characters fewer of 100"),
        (WORSE, "The base model makes fewer errors than the adapted system: 30.0 wrong characters fewer of 100"),
        (UNSURE, "No difference in errors can be told between the adapted system and the base model"),
        (FEW, "how sure that is cannot be said (not enough data for an interval; 2 unseen sentences)"),
    ],
)
def test_errors_are_put_into_words_with_how_sure_they_are(gap: Figure, words: str) -> None:
    assert words in said(found(gap=gap))
    assert words in said(found(gap=gap, recipe=HEARS))


def test_what_is_not_known_is_said() -> None:
    nothing = said(found(gap=UNSURE))
    assert "Nobody has compared them by ear yet" in nothing
    assert "itself wrong on 50.0 (95 % interval 40.0 to 60.0) of 100 characters of human recordings" in nothing
    assert "there are no two groups of 5 people or more" in nothing
    assert "ear" not in said(found(gap=UNSURE, recipe=HEARS)).split()  # there is nothing to listen to


def test_a_sealed_test_is_told_by_its_counts_alone() -> None:
    words = said(found(sealed=True))
    assert "still sealed: 340 answers of 12 listeners are in" in words and "better" not in words
    assert found(sealed=True).json()["listening"]["tests"] == []


def test_equal_systems_are_not_called_alike_for_want_of_data() -> None:
    words = said(found(rated(12, 9, (0.0, 0.0, 1.0), seed=3)))
    assert "cannot be told" in words and "That is not to say that they are alike: a difference below" in words


def test_a_preference_is_said_of_a_hundred() -> None:
    content = found(replace(compared(24, 20, (1.2, 0.0, 1.2)), plan_hash="ab" * 32))
    primary = content.tests[0].primary
    assert primary and primary.winner == "adapter"
    assert f"of 100 comparisons it won {100 * primary.value:.0f} more than it lost" in said(content)
    assert "What to compare was fixed before anyone listened." in said(content)


def test_limits_that_are_reached_missed_or_not_shown() -> None:
    panel = rated(24, 20, (1.2, 0.0, 1.5), seed=2)
    words = said(found(panel, asked=Gates(min_rating=1.5, max_gap=0.01)))
    assert "What the recipe asks for is shown: mean rating at least 1.50." in words
    assert "is not shown, for want of data: no group worse off in ratings by more than 0.01" in words
    assert "is not reached: mean rating at least 4.90" in said(found(panel, asked=Gates(min_rating=4.9)))


# ---------------------------------------------------------------- languages


def test_every_sentence_has_three_languages_and_the_same_gaps_in_each() -> None:
    table = yaml.safe_load((ROOT / "evaluate/report/strings.yaml").read_text(encoding="utf-8"))
    for key, row in table.items():
        assert isinstance(key, str)  # a bare `no` would be false
        assert {"fr", "ar"} <= set(row), key
        assert len({frozenset(re.findall(r"{(\w+)}", text)) for text in row.values()}) == 1, key


@pytest.mark.parametrize(
    ("language", "number", "span"),
    [
        ("en", "−1,234.50", "−0.50 to 1.00"),
        ("fr", "−1\u202f234,50", "de −0,50 à 1,00"),
        ("ar", "−1\u202f234,50", "من −0,50 إلى 1,00"),
    ],
)
def test_numbers_are_written_as_the_language_writes_them(language: Any, number: str, span: str) -> None:
    say = Words(language)
    assert bare(say.number(-1234.5)) == number and bare(say.span(-0.5, 1)) == span
    assert bare(say.number(-0.001)) in ("0.00", "0,00")  # no minus before nothing


def test_in_arabic_every_number_and_name_stands_by_itself() -> None:
    words = said(found(rated(24, 20, (1.2, 0.0, 1.5), seed=2), gap=BETTER), "ar")
    assert words.count("\u2066") == words.count("\u2069") > 10
    outside = re.sub("\u2066[^\u2069]*\u2069", "", words)
    assert not re.search(r"[−+]\d", outside) and "Rif" not in outside and "Sous" not in outside


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_holds_every_finding_and_asks_for_nothing(language: Any) -> None:
    content = found(rated(16, 12, seed=2), compared(16, 12), gap=BETTER, asked=Gates(min_rating=2))
    text = unescape(page.html(content, Words(language), [*LANGUAGES], [], 0))
    assert f'<html lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}">' in text
    assert not re.search(r"""(src|href)="(https?:)?//|@import|<script""", text)
    assert text.count("<svg") == 2 + 1  # both tests, and the error rate
    for heading in ("h_listening", "h_matrix", "h_differences", "h_bias", "h_figures", "h_facts", "h_gates"):
        assert Words(language)(heading) in text
    for one in content.tests[0].confirmations:
        assert Words(language)(f"method_{one.method}").split("(")[0] in text


@pytest.mark.parametrize("content", [found(gap=BETTER, recipe=HEARS), found(sealed=True), found()])
def test_a_page_without_ratings_has_no_section_of_them(content: Contents) -> None:
    text = unescape(page.html(content, Words("en"), ["en"], [], 0))
    say = Words("en")
    shown = re.findall("<h2>(.*)</h2>", text)
    assert shown == [say("h_figures"), say("h_sentences"), say("h_facts")] and 'class="links"' not in text


def test_no_figure_is_shown_without_its_uncertainty() -> None:
    say = Words("en")
    assert tables.cells(None, say) == ("", "nothing to measure", "0")
    assert tables.cells(BETTER, say) == ("−0.300", "−0.400 to −0.200", "30")
    assert tables.cells(FEW, say) == ("−0.300", "not enough data for an interval", "2")


def test_how_few_people_said_something_of_themselves_is_not_told() -> None:
    content = found(rated(9, 6))
    shown = " ".join(line for _, lines in tables.done(content, Words("en")) for line in lines)
    assert "female (number not shown) · male fewer than 5" in shown and "18-29 fewer than 5" in shown
    (test,) = content.json()["listening"]["tests"]
    assert test["facts"]["gender"] == {"female": None, "male": None}  # 5 of 9 would say that the others are 4
    assert set(test["checks"].get("tones", {}).values()) <= {9, None}


def test_whom_few_people_are_is_not_in_the_json_of_gaps() -> None:
    """Eight women and one man: of the man nothing, and of the women nothing that leaves the man."""
    ratings = rated(9, 6, everything=True)
    people = [replace(one, facts={"gender": "male" if n == 0 else "female"}) for n, one in enumerate(ratings.people)]
    content = found(replace(ratings, people=people))
    (gaps,) = content.json()["bias"]
    assert gaps["gaps"] == [] and gaps["worst"] == {}
    assert {(row["factor"], row["groups"]) for row in gaps["hidden"]} == {("gender", 2)}
    assert "female" not in json.dumps(gaps) and "male" not in json.dumps(gaps)
    (factor,) = tables.bias(content.bias[0], Words("en"))["factors"].values()
    assert factor["rows"] == [] and bare(factor["hidden"]).endswith("fewer than 5 people: 2")


# ---------------------------------------------------------------- what no figure tells


def stated_rows(language: Any = "en", days: tuple[str, str] | None = None, **said: Any) -> dict[str, list[str]]:
    """What the report says of who was asked and how, by row."""
    report = RECIPE.evaluate.report.model_copy(update=said)
    recipe = RECIPE.model_copy(update={"evaluate": RECIPE.evaluate.model_copy(update={"report": report})})
    content = found(rated(12, 6), recipe=recipe)
    content = replace(content, heard=replace(content.heard, days=days))
    return {name: [bare(line) for line in lines] for name, lines in tables.done(content, Words(language))}


def test_what_nobody_stated_is_not_stated() -> None:
    rows = stated_rows()
    for name in (
        "how listeners were found",
        "what they were given",
        "where and how they listened",
        "days of the test",
    ):
        assert rows[name] == ["not stated"]
    assert stated_rows("ar")["كيف وُجد المستمعون"] == ["غير مذكور"]


def test_what_the_recipe_states_is_said_in_the_language_of_the_page_where_it_is_given() -> None:
    asked = {"fr": "Par affiches à la faculté d'Agadir.", "ar": "عن طريق ملصقات في كلية أكادير."}
    assert stated_rows("fr", recruitment=asked)["comment les auditeurs ont été trouvés"] == [asked["fr"]]
    assert stated_rows("ar", recruitment=asked)["كيف وُجد المستمعون"] == [asked["ar"]]
    assert stated_rows("en", recruitment=asked)["how listeners were found"] == [asked["fr"]]
    assert stated_rows("ar", pay="50 MAD")["ما قُدِّم لهم"] == ["50 MAD"]


def test_what_the_pages_asked_is_given_word_for_word_in_each_of_their_languages() -> None:
    told = dict(stated.pages(RECIPE))
    assert [*told] == ["الدارجة", "ⵜⴰⵎⴰⵣⵉⵖⵜ", "Tamaziɣt", "Français", "English"]
    english = told["English"]
    assert "20 minutes at most" in english[0] and "Which one do you prefer?" in english
    assert english[-1] == "Clip A / Clip B / No difference"
    shown = page.html(found(rated(12, 6)), Words("ar"), ["ar"], [], 0)
    assert '<dd dir="auto">Which one do you prefer?</dd>' in shown and "شكون فيهم عجبك كتر؟" in shown


def test_devices_and_days_of_the_test_are_told_and_few_people_are_not() -> None:
    devices = {f"l{n:04}": "earphones" if n < 6 else "phone" for n in range(7)}
    ratings = rated(12, 6)
    people = [replace(one, facts=one.facts | _device(devices.get(one.listener))) for one in ratings.people]
    content = found(replace(ratings, people=people))
    content = replace(content, heard=replace(content.heard, days=("2026-11-02", "2026-11-09")))
    rows = dict(tables.done(content, Words("en")))
    assert rows["what they listened with"] == [
        "earphones 6 · the phone's loudspeaker fewer than 5 · not stated (number not shown)"
    ]
    assert rows["days of the test"] == ["answers came from 2026-11-02 to 2026-11-09"]
    assert content.json()["listening"]["stated"]["days"] == ("2026-11-02", "2026-11-09")


def _device(name: str | None) -> dict[str, str]:
    return {"device": name} if name else {}


# ---------------------------------------------------------------- files


def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *ratings: Ratings, **changes: Any) -> Recipe:
    """A recipe whose work folder holds results, and whose listeners answered so."""
    settings = RECIPE.evaluate.model_copy(update={"resamples": 200, **changes})
    recipe = RECIPE.model_copy(update={"work_dir": tmp_path, "evaluate": settings})
    spoken = [
        Rendered(system, Item(f"text {n}", "zgh-Tfng", "s1"), np.zeros(1600, np.float32) + 0.01, 16_000)
        for n in range(3)
        for system in ("base", "adapter")  # type: ignore[arg-type]
    ]
    stimuli.make(recipe, spoken)
    rows = [
        Measured(one.system, one.item.id, "s1", one.item.text, "x", 1, 10, 1, 2, 0.1, 1, 2)  # type: ignore[arg-type]
        for one in spoken
    ]
    results.write(recipe, Results(3, {}, {"CER": {"base": RATE, "adapter": RATE, "adapter - base": BETTER}}, rows))
    monkeypatch.setattr(
        contents_module, "heard", lambda recipe: Heard("open" if ratings else "none", [*ratings], 24, 480)
    )
    return recipe


def test_the_report_of_a_panel_holds_its_true_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One point on a scale without ends, between systems that 24 simulated people heard."""
    recipe = evaluated(tmp_path, monkeypatch, rated(24, 20, (1.0, 0.0, 1.5), seed=2, rounded=False))
    path = page.write(recipe)
    data = json.loads((path.parent / "report.json").read_text(encoding="utf-8"))
    (test,) = data["listening"]["tests"]
    assert test["primary"]["low"] < 1.0 < test["primary"]["high"]
    assert "Listeners found the adapted system better" in data["lead"]["en"][0]
    assert {"recipe", "lineage", "results", "bias", "gates"} <= set(data)


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        ({}, 0, []),
        ({"min_rating": 1.5}, 0, ["evaluate.gates.min_rating 1.5: passed; found 3."]),
        (
            {"min_rating": 4.9, "max_cer": 0.9},
            1,
            ["evaluate.gates.min_rating 4.9: failed; found 3.", "evaluate.gates.max_cer 0.9: passed; found 0."],
        ),
        ({"max_gap": 0.2}, 0, ["evaluate.gates.max_gap, rating 0.2: not shown; found 0.111 ("]),
    ],
)
def test_a_gate_that_failed_ends_the_command_with_1_once_the_report_is_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: dict[str, float],
    code: int,
    said: list[str],
) -> None:
    alone = RECIPE.evaluate.report.model_copy(update={"languages": ["en"]})
    recipe = evaluated(tmp_path, monkeypatch, rated(12, 9, (0.5, 0.0, 1.0)), gates=Gates(**asked), report=alone)  # type: ignore[arg-type]
    assert report_main(recipe) == code
    assert (recipe.folder("evaluate") / "report.html").is_file()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("evaluate.gates")]
    assert len(lines) == len(said) and all(line.startswith(start) for line, start in zip(lines, said, strict=True))


def test_a_group_that_is_worse_off_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    about = {"kind": "speaker", "factor": "dialect", "group": "souss"}
    row = {"key": "max_gap, CER", "asked": 0.05, "found": 0.12, "low": 0.08, "high": 0.16, "about": about}
    assert tell([row | {"verdict": "failed"}]) == 1
    assert capsys.readouterr().out == (
        "evaluate.gates.max_gap, CER 0.05: failed; found 0.12 (0.08 to 0.16), speaker dialect: souss\n"
    )


def test_a_page_a_language_and_the_same_bytes_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = evaluated(tmp_path, monkeypatch, rated(12, 9))
    path = page.write(recipe)
    pages = {file.name: file.read_bytes() for file in path.parent.glob("report*")}
    assert set(pages) == {"report.html", "report.fr.html", "report.ar.html", "report.json"}
    page.write(recipe)
    assert {name: (path.parent / name).read_bytes() for name in pages} == pages
    only = evaluated(tmp_path, monkeypatch, report=RECIPE.evaluate.report.model_copy(update={"languages": ["ar"]}))
    assert 'dir="rtl"' in page.write(only).read_text(encoding="utf-8")
    assert {file.name for file in path.parent.glob("report*")} == {"report.html", "report.json"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_users_said_is_told_by_weights_and_is_called_no_blind_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: Any
) -> None:
    recipe = evaluated(tmp_path, monkeypatch)
    say = Words(language)
    without = page.html(contents_module.contents(recipe), say, [language], [], 0)
    assert say("h_users") not in unescape(without)
    about = {"kind": "speech", "model": "adapter", "comment": "<b>mine</b>"}
    for request, weights, rating in [("a", "1" * 64, "good"), ("b", "1" * 64, "bad"), ("c", "2" * 64, "good")]:
        feedback.add(recipe, request=request, weights=weights, rating=rating, **about)
    content = contents_module.contents(recipe)
    text = unescape(page.html(content, say, [language], [], 0))
    assert say("h_users") in text and say("users_note") in text
    assert "1" * 12 in text and "2" * 12 in text and "mine" not in text  # words are not passed on
    kept = content.json()["users"]
    assert kept["blind"] is False
    assert [(one["weights"], one["good"], one["bad"]) for one in kept["answers"]] == [
        ("1" * 64, 1, 1),
        ("2" * 64, 1, 0),
    ]


def test_clips_that_have_no_room_in_the_page_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = evaluated(tmp_path, monkeypatch)
    rows, silent = players.players(recipe, results.read(recipe))
    assert silent == 0 and all(one["sound"] for row in rows for one in row["systems"])
    monkeypatch.setattr(players, "_PLAYERS_MIB", 1e-6)
    rows, silent = players.players(recipe, results.read(recipe))
    assert silent == 5 and [bool(row["systems"][0]["sound"]) for row in rows] == [True, False, False]
    assert [row["text"] for row in rows] == ["text 0", "text 1", "text 2"]  # the words are there all the same


def test_clips_of_a_report_can_be_read_by_every_browser() -> None:
    tone = np.sin(np.arange(16_000) / 20).astype(np.float32) * 0.3
    assert players._compressed(stimuli.wav(tone, 16_000))[:2] in (b"\xff\xf3", b"\xff\xfb", b"ID")


@needs("chromium")
def test_in_a_browser_arabic_ranges_keep_their_order_and_nothing_overflows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By where the letters are drawn: a minus stands left of its number, and a range begins at the right."""
    from playwright.sync_api import sync_playwright

    recipe = evaluated(tmp_path, monkeypatch, rated(16, 12, (0.0, 1.0, 1.5)), compared(16, 12))
    page.write(recipe)
    where = """() => {
      const found = [];
      const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      const at = (node, place) => {
        const r = document.createRange(); r.setStart(node, place); r.setEnd(node, place + 1);
        return r.getBoundingClientRect();
      };
      while (walk.nextNode()) {
        const text = walk.currentNode.data;
        for (const hit of text.matchAll(/\\u2212\\d/g)) {
          const minus = at(walk.currentNode, hit.index), digit = at(walk.currentNode, hit.index + 1);
          if (minus.width && minus.top === digit.top) found.push(["minus", minus.left < digit.left]);
        }
        const range = text.match(/من [^\\d]*(\\d)[^إ]*إلى [^\\d]*(\\d)/);
        if (range) {
          const low = at(walk.currentNode, text.indexOf(range[1], range.index));
          const high = at(walk.currentNode, text.lastIndexOf(range[2]));
          if (low.width && low.top === high.top) found.push(["range", low.left > high.left]);
        }
      }
      return found;
    }"""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for width in (1100, 390):
            window = browser.new_page(viewport={"width": width, "height": 900})
            asked: list[str] = []
            window.on("request", lambda request, asked=asked: asked.append(request.url))
            for name in ("report.html", "report.ar.html"):
                window.goto((tmp_path / "evaluate" / name).as_uri())
                wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                assert window.evaluate(wider) == 0
            drawn = window.evaluate(where)
            assert {kind for kind, _ in drawn} == {"minus", "range"} and all(right for _, right in drawn)
            assert {url.split(":")[0] for url in asked} <= {"file", "data"}
        browser.close()
