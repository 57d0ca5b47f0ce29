"""A web server on this machine that sends one file, whole or only up to a point, or the files of a folder."""

import base64
import http.server
import threading
from contextlib import suppress


class Server(http.server.ThreadingHTTPServer):
    """Serves one file with ranges; ``stop_at``: sends no byte beyond this position and keeps the line open.

    ``login``: user:password that is asked for. ``query``: what the address must end in. ``others``: data by path.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, data: bytes, stop_at: int | None = None, login: str | None = None, query: str = ""):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.stop_at, self.released = data, stop_at, threading.Event()
        self.login, self.query, self.others = login, query, {}
        self.refused = 0

    @property
    def url(self) -> str:
        login = f"{self.login}@" if self.login else ""
        return f"http://{login}127.0.0.1:{self.server_port}/film.mp4{self.query}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        known = not self.server.login or base64.b64decode(given).decode() == self.server.login
        data = self.server.others.get(self.path, self.server.data if self.path.endswith(self.server.query) else None)
        if not known or data is None:
            self.server.refused += 1
            self.send_response(404 if known else 401)
            self.send_header("WWW-Authenticate", 'Basic realm="films"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        begin = 0
        wanted = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")
        begin = int(wanted[0])
        end = int(wanted[1]) + 1 if wanted[1] else len(data)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
        self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        try:
            stop = self.server.stop_at
            self.wfile.write(data[begin:end] if stop is None else data[begin : min(end, stop)])
            if stop is not None and stop < end:
                self.server.released.wait(30)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def log_message(self, *args):
        pass


class Camera(http.server.ThreadingHTTPServer):
    """Sends ``data`` without saying how much it is, and keeps the line open."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, data: bytes):
        super().__init__(("127.0.0.1", 0), CameraHandler)
        self.data, self.released = data, threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/camera.ts"


class CameraHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(self.server.data)
            self.server.released.wait(120)

    def log_message(self, *args):
        pass
