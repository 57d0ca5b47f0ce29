"""An address with secrets is given to ffmpeg as one of this machine: its command line shows none of them."""

import hashlib
import http.server
import os
import re
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import footage
import numpy as np
import pytest
from rtsp_station import RtspStation
from served import Server
from station import Sent

from omnimem_cli.media import loopback
from omnimem_cli.media.ffmpeg import Process, command, source
from omnimem_cli.media.loopback import without_secrets

SIZE = 160 * 96 * 3
PICTURE = {"f": "rawvideo", "pix_fmt": "rgb24"}


@contextmanager
def serving(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> bytes:
    return footage.av(tmp_path_factory.mktemp("film"), video_s=8.0, audio_s=8.0, fps=5).read_bytes()


def read(address: str, **options) -> tuple[int, list[int], str, str]:
    """ffmpeg's exit status, the numbers of the frames of an address, its command line, and what it complained of."""
    node = source(address, **options)["v:0"].output("pipe:", **PICTURE)
    with Process(command(node), address) as process:
        data = process.read(SIZE)
        seen = Path(f"/proc/{process._child.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        while block := process.read(SIZE):
            data += block
        frames = np.frombuffer(data, np.uint8).reshape(-1, 96, 160, 3)
        return process.finish(), [footage.read_number(frame) for frame in frames], seen, process.tail


def test_a_login_and_a_query_are_on_no_command_line_and_seeking_works(film):
    with serving(Server(film, login="me:hunt@er2", query="?token=SECRET9&x=1")) as server:
        address = server.url.replace("hunt@er2", "hunt%40er2")
        status, numbers, seen, _ = read(address)
        assert (status, numbers) == (0, list(range(40)))
        assert "127.0.0.1" in seen and "/film.mp4" in seen
        assert not [secret for secret in ("hunt", "SECRET9", str(server.server_port)) if secret in seen]
        assert read(address, ss="6.0")[1] == list(range(30, 40))


def test_an_address_without_secrets_is_given_as_it_is():
    for address in ("http://host/a.mp4", "rtsp://cam/live", "film.mp4", "ftp://host/film.mp4", "http://h/a b.mp4"):
        assert without_secrets(address) == address


def test_what_no_pipe_can_hide_is_said_once(capfd):
    for _ in range(2):
        assert without_secrets("ftp://me:hunter2@host/once.mp4") == "ftp://me:hunter2@host/once.mp4"
    said = capfd.readouterr().err
    assert said.count("shows all of ftp://me:***@host/once.mp4") == 1 and "hunter2" not in said


def test_addresses_in_a_playlist_have_the_login_too(film, tmp_path):
    clip = tmp_path / "film.mp4"
    clip.write_bytes(film)
    part = footage.copy(clip, tmp_path / "part.ts", "-f", "mpegts").read_bytes()
    lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:8", "#EXTINF:8,", "{}", "#EXT-X-ENDLIST", "")
    with serving(Server(b"", login="me:hunter2", query="none")) as server:
        for name in ("part.ts", "/deep/part.ts"):
            playlist = "\n".join(lines).format(name).encode()
            server.others = {"/list/film.m3u8?key=1": playlist, "/list/part.ts": part, "/deep/part.ts": part}
            address = f"http://me:hunter2@127.0.0.1:{server.server_port}/list/film.m3u8?key=1"
            status, numbers, seen, tail = read(address)
            assert (status, len(numbers)) == (0, 40), tail
            assert "hunter2" not in seen and "key=1" not in seen


def test_a_refusal_reaches_ffmpeg_with_the_readable_address(film):
    with serving(Server(film, login="me:hunter2")) as server:
        address = server.url.replace("hunter2", "wrong77")
        status, _, _, tail = read(address)
    assert status != 0 and "401" in tail
    assert "wrong77" not in tail and not re.search(r"[0-9a-f]{32}", tail)
    assert f"http://me:***@127.0.0.1:{server.server_port}" in tail
    status, _, _, tail = read(address)
    assert status != 0 and "5XX" in tail, "nobody listens any more"


class Digest(http.server.BaseHTTPRequestHandler):
    """Asks for a login as cameras do."""

    def do_GET(self):
        told = dict(re.findall(r'(\w+)="([^"]*)"', self.headers.get("Authorization", "")))
        md5 = lambda text: hashlib.md5(text.encode()).hexdigest()  # noqa: E731
        wanted = md5(f"{md5('me:cam:hunter2')}:n1:{md5(f'GET:{self.path}')}")
        if told.get("response") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Digest realm="cam", nonce="n1"')
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(self.server.data)

    def log_message(self, *_):
        pass


def test_a_digest_login_works_too(film, tmp_path):
    (tmp_path / "film.mp4").write_bytes(film)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Digest)
    server.data = footage.copy(tmp_path / "film.mp4", tmp_path / "cam.ts", "-f", "mpegts").read_bytes()
    with serving(server):
        status, numbers, seen, tail = read(f"http://me:hunter2@127.0.0.1:{server.server_port}/cam.ts")
    assert (status, len(numbers)) == (0, 40), tail
    assert "hunter2" not in seen


def test_a_process_of_another_user_gets_nothing(film, monkeypatch):
    with serving(Server(film, login="me:hunter2")) as server:
        monkeypatch.setattr(loopback.os, "getuid", lambda: os.geteuid() + 1)
        status, numbers, _, _ = read(server.url)
        assert status != 0 and not numbers
        assert not server.refused, "the true address was not even asked"


def test_a_cameras_login_is_on_no_command_line(film, tmp_path):
    (tmp_path / "film.mp4").write_bytes(film)
    data = footage.copy(tmp_path / "film.mp4", tmp_path / "cam.ts", "-f", "mpegts").read_bytes()
    with RtspStation([Sent(data)], login="me:hunter2") as station:
        _, numbers, seen, tail = read(station.url, rtsp_transport="tcp")
        assert numbers[:30] == list(range(30)), tail
        assert station.refused and "rtsp://127.0.0.1" in seen
    assert "hunter2" not in seen + tail
