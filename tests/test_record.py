"""The recording booth: consent before anything, uploads that are one clip each, and what it refuses."""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from httpx import Response
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from collect import record, vault
from collect.booth.hearing import listen
from collect.booth.notice import read
from collect.booth.spool import Spool
from collect.booth.visit import PAGES
from collect.ledger import Ledger, open_ledger
from recipes.records import PURPOSES, Clip
from recipes.schema import INTERFACES, Recipe, RecipeError, UserError, load
from tests.babble import babble, noise
from web.codes import new_code, shown, typed
from web.guard import Attempts, Bounds
from web.page import strings
from web.tifinagh import latin

RATE_HZ = 48_000
SENTENCES = ["فين غادي مع هاد الصباح؟", "شكرا بزاف.", "السلام عليكم."]
EVERYTHING = {"purpose": list(PURPOSES), "who": "adult"}
HOME = "http://127.0.0.1:8766"


def make(folder: Path, **settings: Any) -> Recipe:
    """A recipe with a booth of three sentences."""
    (folder / "p.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    booth = {"controller": "an association", "contact": "0600 000 000", "prompts": {"ary-Arab": "p.txt"}} | settings
    whole = {
        "name": "t",
        "work_dir": "work",
        "collect": {"source": ".", "record": booth},
        "prepare": {"purpose": "asr_train"},
        "train": {"family": "ctc", "base": "x/y"},
    }
    (folder / "recipe.yaml").write_text(json.dumps(whole), encoding="utf-8")  # JSON is YAML
    return load(folder / "recipe.yaml")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return make(tmp_path)


@pytest.fixture
def ledger(recipe: Recipe) -> Iterator[Ledger]:
    with open_ledger(recipe) as ledger:
        yield ledger


@pytest.fixture
def client(recipe: Recipe, ledger: Ledger) -> Iterator[TestClient]:
    with TestClient(record.application(recipe, ledger), base_url=HOME) as client:
        yield client


def wav(samples: np.ndarray | None = None, rate_hz: int = RATE_HZ) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, babble(2, rate_hz) if samples is None else samples, rate_hz, "PCM_16", format="WAV")
    return out.getvalue()


def csrf(client: TestClient) -> str:
    """What the browser's forms carry."""
    return re.findall(r'data-csrf="(\w+)"', client.get("/resume").text)[0]


def post(client: TestClient, path: str, follow_redirects: bool = True, **form: Any) -> Response:
    return client.post(path, data={"csrf": csrf(client)} | form, follow_redirects=follow_redirects)


def agree(client: TestClient, language: str = "en", **form: Any) -> str:
    """From the first page to a speaker's code, as digits."""
    client.get("/")
    post(client, "/language", language=language)
    answer = post(client, "/consent", **(EVERYTHING | form))
    assert answer.url.path == "/code", answer.text
    code = re.findall(r'class="code" dir="ltr">([\d ]+)<', answer.text)[0]
    post(client, "/about", language="ary-Arab")
    return typed(code)


def sheet(client: TestClient) -> dict[str, Any]:
    """What the recording page knows."""
    found: dict[str, Any] = json.loads(re.findall(r'id="booth">(.*?)</script>', client.get("/record").text)[0])
    return found


def owner(client: TestClient) -> str:
    return re.findall(r'data-owner="(\w*)"', client.get("/check").text)[0]


def send(
    client: TestClient, data: bytes, prompt: str, key: str = "k" * 20, keep: int = 0, **headers: str
) -> Response:
    given = {"x-csrf": csrf(client), "idempotency-key": key, "content-type": "audio/wav"} | headers
    where = {"prompt": prompt, "owner": owner(client), "keep": keep}
    return client.post("/clip", params=where, content=data, headers=given)


def clips(recipe: Recipe) -> list[Clip]:
    with open_ledger(recipe) as ledger:
        return list(ledger.clips())


# ---------------------------------------------------------------- consent


def test_no_purpose_is_ticked_beforehand_and_each_is_by_itself(client: TestClient) -> None:
    client.get("/")
    page = post(client, "/language", language="en").text
    assert "an association" in page and "0600 000 000" in page and "24 months" in page
    page = client.get("/consent").text
    assert re.findall(r'name="purpose" value="(\w+)"', page) == list(PURPOSES)
    assert " checked" not in page


