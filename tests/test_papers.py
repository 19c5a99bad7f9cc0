"""`python -m evaluate.papers` as a commune's data officer meets it: what is known, from where; and what is blank."""

import argparse
import json
import re
from pathlib import Path

import pytest

from evaluate import audit, package
from evaluate.papers import __main__ as script
from evaluate.papers.facts import MADE_BY, Fact, gather
from evaluate.papers.paper import NAMES, Paper
from recipes.provenance import mark_withdrawn
from recipes.schema import Recipe, UserError, load
from tests import published
from tests.conftest import needs
from train.adapter import adapter_folder, dataset_folder, dataset_hash, revocation


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """The papers of an adapter that was trained and evaluated; tests only read them."""
    recipe = published.ready(tmp_path_factory.mktemp("papers"))
    script.main(recipe, argparse.Namespace(language=None))
    return recipe, recipe.folder("evaluate") / "papers"


def text_of(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def flat(text: str) -> str:
    """Without line breaks, isolates and narrow spaces."""
    return re.sub(r"\s+", " ", re.sub("[\u2066-\u2069]", "", text))


# ---------------------------------------------------------------- facts


def test_five_papers_in_two_languages_as_markdown_and_for_print(written: tuple[Recipe, Path]) -> None:
    names = {f"{name}.{language}.{kind}" for name in NAMES for language in ("fr", "ar") for kind in ("md", "html")}
    assert {path.name for path in written[1].iterdir()} == names


@pytest.mark.parametrize("language", ["fr", "ar"])
def test_facts_are_those_of_the_artefacts_with_the_file_that_says_them(
    written: tuple[Recipe, Path], language: str
) -> None:
    recipe, folder = written
    card, register = (flat(text_of(folder, f"{name}.{language}.md")) for name in ("card", "register"))
    weights = revocation.weights_digest(adapter_folder(recipe))
    for fact in (weights, dataset_hash(recipe), "tiny-asr"):
        assert re.search(rf"{re.escape(fact)} \[\d+\]", card), fact
    number = re.search(rf"{weights} \[(\d+)\]", card)
    assert number and f"\\[{number[1]}\\] `train/adapter/lineage.json`" in card
    for fact in ("nobody", "CC-BY-4.0", "voices@example.org"):
        assert fact in register
    results = json.loads((recipe.folder("evaluate") / "results.json").read_text(encoding="utf-8"))
    value = results["figures"]["CER"]["adapter"]["value"]
    assert f"{value:.3f}".replace(".", ",") in card


@pytest.mark.parametrize("language", ["fr", "ar"])
def test_fewer_than_five_people_are_no_number_and_no_group(written: tuple[Recipe, Path], language: str) -> None:
    text = flat(text_of(written[1], f"datasheet.{language}.md"))
    assert {"fr": "| Personnes | moins de 5 [", "ar": "| الأشخاص | أقل من 5 ["}[language] in text
    assert {"fr": "Genre, parler", "ar": "الجنس واللهجة"}[language] not in text
    everything = "".join(path.read_text(encoding="utf-8") for path in written[1].iterdir())
    assert "amina" not in everything and "brahim" not in everything and str(written[0].work_dir) not in everything


@pytest.mark.parametrize("language", ["fr", "ar"])
@pytest.mark.parametrize("name", NAMES)
def test_every_blank_is_listed_at_the_top_and_stands_where_it_belongs(
    written: tuple[Recipe, Path], name: str, language: str
) -> None:
    text = text_of(written[1], f"{name}.{language}.md")
    top = text.split("\n## ")[1]
    listed = re.findall(r"^(\d+)\. (.+)$", top, re.MULTILINE)
    placed = re.findall(r"⟦(?:à compléter|يُستكمل) (\d+)\s?: ([^⟧]+)⟧", text)
    assert listed and listed == placed
    assert "n'est pas un avis juridique" in text or "ليست استشارة قانونية" in text


def test_the_same_artefacts_give_the_same_papers(written: tuple[Recipe, Path]) -> None:
    before = {path.name: path.read_bytes() for path in written[1].iterdir()}
    script.main(written[0], argparse.Namespace(language=None))
    assert before == {path.name: path.read_bytes() for path in written[1].iterdir()}


def test_before_anything_is_made_every_fact_names_the_command_that_makes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "RESULT", tmp_path / "none.json")
    (tmp_path / "recipe.yaml").write_text(
        "name: early\nwork_dir: w\ncollect: {source: s}\nprepare: {purpose: tts_clone}\n"
        "train: {family: speecht5, base: microsoft/speecht5_tts}\n",
        encoding="utf-8",
    )
    recipe = load(tmp_path / "recipe.yaml")
    assert {key.partition(".")[0] for key in gather(recipe)} == {"recipe"}
    script.main(recipe, argparse.Namespace(language="fr"))
    assert "not made yet: python -m prepare, python -m train" in capsys.readouterr().out
    folder = recipe.folder("evaluate") / "papers"
    assert not list(folder.glob("*.ar.*")) and 'hreflang="ar"' not in text_of(folder, "card.fr.html")
    text = text_of(folder, "card.fr.md")
    assert "pas encore établi ; commande : python -m train".replace(" ;", "\u00a0;").replace(" :", "\u00a0:") in text
    assert "tts\\_clone" in text_of(folder, "dpia.fr.md")  # it speaks: whose voice matters


