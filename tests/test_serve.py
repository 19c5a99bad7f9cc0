"""`python -m evaluate.serve` as a client meets it: OpenAI's protocol over a real socket, and what is refused."""

import io
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import uvicorn
import yaml

from evaluate import feedback, marked, stimuli, watermark
from evaluate.serve import app as served
from evaluate.serve.desk import Desk
from evaluate.serve.metrics import Metrics
from recipes.provenance import mark_withdrawn
from recipes.schema import Recipe, UserError, load
from tests import tiny, voice
from tests.babble import babble
from tests.conftest import needs
from train.adapter import adapter_folder, add_lora, save, voice_of
from train.families import open_family
from train.families.pocket_tts import PocketTts
from train.sharing import held_bytes
from web.serve import address, door


@contextmanager
def running(recipe: Recipe) -> Iterator[httpx.Client]:
    """The real app at a real address."""
    with door("127.0.0.1", 0, "") as listening:
        server = uvicorn.Server(uvicorn.Config(served.application(recipe), http="h11", log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        with httpx.Client(base_url=address(listening), timeout=120, trust_env=False) as client:
            try:
                while not server.started:
                    time.sleep(0.01)
                yield client
            finally:
                server.should_exit = True
                thread.join()


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recipe, httpx.Client]]:
    recipe = voice.ready(tmp_path_factory.mktemp("speaker"), serve={"max_chars": 40})
    with running(recipe) as client:
        yield recipe, client


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recipe, httpx.Client]]:
    recipe = voice.ready(tmp_path_factory.mktemp("recogniser"), "ctc", serve={"max_mib": 1})
    with running(recipe) as client:
        yield recipe, client


def said(**changes: Any) -> dict[str, Any]:
    return {"model": "adapter", "input": "ⴰⵉⵓ ⴰⵉ", "voice": "amina", "response_format": "wav"} | changes


def recording(seconds: float = 1.0) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, babble(seconds, silence_s=0), 16_000, format="WAV")
    return out.getvalue()


