"""A station on this machine that sends a stream over HTTP as scripted: what each connection gets, and when it is cut.

``python station.py`` is never run: tests start it in a thread.
"""

import base64
import http.server
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass


@dataclass
class Sent:
    """What one connection gets: ``data``, at ``rate`` bytes a second (None: at once), then the line is cut, or, with
    ``holds``, kept open in silence."""

    data: bytes
    rate: float | None = None
    holds: bool = False


class Station(http.server.ThreadingHTTPServer):
    """The n-th connection gets ``script[n]``; those beyond get 503. ``login``: user:password that is asked for."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, script: Sequence[Sent], login: str | None = None, port: int = 0):
        super().__init__(("127.0.0.1", port), StationHandler)
        self.script, self.login = list(script), login
        self.count, self.lock, self.closing = 0, threading.Lock(), threading.Event()
        self.times: list[tuple[float, float]] = []  # of day: when each connection began and ended

    @property
    def url(self) -> str:
        login = f"{self.login}@" if self.login else ""
        return f"http://{login}127.0.0.1:{self.server_port}/camera.ts"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self.shutdown()
        self.server_close()

    def next(self) -> Sent | None:
        with self.lock:
            self.count += 1
            return self.script[self.count - 1] if self.count <= len(self.script) else None


class StationHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.server.login
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        if wanted and base64.b64decode(given).decode() != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="station"')
            self.end_headers()
            return
        sent = self.server.next()
        self.send_response(200 if sent else 503)
        self.end_headers()
        if sent:
            began = time.time()
            with suppress(BrokenPipeError, ConnectionResetError):
                self._send(sent)
            self.server.times.append((began, time.time()))

    def do_POST(self):
        self.send_error(404)

    def _send(self, sent: Sent) -> None:
        step = len(sent.data) if sent.rate is None else max(188, int(sent.rate / 10))
        for at in range(0, len(sent.data), step):
            self.wfile.write(sent.data[at : at + step])
            if sent.rate is not None and self.server.closing.wait(step / sent.rate):
                return
        if sent.holds:
            self.server.closing.wait(120)

    def log_message(self, *args):
        pass