def test_papers_of_recordings_that_were_withdrawn_are_not_written(tmp_path: Path) -> None:
    from datetime import date

    recipe = published.ready(tmp_path)
    mark_withdrawn(dataset_folder(recipe), date(2026, 1, 1), 1)
    with pytest.raises(UserError, match="withdrawn"):
        script.main(recipe, argparse.Namespace(language=None))


# ---------------------------------------------------------------- what is written stays text


def test_what_an_artefact_holds_is_text_and_never_markup() -> None:
    evil = "<script>alert(1)</script> [a](http://x) **b** | c\n# d"
    facts = {key: Fact(evil, "x`y.yaml") for key in ("recipe.name", "adapter.created", "recipe.controller")}
    paper = Paper(facts, "fr", "register")
    page = paper.html(paper.markdown(), NAMES)
    assert "<script" not in page.lower() and 'href="http' not in page and "<strong>b" not in page
    assert "alert(1)" in page  # it is shown as what it is
    assert len(re.findall("<h1>", page)) == 1


def test_groups_numbers_and_languages_are_said_in_words() -> None:
    rows = [("female, Sous", 7, 1.5), ("several groups", 5, 0.25)]
    facts = {
        "dataset.groups": Fact(rows, "prepare/dataset"),
        "dataset.languages": Fact([("zgh-Tfng", 12.5)], "prepare/dataset"),
        "dataset.splits": Fact([("train", 1200)], "prepare/dataset"),
    }
    french, arabic = (flat(Paper(facts, one, "datasheet").markdown()) for one in ("fr", "ar"))  # type: ignore[arg-type]
    assert "femmes, Sous | 7 | 1,50" in french and "plusieurs petits groupes réunis | 5 | 0,25" in french
    assert "amazighe standard marocain (tifinaghe) | 12,50" in french and "entraînement | 1 200" in french
    assert "نساء، Sous | 7" in arabic and "الأمازيغية المعيارية المغربية (بتيفيناغ)" in arabic


def test_every_group_of_facts_says_what_makes_it(written: tuple[Recipe, Path]) -> None:
    assert {key.partition(".")[0] for key in gather(written[0])} <= set(MADE_BY)


