"""THE CONTRACT with evaluation: an adapter folder, how it is written, and how a model comes back from it.

`work_dir/train/adapter/` holds a PEFT adapter in safetensors (or, with `method: full`, the whole model),
the processor, `recipe.yaml` and `lineage.json`.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from huggingface_hub import try_to_load_from_cache
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    prepare_model_for_kbit_training,
)
from peft.tuners.lora import LoraLayer

from prepare.dataset import (
    dataset_folder,
    dataset_hash,
    decode,
    dnsmos,
    figures,
    foreign_audio,
    normalise,
    open_dataset,
    register,
    sources,
    stretches_of_speech,
    tolerant,
    voice_of_clip,
)
from recipes.provenance import digest, file_digest, lineage, read_lineage, refuse_withdrawn, sign_folder
from recipes.records import Lineage
from recipes.schema import Lora, Recipe, Train, Trained, UserError
from train import inspect, revocation, signature
from train.checkpoints import full_disk_named
from train.families import Family, Flowing, Samples, Skip, Spoken, open_family, pretrained, speak_all
from train.features import resampled, samples_of, speaker_voices
from train.linear import quicken
from train.sharing import share

__all__ = [
    "Flowing",
    "Spoken",
    "adapter_folder",
    "add_lora",
    "dataset_folder",
    "dataset_hash",
    "decode",
    "dnsmos",
    "figures",
    "files_digest",
    "foreign_audio",
    "inspect",
    "log_mel",
    "losses",
    "normalise",
    "open_adapter",
    "open_dataset",
    "open_model",
    "open_recogniser",
    "pitch",
    "quicken",
    "refuse_untrusted",
    "register",
    "resampled",
    "revocation",
    "samples_of",
    "save",
    "share",
    "signature",
    "sources",
    "speak_all",
    "steady_pitch",
    "stretches_of_speech",
    "tolerant",
    "voice_of",
    "voice_of_clip",
]

# Where a folder has its weights: the library's name, Mistral AI's own, that of an encoder the user brings.
_WEIGHTS = ("model.safetensors", "consolidated.safetensors", "encoder.onnx")


def adapter_folder(recipe: Recipe) -> Path:
    """Where training leaves its result."""
    return recipe.folder("train") / "adapter"


def add_lora(family: Family, settings: Lora, texts: Iterable[str]) -> None:
    """Put LoRA on the family's model, with trainable rows for letters that its tokenizer lacked.

    Source: Hu et al., "LoRA", ICLR 2022; `trainable_token_indices` of PEFT for the new rows only. With PiSSA the
    base is changed too, and `save` turns the difference into a LoRA of twice the rank for the base as it was.
    """
    rows = family.add_letters(texts) if settings.new_tokens else {}
    targets = _present(family, settings.targets)
    if settings.pissa:
        _refuse_convolutions(family, targets)
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        exclude_modules=[name for name in _frozen(family) if name.endswith(tuple(targets))] or None,
        trainable_token_indices=rows or None,
        modules_to_save=family.fully_trained() or None,
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        init_lora_weights="pissa" if settings.pissa else True,
    )
    if getattr(family.model, "is_quantized", False):
        prepare: Any = prepare_model_for_kbit_training
        family.model = prepare(family.model, use_gradient_checkpointing=False)
    family.model = get_peft_model(family.model, config)


def _refuse_convolutions(family: Family, targets: list[str]) -> None:
    """Raises UserError when a layer to adapt has no singular values."""
    endings = tuple(f".{target}" for target in targets)
    for name, module in family.model.named_modules():
        if isinstance(module, torch.nn.Conv1d) and name.endswith(endings):
            raise UserError(f"train.lora.pissa: {name} is a convolution; name linear layers in train.lora.targets")


def _plain_lora(recipe: Recipe, model: PeftModel) -> None:
    """Turn what PiSSA learnt into a LoRA of twice the rank: A B - A₀ B₀ = [A; A₀] [B, -B₀].

    A₀ and B₀ are found again as they were found: they follow from the base. Source: Meng et al. 2024, appendix C.
    """
    fresh = open_family(recipe.train)
    add_lora(fresh, recipe.train.lora.model_copy(update={"new_tokens": False}), [])
    begun = fresh.model.state_dict()
    config: Any = model.peft_config["default"]
    config.init_lora_weights = True
    config.r *= 2
    config.lora_alpha *= 2**0.5 if config.use_rslora else 2
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            _widen(layer.lora_A["default"], begun[f"{name}.lora_A.default.weight"], 0)
            _widen(layer.lora_B["default"], -begun[f"{name}.lora_B.default.weight"], 1)


def _widen(factor: Any, more: torch.Tensor, side: int) -> None:
    factor.weight = torch.nn.Parameter(torch.cat([factor.weight, more.to(factor.weight)], side))


def _present(family: Family, named: list[str] | None) -> list[str]:
    """The layers to put LoRA on: those the recipe names, else those of the family's own that the model has.

    Raises UserError for one named in the recipe that the model has not, and when there are none at all.
    """
    frozen = set(_frozen(family))
    layers = [f".{name}" for name, _ in _layers(family) if name not in frozen]
    targets = family.lora_targets if named is None else named
    found = [target for target in targets if any(layer.endswith(f".{target}") for layer in layers)]
    if named and (missing := sorted(set(named) - set(found))):
        raise UserError(f"train.lora.targets: the model has no layer {missing[0]}")
    if not found:
        raise UserError("train.lora.targets: name the layers to adapt; none of the usual ones is in this model")
    return found


def _frozen(family: Family) -> list[str]:
    """Names of layers that the family holds still, such as those of a codec: LoRA leaves them alone too.

    Weights of 4 or 8 bits have no gradient either, and are not meant.
    """
    weights = ((name, module.weight) for name, module in _layers(family))
    return [name for name, weight in weights if weight.is_floating_point() and not weight.requires_grad]


def _layers(family: Family) -> Iterator[tuple[str, Any]]:
    """The layers that LoRA knows, by name."""
    kinds = (torch.nn.Linear, torch.nn.Conv1d)
    return ((name, module) for name, module in family.model.named_modules() if isinstance(module, kinds))


def save(recipe: Recipe, family: Family) -> Path:
    """Write the adapter folder, whole or not at all. Returns it."""
    whole = adapter_folder(recipe)
    part, old = whole.with_name(".adapter.part"), whole.with_name(".adapter.old")
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    part.mkdir(parents=True)
    options = {"save_embedding_layers": False} if isinstance(family.model, PeftModel) else {}
    if isinstance(family.model, PeftModel) and recipe.train.lora.pissa:
        _plain_lora(recipe, family.model)
    with full_disk_named(part):
        family.model.save_pretrained(part, **options)
    (part / "README.md").unlink(missing_ok=True)  # PEFT's empty card; publishing writes a true one
    family.save_processor(part)
    dataset = read_lineage(dataset_folder(recipe))
    line = lineage(
        recipe,
        "adapter",
        purpose=recipe.prepare.purpose,
        clips=dataset.clips,
        parents=[dataset_hash(recipe)],
        base=recipe.train.base,
        base_revision=base_revision(recipe.train),
        base_hash=base_hash(recipe.train.base),
    )
    line = line.model_copy(update={"weights": revocation.weights_digest(part), "files": files_digest(part)})
    sign_folder(recipe, part, line)
    if whole.exists():
        os.replace(whole, old)
    os.replace(part, whole)
    shutil.rmtree(old, ignore_errors=True)
    register(recipe, "adapter", file_digest(whole / "lineage.json"), whole, parents=[dataset_hash(recipe)])
    return whole


def pitch(samples: Samples, rate_hz: int) -> Samples:
    """Octaves above 150 Hz every 16 ms, NaN where there is no voice: float32 (frames,); see `train.speech.pitch`."""
    from train import speech

    return speech.pitch(resampled(samples, rate_hz, speech.Front().rate_hz), speech.Front())


def steady_pitch(samples: Samples, rate_hz: int) -> Samples:
    """The same without leaps by an octave, and slower: float32 (frames,); see `train.speech.steady_pitch`."""
    from train import speech

    return speech.steady_pitch(resampled(samples, rate_hz, speech.Front().rate_hz), speech.Front())


def log_mel(samples: Samples, rate_hz: int) -> Samples:
    """Natural logarithms of mel magnitudes at the frames of `pitch`: float32 (frames, 80)."""
    from train import speech

    return speech.log_mel(resampled(samples, rate_hz, speech.Front().rate_hz), speech.Front())


def base_hash(base: str | None) -> str | None:
    """SHA-256 of a local base model's weights; None for one from the hub, whose revision names it."""
    paths = [Path(base) / name for name in _WEIGHTS] if base else []
    found = next((path for path in paths if path.is_file()), None)
    return None if found is None else file_digest(found)


