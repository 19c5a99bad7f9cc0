"""Speech generation with VITS, the model of MMS-TTS: letters in, a wave out, with no vocoder beside it.

Source: Kim, Kong and Son, VITS, ICML 2021; Pratap et al., "Scaling speech technology to 1,000+ languages"
(MMS), JMLR 2024, section 7. The training step is in `train.vits`.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import VitsConfig, VitsTokenizer
from transformers.utils.hub import cached_file

from recipes.schema import Train, UserError
from train.families import (
    Example,
    Samples,
    Skip,
    Spoken,
    letters_of,
    new_model,
    pretrained,
    pretrained_model,
    spread,
)
from train.speech import Front, voice_statistics
from train.vits.discriminator import Discriminator
from train.vits.letters import alike
from train.vits.model import TrainableVits, begin, fold_weight_norm

_VOICE = 64  # numbers of a voice, and rows of the speaker table
_MOST_S = 30.0  # letters times frames have to be held at once
_EMBEDDING = "text_encoder.embed_tokens"
# `transformers` leaves out layers at random, which the authors do not, and which breaks on several devices.
_NO_LAYERDROP = {"layerdrop": 0.0}
_TEXT = (
    "q_proj",
    "k_proj",
    "v_proj",
    "out_proj",
    "feed_forward.conv_1",
    "feed_forward.conv_2",
    "text_encoder.project",
)
_WAVENET = (
    *("wavenet.cond_layer", *(f"wavenet.{kind}.{n}" for kind in ("in_layers", "res_skip_layers") for n in range(16))),
    *("posterior_encoder.conv_pre", "posterior_encoder.conv_proj"),
)
_DURATION = (
    *("duration_predictor.conv_pre", "duration_predictor.conv_proj", "duration_predictor.cond"),
    *("duration_predictor.conv_1", "duration_predictor.conv_2", *(f"conv_dds.convs_pointwise.{n}" for n in range(3))),
)
# Of the decoder those that PEFT can: not the transposed ones, nor the dilated ones.
_DECODER = ("decoder.conv_pre", "decoder.cond", "convs1.0", *(f"convs2.{n}" for n in range(3)))


class Vits:
    """`transformers`' VITS over letters: of one voice, or with a voice given as 64 numbers."""

    recognises = False

    def __init__(self, settings: Train, processor: Path | None = None, letters: Iterable[str] = ()) -> None:
        base, revision = settings.base, settings.revision
        if base:
            self.model = pretrained_model(TrainableVits, base, revision, **_NO_LAYERDROP)
            source, at = (str(processor), None) if processor else (base, revision)
            self.tokenizer = pretrained(VitsTokenizer.from_pretrained, source, at)
            _grow_embedding(self.model, len(self.tokenizer.encoder))
        else:
            self.tokenizer = letter_tokenizer(letters)
            given = _NO_LAYERDROP | _of_voices(settings.config) | {"vocab_size": len(self.tokenizer.encoder)}
            self.model = new_model(TrainableVits, VitsConfig, given)
            begin(self.model)
        self.config, self.rate_hz = self.model.config, int(self.model.config.sampling_rate)
        _check(self.config, self.tokenizer, base)
        self._settings = settings
        self.lora_targets = (*_TEXT, *_WAVENET, *_DURATION)
        if settings.method == "lora":
            fold_weight_norm(self.model)
        if settings.adversarial:
            self.lora_targets += _DECODER
        elif base:
            # Without an opponent the decoder would learn to blur: that of the base was taught by one.
            self.model.decoder.requires_grad_(False)

    def add_letters(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """A new letter begins as the one that sounds most like it, where the base has one: ⵎ as m."""
        known = self.tokenizer.encoder
        small = letters_of(letter if letter in known else letter.lower() for letter in letters_of(texts))
        new = [letter for letter in small if letter not in known]
        if not new:
            return {}
        unknown = str(self.tokenizer.unk_token)
        known.setdefault(unknown, len(known))  # published tokenizers have it beside the letters, without a row
        first = len(known)
        likely = [alike(letter, known) for letter in new]
        known |= {letter: first + number for number, letter in enumerate(new)}
        self.tokenizer.decoder |= {number: letter for letter, number in known.items()}
        _grow_embedding(self.model, len(known))
        rows = self.model.text_encoder.embed_tokens.weight
        with torch.no_grad():
            for letter, near in zip(new, likely, strict=True):
                if near is not None:
                    rows[known[letter]] = rows[known[near]]
        return {_EMBEDDING: list(range(first, len(known)))}

    def unknown(self, texts: Iterable[str]) -> list[str]:
        none = (None, self.tokenizer.encoder.get(str(self.tokenizer.unk_token)))
        return [letter for letter in letters_of(texts) if self._id(letter) in none]

    def fully_trained(self) -> list[str]:
        return []

    def encode(self, text: str, samples: Samples, voice: Samples) -> Example:
        frames = len(samples) // self.core.hop
        if len(samples) < (window := 2 * (self.config.spectrogram_bins - 1)):
            raise Skip(f"shorter than {window / self.rate_hz:.2f} s")
        if len(samples) > _MOST_S * self.rate_hz:
            raise Skip(f"{len(samples) / self.rate_hz:.1f} s; VITS learns from {_MOST_S:.0f} s at most")
        if missing := [letter for letter in letters_of([text]) if self._id(letter) is None]:
            raise Skip(f"the tokenizer has no letter {missing[0]} (train.lora.new_tokens adds it)")
        if len(ids := self._ids(text)) > frames:
            raise Skip(f"{len(ids)} tokens do not fit into {frames} frames: transcript longer than the speech")
        return {"ids": ids, "wave": samples[: frames * self.core.hop], "voice": voice}

    def collate(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        def pad(name: str) -> torch.Tensor:
            rows = [torch.from_numpy(np.array(example[name])) for example in examples]
            return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

        tokens = torch.tensor([len(example["ids"]) for example in examples])
        return {
            "input_ids": (ids := pad("ids")),
            "attention_mask": (torch.arange(ids.shape[1]) < tokens[:, None]).long(),  # id 0 is a token like any other
            "waves": pad("wave"),
            "lengths": torch.tensor([len(example["wave"]) for example in examples]),
            "voices": pad("voice"),
        }

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Mel, Kullback-Leibler and duration losses; while training with an opponent, the adversarial ones too."""
        with nullcontext() if self.model.training else self._same_noise():
            loss: torch.Tensor = self.model(**batch)["loss"]
        return loss

    def weight(self, batch: dict[str, torch.Tensor]) -> float:
        return float(batch["lengths"].sum()) / self.core.hop

    def voice(self, samples: Samples) -> Samples:
        """64 statistics of unit length; nothing for a model of one voice."""
        if self.config.num_speakers == 1:
            return np.zeros(0, np.float32)
        vector = voice_statistics(samples, Front(rate_hz=self.rate_hz, high_hz=min(7_600.0, self.rate_hz / 2)))
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), dtype=np.float32)

    def attention(self, text: str, samples: Samples, voice: Samples) -> tuple[list[str], NDArray[np.float32]]:
        """Its alignment of the text with the recording."""
        device = next(self.model.parameters()).device
        batch = {name: x.to(device) for name, x in self.collate([self.encode(text, samples, voice)]).items()}
        with self._same_noise():
            counts = self.core.token_frames(**batch)[0].cpu().numpy()
        shown = {number: letter for letter, number in self.tokenizer.encoder.items()}
        tokens = [shown.get(number, "") for number in batch["input_ids"][0].tolist()]
        if self.tokenizer.add_blank:
            tokens[::2] = [""] * len(tokens[::2])
        return tokens, spread(np.asarray(counts, np.int64))

    def transcribe(self, samples: Samples, language: str) -> str:
        raise TypeError("VITS generates speech, it does not recognise it")

    def synthesise(self, text: str, voice: Samples) -> Samples:
        """Always alike, though VITS draws its rhythm and tone: the noise is. A letter it has not is left out."""
        return self.synthesise_many([text], voice)[0].samples

    def synthesise_many(self, texts: Sequence[str], voice: Samples) -> list[Spoken]:
        """Each as it is spoken alone; as long as its letters, and so always to an end."""
        device = next(self.model.parameters()).device
        ids = [torch.from_numpy(self._ids(text)).to(device) for text in texts]
        waves = self.core.speak(ids, torch.from_numpy(voice)[None].to(device), self._same_noise) if ids else []
        return [Spoken(np.asarray(wave.float().cpu()), True) for wave in waves]

    def save_processor(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)

    def add_discriminator(self) -> None:
        """Its weights are those that lie in the base, or random ones."""
        core, base = self.core, self._settings.base
        judge = Discriminator(self.config.upsample_initial_channel)
        if base and (found := _discriminator_of(base, self._settings.revision)):
            judge.load_state_dict(found)
        judge.normalise_weights()
        core.discriminator = judge.to(next(core.parameters()).device)
        core._keys_to_ignore_on_save = {f"discriminator.{name}" for name in judge.state_dict()}

    @property
    def core(self) -> TrainableVits:
        """The model itself, under whatever wraps it."""
        return next(m for m in self.model.modules() if isinstance(m, TrainableVits))

    def _id(self, letter: str) -> int | None:
        """Of a letter, or of its small form, or of the unknown letter where the model has a row for that."""
        known: dict[str, int] = self.tokenizer.encoder
        return known.get(letter, known.get(letter.lower(), known.get(str(self.tokenizer.unk_token))))

    def _ids(self, text: str) -> NDArray[np.int64]:
        """Letters as ids, with a blank before, between and behind them where the base was trained so."""
        ids = [number for letter in text if (number := self._id(letter)) is not None]
        if self.tokenizer.add_blank:
            ids = [0, *(number for letter in ids for number in (letter, 0))]
        return np.array(ids or [0], dtype=np.int64)

    @contextmanager
    def _same_noise(self) -> Iterator[None]:
        device = next(self.model.parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            yield


def letter_tokenizer(texts: Iterable[str]) -> VitsTokenizer:
    """A tokenizer of single letters: those of the texts."""
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<unk>", " ", *letters_of(texts)])}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vocab.json")
        path.write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
        return VitsTokenizer(str(path), phonemize=False)


def _of_voices(config: dict[str, Any]) -> dict[str, Any]:
    """The architecture with as many rows in the speaker table as a voice has numbers, where it has voices at all."""
    if config.get("num_speakers", 1) != 1:
        raise UserError(
            "train.config.num_speakers: leave it out; with speaker_embedding_size above 0 the model takes any "
            "number of voices"
        )
    return config | {"num_speakers": _VOICE if config.get("speaker_embedding_size") else 1}


def _check(config: Any, tokenizer: Any, base: str | None) -> None:
    if config.num_speakers not in (1, _VOICE):
        raise UserError(
            f"model {base} knows {config.num_speakers} speakers by number; here a voice is {_VOICE} statistics: "
            "take a base of one voice, as all of MMS are, or one made here"
        )
    if tokenizer.phonemize:
        raise UserError(f"model {base} reads phonemes; here models read letters: take one such as MMS's")
    if 2 * (config.spectrogram_bins - 1) <= (hop := int(np.prod(config.upsample_rates))):
        raise UserError(f"train.config: {config.spectrogram_bins} spectrogram_bins are too few for frames of {hop}")


def _discriminator_of(base: str, revision: str | None) -> dict[str, torch.Tensor]:
    """The discriminator's weights among those of a base; none in what MMS published."""
    path = cached_file(base, "model.safetensors", revision=revision, _raise_exceptions_for_missing_entries=False)
    if path is None:
        return {}
    prefix = "discriminator."
    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118, it is no mapping
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def _grow_embedding(model: Any, size: int) -> None:
    """Give the letter embedding `size` rows; each new one starts as the mean of those there are."""
    old = model.text_encoder.embed_tokens
    if old.num_embeddings >= size:
        return
    grown = torch.nn.Embedding(size, old.embedding_dim, padding_idx=old.padding_idx).to(old.weight)
    with torch.no_grad():
        grown.weight[:] = old.weight.mean(0)
        grown.weight[: old.num_embeddings] = old.weight
    model.text_encoder.embed_tokens = grown
    model.config.vocab_size = size
