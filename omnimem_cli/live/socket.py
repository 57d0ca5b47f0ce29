"""Questions to a running watch, over a socket of the file system that its owner alone may use.

Knows sockets, lines of JSON and a bounded queue; knows no session. One connection is one request: a line
``{"questions": [{"id", "question", "schema"}], "last_s", "summary"}``, answered by a line: what the watch replies, or
``{"error": {"code", "message", "hint"}}``. Threads take requests in; the watch takes them out between its chunks.
"""

import json
import math
import os
import queue
import select
import socket
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from omnimem_cli.base.errors import InputError, OutputError, UserError
from omnimem_cli.base.paths import readable_path

MOST_WAITING = 16
"""Requests that wait for the watch; one more is told that it is busy."""
MOST_BYTES = 2**20  # of a request
MOST_QUESTIONS = 64
SENDING_S = 10.0  # what a client gets to send its line, and to take the answer
LIMIT_S = 300.0  # an answer waits for a chunk, and for those that are being written
LOOK_S = 0.25  # how often a waiting request looks whether its client is still there


@dataclass(eq=False)
class Request:
    """One request: ``questions`` as {id, question, schema}; ``last_s``: only the last so many seconds (None: all);
    ``summary``: whether a summary of all so far is wanted too."""

    questions: list[dict]
    last_s: float | None = None
    summary: bool = False
    given_up: bool = False  # the client is gone
    _answered: threading.Event = field(default_factory=threading.Event)
    _reply: dict = field(default_factory=dict)

    def reply(self, reply: dict) -> None:
        """Answer; the first answer counts."""
        if not self._answered.is_set():
            self._reply = reply
            self._answered.set()

    def fail(self, error: UserError) -> None:
        """Answer with an error."""
        self.reply(_told(error))

    def wait(self, is_gone: Callable[[], bool]) -> dict | None:
        """The reply, once it is there; None where the client goes away before."""
        while not self._answered.wait(LOOK_S):
            if is_gone():
                self.given_up = True
                return None
        return self._reply


class QuestionSocket:
    """The listening end. Raises OutputError where there is no room for a socket at ``path``, or a watch has it."""

    def __init__(self, path: Path, waiting: int = MOST_WAITING):
        self.path = path
        self._requests: queue.Queue[Request] = queue.Queue(waiting)
        self._slots = threading.BoundedSemaphore(waiting + 8)  # connections at once
        self._closed = threading.Event()
        self._listening = _listen(path)
        self._made = path.stat().st_ino
        threading.Thread(target=self._accept, name="questions", daemon=True).start()

    def next_request(self) -> Request | None:
        """The request that has waited longest and still wants an answer; None where there is none. Never waits."""
        with suppress(queue.Empty):
            while True:
                request = self._requests.get_nowait()
                if not request.given_up:
                    return request
        return None

    def close(self) -> None:
        """Take no more; who waits is told that the watch has ended."""
        self._closed.set()
        with suppress(OSError):
            if self.path.stat().st_ino == self._made:
                self.path.unlink()
        self._listening.close()
        while (request := self.next_request()) is not None:
            request.fail(ended())

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                if not select.select([self._listening], [], [], 1.0)[0]:
                    continue
                connection, _ = self._listening.accept()
            except (OSError, ValueError):  # closed, or out of descriptors
                time.sleep(0.05)
                continue
            if self._slots.acquire(blocking=False):
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()
            else:
                _send(connection, _told(_busy()))

    def _serve(self, connection: socket.socket) -> None:
        try:
            reply = self._replied(connection)
            if reply is not None:
                _send(connection, reply)
        finally:
            connection.close()
            self._slots.release()

    def _replied(self, connection: socket.socket) -> dict | None:
        try:
            request = _request(_line(connection, time.monotonic() + SENDING_S, MOST_BYTES))
            self._requests.put_nowait(request)
        except queue.Full:
            return _told(_busy())
        except UserError as error:
            return _told(error)
        except OSError:
            return None
        if self._closed.is_set():
            return _told(ended())
        connection.setblocking(False)
        return request.wait(lambda: _is_gone(connection))


