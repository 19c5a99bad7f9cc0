"""Speech generation with CSM: a language model that goes on from text with the codes of a codec, Mimi, inside it.

Source: Schalkwyk et al., "Crossing the uncanny valley of conversational voice", Sesame, 2025. A backbone draws
the first code of each frame (12.5 a second), a small decoder the other ones. What stands before the sentence is
its context: here an utterance of the same speaker, so that the voice is shown and need not be remembered.
"""

import hashlib
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CsmForConditionalGeneration, PreTrainedTokenizerFast

from recipes.schema import Train, UserError
from train.families import Example, Samples, Skip, letters, mimi, pretrained, pretrained_model, quantised

_EMBEDDING = "embed_text_tokens"
_LETTERS = 300  # of a text spoken in one go: about 20 s
_FRAMES_A_LETTER = 5.0  # 0.4 s: slower than anybody speaks
_SPEAKERS = 1000  # numbers up to 999 are one token each


class Csm:
    """`transformers`' CsmForConditionalGeneration. Speaks at 24 kHz."""

    recognises = False
    lora_targets = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

    def __init__(self, settings: Train, processor: Path | None = None) -> None:
        if not settings.base:
            raise UserError("train.base: CSM needs a base model, for its codec and tokenizer if for nothing else")
        base, revision = settings.base, settings.revision
        options = quantised(settings)
        if options:
            options["quantization_config"].llm_int8_skip_modules = ["codec_model", "lm_head"]
        self.model = pretrained_model(CsmForConditionalGeneration, base, revision, **options)
        source, at = (str(processor), None) if processor else (base, revision)
        self.tokenizer = pretrained(PreTrainedTokenizerFast.from_pretrained, source, at)
        self.config = self.model.config
        self._grow(len(self.tokenizer))
        self.core.codec_model.requires_grad_(False)  # what codes mean stays
        self.rate_hz: int = self.config.codec_config.sampling_rate
        self.stopped = True
        ids = self.tokenizer.convert_tokens_to_ids(["<|begin_of_text|>", "<|end_of_text|>"])
        if None in ids or self.tokenizer.unk_token_id in ids:
            raise UserError(f"model {source}: its tokenizer has no <|begin_of_text|> and <|end_of_text|>")
        self._begin, self._end = ids

    @property
    def core(self) -> Any:
        """The model itself, under whatever wraps it."""
        return next(m for m in self.model.modules() if isinstance(m, CsmForConditionalGeneration))

    def add_letters(self, texts: Iterable[str]) -> dict[str, list[int]]:
        new = letters.add_letters(self.tokenizer, texts)
        self._grow(len(self.tokenizer))
        letters.start_rows(self.core.embed_text_tokens.weight, new)
        return {_EMBEDDING: sorted(new)} if new else {}

    def unknown(self, texts: Iterable[str]) -> list[str]:
        return letters.unknown(self.tokenizer, texts)

    def fully_trained(self) -> list[str]:
        return []

    def prompt(self, speaker: str, text: str, samples: Samples) -> Samples:
        """Number of the speaker, count of letters, code points of the letters, codes (frames × codebooks)."""
        number = int(hashlib.sha256(speaker.encode()).hexdigest(), 16) % _SPEAKERS
        codes = self._codes(samples).ravel()
        return np.array([number, len(text), *map(ord, text), *codes], dtype=np.float32)

    def voice(self, samples: Samples) -> Samples:
        return self.prompt("", "", samples)

    def encode(self, text: str, samples: Samples, voice: Samples) -> Example:
        if len(samples) < self.rate_hz // 20:
            raise Skip("shorter than 0.05 s")
        codes = self._codes(samples)
        ids, context = self._written(text, voice, codes)
        most = self.config.max_position_embeddings
        if len(ids) + len(codes) + 1 > most:  # the voice is then to be known by the speaker's number
            ids, context = self._written(text, voice[:1], codes)
        if (count := len(ids) + len(codes) + 1) > most:
            raise Skip(f"{count} letters and frames of {len(samples) / self.rate_hz:.1f} s; the model holds {most}")
        ids += [self.config.audio_token_id] * len(codes) + [self.config.audio_eos_token_id]
        return {
            "ids": np.array(ids, dtype=np.int64),
            "codes": np.concatenate([context, codes]).astype(np.int16),
            "learnt": np.array([len(codes)], dtype=np.int64),
        }

    def collate(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        """Codes of all rows one after another: (frames, codebooks); labels: (batch, length, codebooks)."""
        rows = [torch.from_numpy(np.array(example["ids"])) for example in examples]
        pad = torch.nn.utils.rnn.pad_sequence
        ids = pad(rows, batch_first=True, padding_value=self._end)
        labels = torch.full((*ids.shape, self.config.num_codebooks), -100)
        for row, example in enumerate(examples):
            count, last = int(example["learnt"][0]), len(example["ids"]) - 1
            labels[row, last - count : last] = torch.from_numpy(example["codes"][-count:].astype(np.int64))
            labels[row, last] = self.config.codebook_eos_token_id
        codes = np.concatenate([example["codes"] for example in examples]).astype(np.int64)
        mask = pad([torch.ones_like(row) for row in rows], batch_first=True)
        return {"input_ids": ids, "attention_mask": mask, "codes": torch.from_numpy(codes), "labels": labels}

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        embeds = self._embeds(batch["input_ids"], batch["codes"])
        mask, labels = batch["attention_mask"], batch["labels"]
        loss: torch.Tensor = self.model(
            inputs_embeds=embeds, attention_mask=mask, labels=labels, use_cache=False
        ).loss
        return loss

    def weight(self, batch: dict[str, torch.Tensor]) -> float:
        return float((batch["labels"][..., 0] != -100).sum())

    def transcribe(self, samples: Samples, language: str) -> str:
        raise TypeError("CSM generates speech, it does not recognise it")

    def synthesise(self, text: str, voice: Samples) -> Samples:
        """Text longer than about 20 s is spoken in pieces, cut between words."""
        ends: list[bool] = []
        spoken = [self._speak(piece, voice, ends) for piece in _pieces(text)]
        self.stopped = all(ends)
        return np.concatenate(spoken)

    def synthesise_on(self, text: str, voice: Samples) -> Iterator[Samples]:
        """The same to six digits, a few frames at a time; whole pieces where the codec looks ahead."""
        ends: list[bool] = []
        codec = self.core.codec_model
        for piece in _pieces(text):
            if not mimi.causal(codec):
                yield self._speak(piece, voice, ends)
                continue
            drawn = self._drawn(piece, voice, ends, mimi.FRAMES)
            frames = (frame[None, :, None] for codes in drawn for frame in codes)
            silent = True
            for samples in mimi.decoded(codec, codec.quantizer.decode, frames):
                silent = False
                yield samples
            if silent:
                yield self._nothing()
        self.stopped = all(ends)

    def save_processor(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)

    def _speak(self, text: str, voice: Samples, ends: list[bool]) -> Samples:
        codes = torch.cat(list(self._drawn(text, voice, ends)))
        if not len(codes):
            return self._nothing()
        codec = self.core.codec_model
        with torch.inference_mode():
            samples = codec.decode(codes.T[None].to(next(codec.parameters()).device)).audio_values[0, 0]
        return np.asarray(samples.float().cpu())

    def _nothing(self) -> Samples:
        """Where nothing was said: a tenth of a second of it."""
        return np.zeros(self.rate_hz // 10, np.float32)

    def _drawn(
        self, text: str, voice: Samples, ends: list[bool], at_once: int | None = None
    ) -> Iterator[torch.Tensor]:
        """Codes, (frames, codebooks), all together or so many at once; then `ends` has whether speech ended.

        Before the next ones others may speak with this model, and draw from torch's noise.
        """
        core, end = self.core, self.config.codebook_eos_token_id
        device = next(core.backbone_model.parameters()).device
        tokens, context = self._written(text, voice)
        most = max(1, min(int(_FRAMES_A_LETTER * (len(text) + 3)), self.config.max_position_embeddings - len(tokens)))
        with torch.inference_mode():
            ids = torch.tensor([tokens], device=device)
            said = {"inputs_embeds": self._embeds(ids, torch.from_numpy(context.astype(np.int64)).to(device))}
        count, over, noise = 0, False, _Noise(device)
        while count < most and not over:
            with noise.goes_on(), torch.inference_mode():
                made = core.generate(
                    **said,
                    attention_mask=torch.ones(1, len(tokens) + count, dtype=torch.long, device=device),
                    max_new_tokens=min(at_once or most, most - count),
                    return_dict_in_generate=True,
                )
            codes = made.sequences[0, 1 if count else 0 :]  # the frame that it went on from comes first
            said = {"input_ids": codes[None, -1:], "past_key_values": made.past_key_values}
            count += len(codes)
            over = bool((codes[-1, :-1] == end).all())  # the library then stops, whatever the last code is
            ended = over and bool(codes[-1, -1] == end)
            codes = codes[:-1] if ended else codes
            yield codes.clamp(max=core.codec_model.config.codebook_size - 1)  # the model has a few more, of its own
        ends.append(ended)

    def _written(
        self, text: str, voice: Samples, own: NDArray[Any] | None = None
    ) -> tuple[list[int], NDArray[np.int64]]:
        """Ids up to where speech begins, and the codes (frames, codebooks) of the context among them.

        An utterance is not its own context (`own`: its codes): the model would learn to copy.
        """
        number, count = (int(x) for x in [*voice[:2], 0, 0][:2])
        said = "".join(map(chr, voice[2 : 2 + count].astype(int)))
        context = np.array(voice[2 + count :], np.int64).reshape(-1, self.config.num_codebooks)
        if own is not None and np.array_equal(context, own):
            return self._written(text, voice[:1])
        name = letters.tokens_of(self.tokenizer, f"[{number}]")
        ids: list[int] = []
        if len(context):
            ids += [self._begin, *name, *letters.tokens_of(self.tokenizer, said), self._end]
            ids += [self.config.audio_token_id] * len(context) + [self.config.audio_eos_token_id]
        ids += [self._begin, *name, *letters.tokens_of(self.tokenizer, text), self._end]
        return ids, context

    def _embeds(self, ids: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Text and codes as what the backbone takes: (batch, length, hidden)."""
        core = self.core
        embeds = core.embed_text_tokens(ids)
        end = torch.full_like(codes[:1], self.config.codebook_eos_token_id)
        if not len(end):
            end = torch.full((1, self.config.num_codebooks), self.config.codebook_eos_token_id, device=ids.device)
        heard = core.backbone_model.embed_tokens(torch.cat([codes, end])[None])[0].to(embeds)
        frames = (ids == self.config.audio_token_id)[..., None].expand_as(embeds)
        embeds = embeds.masked_scatter(frames, heard[:-1])
        return torch.where((ids == self.config.audio_eos_token_id)[..., None], heard[-1], embeds)

    def _codes(self, samples: Samples) -> NDArray[np.int64]:
        """The codec's view of a clip: (frames, codebooks), 12.5 frames a second."""
        codec = self.core.codec_model
        if torch.cuda.is_available():
            codec.to("cuda")
        heard = torch.from_numpy(samples)[None, None].to(next(codec.parameters()).device)
        with torch.inference_mode():
            codes = codec.encode(heard, num_quantizers=self.config.num_codebooks).audio_codes[0]
        return np.asarray(codes.T.cpu(), dtype=np.int64)

    def _grow(self, size: int) -> None:
        core = self.core
        core.embed_text_tokens = letters.grown(core.embed_text_tokens, size)
        core.config.text_vocab_size = core.embed_text_tokens.num_embeddings


def _pieces(text: str) -> list[str]:
    return textwrap.wrap(text, _LETTERS) or [""]


class _Noise:
    """Torch's noise from one seed, so that a result repeats; each time it goes on from where it was."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cpu = torch.Generator().manual_seed(0).get_state()
        self._cuda = torch.Generator(device).manual_seed(0).get_state() if device.type == "cuda" else None

    @contextmanager
    def goes_on(self) -> Iterator[None]:
        with torch.random.fork_rng([] if self._cuda is None else [self._device]):
            torch.set_rng_state(self._cpu)
            if self._cuda is not None:
                torch.cuda.set_rng_state(self._cuda, self._device)
            yield
            self._cpu = torch.get_rng_state()
            if self._cuda is not None:
                self._cuda = torch.cuda.get_rng_state(self._device)
