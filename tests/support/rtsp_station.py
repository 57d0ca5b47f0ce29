"""A camera on this machine that speaks RTSP: what each connection gets is scripted as that of a `station.Station`.

RTP over the RTSP connection itself (RFC 2326, 10.12), with a transport stream as payload 33 (RFC 2250).
"""

import base64
import re
import socketserver
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from station import Sent

SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"
CARRIED = 7 * 188  # bytes of a transport stream in one packet


class RtspStation(socketserver.ThreadingTCPServer):
    """The n-th PLAY gets ``script[n]``; those beyond get 404. ``login``: user:password that is asked for."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, script: Sequence[Sent], login: str | None = None, port: int = 0):
        super().__init__(("127.0.0.1", port), _Connection)
        self.script, self.login = list(script), login
        self.count, self.refused, self.closing = 0, 0, threading.Event()
        self.times: list[tuple[float, float]] = []

    @property
    def url(self) -> str:
        login = f"{self.login}@" if self.login else ""
        return f"rtsp://{login}127.0.0.1:{self.server_address[1]}/camera"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self.shutdown()
        self.server_close()


class _Connection(socketserver.StreamRequestHandler):
    def handle(self):
        with suppress(OSError):
            while (asked := self._request()) and self._answer(*asked):
                pass

    def _request(self) -> tuple[str, str] | None:
        head = ""
        while line := self.rfile.readline().decode():
            head += line
            if line == "\r\n":
                return head.split(" ")[0], head
        return None

    def _answer(self, method: str, head: str) -> bool:
        number = re.search(r"CSeq: *(\d+)", head)[1]
        given = re.search(r"Authorization: Basic (\S+)", head)
        if self.server.login and (given is None or base64.b64decode(given[1]).decode() != self.server.login):
            self.server.refused += 1
            return self._say(number, "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"')
        if method == "OPTIONS":
            return self._say(number, "200 OK", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        if method == "DESCRIBE":
            return self._say(number, "200 OK", "Content-Type: application/sdp", f"Content-Length: {len(SDP)}", body=SDP)
        if method == "SETUP":
            return self._say(number, "200 OK", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1")
        if method != "PLAY":
            return False
        self.server.count += 1
        if self.server.count > len(self.server.script):
            return self._say(number, "404 Not Found")
        self._say(number, "200 OK", "Session: 1")
        began = time.time()
        with suppress(OSError):
            self._play(self.server.script[self.server.count - 1])
        self.server.times.append((began, time.time()))
        return False

    def _say(self, number: str, status: str, *headers: str, body: str = "") -> bool:
        lines = (f"RTSP/1.0 {status}", f"CSeq: {number}", *headers, "", body)
        self.wfile.write("\r\n".join(lines).encode())
        return True

    def _play(self, sent: Sent) -> None:
        began = time.monotonic()
        for count, at in enumerate(range(0, len(sent.data), CARRIED)):
            packet = struct.pack(">BBHII", 0x80, 33, count & 0xFFFF, int(90_000 * time.monotonic()) & 0xFFFFFFFF, 7)
            packet += sent.data[at : at + CARRIED]
            self.wfile.write(struct.pack(">BBH", ord("$"), 0, len(packet)) + packet)
            late = 0.0 if sent.rate is None else began + (at + CARRIED) / sent.rate - time.monotonic()
            if late > 0 and self.server.closing.wait(late):
                return
        if sent.holds:
            self.server.closing.wait(120)
