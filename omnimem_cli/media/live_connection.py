"""One connection to a live source: a container that is open, with the streams that are read of it.

Knows PyAV and how sources of several kinds are opened; keeps no frame. PyAV opens the source in this process, so that
no address appears on a command line.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import av

from omnimem_cli.base.choices import GIVE_UP_S, QUIET_S
from omnimem_cli.media.container import open_container
from omnimem_cli.media.ffmpeg import is_local
from omnimem_cli.media.header import FIRST_PACKETS, header_of
from omnimem_cli.media.probe import chosen_streams, upright

STALL_S = 10.0  # a connection that delivers nothing for so long is given up
OPEN_S = 30.0  # opening looks at the first seconds of the streams
GROWS_S = 60.0  # a file that does not grow for so long has ended
LEAST_PROBE, MOST_PROBE = 1 << 13, 5_000_000  # bytes


@dataclass(frozen=True)
class LiveOptions:
    """``give_up_s``: how long a source may be gone; ``stall_s``: how long a connection may
    deliver nothing; ``quiet_s``: how long a picture may stand still, or sound be silent, before that is told.
    ``waits``: nothing is dropped (None: for local files)."""

    give_up_s: float = GIVE_UP_S
    stall_s: float = STALL_S
    quiet_s: float = QUIET_S
    waits: bool | None = None


class LiveConnection:
    """An opened source. ``media``: its chosen streams, without durations. Raises UserError where it does not open."""

    def __init__(self, path: str, options: LiveOptions, **chosen: object):
        self._stack = ExitStack()
        stall_s = min(options.give_up_s, GROWS_S) if is_local(path) else options.stall_s
        with self._stack as stack:
            self.container, log = stack.enter_context(
                open_container(path, stall_s, open_s=OPEN_S, **_demuxer_options(path))
            )
            header = header_of(path, self.container, log, {})
            media = chosen_streams(path, replace(header, duration_s=None), live=True, **chosen)
            self.ends = header.duration_s is not None and not is_local(path)  # it says itself how long it is
            self.rewinds = header.container == "hls"
            self.media = replace(media, opening={})
            self._seen: list[av.Packet] = []  # before they are read
            self._packets = self.container.demux(self._streams())
            self._stack = stack.pop_all()

    def turn_upright(self) -> None:
        """Give ``media`` the size that the picture is shown in: its first frame says how the camera was held."""
        picture = self.media.video
        if picture is None:
            return
        context = self.container.streams[picture.index].codec_context
        try:
            for packet in islice(self._packets, FIRST_PACKETS):
                self._seen.append(packet)
                frames = packet.decode() if packet.stream_index == picture.index else []
                if frames:
                    self.media = replace(self.media, video=upright(picture, -frames[0].rotation % 360))
                    break
        except (av.error.FFmpegError, OSError):  # whoever reads on meets it again
            pass
        context.flush_buffers()  # what was decoded is decoded once more

    def packets(self) -> Iterator[av.Packet]:
        """Those of the chosen streams, from the first on. Raises what PyAV raises."""
        seen, self._seen = self._seen, []
        return chain(seen, self._packets)

    def _streams(self) -> list[av.stream.Stream]:
        chosen = [self.container.streams[s.index] for s in (self.media.video, self.media.audio) if s is not None]
        for stream in chosen:
            stream.thread_type = "SLICE"  # frame threads hold frames back
        return chosen

    def close(self) -> None:
        """Harmless when called again."""
        self._stack.close()


def _demuxer_options(path: str) -> dict[str, object]:
    """A file is read on while it grows; rtsp by TCP, where nothing is lost on the way.

    Opening a file must look neither for its end nor beyond what it holds now: it would wait there.
    """
    if is_local(path) and not is_fifo(path):
        held = int(0.8 * Path(path).stat().st_size)
        return {"follow": 1, "seekable": 0, "probesize": min(max(LEAST_PROBE, held), MOST_PROBE)}
    return {"rtsp_transport": "tcp"} if path.startswith("rtsp") else {}


def is_fifo(path: str) -> bool:
    """Whether it is a named pipe."""
    return Path(path).is_fifo()