def test_all_may_be_refused_but_keeping_the_recordings(client: TestClient, ledger: Ledger) -> None:
    client.get("/")
    post(client, "/language", language="en")
    refused = post(client, "/consent", purpose=["asr_train"], who="adult")
    assert refused.status_code == 400 and strings("en", PAGES)["fault_store"] in refused.text
    assert ledger.speakers() == []
    agree(client, purpose=["store_prepare"])
    (speaker,) = ledger.speakers()
    (event,) = ledger.consents(speaker.code)
    assert event.purposes == ["store_prepare"] and event.how == "tick" and event.by == "self"
    assert send(client, wav(), sheet(client)["prompts"][0]["id"]).json()["state"] == "kept"


def test_a_consent_says_what_was_told_and_when_it_ends(client: TestClient, ledger: Ledger) -> None:
    agree(client, "zgh-Latn")
    (event,) = ledger.consents(ledger.speakers()[0].code)
    notice, _ = ledger.notice(event.notice)
    assert notice.language == event.language == "zgh-Latn" and "asr_train: " in notice.text
    assert event.expires is not None and (event.expires.year, event.expires.month) == (
        event.at.year + 2,
        event.at.month,
    )
    assert event.controller == "an association" and ledger.verify() == 1


def test_a_child_needs_a_guardian_and_the_record_lapses_at_eighteen(client: TestClient, ledger: Ledger) -> None:
    client.get("/")
    post(client, "/language", language="fr")
    said = strings("fr", PAGES)
    for form, why in (
        ({"who": ""}, "fault_age"),
        ({"who": "minor"}, "fault_birth"),
        ({"who": "minor", "born": "1980-01-01", "guardian": "yes"}, "fault_birth"),
        ({"who": "minor", "born": "2015-02-28"}, "fault_guardian"),
    ):
        assert said[why] in post(client, "/consent", **(EVERYTHING | form)).text.replace("&#39;", "'")
    agree(client, "fr", who="minor", born="2015-02-28", guardian="yes")
    (event,) = ledger.consents(ledger.speakers()[0].code)
    assert event.by == "guardian" and str(event.adult_on) == "2033-02-28"


def test_who_says_that_they_agree_leaves_their_voice_as_evidence(
    client: TestClient, recipe: Recipe, ledger: Ledger
) -> None:
    client.get("/")
    post(client, "/language", language="ary")
    form = {"csrf": csrf(client)} | EVERYTHING
    answer = client.post("/consent", data=form, files={"voice": ("v.wav", wav(np.zeros(RATE_HZ)), "audio/wav")})
    assert strings("ary", PAGES)["fault_voice"] in answer.text and ledger.speakers() == []
    client.post("/consent", data=form, files={"voice": ("v.wav", wav(), "audio/wav")})
    (speaker,) = ledger.speakers()
    (event,) = ledger.consents(speaker.code)
    assert event.how == "spoken"
    (sealed,) = (recipe.folder("collect") / "evidence").rglob("*.sealed")
    assert str(sealed).endswith(vault.path_of(event.speaker, event.evidence[0]))
    assert b"fLaC" not in sealed.read_bytes()
    assert list(ledger.clips()) == []  # it is proof, not material


def test_the_same_consent_sent_twice_is_one(client: TestClient, ledger: Ledger) -> None:
    agree(client)
    post(client, "/consent", **EVERYTHING)
    assert ledger.end().number == 1


def test_facts_are_kept_only_of_those_who_allow_it(recipe: Recipe, ledger: Ledger) -> None:
    app = record.application(recipe, ledger)
    facts = {"language": "ary-Arab", "age_band": "30-44", "gender": "female", "region": "MA-09", "dialect": "south"}
    for pitch_hz, purposes in ((110, ["store_prepare"]), (220, ["store_prepare", "profile_data"])):
        client = TestClient(app, base_url=HOME)
        agree(client, purpose=purposes)
        post(client, "/about", **facts, contact="0600")
        send(client, wav(babble(2, RATE_HZ, pitch_hz)), sheet(client)["prompts"][0]["id"])
        code = sorted(
            speaker.code for speaker in ledger.speakers() if ledger.consents(speaker.code)[0].purposes == purposes
        )[0]
        kept, (clip,) = ledger.speaker(code), ledger.clips(code)
        allowed = "profile_data" in purposes
        assert (kept.age_band, kept.gender) == (("30-44", "female") if allowed else (None, None))
        assert (clip.region, clip.dialect) == (("MA-09", "south") if allowed else (None, None))
        assert ledger.keys.contact(code) is None  # recontact was not allowed


