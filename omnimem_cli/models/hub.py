"""The Hugging Face hub's names and its cache on this machine. Uses no network and imports no torch.

Honours HF_HOME, HF_HUB_OFFLINE and HF_ENDPOINT, which huggingface_hub reads itself.
"""

from pathlib import Path

from omnimem_cli.base.errors import UsageError

LORA_CONFIG = "adapter_config.json"


CONFIGS = ("config.json", LORA_CONFIG, "vs2_checkpoint/config.json")
"""What a repository with a model holds one of: whole, LoRA, or OmniMem's nested folder."""


def is_id(name: str) -> bool:
    """Whether the hub could have a repository of that name: "owner/name"."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def check_id(name: str) -> None:
    """Raises UsageError for what is neither a hub id nor, as the caller knows, a folder."""
    if not is_id(name):
        raise UsageError(
            f"{name!r} is no folder on this machine and no Hugging Face id.",
            "Check the path; an id is OWNER/NAME, and `omnimem models list` shows the names.",
        )


def cached(hub_id: str) -> Path | None:
    """The snapshot folder of a repository whose config is on this machine, else None. Uses no network."""
    from huggingface_hub import try_to_load_from_cache

    if not is_id(hub_id):
        return None
    for name in CONFIGS:
        config = try_to_load_from_cache(hub_id, name)
        if isinstance(config, str):
            return Path(config.removesuffix(name))
    return None


def is_offline(asked: bool) -> bool:
    """Whether the network stays unused: ``asked`` for by an option, or by HF_HUB_OFFLINE."""
    from huggingface_hub import constants

    return asked or constants.HF_HUB_OFFLINE