def base_revision(settings: Train) -> str | None:
    """The commit of a base from the hub, which has been loaded; None for a folder."""
    if settings.base is None or Path(settings.base).is_dir():
        return None
    names = ("config.json", "params.json")
    cached = (try_to_load_from_cache(settings.base, name, revision=settings.revision) for name in names)
    return next((Path(path).parent.name for path in cached if isinstance(path, str)), settings.revision)


def open_model(recipe: Recipe, which: Literal["base", "adapter"], folder: Path | None = None) -> Family:
    """A model of the recipe, ready for use: the base it started from, or with what training made.

    `folder`: of another adapter for the same base, in place of the recipe's own. Raises UserError when nothing has
    been trained, the base's weights are not those trained on, or either was revoked.
    """
    folder = folder or adapter_folder(recipe)
    recipe = _for_this_machine(recipe)
    if which == "base":
        if recipe.train.base is None:
            raise UserError("the recipe starts from `train.config`: there is no base model to compare with")
        revocation.refuse_revoked_base(recipe, recipe.train.base)
        # As it was published: a shorter context is for what was trained with it.
        family = open_family(recipe.train.model_copy(update={"audio_context": None}))
        family.model.eval()
        return family
    if not folder.is_dir():
        raise UserError(f"{folder}: no adapter there yet; run python -m train on this recipe first")
    return open_adapter(recipe, folder)


