"""Whether a watch fits, before a weight is read: a model's shape alone, and the bytes that its weights will take.

Knows rows, folders, what an input holds and `fitting`; reads no weight and decodes nothing. What it says is what
`fitting.fit` would say once the model is there.
"""

from dataclasses import dataclass

import torch

from omnimem_cli.base.settings import Settings
from omnimem_cli.media.probe import STALL_S, probe
from omnimem_cli.media.segment import Media
from omnimem_cli.models import dummy as dummy
from omnimem_cli.models.adapter import Adapter, Plan
from omnimem_cli.models.catalogue import GB, Row
from omnimem_cli.models.device import Placement, dtype_name, find_device
from omnimem_cli.models.folder import read_whole
from omnimem_cli.models.loader import LocalModel, free_after_weights, weight_bytes
from omnimem_cli.session.sizing import WatchConfig, size_memory, watch_options


def probed(path: str, settings: Settings) -> Media:
    """The chosen streams of an input, whole. Raises InputError and MissingError (see `probe`)."""
    return probe(
        path,
        audio_track=settings.audio_track,
        no_audio=settings.no_audio,
        no_video=settings.no_video,
        timeout_s=stall_s(settings),
    )


def stall_s(settings: Settings) -> float:
    """How long a source may deliver nothing."""
    return min(STALL_S, settings.timeout_s or STALL_S)


def planned(settings: Settings, adapter: Adapter, media: Media) -> Plan:
    """How an adapter would watch the range asked for. Raises UsageError."""
    return adapter.plan(media.within(settings.start_s, settings.end_s), watch_options(settings))


@dataclass(frozen=True)
class ModelOutline:
    """A model before it is loaded: an adapter without weights, the bytes that they will take, and where."""

    adapter: Adapter
    weights: int
    placement: Placement

    @property
    def free_bytes(self) -> int:
        """Bytes that are free beside the weights. Raises DoesNotFitError where these alone exceed what is free."""
        return free_after_weights(self.weights, self.adapter.name, self.placement)

    def size_memory(self, settings: Settings, media: Media) -> WatchConfig:
        """What the input would be watched with. Raises UsageError, and DoesNotFitError naming what would fit."""
        plan, watched = planned(settings, self.adapter, media), media.within(settings.start_s, settings.end_s)
        return size_memory(settings, self.adapter, plan, watched, free=self.free_bytes)


def outline_of_folder(found: LocalModel, settings: Settings) -> ModelOutline:
    """A model on this machine. Raises MissingError for a folder that would not load."""
    checkpoint, placement = read_whole(found.folder), _placement(settings)
    shape = dummy.build_without_weights(found.row, checkpoint, torch.device("meta"), placement.weights)
    return ModelOutline(shape, weight_bytes(checkpoint, found.row, placement.weights), placement)


def outline_of_row(row: Row, settings: Settings) -> ModelOutline:
    """A model of the catalogue as it would be if its weights were on this machine. Raises MissingError."""
    placement = _placement(settings)
    shape = dummy.build_without_weights(row, dummy.published_config(row), torch.device("meta"), placement.weights)
    return ModelOutline(shape, int(row.weights_gb(placement.weights) * GB), placement)


def _placement(settings: Settings) -> Placement:
    device = find_device(settings.device)
    return Placement(device, dtype_name(settings.dtype, device))
