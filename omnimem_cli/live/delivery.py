"""Events handed on: to an address by POST, to a command on its standard input.

Knows events, HTTP and processes; knows no watch. Each receiver has a thread and a bounded queue of its own, so that no
receiver, however slow, holds up the watch or another receiver. Events arrive in order; what cannot be delivered is
tried again, later each time, then given up and counted.
"""

import base64
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import quote, unquote, urlsplit

from omnimem_cli import __version__
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.paths import HIDDEN, hide_secrets, hide_words
from omnimem_cli.live.events import Event

PASSING = (408, 425, 429)  # of the 4xx, those that say: later
MOST_TEXT = 30_000  # characters of a variable; Linux takes 128 KiB
COMMAND = "OMNIMEM_EVENT_COMMAND"  # only the shell itself has it: a command may hold a password, and ps shows arguments
PROGRAM = re.compile(r"\s*([\w./+-]+)(?=\s|$)")
RESERVED = "%/:?#[]@!$&'()*+,;=~"  # of an address


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


class Webhook:
    """POST of an event's line to an address. A login in it becomes a header, and redirects are not followed: an
    event is for the named receiver alone. ``name``: for people, without the path, which may be a token."""

    def __init__(self, url: str):
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self._secret = url.replace(f"{parts.scheme}://", " ").replace(host, " ")
        self.name = f"--webhook {parts.scheme}://{host}{f'/{HIDDEN}' if self._secret.strip(' /') else ''}"
        self.url, self._headers = _without_login(quote(url, safe=RESERVED))
        self._headers |= {"Content-Type": "application/json", "User-Agent": f"omnimem/{__version__}"}
        self._opener = urllib.request.build_opener(_NoRedirects)

    def __call__(self, event: Event, limit_s: float) -> None:
        """Post it. ``limit_s`` bounds each wait for the receiver. Raises NotDelivered."""
        request = urllib.request.Request(self.url, event.line, self._headers, method="POST")
        try:
            self._opener.open(request, timeout=limit_s).close()
        except urllib.error.HTTPError as error:
            error.close()
            passing = error.code >= 500 or error.code in PASSING
            said = hide_words(str(error.reason), self._secret)
            raise NotDelivered(f"it answered {error.code} {said}", again=passing) from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise NotDelivered(hide_words(str(reason), self._secret) or type(reason).__name__) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def webhook_url(url: str, flag: str) -> str:
    """An address that events can be posted to. Raises UsageError."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or any(c.isspace() or ord(c) < 32 for c in url):
        raise UsageError(f"What {flag} names is no address.", "Write http://HOST/PATH or https://HOST/PATH.")
    return url


def _without_login(url: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    token = base64.b64encode(unquote(login).encode()).decode()
    return parts._replace(netloc=host).geturl(), {"Authorization": f"Basic {token}"}


class Command:
    """A shell command that gets an event's line on its standard input, and the event in OMNIMEM_EVENT_* variables.

    What it prints goes nowhere: standard output belongs to the watch. It is killed, with all that it started, when its
    time is up. ``name``: for people, its program alone.
    """

    def __init__(self, command: str):
        self.command = command
        program = PROGRAM.match(command)
        self._secret = command[program.end() :] if program else command
        words = ["--exec", *([program[1]] if program else []), *([HIDDEN] if self._secret.strip() else [])]
        self.name = " ".join(words)

    def __call__(self, event: Event, limit_s: float) -> None:
        """Run it once. Raises NotDelivered where it fails, or takes longer."""
        with tempfile.TemporaryFile() as errors:
            process = self._started(event, errors)
            try:
                process.communicate(event.line, timeout=limit_s)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                raise NotDelivered(f"it took longer than {limit_s:g} s") from None
            if process.returncode:
                said = hide_words(_last_line(errors), self._secret)
                raise NotDelivered(f"it ended with {process.returncode}{said}")

    def _started(self, event: Event, errors: object) -> subprocess.Popen:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": errors}
        try:
            return subprocess.Popen(
                ["/bin/sh", "-c", f'eval "unset {COMMAND}; ${COMMAND}"'],
                **pipes,
                env=os.environ | variables(event) | {COMMAND: self.command},
                start_new_session=True,
            )
        except OSError as error:
            raise NotDelivered(f"it did not start: {error.strerror}") from None


def variables(event: Event) -> dict[str, str]:
    """``OMNIMEM_EVENT_TITLE`` and the like, of every field that is a word, a text or a number."""
    plain = {name: value for name, value in event.as_dict().items() if isinstance(value, str | int | float)}
    clean = {name: str(value).replace("\0", "")[:MOST_TEXT] for name, value in plain.items()}
    return {f"OMNIMEM_EVENT_{name.upper()}": _encodable(value) for name, value in clean.items()}


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _last_line(errors) -> str:
    """What the command said last, for a message."""
    errors.seek(max(errors.seek(0, os.SEEK_END) - 500, 0))
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""