def test_without_consent_there_are_no_prompts_and_no_uploads(client: TestClient) -> None:
    for path in ("/record", "/check", "/about", "/code", "/receipt", "/consent", "/notice"):
        assert client.get(path, follow_redirects=False).headers["location"] == "/"
    assert client.get("/receipt.txt").status_code == 404
    assert client.post("/clip", content=wav(), headers={"x-csrf": csrf(client)}).status_code == 401


# ---------------------------------------------------------------- uploads


@pytest.fixture
def speaker(client: TestClient) -> TestClient:
    """A browser whose speaker has agreed to everything."""
    agree(client)
    return client


def test_a_recording_is_kept_as_it_was_sent(speaker: TestClient, recipe: Recipe, ledger: Ledger) -> None:
    prompt = sheet(speaker)["prompts"][0]
    answer = send(speaker, wav(), prompt["id"])
    assert answer.json() | {"clip": ""} == {"state": "kept", "clip": "", "done": 1, "total": 3}
    (clip,) = ledger.clips()
    assert clip.transcript == prompt["text"] and clip.language == "ary-Arab" and clip.origin == "prompt"
    samples, rate_hz = ledger.audio(clip, "asr_train")
    sent, _ = soundfile.read(io.BytesIO(wav()), dtype="float32", always_2d=True)
    assert rate_hz == RATE_HZ and np.array_equal(samples, sent)


def test_the_same_upload_again_is_the_same_clip(speaker: TestClient, ledger: Ledger) -> None:
    prompt = sheet(speaker)["prompts"][0]["id"]
    first = send(speaker, wav(), prompt)
    for _ in range(3):
        assert send(speaker, wav(), prompt).json() == first.json()
    assert len(list(ledger.clips())) == 1
    other = send(speaker, wav(babble(2, RATE_HZ, 200)), prompt)  # the key of another recording
    assert other.status_code == 409 and len(list(ledger.clips())) == 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "damaged"),
        (b"#EXTM3U\nhttp://127.0.0.1/", "damaged"),
        (wav()[:5000], "damaged"),
        (wav(babble(2, RATE_HZ)[RATE_HZ : RATE_HZ + 9000]), "too_short"),
        (wav(np.zeros(2 * RATE_HZ)), "silence"),
        (wav(noise(2, 1e-4, RATE_HZ)), "silence"),
        (wav(noise(31, 0.1, 8000), 8000), "too_long"),
    ],
)
def test_what_nothing_can_be_made_of_is_refused(speaker: TestClient, ledger: Ledger, data: bytes, why: str) -> None:
    answer = send(speaker, data, sheet(speaker)["prompts"][0]["id"], keep=1)
    assert answer.status_code == 422 and answer.json() == {"state": "refused", "why": [why]}
    assert list(ledger.clips()) == [] and f"say_{why}" in sheet(speaker)["said"]


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        (np.clip(babble(3, RATE_HZ) * 8, -1, 1), "clipped"),
        (babble(3, RATE_HZ) * 0.03, "too_quiet"),
        (babble(3, RATE_HZ) + noise(4, 0.05, RATE_HZ), "too_noisy"),
        (babble(0.3, RATE_HZ), "short_for_text"),
        (babble(16, RATE_HZ), "long_for_text"),
    ],
)
def test_of_what_is_doubtful_the_speaker_decides(
    speaker: TestClient, ledger: Ledger, samples: np.ndarray, why: str
) -> None:
    prompt = next(p for p in sheet(speaker)["prompts"] if p["text"] == SENTENCES[0])["id"]
    answer = send(speaker, wav(samples), prompt)
    assert answer.status_code == 409 and answer.json()["state"] == "doubt" and why in answer.json()["why"]
    assert list(ledger.clips()) == []
    assert send(speaker, wav(samples), prompt, keep=1).json()["state"] == "kept"


def test_good_speech_raises_no_doubt() -> None:
    heard = listen(babble(2, RATE_HZ), RATE_HZ, SENTENCES[0])
    assert heard.refusal is None and heard.doubts == ()
    assert -30 < heard.level_db < -10 and heard.speech_s == pytest.approx(2, abs=0.2)