def value(client: httpx.Client, line: str) -> float:
    found = re.search(rf"^{re.escape(line)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


# ---------------------------------------------------------------- speech


@pytest.mark.parametrize("kind", ["wav", "mp3", "opus", "flac"])
def test_speech_comes_in_every_format_and_says_that_it_is_synthetic(
    speaker: tuple[Recipe, httpx.Client], kind: str
) -> None:
    recipe, client = speaker
    answer = client.post("/v1/audio/speech", json=said(response_format=kind))
    assert answer.status_code == 200, answer.text
    with soundfile.SoundFile(io.BytesIO(answer.content)) as file:
        assert len(file) > 0 and file.comment == answer.headers["x-synthetic-speech"]
    assert answer.headers["x-synthetic-speech"].endswith(marked.adapter_hash(recipe))


def test_pcm_is_at_24_khz_and_mp3_is_what_comes_unasked(speaker: tuple[Recipe, httpx.Client]) -> None:
    _, client = speaker
    wave, rate_hz = soundfile.read(io.BytesIO(client.post("/v1/audio/speech", json=said()).content))
    pcm = client.post("/v1/audio/speech", json=said(response_format="pcm"))
    assert len(pcm.content) / 2 / 24_000 == pytest.approx(len(wave) / rate_hz, abs=0.01)
    unasked = {key: text for key, text in said().items() if key != "response_format"}
    assert client.post("/v1/audio/speech", json=unasked).headers["content-type"] == "audio/mpeg"


def sound(data: bytes) -> bytes:
    """The samples of a file: a signed file has an id of its own, so its bytes are never twice the same."""
    samples: bytes = soundfile.read(io.BytesIO(data))[0].tobytes()
    return samples


def test_fifty_requests_at_once_and_none_is_lost(speaker: tuple[Recipe, httpx.Client]) -> None:
    _, client = speaker
    texts = ["ⴰⵉⵓ", "ⴰⵉⵓ ⴰⵉ", "ⴰⵉⵓ ⴰⵉⵓ ⴰⵉⵓ ⴰⵉ"]
    alone = [sound(client.post("/v1/audio/speech", json=said(input=text)).content) for text in texts]

    def ask(number: int) -> bool:
        answer = client.post("/v1/audio/speech", json=said(input=texts[number % 3]))
        return answer.status_code == 200 and sound(answer.content) == alone[number % 3]  # nobody gets another's words

    with ThreadPoolExecutor(50) as many:
        assert list(many.map(ask, range(50))) == [True] * 50
    assert value(client, "twiza_waiting") == 0


@pytest.mark.parametrize(
    ("changes", "status", "code", "told"),
    [
        ({"input": "ⴰ" * 41}, 400, "text_too_long", "input has 41 characters; at most 40"),
        ({"input": " "}, 400, "no_text", "input is the text"),
        ({"input": "ⴰ 7"}, 400, "digits", "write numbers as words"),
        ({"input": "!"}, 400, "no_letters", "no letter of zgh-Tfng"),
        ({"input": "ⴰⵣ"}, 400, "unknown_letters", "letters that the model never learnt: ⵣ"),
        ({"model": "gpt-4o-mini-tts"}, 404, "model_not_found", "there is: adapter"),
        ({"model": ["adapter"]}, 404, "model_not_found", "there is: adapter"),
        ({"voice": "alloy"}, 403, "voice_not_allowed", "default or one of amina"),
        ({"response_format": ["wav"]}, 400, "invalid_format", "wav, mp3, opus, flac, pcm"),
        ({"response_format": "aac"}, 400, "invalid_format", "wav, mp3, opus, flac, pcm"),
        ({"speed": 2}, 400, "unsupported", "speed can only be 1"),
        ({"instructions": "sing"}, 400, "unsupported", "no instructions"),
        ({"stream_format": "sse"}, 400, "unsupported", "stream_format can only be audio"),
        ({"language": "fr"}, 400, "unknown_language", "language is one of zgh-Tfng"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_reason(
    speaker: tuple[Recipe, httpx.Client], changes: dict[str, Any], status: int, code: str, told: str
) -> None:
    _, client = speaker
    line = f'twiza_refusals_total{{reason="{code}"}}'
    before = value(client, line)
    answer = client.post("/v1/audio/speech", json=said(**changes))
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code and told in answer.json()["error"]["message"]
    assert value(client, line) == before + 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(speaker: tuple[Recipe, httpx.Client], body: bytes) -> None:
    assert speaker[1].post("/v1/audio/speech", content=body).json()["error"]["code"] == "invalid_json"


def test_the_default_voice_and_a_voice_as_an_object(speaker: tuple[Recipe, httpx.Client]) -> None:
    _, client = speaker
    bodies = [said(voice="default"), said(voice={"id": "amina"}), said()]
    spoken = [sound(client.post("/v1/audio/speech", json=body).content) for body in bodies]
    assert spoken[0] == spoken[1] == spoken[2]


def test_models_are_listed_with_voices_and_languages(speaker: tuple[Recipe, httpx.Client]) -> None:
    recipe, client = speaker
    (one,) = client.get("/v1/models").json()["data"]
    assert (one["id"], one["kind"], one["voices"], one["languages"]) == ("adapter", "speech", ["amina"], ["zgh-Tfng"])
    assert one["weights"] == marked.adapter_hash(recipe)
    assert client.get("/v1/models/adapter").json() == one
    assert client.get("/v1/models/other").status_code == 404
    assert client.get("/elsewhere").json()["error"]["code"] == "refused"


# ---------------------------------------------------------------- transcription


@pytest.mark.parametrize("kind", ["json", "text", "verbose_json"])
def test_a_recording_is_written_down(recogniser: tuple[Recipe, httpx.Client], kind: str) -> None:
    _, client = recogniser
    form = {"model": "adapter", "response_format": kind, "language": "zgh"}
    answer = client.post("/v1/audio/transcriptions", data=form, files={"file": ("a.wav", recording())})
    assert answer.status_code == 200, answer.text
    if kind == "verbose_json":
        assert answer.json()["duration"] == pytest.approx(1.0) and answer.json()["language"] == "zgh-Tfng"
    assert kind == "text" or isinstance(answer.json()["text"], str)


@pytest.mark.parametrize(
    ("content", "form", "status", "told"),
    [
        (b"RIFF", {}, 400, "the recording cannot be used"),
        (b"", {}, 400, "the recording cannot be used"),
        (b"\0" * (2**20 + 1), {}, 413, "too large; at most 1 MiB"),
        (b"\0" * (5 * 2**19), {}, 413, "too large; at most 1 MiB"),
        (None, {}, 400, "file is the recording"),
        (b"RIFF", {"response_format": "srt"}, 400, "json, text or verbose_json"),
        (b"RIFF", {"stream": "true"}, 400, "text comes whole"),
        (b"RIFF", {"model": "whisper-1"}, 404, "there is: adapter"),
    ],
)
def test_a_recording_that_is_not_taken(
    recogniser: tuple[Recipe, httpx.Client], content: bytes | None, form: dict[str, str], status: int, told: str
) -> None:
    _, client = recogniser
    files = {"file": ("a.wav", content)} if content is not None else {"other": ("a.wav", b"x")}
    answer = client.post("/v1/audio/transcriptions", data={"model": "adapter"} | form, files=files)
    assert answer.status_code == status
    assert told in answer.json()["error"]["message"]


def test_a_recording_shorter_than_the_model_hears_is_no_fault_of_the_server(
    recogniser: tuple[Recipe, httpx.Client],
) -> None:
    short = io.BytesIO()
    soundfile.write(short, babble(1.0)[8_000:8_480], 16_000, format="WAV")  # 0.03 s
    files = {"file": ("a.wav", short.getvalue())}
    answer = recogniser[1].post("/v1/audio/transcriptions", data={"model": "adapter"}, files=files)
    assert answer.status_code == 200, answer.text


def test_a_much_too_large_upload_is_cut_off(recogniser: tuple[Recipe, httpx.Client]) -> None:
    _, client = recogniser

    def endless() -> Iterator[bytes]:
        yield b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n"
        for _ in range(64):
            yield b"\0" * 2**20

    headers = {"content-type": "multipart/form-data; boundary=x"}
    try:
        status = client.post("/v1/audio/transcriptions", content=endless(), headers=headers).status_code
    except httpx.TransportError:  # it hung up while more was being sent
        status = 413
    assert status == 413
    assert client.get("/health").json() == {"status": "ok"}


def test_a_recogniser_does_not_speak(recogniser: tuple[Recipe, httpx.Client]) -> None:
    answer = recogniser[1].post("/v1/audio/speech", json=said())
    assert answer.json()["error"]["message"] == "adapter transcribes, it does not speak"


# ---------------------------------------------------------------- OpenAI's own client


@pytest.fixture
def openais() -> Iterator[Callable[[httpx.Client], Any]]:
    """OpenAI's own client of the server that another client talks to."""
    with ExitStack() as opened:

        def client(http: httpx.Client) -> Any:
            import openai

            there = str(http.base_url.join("/v1"))
            return opened.enter_context(openai.OpenAI(base_url=there, api_key="none", max_retries=0))

        yield client


@needs("openai")
def test_openais_own_client_speaks_and_is_told_why_not(
    speaker: tuple[Recipe, httpx.Client], openais: Callable[[httpx.Client], Any], tmp_path: Path
) -> None:
    import openai

    client = openais(speaker[1])
    assert [model.id for model in client.models.list()] == ["adapter"]
    asked: dict[str, Any] = {"model": "adapter", "voice": "amina", "response_format": "wav"}
    made = client.audio.speech.create(input="ⴰⵉⵓ", **asked)
    assert soundfile.info(io.BytesIO(made.content)).duration > 0
    with client.audio.speech.with_streaming_response.create(input="ⴰⵉⵓ", **asked) as answer:
        answer.stream_to_file(tmp_path / "said.wav")
    heard, again = (soundfile.read(file)[0] for file in (tmp_path / "said.wav", io.BytesIO(made.content)))
    assert np.array_equal(heard, again)  # the bytes differ: each signed file has an id of its own
    with pytest.raises(openai.BadRequestError, match="input has 41 characters; at most 40") as long:
        client.audio.speech.create(input="ⴰ" * 41, **asked)
    assert (long.value.code, long.value.param) == ("text_too_long", "input")
    with pytest.raises(openai.PermissionDeniedError, match="this voice may not be used here"):
        client.audio.speech.create(input="ⴰ", **asked | {"voice": "alloy"})
    with pytest.raises(openai.NotFoundError, match="no such model"):
        client.audio.speech.create(input="ⴰ", **asked | {"model": "tts-1"})


@needs("openai")
def test_openais_own_client_transcribes(
    recogniser: tuple[Recipe, httpx.Client], openais: Callable[[httpx.Client], Any]
) -> None:
    import openai

    client = openais(recogniser[1])
    asked: dict[str, Any] = {"model": "adapter", "file": ("a.wav", recording()), "language": "zgh"}
    heard = client.audio.transcriptions.create(**asked)
    assert isinstance(heard.text, str)
    assert client.audio.transcriptions.create(**asked, response_format="text").rstrip("\n") == heard.text
    assert client.audio.transcriptions.create(**asked, response_format="verbose_json").duration == pytest.approx(1.0)
    with pytest.raises(openai.BadRequestError, match="the recording cannot be used"):
        client.audio.transcriptions.create(model="adapter", file=("a.wav", b"RIFF"))


# ---------------------------------------------------------------- sound while it is made

LONG = "ⴰⵉⵓ ⴰⵉ. ⴰⵉⵓ! ⴰⵉ ⴰⵉⵓ؟ ⴰⵉ"


@contextmanager
def one_by_one(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[httpx.Client, Any, list[str]]]:
    """A server that speaks a piece for each `release` of the semaphore; and the pieces that it began."""
    may_speak, began = threading.Semaphore(0), list[str]()
    levelled = served.requests._levelled

    def waits(recipe: Recipe, asked: Any, text: str) -> Any:
        began.append(text)
        assert may_speak.acquire(timeout=60)
        return levelled(recipe, asked, text)

    monkeypatch.setattr(served.requests, "_levelled", waits)
    with running(recipe) as client:
        yield client, may_speak, began


@pytest.mark.parametrize("kind", ["wav", "mp3", "opus"])
def test_speech_in_pieces_is_one_file_with_all_of_them(speaker: tuple[Recipe, httpx.Client], kind: str) -> None:
    recipe, client = speaker
    answer = client.post("/v1/audio/speech", json=said(input=LONG, response_format=kind, stream_format="audio"))
    assert answer.status_code == 200 and "content-length" not in answer.headers
    pieces = [pcm(client, piece) for piece in ("ⴰⵉⵓ ⴰⵉ", "ⴰⵉⵓ", "ⴰⵉ ⴰⵉⵓ", "ⴰⵉ")]
    wanted_s = sum(len(piece) for piece in pieces) / 24_000 + 3 * 0.25
    assert length_s(answer.content, kind) == pytest.approx(wanted_s, abs=0.2)
    assert answer.headers["x-synthetic-speech"].endswith(marked.adapter_hash(recipe))
    assert answer.headers["x-synthetic-speech"].encode() in answer.content
    # Unasked it comes whole; and FLAC, which says its length first.
    assert client.post("/v1/audio/speech", json=said(input=LONG)).headers["content-length"]
    flac = said(input=LONG, response_format="flac", stream_format="audio")
    assert client.post("/v1/audio/speech", json=flac).headers["content-length"]


def length_s(content: bytes, kind: str, rate_hz: int = 16_000) -> float:
    """Of sound in a file that may not say how long it is."""
    if kind == "mp3":  # ISO 13818-3: frames of 576 samples, which say their bit rate
        start, count = content.index(b"\xff\xf3"), 0
        while content[start : start + 1] == b"\xff":
            kbps = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160][content[start + 2] >> 4]
            start += 72 * kbps * 1000 // rate_hz + (content[start + 2] >> 1 & 1)
            count += 1
        return count * 576 / rate_hz
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        return len(file.read(60 * file.samplerate)) / file.samplerate


def pcm(client: httpx.Client, text: str, **more: Any) -> Any:
    asked = said(input=text, response_format="pcm") | more
    return np.frombuffer(client.post("/v1/audio/speech", json=asked).content, "<i2")


def test_pieces_are_those_that_are_spoken_alone(speaker: tuple[Recipe, httpx.Client]) -> None:
    _, client = speaker
    pause = np.zeros(6_000, np.int16)
    parts = [pcm(client, "ⴰⵉⵓ ⴰⵉ"), pause, pcm(client, "ⴰⵉ"), pause, pcm(client, "ⵓⴰ")]
    joined = pcm(client, "ⴰⵉⵓ ⴰⵉ. ⴰⵉ!  ! ⵓⴰ.", stream_format="audio")
    assert len(joined) == pytest.approx(sum(map(len, parts)), abs=30)
    first = len(parts[0]) - 100  # resampling looks ahead
    assert np.abs(joined[:first].astype(int) - parts[0][:first]).max() <= 1


def test_a_long_sentence_is_cut_at_its_commas_too() -> None:
    short, long = "ⴰⵉ, ⴰⵉ. ⵓ", "ⴰⵉ" * 30 + ", " + "ⵓⴰ" * 30
    assert served.requests._pieces(short, "zgh-Tfng") == ("ⴰⵉ ⴰⵉ", "ⵓ")
    assert served.requests._pieces(long, "zgh-Tfng") == ("ⴰⵉ" * 30, "ⵓⴰ" * 30)
    assert served.requests._pieces("سلام؟ لباس، عليك", "ary-Arab") == ("سلام", "لباس عليك")


@needs("openai")
@pytest.mark.parametrize("kind", ["pcm", "wav", "mp3", "opus"])
def test_openais_own_client_hears_the_first_piece_before_the_last_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openais: Callable[[httpx.Client], Any], kind: str
) -> None:
    recipe, piece_s = voice.ready(tmp_path), 2 if kind == "opus" else 1
    with one_by_one(recipe, monkeypatch) as (http, may_speak, began):
        loud = served.requests._levelled
        monkeypatch.setattr(
            served.requests, "_levelled", lambda *args: np.tile(loud(*args), 40)[: piece_s * 16_000]
        )  # a codec keeps back less than a second
        client = openais(http)
        asked: dict[str, Any] = {"model": "adapter", "voice": "amina", "response_format": kind, "input": LONG}
        may_speak.release()
        with client.audio.speech.with_streaming_response.create(stream_format="audio", **asked) as answer:
            chunks = answer.iter_bytes()
            first = next(chunks)
            assert first and len(began) < 4
            may_speak.release(3)
            whole = first + b"".join(chunks)
    assert began == ["ⴰⵉⵓ ⴰⵉ", "ⴰⵉⵓ", "ⴰⵉ ⴰⵉⵓ", "ⴰⵉ"]
    if kind != "pcm":
        assert length_s(whole, kind) > 3.5 * piece_s


def test_who_hangs_up_stops_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with one_by_one(voice.ready(tmp_path), monkeypatch) as (client, may_speak, began):
        may_speak.release()
        asked = said(input=LONG, response_format="pcm", stream_format="audio")
        with client.stream("POST", "/v1/audio/speech", json=asked) as answer:
            heard = answer.iter_raw()
            next(heard)
            heard.close()
        while value(client, "twiza_waiting"):  # its place in the queue is free again
            time.sleep(0.01)
        may_speak.release(100)
        assert client.post("/v1/audio/speech", json=said()).status_code == 200
        assert len(began) <= 3  # the first, perhaps one that had begun, and the other request's


def test_a_stream_that_is_refused_says_so_before_it_begins(speaker: tuple[Recipe, httpx.Client]) -> None:
    _, client = speaker
    for changes, status in [({"input": "ⴰ. ⴰⵣ"}, 400), ({"voice": "alloy"}, 403), ({"input": "."}, 400)]:
        assert client.post("/v1/audio/speech", json=said(stream_format="audio", **changes)).status_code == status


# ---------------------------------------------------------------- within a sentence

FRAMES, FRAME = 24, 1920  # of a sentence; samples of a frame, 0.08 s


@pytest.fixture(scope="module")
def flowing(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A recipe for a Pocket TTS whose sentences all last for 24 frames; and a little louder than full scale."""
    folder = tmp_path_factory.mktemp("flowing")
    base = Path(tiny.base("pocket_tts", folder / "base", letters=""))
    how = {"do_sample": True, "min_frames_before_eos": FRAMES - 3, "eos_threshold": -1e9}
    (base / "generation_config.json").write_text(json.dumps(how), encoding="utf-8")
    voice.ready(folder)
    settings = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    settings["train"] = {"family": "pocket_tts", "base": str(base), "precision": "fp32"}
    settings["evaluate"] |= {"loudness_lufs": -10.0}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    recipe = load(folder / "recipe.yaml")
    family = open_family(recipe.train)
    add_lora(family, recipe.train.lora, tiny.TEXTS)
    save(recipe, family)
    return recipe


@contextmanager
def frame_by_frame(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[httpx.Client, Any, list[str], threading.Event]]:
    """A server that draws a frame for each `release` of the semaphore; its frames, and whether the work was ended."""
    may_draw, drawn, ended = threading.Semaphore(0), list[str](), threading.Event()
    draw = PocketTts._drawn

    def waits(self: PocketTts, text: str, *rest: Any) -> Iterator[Any]:
        try:
            for frame in draw(self, text, *rest):
                assert may_draw.acquire(timeout=60)
                drawn.append(text)
                yield frame
        except GeneratorExit:
            ended.set()
            raise

    monkeypatch.setattr(PocketTts, "_drawn", waits)
    with running(recipe) as client:
        may_draw.release(FRAMES)  # for the sentence that the voice's loudness is known by
        yield client, may_draw, drawn, ended


@needs("openai")
@pytest.mark.parametrize("kind", ["pcm", "wav", "mp3", "opus"])
def test_openais_own_client_hears_a_sentence_before_its_last_frame_is_drawn(
    flowing: Recipe, monkeypatch: pytest.MonkeyPatch, openais: Callable[[httpx.Client], Any], kind: str
) -> None:
    with frame_by_frame(flowing, monkeypatch) as (http, may_draw, drawn, _):
        asked: dict[str, Any] = {"model": "adapter", "voice": "amina", "response_format": kind, "input": "ⴰⵉⵓ. ⴰⵉ"}
        may_draw.release(4)
        with openais(http).audio.speech.with_streaming_response.create(stream_format="audio", **asked) as answer:
            chunks = answer.iter_bytes()
            first = next(chunks)
            assert first and len(drawn) == FRAMES + 4
            may_draw.release(2 * FRAMES - 4)
            whole = first + b"".join(chunks)
        assert drawn[FRAMES:] == ["ⴰⵉⵓ"] * FRAMES + ["ⴰⵉ"] * FRAMES
        assert value(http, 'twiza_first_sound_seconds_count{model="adapter"}') == 1
        assert value(http, 'twiza_real_time_factor_count{model="adapter"}') == 1  # of all of it
    wanted = 2 * FRAMES * FRAME + 6_000
    if kind in ("pcm", "wav"):
        assert (len(whole) - (0 if kind == "pcm" else whole.index(b"data") + 8)) // 2 == wanted
    else:
        assert length_s(whole, kind, 24_000) == pytest.approx(wanted / 24_000, abs=0.2)
        assert b"Synthetic speech" in whole


def test_a_sentence_in_pieces_is_one_wave_at_one_loudness(flowing: Recipe) -> None:
    with running(flowing) as client:
        others = [pcm(client, text, stream_format="audio") for text in ("ⴰⵉ ⵓ", "ⴰⵉⵓ ⴰⵉ. ⵓ ⵓ", "ⴰⵉⵓ ⴰⵉ")]
        assert np.array_equal(pcm(client, "ⴰⵉⵓ ⴰⵉ", stream_format="audio"), others[-1])  # whatever came before
        assert np.array_equal(others[1][: FRAMES * FRAME], others[-1])
        assert not others[1][FRAMES * FRAME :][:6_000].any()
    desk = Desk(flowing)
    model = desk.models["adapter"]
    raw = model.family.synthesise("ⴰⵉⵓ ⴰⵉ", model.voices["amina"]) * desk.gain(model, "amina")
    quiet = np.abs(raw) < 0.8
    assert np.abs(others[-1] / 32767 - raw)[quiet].max() < 1e-4
    assert np.abs(others[-1][~quiet] / 32767).min() >= 0.8 and np.abs(others[-1]).max() <= 0.98 * 32767
    level = stimuli.gain(raw, 24_000, -10.0)  # the voice's gain is of another sentence
    assert 20 * abs(np.log10(level)) < 3


def test_two_streams_take_turns_and_each_hears_its_own(flowing: Recipe) -> None:
    texts = ["ⴰⵉⵓ ⴰⵉ", "ⵓ ⵓ", "ⴰⵉ. ⵓ"]
    with running(flowing) as client, ThreadPoolExecutor(6) as many:
        alone = [pcm(client, text, stream_format="audio") for text in texts]
        together = list(many.map(lambda text: pcm(client, text, stream_format="audio"), 2 * texts))
    assert all(np.array_equal(*pair) for pair in zip(2 * alone, together, strict=True))


def test_who_hangs_up_within_a_sentence_stops_the_work(flowing: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    with frame_by_frame(flowing, monkeypatch) as (client, may_draw, drawn, ended):
        may_draw.release(4)
        with client.stream(
            "POST", "/v1/audio/speech", json=said(response_format="pcm", stream_format="audio")
        ) as heard:
            heard_on = heard.iter_raw()
            next(heard_on)
            heard_on.close()
        may_draw.release(4)  # for a piece that had begun
        assert ended.wait(60) and len(drawn) <= FRAMES + 8
        while value(client, "twiza_waiting"):
            time.sleep(0.01)
        may_draw.release(2 * FRAMES)
        assert client.post("/v1/audio/speech", json=said()).status_code == 200


def test_with_a_watermark_sentences_come_whole(flowing: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    marked_now = list[int]()
    monkeypatch.setattr(watermark, "ready", lambda *_: None)
    monkeypatch.setattr(watermark, "embed", lambda samples, *_: marked_now.append(len(samples)) or samples)
    marking = flowing.evaluate.marking.model_copy(update={"watermark": "perth"})
    recipe = flowing.model_copy(update={"evaluate": flowing.evaluate.model_copy(update={"marking": marking})})
    with running(recipe) as client:
        pcm(client, "ⴰⵉ. ⵓⴰ", stream_format="audio")
    assert marked_now == [FRAMES * FRAME] * 2


def test_what_a_flowing_voice_cannot_say_is_refused_before_it_begins(flowing: Recipe) -> None:
    with running(flowing) as client:
        for changes, status in [({"input": "ⴰ. ⴰⵣ"}, 400), ({"voice": "alloy"}, 403), ({"input": "."}, 400)]:
            assert client.post("/v1/audio/speech", json=said(stream_format="audio", **changes)).status_code == status
        assert value(client, "twiza_waiting") == 0


# ---------------------------------------------------------------- several models


def lora_adapters(folder: Path, count: int) -> Recipe:
    """A base with adapters of random weights, on two layers of it each; the recipe's own is the first."""
    base = tiny.base("speecht5", folder / "base", letters="ⴰⵉⵓ")
    recipe = voice.ready(folder, "speecht5")
    path = folder / "recipe.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings["train"] |= {"base": base, "method": "lora", "config": {}}
    settings["train"]["lora"] = {"targets": ["encoder_attn.q_proj", "encoder_attn.v_proj"], "new_tokens": False}
    others = [{"name": f"other{n}", "adapter": f"other{n}", "unsigned": True} for n in range(1, count)]
    settings["evaluate"] |= {"systems": [*others, "adapter"]}
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    for number in range(count):
        recipe = load(path)
        family = open_family(recipe.train)
        add_lora(family, recipe.train.lora, [])
        tiny.random_lora(family, number, 0.5)
        save(recipe, family)
        if number + 1 < count:
            shutil.copytree(adapter_folder(recipe), folder / f"other{number + 1}")
    return recipe


def test_an_adapter_is_opened_when_it_is_first_asked_for_and_costs_what_differs(tmp_path: Path) -> None:
    recipe, names = lora_adapters(tmp_path, 3), ["adapter", "other1", "other2"]
    with running(offering(recipe, names[:1], later=names[1:])) as client:
        listed = client.get("/v1/models").json()["data"]
        assert [one["id"] for one in listed] == names
        assert len({one["weights"] for one in listed}) == 3
        made = [pcm(client, "ⴰⵉⵓ", model=name) for name in names]
        assert all(np.array_equal(pcm(client, "ⴰⵉⵓ", model=name), made[n]) for n, name in enumerate(names))
    alone = [Desk(offering(recipe, [name])).models[name].family for name in names]
    together = [one.family for one in Desk(offering(recipe, names)).models.values()]
    voices = voice_of(alone[0], recipe)
    for one, other in zip(alone, together, strict=True):  # each is itself, whatever is beside it
        assert np.array_equal(*(family.synthesise("ⴰⵉⵓ", voices["amina"]) for family in (one, other)))
    whole, differing = held_bytes(alone[0]), 2 * 2 * 32 * 32 * 4  # two layers, of two more adapters
    assert held_bytes(*together) == whole + differing and held_bytes(*alone) == 3 * whole


def offering(recipe: Recipe, models: list[str], later: Sequence[str] = ()) -> Recipe:
    serve = recipe.evaluate.serve.model_copy(update={"models": models, "later": list(later)})
    return recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"serve": serve})})