def open_adapter(recipe: Recipe, folder: Path, unsigned: bool = False) -> Family:
    """What training made, or what was published of it, from a folder: on the recipe's base, ready for use.

    `unsigned`: this program has just made the folder itself, and signs it later. Raises UserError, before any of it
    is loaded, for an adapter that was withdrawn or revoked, that nobody vouches for, that was altered after
    training or signing, that belongs to another base, or whose files could run code.
    """
    recipe = _for_this_machine(recipe)
    line = refuse_untrusted(recipe, folder, unsigned)
    if recipe.train.method == "full":
        trained: dict[str, Any] = {"base": str(folder), "revision": None, "config": {}, "mms_adapter": None}
        family = open_family(recipe.train.model_copy(update=trained), folder)
    else:
        family = open_family(recipe.train.model_copy(update={"revision": line.base_revision}), folder)
        family.model = _put_on(family, folder)
        if recipe.train.quantise is None:  # apart from its base, new rows of an embedding are copied for each token
            family.model = family.model.merge_and_unload()
    family.model.eval()
    return family


def refuse_untrusted(recipe: Recipe, folder: Path, unsigned: bool = False) -> Lineage:
    """Raises UserError for an adapter that must not be loaded, as `open_adapter` says. Returns its lineage."""
    refuse_withdrawn(folder, "run: python -m prepare RECIPE, then python -m train RECIPE")
    inspect.refuse_unsafe(folder)
    if (folder / signature.SIGNATURE).exists():
        signature.verify_folder(folder, signature.trusted_keys(recipe))
    elif not unsigned and folder.resolve() not in _own_folders(recipe):
        raise UserError(
            f"{folder}: no {signature.SIGNATURE} in it, so nobody vouches for it; download it again with its "
            "signature, or, if you trained it yourself, name it in evaluate.systems with `unsigned: true`"
        )
    revocation.refuse_revoked(recipe, folder)
    revocation.refuse_revoked_base(recipe, recipe.train.base)
    try:
        line = read_lineage(folder)
    except (OSError, ValueError):
        raise UserError(f"{folder / 'lineage.json'}: missing or damaged; train again") from None
    if line.weights is not None and line.weights != revocation.weights_digest(folder):
        raise UserError(f"{folder}: its weights were altered after training; train again")
    if line.files is not None and line.files != files_digest(folder):
        raise UserError(f"{folder}: its tokenizer or settings were altered after training; train again")
    if recipe.train.method == "full":
        return line
    base = recipe.train.base
    if line.base_hash != base_hash(base) or (line.base_hash is None and line.base != base):
        raise UserError(f"{base}: not the weights that {folder} was trained on; train again")
    return line


