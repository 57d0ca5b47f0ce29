"""Download of weights from the Hugging Face hub. Imports no torch.

Honours HF_HOME, HF_HUB_OFFLINE and HF_ENDPOINT, which huggingface_hub reads itself.
"""

import errno
from pathlib import Path

from omnimem_cli.base.errors import MissingError
from omnimem_cli.models.catalogue import Row
from omnimem_cli.models.folder import lora_base, read_whole
from omnimem_cli.models.hub import LORA_CONFIG, cached, check_id, is_id, is_offline

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.jinja")
"""Only weights and settings: never pickles, never code."""

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


def pull(row: Row, offline: bool = False) -> Path:
    """Download (or complete) a repository's weights and settings, and a LoRA release's base; returns the folder.

    ``offline``, or HF_HUB_OFFLINE: only say where they are. Raises UsageError for what is no hub id, MissingError where
    the hub cannot be reached or refuses, or where weights are absent and may not be fetched.
    """
    assert row.hub_id is not None, f"{row.name} is not on the hub"
    check_id(row.hub_id)
    return _held(row.hub_id) if is_offline(offline) else _fetched(row.hub_id)


def _held(hub_id: str) -> Path:
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
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    # A connection that breaks off comes through as the HTTP library's own error, and which library differs by release.
    broken_off = HfHubHTTPError.__bases__[0]
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=list(PATTERNS)))
        if (folder / LORA_CONFIG).exists():
            snapshot_download(_base_id(folder), allow_patterns=list(PATTERNS))
        return folder
    except (HfHubHTTPError, LocalEntryNotFoundError, broken_off, OSError) as error:
        if getattr(error, "errno", None) in DISK_IS_FULL:
            raise MissingError(
                f"{hub_id} could not be downloaded: the disk that holds {constants.HF_HUB_CACHE} is full.",
                "Make room there, or set HF_HOME to a folder on another disk, then run the same command: finished "
                "files are kept.",
                code="download",
            ) from error
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


def first_line(error: Exception) -> str:
    """One sentence of an error's text."""
    first, *more = (str(error).strip() or type(error).__name__).splitlines()
    if first.endswith(":") and more:  # what is wrong stands in the next line
        first = f"{first} {more[0].strip()}"
    return first.rstrip(".") + "."
