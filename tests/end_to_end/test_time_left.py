"""The time that is said to be left, against the time that was, of a generated file of ten minutes."""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

from omnimem_cli.world.mp4 import write_mp4
from omnimem_cli.world.video import make_video


def said_and_true(path: Path) -> list[tuple[float, float, float]]:
    """(share of the video that is done, end as it was said, true end) of every line, seconds from the start."""
    command = [sys.executable, "-m", "omnimem_cli", "summarize", path, "-m", "nano", "--progress", "json", "--force"]
    began, lines = time.monotonic(), []
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as run:
        for line in run.stderr:
            if line.startswith("{"):
                lines.append((time.monotonic() - began, json.loads(line)))
    assert run.returncode == 0
    end_s, last = lines[-1]
    assert last["stage"] == "ended" and any(line["tokens"] for _, line in lines)
    watched = [(at_s, line) for at_s, line in lines if line["stage"] == "watching" and line["left_s"] is not None]
    return [(line["done_s"] / line["total_s"], at_s + line["left_s"], end_s) for at_s, line in watched]


@pytest.mark.slow
def test_from_a_fifth_of_ten_minutes_on_the_end_is_said_within_a_fifth(tmp_path: Path):
    path = tmp_path / "ten.mp4"
    write_mp4(make_video(60_001, 150, "skew", "eval", 600.0), path, 224)
    off = [abs(said - true) / true for done, said, true in said_and_true(path) if done >= 0.2]
    print(f"{len(off)} lines, off by {median(off):.1%} in the median, {max(off):.1%} at most")
    assert len(off) >= 5 and max(off) < 0.2
