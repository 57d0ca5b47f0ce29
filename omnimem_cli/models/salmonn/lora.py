"""Merging a LoRA release into its base's tensors. Knows stored key names and PEFT's file layout, no model.

The releases train q, k and v of the language model and store some modules whole (``modules_to_save``: visual
merger, Q-Former, audio projection).
"""

import json
import math
import re
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from omnimem_cli.models.folder import LORA_WEIGHTS, broken_folder
from omnimem_cli.models.hub import LORA_CONFIG

_PREFIX = "base_model.model."


def merge_adapter(tensors: dict[str, Tensor], adapter: Path) -> None:
    """Add every low-rank update to its weight, in fp32, and put the modules stored whole in place.

    ``tensors`` (stored names of the base) is changed. Raises MissingError when the adapter names a tensor that
    the base lacks.
    """
    scale = _scale(json.loads((adapter / LORA_CONFIG).read_text(encoding="utf-8")))
    stored = load_file(adapter / LORA_WEIGHTS)
    for key, value in stored.items():
        name = _base_name(key)
        if name not in tensors:
            raise broken_folder(adapter, f"does not fit its base, which has no {name}")
        if ".lora_A." in key:
            delta = scale * stored[key.replace(".lora_A.", ".lora_B.")].float() @ value.float()
            tensors[name] = (tensors[name].float() + delta).to(tensors[name].dtype)
        elif ".lora_B." not in key:
            tensors[name] = value


def _base_name(key: str) -> str:
    return re.sub(r"\.(lora_[AB]|modules_to_save)(\.default)?(?=\.)", "", key.removeprefix(_PREFIX))


def _scale(config: dict) -> float:
    rank = config["r"]
    return config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
