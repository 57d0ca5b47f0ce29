"""A folder of LoRA weights in PEFT's layout, as `--adapter` names it. Knows JSON; imports no torch, reads no weight."""

import json
from pathlib import Path

from omnimem_cli.base.errors import MissingError, UsageError
from omnimem_cli.models.folder import LORA_WEIGHTS, revision_of
from omnimem_cli.models.hub import LORA_CONFIG

_UNSUPPORTED = ("use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
"""Settings of PEFT that make an adapter more than one scaled product per weight."""


def check_adapter(folder: Path) -> None:
    """Raise UsageError for what is no folder of an adapter, MissingError for a broken one or another method's."""
    if not (folder / LORA_CONFIG).is_file():
        raise UsageError(
            f"{folder} is no adapter: it holds no {LORA_CONFIG}.", "Give --adapter a folder in PEFT's layout."
        )
    if not (folder / LORA_WEIGHTS).is_file():
        raise broken_adapter(folder, f"lacks {LORA_WEIGHTS}")
    try:
        config = json.loads((folder / LORA_CONFIG).read_text(encoding="utf-8"))
        method, other = config.get("peft_type"), [name for name in _UNSUPPORTED if config.get(name)]
    except (OSError, ValueError, AttributeError) as error:
        raise broken_adapter(folder, f"holds an {LORA_CONFIG} that is not a JSON object") from error
    if method != "LORA" or other:
        raise broken_adapter(folder, f"is not plain LoRA ({', '.join(other) or method})")


def adapter_facts(folder: Path) -> dict[str, str]:
    """How results name an adapter: its folder's name, and a digest of its content."""
    return {"name": folder.resolve().name, "revision": revision_of(folder)}


def broken_adapter(folder: Path, why: str) -> MissingError:
    """The error of an adapter that cannot be used."""
    return MissingError(f"The adapter {folder} {why}.", "Use --adapter with one made for this model.", code="model")
