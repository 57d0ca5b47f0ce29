"""What this machine has and what a run would take of it, as findings a person can act on.

Knows versions, devices, the catalogue and what is decided before a watch; loads no model. What is missing is a finding
with its next step, not an exception.
"""

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata

import torch

from omnimem_cli import __version__
from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import DoesNotFitError, InputError, MissingError, OutputError
from omnimem_cli.base.settings import Settings
from omnimem_cli.base.sizes import format_bytes
from omnimem_cli.base.timecode import format_clock
from omnimem_cli.jobs.inputs import named_input
from omnimem_cli.jobs.model import LazyModel
from omnimem_cli.jobs.outcomes import first_of
from omnimem_cli.jobs.page_urls import opened
from omnimem_cli.jobs.pipes import saved
from omnimem_cli.media.ffmpeg import ffmpeg_path, ffmpeg_version
from omnimem_cli.media.gpu_decoder import gpu_fault
from omnimem_cli.media.segment import Media
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.store import WHOLE_BITS, kv_bytes
from omnimem_cli.models.adapter import Plan
from omnimem_cli.models.catalogue import ROWS, Row
from omnimem_cli.models.device import dtype_name, find_device, total_memory
from omnimem_cli.models.folder import read_whole
from omnimem_cli.models.loader import LocalModel, fitting, installed, locate, recommended, row_from_folder
from omnimem_cli.session.preflight import ModelOutline, planned, probed
from omnimem_cli.session.sizing import WatchConfig


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``hint`` is the next step where something needed is missing, else empty.

    ``exit_code``: of a run that would fail for it. ``facts``: what the line says, for scripts: a number has its unit
    in its name.
    """

    about: str
    text: str
    hint: str = ""
    exit_code: int = 5
    facts: dict = field(default_factory=dict)

    def as_dict(self) -> dict:
        """For scripts."""
        return {"about": self.about, "ok": not self.hint, "text": self.text, "hint": self.hint, **self.facts}


def exit_code_of(findings: Sequence[Finding]) -> int:
    """The exit code of a run on this machine; 0 where nothing is missing."""
    codes = {finding.exit_code for finding in findings if finding.hint}
    return first_of(codes) or max(codes, default=0)


@dataclass(frozen=True)
class Named:
    """The model that the settings name. ``found`` is None where its weights are not on this machine."""

    row: Row
    found: LocalModel | None

    def outline(self, settings: Settings) -> ModelOutline:
        """Its shape and what its weights take. Raises MissingError."""
        from omnimem_cli.session.preflight import outline_of_folder, outline_of_row

        return outline_of_row(self.row, settings) if self.found is None else outline_of_folder(self.found, settings)


def diagnose(source: str | None, settings: Settings) -> list[Finding]:
    """Everything worth saying, in order. Raises UsageError for what cannot be meant."""
    named, finding = _model(settings)
    findings = [*_versions(), _ffmpeg(), *_devices(settings.device), *_gpu_decoder(), finding, *_fitting(settings)]
    if named is not None:
        findings.append(_budget(named, settings))
    if source is not None:
        findings += _input(source, settings, named)
    return findings


def _versions() -> Iterator[Finding]:
    yield Finding("omnimem", __version__, facts={"version": __version__})
    python = platform.python_version()
    yield Finding("python", python, facts={"version": python})
    for name in ("torch", "transformers"):
        version = _version(name)
        yield Finding(name, version or "missing", "" if version else f"pip install {name}", facts={"version": version})


def _version(distribution: str) -> str | None:
    """The installed version; None where there is none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _ffmpeg() -> Finding:
    try:
        version, path = ffmpeg_version(), ffmpeg_path()
        return Finding("ffmpeg", f"{version} ({path})", facts={"version": str(version), "path": str(path)})
    except MissingError as error:
        return Finding("ffmpeg", "missing", error.hint)


