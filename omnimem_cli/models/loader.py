"""From a name to a loaded adapter: catalogue name, hub id or folder.

Knows the catalogue, the hub's cache and the families; knows no media and no memory. Only
safetensors are read, and no code of a checkpoint is ever run.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from omnimem_cli.base.errors import DoesNotFitError, MissingError, UsageError
from omnimem_cli.base.sizes import format_bytes
from omnimem_cli.models import hub
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.models.catalogue import GB, ROWS, Row, is_built_in, nearest_by_size, row, row_for_unlisted
from omnimem_cli.models.device import Placement, dtype_name, find_device, free_bytes, total_memory
from omnimem_cli.models.folder import Checkpoint, downloaded, read_checkpoint, read_whole
from omnimem_cli.models.lora import add_adapter
from omnimem_cli.models.lora_folder import adapter_facts, check_adapter

if TYPE_CHECKING:
    from omnimem_cli.models.family import Family

NANO = Path(__file__).parent / "nano"
OVERHEAD_GB = 2.0
"""What a default watch takes besides the weights: encoder peak, memory and workspace."""

DEMO = "`omnimem demo` shows the tool at work with the built-in model."


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine: its catalogue row (or its family's defaults) and its folder."""

    row: Row
    folder: Path


def load(model: str, *, device: str = "auto", dtype: str | None = None, lora: str | None = None) -> Adapter:
    """The adapter of a catalogue name, hub id, folder or ``auto``; weights are never downloaded here.

    ``lora``: a folder of LoRA weights to merge. Raises UsageError (unknown name) and what `load_local` raises.
    """
    find_device(device)  # a device that is not there is said before a model that is not
    return load_local(locate(model, device=device, dtype=dtype), device=device, dtype=dtype, lora=lora)


def load_local(
    found: LocalModel, *, device: str = "auto", dtype: str | None = None, lora: str | None = None
) -> Adapter:
    """The adapter of a model on this machine, with the LoRA weights of a folder merged into it.

    Raises MissingError (broken folder, no such device, no extra), DoesNotFitError, and UsageError for no adapter.
    """
    where, checkpoint = find_device(device), read_whole(found.folder)
    family, placement = _family(checkpoint), Placement(where, dtype_name(dtype, where, found.row.cpu_dtype))
    if lora is not None:
        _check_lora(Path(lora), placement)
    free_after_weights(weight_bytes(checkpoint, found.row, placement.weights), found.row.name, placement)
    adapter = family.load(checkpoint, found.row, placement)
    if lora is not None:
        add_adapter(adapter.model, Path(lora))
        adapter.lora = adapter_facts(Path(lora))
    return adapter


def _check_lora(folder: Path, placement: Placement) -> None:
    check_adapter(folder)
    if placement.weights in ("int8", "int4"):
        raise UsageError(f"No adapter can be merged into {placement.weights} weights.", "Use --dtype bfloat16.")


def weight_bytes(checkpoint: Checkpoint, wanted: Row, dtype: str) -> int:
    """Bytes of a folder's weights in memory."""
    return int(checkpoint.values * wanted.parameter_bytes(dtype))


def free_after_weights(weights: int, name: str, placement: Placement) -> int:
    """Bytes that stay free once the weights are loaded. Raises DoesNotFitError where the weights alone do not fit."""
    free = free_bytes(placement.device)
    if weights > free:
        raise DoesNotFitError(
            f"The weights of {name} take {format_bytes(weights)} as {placement.weights}; {placement.device} has "
            f"{format_bytes(free)}.",
            "Use a smaller --dtype (bfloat16; int8 and int4 are an extra), or a model that `omnimem doctor` says fits.",
        )
    return free - weights


def locate(model: str, *, device: str = "auto", dtype: str | None = None) -> LocalModel:
    """Where a model is. ``auto``: the first installed row that fits the device's memory; never nano."""
    if model == "auto":
        return _first_fitting(find_device(device), dtype)
    if is_built_in(model):
        return LocalModel(row(model), NANO)
    if Path(model).is_dir():
        return _folder(Path(model))
    if "/" not in model or model.startswith((".", "/", "~")):
        return _installed(_named(model))
    return _installed(_hub_row(model))