def test_skipped_and_recorded_prompts_do_not_come_again(speaker: TestClient) -> None:
    first, second, third = (prompt["id"] for prompt in sheet(speaker)["prompts"])
    send(speaker, wav(), first)
    speaker.post("/skip", params={"prompt": second}, headers={"x-csrf": csrf(speaker)})
    assert [prompt["id"] for prompt in sheet(speaker)["prompts"]] == [third]
    send(speaker, wav(babble(2, RATE_HZ, 200)), third, key="another-key-of-it", keep=1)
    assert speaker.get("/record").url.path == "/receipt"


def test_recordings_of_another_speaker_of_this_phone_wait_for_them(speaker: TestClient, ledger: Ledger) -> None:
    theirs, prompt = owner(speaker), sheet(speaker)["prompts"][0]["id"]
    post(speaker, "/leave")
    agree(speaker)
    assert owner(speaker) != theirs
    where = {"prompt": prompt, "owner": theirs, "keep": 1}
    headers = {"x-csrf": csrf(speaker), "idempotency-key": "k" * 20}
    assert speaker.post("/clip", params=where, content=wav(), headers=headers).json() == {"state": "other"}
    assert list(ledger.clips()) == []


def test_nobody_gets_at_a_clip_by_sending_its_bytes(recipe: Recipe, ledger: Ledger) -> None:
    app = record.application(recipe, ledger)
    for state in ("kept", "refused"):
        client = TestClient(app, base_url=HOME)
        agree(client)
        assert send(client, wav(), sheet(client)["prompts"][0]["id"]).json()["state"] == state
    (clip,) = ledger.clips()
    assert ledger.audio(clip, "store_prepare")[0].any()


def test_pictures_and_sentences_to_repeat(tmp_path: Path) -> None:
    (tmp_path / "salam.wav").write_bytes(wav())
    (tmp_path / "souk.png").write_bytes(b"\x89PNG")
    (tmp_path / "p.csv").write_text("text,audio,picture\nسلام,salam.wav,\n,,souk.png\nمزيان,,\n", encoding="utf-8")
    recipe = make(tmp_path, prompts={"ary-Arab": "p.csv"})
    with open_ledger(recipe) as ledger, TestClient(record.application(recipe, ledger), base_url=HOME) as client:
        agree(client)
        assert {prompt["kind"] for prompt in sheet(client)["prompts"]} == {"read", "repeat", "describe"}
        post(client, "/about", language="ary-Arab", manner="listen")  # who does not read
        found = {prompt["kind"]: prompt for prompt in sheet(client)["prompts"]}
        assert set(found) == {"repeat", "describe"}
        assert client.get(found["repeat"]["audio"]).content == wav()
        assert client.get(found["describe"]["picture"]).headers["content-type"] == "image/png"
        assert TestClient(client.app, base_url=HOME).get(found["repeat"]["audio"]).status_code == 404
        send(client, wav(), found["describe"]["id"])
        (clip,) = ledger.clips()
        assert clip.transcript == "" and clip.origin == "draft"  # an annotator writes it down


# ---------------------------------------------------------------- code, receipt, withdrawal


def test_a_code_goes_on_where_the_speaker_was_on_another_phone(recipe: Recipe, ledger: Ledger) -> None:
    app = record.application(recipe, ledger)
    first, second = (TestClient(app, base_url=HOME) for _ in range(2))
    code = agree(first)
    send(first, wav(), sheet(first)["prompts"][0]["id"])
    second.get("/")
    eastern = shown(code).translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))
    assert post(second, "/resume", code=eastern).url.path == "/record"
    assert sheet(second)["done"] == 1 and len(sheet(second)["prompts"]) == 2
    send(second, wav(babble(2, RATE_HZ, 200)), sheet(second)["prompts"][0]["id"], key="another" * 3, keep=1)
    assert len({clip.speaker for clip in ledger.clips()}) == 1
    assert len({clip.session for clip in ledger.clips()}) == 2


def test_the_receipt_has_the_code_the_chain_and_how_to_withdraw(speaker: TestClient, ledger: Ledger) -> None:
    send(speaker, wav(), sheet(speaker)["prompts"][0]["id"])
    page, text = speaker.get("/receipt").text, speaker.get("/receipt.txt").text
    end = ledger.end()
    for receipt in (page, text):
        (code,) = re.findall(r"(?:\d{4} ){4}\d{4}", receipt)
        assert ledger.speaker_of(typed(code)) == ledger.speakers()[0].code
        assert end.hash in receipt and "/withdraw" in receipt and "0600 000 000" in receipt
        assert "My recordings may teach computers to understand speech." in receipt
    assert ledger.verify([end]) == 1
    stranger = TestClient(speaker.app, base_url=HOME)
    assert 'class="code"' not in stranger.get("/receipt").text


