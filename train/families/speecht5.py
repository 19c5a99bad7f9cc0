"""Speech generation with SpeechT5: an encoder of letters, a decoder that draws mel frames one after another.

Source: Ao et al., "SpeechT5: Unified-modal encoder-decoder pre-training", ACL 2022. The decoder's pre-net
and post-net are Tacotron 2's: Shen et al., ICASSP 2018. Speech comes back by Griffin-Lim, or by the
HiFi-GAN that `train.vocoder` names.
"""

import io
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioXVector,
    SpeechT5Config,
    SpeechT5FeatureExtractor,
    SpeechT5ForTextToSpeech,
    SpeechT5HifiGan,
    SpeechT5Tokenizer,
)

from recipes.schema import Train, UserError
from train.drawing import Masks, draw
from train.families import (
    Example,
    Samples,
    Skip,
    Spoken,
    joined,
    letters_of,
    new_model,
    pretrained,
    pretrained_model,
    quantised,
)
from train.padding import silent_beyond, together
from train.speech import Front, from_log10, griffin_lim, voice_statistics

# A skipped layer has no attention for the guided loss to look at, and breaks training on several devices.
_NO_LAYERDROP = {"encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0}
_SPACE = "▁"  # sentencepiece's word boundary
_EMBEDDING = "speecht5.encoder.prenet.embed_tokens"


class SpeechT5:
    """`transformers`' SpeechT5ForTextToSpeech over letters, with a voice as x-vector. Speaks at 16 kHz."""

    recognises = False
    lora_targets = (
        *("q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense"),
        *("decoder.prenet.layers.0", "decoder.prenet.layers.1", "decoder.prenet.final_layer"),
        *("decoder.prenet.speaker_embeds_layer", "feat_out", "prob_out"),
    )

    def __init__(self, settings: Train, processor: Path | None = None, letters: Iterable[str] = ()) -> None:
        base, revision = settings.base, settings.revision
        if base:
            self.model = pretrained_model(
                SpeechT5ForTextToSpeech, base, revision, **_NO_LAYERDROP, **quantised(settings)
            )
            self.features = pretrained(SpeechT5FeatureExtractor.from_pretrained, base, revision)
            source, at = (str(processor), None) if processor else (base, revision)
            self.tokenizer = pretrained(SpeechT5Tokenizer.from_pretrained, source, at)
            _grow_embedding(self.model, len(self.tokenizer))
        else:
            self.features = SpeechT5FeatureExtractor()
            self.tokenizer = letter_tokenizer(letters)
            given = _NO_LAYERDROP | settings.config | {"vocab_size": len(self.tokenizer)}
            self.model = new_model(SpeechT5ForTextToSpeech, SpeechT5Config, given)
        self.config = self.model.config
        self.rate_hz: int = self.features.sampling_rate
        self.stopped = True
        self._encoder_name, self._vocoder_name = settings.speaker_encoder, settings.vocoder
        self._encoder: Any = None
        self._vocoder: Any = None
        self._masks: tuple[Any, Masks] | None = None  # and of which device and precision they are
        _check(self.config, settings)

    def add_letters(self, texts: Iterable[str]) -> dict[str, list[int]]:
        first = len(self.tokenizer)
        self.tokenizer.add_tokens(self.unknown(texts))
        new = list(range(first, len(self.tokenizer)))
        _grow_embedding(self.model, len(self.tokenizer))
        return {_EMBEDDING: new} if new else {}

    def unknown(self, texts: Iterable[str]) -> list[str]:
        to_id, none = self.tokenizer.convert_tokens_to_ids, self.tokenizer.unk_token_id
        return [letter for letter in letters_of(texts) if to_id(letter) == none]

    def fully_trained(self) -> list[str]:
        return []

    def encode(self, text: str, samples: Samples, voice: Samples) -> Example:
        if len(samples) < self.rate_hz // 20:
            raise Skip("shorter than 0.05 s")
        ids = self._ids(text)
        if len(ids) > (most := self.config.max_text_positions):
            raise Skip(f"{len(ids)} letters; the encoder holds {most}")
        frames = np.asarray(
            self.features(audio_target=samples, sampling_rate=self.rate_hz).input_values[0], dtype=np.float32
        )
        steps = len(frames) // self.config.reduction_factor
        if steps > (most := self.config.max_speech_positions):
            raise Skip(f"{len(samples) / self.rate_hz:.1f} s are {steps} decoder steps; the decoder holds {most}")
        # The decoder draws `reduction_factor` frames a step: the few frames that fill no step are left out.
        return {"ids": ids, "mel": frames[: steps * self.config.reduction_factor], "voice": voice}

    def collate(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        def pad(name: str, value: float) -> torch.Tensor:
            rows = [torch.from_numpy(np.array(example[name])) for example in examples]
            return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)

        ids = pad("ids", self.tokenizer.pad_token_id)
        return {
            "input_ids": ids,
            "attention_mask": (ids != self.tokenizer.pad_token_id).long(),
            "labels": pad("mel", -100.0),  # the frame before the padding is the model's own stop label
            "speaker_embeddings": pad("voice", 0.0),
        }

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with nullcontext() if self.model.training else self.same_dropout():
            loss: torch.Tensor = self.model(**batch, use_cache=False).loss
        return loss

    def weight(self, batch: dict[str, torch.Tensor]) -> float:
        return float((batch["labels"][..., 0] != -100).sum())

    def voice(self, samples: Samples) -> Samples:
        """X-vector of `train.speaker_encoder`, or 64 statistics followed by zeros; of unit length."""
        if self._encoder_name:
            vector = self._x_vector(samples)
        else:
            vector = np.zeros(self.config.speaker_embedding_dim, np.float32)
            vector[:64] = voice_statistics(samples, self._front())
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), dtype=np.float32)

    def attention(self, text: str, samples: Samples, voice: Samples) -> tuple[list[str], NDArray[np.float32]]:
        """The decoder's cross-attention, over all heads and layers, while it draws the recording."""
        core = self._core
        device = next(core.parameters()).device
        batch = {name: x.to(device) for name, x in self.collate([self.encode(text, samples, voice)]).items()}
        with torch.inference_mode(), self.same_dropout():
            layers = core(**batch, output_attentions=True, use_cache=False).cross_attentions
        tokens = self.tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist())
        return tokens, np.asarray(torch.stack(layers).float().mean((0, 1, 2)).T.cpu(), np.float32)

    def transcribe(self, samples: Samples, language: str) -> str:
        raise TypeError("SpeechT5 as loaded here generates speech, it does not recognise it")

    def synthesise(self, text: str, voice: Samples) -> Samples:
        """Text longer than the encoder holds is spoken in pieces, cut between words."""
        (spoken,) = self.synthesise_many([text], voice)
        self.stopped = spoken.stopped
        return spoken.samples

    def synthesise_many(self, texts: Sequence[str], voice: Samples) -> list[Spoken]:
        """Each as it is spoken alone, up to where the model stops: after 1 to 20 frames (16 to 320 ms) a letter."""
        pieces = [textwrap.wrap(text, self.config.max_text_positions - 2) or [""] for text in texts]
        spoken = iter(self._speak([piece for some in pieces for piece in some], voice) if pieces else [])
        return [joined([next(spoken) for _ in some]) for some in pieces]

    def save_processor(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        self.features.save_pretrained(folder)

    def _ids(self, text: str) -> NDArray[np.int64]:
        """Letters as ids, a word boundary before each word, end of sentence last: int64 (letters + 2,).

        The tokenizer's own call would put boundaries around letters that were added, and lose spaces there.
        """
        letters = list(_SPACE + text.replace(" ", _SPACE))
        ids = [*self.tokenizer.convert_tokens_to_ids(letters), self.tokenizer.eos_token_id]
        return np.array(ids, dtype=np.int64)

    def _speak(self, pieces: list[str], voice: Samples) -> list[Spoken]:
        core = self._core
        like = next(core.parameters())
        given = torch.from_numpy(voice).to(like.device, core.speech_decoder_postnet.feat_out.bias.dtype)
        ids = [torch.from_numpy(self._ids(piece)).to(like.device) for piece in pieces]
        most = [self._most(len(row)) for row in ids]
        if self._masks is None or self._masks[0] != (given.device, given.dtype):
            prenet, share = core.speecht5.decoder.prenet, self.config.speech_decoder_prenet_dropout
            self._masks = ((given.device, given.dtype), Masks(prenet, share, given))
        drawn = draw(core, ids, given, self._masks[1], most)
        waves = self._waves([frames for frames, _ in drawn])
        return [Spoken(wave, by_itself) for wave, (_, by_itself) in zip(waves, drawn, strict=True)]

    def _most(self, letters: int) -> int:
        """Steps that so many letters may take."""
        factor = self.config.reduction_factor
        room = (self.config.max_speech_positions - 1) * factor
        return int(letters * min(20.0, room / letters) / factor)

    def _waves(self, rows: list[torch.Tensor]) -> list[Samples]:
        """Frames, (frames, mels) each, as sound."""
        if (vocoder := self.open_vocoder()) is None:
            return [griffin_lim(from_log10(np.asarray(frames.float().cpu())), self._front()) for frames in rows]
        if len(rows) > 1 and not together(vocoder, rows[0].device):
            return [wave for row in rows for wave in self._waves([row])]
        padded, lengths = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), [len(row) for row in rows]
        with torch.inference_mode(), silent_beyond(vocoder, lengths):
            waves = np.asarray(vocoder(padded).float().cpu())
        hop = waves.shape[1] // max(lengths)
        return [wave[: length * hop] for wave, length in zip(waves, lengths, strict=True)]

    @property
    def _core(self) -> Any:
        """The model itself, under whatever wraps it."""
        return next(m for m in self.model.modules() if isinstance(m, SpeechT5ForTextToSpeech))

    def open_vocoder(self) -> Any:
        """The HiFi-GAN of `train.vocoder`, opened once; None where there is none."""
        if self._vocoder_name and self._vocoder is None:
            device = next(self.model.parameters()).device
            self._vocoder = _open_vocoder(self._vocoder_name, self.config, device)
        return self._vocoder

    @contextmanager
    def same_dropout(self) -> Iterator[None]:
        """The decoder's pre-net drops at random in use as well: from one seed, so that a result repeats."""
        device = next(self.model.parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            yield

    def _front(self) -> Front:
        f = self.features
        return Front(f.sampling_rate, f.n_fft, f.sample_stride, f.num_mel_bins, f.fmin, f.fmax)

    def _x_vector(self, samples: Samples) -> Samples:
        if self._encoder is None:
            self._encoder = _open_encoder(str(self._encoder_name), self.config, self.rate_hz)
        features, encoder = self._encoder
        # Its convolutions need about a third of a second; a shorter clip is heard again and again.
        heard = np.resize(samples, max(len(samples), self.rate_hz))
        with torch.inference_mode():
            inputs = features(heard, sampling_rate=self.rate_hz, return_tensors="pt")
            return np.asarray(encoder(**inputs).embeddings[0].float())


def letter_tokenizer(texts: Iterable[str]) -> SpeechT5Tokenizer:
    """A sentencepiece tokenizer of single letters: those of the texts."""
    import sentencepiece

    letters = letters_of(texts)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(letters),
        model_writer=model,
        model_type="char",
        vocab_size=len(letters) + 5,
        character_coverage=1.0,
        normalization_rule_name="identity",
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        num_threads=1,
        minloglevel=2,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "spm_char.model")
        path.write_bytes(model.getvalue())
        return SpeechT5Tokenizer(str(path))