def ask_live(
    path: Path, questions: list[dict], last_s: float | None = None, summary: bool = False, limit_s: float = LIMIT_S
) -> dict:
    """The reply of the watch at ``path``. Raises InputError: no watch is there, it is busy, or takes too long."""
    deadline = time.monotonic() + limit_s
    shown = readable_path(str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(limit_s)
            connection.connect(str(path))
            connection.sendall(_as_line({"questions": questions, "last_s": last_s, "summary": summary}))
            reply = json.loads(_line(connection, deadline))
        except TimeoutError:
            hint = "Give it more time with --timeout."
            raise InputError(f"The watch at {shown} did not answer in {limit_s:g} s.", hint, code="timeout") from None
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it broke off"
            hint = "Start one with: omnimem watch SOURCE --ask-socket PATH"
            raise InputError(f"There is no live watch at {shown}: {why}.", hint, code="live_away") from None
    if error := reply.get("error"):
        raise InputError(error["message"], error["hint"], code=error["code"])
    return reply


def _listen(path: Path) -> socket.socket:
    shown = readable_path(str(path))
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # whoever may use the socket may ask what was seen and heard
    try:
        _clear(path, shown)
        listening.bind(str(path))
        listening.listen(MOST_WAITING)
    except OSError as error:
        listening.close()
        message = f"{shown} cannot be a socket: {error.strerror or error}."
        raise OutputError(message, "Name a short path in a folder that can be written with --ask-socket.") from None
    except BaseException:
        listening.close()
        raise
    finally:
        os.umask(before)
    return listening


def _clear(path: Path, shown: str) -> None:
    """Remove a socket that nobody listens to any more. Raises OutputError for anything else."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OutputError(f"{shown} is no socket, and stays.", "Name another path with --ask-socket.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except TimeoutError:  # it is listened to, by somebody who is busy
            pass
    raise OutputError(f"Another watch listens at {shown}.", "Name another path with --ask-socket.")


def _line(connection: socket.socket, deadline: float, most_bytes: float = math.inf) -> bytes:
    """What comes up to the end of a line, or a little more than ``most_bytes``. Raises OSError where it does not come
    in time."""
    data = bytearray()
    while not data.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(2**16)
        if not part:
            raise ConnectionAbortedError
        data += part
        if len(data) > most_bytes:
            break
    return bytes(data)


def _request(line: bytes) -> Request:
    """Raises InputError (code ``live_request``) for what is no request."""
    try:
        said = json.loads(line) if len(line) <= MOST_BYTES else None
        questions, last_s, summary = said["questions"], said.get("last_s"), said.get("summary", False)
        asked = [{"id": q["id"], "question": q["question"], "schema": q.get("schema")} for q in questions]
        fits = (len(asked) > 0 or summary is True) and isinstance(summary, bool)
        fits = fits and len(asked) <= MOST_QUESTIONS and len({q["id"] for q in asked}) == len(asked)
        fits = fits and all(_is_text(q["id"]) and _is_text(q["question"]) for q in asked)
        fits = fits and all(isinstance(q["schema"], dict | type(None)) for q in asked)
        fits = fits and (last_s is None or (isinstance(last_s, int | float) and 0 < last_s < 1e9))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        fits = False
    if not fits:
        hint = f"A line of JSON: 1 to {MOST_QUESTIONS} questions, each with id and question."
        raise InputError("This is no request to a live watch.", hint, code="live_request")
    return Request(asked, last_s, summary)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def ended() -> InputError:
    """What those are told who ask too late."""
    return InputError("The watch has ended.", "Ask its memory file.", code="live_away")


def _busy() -> InputError:
    return InputError("The watch has too many questions waiting.", "Ask again in a while.", code="live_busy")


def _told(error: UserError) -> dict:
    return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}


def _as_line(value: dict) -> bytes:
    return f"{json.dumps(value, ensure_ascii=False)}\n".encode("utf-8", "backslashreplace")


def _send(connection: socket.socket, reply: dict) -> None:
    with suppress(OSError), connection:
        connection.settimeout(SENDING_S)
        connection.sendall(_as_line(reply))


def _is_gone(connection: socket.socket) -> bool:
    """Whether the client has closed the connection, which does not block."""
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
