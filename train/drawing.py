"""Mel frames of several texts at once, by SpeechT5's decoder: those that `generate` draws for each of them alone.

Source: `transformers`' `SpeechT5ForTextToSpeech.generate`, which draws a batch as far as its last text goes, and at
each step computes the pre-net of all frames again. Here a text that has ended leaves the batch, and the pre-net is
computed for the new frame only. Its dropout, which is always on (Shen et al., "Tacotron 2", ICASSP 2018),
is that of a text spoken alone: it depends on the step, and not on what else is in the batch.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch
from torch.nn import functional

_THRESHOLD = 0.5  # of the probability that a frame is the last one
_ROOM = 64  # steps that keys and values have room for at first

Tensor = torch.Tensor


class Masks:
    """Which units the pre-net lets through at each step: drawn once, from a generator that begins with 0.

    `generate`, after `torch.manual_seed(0)`, draws at step n for n frames, and uses what it drew for the last one.
    """

    def __init__(self, prenet: Any, share: float, like: Tensor) -> None:
        units = [layer.out_features for layer in prenet.layers]
        self.scale, self._drawn = 1 / (1 - share), list[list[Tensor]]()
        self._more = _masks(units, share, like)

    def at(self, step: int) -> list[Tensor]:
        """One for each layer, (units,), with the scale of what is let through. `step`: from 0."""
        while len(self._drawn) <= step:
            self._drawn.append([mask * self.scale for mask in next(self._more)])
        return self._drawn[step]


def _masks(units: list[int], share: float, like: Tensor) -> Iterator[list[Tensor]]:
    source = torch.Generator(like.device).manual_seed(0)
    for frames in count(1):
        drawn = (like.new_empty(frames, size).bernoulli_(share, generator=source) for size in units)
        yield [mask[-1].clone() for mask in drawn]


@torch.inference_mode()
def draw(model: Any, texts: list[Tensor], voice: Tensor, masks: Masks, most: list[int]) -> list[tuple[Tensor, bool]]:
    """Frames (frames, mels) of each text, and whether it ended by itself.

    `model`: SpeechT5ForTextToSpeech. `texts`: ids, int64 (letters,). `voice`: (d,). `most`: steps of each text, and
    as many as fit into one text at least is what each may take; a step is `reduction_factor` frames.
    """
    config, batch = model.config, len(texts)
    lengths = torch.tensor([len(text) for text in texts], device=voice.device)
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=config.pad_token_id)
    seen = torch.arange(ids.shape[1], device=voice.device) < lengths[:, None]
    hidden = model.speecht5.encoder(input_values=ids, attention_mask=seen.long()).last_hidden_state
    decoder = _Decoder(model, hidden, seen, voice, masks)

    factor = config.reduction_factor
    least = [len(text) // factor for text in texts]
    drawn = hidden.new_empty(batch, max(most), factor, config.num_mel_bins)
    alive, ended = list(range(batch)), [(0, False)] * batch
    for step in count(1):
        frames, stops = decoder.step(step - 1)
        drawn[alive, step - 1] = frames
        kept = []
        for place, (row, stop) in enumerate(zip(alive, stops, strict=True)):
            if step >= least[row] and (stop or step >= most[row]):
                ended[row] = (step, step < most[row])
            else:
                kept.append(place)
        if not kept:
            break
        if len(kept) < len(alive):
            decoder.keep(kept)
            alive = [alive[place] for place in kept]
    postnet = model.speech_decoder_postnet.postnet
    whole = (drawn[row, :steps].flatten(0, 1) for row, (steps, _) in enumerate(ended))
    return [(postnet(frames[None])[0], by_itself) for frames, (_, by_itself) in zip(whole, ended, strict=True)]


class _Decoder:
    """The decoder between two steps: the last frames, and what its layers remember, of the texts that go on."""

    def __init__(self, model: Any, hidden: Tensor, seen: Tensor, voice: Tensor, masks: Masks) -> None:
        self.model, self.prenet, self.masks = model, model.speecht5.decoder.prenet, masks
        self.layers = list(model.speecht5.decoder.wrapped_decoder.layers)
        self.voice = functional.normalize(voice[None])
        self.frames = hidden.new_zeros(len(hidden), model.config.num_mel_bins)
        self.seen = seen[:, None, None]
        self.texts = [_keys(layer.encoder_attn, hidden) for layer in self.layers]
        first = self.layers[0].self_attn
        empty = hidden.new_empty(2, len(hidden), first.num_heads, _ROOM, first.head_dim)
        self.past = [empty.clone() for _ in self.layers]

    def keep(self, rows: list[int]) -> None:
        """Forget the texts that have ended."""
        index = torch.tensor(rows, device=self.frames.device)
        self.frames, self.seen = self.frames[index], self.seen[index]
        self.texts = [pair.index_select(1, index) for pair in self.texts]
        self.past = [pair.index_select(1, index) for pair in self.past]

    def step(self, step: int) -> tuple[Tensor, list[bool]]:
        """Frames (texts, reduction factor, mels), and which texts end with them."""
        if step == self.past[0].shape[3]:
            self.past = [functional.pad(pair, (0, 0, 0, step)) for pair in self.past]
        hidden = self._prenet(step)
        for layer, text, past in zip(self.layers, self.texts, self.past, strict=True):
            past[:, :, :, step] = _keys(layer.self_attn, hidden[:, None])[:, :, :, 0]
            drawn = _attend(layer.self_attn, hidden, past[:, :, :, : step + 1], None)
            hidden = layer.self_attn_layer_norm(hidden + drawn)
            drawn = _attend(layer.encoder_attn, hidden, text, self.seen)
            hidden = layer.encoder_attn_layer_norm(hidden + drawn)
            hidden = layer.final_layer_norm(hidden + layer.feed_forward(hidden))
        head, config = self.model.speech_decoder_postnet, self.model.config
        frames = head.feat_out(hidden).view(len(hidden), config.reduction_factor, config.num_mel_bins)
        self.frames = frames[:, -1]
        stops: list[bool] = (torch.sigmoid(head.prob_out(hidden)).sum(-1) >= _THRESHOLD).tolist()
        return frames, stops

    def _prenet(self, step: int) -> Tensor:
        """The last frames as the decoder takes them: (texts, hidden)."""
        prenet, hidden = self.prenet, self.frames
        for layer, mask in zip(prenet.layers, self.masks.at(step), strict=True):
            hidden = functional.relu(layer(hidden)) * mask
        places = prenet.encode_positions
        hidden = prenet.final_layer(hidden) + places.alpha * places.pe[0, step]
        voice = self.voice.expand(len(hidden), -1)
        return functional.relu(prenet.speaker_embeds_layer(torch.cat([hidden, voice], dim=-1)))


def _keys(attention: Any, hidden: Tensor) -> Tensor:
    """Keys and values of (texts, length, width): (2, texts, heads, length, width of a head)."""
    both = torch.stack([attention.k_proj(hidden), attention.v_proj(hidden)])
    heads: Tensor = both.view(*both.shape[:3], attention.num_heads, attention.head_dim)
    return heads.transpose(2, 3).contiguous()


def _attend(attention: Any, hidden: Tensor, pair: Tensor, seen: Tensor | None) -> Tensor:
    """One position of each text, (texts, width), attending to keys and values."""
    asked = attention.q_proj(hidden).view(len(hidden), attention.num_heads, 1, attention.head_dim)
    found = functional.scaled_dot_product_attention(asked, pair[0], pair[1], seen, scale=attention.scaling)
    drawn: Tensor = attention.out_proj(found.flatten(1))
    return drawn