def installed(candidate: Row) -> Path | None:
    """The folder of a row whose weights are all on this machine, else None."""
    return NANO if is_built_in(candidate.name) else downloaded(candidate)


def row_from_folder(found: LocalModel) -> Row:
    """A row with sizes and geometry as the folder's weights and config say. Raises MissingError for broken weights."""
    checkpoint = read_whole(found.folder)
    stored = sum((checkpoint.folder / name).stat().st_size for name in checkpoint.weight_files())
    sizes = {"params_b": checkpoint.values / 1e9, "download_gb": stored / GB}
    return replace(found.row, **sizes, **checkpoint.geometry)


def _family(checkpoint: Checkpoint) -> "Family":
    from omnimem_cli.models.families import family_of  # seconds of imports, which a run with nothing to do is spared

    return family_of(checkpoint)


def fitting(device: torch.device, dtype: str | None) -> list[Row]:
    """The rows, in catalogue order, that fit the device's total memory."""
    room = total_memory(device) / GB - OVERHEAD_GB
    return [each for each in ROWS if each.weights_gb(dtype_name(dtype, device, each.cpu_dtype)) <= room]


def _first_fitting(device: torch.device, dtype: str | None) -> LocalModel:
    for candidate in fitting(device, dtype):
        folder = installed(candidate)
        if folder is not None and not is_built_in(candidate.name):
            return LocalModel(candidate, folder)
    best = recommended(device, dtype)
    raise MissingError(
        f"No model that fits this device ({device}, {format_bytes(total_memory(device))}) is installed.",
        f"`omnimem models pull {best.name}` downloads {best.download}; `omnimem models list` shows the others. {DEMO}",
    )


def recommended(device: torch.device, dtype: str | None) -> Row:
    """What to download where nothing is installed: the first row that fits the device, else the smallest Omni."""
    return next((fits for fits in fitting(device, dtype) if fits.hub_id), row("qwen2.5-omni-3b"))


def _folder(folder: Path) -> LocalModel:
    family = _family(read_checkpoint(folder)).name
    if folder.resolve() == NANO.resolve():
        return LocalModel(row("nano"), NANO)
    return LocalModel(row_for_unlisted(folder.resolve().name, family), folder)


def _named(model: str) -> Row:
    if model.startswith((".", "/", "~")):
        raise UsageError(f"There is no model folder {model!r}.", "Check the path given with -m.")
    return row(model)


def _hub_row(hub_id: str) -> Row:
    for candidate in ROWS:
        if (candidate.hub_id or "").lower() == hub_id.lower():
            folder = hub.cached(hub_id)
            return nearest_by_size(candidate, read_whole(folder).values) if folder else candidate
    hub.check_id(hub_id)
    folder = hub.cached(hub_id)
    if folder is None:
        raise MissingError(
            f"The weights of {hub_id} are not on this machine.",
            f"Download them with `omnimem models pull {hub_id}`. {DEMO}",
            code="no_weights",
        )
    return row_for_unlisted(hub_id, _family(read_checkpoint(folder)).name, hub_id)


def _installed(wanted: Row) -> LocalModel:
    folder = hub.cached(wanted.hub_id or "")
    if folder is not None:
        return LocalModel(wanted, _of_its_size(wanted, folder))
    raise MissingError(
        f"The weights of {wanted.name} are not on this machine ({wanted.hub_id}, {wanted.download}).",
        f"Download them with `omnimem models pull {wanted.name}`. {DEMO}",
        code="no_weights",
    )


def _of_its_size(wanted: Row, folder: Path) -> Path:
    """The folder, unless its repository holds another size than the row promises. Raises MissingError."""
    held = nearest_by_size(wanted, read_whole(folder).values)
    if held is wanted:
        return folder
    raise MissingError(f"{wanted.hub_id} holds {held.name}, not {wanted.name}.", f"Use -m {held.name}.", code="model")
