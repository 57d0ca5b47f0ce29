"""One clock for a live source: seconds of stream time from time stamps that may jump, and the time of day of each.

Knows time stamps and two clocks of this machine; knows no packet. Stream time 0 is the first frame ever seen. It runs
with the clock of the machine, so that what is lost between two connections has its true length.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

BACK_S = 1.0  # a stamp that goes back further is no reordering
LEAP_S = 5.0  # a stamp that gains more on the machine's clock is no burst
AGREE_S = 2.0  # two streams whose clocks differ by less have jumped together
REWOUND_S = 12.0  # a playlist that is opened again begins with segments that were seen


@dataclass(frozen=True)
class Jump:
    """The stamps of a stream jumped by ``by_s`` seconds; what came then has stream time ``at_s``."""

    at_s: float
    by_s: float


@dataclass
class Line:
    """The stamps of one stream: what is added to them, the last one, and when that came."""

    offset_s: float
    stamp_s: float
    came_s: float


@dataclass
class LiveClock:
    """``begun_at``: time of day of stream time 0, seconds since 1970. ``now``: seconds that always run forward.

    ``end_s``: the latest stream time that was given. ``jumps``: those since they were last taken.
    """

    now: Callable[[], float] = time.monotonic
    end_s: float = 0.0
    jumps: list[Jump] = field(default_factory=list)
    _zero: float | None = None  # on ``now``
    _offset_s: float | None = None  # of the last connection
    _lines: dict[str, Line] = field(default_factory=dict)
    _rewinds: bool = False
    _newest: tuple[float, float] | None = None  # the newest stamp of a connection's first data, and when it came

    @property
    def begun(self) -> bool:
        """Whether anything was seen."""
        return self._zero is not None

    def now_s(self) -> float:
        """The stream time that would come now."""
        return 0.0 if self._zero is None else self.now() - self._zero

    def at(self, stream_s: float) -> datetime:
        """The time of day of a stream time, with the zone of this machine."""
        return datetime.fromtimestamp(time.time() - (self.now_s() - stream_s)).astimezone()

    def connected(self, newest_s: float | None = None, rewinds: bool = False) -> None:
        """A connection begins, and has delivered up to the stamp ``newest_s`` (None: it is of the first moment).

        ``rewinds``: it may begin with what was seen, as playlists do.
        """
        self._lines, self._rewinds = {}, rewinds
        self._newest = None if newest_s is None else (newest_s, self.now())

    def place(self, stream: str, stamp_s: float) -> float:
        """The stream time of a stamp of ``stream``; below ``end_s`` where it was seen before."""
        line, now = self._lines.get(stream), self.now()
        if line is None:
            line = Line(self._first_offset(stamp_s), stamp_s, now)
            self._lines[stream] = line
        elif not -BACK_S <= stamp_s - line.stamp_s <= now - line.came_s + LEAP_S:
            self._jumped(stream, line, stamp_s, now)
        line.stamp_s, line.came_s = stamp_s, now
        place_s = stamp_s + line.offset_s
        self._zero = min(self._zero, now - place_s)  # nothing comes before its time: what ran ahead was late before
        self.end_s = max(self.end_s, place_s)
        return place_s

    def state(self) -> dict:
        """Plain numbers to go on from in another process."""
        return {"begun_at": time.time() - self.now_s(), "end_s": self.end_s, "offset_s": self._offset_s}

    def load_state(self, state: dict) -> None:
        """Go on: the time between counts as stream time."""
        self.end_s, self._offset_s = state["end_s"], state["offset_s"]
        self._zero = self.now() - max(time.time() - state["begun_at"], self.end_s)

    def seen_stamp(self) -> float | None:
        """The stamp at ``end_s``, if the source goes on as before."""
        return None if self._offset_s is None else self.end_s - self._offset_s

    def _first_offset(self, stamp_s: float) -> float:
        """Of the first stamp of a connection, or of a stream that joins another."""
        if self._lines:
            return next(iter(self._lines.values())).offset_s
        if self._zero is None:
            self._zero = self.now()
            self._offset_s = -stamp_s
        elif not self._goes_on(stamp_s):
            newest_s, came = self._newest or (stamp_s, self.now())
            self._offset_s = max(came - self._zero - newest_s, self.end_s - stamp_s)
        return self._offset_s

    def _goes_on(self, stamp_s: float) -> bool:
        """Whether the stamps of a connection can be those of the one before."""
        if self._offset_s is None:
            return False
        earliest_s = self.end_s - (REWOUND_S if self._rewinds else BACK_S)
        return earliest_s <= stamp_s + self._offset_s <= self.now_s() + BACK_S

    def _jumped(self, stream: str, line: Line, stamp_s: float, now: float) -> None:
        expected_s = line.stamp_s + line.offset_s + now - line.came_s
        others = [other.offset_s for name, other in self._lines.items() if name != stream]
        together = next((offset_s for offset_s in others if abs(stamp_s + offset_s - expected_s) < AGREE_S), None)
        if together is None:
            by_s, line.offset_s = stamp_s - line.stamp_s, max(self.now_s(), self.end_s) - stamp_s
            self._offset_s = line.offset_s
            self.jumps.append(Jump(stamp_s + line.offset_s, by_s))
        else:
            line.offset_s = together
