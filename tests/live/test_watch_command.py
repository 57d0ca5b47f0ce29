"""``omnimem watch`` on sources without an end: summaries of periods, events, a last summary and the memory."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import footage
import pytest
from station import Sent, Station
from watched_live import started, wait_for

from omnimem_cli.live.socket import ask_live

DEMO = Path(__file__).parents[2] / "omnimem_cli/world/demo.mp4"


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> bytes:
    """The built-in clip, 52 s, as a camera sends it."""
    return footage.copy(DEMO, tmp_path_factory.mktemp("film") / "film.ts", "-f", "mpegts").read_bytes()


SAVING = """
from omnimem_cli.jobs.checkpoint import Checkpoint
Checkpoint.__init__.__defaults__ = (2.0,)
from omnimem_cli.app import main
main()
"""
"""The command line, which saves a checkpoint every 2 s."""


def events(data: bytes) -> list[dict]:
    return [json.loads(line) for line in data.splitlines()]


def test_a_growing_file_gives_a_summary_of_each_period_and_the_files_of_a_batch(tmp_path, film):
    path = tmp_path / "door.ts"
    path.write_bytes(film[: len(film) // 2])
    watch = started(tmp_path, path, "--every", "20s", "--give-up", "4s", "-f", "md,json")
    time.sleep(1.0)
    with path.open("ab") as file:
        file.write(film[len(film) // 2 :])
    out, err = watch.communicate(timeout=120)
    assert watch.returncode == 0, err.decode()
    told = events(out)
    periods = [(event["start_s"], event["end_s"]) for event in told if event["tag"] == "period"]
    assert periods[:2] == [(0, 20), (20, 40)] and len(periods) == 3
    assert told[-1]["tag"] == "whole" and told[-1]["coverage"]["ratio"] > 0.98
    result = json.loads((tmp_path / "door.summary.json").read_text())
    assert [chapter["start_s"] for chapter in result["summary"]["chapters"]] == [0, 20, 40]
    assert result["memory"]["positions"] == "retime"
    assert (tmp_path / "door.omnimem").exists() and (tmp_path / "door.summary.md").exists()
    assert [path.name for path in (tmp_path / ".omnimem").iterdir()] == ["door.watch.json"]


def test_a_stream_that_is_stopped_has_a_last_summary_and_shows_no_password_anywhere(tmp_path, film):
    secret, token, word = "Tr0ub4dor", "T0KEN9x", "hunter2"
    sent = [Sent(film, len(film) / 26, holds=True)]
    with Station(sent, login=f"keeper:{secret}") as station:
        posted = f"http://127.0.0.1:{station.server_port}/{token}"  # which takes no POST
        handed_on = ("--webhook", posted, f"--exec=echo {word} >&2; exit 1")
        watch = started(tmp_path, station.url, "--every", "20s", "--events", "e.jsonl", "--log", "log", *handed_on)
        deadline, seen = time.monotonic() + 90, ""
        while time.monotonic() < deadline and watch.poll() is None:
            time.sleep(1.0)
            seen += processes() if time.monotonic() > deadline - 88 else ""
            with suppress(FileNotFoundError):
                if (tmp_path / "e.jsonl").read_text().count('"period"'):
                    break
        watch.send_signal(signal.SIGUSR1)
        wait_for(lambda: b"--webhook" in (tmp_path / "e.jsonl").read_bytes())
        watch.terminate()
        out, err = watch.communicate(timeout=60)
    assert watch.returncode == 143, err.decode()
    tags = [event["tag"] for event in events((tmp_path / "e.jsonl").read_bytes())]
    assert tags[0] == "period" and "until_now" in tags and tags[-1] == "whole"
    assert b"camera.omnimem" in out
    assert "keeper" in seen, "the watch was among the processes"
    for text in (out.decode(), err.decode(), seen, *files(tmp_path)):
        assert not [each for each in (secret, token, word) if each in text]


def asked(folder: Path, *questions: str) -> list[str]:
    """What the watch that listens in the folder answers, as one line of JSON each."""
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "omnimem_cli", "ask", "--live", "ask.sock", "-o", "-"]
    done = [
        subprocess.run(
            [*command, "-Q", question], cwd=folder, env=os.environ | {"PYTHONPATH": root}, capture_output=True
        )
        for question in questions
    ]
    return [json.loads(each.stdout) for each in done]


def test_alerts_open_and_close_once_and_questions_are_answered_while_it_watches(tmp_path, film):
    rule = "star: Which word is written on the green star?"
    with Station([Sent(film, len(film) / 20, holds=True)]) as station:
        watch = started(tmp_path, station.url, "--alert", rule, "--ask-socket", "ask.sock", "--events", "e.jsonl")
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not (tmp_path / "ask.sock").exists():
            time.sleep(0.2)
        assert (tmp_path / "ask.sock").stat().st_mode & 0o777 == 0o600
        time.sleep(12.0)
        replies = asked(tmp_path, "What is shown last?", "What is shown first?")
        while time.monotonic() < deadline and b'"closed"' not in (tmp_path / "e.jsonl").read_bytes():
            time.sleep(0.5)
        watch.terminate()
        _, err = watch.communicate(timeout=60)
    assert watch.returncode == 143, err.decode()
    assert [reply["answers"][0]["status"] for reply in replies] == ["answered"] * 2
    assert replies[0]["as_of_s"] >= 10.0
    told = events((tmp_path / "e.jsonl").read_bytes())
    alerts = [event for event in told if event["type"] == "alert"]
    assert len({event["id"] for event in alerts}) == 1
    states = [event["state"] for event in alerts]
    assert states[0] == "open" and states.count("closed") == 1
    assert [event["type"] for event in told].count("answer") == 2
    assert not (tmp_path / "ask.sock").exists()


@pytest.mark.slow
def test_a_watch_that_is_killed_goes_on_from_its_checkpoint_and_tells_the_gap(tmp_path, film):
    rate = len(film) / 26
    with Station([Sent(film, rate, holds=True), Sent(film, rate, holds=True)]) as station:
        how = (station.url, "--every", "20s", "--events", "e.jsonl", "-f", "json")
        first = started(tmp_path, *how, program=("-c", SAVING))
        log = tmp_path / "e.jsonl"
        wait_for(lambda: list((tmp_path / ".omnimem").glob("*.checkpoint")) and b'"period"' in log.read_bytes())
        time.sleep(4.0)
        first.kill()
        first.communicate()
        killed = time.time()
        second = started(tmp_path, *how, program=("-c", SAVING))
        wait_for(lambda: b'"gap"' in log.read_bytes())
        began = time.time()
        time.sleep(8.0)
        second.terminate()
        _, err = second.communicate(timeout=60)
    assert second.returncode == 143, err.decode()
    told = events(log.read_bytes())
    (gap,) = [event for event in told if event["type"] == "gap" and event["state"] == "closed"]
    assert 0 < gap["end_s"] - gap["start_s"] < began - killed + 16.0, "from the last checkpoint to the first frame"
    result = json.loads((tmp_path / "camera.summary.json").read_text())
    assert result["summary"]["chapters"][0]["start_s"] == 0
    assert result["coverage"]["duration_s"] > 20 and result["coverage"]["ratio"] < 0.95
    assert not list((tmp_path / ".omnimem").glob("*.checkpoint"))


@pytest.mark.slow
def test_fifty_questions_cost_the_watch_nothing(tmp_path, film):
    with Station([Sent(film, len(film) / 52, holds=True)]) as station:
        watch = started(tmp_path, station.url, "--ask-socket", "s", "--events", "e.jsonl", "-f", "json")
        wait_for((tmp_path / "s").exists)
        time.sleep(14.0)
        waited = []
        for number in range(50):
            began = time.monotonic()
            reply = ask_live(tmp_path / "s", [{"id": f"q{number}", "question": "What is shown last?"}], limit_s=60.0)
            waited.append(time.monotonic() - began)
            assert reply["answers"][0]["answer"]
        watch.terminate()
        _, err = watch.communicate(timeout=60)
    assert watch.returncode == 143, err.decode()
    result = json.loads((tmp_path / "camera.summary.json").read_text())
    assert max(waited) < 10.0
    coverage = result["coverage"]
    assert coverage["duration_s"] - min(coverage["video_s"], coverage["audio_s"]) <= 2.0, (
        "the segment in hand at the end"
    )
    assert "behind" not in [note["code"] for note in result["warnings"]]


def processes() -> str:
    """Every command line of this machine, as ps shows it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(text for text in found if "pytest" not in text)


def files(folder: Path) -> list[str]:
    return [path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()]
