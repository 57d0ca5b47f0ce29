"""Events handed on to one receiver, one after the other, by a thread and from a bounded queue of its own.

Knows events and queues; knows no watch, no address and no command. No receiver, however slow, holds up the watch or
another receiver. Events arrive in order; what cannot be delivered is tried again, later each time, then given up and
counted.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from omnimem_cli.base.paths import hide_secrets
from omnimem_cli.live.events import Event


@dataclass(frozen=True)
class Patience:
    """``try_s``: seconds of one try; ``tries``: of one event; ``wait_s``: after the first try, twice as long after each
    other; ``waiting``: the most events that wait, of which the oldest goes when one more comes."""

    try_s: float = 10.0
    tries: int = 6
    wait_s: float = 1.0
    waiting: int = 256


class NotDelivered(Exception):
    """One try failed; ``again``: another one may succeed."""

    def __init__(self, message: str, again: bool = True):
        super().__init__(hide_secrets(message))
        self.again = again


LOSSES = "delivery"
"""Tag of the status that tells of events which a receiver did not get. It gets none of its own."""
Send = Callable[[Event, float], None]
"""Deliver an event within so many seconds, or raise NotDelivered."""


class Delivery:
    """All events to one receiver. ``name``: it, for people.

    ``delivered``, ``dropped`` (the queue was full, or the end came) and ``given_up`` (every try failed) count events.
    """

    def __init__(self, name: str, send: Send, patience: Patience = Patience()):
        self.name, self.patience = hide_secrets(name), patience
        self.delivered = self.dropped = self.given_up = 0
        self.error = ""  # of the last try that failed
        self._send, self._told = send, (0, 0)
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Take an event, at once. A subscriber of an `EventLog`."""
        if event.tag == LOSSES and self.name in event.text:
            return
        with self._changed:
            if len(self._waiting) >= self.patience.waiting:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(event)
            self._changed.notify()

    @property
    def waits(self) -> bool:
        """Whether events wait, more than one."""
        return len(self._waiting) > 1

    def news(self) -> str:
        """A sentence on what was lost since this was last asked; empty where nothing was."""
        before, self._told = self._told, (self.dropped, self.given_up)
        dropped, given_up = (now - then for now, then in zip(self._told, before, strict=True))
        if not dropped and not given_up:
            return ""
        why = f" ({self.error})" if self.error else ""
        return f"{self.name} did not get {dropped + given_up} events: {given_up} given up, {dropped} dropped{why}."

    def close(self, limit_s: float = 10.0) -> None:
        """Deliver what waits, for at most so long; what is left then is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(limit_s)
        with self._changed:
            self.dropped += len(self._waiting) + self._thread.is_alive()  # and the event in hand
            self._waiting.clear()

    def _run(self) -> None:
        while (event := self._next()) is not None:
            if self._deliver(event):
                self.delivered += 1
            else:
                self.given_up += 1

    def _next(self) -> Event | None:
        """The next event, once there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return self._waiting.popleft() if self._waiting else None

    def _deliver(self, event: Event) -> bool:
        for number in range(self.patience.tries):
            if number:
                time.sleep(self.patience.wait_s * 2 ** (number - 1))
            try:
                self._send(event, self.patience.try_s)
                return True
            except NotDelivered as error:
                self.error = str(error)
                if not error.again:
                    break
        return False