def _own_folders(recipe: Recipe) -> set[Path]:
    """Adapters that need no signature: what the recipe's own training left, and those the recipe says so of."""
    own = [system.adapter for system in recipe.evaluate.systems if isinstance(system, Trained) and system.unsigned]
    found = [adapter_folder(recipe), *own, *(folder / "adapter" for folder in own)]
    return {folder.resolve() for folder in found}


def files_digest(folder: Path) -> str:
    """SHA-256 over the names and digests of an adapter's files, but for those that say where it came from."""
    found = signature.digests(folder)
    return digest(f"{name} {value}" for name, value in found.items() if name not in ("lineage.json", "recipe.yaml"))


def _put_on(family: Family, folder: Path) -> PeftModel:
    """The adapter of a folder, on its base. Raises UserError when it is not made for it."""
    try:
        model = PeftModel.from_pretrained(family.model, folder)
        wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    except (RuntimeError, ValueError, KeyError, IndexError, TypeError) as error:
        cause = " ".join(str(error).split())[:160]
        raise UserError(f"{folder}: not made for this base: {cause}") from None
    held = set(inspect.header(folder / "adapter_model.safetensors"))
    if wanted != held:
        name = min(wanted ^ held)
        raise UserError(f"{folder}: not made for this base: {name} is {'missing' if name in wanted else 'left over'}")
    return model


def _for_this_machine(recipe: Recipe) -> Recipe:
    """What was trained over a base of 4 bits goes onto the whole one where there is no GPU."""
    if torch.cuda.is_available():
        return recipe
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"quantise": None})})


def open_recogniser(name: str, recipe: Recipe | None = None) -> Family:
    """A model folder, or a name on the hub, that transcribes: its family is known by its configuration.

    `recipe`: whose lists of revocations are asked. Raises UserError for a folder that is on one.
    """
    from transformers import AutoConfig

    if recipe is not None:
        revocation.refuse_revoked_base(recipe, name)
    config = pretrained(AutoConfig.from_pretrained, name)
    known = ("whisper", "qwen3_asr", "voxtral")
    kind = config.model_type if config.model_type in known else "ctc"
    family = open_family(Train.model_validate({"family": kind, "base": name}))
    family.model.eval()
    return family


def losses(family: Family, rows: Iterable[Mapping[str, Any]], voices: Mapping[str, Samples]) -> list[float]:
    """The loss of each utterance by itself, without dropout; NaN where the family cannot encode it."""
    found = []
    device = next(family.model.parameters()).device
    for row in rows:
        voice = voices.get(row["speaker"], np.zeros(0, np.float32))
        try:
            example = family.encode(row["text_normalized"], samples_of(family, row), voice)
        except Skip:
            found.append(float("nan"))
            continue
        with torch.no_grad():
            batch = {name: tensor.to(device) for name, tensor in family.collate([example]).items()}
            found.append(float(family.loss(batch)))
    return found


def voice_of(family: Family, recipe: Recipe) -> dict[str, Samples]:
    """The voice of every speaker of the dataset: from training utterances, else from their others."""
    splits = open_dataset(recipe)
    voices: dict[str, Samples] = {}
    for split in ("test", "valid", "train"):
        voices |= speaker_voices(family, splits[split])
    return voices
