"""Models of `transformers`, loaded without running anybody's code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recipes.schema import UserError


def pretrained(load: Callable[..., Any], name: str, revision: str | None = None, **options: Any) -> Any:
    """`load(name)` of transformers, with no code of the repository's own.

    Raises UserError naming the model when it is not there, not reachable, or not of the kind asked for.
    """
    from transformers.utils.logging import disable_progress_bar

    if name.startswith("/") and not Path(name).is_dir():
        raise UserError(f"{name}: no such folder; name a model folder or a repository on the hub")
    disable_progress_bar()  # of reading weights: seconds at most, and a line for each model
    try:
        return load(name, revision=revision or "main", trust_remote_code=False, **options)
    except Exception as error:  # of many kinds: each loader has its own
        cause = " ".join(str(error).split())[:200]
        hint = "; weights are read from safetensors only: a pickle can run code" if "safetensors" in cause else ""
        raise UserError(f"model {name} cannot be loaded: {cause}{hint}") from error


def pretrained_model(model_class: Any, name: str, revision: str | None = None, **options: Any) -> Any:
    """A model with its weights, float32, from safetensors.

    Raises UserError as `pretrained` does, and when the weights are those of another model: the library
    would fill this one with random numbers, and say so in a warning only.
    """
    from transformers import PreTrainedConfig

    config, _ = pretrained(PreTrainedConfig.get_config_dict, name, revision)
    wanted = getattr(model_class, "config_class", None)  # the library's Auto classes check by themselves
    if wanted and config.get("model_type", wanted.model_type) != wanted.model_type:
        raise UserError(f"model {name} is a {config['model_type']}, not a {wanted.model_type}")
    options |= {"use_safetensors": True, "dtype": "float32", "output_loading_info": True}
    model, found = pretrained(model_class.from_pretrained, name, revision, **options)
    if len(found["missing_keys"]) > len(model.state_dict()) / 2:
        raise UserError(f"model {name} is no {type(model).__name__}: most of its weights are missing there")
    return model
