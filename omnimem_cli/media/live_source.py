"""A source without an end, connected again and again: its segments, and notices of what it did not deliver.

Knows connections, the live clock, the cutter and a bounded queue; knows no model. One thread reads and decodes.

What comes faster than it plays waits at the door of the queue, and so does all of a local file. Else the queue never
holds more than `QUEUE_S` seconds: when a third, a half and two thirds of it are full, every second, every fourth and
one pair of frames per segment stay; what finds it full is dropped, picture and sound, and counted.
"""

import queue as queues
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import chain
from types import TracebackType

import av
import numpy as np

from omnimem_cli.base.errors import InputError, UserError, explain
from omnimem_cli.base.paths import readable_path
from omnimem_cli.media.decode import AHEAD_BYTES, POLL_S
from omnimem_cli.media.ffmpeg import is_local
from omnimem_cli.media.live_clock import LiveClock
from omnimem_cli.media.live_connection import LiveConnection, LiveOptions, is_fifo
from omnimem_cli.media.live_cutter import Cut, LiveCutter
from omnimem_cli.media.live_faults import Faults
from omnimem_cli.media.live_notices import Notice, Notices
from omnimem_cli.media.segment import NOTHING, PAIR, SAMPLE_RATE, WHOLE, Format, Media, Segment

