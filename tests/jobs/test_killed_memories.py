"""A process that is killed while it writes a memory leaves the earlier one, or the new one, whole."""

import os
import random
import signal
import time
from pathlib import Path

import footage
import pytest
from kept import saved, watched

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.session.memory_file import read_memory_file

SETTINGS = Settings(budget=Budget(400), fps=1, max_pixels=56 * 56, chunk=100)


def kill_while_writing(one, path: Path, after_s: float) -> None:
    """Write the memory again and again in a child, and kill that at some moment."""
    child = os.fork()
    if child == 0:
        try:
            while True:
                saved(one, path)
        finally:
            os._exit(1)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, "the child was still writing when it was killed"


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_a_killed_write_leaves_a_whole_memory(kills, tmp_path, tiny_adapter):
    clip = footage.av(tmp_path, video_s=12, audio_s=12)
    path, draw, partial = tmp_path / "a.omnimem", random.Random(5), 0
    one = watched(clip, SETTINGS, tiny_adapter)
    saved(one, path)
    for _ in range(kills):
        kill_while_writing(one, path, draw.uniform(0.001, 0.06))
        header, _ = read_memory_file(path)
        assert header["schema"] == "omnimem/memory/1"
        partial += (tmp_path / ".a.omnimem.part").exists()
    assert partial, "no kill fell into a write"
