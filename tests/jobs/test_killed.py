"""SIGKILL at any moment of a batch: run again, every result is whole and equal to an unbroken run's."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Ten inputs of several formats; a kill falls into watching, recording, writing, locking alike. No model, no torch.
BATCH = """
import contextlib, sys, types
import omnimem_cli.jobs
from omnimem_cli.app import main
from omnimem_cli.jobs.model import LazyModel
from omnimem_cli.results.result import bare_input

def watch(path, task, adapter, report, **more):
    made = watched(path, **more)
    return types.SimpleNamespace(result=lambda task, preset=None: made, watched_here=True)

def watched(path, **more):
    import os, time
    time.sleep(float(os.environ.get("PAUSE", "0.02")))
    counts = {"visual": 1, "audio": 1, "text": 1}
    return {
        "schema": "omnimem/result/1", "task": "summarize", "preset": None, "status": "done", "error": None,
        "input": bare_input(path) | {"digest": more["digest"]},
        "model": {"name": "fake", "revision": None, "dtype": "float32", "device": "cpu"},
        "memory": {"policy": "omnimem", "budget_entries": 8, "budget_bytes": None, "layers": 1, "chunk": 1,
                   "positions": "keep", "split": None, "seen": counts, "kept": counts, "bytes": 1, "peak_bytes": 1,
                   "device_peak_bytes": None},
        "coverage": {"duration_s": 1.0, "video_s": 1.0, "audio_s": 1.0, "ratio": 1.0},
        "warnings": [],
        "timing": dict.fromkeys(("decode_s", "encode_s", "prefill_s", "answer_s", "wall_s"), 1.0)
                  | {"video_seconds_per_second": 1.0},
        "summary": {"text": open(path).read() * 2000, "chapters": []},
    }

sys.modules["omnimem_cli.jobs.watch_one"] = types.SimpleNamespace(watch_one=watch)
loading = types.SimpleNamespace(memory_errors=lambda what: contextlib.nullcontext())
sys.modules["omnimem_cli.models.loading"] = loading
LazyModel.identify = lambda model: {"name": "fake", "revision": "1"}
LazyModel.prepare = lambda model, path, recent_s, media=None: path
LazyModel.load = lambda model: types.SimpleNamespace(weights_dtype="float32", device=types.SimpleNamespace(type="cpu"))
main(["summarize", "in", "-r", "-o", "out", "-f", "md,json,txt", *sys.argv[1:]])
"""


def start(folder: Path, *arguments: str, pause: float = 0.02) -> subprocess.Popen:
    """A run that takes ``pause`` seconds for each input."""
    command, environment = [sys.executable, "-c", BATCH, *arguments], {**os.environ, "PAUSE": str(pause)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def inputs(folder: Path) -> Path:
    (folder / "in").mkdir(parents=True)
    for number in range(10):
        (folder / "in" / f"{number}.mp4").write_text(f"talk {number} ")
    return folder


def results(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (folder / "out").iterdir() if p.is_file()}


def kill_and_run_again(folder: Path, kills: int) -> None:
    unbroken, broken = inputs(folder / "unbroken"), inputs(folder / "broken")
    begun = time.monotonic()
    assert start(unbroken).wait(200) == 0
    whole_s = time.monotonic() - begun
    dice = random.Random(7)
    for number in range(kills):
        # Every third life does everything again, so that kills meet finished work too.
        process = start(broken, *(["--force"] if number % 3 == 2 else []))
        time.sleep(dice.uniform(0.1, 1.0) * whole_s)
        process.kill()
        process.wait()
        for name, content in (results(broken) if (broken / "out").exists() else {}).items():
            assert content == results(unbroken)[name], f"{name} was half written"
    last = start(broken)
    assert last.wait(200) == 0, last.stderr.read()
    assert results(broken) == results(unbroken)
    left = {p.suffix for p in (broken / "out" / ".omnimem").iterdir()}
    assert left == {".json"}, "no lock, no unfinished file, no checkpoint is left"


def test_a_killed_batch_is_finished_by_the_next_run(tmp_path: Path):
    kill_and_run_again(tmp_path, kills=3)


@pytest.mark.slow
def test_a_batch_killed_thirty_times_is_finished_by_the_next_run(tmp_path: Path):
    kill_and_run_again(tmp_path, kills=30)


def test_the_report_of_a_killed_run_is_whole_and_has_what_had_ended_until_then(tmp_path: Path):
    folder = inputs(tmp_path)
    report = folder / "report.json"
    process = start(folder, "--report", "report.json", "--budget", "64", pause=0.5)
    counted = set()
    while len(counted) < 3 and process.poll() is None:
        if report.exists():
            counted.add(len(json.loads(report.read_text())["inputs"]))  # whole whenever it is read
    process.kill()
    process.wait(60)
    said = json.loads(report.read_text())
    assert said["exit_code"] is None and said["ended_at"] is None
    assert {line["path"] for line in said["inputs"] if line["status"] == "done"} <= {f"in/{n}.mp4" for n in range(10)}
    assert len(said["inputs"]) >= max(counted) >= 2 and said["counts"]["not_reached"] == 10 - len(said["inputs"])
    assert said["started_at"] and said["settings"]["budget"]["entries"] == 64 and said["model"]["name"] == "fake"
    again = start(folder, "--report", "report.json", "--budget", "64")
    assert again.wait(200) == 0
    said = json.loads(report.read_text())
    assert (said["exit_code"], len(said["inputs"])) == (0, 10) and said["started_at"] <= said["ended_at"]
