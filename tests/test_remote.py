"""Speech over HTTP, against a real server on this machine that fails in the ways such servers do."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from datasets import Dataset

from evaluate import remote, systems
from evaluate.systems import Item
from recipes.schema import Recipe, RecipeError, Speech, UserError, load

TEXT = "ⴰⵣⵓⵍ ⴰ ⴱⴰⴱⴰ"
KEY = "sk-secret-0123"


def tone(seconds: float = 1.0, rate_hz: int = 24_000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 220 * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def encoded(kind: str, seconds: float = 1.0) -> bytes:
    """A second of sound, as a server would send it."""
    if kind == "pcm":
        return (tone(seconds) * 32767).astype("<i2").tobytes()
    forms = {"wav": ("WAV", "PCM_16"), "mp3": ("MP3", None), "flac": ("FLAC", None), "opus": ("OGG", "OPUS")}
    out = io.BytesIO()
    soundfile.write(out, tone(seconds), 24_000, format=forms[kind][0], subtype=forms[kind][1])
    return out.getvalue()


@dataclass
class Answer:
    status: int = 200
    kind: str = "audio/wav"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None  # Content-Length, where it is not the truth
    after_s: float = 0.0


@dataclass
class Server:
    """What it was asked, and what it answers next; when there is nothing next, `usual`."""

    url: str = ""
    asked: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    next: list[Answer] = field(default_factory=list)
    usual: Callable[[dict[str, Any]], Answer] = lambda body: Answer(body=encoded(body.get("response_format", "wav")))


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append((self.path, dict(self.headers), body))
            answer = state.next.pop(0) if state.next else state.usual(body)
            time.sleep(answer.after_s)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(answer.promised or len(answer.body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(answer.body)
            except OSError:  # who asked has gone
                return

        def log_message(self, *words: object) -> None:
            return

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{running.server_port}/v1"
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield state
    running.shutdown()
    running.server_close()
    thread.join()


def service(server: Server, **keys: Any) -> Speech:
    return Speech.model_validate({"name": "vllm", "url": server.url, "model": "m", "voice": "v", **keys})


def spoken(
    system: Speech, text: str = TEXT, prompt: remote.Prompt | None = None
) -> tuple[Any, remote.Note, list[float]]:
    """What the service says, and how long was waited between attempts."""
    waits: list[float] = []
    with remote.open_client(system) as client:
        samples, note = remote.speak(client, system, text, prompt, waits.append)
    return samples, note, waits


# ---------------------------------------------------------------- what is asked


def test_openai_protocol(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    samples, note, _ = spoken(service(server, key_env="MY_KEY", options={"speed": 0.9}, price_per_million=15))
    path, headers, body = server.asked[0]
    assert path == "/v1/audio/speech" and headers["Authorization"] == f"Bearer {KEY}"
    assert body == {"model": "m", "input": TEXT, "voice": "v", "response_format": "wav", "speed": 0.9}
    assert len(samples) == note.rate_hz == 24_000 and note.characters == len(TEXT) and note.took_s > 0
    assert note.cost == pytest.approx(len(TEXT) * 15e-6)


def test_elevenlabs_protocol(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    server.usual = lambda body: Answer(kind="audio/mpeg", body=encoded("mp3"))
    system = service(server, protocol="elevenlabs", voice="a/b", format="mp3", key_env="MY_KEY", options={"seed": 3})
    assert len(spoken(system)[0]) == pytest.approx(24_000, abs=1200)
    path, headers, body = server.asked[0]
    assert path == "/v1/text-to-speech/a%2Fb?output_format=mp3_44100_128" and headers["xi-api-key"] == KEY
    assert body == {"text": TEXT, "model_id": "m", "seed": 3} and "Authorization" not in headers


def test_mistral_protocol(server: Server) -> None:
    sound = base64.b64encode(encoded("flac")).decode()
    server.usual = lambda body: Answer(kind="application/json", body=json.dumps({"audio_data": sound}).encode())
    samples, _, _ = spoken(service(server, protocol="mistral", format="flac"))
    assert len(samples) == 24_000 and server.asked[0][2]["voice_id"] == "v"
    server.next = [Answer(kind="application/json", body=b'{"audio_data": "UklG"}')]
    assert spoken(service(server, protocol="mistral", format="flac"))[2] == [1.0]  # that was half of it


def test_a_voice_goes_along_where_it_is_asked_for(server: Server) -> None:
    prompt = remote.Prompt("u1", encoded("wav"), "ⴰⵎⴰⵏ")
    spoken(service(server, voice=None, clone=True), prompt=prompt)
    body = server.asked[0][2]
    assert body["ref_text"] == "ⴰⵎⴰⵏ" and "voice" not in body
    assert base64.b64decode(body["ref_audio"].removeprefix("data:audio/wav;base64,")) == prompt.wav


@pytest.mark.parametrize("kind", ["wav", "mp3", "flac", "opus", "pcm"])
def test_every_format_is_decoded(server: Server, kind: str) -> None:
    samples, note, _ = spoken(service(server, format=kind))
    assert len(samples) / note.rate_hz == pytest.approx(1, abs=0.06)
    assert np.sqrt(np.mean(np.square(samples))) == pytest.approx(0.212, abs=0.01)


def test_a_wav_that_was_streamed_has_no_length_and_is_whole_all_the_same(server: Server) -> None:
    body = bytearray(encoded("wav"))
    body[4:8] = body[40:44] = b"\xff\xff\xff\xff"
    server.next = [Answer(body=bytes(body))]
    assert len(spoken(service(server))[0]) == 24_000


# ---------------------------------------------------------------- what goes wrong


BUSY = Answer(429, "application/json", b'{"error": {"message": "slow down"}}', {"Retry-After": "7"})


def test_a_busy_server_is_left_alone_as_long_as_it_asks(server: Server) -> None:
    server.next = [BUSY, Answer(503, "text/html", b"<html>Bad</html>"), Answer(500)]
    assert spoken(service(server))[2] == [7.0, 2.0, 4.0] and len(server.asked) == 4
    at = time.time() + 30
    server.next = [Answer(429, headers={"Retry-After": formatdate(at, usegmt=True)})]
    (wait,) = spoken(service(server))[2]
    assert 0 <= wait <= 30.5
    server.next = [Answer(429, headers={"Retry-After": "soon"})]
    assert spoken(service(server))[2] == [1.0]


def test_who_stays_busy_is_told_with_what_the_server_said(server: Server) -> None:
    server.next = [BUSY] * 3
    with pytest.raises(
        UserError, match=r"vllm: the server says 429: slow down \(attempt 2 of 2\); what came is kept"
    ):
        spoken(service(server, attempts=2))
    server.next = [Answer(429, headers={"Retry-After": "86400"})]
    with pytest.raises(UserError, match=r"attempt 1 of 5; it wants 86400 s of rest"):
        spoken(service(server))


def test_half_a_file_is_asked_for_again(server: Server) -> None:
    whole = encoded("wav")
    half = whole[: len(whole) // 2]
    server.next = [Answer(body=half, promised=len(whole)), Answer(body=half), Answer(body=b""), Answer(body=whole)]
    samples, _, waits = spoken(service(server))
    assert len(samples) == 24_000 and waits == [1.0, 2.0, 4.0]
    flac = encoded("flac")
    server.next = [Answer(body=flac[: len(flac) // 2])]
    assert spoken(service(server, format="flac"))[2] == [1.0]
    server.next = [Answer(body=encoded("pcm")[:-1])]
    assert spoken(service(server, format="pcm"))[2] == [1.0]


def test_speech_that_is_too_short_for_its_words_is_asked_for_once_more_and_then_believed(server: Server) -> None:
    long = "ⴰⵣⵓⵍ " * 30
    server.next = [Answer(body=encoded("wav", 0.2))]
    samples, note, waits = spoken(service(server), long * 1)
    assert waits == [1.0] and note.short  # a second is too short as well: the server speaks so
    server.usual = lambda body: Answer(body=encoded("wav", 5.0))
    server.next = [Answer(body=encoded("wav", 0.2))]
    samples, note, waits = spoken(service(server), long)
    assert waits == [1.0] and not note.short and len(samples) == 5 * 24_000


def test_no_answer_in_time(server: Server) -> None:
    server.next = [Answer(after_s=0.6, body=encoded("wav"))]
    assert spoken(service(server, timeout_s=0.25))[2] == [1.0]
    server.next = [Answer(after_s=0.6)]
    with pytest.raises(UserError, match=r"no answer within 0.25 s \(attempt 1 of 1\)"):
        spoken(service(server, timeout_s=0.25, attempts=1))


def test_nobody_at_the_address() -> None:
    system = Speech.model_validate({"name": "x", "url": "http://127.0.0.1:9/v1", "attempts": 2})
    with pytest.raises(UserError, match=r"x: http://127.0.0.1:9/v1 cannot be reached .* \(attempt 2 of 2\)"):
        spoken(system)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            Answer(401, "application/json", b'{"error": "bad key sk-secret-0123"}'),
            r"401: bad key …; look at the key in",
        ),
        (
            Answer(404, "application/json", b'{"detail": {"message": "no such voice"}}'),
            r"404: no such voice; look at `url`",
        ),
        (Answer(307, "text/plain", b"", {"Location": "http://elsewhere.example/"}), r"the server says 307"),
        (Answer(200, "text/html", b"<html>Welcome</html>"), r"answered with text/html, .*up to /v1"),
        (Answer(200, "application/json", b'{"ok": true}'), r"answered with application/json"),
    ],
)
def test_what_no_patience_mends_is_told_at_once_and_the_key_never(
    server: Server, monkeypatch: pytest.MonkeyPatch, answer: Answer, told: str
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    server.next = [answer]
    with pytest.raises(UserError, match=told) as error:
        spoken(service(server, key_env="MY_KEY"))
    assert len(server.asked) == 1 and KEY not in str(error.value) and "\n" not in str(error.value)


def test_a_sentence_that_the_server_will_not_say(server: Server) -> None:
    server.next = [Answer(422, "application/json", b'{"detail": "unsupported characters"}')]
    with pytest.raises(remote.NotSpoken, match="422: unsupported characters"):
        spoken(service(server))
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(24_000), 24_000, format="WAV")
    server.next = [Answer(body=silence.getvalue())]
    with pytest.raises(remote.NotSpoken, match="silence"):
        spoken(service(server))


def test_a_key_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    system = Speech.model_validate({"name": "x", "url": "https://api.openai.com/v1", "key_env": "MY_KEY"})
    with pytest.raises(UserError, match="x: the environment variable MY_KEY is not set"):
        remote.open_client(system)


# ---------------------------------------------------------------- what may leave, and what is kept


def recipe_of(tmp_path: Path, system: dict[str, Any], **evaluate: Any) -> Recipe:
    whole = {
        "name": "t",
        "work_dir": "work",
        "collect": {"source": "."},
        "prepare": {"purpose": "tts_clone"},
        "train": {"family": "fastspeech2", "base": "some/base"},
        "evaluate": {"systems": [system], **evaluate},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(whole))
    return load(tmp_path / "recipe.yaml")


def row(name: str, *purposes: str) -> dict[str, Any]:
    return {"id": name, "purposes": list(purposes), "speaker": name, "duration_s": 4.0, "language": "zgh-Tfng"}


def test_nothing_goes_out_unless_the_recipe_says_so(tmp_path: Path) -> None:
    system = {"name": "openai", "url": "https://api.openai.com/v1", "voice": "alloy"}
    with pytest.raises(
        RecipeError, match=r"`allow_network: true` lets the sentences go to https://api.openai.com/v1"
    ):
        recipe_of(tmp_path, system)
    assert recipe_of(tmp_path, system, allow_network=True)
    for url in ("http://localhost:8000/v1", "http://127.0.0.1/v1", "http://[::1]:8000/v1"):
        assert recipe_of(tmp_path, system | {"url": url})
    for url in ("http://localhost.example.org/v1", "http://127.0.0.1.nip.io/v1", "http://10.0.0.5/v1"):
        with pytest.raises(RecipeError, match="allow_network"):
            recipe_of(tmp_path, system | {"url": url})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"url": "http://api.example.org/v1", "key_env": "K"}, "a key is sent over https:// only"),
        ({"url": "https://user:pw@api.example.org/v1"}, "should match pattern"),
        ({"voice": "v", "clone": True}, "not both"),
        ({"options": {"input": "x"}}, "`options.input` is set by another key"),
        ({"protocol": "elevenlabs"}, "needs a `voice`"),
        ({"protocol": "mistral", "format": "pcm"}, "Mistral's pcm"),
        ({"voce": "v"}, "did you mean `voice`"),
        ({"name": "base"}, "this name has a meaning of its own"),
    ],
)
def test_a_service_that_cannot_be_asked(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipe_of(tmp_path, {"name": "x", "url": "https://api.example.org/v1"} | change, allow_network=True)


def test_words_of_speakers_leave_the_machine_only_where_they_allowed_it(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = {"name": "vllm", "url": server.url, "voice": "v"}
    recipe = recipe_of(tmp_path, system)
    wanted = [
        Item("ⴰⵣⵓⵍ", "zgh-Tfng", "a", row("a", "tts_clone", "transfer_abroad")),
        Item("ⴰⵎⴰⵏ", "zgh-Tfng", "b", row("b", "tts_clone")),
        Item("ⴰⵖⵔⵓⵎ", "zgh-Tfng", "b"),  # of evaluate.sentences
    ]
    made, left_out = systems.render(recipe, recipe.evaluate.systems[0], wanted)
    assert [one.item.text for one in made] == ["ⴰⵣⵓⵍ", "ⴰⵎⴰⵏ", "ⴰⵖⵔⵓⵎ"] and not left_out  # to this machine
    monkeypatch.setattr(Speech, "local", property(lambda self: False))
    made, left_out = systems.render(recipe, recipe.evaluate.systems[0], wanted)
    assert [one.item.text for one in made] == ["ⴰⵣⵓⵍ", "ⴰⵖⵔⵓⵎ"] and len(server.asked) == 3
    assert left_out == {"vllm: not sent: its speaker did not allow transfer_abroad": 1}


def test_a_voice_leaves_only_with_both_consents(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(tmp_path, {"name": "vllm", "url": server.url, "clone": True})
    audio = encoded("flac")
    rows = [
        row("a", "tts_clone", "transfer_abroad"),
        row("b", "tts_clone"),
        row("c", "transfer_abroad", "tts_multi"),
    ]
    train = Dataset.from_list([one | {"audio": audio, "text": "ⴰⵎⴰⵏ"} for one in rows])
    monkeypatch.setattr(systems, "open_dataset", lambda recipe: {"train": train})
    (system,) = recipe.evaluate.systems
    assert isinstance(system, Speech)
    assert set(systems.prompts(recipe, system)) == {"a", "b"}
    wanted = [Item("ⴰⵣⵓⵍ", "zgh-Tfng", who) for who in "abc"]
    monkeypatch.setattr(Speech, "local", property(lambda self: False))
    made, left_out = systems.render(recipe, system, wanted)
    assert [one.item.speaker for one in made] == ["a"] and len(server.asked) == 1
    assert left_out == {"vllm: not sent: its speaker did not allow their voice to be": 2}
    with pytest.raises(UserError, match=r"vllm: no sentence was spoken: vllm: not sent: its speaker did not"):
        systems.render(recipe, system, wanted[1:])


def test_a_sentence_is_paid_for_once_and_goes_when_its_words_go(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = {"name": "vllm", "url": server.url, "voice": "v", "price_per_million": 10}
    recipe = recipe_of(tmp_path, system)
    wanted = [Item("ⴰⵣⵓⵍ", "zgh-Tfng", "a", row("a")), Item("ⴰⵎⴰⵏ", "zgh-Tfng", "b", row("b"))]
    server.next = [Answer(body=encoded("wav")), Answer(400, "text/plain", b"no")]
    made, left_out = systems.render(recipe, recipe.evaluate.systems[0], wanted)
    assert left_out == {"vllm: not spoken: the server says 400: no": 1}
    again, none = systems.render(recipe, recipe.evaluate.systems[0], wanted)  # only what had not come is asked for
    assert [body["input"] for _, _, body in server.asked] == ["ⴰⵣⵓⵍ", "ⴰⵎⴰⵏ", "ⴰⵎⴰⵏ"] and not none
    assert again[0].took_s == made[0].took_s and again[0].cost == pytest.approx(4e-5)
    np.testing.assert_array_equal(again[0].samples, made[0].samples)
    other = recipe_of(tmp_path, system | {"voice": "w"})
    systems.render(other, other.evaluate.systems[0], wanted[:1])
    assert len(server.asked) == 4  # another voice is another question
    left = {"train": Dataset.from_list([row("b")]), "valid": Dataset.from_list([]), "test": Dataset.from_list([])}
    monkeypatch.setattr(systems, "open_dataset", lambda recipe: {"train": left["train"]})
    monkeypatch.setattr("evaluate.models.open_dataset", lambda recipe: {"train": left["train"]})
    systems.forget(recipe)
    kept = sorted(path.suffix for path in (tmp_path / "work" / "evaluate" / "rendered" / "http").iterdir())
    assert kept == [".flac", ".json"]


def test_the_key_is_in_nothing_that_is_written(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    recipe = recipe_of(tmp_path, {"name": "vllm", "url": server.url, "voice": "v", "key_env": "MY_KEY"})
    systems.render(recipe, recipe.evaluate.systems[0], [Item("ⴰⵣⵓⵍ", "zgh-Tfng", "a")])
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 3 and not any(KEY.encode() in data for data in written)
