"""Label Studio: what goes out, what comes back, what is withdrawn; who agrees; and who may hear."""

import argparse
import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

import collect.label.__main__ as label
from collect import ingest
from collect import withdraw as withdraw_script
from collect.label import agreement, audio, drafts, server, studio, task
from collect.label.agreement import verdict
from collect.ledger import Ledger, open_ledger
from collect.withdraw import withdraw
from prepare.__main__ import choose
from prepare.manifest import Manifest
from recipes.records import LANGUAGES, Clip, Transcript
from recipes.schema import Recipe, UserError, load
from tests.babble import babble
from tests.conftest import ROOT
from tests.studio import Fake, fake, free_port, losing, results, served

pytestmark = pytest.mark.skipif(sys.version_info >= (3, 14), reason="label-studio-sdk does not run on Python 3.14")

RECIPE = """
name: corpus
work_dir: work
collect:
  source: recordings
  basis: {{purposes: [store_prepare, asr_train, profile_data], notice: v1, controller: nobody, given_on: 2026-01-01}}
  label: {{url: "{url}", secrets: {secrets}, annotators: {annotators}}}
prepare: {{purpose: asr_train}}
train: {{family: whisper, base: ./base}}
"""
ROWS = [
    ("amina", "ary-Arab", "صباح الخير", "Fes"),
    ("amina", "ary-Arab", "فين غادي", "Fes"),
    ("brahim", "zgh-Tfng", "ⴰⵣⵓⵍ ⴼⵍⵍⴰⵡⵏ", ""),
    ("brahim", "ary-Latn", "labas 3lik", ""),
]


def corpus(folder: Path, url: str = "http://127.0.0.1:1", annotators: int = 1) -> Recipe:
    """Four clips of two speakers, in the ledger."""
    (folder / "recordings").mkdir(exist_ok=True)
    table = ["file,text,speaker,language,dialect"]
    for number, (speaker, language, text, dialect) in enumerate(ROWS):
        soundfile.write(folder / "recordings" / f"{number}.wav", babble(1.0, pitch_hz=100 + 20 * number), 16_000)
        table.append(f"{number}.wav,{text},{speaker},{language},{dialect}")
    (folder / "recordings" / "metadata.csv").write_text("\n".join(table), encoding="utf-8")
    text = RECIPE.format(url=url, secrets=folder / "secrets", annotators=annotators)
    (folder / "corpus.yaml").write_text(text, encoding="utf-8")
    recipe = load(folder / "corpus.yaml")
    assert ingest.main(recipe) == 0
    return recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return corpus(tmp_path)


@pytest.fixture
def ledger(recipe: Recipe) -> Iterator[Ledger]:
    with open_ledger(recipe) as opened:
        yield opened


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Fake, str]]:
    """A stand-in for Label Studio, and its address. `test_label_studio.py` does the same with the real one."""
    with fake() as (state, url):
        monkeypatch.setenv(server.ENVIRONMENT, state.token)
        yield state, url


def run(recipe: Recipe, action: str) -> None:
    label.main(recipe, argparse.Namespace(action=action))


def changed(recipe: Recipe, **values: Any) -> Recipe:
    """The recipe with other settings of collect.label."""
    settings = recipe.collect.label.model_copy(update=values)
    return recipe.model_copy(update={"collect": recipe.collect.model_copy(update={"label": settings})})


def clips(recipe: Recipe) -> dict[str, Clip]:
    """The ledger's clips by the name of their file."""
    with open_ledger(recipe) as ledger:
        return {clip.source: clip for clip in ledger.clips()}


# ---------------------------------------------------------------- push


def test_push_makes_one_task_a_clip_however_often(tmp_path: Path, there: tuple[Fake, str]) -> None:
    state, url = there
    recipe = corpus(tmp_path, url)
    for _ in range(3):
        run(recipe, "push")
    assert state.clips() == sorted(clip.id for clip in clips(recipe).values())
    (project,) = state.projects.values()
    assert project["title"] == "corpus" and project["maximum_annotations"] == 1


