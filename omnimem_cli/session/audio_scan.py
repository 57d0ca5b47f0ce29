"""The first pass over the sound of an input, before it is watched. Knows media and a model's stream; knows no task."""

from collections.abc import Iterator

import numpy as np
import torch

from omnimem_cli.media.segment import Media
from omnimem_cli.media.sound import sound_blocks
from omnimem_cli.models.adapter import Adapter, Plan, Stream


def scan_audio(media: Media, stream: Stream, **reading: float | None) -> Iterator[np.ndarray]:
    """Blocks of samples [n] of all the sound, each after the stream learned from it where its model needs that.

    ``reading``: as `sound_blocks` takes it. A live source cannot be read twice: of it there is none.
    """
    if media.audio is None or media.duration_s is None:
        return
    for block in sound_blocks(media, **reading):
        if stream.adapter.needs_audio_scan:
            stream.scan_audio(torch.from_numpy(block))
        yield block


def open_scanned(adapter: Adapter, media: Media, plan: Plan) -> Stream:
    """A new stream of all of an input, which has heard its sound where its model needs that."""
    stream = adapter.open(media, plan)
    if adapter.needs_audio_scan:
        for _ in scan_audio(media, stream, start_s=None, end_s=None):
            pass
    return stream
