"""What is decided before an input is watched: its streams, its encoding plan and the size of its memory.

Knows rows, folders, probing and `sizing`; reads no weight and decodes nothing. Before the model is loaded its outline
serves: the shape without weights, and the bytes that these will take.
"""

import math
import time
from dataclasses import dataclass

import torch

from omnimem_cli.base.errors import DoesNotFitError, InputError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.settings import Settings
from omnimem_cli.media.gpu_decoder import decoder_bytes, with_gpu, without_gpu
from omnimem_cli.media.key_frames import with_key_frames_only
from omnimem_cli.media.probe import STALL_S, probe
from omnimem_cli.media.segment import Media
from omnimem_cli.models import dummy
from omnimem_cli.models.adapter import Adapter, Plan
from omnimem_cli.models.catalogue import GB, Row
from omnimem_cli.models.device import Placement, dtype_name, find_device
from omnimem_cli.models.folder import read_whole
from omnimem_cli.models.loader import LocalModel, free_after_weights, weight_bytes
from omnimem_cli.session.sizing import WatchConfig, size_memory, watch_options


def probed(path: str, settings: Settings) -> Media:
    """The chosen streams of an input, whole. Raises InputError and MissingError (see `probe`), and UsageError for key
    frames alone of a live one."""
    media = probe(
        path,
        audio_track=settings.audio_track,
        video_track=settings.video_track,
        no_audio=settings.no_audio,
        no_video=settings.no_video,
        timeout_s=stall_s(settings),
    )
    _check_rate(media, settings.fps)
    if settings.decode == "keyframes":
        media = with_key_frames_only(media, stall_s(settings))
    gpu = decoding_gpu(settings)
    return media if gpu is None else with_gpu(media, gpu, stall_s(settings))


def decoding_gpu(settings: Settings) -> int | None:
    """The number of the CUDA device that is wanted to decode; None: the processor. Raises MissingError."""
    if settings.hwaccel == "none":
        return None
    device = find_device(settings.device)
    return device.index or 0 if device.type == "cuda" or settings.hwaccel == "cuda" else None


def _check_rate(media: Media, wanted: float | None) -> None:
    """Raise InputError where more frames are wanted than there are: models take whole numbers, so 30 of 29.97 may be.

    A rate that varies is no bound.
    """
    video = media.video
    if wanted is None or video is None or video.fps is None or video.variable or wanted <= math.ceil(video.fps):
        return
    shown = readable_path(media.path)
    message = f"{shown} has {video.fps:.4g} frames per second: --fps {wanted:g} would show each of them several times."
    raise InputError(message, f"Use --fps {math.ceil(video.fps)} or less, or leave out --fps.", code="frame_rate")


def stall_s(settings: Settings) -> float:
    """How long a source may deliver nothing."""
    return min(STALL_S, settings.timeout_s or STALL_S)


def planned(settings: Settings, adapter: Adapter, media: Media) -> Plan:
    """How an adapter would watch the chosen range. Raises UsageError."""
    return adapter.plan(media.within(settings.start_s, settings.end_s), watch_options(settings))


@dataclass(frozen=True)
class Prepared:
    """One input, ready to be watched. ``media``: all of it; ``watched``: the chosen range; ``seconds``: spent here."""

    settings: Settings
    media: Media
    watched: Media
    plan: Plan
    config: WatchConfig
    seconds: float

    @property
    def total_s(self) -> float | None:
        """Seconds of video that will be watched, None for live input."""
        settings, duration_s = self.settings, self.media.duration_s
        ends = [end for end in (settings.end_s, duration_s) if end is not None]
        return max(0.0, min(ends) - (settings.start_s or 0.0)) if ends else None


def prepare(
    path: str,
    settings: Settings,
    adapter: Adapter,
    recent_s: float = 0.0,
    free: int | None = None,
    media: Media | None = None,
) -> Prepared:
    """Probe, plan and size an input, once. ``adapter``: the model, or its outline's with the bytes ``free`` after load.

    ``recent_s``: seconds of the longest window that the task reads whole; ``media``: where it was probed before. Raises
    InputError, UsageError, MissingError and DoesNotFitError.
    """
    began = time.monotonic()
    media = probed(path, settings) if media is None else media
    plan = planned(settings, adapter, media)
    media, config = sized(settings, adapter, plan, media, min(recent_s, plan.window_s), free)
    watched = media.within(settings.start_s, settings.end_s)
    return Prepared(settings, media, watched, plan, config, time.monotonic() - began)


def sized(
    settings: Settings, adapter: Adapter, plan: Plan, media: Media, recent_s: float = 0.0, free: int | None = None
) -> tuple[Media, WatchConfig]:
    """An input and the size of its watch (see `size_memory`), of the chosen range.

    The processor decodes what the GPU should where there is no room on it for a decoder beside the model.
    """
    watched = media.within(settings.start_s, settings.end_s)
    try:
        return media, size_memory(settings, adapter, plan, watched, recent_s, free)
    except DoesNotFitError:
        if not decoder_bytes(media.video):
            raise
    by_processor = without_gpu(media, "beside the model and the memory there is no room for its decoder")
    return sized(settings, adapter, plan, by_processor, recent_s, free)


@dataclass(frozen=True)
class ModelOutline:
    """A model before it is loaded: an adapter without weights, the bytes that they will take, and where."""

    adapter: Adapter
    weights: int
    placement: Placement

    @property
    def free_bytes(self) -> int:
        """Bytes that stay free once the weights are loaded. DoesNotFitError where the weights alone do not fit."""
        return free_after_weights(self.weights, self.adapter.name, self.placement)

    def size_memory(self, settings: Settings, media: Media) -> WatchConfig:
        """What the input would be watched with. Raises UsageError, and DoesNotFitError naming what would fit."""
        return sized(settings, self.adapter, planned(settings, self.adapter, media), media, free=self.free_bytes)[1]


def outline_of_folder(found: LocalModel, settings: Settings) -> ModelOutline:
    """A model on this machine. Raises MissingError for a folder that would not load."""
    checkpoint, placement = read_whole(found.folder), _placement(settings, found.row)
    shape = dummy.build_without_weights(found.row, checkpoint, torch.device("meta"), placement.weights)
    return ModelOutline(shape, weight_bytes(checkpoint, found.row, placement.weights), placement)


def outline_of_row(row: Row, settings: Settings) -> ModelOutline:
    """A model of the catalogue as it would be if its weights were on this machine. Raises MissingError."""
    placement = _placement(settings, row)
    shape = dummy.build_without_weights(row, dummy.published_config(row), torch.device("meta"), placement.weights)
    return ModelOutline(shape, int(row.weights_gb(placement.weights) * GB), placement)


def _placement(settings: Settings, row: Row) -> Placement:
    device = find_device(settings.device)
    return Placement(device, dtype_name(settings.dtype, device, row.cpu_dtype))