def test_a_task_tells_neither_speaker_nor_file(tmp_path: Path, there: tuple[Fake, str]) -> None:
    state, url = there
    run(corpus(tmp_path, url), "push")
    sent = json.dumps([[row["data"], row["predictions"]] for row in state.tasks.values()], ensure_ascii=False)
    assert "amina" not in sent and "brahim" not in sent and ".wav" not in sent
    assert "صباح الخير" in sent and "Fes" in sent


def test_a_dialect_is_shown_only_where_the_speaker_allowed_facts_about_them(
    tmp_path: Path, there: tuple[Fake, str]
) -> None:
    state, url = there
    recipe = corpus(tmp_path, url)
    with open_ledger(recipe) as ledger:
        withdraw(ledger, "amina", ["profile_data"])
    run(recipe, "push")
    assert "Fes" not in json.dumps([row["predictions"] for row in state.tasks.values()])


@pytest.mark.parametrize("how", ["drop", "502"])
def test_a_lost_answer_makes_no_second_task(
    tmp_path: Path, there: tuple[Fake, str], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_PAUSE_S", 0)
    state, url = there
    recipe = corpus(tmp_path, url)
    with losing(url, "POST /api/projects/1/import", how) as (proxy, seen):
        run(changed(recipe, url=proxy), "push")
    assert state.clips() == sorted(clip.id for clip in clips(recipe).values())
    assert seen.count("POST /api/projects/1/import") == 1


def test_two_tasks_of_a_clip_become_one_and_it_is_the_one_with_work_in_it(
    tmp_path: Path, there: tuple[Fake, str]
) -> None:
    state, url = there
    recipe = corpus(tmp_path, url)
    run(recipe, "push")
    first = clips(recipe)["0.wav"].id
    state.take(1, [{"data": dict(state.task(first)["data"])}])
    (second,) = [row for row in state.tasks.values() if row["data"]["clip"] == first][1:]
    second["annotations"].append({"id": 99, "completed_by": 2, "result": [], "updated_at": second["updated_at"]})
    run(recipe, "push")
    assert [row["id"] for row in state.tasks.values() if row["data"]["clip"] == first] == [second["id"]]


def test_tasks_that_others_put_in_the_project_are_left_alone(
    tmp_path: Path, there: tuple[Fake, str], capsys: pytest.CaptureFixture[str]
) -> None:
    state, url = there
    recipe = corpus(tmp_path, url)
    run(recipe, "push")
    state.take(1, [{"data": {"audio": "by hand"}}, {"data": {"clip": "f" * 64, "audio": "of another ledger"}}])
    run(recipe, "push")
    assert len(state.tasks) == 6
    assert "1 tasks are of clips that this ledger does not know; they were left alone" in capsys.readouterr().out


def test_links_are_renewed_in_the_last_third_of_their_days(tmp_path: Path, there: tuple[Fake, str]) -> None:
    state, url = there
    recipe = corpus(tmp_path, url)
    run(changed(recipe, link_days=1), "push")
    before = [row["data"]["audio"] for row in state.tasks.values()]
    run(changed(recipe, link_days=2.5), "push")
    assert [row["data"]["audio"] for row in state.tasks.values()] == before
    run(changed(recipe, link_days=30), "push")
    assert not set(before) & {row["data"]["audio"] for row in state.tasks.values()}


# ---------------------------------------------------------------- pull


def test_a_transcript_comes_back_with_who_wrote_it_and_when(tmp_path: Path, there: tuple[Fake, str]) -> None:
    state, url = there
    recipe = corpus(tmp_path, url)
    run(recipe, "push")
    clip = clips(recipe)["0.wav"]
    state.annotate(clip.id, 7, text="صباح النور", language="ary-Arab", dialect="Rabat", quality="noisy", valid="yes")
    run(recipe, "pull")
    with open_ledger(recipe) as ledger:
        (row,) = ledger.transcripts(clip.id)
    assert (row.text, row.annotator, row.dialect, row.quality) == ("صباح النور", "ls:7", "Rabat", "noisy")
    assert abs(row.at - datetime.now(UTC)) < timedelta(minutes=1)
    after = clips(recipe)["0.wav"]
    assert (after.transcript, after.origin, after.dialect) == ("صباح النور", "validated", "Rabat")
    assert ingest.main(recipe) == 0  # the folder it came from does not take it back
    assert clips(recipe)["0.wav"] == after


def test_an_edit_changes_and_a_deletion_removes_what_the_ledger_holds(
    tmp_path: Path, there: tuple[Fake, str]
) -> None:
    state, url = there
    recipe = corpus(tmp_path, url, annotators=2)
    run(recipe, "push")
    first, second = clips(recipe)["0.wav"].id, clips(recipe)["2.wav"].id
    kept, left = state.annotate(first, text="sbah"), state.annotate(second, text="azul")
    run(recipe, "pull")
    state.edit(kept, text="sbah lkhir")
    state.take_back(left)
    run(recipe, "pull")
    with open_ledger(recipe) as ledger:
        assert [row.text for row in ledger.transcripts()] == ["sbah lkhir"]


def test_a_task_that_someone_deleted_is_made_anew_and_its_transcript_stays(
    tmp_path: Path, there: tuple[Fake, str]
) -> None:
    state, url = there
    recipe = corpus(tmp_path, url, annotators=2)
    run(recipe, "push")
    first = clips(recipe)["0.wav"].id
    state.annotate(first, text="sbah lkhir")
    run(recipe, "pull")
    state.tasks.pop(state.task(first)["id"])
    for action in ("pull", "push", "pull"):
        run(recipe, action)
    with open_ledger(recipe) as ledger:
        assert [row.text for row in ledger.transcripts(first)] == ["sbah lkhir"]
    assert first in state.clips()


def test_only_what_changed_is_read_again(
    tmp_path: Path, there: tuple[Fake, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collect.label.pull._OVERLAP", timedelta(0))
    state, url = there
    recipe = corpus(tmp_path, url)
    run(recipe, "push")
    run(recipe, "pull")
    state.annotate(clips(recipe)["2.wav"].id, text="azul", valid="yes")
    capsys.readouterr()
    for expected in ("1 tasks changed: 1 transcripts new", "0 tasks changed: 0 transcripts new"):
        run(recipe, "pull")
        assert expected in capsys.readouterr().out


def test_pulling_twice_or_from_the_beginning_again_changes_nothing(tmp_path: Path, there: tuple[Fake, str]) -> None:
    state, url = there
    recipe = corpus(tmp_path, url)
    run(recipe, "push")
    state.annotate(clips(recipe)["2.wav"].id, text="azul", valid="yes")
    seen = []
    for _ in range(3):
        run(recipe, "pull")
        with open_ledger(recipe) as ledger:
            seen.append((ledger.transcripts(), list(ledger.clips())))
        (recipe.folder("collect") / "label.json").unlink()
    assert seen[0] == seen[1] == seen[2]


def test_those_who_agree_validate_and_those_who_do_not_are_listed(
    tmp_path: Path, there: tuple[Fake, str], capsys: pytest.CaptureFixture[str]
) -> None:
    state, url = there
    recipe = corpus(tmp_path, url, annotators=2)
    run(recipe, "push")
    named = clips(recipe)
    for author, (text, language) in enumerate([("labas 3lik", "ary-Latn"), ("labas 3lik ", "ary-Latn")], start=2):
        state.annotate(named["3.wav"].id, author, text=text, language=language, valid="yes", quality="good")
    for author, text in enumerate(["فين غادي", "كيف داير دابا"], start=2):
        state.annotate(named["1.wav"].id, author, text=text, language="ary-Arab", valid="yes", quality="noisy")
    state.annotate(named["0.wav"].id, text="waiting for another", valid="yes")
    run(recipe, "pull")
    assert {name: clip.origin for name, clip in clips(recipe).items() if clip.origin != "prompt"} == {
        "3.wav": "validated"
    }
    capsys.readouterr()
    run(recipe, "status")
    out = capsys.readouterr().out
    for line in ("agreed          1 clips", "waiting         1 clips", "conflict        1 clips"):
        assert line in out
    assert f"conflict   clip {named['1.wav'].id[:12]}: the text (CER" in out and "/projects/1/data?task=" in out
    assert "n = 2 pairs of 2 clips" in out and "Krippendorff's α, quality  1.000 [1.000, 1.000]   n = 2 clips" in out


def test_a_clip_that_annotators_find_unusable_is_not_prepared(tmp_path: Path, there: tuple[Fake, str]) -> None:
    state, url = there
    recipe = corpus(tmp_path, url)
    run(recipe, "push")
    mark = state.annotate(clips(recipe)["1.wav"].id, text="", valid="no")
    run(recipe, "pull")
    with open_ledger(recipe) as ledger, Manifest() as manifest:
        choose(ledger, recipe, manifest)
        left_out = {row.source: row.reason for row in manifest.rejected("left out")}
    assert left_out == {"1.wav": "annotators marked it as unusable"}
    state.edit(mark, text="فين غادي", valid="yes")
    run(recipe, "pull")
    assert clips(recipe)["1.wav"].valid


# ---------------------------------------------------------------- withdrawal


def test_the_command_that_withdraws_deletes_from_label_studio_at_once(
    tmp_path: Path, there: tuple[Fake, str], capsys: pytest.CaptureFixture[str]
) -> None:
    state, url = there
    recipe = corpus(tmp_path, url)
    run(recipe, "push")
    down = changed(recipe, url="http://127.0.0.1:9")
    assert withdraw_script.main(down, Namespace(code="brahim", purpose=None)) == 0
    out, err = capsys.readouterr()
    assert "Label Studio, not done yet: " in err and "label_studio, by " in out and len(state.tasks) == 4
    assert withdraw_script.main(recipe, Namespace(code="status", purpose=None)) == 0
    assert "0 pending, 1 done" in capsys.readouterr().out and len(state.tasks) == 2


def test_a_withdrawn_voice_leaves_label_studio(
    tmp_path: Path, there: tuple[Fake, str], capsys: pytest.CaptureFixture[str]
) -> None:
    state, url = there
    recipe = corpus(tmp_path, url)
    run(recipe, "push")
    gone = [clip.id for clip in clips(recipe).values() if clip.speaker == "brahim"]
    state.annotate(gone[0], text="azul")
    exports = [tmp_path / "data/export/project-1-at-2026-01-01.json", tmp_path / "data/media/export/1/2.json"]
    other = tmp_path / "data/export/project-11-at-2026-01-01.json"
    for path in (*exports, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[]")
    with open_ledger(recipe) as ledger:
        (asked,) = withdraw(ledger, "brahim").tasks
    assert asked.kind == "label_studio" and asked.clips == 2
    run(recipe, "pull")
    with open_ledger(recipe) as ledger:
        assert ledger.transcripts() == []
    run(recipe, "status")
    assert "2 tasks to delete, 1 withdrawals open" in capsys.readouterr().out
    run(changed(recipe, data_dir=tmp_path / "data"), "push")
    assert not set(gone) & set(state.clips()) and len(state.tasks) == 2
    assert not any(path.exists() for path in exports) and other.exists()
    with open_ledger(recipe) as ledger:
        (done,) = ledger.tasks()
    assert done.state == "done" and "2 tasks deleted, none listed afterwards; 2 export files deleted" in str(
        done.proof
    )


def test_copies_for_a_team_on_one_machine_go_with_the_consent(tmp_path: Path, there: tuple[Fake, str]) -> None:
    state, url = there
    recipe = changed(corpus(tmp_path, url), audio="files", files_dir=tmp_path / "served")
    with pytest.raises(UserError, match=r"give collect\.label\.files_dir"):
        run(recipe, "push")
    (tmp_path / "served").mkdir()
    for _ in range(2):
        run(recipe, "push")
    folder = tmp_path / "served" / "project-1"
    named = clips(recipe)
    assert {path.stem for path in folder.glob("*.flac")} == {clip.id for clip in named.values()}
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    assert len(state.storages) == 1 and state.storages[0]["path"] == str(folder)
    with open_ledger(recipe) as ledger:
        withdraw(ledger, "brahim")
    run(recipe, "push")
    left = {named["0.wav"].id, named["1.wav"].id}
    assert {path.stem for path in folder.iterdir()} == left == set(state.clips())
    run(changed(recipe, audio="signed"), "push")
    assert not list(folder.iterdir())
    assert all(row["data"]["audio"].startswith("http://127.0.0.1:8770/audio/") for row in state.tasks.values())


def test_a_project_that_the_recipe_had_before_is_cleaned_too(tmp_path: Path, there: tuple[Fake, str]) -> None:
    state, url = there
    recipe = corpus(tmp_path, url)
    run(changed(recipe, project="first"), "push")
    run(changed(recipe, project="second"), "push")
    run(changed(recipe, project="third"), "push")
    state.projects.pop(6)
    state.tasks = {name: row for name, row in state.tasks.items() if row["project"] != 6}
    with open_ledger(recipe) as ledger:
        withdraw(ledger, "brahim")
    run(changed(recipe, project="third"), "push")
    assert len(state.tasks) == 4
    with open_ledger(recipe) as ledger:
        proofs = [str(row.proof) for row in ledger.tasks() if row.state == "done"]
    assert len(proofs) == 3 and sum("the project is no longer there" in proof for proof in proofs) == 1


def test_a_task_that_stays_is_an_error_and_the_withdrawal_stays_open(
    tmp_path: Path, there: tuple[Fake, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = corpus(tmp_path, there[1])
    run(recipe, "push")
    with open_ledger(recipe) as ledger:
        withdraw(ledger, "brahim")
    monkeypatch.setattr(server.Project, "delete", lambda self, tasks: None)
    with pytest.raises(UserError, match="of a withdrawn clip is still there; delete it by hand"):
        run(recipe, "push")
    with open_ledger(recipe) as ledger:
        assert [row.state for row in ledger.tasks()] == ["pending"]


# ---------------------------------------------------------------- faults


def test_faults_of_the_server_are_one_line_without_its_secrets(
    tmp_path: Path, there: tuple[Fake, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, url = there
    recipe = corpus(tmp_path, url)

    def fault(recipe: Recipe) -> str:
        with pytest.raises(UserError) as error:
            run(recipe, "push")
        assert error.value.__context__ is None or error.value.__suppress_context__
        text = str(error.value)
        assert "\n" not in text and "sessionid" not in text and state.token not in text
        return text

    with pytest.raises(UserError, match="has no project `corpus` yet; run"):
        run(recipe, "pull")
    nobody = f"http://127.0.0.1:{free_port()}"
    assert fault(changed(recipe, url=nobody)) == (
        f"Label Studio does not answer at {nobody}: start it (make label-studio), or mend collect.label.url"
    )
    with served(Elsewhere) as other:
        assert (
            fault(changed(recipe, url=other))
            == f"what answers at {other} is not Label Studio; mend collect.label.url"
        )
    for _ in range(2):
        state.project({"title": "twice"})
    assert "has 2 projects named `twice`" in fault(changed(recipe, project="twice"))
    monkeypatch.setenv(server.ENVIRONMENT, "f" * 40)
    assert "does not accept the token (401)" in fault(recipe)
    monkeypatch.setenv(server.ENVIRONMENT, "été")
    assert "holds letters that no token has" in fault(recipe)


class Elsewhere(BaseHTTPRequestHandler):
    """Some other web server."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")

    def log_message(self, *words: object) -> None:
        pass


def test_secrets_are_for_their_owner_and_their_own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(server.ENVIRONMENT, raising=False)
    made = studio.make_secrets(tmp_path, 8080)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o600
    assert studio.make_secrets(tmp_path, 8081).token == made.token
    assert made.token not in repr(made) and made.password not in repr(made)
    settings = corpus(tmp_path).collect.label
    with pytest.raises(UserError, match=r"no token for Label Studio at http://127\.0\.0\.1:1"):
        server.token(settings)
    assert server.token(settings.model_copy(update={"url": "http://127.0.0.1:8081/"})) == made.token


def test_a_busy_port_is_found_before_the_server_takes_the_next_one(tmp_path: Path) -> None:
    with fake() as (_, url):
        busy = studio.make_secrets(tmp_path, int(url.rpartition(":")[2]))
        with pytest.raises(studio.CannotStart, match=r"port \d+ is taken"):
            studio.start(tmp_path, busy, Path("/bin/true"))
    with pytest.raises(studio.CannotStart, match="run: make label-studio-install"):
        studio.start(tmp_path, studio.make_secrets(tmp_path, free_port()), tmp_path / "nothing")
    with pytest.raises(studio.CannotStart, match="ended with 0; its last words are in"):
        studio.start(tmp_path, studio.make_secrets(tmp_path, free_port()), Path("/bin/true"))


# ---------------------------------------------------------------- the form


def test_the_form_holds_drafts_of_every_language_and_no_other_answer() -> None:
    from label_studio_sdk.label_interface import LabelInterface

    form = LabelInterface(task.form(LANGUAGES, ["Fes", 'the "north" & <east>']))
    for language in LANGUAGES:
        prediction = task.prediction(a_clip(language), "ⴰⵣⵓⵍ", "prompt", 'the "north" & <east>')
        assert form.validate_prediction(prediction, return_errors=True) == []
    narrow = LabelInterface(task.form(["ary-Arab"], []))
    assert narrow.validate_prediction(task.prediction(a_clip("kab-Latn"), "x", "prompt", None), return_errors=True)


def test_an_empty_text_starts_at_the_right_where_letters_are_arabic() -> None:
    assert "direction: rtl" in task.form(["ary-Arab", "ary-Latn"], [])
    assert "direction: ltr" in task.form(["zgh-Tfng", "ary-Latn"], [])


def test_an_annotation_is_read_as_it_was_meant() -> None:
    said = {"text": "  de\u0301ja\n vu ", "language": "ary-Latn", "valid": "no", "quality": "cut"}
    annotation = {"id": 5, "completed_by": {"id": 3}, "result": results(said), "updated_at": "2026-01-02T03:04:05.6Z"}
    row = task.transcript("c", annotation, "ls:1@2026")
    assert row and (row.id, row.annotator, row.text) == ("ls:1@2026:5", "ls:3", "déja vu")
    assert not row.valid and row.quality == "cut" and row.at == datetime(2026, 1, 2, 3, 4, 5, 600_000, UTC)
    assert task.transcript("c", annotation | {"was_cancelled": True}, "ls:1@2026") is None


def a_clip(language: str = "ary-Latn", **facts: Any) -> Clip:
    values = {"id": "c", "speaker": "s", "language": language, "transcript": "t", "audio": "a", "source": "f"}
    return Clip.model_validate({**values, "rate_hz": 1, "duration_s": 1, **facts})


# ---------------------------------------------------------------- drafts


def test_a_table_gives_drafts_and_what_it_lacks_stays_empty(
    tmp_path: Path, there: tuple[Fake, str], capsys: pytest.CaptureFixture[str]
) -> None:
    state, url = there
    recipe = corpus(tmp_path, url)
    first = clips(recipe)["0.wav"].id
    (tmp_path / "drafts.csv").write_text(f"clip,text\n{first},as a recogniser heard it\n", encoding="utf-8")
    run(changed(recipe, drafts="table", table=tmp_path / "drafts.csv"), "push")
    assert "3 of the new ones have no draft" in capsys.readouterr().out
    assert [len(row["predictions"]) for row in state.tasks.values()].count(1) == 1
    with pytest.raises(UserError, match="has no columns clip and text; it has file, words"):
        (tmp_path / "drafts.csv").write_text("file,words\n", encoding="utf-8")
        run(changed(recipe, drafts="table", table=tmp_path / "drafts.csv"), "push")


def test_other_drafts_go_to_tasks_that_nobody_began(tmp_path: Path, there: tuple[Fake, str]) -> None:
    state, url = there
    recipe = corpus(tmp_path, url)
    run(recipe, "push")
    named = clips(recipe)
    state.annotate(named["0.wav"].id, text="begun")
    (tmp_path / "drafts.csv").write_text(f"clip,text\n{named['0.wav'].id},a\n{named['1.wav'].id},b\n", "utf-8")
    run(changed(recipe, drafts="table", table=tmp_path / "drafts.csv"), "push")
    assert [len(state.task(named[name].id)["predictions"]) for name in ("0.wav", "1.wav", "2.wav")] == [1, 2, 1]
    assert state.projects[1]["model_version"].startswith("table drafts.csv ")


def test_a_recogniser_writes_drafts(ledger: Ledger, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = changed(recipe, drafts="recogniser", recogniser=str(ROOT / "recipes" / "nano_asr")).collect.label
    source = drafts.source(settings, ledger)
    assert source.version.startswith("recogniser nano_asr ")
    heard = source.write(ledger.clips())
    assert set(heard) <= {clip.id for clip in ledger.clips()} and all(
        isinstance(text, str) for text in heard.values()
    )
    with pytest.raises(UserError, match=r"collect\.label\.recogniser \./nothing"):
        drafts.hear("./nothing", ledger, ledger.clips())


# ---------------------------------------------------------------- who may hear


@pytest.fixture
def listening(recipe: Recipe, ledger: Ledger) -> Iterator[TestClient]:
    with TestClient(audio.application(recipe.collect.label, ledger), base_url="http://127.0.0.1:8770") as client:
        yield client


def link(recipe: Recipe, ledger: Ledger, **settings: Any) -> tuple[Clip, str]:
    clip = next(ledger.clips("brahim"))
    return clip, audio.link(changed(recipe, **settings).collect.label, audio.signing_key(ledger.keys), clip.id)


def test_a_signed_link_plays_whole_and_in_parts(recipe: Recipe, ledger: Ledger, listening: TestClient) -> None:
    clip, url = link(recipe, ledger)
    whole = listening.get(url)
    assert whole.status_code == 200 and whole.content[:4] == b"fLaC" and whole.headers["content-type"] == "audio/flac"
    assert whole.content == ledger.flac(clip, "store_prepare")
    part = listening.get(url, headers={"range": "bytes=4-7"})
    assert part.status_code == 206 and part.content == whole.content[4:8]
    assert whole.headers["cache-control"] == "no-store"


def test_a_link_is_for_one_clip_and_for_its_time(recipe: Recipe, ledger: Ledger, listening: TestClient) -> None:
    clip, url = link(recipe, ledger)
    other = next(ledger.clips("amina"))
    later = url.replace("until=1", "until=2")
    for forged in (
        url.replace(clip.id, other.id),
        later,
        url[:-1],
        url.partition("?")[0],
        url + "é",
        url + "&until=x",
    ):
        assert forged != url and listening.get(forged).status_code == 403, forged
    past = int(time.time()) - 10
    sign = audio._sign(audio.signing_key(ledger.keys), clip.id, past)
    assert listening.get(f"/audio/{clip.id}.flac?until={past}&sign={sign}").status_code == 410


def test_a_withdrawn_clip_goes_dark_at_once(recipe: Recipe, ledger: Ledger, listening: TestClient) -> None:
    _, url = link(recipe, ledger)
    assert listening.get(url).status_code == 200
    with open_ledger(recipe) as elsewhere:
        withdraw(elsewhere, "brahim")
    answer = listening.get(url)
    assert answer.status_code == 410 and answer.text == "this recording was withdrawn\n"


def test_pages_of_label_studio_alone_may_read_the_audio(
    recipe: Recipe, ledger: Ledger, listening: TestClient
) -> None:
    _, url = link(recipe, ledger)
    ours = listening.get(url, headers={"origin": "http://127.0.0.1:1"})
    assert ours.headers["access-control-allow-origin"] == "http://127.0.0.1:1"
    for origin in ("http://evil.example", "null", "http://127.0.0.1:11"):
        assert "access-control-allow-origin" not in listening.get(url, headers={"origin": origin}).headers
    assert listening.options(url, headers={"origin": "http://127.0.0.1:1"}).status_code == 204
    assert listening.get(url, headers={"host": "evil.example"}).status_code == 400


# ---------------------------------------------------------------- agreement

# K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): sections A, B and C. `.` is a missing value.
PUBLISHED = [
    ("0100000010 1110010000", 0.095),
    ("aabbdcccedda babbbccceddd", 0.692),
    ("123321412... 1233224125.3 .3332342251. 12332441251.", 0.743),
]


@pytest.mark.parametrize(("observers", "expected"), PUBLISHED)
def test_alpha_of_the_published_examples(observers: str, expected: float) -> None:
    units = [[value for value in unit if value != "."] for unit in zip(*observers.split(), strict=True)]
    assert agreement.alpha(units) == pytest.approx(expected, abs=0.0005)


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=2, max_size=4), min_size=1, max_size=20))
def test_alpha_knows_no_names_and_no_order(units: list[list[str]]) -> None:
    renamed = [[{"a": 1, "b": 2, "c": 3}[value] for value in reversed(unit)] for unit in reversed(units)]
    assert agreement.alpha(renamed) == pytest.approx(agreement.alpha(units))
    assert agreement.alpha(units) <= 1
    assert agreement.alpha([[unit[0]] * len(unit) for unit in units]) == 1


@given(st.text("ابcd ", max_size=8), st.text("ابcd ", max_size=8))
def test_error_rate_between_texts_is_the_same_both_ways(one: str, other: str) -> None:
    assert agreement.cer(one, other) == agreement.cer(other, one) >= 0
    assert (agreement.cer(one, other) == 0) == (one == other)


def test_error_rate_of_known_texts() -> None:
    assert agreement.cer("salam", "slam") == pytest.approx(1 / 4.5)
    assert agreement.cer("", "ab") == 2 and agreement.cer("", "") == 0


def said(text: str, annotator: str = "ls:1", **facts: Any) -> Transcript:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Transcript.model_validate(
        {"id": f"p:{annotator}:{text}", "clip": "c", "text": text, "annotator": annotator, "at": at, **facts}
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([said("salam")], "waiting"),
        ([said("salam"), said("salam", "ls:2")], "agreed"),
        ([said("salam alikoum"), said("salam alikom", "ls:2")], "agreed"),
        ([said("salam"), said("bslama", "ls:2")], "conflict"),
        ([said("salam"), said("", "ls:2")], "conflict"),
        ([said("salam"), said("salam", "ls:2", valid=False)], "conflict"),
        ([said("", valid=False), said("x", "ls:2", valid=False)], "unusable"),
        ([said("a", language="ary-Latn"), said("a", "ls:2", language="shi-Latn")], "conflict"),
    ],
)
def test_verdicts(rows: list[Transcript], expected: str) -> None:
    assert verdict(rows, annotators=2, agree_cer=0.1)[0] == expected


def test_one_annotator_counts_once_with_their_last_word() -> None:
    early, late = said("salam"), said("salam!", at=datetime(2026, 1, 2, tzinfo=UTC))
    assert agreement.newest([late, early]) == [late]


def test_the_text_nearest_to_all_is_taken() -> None:
    rows = [
        said("salam aalikoum", "ls:1"),
        said("salam alikoum", "ls:2"),
        said("salam alikom", "ls:3", dialect="Fes"),
    ]
    after = agreement.settled(a_clip(dialect="Rabat"), rows)
    assert (after.transcript, after.origin, after.dialect) == ("salam alikoum", "validated", "Rabat")


def test_alone_nobody_agrees_or_disagrees() -> None:
    assert (
        agreement.between({"c": [said("a")]}, seed=1) is None and agreement.alphas({"c": [said("a")]}, seed=1) == {}
    )
    figure, pairs = agreement.between({"c": [said("ab"), said("ac", "ls:2"), said("ab", "ls:3")]}, seed=1) or (
        None,
        0,
    )
    assert figure and figure.value == pytest.approx(2 / 6) and pairs == 3 and figure.clips == 1
