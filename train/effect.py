"""What an adapter does to the model that it sits on."""

import math
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from train.adapter import losses
from train.probes import Probes


def adapter_effect(probes: Probes) -> dict[str, float]:
    """How far the adapter moves the model; nothing for a model whose every weight trains.

    `adapter`: the change of the loss of the probes when the adapter is switched off, as a share of it.
    `lora`: root mean square of what LoRA adds to a weight, 0 where its scale or one of its factors is.
    With PiSSA, which takes a part of the base away at first, only `lora`.
    """
    model = probes.family.model
    if not isinstance(model, PeftModel):
        return {}
    found = {"lora": lora_size(model)}
    config: Any = model.peft_config["default"]
    if config.init_lora_weights == "pissa":
        return found
    with_it = np.array(losses(probes.family, probes.rows, probes.voices))
    with model.disable_adapter():
        without = np.array(losses(probes.family, probes.rows, probes.voices))
    known = np.isfinite(with_it) & np.isfinite(without)
    if known.any():
        found["adapter"] = float(np.abs(with_it - without)[known].mean() / max(np.abs(without[known]).mean(), 1e-9))
    return found


@torch.no_grad()
def lora_size(model: Any) -> float:
    """Root mean square of scale · B A over all adapted weights, without making the products.

    ‖BA‖² is the sum of BᵀB ∘ AAᵀ, two matrices of the rank's size.
    """
    total, count = 0.0, 0
    for layer in model.modules():
        if isinstance(layer, LoraLayer) and "default" in layer.lora_A:
            a, b = (getattr(layer, name)["default"].weight.float() for name in ("lora_A", "lora_B"))
            a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
            total += float(layer.scaling["default"]) ** 2 * float(((b.T @ b) * (a @ a.T)).sum())
            count += len(b) * a.shape[1]
    return math.sqrt(max(total, 0.0) / max(count, 1))