def test_an_adapter_that_cannot_be_opened_is_refused_and_the_others_serve_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = offering(lora_adapters(tmp_path, 2), ["adapter"], later=["other1"])
    with running(recipe) as client:
        (tmp_path / "other1" / "adapter_model.safetensors").write_bytes(b"altered")
        answer = client.post("/v1/audio/speech", json=said(model="other1"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_unavailable")
        assert client.post("/v1/audio/speech", json=said()).status_code == 200
    assert "other1 cannot be opened" in capsys.readouterr().out
    with pytest.raises(UserError):
        served.application(recipe)  # and known to be altered, the server does not begin


# ---------------------------------------------------------------- keys, queue, log


def test_without_the_key_nothing_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = voice.ready(tmp_path, serve={"key_env": "TWIZA_TEST_KEY"})
    with pytest.raises(UserError, match="TWIZA_TEST_KEY is not set"):
        served.application(recipe)
    monkeypatch.setenv("TWIZA_TEST_KEY", "s3cret")
    with running(recipe) as client:
        paths = ("/v1/models", "/metrics", "/v1/models/adapter")
        assert [client.get(path).status_code for path in paths] == [401, 401, 401]
        assert client.get("/health").status_code == 200
        client.headers["authorization"] = "Bearer s3cret"
        assert client.post("/v1/audio/speech", json=said()).status_code == 200
        assert value(client, 'twiza_misuse_total{signal="wrong_key"}') == 3
        guesses = [client.get("/v1/models", headers={"authorization": f"Bearer {n}"}) for n in range(20)]
        assert (guesses[0].status_code, guesses[-1].status_code) == (401, 429)


def test_a_full_queue_says_when_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = voice.ready(tmp_path, serve={"queue": 2})
    free, began = threading.Event(), threading.Event()
    speak = served.requests.speak

    def slow(*args: Any) -> Any:
        began.set()
        free.wait(60)
        return speak(*args)

    monkeypatch.setattr(served.requests, "speak", slow)
    with running(recipe) as client, ThreadPoolExecutor(2) as many:
        waiting = [many.submit(client.post, "/v1/audio/speech", json=said()) for _ in range(2)]
        began.wait(60)
        while value(client, "twiza_waiting") < 2:
            time.sleep(0.01)
        refused = client.post("/v1/audio/speech", json=said())
        free.set()
        assert [one.result().status_code for one in waiting] == [200, 200]
    assert refused.status_code == 429 and 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["error"]["code"] == "busy"


@pytest.mark.parametrize("log_text", [False, True])
def test_what_is_said_is_in_no_log_unless_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log_text: bool
) -> None:
    recipe = voice.ready(tmp_path, serve={"log_text": log_text})
    with running(recipe) as client:
        name = client.post("/v1/audio/speech", json=said()).headers["x-request-id"]
        client.post("/v1/audio/speech", json=said(voice="alloy"))
    told = capsys.readouterr()
    assert f"{name} audio/speech adapter 200" in told.out and "403 voice_not_allowed" in told.out
    assert ("ⴰⵉⵓ" in told.out + told.err) == log_text


def test_a_model_that_is_withdrawn_while_it_serves_says_no_more(tmp_path: Path) -> None:
    recipe = voice.ready(tmp_path)
    with running(recipe) as client:
        assert client.post("/v1/audio/speech", json=said()).status_code == 200
        mark_withdrawn(adapter_folder(recipe), date(2026, 1, 1), 3)
        assert client.post("/v1/audio/speech", json=said()).status_code == 410
    with pytest.raises(UserError, match="withdrawn"):
        served.application(recipe)


@pytest.mark.parametrize(
    ("serve", "told"),
    [
        ({"voices": ["brahim"]}, "evaluate.serve.voices: brahim is no speaker who allows tts_clone; allowed: amina"),
        ({"voices": []}, "nobody is named"),
        ({"models": ["other"]}, "no model other; base, adapter"),
    ],
)
def test_a_recipe_that_offers_what_it_has_not(tmp_path: Path, serve: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        served.application(voice.ready(tmp_path, serve=serve))


def test_another_sites_page_and_another_name_are_not_served(speaker: tuple[Recipe, httpx.Client]) -> None:
    _, client = speaker
    assert client.post("/v1/audio/speech", json=said(), headers={"origin": "https://x.example"}).status_code == 403
    assert client.get("/v1/models", headers={"host": "x.example"}).status_code == 400


# ---------------------------------------------------------------- metrics and feedback


def test_metrics_are_what_prometheus_reads(speaker: tuple[Recipe, httpx.Client]) -> None:
    _, client = speaker
    client.post("/v1/audio/speech", json=said())
    client.post("/v1/audio/speech", json=said(voice="alloy", model="adapter"))
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    sample = re.compile(r'[a-z_]+(\{[a-z_]+="[^"\n]*"(,[a-z_]+="[^"\n]*")*\})? (\d[\d.e+-]*|\+Inf)')
    lines = answer.text.splitlines()
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)
    assert value(client, 'twiza_misuse_total{signal="voice_outside_allow_list"}') >= 1
    assert value(client, 'twiza_real_time_factor_count{model="adapter"}') >= 1
    assert value(client, 'twiza_requests_total{model="adapter",route="audio/speech",status="200"}') >= 1


def test_a_histogram_counts_upwards() -> None:
    kept = Metrics()
    for seconds in (0.05, 0.07, 3.0, 999.0):
        kept.observe("twiza_request_seconds", seconds, route="x")
    found = re.findall(r'_bucket\{route="x",le="([\d.]+|\+Inf)"\} (\d+)', kept.text())
    assert found[0] == ("0.05", "1") and found[1] == ("0.1", "2") and found[-1] == ("+Inf", "4")
    assert [int(count) for _, count in found] == sorted(int(count) for _, count in found)
    assert 'twiza_request_seconds_count{route="x"} 4' in kept.text()


def test_what_users_say_is_kept_for_the_next_evaluation(tmp_path: Path) -> None:
    recipe = voice.ready(tmp_path)
    assert feedback.read(recipe) == []
    with running(recipe) as client:
        names = [client.post("/v1/audio/speech", json=said()).headers["x-request-id"] for _ in range(2)]
        for name, rating in [(names[0], "bad"), (names[1], "good"), (names[0], "good")]:  # the last word counts
            sent = {"request": name, "rating": rating, "comment": "سمعتها"}
            assert client.post("/v1/feedback", json=sent).status_code == 201
        assert client.post("/v1/feedback", json={"request": "none", "rating": "good"}).status_code == 404
        assert client.post("/v1/feedback", json={"request": names[0], "rating": "so so"}).status_code == 400
        long = {"request": names[0], "rating": "good", "comment": "x" * 501}
        assert client.post("/v1/feedback", json=long).status_code == 400
        assert value(client, 'twiza_feedback_total{model="adapter",rating="good"}') == 2
    weights = marked.adapter_hash(recipe)
    assert feedback.summary(recipe) == [f"adapter ({weights[:12]}): 2 good, 0 bad"]
    assert "ⴰⵉⵓ" not in feedback.path_of(recipe).read_text(encoding="utf-8")


def test_half_a_line_is_cut_and_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    recipe = voice.ready(tmp_path)
    about = {"kind": "speech", "model": "adapter", "weights": "w", "rating": "good"}
    feedback.add(recipe, request="a", **about)
    with open(feedback.path_of(recipe), "a", encoding="utf-8") as file:
        file.write('{"at": "20')  # a kill
    feedback.add(recipe, request="b", **about)
    assert [one.request for one in feedback.read(recipe)] == ["a", "b"]
    with open(feedback.path_of(recipe), "a", encoding="utf-8") as file:
        file.write(json.dumps({"rating": "good"}) + "\n")
    with pytest.raises(UserError, match=r"feedback\.jsonl, line 3: no verdict"):
        feedback.read(recipe)


def test_speech_is_within_full_scale(speaker: tuple[Recipe, httpx.Client]) -> None:
    wave, _ = soundfile.read(io.BytesIO(speaker[1].post("/v1/audio/speech", json=said()).content))
    assert 0 < np.abs(wave).max() <= 0.99
