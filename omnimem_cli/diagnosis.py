"""What this machine has and what it can do, as findings a person can act on.

Knows versions, devices, the catalogue and the budget; loads no model. Nothing here raises for what is missing: a
finding carries the next step instead.
"""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from omnimem_cli.clock import clock
from omnimem_cli.errors import DoesNotFitError, InputError, MissingError
from omnimem_cli.memory.budget import Budget, parse_budget
from omnimem_cli.models.catalogue import GB, ROWS, Row

if TYPE_CHECKING:
    from omnimem_cli.media.segment import Media
    from omnimem_cli.models.loader import Found


PROMPT_TOKENS = 64
"""More than any family's tokens before the first frame."""


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``hint`` is the next step where something needed is missing, else empty.

    ``exit_code``: of a run that would fail for it.
    """

    about: str
    text: str
    hint: str = ""
    exit_code: int = 5


def diagnose(source: str | None, model: str, budget: str | None, device: str, dtype: str | None) -> list[Finding]:
    """Everything worth saying, in order. Raises UsageError for a wrong name or budget."""
    wanted = parse_budget(budget) if budget else None
    findings = [*_versions(), _ffmpeg(), *_devices(device)]
    found, finding = _model(model, device, dtype)
    chosen = found.row if found is not None else None
    findings.append(finding)
    findings += _fitting(device, dtype)
    if chosen is not None:
        findings.append(_budget(chosen, wanted))
    if source is not None:
        findings += _input(source, found, wanted, device, dtype)
    return findings


def _versions() -> Iterator[Finding]:
    yield Finding(
        "omnimem", metadata.version("omnimem-cli") if _has("omnimem-cli") else "not installed (run from source)"
    )
    yield Finding("python", platform.python_version())
    for name in ("torch", "transformers"):
        hint = "" if _has(name) else f"pip install {name}"
        yield Finding(name, metadata.version(name) if not hint else "missing", hint)


def _has(distribution: str) -> bool:
    try:
        return bool(metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return False


def _ffmpeg() -> Finding:
    from omnimem_cli.media.ffmpeg import ffmpeg_path, ffmpeg_version

    try:
        return Finding("ffmpeg", f"{ffmpeg_version()} ({ffmpeg_path()})")
    except MissingError as error:
        return Finding("ffmpeg", "missing", error.hint)


def _devices(device: str) -> Iterator[Finding]:
    import torch

    from omnimem_cli.models.device import find_device, total_memory

    cpu = torch.device("cpu")
    yield Finding("cpu", f"{total_memory(cpu) / GB:.1f} GB memory, {torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        each = torch.device("cuda", index)
        name = torch.cuda.get_device_properties(each).name
        yield Finding(str(each), f"{name}, {total_memory(each) / GB:.1f} GB memory")
    try:
        yield Finding("device", str(find_device(device)))
    except MissingError as error:
        yield Finding("device", error.message, error.hint)


def _model(model: str, device: str, dtype: str | None) -> "tuple[Found | None, Finding]":
    from omnimem_cli.models.checkpoint import read_whole
    from omnimem_cli.models.loader import resolve

    try:
        found = resolve(model, device=device, dtype=dtype)
        read_whole(found.folder)
    except MissingError as error:
        return None, Finding("model", error.message, error.hint)
    return found, Finding("model", f"{found.row.name} ({found.folder})")


def _fitting(device: str, dtype: str | None) -> Iterator[Finding]:
    from omnimem_cli.models.device import dtype_name, find_device, total_memory
    from omnimem_cli.models.loader import OVERHEAD_GB, installed

    try:
        where = find_device(device)
    except MissingError:
        return
    room = total_memory(where) / GB - OVERHEAD_GB
    kind = dtype_name(dtype, where)
    fits = [row.name for row in ROWS if row.weights_gb(kind) <= room]
    yield Finding("fits", f"{', '.join(fits) or 'none'} (as {kind})")
    yield Finding("installed", ", ".join(row.name for row in ROWS if installed(row)) or "none")


def _budget(row: Row, wanted: Budget | None) -> Finding:
    budget = wanted or Budget(entries=row.budget)
    entry = row.entry_bytes()
    if budget.auto:
        return Finding("budget", "the largest that fits, at most 32768 entries per layer")
    if budget.bytes is not None:
        about = f", about {budget.bytes // entry} entries per layer with keys and values alone" if entry else ""
        return Finding("budget", f"{budget.bytes} bytes{about}")
    size = f", about {(budget.entries or 0) * entry / 2**20:.0f} MiB of keys and values" if entry else ""
    return Finding("budget", f"{budget.entries} entries per layer{size}, for any length of video")


def _input(
    source: str, found: "Found | None", wanted: Budget | None, device: str, dtype: str | None
) -> Iterator[Finding]:
    from omnimem_cli.media.probe import probe

    try:
        media = probe(source)
    except InputError as error:
        yield Finding("input", error.message, error.hint or "Choose another input.", error.exit_code)
        return
    except MissingError:
        return
    length = "unknown length" if media.duration_s is None else clock(media.duration_s)
    picture = f"{media.video.width}x{media.video.height} {media.video.codec}" if media.video else "no picture"
    sound = f"{media.audio.codec} sound, {len(media.audio_tracks) or 1} track(s)" if media.audio else "no sound"
    yield Finding("input", f"{length}, {picture}, {sound}")
    if found is not None:
        yield from _amount(media, found.row, wanted)
        yield _verdict(media, found, wanted, device, dtype)


def _amount(media: "Media", row: Row, wanted: Budget | None) -> Iterator[Finding]:
    if media.duration_s is not None:
        rate = (row.visual_rate if media.video else 0) + (row.audio_rate if media.audio else 0)
        tokens = round(rate * media.duration_s)
        entries = (wanted.entries if wanted else None) or row.budget
        kept = "all are kept" if tokens <= entries else f"{entries / tokens:.1%} are kept"
        yield Finding("tokens", f"about {tokens} go in; {kept}")


def _verdict(media: "Media", found: "Found", wanted: Budget | None, device: str, dtype: str | None) -> Finding:
    """Whether weights and watch fit what is free, from the model's shape alone: nothing is loaded."""
    from omnimem_cli.fitting import LEAST, room_of
    from omnimem_cli.models.adapter import WatchOptions
    from omnimem_cli.models.blank import random_adapter
    from omnimem_cli.models.checkpoint import read_checkpoint
    from omnimem_cli.models.device import dtype_name, find_device, free_bytes
    from omnimem_cli.settings import Settings

    where = find_device(device)
    kind = dtype_name(dtype, where)
    shape = random_adapter(str(found.folder), device="meta", dtype=kind)
    shape.row = found.row
    room = room_of(Settings(), shape, shape.plan(media, WatchOptions()), media, PROMPT_TOKENS)
    weights, free = int(read_checkpoint(found.folder).values * found.row.parameter_bytes(kind)), free_bytes(where)
    try:
        entries = room.entries(wanted or Budget(entries=found.row.budget), free - weights)
    except DoesNotFitError as error:
        return Finding("room", error.message, error.hint, error.exit_code)
    needed = weights + room.needed_here(max(entries, LEAST))
    text = f"{needed / GB:.2f} GB at the worst moment, {weights / GB:.2f} of them weights; {free / GB:.2f} are free"
    if needed <= free and entries >= LEAST:
        return Finding("room", f"{text}: it fits")
    most = room.most(free - weights)
    hint = f"Use --budget {most}." if most >= LEAST else "Use a smaller model, or --dtype int8 or int4."
    return Finding("room", f"{text}: it does not fit", hint, DoesNotFitError.exit_code)
