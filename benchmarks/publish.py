"""What voice packs and the speech server cost: `python -m benchmarks.publish [--quick]`.

Prints one line a figure, `name  value  goal  ok|short`, and exits with 1 when one falls short. On one core: CPU
seconds of one thread, so that whatever else runs on the machine does not count; but for the time to the first sound,
which is the clock's. Models have random weights: SpeechT5 of the sizes of recipes/nano_tts.yaml and as published.
They know no end, so each phrase lasts as long as people take for it, 4 to 6.5 frames a letter by its own letters, in
both ways to speak it. `--quick`: fewer phrases and requests.
"""

import hashlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import numpy as np
import torch
import uvicorn
import yaml
from transformers import (
    PocketTTSAudioTokenizerConfig,
    PocketTTSAudioTokenizerModel,
    PocketTTSConfig,
    PocketTTSForConditionalGeneration,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    VitsConfig,
    VitsModel,
)

from evaluate.pack import speak
from evaluate.pack.phrases import Phrase
from evaluate.serve import app as served
from evaluate.serve.desk import Desk
from prepare import dataset
from recipes.schema import Recipe, Train, load
from tests import tiny
from train.adapter import adapter_folder, add_lora, normalise, save, voice_of
from train.families import Spoken, open_family, pocket_tts, speak_all
from train.families.speecht5 import SpeechT5
from train.families.vits import Vits, letter_tokenizer
from train.linear import quicken
from train.sharing import held_bytes
from web.serve import address, door

