"""Recognition with Whisper: an encoder of up to 30 seconds, a decoder of byte-pair tokens.

Source: Radford et al., "Robust speech recognition via large-scale weak supervision", ICML 2023.
Its tokenizer falls back to bytes: letters such as ⴰ or ڭ, three and two of them, are added as tokens.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from recipes.schema import Train, UserError
from train.families import (
    Example,
    Samples,
    Skip,
    in_pieces,
    letters_of,
    new_model,
    pretrained,
    pretrained_model,
    quantised,
)

_EMBEDDING = "model.decoder.embed_tokens"  # tied to the output layer
_POSITIONS_PER_S = 50  # of the encoder, each of two frames
# Whisper has no Darija and no Tamazight; Arabic is the nearest language token of a multilingual model.
_LANGUAGE = {"ary": "ar", "zgh": "ar", "shi": "ar", "tzm": "ar", "rif": "ar", "kab": "ar"}


class AnyLength(WhisperEncoder):
    """Whisper's encoder for any number of frames up to its window: it takes as many of its positions as there are.

    The positions are sinusoids (section 2.2), so that those of a short clip are the first of a long one.
    """

    def forward(self, input_features: torch.Tensor, attention_mask: Any = None, **options: Any) -> BaseModelOutput:
        """Mel frames, (batch, mels, 2 n), as hidden states, (batch, n, width)."""
        gelu, dropout = torch.nn.functional.gelu, torch.nn.functional.dropout
        hidden = gelu(self.conv2(gelu(self.conv1(input_features)))).transpose(1, 2)
        hidden = hidden + self.embed_positions(torch.arange(hidden.shape[1], device=hidden.device))
        hidden = dropout(hidden, p=self.dropout, training=self.training)
        for layer in self.layers:
            if not (self.training and self.layerdrop > 0 and torch.rand([]) < self.layerdrop):
                hidden = layer(hidden, None, **options)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden))


class Whisper:
    """A Whisper checkpoint. Hears 16 kHz, at most 30 s at once; longer recordings in pieces.

    `window_s`: what every clip is filled up to with silence; None: the longest of a batch.
    """

    rate_hz = 16_000
    recognises = True
    lora_targets = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")

    def __init__(self, settings: Train, processor: Path | None = None) -> None:
        if not settings.base:
            raise UserError("train.base: Whisper needs a base model, for its tokenizer if for nothing else")
        base, revision = settings.base, settings.revision
        if settings.config:
            self.model = new_model(WhisperForConditionalGeneration, WhisperConfig, settings.config)
        else:
            self.model = pretrained_model(WhisperForConditionalGeneration, base, revision, **quantised(settings))
        source, at = (str(processor), None) if processor else (base, revision)
        self.tokenizer = pretrained(WhisperTokenizer.from_pretrained, source, at)
        _grow_embedding(self.model, len(self.tokenizer))
        self.features = (
            pretrained(WhisperFeatureExtractor.from_pretrained, base, revision)
            if _has_features(base)
            else WhisperFeatureExtractor()
        )
        self.features.n_samples = round(self.features.n_samples)  # of a window that is no whole number of seconds
        self.model.model.encoder.__class__ = AnyLength
        self.longest_s: float = self.model.config.max_source_positions / _POSITIONS_PER_S
        self.stopped = True
        context = settings.audio_context or getattr(self.model.config, "audio_context", self.longest_s)
        self.window_s = None if context == "fit" else float(context)
        if self.window_s is None:
            self.model.config.audio_context = "fit"  # known again when a model is trained whole, and saved
        elif self.window_s != self.longest_s:
            self._hear_less(self.window_s)
        self.model.config.forced_decoder_ids = None
        self.multilingual = bool(getattr(self.model.generation_config, "is_multilingual", False))

    def add_letters(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """Letters that the tokenizer writes as several bytes become tokens: a third as many steps for Tifinagh."""
        pieces = {letter: self._tokens(letter) for letter in letters_of(texts)}
        new = {letter: ids for letter, ids in pieces.items() if len(ids) > 1}
        if not new:
            return {}
        first = self._fill_up()
        self.tokenizer.add_tokens(list(new))
        _grow_embedding(self.model, len(self.tokenizer))
        rows = self.model.get_input_embeddings().weight
        with torch.no_grad():
            for number, ids in enumerate(new.values()):
                rows[first + number] = rows[ids].mean(0)
        return {_EMBEDDING: list(range(first, len(self.tokenizer)))}

    def unknown(self, texts: Iterable[str]) -> list[str]:
        return []  # what has no token is written in bytes

    def fully_trained(self) -> list[str]:
        return []

    def encode(self, text: str, samples: Samples, voice: Samples) -> Example:
        if len(samples) > self.most_samples:
            raise Skip(f"{len(samples) / self.rate_hz:.1f} s; Whisper hears {self.longest_s:g} s at once")
        tokens = self._tokens(text)
        labels = [*self.prompt_tokens(), *tokens, self.tokenizer.eos_token_id]
        if len(labels) > (most := self.model.config.max_target_positions):
            raise Skip(f"{len(labels)} tokens; the decoder holds {most}")
        return {"inputs": self._features(samples), "labels": np.asarray(labels, dtype=np.int64)}

    def collate(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        labels = [torch.from_numpy(np.array(example["labels"])) for example in examples]
        padded = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
        start = len(self.prompt_tokens())
        targets = padded[:, 1:].clone()
        targets[:, : start - 1] = -100  # the prompt is given, not learnt
        given = padded[:, :-1].clone()
        given[given == -100] = self.tokenizer.eos_token_id
        inputs = self._filled_up([example["inputs"] for example in examples])
        return {"input_features": inputs, "decoder_input_ids": given, "labels": targets}

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        loss: torch.Tensor = self.model(**batch).loss
        return loss

    def weight(self, batch: dict[str, torch.Tensor]) -> float:
        return float((batch["labels"] != -100).sum())

    def voice(self, samples: Samples) -> Samples:
        return np.zeros(0, np.float32)

    def transcribe(self, samples: Samples, language: str) -> str:
        """Greedy decoding of a recording; beyond the window in pieces, cut where it is quiet."""
        pieces = in_pieces(samples, self.most_samples, self.rate_hz)
        heard = [self._transcribe(piece, language) for piece in pieces]
        self.stopped = all(stopped for _, stopped in heard)
        return " ".join(text for text, _ in heard if text)

    def _transcribe(self, samples: Samples, language: str) -> tuple[str, bool]:
        """One clip as text, and whether it came to an end by itself."""
        parameter = next(self.model.parameters())
        inputs = self._filled_up([self._features(samples)]).to(parameter.device, parameter.dtype)
        prompt = torch.tensor([self.prompt_tokens(language)], device=parameter.device)
        most = self.model.config.max_target_positions - len(prompt[0]) - 1
        with torch.inference_mode():
            ids = self.model.generate(
                encoder_outputs=self.model.get_encoder()(inputs),
                decoder_input_ids=prompt,
                max_new_tokens=most,
                num_beams=1,
                do_sample=False,
            )[0]
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return " ".join(text.split()), len(ids) < most  # the prompt is not among them

    def attention(self, text: str, samples: Samples, voice: Samples) -> tuple[list[str], NDArray[np.float32]]:
        """The decoder's cross-attention, over all heads and layers, where the clip has sound."""
        core = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        parameter = next(core.parameters())
        batch = self.collate([self.encode(text, samples, voice)])
        inputs = {name: tensor.to(parameter.device) for name, tensor in batch.items()}
        inputs["input_features"] = inputs["input_features"].to(parameter.dtype)
        kind = core.config._attn_implementation
        core.set_attn_implementation("eager")  # the fast ones do not keep what they attend to
        try:
            with torch.inference_mode():
                layers = core(**inputs, output_attentions=True, use_cache=False).cross_attentions
        finally:
            core.set_attn_implementation(kind)
        first, positions = len(self.prompt_tokens()), 1 + round(len(samples) / self.rate_hz * _POSITIONS_PER_S)
        shown = torch.stack(layers).float().mean((0, 1, 2))[first:, :positions].cpu().numpy()
        tokens = [self.tokenizer.decode([token]) for token in batch["decoder_input_ids"][0, first:].tolist()]
        return tokens, np.asarray(shown, np.float32)

    def synthesise(self, text: str, voice: Samples) -> Samples:
        raise TypeError("Whisper recognises speech, it does not generate it")

    def save_processor(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        self.features.save_pretrained(folder)

    @property
    def most_samples(self) -> int:
        """What the encoder hears at once."""
        most: int = self.features.n_samples
        return min(round(self.longest_s * self.rate_hz), most)

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _fill_up(self) -> int:
        """Give a name to every row the model has: some tokenizers leave out the time stamps. The number of rows."""
        rows: int = self.model.get_input_embeddings().num_embeddings
        missing = range(max(0, rows - len(self.tokenizer)))
        self.tokenizer.add_tokens([f"<|{0.02 * number:.2f}|>" for number in missing], special_tokens=True)
        return max(rows, len(self.tokenizer))

    def _hear_less(self, window_s: float) -> None:
        """Shorten the encoder's window. Its positions are sinusoids (section 2.2), so the first ones stay the same.

        What a published checkpoint computes changes a little, and fine-tuning takes that up; its cost falls
        with the window, and more than that in attention. Raises UserError when the base hears less as it is.
        """
        if window_s > self.longest_s:
            raise UserError(f"train.audio_context: {window_s:g} s are more than the base's {self.longest_s:g} s")
        self.longest_s = window_s
        count, encoder = round(window_s * _POSITIONS_PER_S), self.model.model.encoder
        self.model.config.max_source_positions = encoder.max_source_positions = count
        positions = encoder.embed_positions
        positions.weight = torch.nn.Parameter(positions.weight[:count].detach().clone(), requires_grad=False)
        positions.num_embeddings = count
        whole = self.features.to_dict() | {"chunk_length": int(window_s) if window_s.is_integer() else window_s}
        for key in ("n_samples", "nb_max_frames", "feature_extractor_type", "mel_filters"):
            whole.pop(key, None)
        self.features = WhisperFeatureExtractor(**whole)
        self.features.n_samples = round(window_s * self.rate_hz)
        self.features.nb_max_frames = 2 * count

    def _features(self, samples: Samples) -> NDArray[np.float16]:
        """Log mel frames of a clip and of three frames of silence after it, where there is room: (mels, frames)."""
        hop = self.features.hop_length
        silent = min((-(-len(samples) // hop) + 3) * hop, self.features.n_samples) - len(samples)
        heard = np.pad(samples, (0, max(0, silent)))
        values = self.features(heard, sampling_rate=self.rate_hz, padding="longest", return_tensors="np")
        # Half the disk; log mels lie between -1 and 2.
        return np.asarray(values.input_features[0], dtype=np.float16)

    def _filled_up(self, clips: list[NDArray[Any]]) -> torch.Tensor:
        """Clips of (mels, frames) with silence after them: float32 (clips, mels, frames).

        The last frame of each is silence already, as deep as the loudest frame lets it be.
        """
        most = round(2 * self.longest_s * _POSITIONS_PER_S)
        longest = max(clip.shape[1] for clip in clips)
        frames = most if self.window_s else longest + longest % 2
        filled = np.empty((len(clips), clips[0].shape[0], frames), np.float32)
        for row, clip in zip(filled, clips, strict=True):
            row[:, : clip.shape[1]] = clip
            row[:, clip.shape[1] :] = clip[:, -1:]
        return torch.from_numpy(filled)

    def prompt_tokens(self, language: str = "ary-Arab") -> list[int]:
        """The tokens before the text: start, (language, task,) no time stamps."""
        tokens = ["<|startoftranscript|>"]
        if self.multilingual:
            tokens += [f"<|{_LANGUAGE[language.split('-')[0]]}|>", "<|transcribe|>"]
        return list(self.tokenizer.convert_tokens_to_ids([*tokens, "<|notimestamps|>"]))


def _grow_embedding(model: Any, size: int) -> None:
    """Give the token embedding, and the output layer tied to it, at least `size` rows."""
    if model.get_input_embeddings().num_embeddings < size:
        model.resize_token_embeddings(size, mean_resizing=False)


def _has_features(base: str) -> bool:
    """Some folders hold weights and tokenizer only; the feature settings are then the published ones."""
    return not Path(base).is_dir() or any(
        Path(base, n).exists() for n in ("preprocessor_config.json", "processor_config.json")
    )
