"""Recognisers that are language models: the prompt holds the sound, the answer is the text."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from recipes.schema import UserError
from train.families import Example, Skip, letters


def add_letters(model: Any, tokenizer: Any, texts: Iterable[str], embedding: str) -> dict[str, list[int]]:
    """Letters of the texts as tokens, which the model can hear and write. Embedding name → ids of the new rows.

    An output layer that is not the embedding itself gets rows of its own.
    """
    new = letters.add_letters(tokenizer, texts)
    if not new:
        return {}
    if model.get_input_embeddings().num_embeddings < len(tokenizer):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    given, written = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    letters.start_rows(given, new)
    if written is given:
        return {embedding: sorted(new)}
    letters.start_rows(written, new)
    return {embedding: sorted(new), "lm_head": sorted(new)}


def encoded(prompt: list[int], answer: list[int], most: int) -> Example:
    """Prompt and answer as `ids`, with `labels` on the answer alone. Raises Skip when they are longer than `most`."""
    if (count := len(prompt) + len(answer)) > most:
        raise Skip(f"{count} tokens of sound and text; the model holds {most}")
    ids = np.array([*prompt, *answer], dtype=np.int64)
    labels = ids.copy()
    labels[: len(prompt)] = -100
    return {"ids": ids, "labels": labels}


def collated(examples: list[Example], padding: int) -> dict[str, torch.Tensor]:
    """input_ids, attention_mask and labels, each (batch, length), padded on the right."""

    def pad(name: str, value: int) -> torch.Tensor:
        rows = [torch.from_numpy(np.array(example[name])) for example in examples]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)

    lengths = torch.tensor([len(example["ids"]) for example in examples])
    ids = pad("ids", padding)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": pad("labels", -100)}


def answered(
    model: Any, tokenizer: Any, prompt: list[int], sound: dict[str, Any], ends: list[int], most: int
) -> tuple[str, bool]:
    """What the model says to one prompt, likeliest token by token, and whether it came to an end by itself.

    At most `most` tokens, prompt included.
    """
    device = next(model.parameters()).device
    ids = torch.tensor([prompt], device=device)
    with torch.inference_mode():
        said = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **{name: tensor.to(device) for name, tensor in sound.items()},
            max_new_tokens=max(1, min(most - len(prompt), 448)),
            eos_token_id=ends,
            pad_token_id=ends[0],
            num_beams=1,
            do_sample=False,
        )[0]
    text: str = tokenizer.decode(said[len(prompt) :], skip_special_tokens=True)
    return " ".join(text.split()), bool(torch.isin(said[-1].cpu(), torch.tensor(ends)))


def special(tokenizer: Any, source: str, *names: str) -> list[int]:
    """Ids of tokens that the model's prompt is made of. Raises UserError naming the one that is not there."""
    known = tokenizer.get_vocab()
    for name in names:
        if name not in known:
            raise UserError(f"model {source}: its tokenizer has no token {name}")
    return [known[name] for name in names]
