"""Speech generation with Pocket TTS: a small language model whose words are continuous frames of a codec.

Source: Rouard et al., "Continuous audio language models", Kyutai, 2025 (arXiv 2509.06926); the loss is
`transformers`' own: Boffi et al., "How to build a consistency model", 2025 (arXiv 2505.18825), plus an end of speech.
The voice is shown, by a clip of the speaker's before the text, and the text is spelled in letters of its own where
the base's pieces (of English, French, ...) do not reach: Arabic script and Tifinagh.
"""

import json
import math
import textwrap
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    DynamicCache,
    PocketTTSAudioTokenizerModel,
    PocketTTSFeatureExtractor,
    PocketTTSForConditionalGeneration,
    PreTrainedTokenizerFast,
)
from transformers.models.pocket_tts.generation_pocket_tts import PocketTTSEosThresholdCriteria
from transformers.utils.hub import cached_file

from recipes.schema import Train, UserError
from train.families import Example, Samples, Skip, letters, mimi, pretrained, pretrained_model

_EMBEDDING = "model.embed_tokens"
_BOUNDARY = "▁"  # sentencepiece's, between words
_LETTERS = 200  # of a text spoken in one go: about 15 s, as the base was trained
_FRAMES_A_LETTER = 5.0  # 0.4 s: slower than anybody speaks
_TAIL_FRAMES = 2  # after the end of speech, so that the codec can close it


