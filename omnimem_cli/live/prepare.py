"""What is decided before a live source is watched: its connection, its streams, its plan, and chunks that are short.

Knows connections and `sizing`; watches nothing.
"""

import time
from dataclasses import dataclass, replace

from omnimem_cli.base.settings import Settings
from omnimem_cli.live.options import LiveFlags
from omnimem_cli.media.live_connection import LiveConnection, LiveOptions
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.preflight import Prepared, planned
from omnimem_cli.session.sizing import size_memory

CHUNK_S = 10.0  # a question waits for one chunk at most, and an alert for its window and one chunk


@dataclass
class LiveInput:
    """An opened live source, prepared. ``chosen``: how its streams were chosen, for the next connection."""

    connection: LiveConnection
    options: LiveOptions
    chosen: dict
    prepared: Prepared


def prepare_live(path: str, settings: Settings, flags: LiveFlags, adapter: Adapter, recent_s: float) -> LiveInput:
    """Open a source, and size its watch. ``recent_s``: of the longest window that is read whole. Raises UserError."""
    began = time.monotonic()
    options = LiveOptions(give_up_s=flags.give_up_s, quiet_s=flags.quiet_s)
    chosen = {name: getattr(settings, name) for name in ("audio_track", "video_track", "no_audio", "no_video")}
    connection = LiveConnection(path, options, **chosen)
    connection.turn_upright()
    media = connection.media
    plan = planned(settings, adapter, media)
    if settings.chunk is None:
        settings = replace(settings, chunk=max(1, int(CHUNK_S / plan.format.segment_s)) * plan.tokens_per_segment)
    config = size_memory(settings, adapter, plan, media, recent_s)
    return LiveInput(
        connection, options, chosen, Prepared(settings, media, media, plan, config, time.monotonic() - began)
    )