def _check(config: Any, settings: Train) -> None:
    if config.speech_decoder_prenet_dropout == 0:
        raise UserError(
            "train.config.speech_decoder_prenet_dropout: 0 would silence the decoder's input "
            "(transformers keeps this share, it does not drop it); leave it at 0.5"
        )
    if not settings.speaker_encoder and config.speaker_embedding_dim < 64:
        raise UserError(
            f"train.config.speaker_embedding_dim: {config.speaker_embedding_dim} is too few for the 64 voice "
            "statistics; give at least 64, or name a train.speaker_encoder"
        )


def _open_encoder(name: str, config: Any, rate_hz: int) -> tuple[Any, Any]:
    """The x-vector model with its feature extractor."""
    features = pretrained(AutoFeatureExtractor.from_pretrained, name)
    encoder = pretrained_model(AutoModelForAudioXVector, name)
    encoder.eval()
    if features.sampling_rate != rate_hz or encoder.config.xvector_output_dim != config.speaker_embedding_dim:
        raise UserError(
            f"train.speaker_encoder: {name} gives {encoder.config.xvector_output_dim} numbers at "
            f"{features.sampling_rate} Hz; the base wants {config.speaker_embedding_dim} at {rate_hz} Hz"
        )
    return features, encoder


def _open_vocoder(name: str, config: Any, device: Any) -> Any:
    vocoder = pretrained_model(SpeechT5HifiGan, name)
    if vocoder.config.model_in_dim != config.num_mel_bins:
        raise UserError(
            f"train.vocoder: {name} takes {vocoder.config.model_in_dim} mel bins; "
            f"the base draws {config.num_mel_bins}"
        )
    return vocoder.to(device).eval()


def _grow_embedding(model: Any, size: int) -> None:
    """Give the letter embedding `size` rows; each new one starts as the mean of the letters there are."""
    prenet = model.speecht5.encoder.prenet
    old = prenet.embed_tokens
    if old.num_embeddings >= size:
        return
    grown = torch.nn.Embedding(size, old.embedding_dim, padding_idx=old.padding_idx).to(old.weight)
    with torch.no_grad():
        grown.weight[:] = old.weight[4:].mean(0)  # after <s>, <pad>, </s>, <unk>
        grown.weight[: old.num_embeddings] = old.weight
    prenet.embed_tokens = grown
    model.config.vocab_size = size
