"""``omnimem watch`` of a live source as a process of its own, and its memory asked afterwards."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def command(*arguments: object, program: tuple[str, ...] = ("-m", "omnimem_cli")) -> dict:
    """What to start: ``args`` and ``env``."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return {"args": [sys.executable, *program, *map(str, arguments)], "env": environment}


def started(folder: Path, *arguments: object, program: tuple[str, ...] = ("-m", "omnimem_cli")) -> subprocess.Popen:
    """A watch with nano, in a folder."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(**command("watch", *arguments, "-m", "nano", program=program), cwd=folder, **pipes)


def ask(folder: Path, path: str, question: str) -> str:
    """The answer of a memory file."""
    asked = command("ask", path, "-Q", question, "-o", "-")
    done = subprocess.run(**asked, cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)["answers"][0]["answer"]


def wait_for(what: Callable[[], object], watch: subprocess.Popen | None = None, limit_s: float = 200.0) -> None:
    """Until ``what()``; fails where it takes too long, or the watch has ended."""
    deadline = time.monotonic() + limit_s
    while not what() and time.monotonic() < deadline and (watch is None or watch.poll() is None):
        time.sleep(0.1)
    ended = watch is not None and watch.poll() is not None
    assert what(), watch.stderr.read().decode() if ended else "it takes too long"
