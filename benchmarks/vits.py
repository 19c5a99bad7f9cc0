"""What a training step of MMS-TTS's architecture costs: `python -m benchmarks.vits [--quick]`.

Prints one line a figure. The model has random weights of the published size and the batch is synthetic speech,
which cost the same. Work is counted, not timed: operations of convolutions and matrices, forwards and back, and
the bytes that are kept for the way back; so that they hold on other machines. CPU seconds are of this one, all
threads added up. `--quick`: without the discriminator.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import VitsConfig, VitsModel

from recipes.schema import Train
from tests.babble import babble
from train.adapter import add_lora
from train.families.vits import Vits, letter_tokenizer

TEXT = "azul a gma mamnk ad tgit ass ad"  # 31 letters, 4 s
CLIPS, CLIP_S = 2, 4.0
CASES = {
    "LoRA": {"method": "lora"},
    "full": {"method": "full"},
    "LoRA, adversarial": {"method": "lora", "adversarial": True},
    "full, adversarial": {"method": "full", "adversarial": True},
}


def main() -> None:
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as folder:
        base = published(Path(folder))
        for name, settings in CASES.items():
            if not ("adversarial" in settings and "--quick" in sys.argv):
                report(name, opened(base, settings))


def published(folder: Path) -> str:
    """A base of the published size, with random weights."""
    tokenizer = letter_tokenizer([TEXT])
    VitsModel(VitsConfig(vocab_size=len(tokenizer.encoder))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def opened(base: str, settings: dict[str, object]) -> Vits:
    """The family as `python -m train` opens it."""
    train = Train.model_validate({"family": "vits", "base": base} | settings)
    family = Vits(train)
    if train.method == "lora":
        add_lora(family, train.lora, [])
    if train.adversarial:
        family.add_discriminator()
    return family


def report(name: str, family: Vits) -> None:
    """The figures of one way to train."""
    clips = [babble(CLIP_S, silence_s=0.0) for _ in range(CLIPS)]
    batch = family.collate([family.encode(TEXT, clip, np.zeros(0, np.float32)) for clip in clips])
    weights = [weight for weight in family.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, 2e-4)
    step(family, batch, optimizer)  # compiles the search, makes the optimiser's moments
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with FlopCounterMode(display=False) as work, torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        start = time.process_time()
        step(family, batch, optimizer)
        cpu_s = time.process_time() - start
    held = {weight.untyped_storage().data_ptr() for weight in family.model.parameters()}
    activations = sum(size for place, size in kept.items() if place not in held)
    audio_s = CLIPS * CLIP_S
    every = sum(weight.numel() for weight in family.model.parameters())
    training = sum(weight.numel() for weight in weights)
    state_gb = 4 * (every + 3 * training) / 1e9  # weights; gradients and two moments of those that train
    print(f"{name}: weights {every / 1e6:.1f} million, training {training / 1e6:.1f}")
    print(f"{name}: work {work.get_total_flops() / audio_s / 1e9:.0f} GFLOP for a second of audio")
    print(f"{name}: held {state_gb:.2f} GB and {activations / audio_s / 1e6:.0f} MB for a second of audio (fp32)")
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{name}: CPU {cpu_s / audio_s:.1f} s for a second of audio; peak of the process so far {peak_gb:.1f} GB")


def step(family: Vits, batch: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer) -> None:
    family.model.train()
    family.loss(batch).backward()
    optimizer.step()
    optimizer.zero_grad()


if __name__ == "__main__":
    main()