QUICK = "--quick" in sys.argv
ROOT = Path(__file__).resolve().parents[1]
NANO: dict[str, Any] = {
    **{"hidden_size": 160, "encoder_layers": 3, "decoder_layers": 3, "encoder_ffn_dim": 320, "decoder_ffn_dim": 320},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "speech_decoder_prenet_units": 128},
    **{"speech_decoder_postnet_layers": 3, "speech_decoder_postnet_units": 128, "speaker_embedding_dim": 64},
}
NANO_VOCODER: dict[str, Any] = {
    **{"upsample_initial_channel": 128, "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]]}
}
ADAPTERS = ["adapter", "agadir", "nador"]
short: list[str] = []


def main() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    SpeechT5._most = lambda self, letters: steps(letters)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        nano = made(Path(folder, "nano"), NANO, NANO_VOCODER)
        pack("nano", nano, 200)
        vits(8 if QUICK else 24)
        server(adapters(nano))
        published = made(Path(folder, "published"), {}, {})
        pack("published", published, 8 if QUICK else 32)
        with quiet(), running(adapters(published)) as (client, desk):
            beside = overhead(client, desk, 4 if QUICK else 12)
        told("published", *beside, at_most=5)
        flowing(Path(folder, "flowing"))
    raise SystemExit(bool(short))


# ---------------------------------------------------------------- models


def sentences(count: int) -> list[str]:
    """Of recipes/text/tamazight.txt, each once, and each as long as service phrases are."""
    lines = (ROOT / "recipes" / "text" / "tamazight.txt").read_text(encoding="utf-8").splitlines()
    said = (normalise(line, "zgh-Tfng") for line in lines)
    return list(dict.fromkeys(line for line in said if 10 <= len(line) <= 60))[:count]


def made(folder: Path, config: dict[str, Any], vocoder: dict[str, Any]) -> Recipe:
    """A recipe with a base, a dataset and an adapter of two layers, all of random weights."""
    folder.mkdir()
    torch.manual_seed(1)
    SpeechT5HifiGan(SpeechT5HifiGanConfig(**vocoder)).save_pretrained(folder / "vocoder")
    config = {"speaker_embedding_dim": 64} | config
    family = open_family(train(folder, config=config, method="full"), letters=sentences(10_000))
    with torch.no_grad():
        family.model.speech_decoder_postnet.prob_out.bias.fill_(-1e4)
    family.model.save_pretrained(folder / "base")
    family.save_processor(folder / "base")
    settings = {"family": "speecht5", "base": str(folder / "base"), "vocoder": str(folder / "vocoder")}
    settings |= {"lora": {"targets": ["q_proj", "v_proj"], "new_tokens": False}, "precision": "fp32"}
    evaluated = {
        "systems": [{"name": name, "adapter": name, "unsigned": True} for name in ADAPTERS[1:]] + ["adapter"],
        "serve": {"models": ADAPTERS[:2], "later": ADAPTERS[2:]},
    }
    return described(folder, settings, evaluated)


def described(folder: Path, settings: dict[str, Any], evaluated: dict[str, Any]) -> Recipe:
    """A recipe in the folder, with a dataset and an adapter of random weights."""
    whole = {
        "name": "bench",
        "work_dir": "work",
        "collect": {"source": "recordings"},
        "prepare": {"purpose": "tts_clone", "languages": ["zgh-Tfng"]},
        "train": settings,
        "evaluate": evaluated,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    recipe = load(folder / "recipe.yaml")
    dataset.write(recipe, tiny.utterances())
    new_adapter(recipe, 0)
    return recipe


def train(folder: Path, **settings: Any) -> Train:
    given = {"family": "speecht5", "vocoder": str(folder / "vocoder"), "precision": "fp32"} | settings
    return Train.model_validate(given)


def new_adapter(recipe: Recipe, number: int) -> None:
    family = open_family(recipe.train)
    add_lora(family, recipe.train.lora, sentences(10_000))
    tiny.random_lora(family, number, 0.02)
    save(recipe, family)


def adapters(recipe: Recipe) -> Recipe:
    """The recipe with two more adapters on its base."""
    for number, name in enumerate(ADAPTERS[1:], start=1):
        new_adapter(recipe, number)
        shutil.copytree(adapter_folder(recipe), recipe.work_dir.parent / name)
    return recipe


def steps(letters: int) -> int:
    """Steps of two frames that a phrase of so many letters lasts: 4 to 6.5 frames a letter, by its own length."""
    draw = int(hashlib.sha256(str(letters).encode()).hexdigest(), 16) % 1000 / 1000
    return int(letters * (4 + 2.5 * draw) / 2)


# ---------------------------------------------------------------- a pack


def pack(name: str, recipe: Recipe, count: int) -> None:
    """A pack as `evaluate.pack` makes it, and one of a `generate` call for each phrase; the rest is the same."""
    texts = sentences(count)
    phrases = [Phrase(f"p{n}", text, "zgh-Tfng", text) for n, text in enumerate(texts)]
    took, found = {}, {}
    with quiet():
        speak.all_of(recipe, phrases[:1])  # imports, and whatever else is once only
    for way in (one_by_one, speak_all):
        shutil.rmtree(speak.folder_of(recipe), ignore_errors=True)
        speak.speak_all = way  # type: ignore[assignment]
        with quiet():
            start = time.process_time()
            found[way] = speak.all_of(recipe, phrases)
            took[way] = time.process_time() - start
    lengths = [[one.duration_s for one in spoken] for spoken in found.values()]
    assert lengths[0] == lengths[1]
    said = f"pack of {len(texts)} phrases, {sum(lengths[0]):.0f} s of speech, SpeechT5 of {name} size"
    line(f"{said}: a call for each", took[one_by_one], "s")
    line(f"{said}: as it is", took[speak_all], "s")
    line(f"{said}: faster", took[one_by_one] / took[speak_all], "times", at_least=3)
    speech(name, recipe, texts)


def one_by_one(family: Any, texts: list[str], voice: Any) -> Iterator[dict[int, Spoken]]:
    """What `speak_all` gives, by `generate` of transformers, with its vocoder."""
    family._waves([torch.zeros(4, family.config.num_mel_bins)])  # opens the vocoder
    for place, text in enumerate(texts):
        yield {place: Spoken(generated(family, text, voice), False)}


def generated(family: Any, text: str, voice: Any) -> Any:
    ids = torch.from_numpy(family._ids(text))[None]
    torch.manual_seed(0)
    return family.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        speaker_embeddings=torch.from_numpy(voice)[None],
        minlenratio=1.0,
        maxlenratio=(2 * steps(ids.shape[1]) + 0.01) / ids.shape[1],
        vocoder=family._vocoder,
    ).numpy()


def speech(name: str, recipe: Recipe, texts: list[str]) -> None:
    """The same without what is done to the sound afterwards."""
    family = open_family(recipe.train)
    quicken(family.model.eval())
    voice = voice_of(family, recipe)["amina"]
    list(one_by_one(family, texts[:1], voice))
    alone = cpu_s(lambda: list(one_by_one(family, texts, voice)))
    line(
        f"speech alone, SpeechT5 of {name} size: faster", alone / cpu_s(lambda: list(speak_all(family, texts, voice)))
    )


def vits(count: int) -> None:
    """VITS as published, whose convolutions cost alike in a batch; there is no goal."""
    texts = sentences(count)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = letter_tokenizer(texts)
        VitsModel(VitsConfig(vocab_size=len(tokenizer.encoder))).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        family = Vits(Train.model_validate({"family": "vits", "base": folder}))
    quicken(family.model.eval())
    none = np.zeros(0, np.float32)
    family.synthesise(texts[0], none)
    alone = cpu_s(lambda: [family.synthesise(text, none) for text in texts])
    line("speech alone, VITS of published size: faster", alone / cpu_s(lambda: list(speak_all(family, texts, none))))


# ---------------------------------------------------------------- the server


def server(recipe: Recipe) -> None:
    count = 20 if QUICK else 60
    with quiet(), running(recipe) as (client, desk):
        text = sentences(1)[0]
        ask(client, text, "adapter"), ask(client, text, ADAPTERS[1])
        opening = cpu_s(ask, client, "ⴰⵣⵓⵍ", ADAPTERS[2])
        swaps = []
        for number in range(count):
            this, that = ADAPTERS[number % 2], ADAPTERS[1 - number % 2]
            ask(client, text, this)
            same = cpu_s(ask, client, text, this)
            swaps.append(1000 * (cpu_s(ask, client, text, that) - same))
        beside = overhead(client, desk, count)
        first, _, whole = first_sound(client, sentences(5))
        families = [one.family for one in desk.models.values()]
    line("adapter swap, median", statistics.median(swaps), "ms", at_most=50)
    line("adapter swap, 95th percentile", float(np.percentile(swaps, 95)), "ms", at_most=50)
    line("adapter first asked for: opened, and a word said", 1000 * opening, "ms")
    one = held_bytes(families[0])
    line("three adapters in memory: as much as one", held_bytes(*families) / one, "times", at_most=1.5)
    told("nano", *beside)
    line("first sound of five sentences, streamed", 1000 * first, "ms")
    line("first sound of five sentences: of the time of the whole", first / whole, "", at_most=0.4)


def overhead(client: httpx.Client, desk: Desk, count: int) -> tuple[float, float]:
    """Medians of seconds of a phrase's generation, and of what its request costs beyond it."""
    pairs = [both(client, desk, text, request_first=n % 2 == 0) for n, text in enumerate(sentences(count))]
    return statistics.median(s for s, _ in pairs), statistics.median(r - s for s, r in pairs)


def told(name: str, alone_s: float, more_s: float, at_most: float | None = None) -> None:
    """Protocol, levelling, file and signature take some ms, whatever the model."""
    line(f"{name}: generation of a phrase, median", 1000 * alone_s, "ms")
    line(f"{name}: the server beside it, median", 1000 * more_s, "ms")
    line(f"{name}: server overhead", 100 * more_s / alone_s, "%", at_most=at_most)


def both(client: httpx.Client, desk: Desk, text: str, request_first: bool) -> tuple[float, float]:
    """CPU seconds to synthesise a text, and of the request for it, which also levels and encodes; both warmed up."""
    model = desk.models["adapter"]
    speech = (model.family.synthesise, text, model.voices["amina"])
    request = (ask, client, text, "adapter")
    ask(client, text, "adapter")
    if request_first:
        request_s, speech_s = cpu_s(*request), cpu_s(*speech)
    else:
        speech_s, request_s = cpu_s(*speech), cpu_s(*request)
    return speech_s, request_s


@contextmanager
def running(recipe: Recipe) -> Iterator[tuple[httpx.Client, Desk]]:
    """The server in this process, at an address of this machine."""
    app = served.application(recipe)
    with door("127.0.0.1", 0, "") as listening:
        web = uvicorn.Server(uvicorn.Config(app, http="h11", log_level="warning"))
        thread = Thread(target=web.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not web.started:
                time.sleep(0.01)
            with httpx.Client(base_url=address(listening), timeout=120, trust_env=False) as client:
                yield client, app.state.desk
        finally:
            web.should_exit = True
            thread.join()


def flowing(folder: Path) -> None:
    """Pocket TTS as published, random weights: a sentence heard while it is drawn, beside the same whole.

    It draws as many frames as people take for the letters, 12.5 of each a second.
    """
    recipe = pocket(folder)
    pocket_tts._FRAMES_A_LETTER = 1.0
    text = max(sentences(50), key=len)
    with quiet(), running(recipe) as (client, _):
        first_sound(client, [text], times=1)  # imports, and the voice's loudness
        first, last, whole = first_sound(client, [text], times=2 if QUICK else 5)
    said = f"a sentence of {(len(text) + 3) / 12.5:.1f} s, Pocket TTS of published size"
    line(f"{said}: until all of it comes whole", 1000 * whole, "ms")
    line(f"{said}: first sound, streamed", 1000 * first, "ms")
    line(f"{said}: first sound, of the time of the whole", first / whole, "", at_most=0.25)
    line(f"{said}: all of it streamed, of the time of the whole", last / whole, "", at_most=1.25)


def pocket(folder: Path) -> Recipe:
    """A recipe with a base of the sizes that are the library's defaults; its speech does not end by itself."""
    base = tiny.base("pocket_tts", folder / "base")
    known = PocketTTSConfig.from_pretrained(base).to_diff_dict()
    ids = {key: value for key, value in known.items() if key.endswith("token_id")}
    torch.manual_seed(1)
    sizes = PocketTTSConfig(**ids, vocab_size=known["vocab_size"], latent_stats_ema_steps=0)
    PocketTTSForConditionalGeneration(sizes).save_pretrained(base)
    PocketTTSAudioTokenizerModel(PocketTTSAudioTokenizerConfig()).save_pretrained(f"{base}/codec")
    Path(base, "generation_config.json").write_text('{"do_sample": true, "eos_threshold": 1e9}', encoding="utf-8")
    return described(folder, {"family": "pocket_tts", "base": base, "precision": "fp32"}, {})


def ask(client: httpx.Client, text: str, model: str) -> bytes:
    sent = {"model": model, "input": text, "voice": "amina", "response_format": "wav"}
    answer = client.post("/v1/audio/speech", json=sent)
    assert answer.status_code == 200, answer.text
    return answer.content


def first_sound(client: httpx.Client, texts: list[str], times: int = 5) -> tuple[float, float, float]:
    """Medians of seconds to the first sound of a text that is streamed, to its last, and until all comes whole."""
    text, first, last, whole = ". ".join(texts), [], [], []
    for _ in range(times):
        sent = {"model": "adapter", "input": text, "voice": "amina", "response_format": "pcm"}
        start = time.perf_counter()
        with client.stream("POST", "/v1/audio/speech", json=sent | {"stream_format": "audio"}) as answer:
            for number, _ in enumerate(answer.iter_raw()):
                if number == 0:
                    first.append(time.perf_counter() - start)
        last.append(time.perf_counter() - start)
        start = time.perf_counter()
        assert client.post("/v1/audio/speech", json=sent).status_code == 200
        whole.append(time.perf_counter() - start)
    return statistics.median(first), statistics.median(last), statistics.median(whole)


# ---------------------------------------------------------------- figures


def cpu_s(work: Callable[..., Any], *given: Any) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    work(*given)
    return time.process_time() - start


@contextmanager
def quiet() -> Iterator[None]:
    """Without the lines of a server's log."""
    with redirect_stdout(StringIO()):
        yield


def line(
    name: str, value: float, unit: str = "times", at_least: float | None = None, at_most: float | None = None
) -> None:
    """Print a figure, which falls short below or above its goal, if it has one."""
    fits = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    if not fits:
        short.append(name)
    goal = f"≥ {at_least:g}" if at_least is not None else f"≤ {at_most:g}" if at_most is not None else "none"
    print(f"{name:<88} {value:8.2f} {unit:<5} goal {goal}  {'ok' if fits else 'short'}", flush=True)


if __name__ == "__main__":
    main()
