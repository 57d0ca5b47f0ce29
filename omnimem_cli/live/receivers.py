"""Who may get the events of a watch: an address, by POST; a command, on its standard input.

Knows HTTP and processes; knows no watch and no queue.
"""

import base64
import os
import re
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from urllib.parse import quote, unquote, urlsplit

from omnimem_cli import __version__
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.paths import HIDDEN, hide_words
from omnimem_cli.live.delivery import NotDelivered
from omnimem_cli.live.events import Event
from omnimem_cli.media.loopback import NoRedirects

PASSING = (408, 425, 429)  # of the 4xx, those that say: later
MOST_TEXT = 30_000  # characters of a variable; Linux takes 128 KiB
COMMAND = "OMNIMEM_EVENT_COMMAND"  # only the shell itself has it: a command may hold a password, and ps shows arguments
PROGRAM = re.compile(r"\s*([\w./+-]+)(?=\s|$)")
RESERVED = "%/:?#[]@!$&'()*+,;=~"  # of an address


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
        self._opener = urllib.request.build_opener(NoRedirects)

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
