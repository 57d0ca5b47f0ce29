"""Merging LoRA weights into a base's tensors. Knows PEFT's file layout and names of tensors, no model.

The video-SALMONN releases train q, k and v of the language model and store some modules whole (``modules_to_save``:
visual merger, Q-Former, audio projection). `omnimem finetune` writes folders of the same layout.
"""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from omnimem_cli.base.errors import MissingError
from omnimem_cli.models.folder import LORA_WEIGHTS, broken_folder
from omnimem_cli.models.hub import LORA_CONFIG
from omnimem_cli.models.lora_folder import broken_adapter

_PREFIX = "base_model.model."
Broken = Callable[[Path, str], MissingError]


def merge_adapter(tensors: dict[str, Tensor], adapter: Path, broken: Broken = broken_folder) -> None:
    """Add every low-rank update to its weight, in fp32, and put the modules stored whole in place.

    ``tensors`` (stored names of the base) is changed, its values are not. Raises MissingError when the adapter names a
    tensor that the base lacks, or has of another shape.
    """
    scale = _scale(json.loads((adapter / LORA_CONFIG).read_text(encoding="utf-8")))
    stored = load_file(adapter / LORA_WEIGHTS)
    for key, value in stored.items():
        name = _base_name(key)
        if name not in tensors:
            raise broken(adapter, f"does not fit its base, which has no {name}")
        base = tensors[name]
        if ".lora_A." in key:
            factor = stored[key.replace(".lora_A.", ".lora_B.")]
            delta = scale * factor.to(base.device).float() @ value.to(base.device).float()
            _check_shape(delta, base, name, adapter, broken)
            tensors[name] = (base.float() + delta).to(base.dtype)
        elif ".lora_B." not in key:
            _check_shape(value, base, name, adapter, broken)
            tensors[name] = value


def add_adapter(model: nn.Module, adapter: Path) -> None:
    """Merge an adapter folder into a loaded model's weights, in place.

    Raises MissingError where it does not fit.
    """
    held = model.state_dict()
    merged = dict(held)
    try:
        merge_adapter(merged, adapter, broken_adapter)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise broken_adapter(adapter, f"cannot be read ({type(error).__name__}: {error})".splitlines()[0]) from error
    with torch.no_grad():
        for name, tensor in merged.items():
            if tensor is not held[name]:
                held[name].copy_(tensor)


def _check_shape(value: Tensor, base: Tensor, name: str, adapter: Path, broken: Broken) -> None:
    if value.shape != base.shape:
        raise broken(adapter, f"does not fit its base, where {name} has the shape {tuple(base.shape)}")


def _base_name(key: str) -> str:
    return re.sub(r"\.(lora_[AB]|modules_to_save)(\.default)?(?=\.)", "", key.removeprefix(_PREFIX))


def _scale(config: dict) -> float:
    rank = config["r"]
    return config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