def _devices(device: str) -> Iterator[Finding]:
    memory, threads = total_memory(torch.device("cpu")), torch.get_num_threads()
    text = f"{format_bytes(memory)} memory, {threads} thread{'s' * (threads > 1)}"
    yield Finding("cpu", text, facts={"memory_bytes": memory, "threads": threads})
    for index in range(torch.cuda.device_count()):
        each = torch.device("cuda", index)
        name, memory = torch.cuda.get_device_properties(each).name, total_memory(each)
        facts = {"name": name, "memory_bytes": memory}
        yield Finding(str(each), f"{name}, {format_bytes(memory)} memory", facts=facts)
    try:
        found = str(find_device(device))
        yield Finding("device", found, facts={"name": found})
    except MissingError as error:
        yield Finding("device", error.message, error.hint)


def _gpu_decoder() -> Iterator[Finding]:
    """Whether ffmpeg reaches a GPU; whether that decodes a file is tried with the file."""
    try:
        fault = gpu_fault()
    except MissingError:  # no ffmpeg: that has been said
        return
    text = f"none, the processor decodes ({fault})" if fault else "ffmpeg reaches cuda:0; use it with --hwaccel cuda"
    yield Finding("gpu decoder", text, facts={"usable": not fault})


def _model(settings: Settings) -> tuple[Named | None, Finding]:
    try:
        found = locate(settings.model, device=settings.device, dtype=settings.dtype)
        read_whole(found.folder)
    except MissingError as error:
        row = _to_download(settings)
        return row and Named(row, None), Finding("model", error.message, error.hint)
    facts = {"name": found.row.name, "folder": str(found.folder)}
    return Named(found.row, found), Finding("model", f"{found.row.name} ({found.folder})", facts=facts)


def _to_download(settings: Settings) -> Row | None:
    """The row that was named, or that is advised where none was; None where weights are here or no row is meant."""
    if settings.model != "auto":
        return LazyModel(settings).to_download()
    try:
        return recommended(find_device(settings.device), settings.dtype)
    except MissingError:  # no such device: that has been said
        return None


def _fitting(settings: Settings) -> Iterator[Finding]:
    try:
        where = find_device(settings.device)
    except MissingError:
        return
    fits, dtype = [row.name for row in fitting(where, settings.dtype)], dtype_name(settings.dtype, where, "auto")
    text = f"{', '.join(fits) or 'none'} (as {dtype}, with the device to itself)"
    yield Finding("fits", text, facts={"models": fits, "dtype": dtype})
    here = [row.name for row in ROWS if installed(row)]
    yield Finding("installed", ", ".join(here) or "none", facts={"models": here})


def _budget(named: Named, settings: Settings) -> Finding:
    budget = settings.budget or Budget(named.row.budget)
    if not make_policy(settings.policy).bounded:
        return Finding("budget", f"none: --policy {settings.policy} evicts nothing", facts=_bounds(None, None))
    if budget.auto:
        return Finding("budget", "the largest that fits, at most 32,768 entries per layer", facts=_bounds(None, None))
    entry = _entry_bytes(named, settings)
    if budget.bytes is not None:
        entries = budget.bytes // entry if entry else None
        about = f", about {entries:,} entries per layer with keys and values alone" if entries else ""
        return Finding("budget", f"{format_bytes(budget.bytes)}{about}", facts=_bounds(entries, budget.bytes))
    size = (budget.entries or 0) * entry if entry else None
    about = f", about {format_bytes(size)} of keys and values" if size else ""
    text = f"{budget.entries:,} entries per layer{about}, for any length of video"
    return Finding("budget", text, facts=_bounds(budget.entries, size))


def _bounds(entries: int | None, size: int | None) -> dict:
    """Entries per layer and bytes of keys and values; None where that is not known, or there is no bound."""
    return {"entries_per_layer": entries, "bytes": size}


