"""Voxtral TTS whole: a language model that reads a voice and a text, and goes on with frames of codes.

Source: Liu et al., "Voxtral TTS", Mistral AI, 2026 (arXiv 2603.25551), sections 2.2 and 3.1. The language model is
`transformers`' MistralModel; the other parts keep the names of the published weights.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import DynamicCache, MistralModel, PreTrainedModel

from train.voxtral_tts.acoustic import AcousticTransformer, Tensor
from train.voxtral_tts.codec import Decoder
from train.voxtral_tts.config import END, SPECIAL, VoxtralTtsConfig


class VoxtralTtsModel(PreTrainedModel):
    """`forward` gives the losses of a batch; `frames` speaks. Codes are those of the codec, from 0."""

    config_class = VoxtralTtsConfig
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["MistralDecoderLayer"]  # noqa: RUF012, as the library has it

    def __init__(self, config: VoxtralTtsConfig) -> None:
        super().__init__(config)
        self.codes = config.codes
        text: Any = config.text_config
        self.language_model: Any = MistralModel(text)
        self.audio_embeddings = nn.Embedding(self.codes.embedding_rows, text.hidden_size)
        self.acoustic_transformer = AcousticTransformer(config.acoustic, self.codes)
        self.audio_tokenizer = Decoder(config.codec)
        begin: Any = self.post_init
        begin()

    def get_input_embeddings(self) -> nn.Module:
        found: nn.Module = self.language_model.embed_tokens
        return found

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.embed_tokens = value

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, heard: Tensor, codes: Tensor, labels: Tensor, **_: Any
    ) -> dict[str, Tensor]:
        """Losses, each a scalar, by name; `loss` is their sum.

        `input_ids`, `attention_mask`: (batch, length). `heard`: true where a frame stands, (batch, length). `codes`:
        these frames, of all rows one after another, (frames, codes), -1 for the end of audio. `labels`: as
        `AcousticTransformer.losses` takes them, (batch, length, codes), -100 where nothing is learnt.
        """
        embeds = self.language_model.embed_tokens(input_ids)
        embeds = embeds.masked_scatter(heard[..., None].expand_as(embeds), self.embedded(codes).to(embeds))
        states = self.language_model(
            inputs_embeds=embeds, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        learnt = labels[..., 0] != -100
        targets, noise, times = labels[learnt], *self._draws(learnt)
        found = self.acoustic_transformer.losses(states[learnt], targets, noise, times)
        return {**found, "loss": found["semantic"] + found["acoustic"]}

    def embedded(self, codes: Tensor) -> Tensor:
        """Frames (frames, codes) as what the language model takes: (frames, hidden).

        A frame of -1 is the end of audio: its first code says so, the others are none.
        """
        starts = [0, *accumulate(self.codes.rows[:-1])]
        rows = (codes + SPECIAL).where(codes >= 0, 0)
        rows[:, 0] = rows[:, 0].where(codes[:, 0] >= 0, END)
        summed: Tensor = self.audio_embeddings(rows + torch.tensor(starts, device=codes.device)).sum(1)
        return summed

    def frames(self, input_ids: Tensor, heard: Tensor, codes: Tensor, most: int) -> Iterator[Tensor]:
        """One frame after another, int64 (codes,), until the end of audio or `most` of them. Arguments: one row."""
        embeds = self.language_model.embed_tokens(input_ids)
        if len(codes):
            embeds = embeds.masked_scatter(heard[..., None].expand_as(embeds), self.embedded(codes).to(embeds))
        cache = DynamicCache(config=self.config.text_config)
        for _ in range(most):
            read = self.language_model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
            state = read.last_hidden_state[:, -1]
            semantic = self.acoustic_transformer.semantic(state).argmax(1)
            if semantic == 0:
                return
            noise = torch.randn(1, self.codes.n_acoustic_codebook, device=state.device)
            frame = torch.cat([semantic - 1, self.acoustic_transformer.drawn(state, noise)[0]])
            yield frame
            embeds = self.embedded(frame[None])[None].to(embeds)

    def _draws(self, learnt: Tensor) -> tuple[Tensor, Tensor]:
        """Noise (frames, numbers) and times (frames,): at random; when validating, those of the frame's number.

        So an utterance has the same validation loss in whatever batch it stands.
        """
        count, numbers = int(learnt.sum()), self.codes.n_acoustic_codebook
        if self.training:
            return torch.randn(count, numbers, device=learnt.device), torch.rand(count, device=learnt.device)
        at = (learnt.cumsum(1) - 1)[learnt].cpu().numpy()
        most = int(at.max()) + 1
        noise = np.random.default_rng(0).standard_normal((most, numbers), np.float32)[at]
        times = np.random.default_rng(1).random(most, np.float32)[at]
        return torch.from_numpy(noise).to(learnt.device), torch.from_numpy(times).to(learnt.device)
