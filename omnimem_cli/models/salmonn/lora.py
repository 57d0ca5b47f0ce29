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

from omnimem_cli.errors import MissingError

_PREFIX = "base_model.model."


def base_of(adapter: Path) -> str:
    """Hub id or folder of the model that the adapter was trained on."""
    return _config(adapter)["base_model_name_or_path"]


def merge_adapter(tensors: dict[str, Tensor], adapter: Path) -> None:
    """Add every low-rank update to its weight, in fp32, and put the modules stored whole in place.

    ``tensors`` (stored names of the base) is changed. Raises MissingError when the adapter names a tensor that
    the base lacks.
    """
    scale = _scale(_config(adapter))
    stored = load_file(adapter / "adapter_model.safetensors")
    for key, value in stored.items():
        name = _base_name(key)
        if name not in tensors:
            raise MissingError(
                f"The adapter in {adapter} does not fit its base: {name} is not there.",
                f"It was trained on {base_of(adapter)}.",
            )
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


def _config(adapter: Path) -> dict:
    return json.loads((adapter / "adapter_config.json").read_text())
