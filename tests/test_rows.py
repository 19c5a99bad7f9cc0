"""New rows of an embedding: PEFT's numbers and gradients, alone and with a head that is tied to them."""

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from train.linear import quicken
from train.rows import NewRows

NEW = [40, 45, 41]  # in no order


def model(tied: bool = True) -> Any:
    """A language model of 50 tokens, three of which train."""
    torch.manual_seed(0)
    small = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 50, "n_positions": 20}
    quiet = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    base = GPT2LMHeadModel(GPT2Config(**small, **quiet, tie_word_embeddings=tied))
    config = LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True, trainable_token_indices={"wte": NEW})
    made: Any = get_peft_model(base, config)
    for name, weight in made.named_parameters():
        if "trainable_tokens_delta" in name:
            nn.init.normal_(weight)
    return made


def learnt(model: Any, ids: torch.Tensor) -> list[torch.Tensor]:
    out = model(input_ids=ids, labels=ids)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return [out.logits.detach(), out.loss.detach(), *torch.autograd.grad(out.loss, weights)]


@pytest.mark.parametrize("tied", [True, False])
def test_as_peft_computes_them(tied: bool) -> None:
    made = model(tied)
    ids = torch.tensor([[1, 40, 2, 45, 41, 40, 3], [45, 4, 5, 6, 7, 8, 9]])
    theirs = learnt(made, ids)
    quicken(made)
    assert sum(type(module) is NewRows for module in made.modules()) == 1 + tied
    for one, other in zip(learnt(made, ids), theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    for some in (torch.tensor([[1, 2]]), torch.tensor([[40]])):  # none of them, and nothing else
        torch.testing.assert_close(made(some).logits, model(tied)(some).logits, rtol=1e-4, atol=1e-6)


def test_no_copy_of_the_embedding_is_kept_for_the_gradient() -> None:
    made, ids = model(), torch.tensor([[1, 40, 2]])

    def largest() -> int:
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: sizes.append(x.untyped_storage().nbytes()) or x, lambda x: x
        ):
            made(input_ids=ids, labels=ids)
        return sizes.count(50 * 16 * 4)

    copies = largest()
    quicken(made)
    assert largest() <= copies


def test_without_the_adapter_and_merged() -> None:
    made, ids = model(), torch.tensor([[1, 40, 45]])
    plain = copy.deepcopy(made)
    quicken(made)
    with torch.no_grad():
        with made.disable_adapter(), plain.disable_adapter():
            torch.testing.assert_close(made(ids).logits, plain(ids).logits)
        whole = made(ids).logits
        torch.testing.assert_close(made.merge_and_unload()(ids).logits, whole, rtol=1e-4, atol=1e-6)


def test_an_embedding_that_is_scaled_scales_its_new_rows() -> None:
    from transformers.models.gemma3.modeling_gemma3 import Gemma3TextScaledWordEmbedding

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = Gemma3TextScaledWordEmbedding(50, 16, 0, embed_scale=4.0)
            self.out = nn.Linear(16, 16)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.out(self.tokens(ids))

    torch.manual_seed(0)
    config = LoraConfig(target_modules=["out"], trainable_token_indices={"tokens": NEW})
    made: Any = get_peft_model(Small(), config)
    ids = torch.tensor([[1, 40, 45]])
    theirs = made(ids)
    quicken(made)
    torch.testing.assert_close(made(ids), theirs, rtol=1e-4, atol=1e-6)
