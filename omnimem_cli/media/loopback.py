"""Addresses with secrets, as addresses of this machine: on ffmpeg's command line every user could read a password.

ffmpeg connects to this process, which passes http and https on with the login, and sends rtsp on to the true address.
Knows HTTP and what of an address is secret; decodes nothing. Other protocols (ftp, rtmp) are given to ffmpeg as they
are, with a warning.
"""

import http.client
import os
import re
import secrets
import ssl
import threading
import urllib.error
import urllib.request
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from omnimem_cli.base.console import console
from omnimem_cli.base.paths import hide_secrets, readable_path

HOST = "127.0.0.1"
SILENT_S = 120.0  # what an address may take to deliver more; ffmpeg is ended before that
BLOCK = 1 << 16
OWN = ("host", "authorization", "connection", "proxy-connection", "keep-alive", "transfer-encoding", "te", "upgrade")
"""Headers of one connection, which are not passed on."""
RESERVED = "%/:?#[]@!$&'()*+,;=~"  # stay as they are


def without_secrets(address: str) -> str:
    """What ffmpeg may be given for an address: itself where nothing in it is secret, else one of this machine, for as
    long as this process lives."""
    if "://" not in address or readable_path(address) == address.replace(" ", "%20"):
        return address
    if not address.startswith(("http://", "https://", "rtsp://", "rtsps://")):
        return _shown(address)
    return _loopback().place(address)


@cache
def _shown(address: str) -> str:
    console.warn(f"ffmpeg's command line shows all of {readable_path(address)}, to every user of this machine.")
    return address


@cache
def _loopback() -> "Loopback":
    return Loopback()


@dataclass(frozen=True)
class Target:
    """A true address, without its login: ``base`` is its scheme and host, ``path`` the part that is no secret."""

    address: str
    base: str
    path: str
    opener: urllib.request.OpenerDirector

    def of(self, path: str) -> str:
        """The true address of what is asked for: itself, or what a playlist names beside it."""
        return self.address if path == self.path else self.base + path


class Loopback(ThreadingHTTPServer):
    """Listens on this machine alone, and answers processes of this user alone, as far as the system tells (Linux)."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__((HOST, 0), _Handler)
        self.targets: dict[str, Target] = {}  # by the word in their addresses here
        self.sent_on: dict[str, str] = {}  # rtsp: true addresses
        self._placed: dict[str, str] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, name="loopback", daemon=True).start()

    def place(self, address: str) -> str:
        """The address here of a true one, always the same."""
        with self._lock:
            if address not in self._placed:
                self._placed[address] = self._add(address, secrets.token_hex(16))
            return self._placed[address]

    def verify_request(self, request: object, client_address: tuple[str, int]) -> bool:
        """Whether the client is a process of this user."""
        return _is_own(client_address[1], self.server_port)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone; what matters is told by ffmpeg."""

    def _add(self, address: str, word: str) -> str:
        if address.startswith("rtsp"):
            self.sent_on[word] = address
            return f"rtsp://{HOST}:{self.server_port}/{word}"
        target = _target(quote(address, safe=RESERVED))
        self.targets[word] = target
        # The word is a login, so that relative addresses in a playlist have it too; ffmpeg wants the colon.
        return f"http://{word}:@{HOST}:{self.server_port}{target.path}"


class _Handler(BaseHTTPRequestHandler):
    """One request: passed on with the login, or sent on."""

    server: Loopback

    def handle_one_request(self) -> None:
        """RTSP looks like HTTP, and is told where to go."""
        line = self.rfile.peek(BLOCK).split(b"\r\n")[0]
        if not line.endswith(b"RTSP/1.0"):
            super().handle_one_request()
            return
        asked = self.rfile.peek(BLOCK).decode("latin-1")
        address = next((true for word, true in self.server.sent_on.items() if word in asked), None)
        number = re.search(r"CSeq: *(\d+)", asked, re.IGNORECASE)
        status = "404 Not Found" if address is None else f"302 Moved Temporarily\r\nLocation: {address}"
        self.wfile.write(f"RTSP/1.0 {status}\r\nCSeq: {number[1] if number else 1}\r\n\r\n".encode())
        self.close_connection = True

    def do_GET(self) -> None:
        """Ask the true address, and pass on what it says."""
        target = self.server.targets.get(self._word())
        if target is None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="omnimem"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in OWN}
        request = urllib.request.Request(target.of(self.path), headers=headers, method=self.command)
        try:
            with _answer(target.opener, request) as answer:
                self._pass_on(answer)
        except (OSError, http.client.HTTPException):
            with suppress(OSError):
                self.send_error(502)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def _word(self) -> str:
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        with suppress(ValueError):
            return b64decode(given).decode("latin-1").partition(":")[0]
        return ""

    def _pass_on(self, answer: http.client.HTTPResponse) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.headers.items():
            if name.lower() not in OWN:
                self.send_header(name, value)
        self.end_headers()
        with suppress(OSError, http.client.HTTPException):  # either end is gone: the line breaks off here too
            while block := answer.read1(BLOCK):
                self.wfile.write(block)


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows none: who asks sees the redirect itself."""

    def redirect_request(self, *_: object) -> None:
        """Nothing is asked in place of it."""


def _answer(opener: urllib.request.OpenerDirector, request: urllib.request.Request) -> http.client.HTTPResponse:
    try:
        return opener.open(request, timeout=SILENT_S)
    except urllib.error.HTTPError as error:
        return error


def _target(address: str) -> Target:
    parts = urlsplit(address)
    login, _, host = parts.netloc.rpartition("@")
    base = f"{parts.scheme}://{host}"
    user, _, password = login.partition(":")
    logins = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if login:
        logins.add_password(None, base, unquote(user), unquote(password))
    opener = urllib.request.build_opener(
        NoRedirects,
        urllib.request.HTTPBasicAuthHandler(logins),
        urllib.request.HTTPDigestAuthHandler(logins),
        # As ffmpeg does unless told otherwise: most cameras have certificates that nobody signed.
        urllib.request.HTTPSHandler(context=ssl._create_unverified_context()),
    )
    rest = address.split("://", 1)[1][len(parts.netloc) :]
    path = hide_secrets(base + rest)[len(base) :].removesuffix("***").rstrip("?#;") or "/"
    return Target(base + (rest or "/"), base, path, opener)


def _is_own(port: int, server_port: int) -> bool:
    """Whether a connection from ``port`` on this machine belongs to this user; True where the system tells nothing."""
    ends = re.compile(rf": \w+:{port:04X} \w+:{server_port:04X} (?:\S+ ){{4}} *(\d+)")
    try:
        found = ends.search(Path("/proc/net/tcp").read_text())
    except OSError:
        return True
    return found is not None and int(found[1]) == os.getuid()
