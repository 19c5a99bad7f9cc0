"""`python -m evaluate.publish` as a user meets it: what is checked, what goes out, and how it is taken back."""

import argparse
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import yaml

from collect import withdraw
from collect.ledger import open_ledger
from evaluate import gate, leaks, licence, model_card, package, publish, reproduce, targets
from evaluate.licence import LICENCES
from prepare import dataset
from recipes.records import Purpose
from recipes.schema import Recipe, RecipeError, UserError, load
from tests import hub as hubs
from tests.conftest import ROOT
from tests.hub import Hub
from tests.published import ready
from train import signature
from train.adapter import adapter_folder, open_adapter, open_model, refuse_untrusted

NAME = "us/tiny-asr"


def run(recipe: Recipe, yes: bool = True, action: str | None = None, reason: str | None = None) -> int:
    return publish.main(recipe, argparse.Namespace(action=action, yes=yes, reason=reason, delete=False))


def take_back(recipe: Recipe, code: str, *purposes: Purpose) -> None:
    with open_ledger(recipe) as ledger:
        withdraw.withdraw(ledger, code, list(purposes) or None)


def tasks(recipe: Recipe, kind: str = "published") -> list[str]:
    with open_ledger(recipe) as ledger:
        withdraw.settle(ledger)
        return sorted(task.state for task in ledger.tasks() if task.kind == kind)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the fresh process, where a test is about something else: it takes seconds."""
    monkeypatch.setattr(reproduce, "compare", lambda recipe, folder: "not looked at here")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(targets, "WAITS_S", (0.0,))
    with hubs.hub(monkeypatch) as running:
        yield running


# ---------------------------------------------------------------- the gate


def test_a_dry_run_says_every_check_and_sends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = ready(tmp_path)
    capsys.readouterr()
    assert run(recipe, yes=False) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ("base", "consents", "evaluation", "quality", "gaps", "licence", "fresh process", "secrets, names, sound")
    assert [line.split(":")[0] for line in lines[: len(names)]] == [f"ok       {name}" for name in names]
    assert "on 6 sentences that training never had, of speakers that it had heard" in lines[2]
    assert "CC-BY-4.0, commercial use allowed" in lines[5]
    assert "in a fresh process, 3 transcripts are the same" in lines[6]
    assert "run the same command with --yes" in lines[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("purpose", ["publish_model", "asr_train"])
def test_a_consent_taken_back_stops_it_and_names_the_clips(
    tmp_path: Path, fast: None, purpose: Purpose, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = ready(tmp_path)
    found = gate.candidate(recipe)
    with open_ledger(recipe) as ledger:
        short = [clip.id[:12] for clip in ledger.clips("amina")]
    take_back(recipe, "amina", purpose)
    with pytest.raises(UserError, match=rf"no consent for {purpose}.*: 6 clips \({short[0]}…"):
        gate.consents(found)
    if purpose == "publish_model":
        assert run(recipe) == 1
        assert "refused  consents: no consent for publish_model: 6 clips" in capsys.readouterr().out
    else:
        with pytest.raises(UserError, match="made from recordings that were withdrawn"):
            run(recipe)
    assert not (tmp_path / "out").exists()


def test_only_what_lies_abroad_needs_the_consent_to_go_there(tmp_path: Path) -> None:
    for place, abroad in (("./out", False), ("hub:us/x", True), ("s3://b/x", True), ("memory://x", False)):
        recipe = ready(tmp_path / place.replace("/", "_"), f"publish.to={place}")
        assert ("transfer_abroad" in gate.candidate(recipe).purposes) == abroad
    at_home = ready(tmp_path / "home", "publish.to=s3://b/x", "publish.abroad=false")
    assert not gate.is_abroad(at_home)
    assert gate.is_abroad(ready(tmp_path / "no", "publish.to=hub:us/x", "publish.abroad=false"))


def test_a_generator_needs_the_consent_of_a_voice_that_can_be_recognised(tmp_path: Path) -> None:
    found = gate.candidate(ready(tmp_path))
    spoken = found.recipe.train.model_copy(update={"family": "speecht5"})
    voice = replace(found, recipe=found.recipe.model_copy(update={"train": spoken}))
    assert "tts_clone" in voice.purposes and "tts_clone" not in found.purposes
    with pytest.raises(UserError, match="no consent for tts_clone: 12 clips"):
        gate.consents(voice)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("publish.gates={}", "refused  quality: no limits"),
        ("publish.gates={CER: {max: 0.2}}", "refused  quality: CER of adapter is"),
        ("publish.gates={WER: {min: 5, sure: false}}", "and must be 5 at least"),
        ("publish.gates={BLEU: {max: 1}}", "no figure BLEU of adapter; measured: CER, WER"),
        ("publish.gates={validation loss: {max: 99}}", "without an interval (not enough data for an interval)"),
        ("publish.max_gap=0.1", "refused  gaps: publish.max_gap is set, and the evaluation measured no gap"),
        ("publish.base_licence=CC-BY-NC-ND-4.0", "refused  licence: the base (CC-BY-NC-ND-4.0): its clause ND"),
        ("publish.base_licence=null", "refused  licence: the licence of"),
        ("publish.licence=CC0-1.0", "asks for no names"),
    ],
)
def test_what_the_recipe_asks_for_is_held(
    tmp_path: Path, fast: None, change: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(ready(tmp_path, change)) == 1
    out = capsys.readouterr().out
    assert said in out and "not published: " in out and not (tmp_path / "out").exists()


def test_gaps_and_gates_of_the_report_count(tmp_path: Path) -> None:
    recipe = ready(tmp_path, "publish.max_gap=0.1", "publish.gates={}", "evaluate.gates.max_cer=0.3")
    found = gate.candidate(recipe)
    path = recipe.folder("evaluate") / "report.json"
    row = {"system": "adapter", "factor": "gender", "group": "female", "worse": 0.3}
    bias = [{"metric": "CER", "gaps": [row | {"group": "male", "worse": None}, row, row | {"system": "base"}]}]
    told = {"key": "max_cer", "asked": 0.3, "found": 0.25, "verdict": "not shown"}
    path.write_text(json.dumps({"bias": bias, "gates": [told]}), encoding="utf-8")
    with pytest.raises(UserError, match=r"gender female \(CER\) is worse off by 0.300, above publish.max_gap"):
        gate.gaps(found)
    with pytest.raises(UserError, match=r"evaluate.gates.max_cer: not shown: found 0.250, asked 0.3"):
        gate.quality(found)
    row["worse"] = 0.05
    bias[0]["gaps"] = [row]
    path.write_text(json.dumps({"bias": bias, "gates": [told | {"verdict": "passed"}]}), encoding="utf-8")
    assert gate.gaps(found) == "of 1 groups, gender female (CER) is worst off: 0.050, within 0.1"
    assert gate.quality(found) == "max_cer 0.250"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"evaluate.gates.max_cer: not in the report; run: python -m evaluate.report"):
        gate.quality(found)


def test_a_rating_by_listeners_is_a_figure_like_others(tmp_path: Path) -> None:
    recipe = ready(tmp_path, "publish.gates={mean rating by listeners: {min: 3.5}}")
    mean = {"value": 3.9, "low": 3.6, "high": 4.2, "n": 60}
    told = {"listening": {"tests": [{"method": "acr", "heard": [{"system": "adapter", "mean": mean}]}]}}
    path = recipe.folder("evaluate") / "report.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    assert gate.quality(gate.candidate(recipe)) == "mean rating by listeners 3.900 [3.600, 4.200]"


def test_an_evaluation_of_other_weights_or_of_seen_sentences_does_not_count(tmp_path: Path) -> None:
    recipe = ready(tmp_path)
    found = gate.candidate(recipe)
    path = recipe.folder("evaluate") / "results.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    whole["measured"][-1]["text"] = min(found.seen)
    path.write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(UserError, match="1 of 6 evaluated sentences were in training"):
        gate.report(found)
    lineage = adapter_folder(recipe) / "lineage.json"
    lineage.write_text(lineage.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="the evaluation is of another adapter"):
        gate.report(found)
    path.unlink()
    with pytest.raises(UserError, match="not evaluated yet; run: python -m evaluate RECIPE"):
        gate.report(found)


def test_a_recogniser_is_tested_on_speakers_that_it_never_heard_or_its_card_says_so(tmp_path: Path) -> None:
    recipe = ready(tmp_path, "publish.same_speakers=false")
    found = gate.candidate(recipe)
    with pytest.raises(UserError, match=r"tested only on speakers that it had heard; split by speaker .*by: both"):
        gate.report(found)
    some = replace(found, voices=found.voices | {"test": frozenset({"amina", "chama"})})
    assert gate.report(some).endswith("of speakers some of whom it had heard")
    assert gate.report(replace(found, voices=found.voices | {"test": frozenset({"chama"})})).endswith("never heard")
    spoken = recipe.train.model_copy(update={"family": "speecht5"})
    voice = replace(found, recipe=recipe.model_copy(update={"train": spoken}))
    assert gate.report(voice).endswith("of speakers that it had heard")  # it has no other voices
    openly = gate.candidate(load(tmp_path / "recipe.yaml"))
    card = model_card.readme(openly, gate.allowed_licence(openly))
    assert "Every speaker of the test was in training too: how well it hears anybody else is not known." in card
    assert "anybody else" not in model_card.readme(some, gate.allowed_licence(some))


def test_an_adapter_that_gives_something_else_is_refused(tmp_path: Path) -> None:
    recipe = ready(tmp_path)
    kept = next((recipe.folder("evaluate") / "rendered").glob("*/*.json")).parent.parent
    for path in kept.glob("*/*.json"):
        path.write_text(json.dumps({"text": "ⵣ"}), encoding="utf-8")
    with pytest.raises(UserError, match="it writes something else than when it was evaluated"):
        reproduce.compare(recipe, adapter_folder(recipe))


@pytest.mark.slow
def test_an_adapter_that_does_not_load_is_refused(tmp_path: Path) -> None:
    recipe = ready(tmp_path)
    (adapter_folder(recipe) / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"it does not load in a fresh process: .*no weights in safetensors"):
        reproduce.compare(recipe, adapter_folder(recipe))


def test_spectra_tell_the_same_speech_from_other_speech() -> None:
    one = np.random.default_rng(1).standard_normal(16_000).astype(np.float32)
    assert reproduce.distance_db(one, one) == 0
    assert reproduce.distance_db(one, (one * 32767).round() / 32767) < 0.1
    assert reproduce.distance_db(one, one[::-1]) > 1
    assert reproduce.distance_db(one, one[:8000]) == float("inf")


# ---------------------------------------------------------------- licences


@pytest.mark.parametrize(
    ("base", "notices", "unsold", "wanted", "found"),
    [
        ("Apache-2.0", {"consent form v3": ["a"]}, [], None, "Apache-2.0"),
        ("MIT", {"CC0-1.0": ["a"]}, [], None, "Apache-2.0"),
        ("Apache-2.0", {"CC BY 4.0": ["a"]}, [], None, "CC-BY-4.0"),
        (None, {"CC0-1.0": ["a"]}, [], None, "CC0-1.0"),
        (None, {"consent form v3": ["a"]}, [], None, "CC-BY-4.0"),
        ("Apache-2.0", {"consent form v3": ["a"]}, ["a"], None, "CC-BY-NC-4.0"),
        ("CC-BY-NC-4.0", {"CC0-1.0": ["a"]}, [], None, "CC-BY-NC-4.0"),
        ("CC-BY-SA-4.0", {"CC0-1.0": ["a"]}, [], None, "CC-BY-SA-4.0"),
        ("Apache-2.0", {"CC-BY-NC-SA-4.0": ["a"]}, ["a"], None, "CC-BY-NC-SA-4.0"),
        ("Apache-2.0", {"consent form v3": ["a"]}, [], "cc-by-nc-4.0", "CC-BY-NC-4.0"),
    ],
)
def test_the_licence_is_the_most_open_one_that_all_allow(
    base: str | None, notices: dict[str, list[str]], unsold: list[str], wanted: str | None, found: str
) -> None:
    assert licence.resolve(LICENCES[base] if base else None, notices, unsold, wanted).spdx == found


@pytest.mark.parametrize(
    ("base", "notices", "unsold", "wanted", "said"),
    [
        ("MIT", {"CC-BY-ND-4.0": ["abc"]}, [], None, "CC-BY-ND-4.0 of clip abc…: its clause ND"),
        ("CC-BY-SA-4.0", {"CC-BY-NC-SA-4.0": ["a"]}, [], None, "the clause SA of each asks for its own"),
        ("CC-BY-SA-4.0", {"form": ["a", "b"]}, ["a", "b"], None, r"SA asks for .*2 clips \(a…, b…\), without `comm"),
        ("MIT", {"form": ["a"]}, ["a"], "Apache-2.0", "allows commercial use; the consents of clip a…"),
        ("CC-BY-NC-4.0", {}, [], "MIT", r"allows commercial use; the base \(CC-BY-NC-4.0\): not allowed"),
        ("CC-BY-SA-4.0", {}, [], "MIT", "its clause SA asks for CC-BY-SA-4.0"),
        ("MIT", {}, [], "WTFPL", "WTFPL is not a licence whose terms are known here"),
    ],
)
def test_where_there_is_none_the_clause_and_the_clips_are_named(
    base: str, notices: dict[str, list[str]], unsold: list[str], wanted: str | None, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        licence.resolve(LICENCES[base], notices, unsold, wanted)


def test_known_bases_need_no_licence_in_the_recipe() -> None:
    assert licence.of_base("facebook/mms-1b-all", "ctc", None) == LICENCES["CC-BY-NC-4.0"]
    assert licence.of_base("openai/whisper-small", "whisper", None) == LICENCES["Apache-2.0"]
    assert licence.of_base("openai/whisper-small", "whisper", "mit") == LICENCES["MIT"]
    assert licence.of_base(None, "ctc", None) is None
    for path in (ROOT / "recipes").glob("*.yaml"):
        train = load(path).train
        if train.base and not train.base.startswith("/"):
            assert licence.of_base(train.base, train.family, None), path
    with pytest.raises(UserError, match=r"the licence of them/else is not known; give publish.base_licence"):
        licence.of_base("them/else", "whisper", None)


# ---------------------------------------------------------------- what must not be in it


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("token: hf_" + "a" * 34, "a Hugging Face token"),
        ("ghp_" + "A1" * 18, "a GitHub token"),
        ("AKIAIOSFODNN7EXAMPLE", "an AWS key"),
        ("-----BEGIN EC PRIVATE KEY-----\nabc", "a private key"),
        ("postgresql://me:hunter2@server/db", "a password in an address"),
        ("written by Amina of Rabat", "the code, the name or the contact of a speaker"),
        ("made in /home/someone/work", "a place on the disk"),
        ("at /srv/corpora/darija", "a place on the disk"),
        ("UklGRiQAAABXQVZF" + "A" * 80, "a WAV file, written in letters"),
    ],
)
def test_secrets_names_and_places_are_found_and_not_repeated(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "notes.json").write_text(content, encoding="utf-8")
    found = list(leaks.search(tmp_path, {"amina", "a"}, ["/srv/corpora"]))
    assert len(found) == 1 and found[0].startswith(f"notes.json: {said}") and content not in found[0]


def test_sound_is_found_whatever_it_is_called(tmp_path: Path) -> None:
    import soundfile

    for kind in ("WAV", "FLAC", "OGG"):
        soundfile.write(tmp_path / f"{kind}.tmp", np.zeros(800, np.float32), 16_000, format=kind)
        (tmp_path / f"{kind}.tmp").rename(tmp_path / f"{kind}.json")
    assert len([line for line in leaks.search(tmp_path, ()) if "file" in line]) == 3


def test_a_name_in_what_was_trained_stops_it(tmp_path: Path, fast: None, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = ready(tmp_path, "publish.contact=ask brahim@example.org")
    assert run(recipe) == 1
    assert "refused  secrets, names, sound: README.md: the code, the name" in capsys.readouterr().out


# ---------------------------------------------------------------- what goes out


def test_the_package_says_what_it_is_and_nothing_of_this_machine(tmp_path: Path, fast: None) -> None:
    recipe = ready(tmp_path, "publish.dataset=us/recordings")
    assert run(recipe) == 0
    out = tmp_path / "out"
    names = {path.name for path in out.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "vocab.json", "model.sig", "lineage.json"} < names
    assert {"README.md", "sbom.cdx.json", "evaluation.json"} < names and "recipe.yaml" not in names
    for path in out.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path
    card = huggingface_hub.ModelCard.load(out / "README.md")
    assert card.data.language == ["zgh"] and card.data.license == "cc-by-4.0"
    assert card.data.pipeline_tag == "automatic-speech-recognition" and card.data.datasets == ["us/recordings"]
    assert card.data.eval_results
    cer = next(result for result in card.data.eval_results if result.metric_type == "cer")
    assert cer.metric_args["n"] == 6 and cer.metric_args["low_95"] <= cer.metric_value <= cer.metric_args["high_95"]
    assert "fewer than 5 speakers" in card.text and "amina" not in card.text and "brahim" not in card.text
    for said in ("Where it is worse", "perhaps worse than the base", "takes a consent back", "voices@example.org"):
        assert said in card.text
    assert "huggingface.co/datasets/us/recordings/resolve/main/croissant.json" in card.text
    assert dataset.dataset_hash(recipe) in card.text
    bill = json.loads((out / "sbom.cdx.json").read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert {part["type"] for part in bill["components"]} == {"machine-learning-model", "data", "library"}


def test_what_was_published_opens_on_its_base(tmp_path: Path, fast: None) -> None:
    recipe = ready(tmp_path)
    run(recipe)
    model = open_adapter(recipe, tmp_path / "out")
    row = dataset.open_dataset(recipe)["test"][0]
    from train.adapter import samples_of

    heard = [one.transcribe(samples_of(one, row), "zgh-Tfng") for one in (model, open_model(recipe, "adapter"))]
    assert heard[0] == heard[1]


def test_what_was_published_and_altered_opens_neither_without_its_signature_nor_as_ones_own(
    tmp_path: Path, fast: None
) -> None:
    recipe = ready(tmp_path, "evaluate.systems=[{name: ours, adapter: ./out, unsigned: true}]")
    other, out = load(tmp_path / "recipe.yaml"), tmp_path / "out"
    run(recipe)
    (out / "model.sig").unlink()
    refuse_untrusted(recipe, out)
    letters = json.loads((out / "vocab.json").read_text(encoding="utf-8"))
    one, two = list(letters)[-2:]
    letters[one], letters[two] = letters[two], letters[one]
    (out / "vocab.json").write_text(json.dumps(letters), encoding="utf-8")
    with pytest.raises(UserError, match=r"no model.sig in it, so nobody vouches for it"):
        refuse_untrusted(other, out)
    with pytest.raises(UserError, match="its tokenizer or settings were altered"):
        refuse_untrusted(recipe, out)


def test_the_same_adapter_makes_the_same_package(tmp_path: Path, fast: None) -> None:
    recipe = ready(tmp_path)
    run(recipe)
    first = package.version(tmp_path / "out")
    run(recipe)
    assert package.version(tmp_path / "out") == first


@pytest.mark.skipif(
    shutil.which("model_signing") is None, reason="a second opinion, where model-signing is installed"
)
def test_the_signature_by_its_own_verifier(tmp_path: Path, fast: None) -> None:
    recipe = ready(tmp_path)
    run(recipe)
    key = signature.key_path(recipe).with_suffix(".pub")
    command = ["model_signing", "verify", "key", "out", "--signature", "out/model.sig", "--public_key", str(key)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "out" / "README.md").write_text("another", encoding="utf-8")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode != 0


def test_a_key_that_others_can_read_is_refused(tmp_path: Path, fast: None) -> None:
    recipe = ready(tmp_path)
    run(recipe, yes=False)
    path = signature.key_path(recipe)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent == tmp_path / "work.keys"
    path.chmod(0o644)
    with pytest.raises(UserError, match="others can read the signing key; run: chmod 600"):
        run(recipe, yes=False)


def test_places_are_checked_with_the_recipe(tmp_path: Path) -> None:
    recipe = ready(tmp_path)
    assert recipe.publish.to == str(tmp_path / "out")
    for place in ("hub:alone", "hub:a/b/c", "s3://me:secret@b/x"):
        with pytest.raises(RecipeError, match=r"publish.to"):
            load(tmp_path / "recipe.yaml", [f"publish.to={place}"])
    nowhere = load(tmp_path / "recipe.yaml", ["publish.to=null"])
    with pytest.raises(UserError, match=r"publish.to: say where to"):
        run(nowhere)


# ---------------------------------------------------------------- the hub, and back


def test_on_the_hub_and_taken_back_by_a_withdrawal(
    tmp_path: Path, fast: None, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = ready(tmp_path, f"publish.to=hub:{NAME}")
    assert run(recipe) == 0
    made = hub.repositories[NAME]
    assert made.gated == "manual" and not made.private
    front = yaml.safe_load(made.files["README.md"].decode().split("---")[1])
    assert "extra_gated_prompt" in front
    take_back(recipe, "amina")
    assert tasks(recipe) == ["pending"]  # one, though it was used for four purposes
    with pytest.raises(UserError, match="needs a reason"):
        run(recipe, action="revoke")
    capsys.readouterr()
    assert run(recipe, action="revoke", reason="a speaker took the consent back") == 0
    out = capsys.readouterr().out
    assert "deleted and gated, and a card says so" in out and "tasks of withdrawals closed: 1" in out
    assert tasks(recipe) == ["done"]
    assert set(made.files) == {".gitattributes", "README.md", "revocations.json"} and not made.large
    assert "a speaker took the consent back" in made.files["README.md"].decode()


def test_what_was_revoked_is_neither_evaluated_nor_trained_on_again(tmp_path: Path, fast: None) -> None:
    import evaluate.__main__ as evaluate_script
    import train.__main__ as train_script

    recipe = ready(tmp_path)
    run(recipe)
    run(recipe, action="revoke", reason="it says names")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "revocations.json"]
    shutil.rmtree(recipe.folder("evaluate") / "rendered")
    (recipe.folder("train") / "finished.txt").write_text(train_script.run_mark(recipe), encoding="utf-8")
    for again in (evaluate_script.main, train_script.main, run):
        with pytest.raises(UserError, match=r"adapter: revoked on .*: it says names; it must not be used"):
            again(recipe)


def test_a_consent_withdrawn_between_the_gate_and_the_upload_stops_it(tmp_path: Path, fast: None, hub: Hub) -> None:
    recipe = ready(tmp_path, f"publish.to=hub:{NAME}")
    hub.before["upload"] = lambda: take_back(recipe, "brahim", "transfer_abroad")
    with pytest.raises(UserError, match="no consent for transfer_abroad: 6 clips"):
        run(recipe)
    made = hub.repositories[NAME]
    assert made.private and list(made.files) == [".gitattributes"] and made.commits == ["initial commit"]
    assert tasks(recipe) == ["pending"]


def test_a_licence_that_the_consents_no_longer_bear_stops_it_too(tmp_path: Path, fast: None, hub: Hub) -> None:
    recipe = ready(tmp_path, f"publish.to=hub:{NAME}")
    hub.before["upload"] = lambda: take_back(recipe, "brahim", "commercial")
    with pytest.raises(UserError, match=r"the consents no longer bear CC-BY-4.0; run the same command again"):
        run(recipe)
    assert hub.repositories[NAME].private
    assert run(recipe) == 0
    front = yaml.safe_load(hub.repositories[NAME].files["README.md"].decode().split("---")[1])
    assert front["license"] == "cc-by-nc-4.0"
    assert tasks(recipe) == ["done"]  # the narrower licence is what the withdrawal asked for


def test_a_withdrawal_of_one_purpose_asks_for_the_publication(tmp_path: Path, fast: None) -> None:
    recipe = ready(tmp_path)
    run(recipe)
    take_back(recipe, "amina", "transfer_abroad")
    assert tasks(recipe) == []  # the folder is not abroad
    take_back(recipe, "amina", "publish_model")
    assert tasks(recipe) == ["pending"]
    run(recipe, action="revoke", reason="a speaker took it back")
    assert tasks(recipe) == ["done"]