class PocketTts:
    """`transformers`' PocketTTSForConditionalGeneration with its codec. Speaks at 24 kHz."""

    recognises = False
    lora_targets = ("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2", "adaln_proj")

    def __init__(self, settings: Train, processor: Path | None = None) -> None:
        if not settings.base:
            raise UserError("train.base: Pocket TTS needs a base model, for its tokenizer if for nothing else")
        base, revision = settings.base, settings.revision
        self.model = pretrained_model(PocketTTSForConditionalGeneration, base, revision)
        self.config = self.model.config
        if (kind := self.config.flow_head_config.flow_type) != "lsd":
            raise UserError(f"model {base}: its flow head ({kind}) cannot be trained; take one with `lsd`")
        # The mean and deviation of frames belong to the base, whose adapter would not hold new ones.
        self.config.latent_stats_ema_steps = 0
        source, at = (str(processor), None) if processor else (base, revision)
        self.tokenizer = pretrained(PreTrainedTokenizerFast.from_pretrained, source, at)
        self.features = pretrained(PocketTTSFeatureExtractor.from_pretrained, base, revision)
        codec = settings.codec or _codec_of(base, revision)
        self.codec = pretrained_model(PocketTTSAudioTokenizerModel, codec).eval()
        self.rate_hz: int = self.codec.config.sampling_rate
        self.stopped = True
        self._added = {_letter(token) for token in self.tokenizer.get_added_vocab()} - {None}
        self._words = self.config.vocab_size
        self._grow(len(self.tokenizer))

    @property
    def core(self) -> Any:
        """The model itself, under whatever wraps it."""
        return next(m for m in self.model.modules() if isinstance(m, PocketTTSForConditionalGeneration))

    def add_letters(self, texts: Iterable[str]) -> dict[str, list[int]]:
        new = letters.add_letters(self.tokenizer, [*texts, _BOUNDARY])
        self._added |= {_letter(token) for token in self.tokenizer.get_added_vocab()} - {None}
        self._grow(len(self.tokenizer))
        unknown = self.tokenizer.unk_token_id
        known = [row for row in range(self._words) if row not in self.tokenizer.all_special_ids]
        heard = {row: [i for i in pieces if i != unknown] or known for row, pieces in new.items()}
        letters.start_rows(self.core.get_input_embeddings().weight, heard)
        return {_EMBEDDING: sorted(new)} if new else {}

    def unknown(self, texts: Iterable[str]) -> list[str]:
        return letters.unknown(self.tokenizer, texts)

    def fully_trained(self) -> list[str]:
        return []

    def prompt(self, speaker: str, text: str, samples: Samples) -> Samples:
        """A mark of the clip, then its frames one after another, made to end on a pause: (1 + frames × latents,)."""
        heard = self.features(samples, sampling_rate=self.rate_hz).input_values[0, 0]
        frames = self._frames(np.asarray(heard, np.float32))
        return np.concatenate([[_mark(samples)], frames.ravel()], dtype=np.float32)

    def voice(self, samples: Samples) -> Samples:
        return self.prompt("", "", samples)

    def encode(self, text: str, samples: Samples, voice: Samples) -> Example:
        if len(samples) < self.rate_hz // 20:
            raise Skip("shorter than 0.05 s")
        # A clip is not its own prompt: the model would learn to copy.
        shown = self._shown(voice) if len(voice) and voice[0] != _mark(samples) else self._shown(voice[:0])
        frames = self._frames(samples)
        ids = [*self._prefix(text, len(shown)), *[self.config.audio_latent_token_id] * len(frames)]
        if len(ids) > (most := self.config.max_position_embeddings):
            length_s = len(samples) / self.rate_hz
            raise Skip(f"{len(ids)} letters and frames of {length_s:.1f} s; the model holds {most}")
        return {"ids": np.array(ids, dtype=np.int64), "shown": shown, "frames": frames}

    def collate(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        def pad(name: str, value: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
            rows = [torch.from_numpy(np.array(example[name])) for example in examples]
            padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
            lengths = torch.tensor([len(row) for row in rows])
            return padded, (torch.arange(padded.shape[1]) < lengths[:, None]).long()

        batch: dict[str, torch.Tensor] = {}
        batch["input_ids"], batch["attention_mask"] = pad("ids", self.config.pad_token_id)
        batch["audio_prompt_latents"], batch["audio_prompt_latents_mask"] = pad("shown")
        batch["labels"], batch["labels_mask"] = pad("frames")
        return batch

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        core = self.core
        if core.training:
            # Its own generator is in no checkpoint; from torch's, a resumed run draws what it would have drawn.
            core.distill_generator.manual_seed(int(torch.randint(2**31, ())))
            loss: torch.Tensor = self.model(**batch, use_cache=False).loss
            return loss
        with self._same_noise():
            loss = self.model(**batch, use_cache=False).loss
        return loss

    def weight(self, batch: dict[str, torch.Tensor]) -> float:
        return float(batch["labels_mask"].sum())

    def transcribe(self, samples: Samples, language: str) -> str:
        raise TypeError("Pocket TTS generates speech, it does not recognise it")

    def synthesise(self, text: str, voice: Samples) -> Samples:
        """Text longer than about 15 s is spoken in pieces, cut between words."""
        ends: list[bool] = []
        spoken = [self._speak(piece, voice, ends) for piece in _pieces(text)]
        self.stopped = all(ends)
        return np.concatenate(spoken)

    def synthesise_on(self, text: str, voice: Samples) -> Iterator[Samples]:
        """The same to six digits, a few frames at a time; whole pieces where the codec looks ahead."""
        ends: list[bool] = []
        for piece in _pieces(text):
            if mimi.causal(self.codec):
                frames = (frame.mT for frame in self._drawn(piece, voice, ends))
                yield from mimi.decoded(self.codec, self.codec.latent_proj, frames)
            else:
                yield self._speak(piece, voice, ends)
        self.stopped = all(ends)

    def save_processor(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        self.features.save_pretrained(folder)

    def _speak(self, text: str, voice: Samples, ends: list[bool]) -> Samples:
        frames = torch.cat(list(self._drawn(text, voice, ends)), dim=1)
        with torch.inference_mode():
            samples = self.codec.decode(frames.to(next(self.codec.parameters()).device)).audio_values[0, 0]
        return np.asarray(samples.float().cpu())

    def _drawn(self, text: str, voice: Samples, ends: list[bool]) -> Iterator[torch.Tensor]:
        """Frames, (1, 1, latents) each, as `generate` of `transformers` draws them; then `ends` has whether it ended.

        Between two frames others may speak with this model, and draw from torch's noise.
        """
        core = self.core
        device = next(core.parameters()).device
        shown = self._shown(voice)
        ids = torch.tensor([self._prefix(text, len(shown))], device=device)
        most = min(int(_FRAMES_A_LETTER * (len(text) + 3)), self.config.max_position_embeddings - ids.shape[1])
        how, _ = core._prepare_generation_config(None, frames_after_eos=_TAIL_FRAMES)
        over: Any = PocketTTSEosThresholdCriteria(how.eos_threshold, how.frames_after_eos, how.min_frames_before_eos)
        noise = torch.Generator(device).manual_seed(0)  # from one seed, so that a result repeats
        deviation = math.sqrt(how.temperature) if how.do_sample else 0.0
        said = {"input_ids": ids, "audio_prompt_latents": torch.from_numpy(shown)[None].to(device)}
        attended = DynamicCache(config=self.config)
        for count in range(1, max(most, 1) + 1):
            with torch.inference_mode():
                seen = core(**said, past_key_values=attended, use_cache=True)
                state = seen.last_hidden_state[:, -1]
                drawn = torch.randn(1, self.config.latent_dim, generator=noise, device=device, dtype=state.dtype)
                frame = core.sample_latent(state, drawn * deviation, how.num_flow_steps)[:, None]
                last = bool(over(ids, seen.logits[:, -1, 0].float()))
            yield core.denormalize_latents(frame)
            if last:
                ends.append(count < most)
                return
            place = torch.full_like(ids[:, :1], self.config.audio_latent_token_id)
            said = {"input_ids": place, "audio_latents": frame}
        ends.append(False)

    @contextmanager
    def _same_noise(self) -> Iterator[None]:
        """The loss is drawn from noise and times: from one seed, so that a result repeats."""
        device = next(self.model.parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            yield

    def _prefix(self, text: str, shown: int) -> list[int]:
        """The tokens before the speech: the voice (a place for each frame), the text, the start of speech."""
        c = self.config
        voice = [c.audio_prompt_bos_token_id, *[c.audio_prompt_token_id] * shown] if shown else []
        return [*voice, *self._spelled(text), c.audio_bos_token_id]

    def _spelled(self, text: str) -> list[int]:
        """Words as the base's pieces, or in letters where one of theirs was added.

        The tokenizer's own call would put boundaries around letters that were added.
        """
        ids: list[int] = []
        for word in text.split():
            if self._added & set(word):
                ids += self.tokenizer.convert_tokens_to_ids([_BOUNDARY, *word])
            else:
                ids += letters.tokens_of(self.tokenizer, word)
        return ids

    def _shown(self, voice: Samples) -> NDArray[np.float32]:
        """The frames of a prompt: (frames, latents)."""
        return np.ascontiguousarray(voice[1:].reshape(-1, self.config.latent_dim))

    def _frames(self, samples: Samples) -> NDArray[np.float32]:
        """The codec's view of a clip: (frames, latents), 12.5 frames a second; silence fills the last one."""
        if torch.cuda.is_available():
            self.codec.to("cuda")
        whole = np.pad(samples, (0, -len(samples) % self.codec.config.frame_size))
        heard = torch.from_numpy(whole)[None, None].to(next(self.codec.parameters()).device)
        with torch.inference_mode():
            return np.asarray(self.codec.encode(heard).latents[0].float().cpu())

    def _grow(self, size: int) -> None:
        core = self.core
        core.set_input_embeddings(letters.grown(core.get_input_embeddings(), size))
        core.config.vocab_size = core.get_input_embeddings().num_embeddings


def _pieces(text: str) -> list[str]:
    return textwrap.wrap(text, _LETTERS) or [""]


def _letter(token: str) -> str | None:
    """A token that is one letter; None for those of other kinds."""
    return token if len(token) == 1 and token != _BOUNDARY else None


def _mark(samples: Samples) -> float:
    """A number to know a clip by, small enough for a float32 to hold exactly."""
    return float(zlib.crc32(np.ascontiguousarray(samples).tobytes()) % 2**24)


def _codec_of(base: str, revision: str | None) -> str:
    """The codec that a base names in its `processor_config.json`."""
    found = pretrained(_processor_file, base, revision)
    try:
        about = json.loads(Path(found).read_text(encoding="utf-8"))["audio_tokenizer"]
        return str(about["audio_tokenizer_name_or_path"])
    except (TypeError, OSError, ValueError, KeyError):
        raise UserError(f"train.codec: {base} names no codec in its processor_config.json; give one") from None


def _processor_file(base: str, revision: str | None = None, trust_remote_code: bool = False) -> str | None:
    missing = {"_raise_exceptions_for_missing_entries": False}
    found: str | None = cached_file(base, "processor_config.json", revision=revision, **missing)
    return found
