"""Ctrl-C, SIGTERM and the time limit while a video is watched: what was watched is saved, and the next run goes on."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import footage
import pytest
from fake_worker import text_batch
from served import Camera

from omnimem_cli.base.process import Interrupted, stop_signals
from omnimem_cli.jobs import workers
from omnimem_cli.jobs.inputs import find_inputs
from omnimem_cli.jobs.outcomes import Outcome
from omnimem_cli.jobs.workers import by_workers

# The command line, whose chunks take ``pause`` seconds longer and are counted on stderr. ``limit``: of a deferred stop.
PACED = """
import sys, time
import omnimem_cli.base.process as process
pause, limit, *arguments = sys.argv[1:]
process.deferred_stop.__wrapped__.__defaults__ = (float(limit),)
from omnimem_cli.app import main
from omnimem_cli.session.session import Session

watch = Session.watch

def paced(session, *source):
    for chunk in watch(session, *source):
        print("chunk", file=sys.stderr, flush=True)
        time.sleep(float(pause))
        yield chunk

Session.watch = paced
main(arguments)
"""
SMALL = ("--budget", "120", "--max-tokens", "3", "--fps", "1", "--max-pixels", "3136", "--chunk", "100")


class Run:
    """One run in a process of its own; ``pause`` and ``limit``: see PACED."""

    def __init__(self, folder: Path, model: Path, *arguments: str, pause: float = 0.0, limit: float = 60.0):
        command = [sys.executable, "-c", PACED, str(pause), str(limit), *arguments, "-m", str(model), *SMALL]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ,
        )
        self.said = ""

    def wait_for_chunks(self, count: int) -> None:
        while self.said.count("chunk\n") < count:
            line = self.process.stderr.readline()
            assert line, f"it ended early: {self.said}"
            self.said += line

    def end(self) -> int:
        """The exit code; what was said is in ``said``, data in ``out``."""
        self.out, rest = self.process.communicate(timeout=120)
        self.said += rest
        return self.process.returncode


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return footage.av(tmp_path_factory.mktemp("clip"), video_s=9, audio_s=9)


def result_in(folder: Path) -> dict:
    result = json.loads((folder / "a.transcript.json").read_text())
    return {key: value for key, value in result.items() if key != "timing"}


def placed(folder: Path, clip: Path) -> Path:
    folder.mkdir()
    (folder / "a.mp4").write_bytes(clip.read_bytes())
    return folder


TRANSCRIBE = ("transcribe", "a.mp4", "-f", "json")


def test_a_stopped_watch_is_saved_and_the_next_run_ends_as_an_unbroken_one(clip, tiny_folder, tmp_path):
    unbroken, stopped = placed(tmp_path / "unbroken", clip), placed(tmp_path / "stopped", clip)
    assert Run(unbroken, tiny_folder, *TRANSCRIBE).end() == 0
    resumed = ""
    for number, chunks in ((signal.SIGINT, 1), (signal.SIGTERM, 1)):
        run = Run(stopped, tiny_folder, *TRANSCRIBE, "--report", "r.json", pause=0.5)
        run.wait_for_chunks(chunks)
        run.process.send_signal(number)
        assert run.end() == 128 + number, run.said
        assert run.said.count("chunk\n") == chunks, "the watch ends with the chunk in work"
        (line,) = json.loads((stopped / "r.json").read_text())["inputs"]
        assert line["status"] == "interrupted" and line["error"]["hint"].startswith("The same command goes on at 0:0")
        assert f"a.mp4: interrupted. {line['error']['hint']}" in run.said
        assert resumed in run.said, "it went on where the one before was saved"
        resumed = f"a.mp4 goes on at {line['error']['hint'].split(' at ')[1].rstrip('.')}"
    last = Run(stopped, tiny_folder, *TRANSCRIBE)
    assert last.end() == 0 and resumed in last.said
    assert result_in(stopped) == result_in(unbroken)


def test_a_second_signal_leaves_at_once(clip, tiny_folder, tmp_path):
    run = Run(placed(tmp_path / "a", clip), tiny_folder, *TRANSCRIBE, pause=60)
    run.wait_for_chunks(1)
    begun = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert run.process.poll() is None, "the first signal waits for the chunk"
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130 and time.monotonic() - begun < 30


def test_a_chunk_that_does_not_end_in_time_is_left_and_that_is_said(clip, tiny_folder, tmp_path):
    folder = placed(tmp_path / "a", clip)
    run = Run(folder, tiny_folder, *TRANSCRIBE, pause=60, limit=0.5)
    run.wait_for_chunks(1)
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143
    assert "a.mp4: interrupted. Nothing was saved: the same command begins anew." in run.said
    assert not list((folder / ".omnimem").glob("*.checkpoint"))


def test_the_time_limit_saves_the_watch_too(clip, tiny_folder, tmp_path):
    folder = placed(tmp_path / "a", clip)
    run = Run(folder, tiny_folder, *TRANSCRIBE, "--timeout", "1", pause=1.5)
    assert run.end() == 4
    assert "Give it more time with --timeout. The same command goes on at 0:0" in run.said
    assert len(list((folder / ".omnimem").glob("*.checkpoint"))) == 1


def interrupted_workers(tmp_path: Path, text: str, stream: bool) -> list[Outcome]:
    """What two workers say after Ctrl-C, each at work on an input with this text."""
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_text(text)
    batch = text_batch()
    jobs = batch.assign_targets(find_inputs([str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")]))
    jobs = [replace(job, input=replace(job.input, stream=stream)) for job in jobs]

    def interrupt_when_both_have_begun() -> None:
        while len(list(tmp_path.glob("*.begun"))) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt_when_both_have_begun, daemon=True).start()
    outcomes = []
    with pytest.raises(Interrupted), stop_signals(signal.SIGINT):
        for outcome in by_workers(batch, jobs, ["cpu", "cpu"]):
            outcomes.append(outcome)  # those before the interrupt count
    return outcomes


def test_a_stopped_worker_saves_its_watch(tmp_path):
    outcomes = interrupted_workers(tmp_path, "save", stream=False)
    hints = [outcome.result["error"]["hint"] for outcome in outcomes]
    assert hints == ["The same command goes on at 1:02."] * 2


def test_a_stopped_worker_answers_live_input_however_long_it_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "LAST_WORDS_S", 1.0)
    assert [o.status for o in interrupted_workers(tmp_path, "live", stream=True)] == ["done", "done"]
    assert len(list(tmp_path.glob("*.summary.json"))) == 2


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[Camera]:
    server = Camera(footage.av(tmp_path, "camera.ts", video_s=20, audio_s=20).read_bytes())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


def test_live_input_that_is_interrupted_gives_its_result(camera, tiny_folder, tmp_path):
    run = Run(tmp_path, tiny_folder, "transcribe", camera.url, "-f", "json")
    run.wait_for_chunks(2)
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130, run.said
    result = json.loads((tmp_path / "camera.transcript.json").read_text())
    assert result["status"] == "done" and result["coverage"]["video_s"] > 2
    (note,) = [note for note in result["warnings"] if note["code"] == "live_stopped"]
    assert note["message"].startswith("This live input was watched until 0:")
    assert f"camera.ts: {note['message']}" in run.said


def test_live_input_at_the_time_limit_gives_its_result_and_the_next_input_is_watched(camera, tiny_folder, tmp_path):
    run = Run(tmp_path, tiny_folder, "transcribe", camera.url, camera.url + "?2", "-o", "-", "--timeout", "6")
    assert run.end() == 0, run.said
    results = [json.loads(line) for line in run.out.splitlines()]
    assert [r["status"] for r in results] == ["done", "done"]
    for result in results:
        (note,) = [note for note in result["warnings"] if note["code"] == "live_stopped"]
        assert "longer than the limit" in note["message"] or "no data" in note["message"]


def test_a_pipe_that_is_interrupted_gives_the_result_of_what_came(camera, tiny_folder, tmp_path):
    run = Run(tmp_path, tiny_folder, "transcribe", "-", "-f", "json")
    run.process.stdin.buffer.write(camera.data)
    run.process.stdin.flush()  # a pipe holds less: it is being read
    time.sleep(0.5)
    assert len(camera.data) > 1 << 16 and run.process.poll() is None
    run.process.send_signal(signal.SIGINT)
    run.wait_for_chunks(1)  # while the pipe is still open
    assert run.end() == 130, run.said
    result = json.loads((tmp_path / "stdin.transcript.json").read_text())
    assert "live_stopped" in {note["code"] for note in result["warnings"]} and result["coverage"]["video_s"] > 15


def test_a_second_signal_leaves_live_input_at_once(camera, tiny_folder, tmp_path):
    run = Run(tmp_path, tiny_folder, "transcribe", camera.url, pause=60)
    run.wait_for_chunks(1)
    run.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143