QUEUE_S = 60.0
THINNED = ((2 / 3, 0), (1 / 2, 4), (1 / 3, 2))
"""How full the queue is, and of how many pairs of frames one stays then (0: one per segment)."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # between two tries to connect
HOLE_S = 2.0  # of nothing, over an open connection: a gap
KEY_FRAMES_S = 15.0  # between two of them, at most
BURST = 2000  # packets, the most that are read before the first is decoded
LIVE_WAIT_S = 0.02  # a packet that took longer to come is of this moment


class LiveSource:
    """Iterates over segments until the source ends for good. A context manager; leaving it ends the thread.

    ``first``: a connection that is open already; ``chosen``: how its streams were chosen. ``notices``: what there is
    to tell, oldest first. ``picture_s`` and ``sound_s``: seconds that were handed on; ``thinned_s``: of the picture,
    seconds whose frames were left out; ``dropped_s``: of whole segments.
    """

    def __init__(
        self,
        path: str,
        form: Format,
        first: LiveConnection,
        clock: LiveClock,
        options: LiveOptions,
        **chosen: object,
    ):
        self.path, self.form, self.clock, self.options = path, form, clock, options
        self.media: Media = first.media
        self.decode_s = 0.0
        self.warnings: list[dict] = []
        self.broken: InputError | None = None
        self._notices = Notices(clock)
        self.notices = self._notices.waiting
        self.picture_s = self.sound_s = self.thinned_s = self.dropped_s = 0.0
        self.waits = is_local(path) if options.waits is None else options.waits
        self._connection: LiveConnection | None = first
        self._chosen = chosen
        self._size = max(3, int(min(QUEUE_S / form.segment_s, AHEAD_BYTES / form.segment_bytes)))
        self._queue: queues.Queue[Cut | None] = queues.Queue()  # `_hand_on` bounds it
        self._has = {"picture": self.media.video is not None, "sound": self.media.audio is not None}
        self._cutter = LiveCutter(form, **self._has)
        self._faults = Faults(options.quiet_s)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._resampler: tuple[tuple, av.AudioResampler] | None = None
        self._gone: tuple[float, datetime] | None = None  # stream time and time of day at which it went
        self._size_seen: tuple[int, int] | None = None
        self._turned: int | None = None  # degrees clockwise, of the connection's pictures
        self._lead: tuple[float, float] | None = None  # stream time and clock at which the connection began

    def __enter__(self) -> "LiveSource":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def waiting_s(self) -> float:
        """Seconds of video that wait for the model."""
        return self._queue.qsize() * self.form.segment_s

    @property
    def gone(self) -> bool:
        """Whether there is no connection."""
        return self._gone is not None

    def until(self, over: Callable[[], bool], idle: Callable[[], object]) -> Iterator[Segment]:
        """Segments until ``over()`` or the source's end; ``idle`` is called while nothing comes. See ``broken``."""
        self._thread.start()
        begun = time.monotonic()
        while not over():
            try:
                cut = self._queue.get(timeout=POLL_S)
            except queues.Empty:
                idle()
                continue
            if cut is None:
                return
            self.decode_s += time.monotonic() - begun
            self.picture_s += cut.picture_s
            self.sound_s += cut.sound_s
            yield cut.segment
            begun = time.monotonic()

    def close(self) -> None:
        """End reading. A connection that delivers nothing is left to its own time limit."""
        self._stopped.set()
        if self._thread.ident:
            self._thread.join(timeout=2.0)

    def state(self) -> dict:
        """Plain numbers to go on from in another process."""
        counts = {name: getattr(self, name) for name in ("picture_s", "sound_s", "thinned_s", "dropped_s")}
        return {"clock": self.clock.state(), "counts": counts}

    def load_state(self, state: dict) -> None:
        """Go on, before the first segment: what came in between is a gap."""
        self.clock.load_state(state["clock"])
        for name, value in state["counts"].items():
            setattr(self, name, value)
        end_s = self.clock.end_s
        self._cutter = LiveCutter(self.form, **self._has, begin_s=end_s)
        self._gone = (end_s, self.clock.at(end_s))

    def _run(self) -> None:
        try:
            self._read_all()
        except Exception as error:  # raised in the consumer's thread
            message = f"{readable_path(self.path)} cannot be watched on: {explain(error)[0]}"
            self.broken = InputError(message, "Start it again.", code="unopened")
        finally:
            self._queue.put(None)

    def _read_all(self) -> None:
        """Connect, read, and again, until the source has ended."""
        wait_s, gone_at = FIRST_WAIT_S, self.clock.now()
        while not self._stopped.is_set():
            before_s, reason, ends = self._cutter.newest_s, "", False
            try:
                connection = self._connected()
                ends = connection.ends or (is_local(self.path))
                self._read(connection)
            except (UserError, av.error.FFmpegError, OSError) as error:
                reason = explain(error)[0] if isinstance(error, UserError) else str(error.strerror or error)
                ends = ends and is_local(self.path)
            finally:
                self._disconnect()
            if self._cutter.newest_s > before_s:
                wait_s, gone_at = FIRST_WAIT_S, self.clock.now()
            if self._stopped.is_set() or ends:
                break
            self._note_gone(reason)
            if self.clock.now() - gone_at > self.options.give_up_s:
                message = f"{readable_path(self.path)} did not come back for {self.options.give_up_s:g} s."
                self.broken = InputError(message, reason or "Check the source.", code="stalled")
                break
            self._stopped.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        for cut in self._cutter.rest():
            self._hand_on(cut)
        self._notices.end_troubles()

    def _connected(self) -> LiveConnection:
        if self._connection is None:
            self._connection = LiveConnection(self.path, self.options, **self._chosen)
        self._lead = self._turned = None
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self, connection: LiveConnection) -> None:
        """Decode until the connection ends."""
        packets, seen_s = connection.packets(), self._seen_s()
        for packet in chain(self._burst(packets, connection.rewinds), packets):
            if self._stopped.is_set():
                return
            if None not in (seen_s, packet.pts) and float(packet.pts * packet.time_base) < seen_s:
                continue
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:  # damage on the way; the next key frame helps
                continue
            for frame in frames:
                self._take(frame)

    def _seen_s(self) -> float | None:
        """The stamp where a file that is read again goes on; key frames before it are still decoded."""
        stamp_s = self.clock.seen_stamp()
        again = is_local(self.path) and not is_fifo(self.path) and stamp_s is not None
        return stamp_s - KEY_FRAMES_S if again else None

    def _burst(self, packets: Iterator[av.Packet], rewinds: bool) -> list[av.Packet]:
        """What had come before it was read: the newest of it is what comes now, however long opening took."""
        burst: list[av.Packet] = []
        while not is_local(self.path) and len(burst) < BURST:
            began = time.monotonic()
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError, OSError):  # the end: what came before it counts
                break
            burst.append(packet)
            if time.monotonic() - began > LIVE_WAIT_S:
                break
        stamps = [float(each.pts * each.time_base) for each in burst if each.pts is not None]
        self.clock.connected(max(stamps, default=None), rewinds)
        return burst

    def _take(self, frame: av.VideoFrame | av.AudioFrame) -> None:
        if frame.time is None:
            return
        kind = "picture" if isinstance(frame, av.VideoFrame) else "sound"
        before_s = self._cutter.newest_s
        time_s = self.clock.place(kind, frame.time)
        self._note_arrival(before_s, time_s)
        if kind == "picture":
            self._note_size(time_s, frame)
            cuts = self._cutter.picture(time_s, frame, self._clockwise(frame))
        else:
            cuts = []
            for samples in self._samples(frame):
                cuts += self._cutter.sound(time_s, samples)
                time_s += len(samples) / SAMPLE_RATE
        for cut in cuts:
            self._hand_on(cut)

    def _clockwise(self, frame: av.VideoFrame) -> int:
        """How far the pictures of a connection are turned: as in a file, the first one says it for all."""
        if self._turned is None:
            self._turned = -frame.rotation % 360
        return self._turned

    def _samples(self, frame: av.AudioFrame) -> list[np.ndarray]:
        """16 kHz mono; a change of rate, layout or format makes a new resampler."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or self._resampler[0] != form:
            self._resampler = (form, av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE))
        frame.pts = None  # the clock has placed it
        return [np.ascontiguousarray(each.to_ndarray().reshape(-1)) for each in self._resampler[1].resample(frame)]

    def _hand_on(self, cut: Cut) -> None:
        """Into the queue, whole, thinned or not at all."""
        for kind, text, start_s in self._faults.of(cut):
            self._notices.trouble(kind, text, start_s, cut.segment.start_s + self.form.segment_s)
        while not self._stopped.is_set() and self._keep() != 1 and (self.waits or self._leads(cut)):
            self._stopped.wait(POLL_S / 4)
        keep, start_s = self._keep(), cut.segment.start_s
        end_s = start_s + self.form.segment_s
        if keep is None:
            self.dropped_s += self.form.segment_s
            text = "The model is slower than the stream, and its queue is full: segments are dropped."
            self._notices.trouble("dropped", text, start_s, end_s, self.form.segment_s)
        else:
            thinned, left_out_s = _thinned(cut, keep)
            if left_out_s:
                self.thinned_s += left_out_s
                text = "The model is slower than the stream: frames are left out."
                self._notices.trouble("thinned", text, start_s, end_s, left_out_s)
            self._queue.put(thinned)
        self._notices.settle(end_s)

    def _keep(self) -> int | None:
        """Of how many pairs of frames one stays; 0: one per segment; None: the queue is full."""
        full = self._queue.qsize() / self._size
        if full >= 1:
            return None
        return next((keep for share, keep in THINNED if full >= share), 1)

    def _leads(self, cut: Cut) -> bool:
        """Whether the connection has delivered more than has passed since it began."""
        if self._lead is None:
            return False
        begun_s, begun = self._lead
        return cut.segment.start_s + self.form.segment_s - begun_s > self.clock.now() - begun

    def _note_arrival(self, before_s: float, time_s: float) -> None:
        """Tell of the gap that ends now, and of jumps of the source's clock."""
        if self._lead is None:
            self._lead = (time_s, self.clock.now())
        if self._gone is not None:
            (start_s, start), self._gone = self._gone, None
            end_s = max(time_s, start_s)
            text = "Nothing came in between."
            end = max(start, self.clock.at(end_s))
            self._notices.tell(Notice("gap", text, start_s, end_s, start, end, lost_s=end_s - start_s))
        elif time_s - before_s > HOLE_S and self.clock.end_s > HOLE_S:
            text, at = "Nothing came for a while over a connection that stayed open.", self.clock.at
            self._notices.tell(
                Notice("gap", text, before_s, time_s, at(before_s), at(time_s), lost_s=time_s - before_s)
            )
        for jump in self.clock.jumps:
            text = f"The source's clock jumped by {jump.by_s:+.1f} s; stream time goes on without it."
            at = self.clock.at(jump.at_s)
            self._notices.tell(Notice("clock", text, jump.at_s, jump.at_s, at, at))
        self.clock.jumps.clear()

    def _note_gone(self, reason: str) -> None:
        if self._gone is not None or not self.clock.begun:
            return
        at = datetime.now().astimezone()
        self._gone = (self._cutter.newest_s, at)
        text = f"The source is gone{f' ({reason})' if reason else ''}; it is tried again."
        self._notices.tell(Notice("gap", text, self._cutter.newest_s, self._cutter.newest_s, at, at, open=True))

    def _note_size(self, time_s: float, frame: av.VideoFrame) -> None:
        size = (frame.width, frame.height)
        if self._size_seen not in (None, size):
            text, at = f"The picture is {size[0]}x{size[1]} now.", self.clock.at(time_s)
            self._notices.tell(Notice("changed", text, time_s, time_s, at, at))
        self._size_seen = size


def _thinned(cut: Cut, keep: int) -> tuple[Cut, float]:
    """The segment with one pair of ``keep`` (0: one in all), and the seconds that were left out."""
    segment, pairs = cut.segment, -(-len(cut.segment.frame_times) // PAIR)
    step = keep or max(pairs, 1)
    if step == 1 or pairs < 2:
        return cut, 0.0
    fed = np.full(pairs, NOTHING)
    fed[::step] = WHOLE
    stays = np.repeat(fed == WHOLE, PAIR)[: len(segment.frames)]
    length_s = (segment.frame_times[-1] - segment.frame_times[0]) / max(len(stays) - 1, 1)
    left_out_s = min(float((~stays).sum() * length_s), cut.picture_s)
    thinned = replace(segment, frames=segment.frames[stays], fed=fed)
    return replace(cut, segment=thinned, picture_s=cut.picture_s - left_out_s), left_out_s
