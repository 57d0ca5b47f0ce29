"""Weights from the Hugging Face hub: what is on this machine, and how to get the rest. Imports no torch.

Honours HF_HOME, HF_HUB_OFFLINE and HF_ENDPOINT, which huggingface_hub reads itself.
"""

import json
from pathlib import Path

from omnimem_cli.errors import MissingError, UsageError
from omnimem_cli.models.catalogue import Row

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.jinja")
"""Only weights and settings: never pickles, never code."""

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


def pull(row: Row, offline: bool = False) -> Path:
    """Download (or complete) a repository's weights and settings, and a LoRA release's base; returns the folder.

    ``offline``, or HF_HUB_OFFLINE: only say where they are. Raises UsageError for what is no hub id, MissingError where
    the hub cannot be reached or refuses, or where weights are absent and may not be fetched.
    """
    assert row.hub_id is not None, f"{row.name} is not on the hub"
    check_id(row.hub_id)
    return _held(row.hub_id) if is_offline(offline) else _fetched(row.hub_id)


def is_offline(asked: bool) -> bool:
    """Whether the network stays unused: ``asked`` for by an option, or by HF_HUB_OFFLINE."""
    from huggingface_hub import constants

    return asked or constants.HF_HUB_OFFLINE


def _held(hub_id: str) -> Path:
    from omnimem_cli.models.checkpoint import read_whole

    why, folder = "", cached(hub_id)
    if folder is not None:
        try:
            read_whole(folder)
            return folder
        except MissingError as error:
            why = f": {error.message.rstrip('.')}"
    raise MissingError(
        f"The weights of {hub_id} are not on this machine, and offline mode is on{why}.",
        f"`omnimem models pull {hub_id}` without --offline and without HF_HUB_OFFLINE downloads what is missing.",
        code="no_weights",
    )


def _fetched(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    # A connection that breaks off comes through as the HTTP library's own error, and which library differs by release.
    broken_off = HfHubHTTPError.__bases__[0]
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=list(PATTERNS)))
        if (folder / LORA_CONFIG).exists():
            snapshot_download(_base_id(folder), allow_patterns=list(PATTERNS))
        return folder
    except (HfHubHTTPError, LocalEntryNotFoundError, broken_off, OSError) as error:
        raise MissingError(
            f"{hub_id} could not be downloaded: {first_line(error)}",
            "Check the network and HF_TOKEN, then run the same command: finished files are kept, an unfinished one "
            "begins again.",
            code="download",
        ) from error


def _base_id(folder: Path) -> str:
    base = lora_base(folder)
    if not is_id(base):
        raise MissingError(
            f"The model folder {folder} is an adapter of {base}, which is no repository of the hub.",
            f"Name the base model as OWNER/NAME, or as a path, in its {LORA_CONFIG}.",
            code="model",
        )
    return base


def lora_base(folder: Path) -> str:
    """Hub id, or path relative to ``folder``, of the model that a LoRA release was trained on. Raises MissingError."""
    from omnimem_cli.models.checkpoint import broken

    try:
        base = json.loads((folder / LORA_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    if not isinstance(base, str):
        raise broken(folder, f"holds an {LORA_CONFIG} that names no base model")
    return base


def first_line(error: Exception) -> str:
    """One sentence of an error's text."""
    first, *more = (str(error).strip() or type(error).__name__).splitlines()
    if first.endswith(":") and more:  # what is wrong stands in the next line
        first = f"{first} {more[0].strip()}"
    return first.rstrip(".") + "."