def _entry_bytes(named: Named, settings: Settings) -> int | None:
    """Keys and values of one entry in all layers; None where there is no such device, or the shape is unknown."""
    row = named.row if named.found is None else row_from_folder(named.found)
    try:
        whole = row.entry_bytes(dtype_name(settings.dtype, find_device(settings.device), row.cpu_dtype))
    except MissingError:
        return None
    if whole is None or row.head_dim is None or settings.kv_bits == WHOLE_BITS:
        return whole
    return row.layers * kv_bytes(row.kv_heads, row.head_dim, torch.bfloat16, settings.kv_bits)


def _input(source: str, settings: Settings, named: Named | None) -> Iterator[Finding]:
    one = named_input(source, settings.offline)
    try:
        with saved(one, settings) as one, opened(one.saved or one.path, one.page, settings.offline) as path:
            media = probed(path, settings)
    except (InputError, OutputError) as error:
        yield Finding("input", error.message, error.hint or "Choose another input.", error.exit_code)
        return
    except MissingError:
        return
    length = "unknown length" if media.duration_s is None else format_clock(media.duration_s)
    picture = f"{media.video.width}x{media.video.height} {media.video.codec}" if media.video else "no picture"
    tracks = len(media.audio_tracks) or 1
    sound = f"{media.audio.codec} sound, {tracks} track{'s' * (tracks > 1)}" if media.audio else "no sound"
    yield Finding("input", f"{length}, {picture}, {sound}", facts=_streams(media))
    if named is not None:
        yield from _watch(media, settings, named)


def _streams(media: Media) -> dict:
    """Length, picture and sound of an input."""
    video, audio = media.video, media.audio
    shown = video and {"width": video.width, "height": video.height, "frames_per_second": video.fps}
    return {
        "duration_s": media.duration_s,
        "video": video and {"codec": video.codec, **shown},
        "audio": audio and {"codec": audio.codec, "tracks": len(media.audio_tracks) or 1},
    }


def _watch(media: Media, settings: Settings, named: Named) -> Iterator[Finding]:
    """What goes in, and whether weights and watch fit what is free: as a run says it before it loads anything."""
    config, room = None, None
    try:
        model = named.outline(settings)
        plan = planned(settings, model.adapter, media)
        config = model.size_memory(settings, media)
    except DoesNotFitError as error:
        room = Finding("room", error.message, error.hint, error.exit_code)
    except MissingError as error:
        if error.code != "device":  # that has been said
            yield Finding("room", error.message, error.hint, error.exit_code)
        return
    yield from _amount(media.within(settings.start_s, settings.end_s), plan, config)
    yield room or _room(model, config, "it fits" if named.found else f"{named.row.name} would fit")


def _amount(watched: Media, plan: Plan, config: WatchConfig | None) -> Iterator[Finding]:
    if watched.duration_s is None:
        return
    streams = ((watched.video, plan.visual_tokens_per_segment), (watched.audio, plan.audio_tokens_per_segment))
    seconds = sum(stream.duration_s * tokens for stream, tokens in streams if stream is not None)
    tokens = round(seconds / plan.format.segment_s)
    kept, share = "", None
    if config is not None:
        share = 1.0 if config.entries is None or tokens <= config.entries else config.entries / tokens
        kept = "; all are kept" if share == 1.0 else f"; {share * 100:.1f} % are kept"
    facts = {"tokens": tokens, "kept_ratio": share and round(share, 4)}
    yield Finding("tokens", f"about {tokens:,} go in{kept}", facts=facts)


def _room(model: ModelOutline, config: WatchConfig, verdict: str) -> Finding:
    needed, free = model.weights + config.needed, model.weights + model.free_bytes
    text = f"{format_bytes(needed)} at the worst moment, {format_bytes(model.weights)} of them weights"
    facts = {"needed_bytes": needed, "weights_bytes": model.weights, "free_bytes": free}
    return Finding("room", f"{text}; {format_bytes(free)} are free: {verdict}", facts=facts)
