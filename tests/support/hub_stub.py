"""A local stand-in for the hub's HTTP interface: one repository, whose files can break off midway."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40


class HubStub(ThreadingHTTPServer):
    """Serves ``files`` as ``repo``. ``breaks``: bytes of a file after which every answer breaks off.

    ``asked``: (method, path, range) of every request, in order.
    """

    def __init__(self, repo: str, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repo, self.files = repo, files
        self.breaks: dict[str, int] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: HubStub

    def do_HEAD(self):
        self._serve(body=False)

    def do_GET(self):
        self._serve(body=True)

    def _serve(self, body: bool) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append((self.command, path, self.headers.get("Range")))
        if path.startswith(f"/api/models/{self.server.repo}"):
            self._info(path)
        else:
            self._file(path.rsplit("/", 1)[1], body)

    def _info(self, path: str) -> None:
        if "/tree/" in path:
            told = [
                {"type": "file", "path": name, "size": len(data), "oid": _etag(data)}
                for name, data in self.server.files.items()
            ]
        else:
            siblings = [{"rfilename": name} for name in self.server.files]
            told = {"id": self.server.repo, "sha": COMMIT, "siblings": siblings, "tags": [], "downloads": 0}
        self._reply(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str, body: bool) -> None:
        data = self.server.files[name]
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        headers = {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._reply(206 if start else 200, data[start:], headers, body, self.server.breaks.get(name))

    def _reply(self, status: int, data: bytes, headers: dict, body: bool = True, most: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data[:most] if most is not None and len(data) > most else data)
        self.close_connection = most is not None

    def log_message(self, *args):
        pass


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
