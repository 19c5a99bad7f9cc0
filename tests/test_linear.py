"""Linear layers on a processor: torch's and PEFT's numbers, and their own ways where they must stay."""

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from train import linear
from train.linear import LowRank, Plain, quicken

SHAPES = [(3, 8, 6), (300, 64, 48), (700, 96, 160)]  # rows, in, out: less than a block, more, worth oneDNN's product


@pytest.fixture(params=[True, False], ids=["onednn", "torch"], autouse=True)
def product(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_ONEDNN", request.param and torch.backends.mkldnn.is_available())


def adapted(n_in: int, n_out: int, bias: bool = True, **options: Any) -> Any:
    """A linear layer with LoRA that does something."""
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["0"], **{"lora_dropout": 0.0, **options})
    model: Any = get_peft_model(nn.Sequential(nn.Linear(n_in, n_out, bias)), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    return model


def learnt(model: nn.Module, x: torch.Tensor, seed: int = 1) -> list[torch.Tensor]:
    """What comes out, and the gradients of the input and of every weight that trains."""
    torch.manual_seed(seed)
    made = model(x)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    asked = [x, *weights] if x.requires_grad else weights
    return [made.detach(), *torch.autograd.grad(made, asked, torch.cos(made.detach()))]


def like(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.detach().abs().max()))


@pytest.mark.parametrize(("rows", "n_in", "n_out"), SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_lora_as_peft_computes_it(rows: int, n_in: int, n_out: int, bias: bool) -> None:
    model = adapted(n_in, n_out, bias)
    x = torch.randn(2, rows, n_in, requires_grad=True)
    theirs = learnt(model, x)
    quicken(model)
    assert type(model.base_model.model[0]) is LowRank
    like(learnt(model, x), theirs)
    like(learnt(model, x.detach()), [theirs[0], *theirs[2:]])  # the first layer: its input has no gradient
    turned = torch.randn(2, n_in, rows).transpose(1, 2).requires_grad_()
    like(learnt(model, turned), learnt(unlike(model), turned))


def unlike(model: nn.Module) -> nn.Module:
    """A copy whose layers compute as their libraries do."""
    copied = copy.deepcopy(model)
    for module in copied.modules():
        for quick in (LowRank, Plain):
            if type(module) is quick:
                module.__class__ = quick.__mro__[1]
    return copied


@pytest.mark.parametrize(("rows", "n_in", "n_out"), SHAPES)
def test_dropout_masks_what_lora_hears(rows: int, n_in: int, n_out: int) -> None:
    model = adapted(n_in, n_out, lora_dropout=0.25)
    quicken(model)
    x = torch.randn(rows, n_in, requires_grad=True)
    ours = learnt(model, x)
    torch.manual_seed(1)
    kept = linear._mask(x, round(0.25 * 2**16))
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=3 / x.numel() ** 0.5)
    layer = model.base_model.model[0]
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    made = layer.base_layer(x) + (x * kept / 0.75) @ down.t() @ up.t() * 2
    asked = torch.autograd.grad(made, [x, down, up], torch.cos(made.detach()))
    like(ours, [made.detach(), *asked])
    like(learnt(model, x), ours)  # the same seed, the same mask
    assert not torch.equal(learnt(model, x, seed=2)[0], ours[0])
    model.eval()
    like(learnt(model, x), learnt(unlike(model), x))  # no dropout


def test_the_mean_over_masks_is_what_there_is_without() -> None:
    model = adapted(32, 16, lora_dropout=0.05)
    quicken(model)
    x = torch.randn(1, 32)
    with torch.no_grad():
        found = model(x.expand(20_000, -1))
        model.eval()
        torch.testing.assert_close(
            found.mean(0), model(x)[0], rtol=0, atol=float(5 * found.std(0).max() / 20_000**0.5)
        )