def test_withdrawing_with_the_code_asks_nothing_else(speaker: TestClient, ledger: Ledger, recipe: Recipe) -> None:
    send(speaker, wav(), sheet(speaker)["prompts"][0]["id"])
    code = typed(re.findall(r'class="code" dir="ltr">([\d ]+)<', speaker.get("/code").text)[0])
    name = ledger.speakers()[0].code
    other = TestClient(speaker.app, base_url=HOME)  # another phone, no session
    other.get("/")
    page = post(other, "/withdraw", code=code)
    assert strings("ary", PAGES)["withdraw_all_means"] in page.text and len(list(ledger.clips())) == 1
    some = post(other, "/withdraw", code=code, what="some", purpose=["commercial", "tts_clone"])
    assert some.status_code == 200 and "commercial" not in ledger.consents(name)[-1].purposes
    page = post(other, "/withdraw", code=code, what="all")
    assert "data-forget" in page.text
    assert ledger.consents(name)[-1].state == "erased" and list(ledger.clips()) == []
    assert speaker.get("/record").url.path == "/"  # the session is over too
    assert strings("ary", PAGES)["withdrawn_before"] in post(speaker, "/resume", code=code).text


def test_withdrawn_purposes_take_their_facts_along(client: TestClient, ledger: Ledger) -> None:
    code = agree(client)
    post(client, "/about", language="ary-Arab", gender="male", region="MA-01", contact="0600 11 22 33")
    name = ledger.speakers()[0].code
    assert ledger.speaker(name).gender == "male" and ledger.keys.contact(name) == "0600 11 22 33"
    post(client, "/withdraw", code=code, what="some", purpose=["profile_data", "recontact"])
    assert ledger.speaker(name).gender is None and not ledger.keys.contact(name)


def test_after_a_consent_has_ended_nothing_is_taken_until_it_is_given_again(
    speaker: TestClient, ledger: Ledger
) -> None:
    prompt = sheet(speaker)["prompts"][0]["id"]
    (last,) = ledger.consents(ledger.speakers()[0].code)
    ledger.record(last.model_copy(update={"state": "expired", "at": ledger.now(), "recorded": None}))
    assert send(speaker, wav(), prompt).json() == {"state": "forbidden"}
    assert speaker.get("/record").url.path == "/notice"
    post(speaker, "/consent", **EVERYTHING)
    assert ledger.consents(last.speaker)[-1].state == "renewed"
    assert send(speaker, wav(), prompt).json()["state"] == "kept"


# ---------------------------------------------------------------- who gets in


def test_every_form_needs_this_sessions_token(speaker: TestClient, ledger: Ledger) -> None:
    prompt = sheet(speaker)["prompts"][0]["id"]
    for path in ("/language", "/enter", "/consent", "/about", "/resume", "/withdraw", "/leave"):
        for token in ("", "0" * 64, "é"):
            data = {"csrf": token, "code": "1", "language": "fr", "what": "all"}
            assert speaker.post(path, data=data).status_code == 403, path
    assert send(speaker, wav(), prompt, **{"x-csrf": "0" * 64}).status_code == 403
    assert speaker.post("/skip", params={"prompt": prompt}).status_code == 403
    stranger = TestClient(speaker.app, base_url=HOME)
    assert stranger.post("/language", data={"csrf": csrf(speaker), "language": "fr"}).status_code == 403
    assert ledger.end().number == 1 and list(ledger.clips()) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_other_sites_change_nothing(speaker: TestClient, headers: dict[str, str]) -> None:
    data = {"csrf": csrf(speaker), "language": "fr"}
    for path in ("/language", "/leave", "/clip", "/withdraw"):
        assert speaker.post(path, data=data, headers=headers).status_code == 403
    own = {"origin": HOME, "sec-fetch-site": "same-origin"}
    assert speaker.post("/language", data=data, headers=own).status_code == 200


def test_it_answers_under_its_own_names_alone(tmp_path: Path) -> None:
    recipe = make(tmp_path, address="https://booth.example.ma")
    with open_ledger(recipe) as ledger:
        app = record.application(recipe, ledger, "0.0.0.0")
        for host, status in (("booth.example.ma", 200), ("127.0.0.1:8766", 200), ("evil.example", 400)):
            answer = TestClient(app, base_url=HOME).get("/", headers={"host": host})
            assert answer.status_code == status
            assert ("; Secure" in answer.headers.get("set-cookie", "")) == (host == "booth.example.ma")


