"""One purpose is taken back: an evaluation, its listening test and its services do without it from that moment."""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile

import evaluate.__main__ as evaluate_script
import prepare.__main__ as prepare_script
from collect import ingest, withdraw
from collect.ledger import open_ledger
from evaluate import marked, objective, remote, systems, uses
from evaluate.edge import __main__ as edge
from evaluate.listen.app import application
from evaluate.pack import manifest
from evaluate.serve.desk import Desk
from evaluate.stimuli import read as stimuli_of
from evaluate.systems import may_be_heard, may_leave
from prepare import dataset
from recipes.provenance import is_withdrawn, lineage, sign_folder
from recipes.schema import Recipe, Speech, UserError, load
from tests.babble import babble
from tests.test_listen import begin, browser, tokens
from tests.test_remote import Server, server  # noqa: F401  (a fixture)
from tests.test_withdraw import WORDS

RECIPE = """
name: corpus
work_dir: work
collect:
  source: recordings
  language: zgh-Tfng
  basis:
    purposes: [store_prepare, tts_multi, tts_clone, listen_test, transfer_abroad, voice_match, profile_data]
    notice: test v1
    controller: nobody
    given_on: 2026-01-01
prepare: {purpose: tts_multi, split: {by: sentence, exact: true, test: 0.5}}
train: {family: fastspeech2, base: some/base}
evaluate:
  systems: [recordings, {name: clone, url: "URL", clone: true}]
  measures: [voice]
  recogniser: null
  allow_network: true
  resamples: 100
  listen: {method: acr, headphones: false, training: 0, repeats: 0, gold: 0, guess: false}
"""


@pytest.fixture
def evaluated(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recipe]:  # noqa: F811
    """Twelve clips of two speakers, prepared; recordings and a service that is shown the voices, evaluated."""
    source = tmp_path / "recordings"
    source.mkdir()
    table = ["file,text,speaker,gender"]
    for number, word in enumerate(WORDS):
        soundfile.write(source / f"{number}.wav", babble(1.2, pitch_hz=100 + 5 * number), 16_000)
        who = "amina,female" if number % 2 else "brahim,male"
        table.append(f"{number}.wav,{word} {word},{who}")
    (source / "metadata.csv").write_text("\n".join(table), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("URL", server.url), encoding="utf-8")
    monkeypatch.setattr(Speech, "local", property(lambda self: False))  # so that `transfer_abroad` is asked for
    recipe = load(tmp_path / "recipe.yaml")
    assert ingest.main(recipe) == 0 and prepare_script.main(recipe) == 0
    evaluate_script.main(recipe)
    yield recipe


def take_back(recipe: Recipe, code: str, *purposes: str) -> None:
    """The command that a speaker's wish is carried out with."""
    assert withdraw.main(recipe, argparse.Namespace(code=code, purpose=list(purposes) or None)) == 0


def asked_for(recipe: Recipe) -> list[tuple[str, str]]:
    with open_ledger(recipe) as ledger:
        return sorted((task.kind, task.action.split(":")[0]) for task in ledger.tasks() if task.state == "pending")


def heard_of(recipe: Recipe, speaker: str) -> int:
    """How many recordings of a speaker the listening test plays."""
    items = {item.id: item.speaker for item in systems.items(recipe)[0]}
    return sum(one.system == "recordings" and items[one.item] == speaker for one in stimuli_of(recipe))


def test_a_listening_test_stops_playing_whoever_takes_listen_test_back(evaluated: Recipe) -> None:
    assert heard_of(evaluated, "amina") and heard_of(evaluated, "brahim")
    client = browser(evaluated)
    page = begin(client)
    assert client.get(f"/clip/{tokens(page)[0]}").status_code == 200
    take_back(evaluated, "amina", "listen_test")
    assert client.get(f"/clip/{tokens(page)[0]}").status_code == 410  # the very clip that was played before
    assert client.get("/test").status_code == 503
    with pytest.raises(UserError, match="withdrawn since"):
        application(evaluated)
    assert [kind for kind, _ in asked_for(evaluated)] == ["listening_test", "report"]
    evaluate_script.main(evaluated)  # needs neither another dataset nor another adapter
    assert not heard_of(evaluated, "amina") and heard_of(evaluated, "brahim")
    application(evaluated)
    with open_ledger(evaluated) as ledger:
        withdraw.settle(ledger)
    assert not asked_for(evaluated)


def test_what_a_service_said_goes_with_transfer_abroad_and_nothing_more_is_sent(
    evaluated: Recipe,
    server: Server,  # noqa: F811
) -> None:
    kept = evaluated.folder("evaluate") / "rendered" / "http"
    before, sent = len(list(kept.glob("*.flac"))), len(server.asked)
    assert before == sent > 0
    take_back(evaluated, "amina", "transfer_abroad")
    assert is_withdrawn(evaluated.folder("evaluate"))
    evaluate_script.main(evaluated)
    hers = {item.text for item in systems.items(evaluated)[0] if item.speaker == "amina"}
    assert hers and not is_withdrawn(evaluated.folder("evaluate"))
    assert len(list(kept.glob("*.flac"))) == before - len(hers) and len(server.asked) == sent


