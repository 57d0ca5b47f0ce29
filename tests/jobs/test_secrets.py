"""Passwords and tokens of an address are shown nowhere: not in files or their names, messages, reports, errors."""

import os
import random
import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import footage
import pytest
from fake_run import FakeRun, omnimem
from served import Server

from omnimem_cli.base.paths import hide_secrets, readable_path

SECRETS = ("hunter2", "SECRET123", "SESSION9")
ADDRESSES = {
    "https://bob:hunter2@host/a/b.mp4?token=SECRET123": "https://bob:***@host/a/b.mp4?***",
    "https://hunter2@host/b.mp4#SECRET123": "https://***@host/b.mp4#***",
    "https://bob:hunter2@SESSION9@host:80/": "https://bob:***@host:80/",
    "rtsp://bob:it'shunter2@cam": "rtsp://bob:***@cam",
    "http://host/b.mp4;jsessionid=SESSION9?x='SECRET123'": "http://host/b.mp4;***",
    "http://host/my film.mp4?q=a SECRET123": "http://host/my%20film.mp4?***",
    "rtmp://host/live/key token=SECRET123 live=1": "rtmp://host/live/key ***",
    "cache:http://bob:hunter2@host/b.mp4": "cache:http://bob:***@host/b.mp4",
    "http://host/b.mp4": "http://host/b.mp4",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_shown_without_its_secrets(address: str):
    assert readable_path(address) == ADDRESSES[address]


def test_secrets_are_hidden_inside_a_text():
    said = "Opening 'https://bob:hunter2@host/b.ts?token=SECRET123' for reading: 404, see http://host/help"
    assert hide_secrets(said) == "Opening 'https://bob:***@host/b.ts?*** for reading: 404, see http://host/help"


def test_a_name_that_is_no_address_is_left_as_it_is():
    for name in ("what?.mp4", "bob:x@y.mp4", "a#1; b.mp4", "C: drive/a.mp4"):
        assert readable_path(name) == name


@pytest.fixture
def serve():
    """Starts servers of one file each, and stops them."""
    servers: list[Server] = []

    def start(data: bytes) -> Server:
        servers.append(Server(data))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def leaked(folder: Path, *texts: str) -> list[str]:
    """The secrets that are in files below a folder, in their names, or in the texts."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    everything = b"".join([*(path.read_bytes() for path in files), *map(os.fsencode, files), *map(os.fsencode, texts)])
    return [secret for secret in SECRETS if secret.encode() in everything]


def with_secrets(server: Server) -> str:
    return server.url.replace("http://", "http://bob:hunter2@").replace(".mp4", ".mp4;s=SESSION9") + "?token=SECRET123"


OUTPUT = ("-m", "nano", "-f", "json,md,txt", "-o", "out", "--report", "report.json", "--debug")


def test_a_watch_of_an_address_leaves_no_secret_anywhere(serve, tmp_path, monkeypatch, capfd):
    clip = footage.av(tmp_path, video_s=2, audio_s=2).read_bytes()
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    address = with_secrets(serve(clip))
    assert omnimem("summarize", address, *OUTPUT) == 0
    assert omnimem("summarize", "-n", address, *OUTPUT) == 0
    assert omnimem("summarize", address, "-m", "nano", "-o", "-") == 0
    said = capfd.readouterr()
    assert "http://bob:***@127.0.0.1" in said.out and len(list(Path("out").glob("film*.*"))) == 3
    assert leaked(tmp_path / "run", said.out, said.err) == []


@pytest.mark.parametrize("failure", ["noise", "refused", "fault", "no sound"])
def test_a_failure_of_an_address_shows_no_secret(failure, serve, tmp_path, monkeypatch, capfd):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    data = footage.av(tmp_path, audio_s=0).read_bytes() if failure == "no sound" else random.Random(0).randbytes(9999)
    server = serve(data)
    address = with_secrets(server)
    if failure == "refused":
        server.shutdown()
        server.server_close()
    if failure == "fault":
        monkeypatch.setattr("omnimem_cli.session.preflight.probe", lambda path, **more: Path(path).read_text())
    more = ("--no-video",) if failure == "no sound" else ()
    assert omnimem("summarize", address, *more, *OUTPUT) in (1, 4)
    assert omnimem("doctor", address, "-m", "nano", *more) in (1, 4)
    said = capfd.readouterr()
    assert "bob:***@" in said.err
    assert leaked(tmp_path / "run", said.out, said.err) == []


def test_two_queries_of_one_page_keep_their_own_results(fake: FakeRun):
    first, second = "https://bob:hunter2@host/watch?v=1", "https://bob:hunter2@host/watch?v=2"
    for address in (first, second, first):
        assert omnimem("summarize", address) == 0
    assert len(list(Path().glob("*.md"))) == 2
    assert leaked(Path()) == []
    assert omnimem("summarize", "https://bob:changed@host/watch?v=2") == 0
    assert len(list(Path().glob("*.md"))) == 2, "a password may change"


def command_lines() -> str:
    """Of every process of this machine, as ps shows them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)


@pytest.mark.parametrize("command", [("summarize",), ("ask", "-Q", "What is shown first?")])
def test_no_list_of_processes_shows_a_password_while_a_video_is_watched(command, tmp_path):
    (tmp_path / "run").mkdir()
    clip = footage.av(tmp_path, video_s=20, audio_s=20, fps=10).read_bytes()
    server = Server(clip, login="bob:hunter2", query="?token=SECRET123")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    run = [sys.executable, "-m", "omnimem_cli", *command, "--files-from", "-", "-m", "nano", "-f", "json", "-o", "."]
    root = str(Path(__file__).parents[2])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    seen = ""
    with subprocess.Popen(run, cwd=tmp_path / "run", env=os.environ | {"PYTHONPATH": root}, **pipes) as process:
        process.stdin.write(server.url)
        process.stdin.close()
        while process.poll() is None:
            seen += command_lines()
            time.sleep(0.005)
        out, err = process.stdout.read(), process.stderr.read()
    server.shutdown()
    server.server_close()
    assert process.returncode == 0, err
    assert re.search(r"ffmpeg.* -i http://\w+:@127\.0\.0\.1:\d+/film\.mp4 ", seen), "ffmpeg was among them"
    assert leaked(tmp_path / "run", out, err, seen) == []
