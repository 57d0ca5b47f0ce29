"""What a watcher of a live source should know, and troubles that last: begun, still there, over.

Knows the live clock; looks at no picture and no sound.
"""

from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime

from omnimem_cli.media.live_clock import LiveClock

SETTLED_S = 10.0  # a trouble is over when it has not shown for so long
MOST = 1000  # that wait to be told


@dataclass(frozen=True)
class Notice:
    """Something that a watcher should know: ``kind``, from and until when (stream time, and the time of day).

    ``open``: it goes on. ``lost_s``: seconds of picture and sound, or of one of them, that will never come.
    Kinds: gap, clock, changed, frozen, silent, thinned, dropped.
    """

    kind: str
    text: str
    start_s: float
    end_s: float
    start: datetime
    end: datetime
    open: bool = False
    lost_s: float = 0.0


class Notices:
    """What there is to tell of one source, oldest first in ``waiting``."""

    def __init__(self, clock: LiveClock):
        self.clock = clock
        self.waiting: deque[Notice] = deque(maxlen=MOST)
        self._troubles: dict[str, Notice] = {}  # that go on, by kind

    def tell(self, notice: Notice) -> None:
        """One more."""
        self.waiting.append(notice)

    def trouble(self, kind: str, text: str, start_s: float, end_s: float, lost_s: float = 0.0) -> None:
        """A trouble shows, for the first time or still."""
        known = self._troubles.get(kind)
        at = self.clock.at
        if known is None:
            self._troubles[kind] = Notice(kind, text, start_s, end_s, at(start_s), at(end_s), True, lost_s)
            self.tell(self._troubles[kind])
        else:
            self._troubles[kind] = replace(known, end_s=end_s, end=at(end_s), lost_s=known.lost_s + lost_s)

    def settle(self, now_s: float) -> None:
        """Troubles that have not shown for a while are over."""
        for kind, known in list(self._troubles.items()):
            if now_s - known.end_s > (SETTLED_S if kind in ("thinned", "dropped") else 0.0):
                self.tell(replace(self._troubles.pop(kind), open=False))

    def end_troubles(self) -> None:
        """All are over."""
        for kind in list(self._troubles):
            self.tell(replace(self._troubles.pop(kind), open=False))