def test_items_prompts_and_voices_ask_what_is_allowed_now(evaluated: Recipe) -> None:
    (system,) = [one for one in evaluated.evaluate.systems if isinstance(one, Speech)]
    assert set(systems.prompts(evaluated, system)) == {"amina", "brahim"} == set(marked.voices(evaluated))
    take_back(evaluated, "amina", "listen_test", "tts_clone", "voice_match")
    items = systems.items(evaluated)[0]
    assert {item.speaker: (may_be_heard(item), may_leave(item)) for item in items} == {
        "amina": (False, True),
        "brahim": (True, True),
    }
    assert set(systems.prompts(evaluated, system)) == {"brahim"} == set(marked.voices(evaluated))
    try:
        assert set(objective.known_voices(evaluated)) == {"brahim"}
    except UserError:
        pytest.skip("voices are compared where resemblyzer is installed")


def test_a_voice_says_nothing_more_in_packs_exports_and_on_the_server(evaluated: Recipe) -> None:
    adapter = evaluated.folder("train") / "adapter"
    line = lineage(evaluated, "adapter", parents=[dataset.dataset_hash(evaluated)])
    sign_folder(evaluated, adapter, line)  # a stand-in for what training leaves
    made = [evaluated.folder("evaluate") / name for name in ("pack", "edge")]
    for folder in made:
        sign_folder(evaluated, folder, line)
    manifest._sign(evaluated, made[0])
    edge.note(evaluated, made[1])
    speaks, other = marked.voices(evaluated)
    desk = SimpleNamespace(recipe=evaluated, clips={who: marked.clips_of(evaluated, who) for who in (speaks, other)})
    assert [Desk.allows(desk, who) for who in (speaks, other)] == [True, True]  # type: ignore[arg-type]
    take_back(evaluated, speaks, "tts_clone")
    assert [Desk.allows(desk, who) for who in (speaks, other)] == [False, True]  # type: ignore[arg-type]
    assert all(map(is_withdrawn, made)) and not is_withdrawn(adapter)
    assert [kind for kind, _ in asked_for(evaluated)] == ["edge_export", "report", "voice_pack"]
    assert marked.voices(evaluated) == [other]


def test_facts_about_a_speaker_go_with_profile_data(evaluated: Recipe) -> None:
    def told() -> set[tuple[str, str | None]]:
        return {
            (row["speaker"], row["gender"]) for split in dataset.open_dataset(evaluated).values() for row in split
        }

    assert told() == {("amina", "female"), ("brahim", "male")}
    take_back(evaluated, "amina", "profile_data")
    assert [kind for kind, _ in asked_for(evaluated)] == ["dataset", "report"]
    assert prepare_script.main(evaluated) == 0
    assert told() == {("amina", None), ("brahim", "male")}


def test_what_is_taken_back_while_a_service_speaks_is_not_sent(
    evaluated: Recipe,
    server: Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.rmtree(evaluated.folder("evaluate") / "rendered")
    (system,) = [one for one in evaluated.evaluate.systems if isinstance(one, Speech)]
    items, sent, speak = systems.items(evaluated)[0], len(server.asked), remote.speak
    items.sort(key=lambda item: item.speaker, reverse=True)  # brahim's sentences first

    def speak_once(*words: object) -> object:
        if len(server.asked) == sent:
            take_back(evaluated, "amina", "transfer_abroad")
        return speak(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(remote, "speak", speak_once)
    made, left_out = systems.render(evaluated, system, items)
    assert {one.item.speaker for one in made} == {"brahim"}
    assert len(server.asked) - sent == len(made)
    assert left_out["clone: not sent: its speaker has just taken that back"] == len(items) - len(made)


def test_an_evaluation_during_which_something_is_taken_back_is_marked(
    evaluated: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = uses.of

    def and_then(recipe: Recipe, rendered: list[systems.Rendered]) -> uses.Uses:
        found = of(recipe, rendered)
        take_back(recipe, "amina", "listen_test")
        return found

    monkeypatch.setattr(uses, "of", and_then)
    with pytest.raises(UserError, match="may no longer be used so, since a moment ago; run the same command again"):
        evaluate_script.main(evaluated)
    assert is_withdrawn(evaluated.folder("evaluate"))


def test_what_nobody_took_part_in_is_left_alone_and_everything_is_asked_for_once(evaluated: Recipe) -> None:
    row = dataset.open_dataset(evaluated)["test"][0]
    (before,) = dataset.sources.allowed_now(evaluated, [(row["speaker"], row["clip"], row["purposes"])])
    assert before == row["purposes"] and "listen_test" in before
    take_back(evaluated, row["speaker"], "recontact")
    assert not asked_for(evaluated) and not is_withdrawn(evaluated.folder("evaluate"))
    take_back(evaluated, row["speaker"])
    assert [kind for kind, _ in asked_for(evaluated)] == ["dataset", "listening_test", "report"]
    assert is_withdrawn(evaluated.folder("evaluate"))
    assert dataset.sources.allowed_now(evaluated, [(row["speaker"], row["clip"], row["purposes"])]) == [[]]
