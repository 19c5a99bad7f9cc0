"""Letters that a byte-pair tokenizer lacks, as tokens with embeddings of their own."""

from collections.abc import Iterable
from typing import Any

import torch

from train.families import letters_of


def tokens_of(tokenizer: Any, text: str) -> list[int]:
    """The text as ids, without the special tokens around it."""
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


def unknown(tokenizer: Any, texts: Iterable[str]) -> list[str]:
    """Letters that become nothing, or the unknown token; those that are written in bytes do not."""
    none = tokenizer.unk_token_id
    return [letter for letter in letters_of(texts) if none in (ids := tokens_of(tokenizer, letter)) or not ids]


def add_letters(tokenizer: Any, texts: Iterable[str]) -> dict[int, list[int]]:
    """Letters that the tokenizer writes in several pieces (ⴰ is three bytes) become tokens.

    Returns the new ids, each with those of the pieces it stands for.
    """
    pieces = {letter: tokens_of(tokenizer, letter) for letter in letters_of(texts)}
    unknown = tokenizer.unk_token_id
    new = {letter: ids for letter, ids in pieces.items() if len(ids) != 1 or ids[0] == unknown}
    tokenizer.add_tokens(list(new))
    return {tokenizer.convert_tokens_to_ids(letter): ids for letter, ids in new.items()}


def start_rows(weight: Any, new: dict[int, list[int]]) -> None:
    """Give each new row the mean of those it stands for: what the model heard in their place so far."""
    with torch.no_grad():
        for row, ids in new.items():
            weight[row] = weight[ids].mean(0)


def grown(embedding: torch.nn.Embedding, size: int) -> torch.nn.Embedding:
    """The embedding with at least `size` rows; those that are new hold zeros."""
    if embedding.num_embeddings >= size:
        return embedding
    bigger = torch.nn.Embedding(size, embedding.embedding_dim, padding_idx=embedding.padding_idx)
    bigger = bigger.to(embedding.weight)
    with torch.no_grad():
        bigger.weight.zero_()
        bigger.weight[: embedding.num_embeddings] = embedding.weight
    return bigger