@needs("chromium")
def test_arabic_runs_from_the_right_and_nothing_is_wider_than_a_phone(written: tuple[Recipe, Path]) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 360, "height": 740})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in NAMES:
            page.goto((written[1] / f"{name}.ar.html").as_uri())
            assert page.evaluate("getComputedStyle(document.body).direction") == "rtl"
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            page.goto((written[1] / f"{name}.fr.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert all(url.startswith("file:") or url.startswith("data:") for url in asked)
        browser.close()


# ---------------------------------------------------------------- the audit


def answer(*vulns: dict[str, object]) -> dict[str, object]:
    return {"dependencies": [{"name": "jinja2", "version": "2.4.1", "vulns": list(vulns)}], "fixes": []}


FOUND: dict[str, object] = {"id": "PYSEC-2014-8", "aliases": ["CVE-2014-1402"], "fix_versions": ["2.7.2"]}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An audit of its own folder, with nothing explained."""
    for name in ("LOCK", "EXPLAINED", "RESULT"):
        monkeypatch.setattr(audit, name, tmp_path / name.lower())
    monkeypatch.setattr(audit, "ROOT", tmp_path)
    (tmp_path / "lock").write_text("jinja2==2.4.1\n")
    (tmp_path / "explained").write_text("[]")
    return tmp_path


def test_a_finding_is_open_until_it_is_explained(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "run", lambda: answer(FOUND))
    assert audit.main() == 1
    assert "jinja2 2.4.1 PYSEC-2014-8: OPEN, fixed in 2.7.2" in capsys.readouterr().out
    (place / "explained").write_text("- {package: jinja2, id: CVE-2014-1402, why: no template of others is read}")
    assert audit.main() == 0
    assert "1 known vulnerabilities, 0 open" in capsys.readouterr().out
    known = audit.read()
    assert known and known.findings[0].why == "no template of others is read" and not known.open
    (place / "lock").write_text("jinja2==3.1.6\n")
    assert audit.read() is None  # of other packages than those that are pinned now


def test_packages_that_could_not_be_asked_about_are_no_clean_audit(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped = {
        "name": "torch",
        "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.13.0)",
    }
    monkeypatch.setattr(audit, "run", lambda: {"dependencies": [skipped]})
    with pytest.raises(UserError, match="not audited: 1 of 1 packages could not be asked about"):
        audit.main()
    assert not (place / "result").exists()


@pytest.mark.parametrize(
    ("tool", "told"),
    [
        ("#!/bin/sh\necho 'ERROR: Could not connect to the vulnerability feed' >&2\nexit 1\n", "Could not connect"),
        (None, "it is not installed; run: make audit"),
    ],
)
def test_without_an_answer_nothing_was_audited_and_one_line_says_why(
    place: Path, monkeypatch: pytest.MonkeyPatch, tool: str | None, told: str
) -> None:
    monkeypatch.setattr(audit, "_TOOL", place / "pip-audit")
    if tool:
        (place / "pip-audit").write_text(tool)
        (place / "pip-audit").chmod(0o755)
    with pytest.raises(UserError, match=f"nothing was audited: pip-audit gave no answer: .*{told}"):
        audit.main()


def test_an_explanation_without_a_reason_is_refused(place: Path) -> None:
    (place / "explained").write_text("- {package: jinja2, id: CVE-2014-1402, why: ' '}")
    with pytest.raises(UserError, match="every row has a package, an id and a why"):
        audit.audit(answer(FOUND))


def test_what_the_project_explains_is_whole() -> None:
    assert all(why for why in audit.explained(Path(__file__).parents[1] / ".ci" / "audit.yaml").values())


def test_the_audit_and_the_package_stand_in_the_statement_on_security(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "run", lambda: answer(FOUND))
    (place / "explained").write_text("- {package: jinja2, id: CVE-2014-1402, why: no template of others is read}")
    audit.main()
    (tmp_path / "r").mkdir()
    recipe = published.ready(tmp_path / "r")
    bill = {"metadata": {"component": {"licenses": [{"license": {"id": "CC-BY-4.0"}}]}}}
    folder = package.folder_of(recipe)
    folder.mkdir(parents=True)
    (folder / "sbom.cdx.json").write_text(json.dumps(bill | {"components": [{"type": "library"}, {"type": "data"}]}))
    text = flat(Paper(gather(recipe), "fr", "security").markdown())
    assert "no template of others is read" in text and "CVE-2014-1402" not in text  # by the id that PyPI gives
    assert "composants : 2 [" in text and "bibliothèques : 1 [" in text
    assert "non expliquées 0 [" in text and "| Paquet signé (OpenSSF Model Signing, ECDSA P-256) | non [" in text