def test_the_sessions_secret_is_for_the_browser_and_this_site_alone(client: TestClient, recipe: Recipe) -> None:
    answer = client.get("/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert (
        answer.headers["cache-control"] == "no-store" and "'unsafe" not in answer.headers["content-security-policy"]
    )
    code = agree(client)
    stored = b"".join(path.read_bytes() for path in recipe.folder("collect").glob("*.sqlite*"))
    assert code.encode() not in stored and client.cookies["booth"].encode() not in stored


def test_a_link_from_elsewhere_does_not_end_a_session(speaker: TestClient) -> None:
    token = speaker.cookies["booth"]
    bare = TestClient(speaker.app, base_url=HOME)  # a browser that keeps its cookie back
    answer = bare.get("/", headers={"sec-fetch-site": "cross-site"})
    assert "set-cookie" not in answer.headers and "refresh" in answer.text
    assert "set-cookie" in bare.get("/?again=1", headers={"sec-fetch-site": "cross-site"}).headers
    assert speaker.get("/").url.path == "/record" and speaker.cookies["booth"] == token


def test_a_phone_is_handed_on(speaker: TestClient) -> None:
    post(speaker, "/leave")
    assert speaker.get("/record").url.path == "/" and "code" not in speaker.get("/receipt").url.path


def test_codes_cannot_be_guessed(speaker: TestClient, ledger: Ledger) -> None:
    assert len({new_code() for _ in range(100)}) == 100 and all(len(new_code()) == 20 for _ in range(9))
    code = typed(re.findall(r'class="code" dir="ltr">([\d ]+)<', speaker.get("/code").text)[0])
    other = TestClient(speaker.app, base_url=HOME)
    other.get("/")
    statuses = [post(other, path, code=new_code()).status_code for path in ("/resume", "/withdraw") * 6]
    assert statuses == [403] * 10 + [429] * 2
    assert post(other, "/resume", code=code).status_code == 429  # not even the right one, for ten minutes


def test_attempts_are_counted_by_client_and_together_and_forgotten() -> None:
    now = [0.0]
    attempts = Attempts(each=2, together=3, window_s=60, clock=lambda: now[0])
    for client in ("a", "a"):
        assert attempts.allowed(client)
        attempts.wrong(client)
    assert not attempts.allowed("a") and attempts.allowed("b")
    attempts.wrong("b")
    assert not attempts.allowed("c")
    now[0] = 61
    assert attempts.allowed("a") and attempts.allowed("c")


def test_an_invitation_lets_in_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = make(tmp_path, invited=True)
    with open_ledger(recipe) as ledger:
        record.invite(recipe, ledger, 2)
        first, second = map(typed, capsys.readouterr().out.splitlines())
        app = record.application(recipe, ledger)
        for code, comes_in in ((first, True), (first, False), (second, True), (new_code(), False)):
            client = TestClient(app, base_url=HOME)
            client.get("/")
            assert post(client, "/language", language="en").url.path == "/enter"
            assert client.get("/notice").url.path == client.get("/consent").url.path == "/"
            assert (post(client, "/enter", code=code).url.path == "/notice") == comes_in
            assert (post(client, "/consent", **EVERYTHING).url.path == "/code") == comes_in
        stored = b"".join(path.read_bytes() for path in recipe.folder("collect").glob("booth.sqlite*"))
    assert first.encode() not in stored and second.encode() not in stored


# ---------------------------------------------------------------- bodies


def test_a_body_over_its_size_is_cut_off_while_it_streams(speaker: TestClient, ledger: Ledger) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 2**31:
            sent += 2**16
            yield bytes(2**16)

    headers = {"x-csrf": csrf(speaker), "idempotency-key": "k" * 20}
    where = {"prompt": sheet(speaker)["prompts"][0]["id"], "owner": owner(speaker)}
    assert speaker.post("/clip", params=where, content=endless(), headers=headers).status_code == 413
    assert speaker.post("/language", content=bytes(2**17)).status_code == 413
    assert speaker.post("/language", content=b"", headers={"content-length": "-1"}).status_code == 400
    assert speaker.post("/consent", data={f"f{n}": "x" for n in range(10_000)}).status_code in (400, 403, 413)
    assert list(ledger.clips()) == []


