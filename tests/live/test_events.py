"""Events: lines that are whole, whatever happens, and ids that tell what is told again."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from events import event, lines_of, moment, validator

from omnimem_cli.base.errors import OutputError, UsageError
from omnimem_cli.live.event_log import EventLog, Rotation, parse_rotation
from omnimem_cli.live.events import TYPES


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_of_event_fits_the_schema(kind):
    validator().validate(event(kind).as_dict())


def test_an_event_that_is_told_again_keeps_its_id_and_counts_up():
    first = event("alert", tag="door", state="open")
    again = first.revised(end=moment(60), state="closed")
    assert (again.id, again.revision, again.start) == (first.id, 1, first.start)
    assert event("alert", tag="door").id != first.id
    assert first.id.startswith("alert-door-")


def test_times_are_written_on_both_clocks():
    told = event(start_s=200.0, end_s=200.5).as_dict()
    assert (told["start"], told["start_s"]) == ("2026-11-29T14:03:20.000+01:00", 200.0)
    assert datetime.fromisoformat(told["end"]).utcoffset() is not None


def test_no_event_shows_a_password():
    address = "rtsp://admin:hunter2@cam/1?token=hunter2"
    told = event("gap", title=f"{address} is away.", text=f"Reading {address} failed.", source=address)
    assert b"hunter2" not in told.line


def test_text_that_utf8_cannot_hold_is_escaped(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.write(event(title="half \ud83c of a pair"))
    assert lines_of(tmp_path / "events.jsonl")[0]["title"] == "half \ud83c of a pair"


def test_subscribers_hear_of_an_event_once_it_is_written(tmp_path):
    log, heard = EventLog(tmp_path / "events.jsonl"), []
    log.subscribers.append(lambda told: heard.append((told, len(lines_of(tmp_path / "events.jsonl")))))
    first, second = event(), event()
    log.write(first)
    log.write(second)
    assert heard == [(first, 1), (second, 2)]


def test_a_torn_line_is_cut_off_and_whole_ones_stay(tmp_path):
    path = tmp_path / "events.jsonl"
    whole = event().line
    path.write_bytes(whole + event().line[:-1])
    log = EventLog(path)
    log.write(event())
    assert log.cut_bytes == len(event().line) - 1
    assert path.read_bytes().startswith(whole)
    assert len(lines_of(path)) == 2


def test_a_log_that_is_one_long_torn_line_becomes_empty(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * 200_000)
    assert EventLog(path).cut_bytes == 200_000
    assert path.read_bytes() == b""


WRITER = """
import sys
from pathlib import Path
from events import event
from omnimem_cli.live.event_log import EventLog
log = EventLog(Path(sys.argv[1]))
text = "x " * 1_500_000
for number in range(10**6):
    log.write(event(text=text, title=str(number)))
"""


@pytest.mark.parametrize("kill", range(3))
def test_a_writer_that_is_killed_leaves_whole_lines_to_the_next(tmp_path, kill):
    path = tmp_path / "events.jsonl"
    for _ in range(2):  # the second one goes on where the first was killed
        before = path.stat().st_size if path.exists() else 0
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], env=os.environ | _python_path())
        deadline = time.monotonic() + 60
        while (not path.exists() or path.stat().st_size < before + 4_000_000) and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.001 * kill)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    EventLog(path).write(event(title="after"))
    titles = [told["title"] for told in lines_of(path)]
    assert len(titles) >= 3 and titles[-1] == "after"


def _python_path() -> dict[str, str]:
    root = Path(__file__).parents[2]
    return {"PYTHONPATH": f"{root}:{root / 'tests' / 'support'}"}


def test_a_full_disk_costs_whole_events_only(tmp_path, monkeypatch):
    log = EventLog(tmp_path / "events.jsonl")
    log.write(event())
    written = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: written(descriptor, data[:20]))
    log.write(event(title="lost"))
    monkeypatch.undo()
    log.write(event(title="after"))
    assert log.lost == 1
    assert [told["title"] for told in lines_of(tmp_path / "events.jsonl")] == ["A quiet yard.", "after"]


def test_a_second_watch_may_not_write_the_same_file(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    with pytest.raises(OutputError, match="another watch"):
        EventLog(tmp_path / "events.jsonl")
    log.close()
    EventLog(tmp_path / "events.jsonl").close()


def test_a_file_is_put_aside_before_it_is_too_large(tmp_path):
    size = len(event().line)
    log = EventLog(tmp_path / "events.jsonl", Rotation(most_bytes=2 * size + 10))
    for _ in range(5):
        log.write(event())
    files = sorted(tmp_path.iterdir())
    assert [len(lines_of(path)) for path in files] == [2, 2, 1]
    assert files[-1].name == "events.jsonl"


def test_a_file_of_yesterday_is_put_aside(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(event(title="yesterday").line)
    os.utime(path, (time.time() - 90_000,) * 2)
    log = EventLog(path, Rotation(daily=True))
    log.write(event(title="today"))
    log.write(event(title="today"))
    assert [told["title"] for told in lines_of(path)] == ["today", "today"]
    assert len(list(tmp_path.iterdir())) == 2


def test_rotation_is_a_size_or_a_day():
    assert parse_rotation("64MiB", "--rotate") == Rotation(most_bytes=64 * 2**20)
    assert parse_rotation("day", "--rotate") == Rotation(daily=True)
    for wrong in ("8k", "100", "week", "auto"):
        with pytest.raises(UsageError, match="--rotate"):
            parse_rotation(wrong, "--rotate")


def test_events_without_a_file_go_to_standard_output(capfdbinary):
    told, log = event(), EventLog()
    log.write(told)
    log.close()
    assert capfdbinary.readouterr().out == told.line


STALLED = """
import sys, time
from events import event
from omnimem_cli.live.event_log import EventLog
log, longest = EventLog(), 0.0
for number in range(3000):
    began = time.monotonic()
    log.write(event(title=str(number), text="x" * 1000))
    longest = max(longest, time.monotonic() - began)
print(longest, file=sys.stderr, flush=True)
log.close()
print(log.lost, file=sys.stderr)
"""


def test_a_reader_that_takes_nothing_for_a_while_slows_no_watch_and_gets_whole_lines():
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", STALLED], env=os.environ | _python_path(), **pipes) as writer:
        longest = float(writer.stderr.readline())
        numbers = [int(json.loads(line)["title"]) for line in writer.stdout]
        lost = int(writer.stderr.readline())
    assert writer.returncode == 0 and longest < 1.0
    assert numbers == sorted(set(numbers)) and numbers[-1] == 2999
    assert lost == 3000 - len(numbers) > 0


def test_a_reader_that_has_gone_ends_the_watch():
    script = STALLED.replace("range(3000)", "range(10**9)")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script], env=os.environ | _python_path(), **pipes) as writer:
        writer.stdout.readline()
        writer.stdout.close()
        assert "BrokenPipeError" in writer.stderr.read()


def test_what_could_not_be_written_is_said_once_lines_can_be_written_again(tmp_path, monkeypatch):
    log = EventLog(tmp_path / "events.jsonl")
    log.write(event())
    monkeypatch.setattr(os, "write", lambda descriptor, data: 0)
    for _ in range(3):
        log.write(event(title="lost"))
    assert log.news() == "", "the sentence itself could not be written"
    monkeypatch.undo()
    log.write(event(title="after"))
    assert log.news() == f"{tmp_path}/events.jsonl lacks 3 events that could not be written."
    assert log.news() == "" and log.lost == 3


def test_a_file_that_cannot_be_written_is_a_typed_error(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        EventLog(tmp_path / "missing" / "events.jsonl")