@pytest.mark.parametrize("share", [0.99999, 1.0])
def test_dropout_of_all_is_no_division_by_nothing(share: float) -> None:
    model = adapted(64, 48, lora_dropout=share)
    quicken(model)
    assert all(bool(found.isfinite().all()) for found in learnt(model, torch.randn(5, 64, requires_grad=True)))


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_bias": True}, {"use_rslora": True}])
def test_other_kinds_of_lora_are_right_too(options: dict[str, Any]) -> None:
    model = adapted(96, 160, **options)
    x = torch.randn(700, 96, requires_grad=True)
    theirs = learnt(model, x)
    quicken(model)
    like(learnt(model, x), theirs)


def test_without_its_adapter_and_merged_it_is_the_base_and_the_sum() -> None:
    model = adapted(96, 160)
    quicken(model)
    x = torch.randn(700, 96)
    with torch.no_grad():
        whole, layer = model(x), model.base_model.model[0]
        with model.disable_adapter():
            torch.testing.assert_close(model(x), layer.base_layer(x))
        model.merge_adapter()
        torch.testing.assert_close(model(x), whole, rtol=1e-4, atol=1e-4)
        model.unmerge_adapter()
        torch.testing.assert_close(model(x), whole, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.merge_and_unload()(x), whole, rtol=1e-4, atol=1e-4)


def test_another_precision_stays_with_its_library() -> None:
    model, x = adapted(96, 160), torch.randn(700, 96)
    quicken(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(x).dtype == torch.bfloat16
    assert copy.deepcopy(model).double()(x.double()).dtype == torch.float64


def test_forward_derivatives_are_those_of_the_library() -> None:
    model, x = adapted(96, 160), torch.randn(700, 96)
    theirs = torch.func.jvp(model, (x,), (torch.ones_like(x),))
    quicken(model)
    like(list(torch.func.jvp(model, (x,), (torch.ones_like(x),))), list(theirs))


@pytest.mark.parametrize(("rows", "n_in", "n_out"), SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_that_trains_whole(rows: int, n_in: int, n_out: int, bias: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(n_in, n_out, bias), nn.Tanh())
    x = torch.randn(2, rows, n_in, requires_grad=True)
    theirs = learnt(model, x)
    quicken(model)
    assert (type(model[0]) is Plain) == linear._ONEDNN
    like(learnt(model, x), theirs)
    made = model(x.detach()).sum()  # a slope without a memory of its own
    made.backward()
    assert float(model[0].weight.grad.abs().sum()) > 0


def test_weights_keep_their_names_and_subclasses_are_left_alone() -> None:
    class Special(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(4, 4), Special(4, 4), nn.Conv1d(4, 4, 1))
    names = list(model.state_dict())
    quicken(model)
    assert list(model.state_dict()) == names
    assert type(model[1]) is Special
    assert type(model[2]) is nn.Conv1d


def test_no_rows_are_no_rows() -> None:
    model = nn.Sequential(nn.Linear(96, 64), adapted(64, 48))
    quicken(model)
    assert model(torch.zeros(2, 0, 96)).shape == (2, 0, 48)


def test_a_frozen_layer_keeps_no_input_for_the_gradient() -> None:
    """Its memory is the library's, and what comes out of it may be changed in place."""

    def kept(model: nn.Module) -> int:
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            made = model(torch.randn(700, 96, requires_grad=True))
        made.mul_(2).sum().backward()
        return sum(sizes)

    model = nn.Sequential(nn.Linear(96, 160), nn.Linear(160, 96)).requires_grad_(False)
    usual = kept(model)
    quicken(model)
    assert kept(model) <= usual


def test_activations_computed_again_have_the_same_mask() -> None:
    from torch.utils.checkpoint import checkpoint

    model = adapted(96, 160, lora_dropout=0.25)
    quicken(model)
    x = torch.randn(700, 96, requires_grad=True)
    like(learnt(nn.Sequential(model), x), learnt(model, x))

    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: torch.Tensor) -> Any:
            return checkpoint(self.inner, x, use_reentrant=False)

    like(learnt(Again(), x), learnt(model, x))


def test_what_is_traced_is_the_librarys() -> None:
    model, x = adapted(96, 160).eval(), torch.randn(700, 96)
    quicken(model)
    traced = torch.jit.trace(model, x)
    torch.testing.assert_close(traced(x), model(x), rtol=1e-4, atol=1e-4)