def test_a_sender_who_stops_sending_is_not_waited_for() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass

    async def receive() -> Message:
        await asyncio.sleep(5)
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        pass

    scope: Scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    with pytest.raises(HTTPException) as error:
        asyncio.run(Bounds(app, size=10, sizes={}, pause_s=0.01)(scope, receive, send))
    assert error.value.status_code == 408


def test_uploads_wait_on_the_disk_where_nobody_can_read_them() -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"a voice " * 100

    with Spool() as spool:
        asyncio.run(spool.fill(body()))
        assert spool.read() == b"a voice " * 300
        spool._file.seek(0)
        assert b"voice" not in spool._file.read()


def test_files_are_taken_by_the_consent_alone(speaker: TestClient) -> None:
    answer = speaker.post("/about", data={"csrf": csrf(speaker)}, files={"a": ("a.wav", b"x", "audio/wav")})
    assert answer.status_code == 400


# ---------------------------------------------------------------- words


def test_every_sentence_is_there_in_every_language(recipe: Recipe) -> None:
    keys = {language: set(strings(language, PAGES)) for language in INTERFACES}
    assert all(found == keys["en"] for found in keys.values())
    assert all(text.strip() for language in INTERFACES for text in strings(language, PAGES).values())
    assert recipe.collect.record
    for told in read(recipe.collect.record).values():
        assert set(told.purposes) == set(PURPOSES) and told.draft and "an association" in told.notice.text
        assert len(told.paragraphs) >= 6 and told.agree


def test_tamazight_in_latin_letters_is_that_in_tifinagh() -> None:
    assert latin("ⴰⵣⵓⵍ ⴼⵍⵍⴰⵡⵏ. ⵎⴰⵏⵉⴽ ⵜⴳⵉⴷ?") == "Azul fllawn. Manik tgid?"
    assert latin("Azul fellak") == "Azul fellak"
    for sentence in strings("zgh-Latn", PAGES).values():
        assert not re.search("[\u2d30-\u2d67]", sentence)


def test_an_association_brings_its_own_notice_and_recordings(tmp_path: Path) -> None:
    folder = tmp_path / "notices"
    (folder / "ary").mkdir(parents=True)
    (folder / "ary" / "notice.wav").write_bytes(wav())
    (folder / "ary" / "asr_train.ogg").write_bytes(b"OggS")
    purposes = "\n".join(f"  {purpose}: جملة" for purpose in PURPOSES)
    text = f"version: '2'\nagree: موافق\ntext: من {{controller}}\npurposes:\n{purposes}\n"
    (folder / "ary.yaml").write_text(text, encoding="utf-8")
    recipe = make(tmp_path, notices="notices", languages=["ary", "en"])
    with open_ledger(recipe) as ledger, TestClient(record.application(recipe, ledger), base_url=HOME) as client:
        agree(client, "ary")
        notice, sound = ledger.notice(ledger.consents(ledger.speakers()[0].code)[0].notice)
        assert notice.version == "2" and notice.text.startswith("من an association") and sound == wav()
        assert "asr_train read aloud: sha256" in notice.text
        assert client.get("/sound/ary/notice").content == wav()
        for path in ("/sound/ary/agree", "/sound/en/notice", "/sound/ary/..%2Fary.yaml", "/sound/xx/notice"):
            assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: '2'\n", "en.yaml: 'text' is missing"),
        ("version: [\n", "en.yaml: not YAML"),
        ("version: '2'\ntext: '{who}'\nagree: x\npurposes: {}\n", "en.yaml: 'store_prepare' is missing"),
    ],
)
def test_a_notice_that_cannot_be_used_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "notices").mkdir()
    (tmp_path / "notices" / "en.yaml").write_text(text, encoding="utf-8")
    settings = make(tmp_path, notices="notices").collect.record
    assert settings
    with pytest.raises(UserError, match=said):
        read(settings)


def test_faults_of_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="store_prepare: without it no recording can be kept"):
        make(tmp_path, purposes=["asr_train"])
    with pytest.raises(RecipeError, match="address"):
        make(tmp_path, address="booth.example.ma/")
    recipe = make(tmp_path)
    none = recipe.model_copy(update={"collect": recipe.collect.model_copy(update={"record": None})})
    with pytest.raises(UserError, match=r"no section collect.record; docs/booth.md shows one"):
        record.section(none)
