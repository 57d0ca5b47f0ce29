"""What people, and programs, see of a run while it works."""

import json
from pathlib import Path

import pytest
from fake_run import FakeRun, media, omnimem

from omnimem_cli.base.progress import BarRow, Bars, Count, JsonRow, Known, Pace, PlainRow, left, shortened
from omnimem_cli.base.settings import Progress

LONG = "2026-11-27 Quarterly all hands meeting recording with everyone from the Berlin office.mp4"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def paced(pace: Pace, clock: Clock, done: range) -> None:
    """One report of a long watch per second."""
    for done_s in done:
        pace.note(Progress("watching", done_s, 6000.0))
        clock.s += 1


def test_what_is_left_follows_the_pace_of_the_last_minute():
    clock = Clock()
    pace = Pace(clock)
    paced(pace, clock, range(0, 3000, 10))  # ten times as fast as the video, then twice as fast
    assert pace.left_s(Progress("watching", 2990.0, 6000.0)) == pytest.approx(301, rel=0.01)
    paced(pace, clock, range(2990, 3190, 2))
    assert pace.left_s(Progress("watching", 3188.0, 6000.0)) == pytest.approx(1406, rel=0.01)


def test_a_watch_that_goes_on_is_paced_by_what_it_adds():
    clock = Clock()
    pace = Pace(clock)
    for done_s in (3600.0, 3610.0, 3620.0):
        pace.note(Progress("watching", done_s, 7200.0))
        clock.s += 5
    assert pace.left_s(Progress("watching", 3620.0, 7200.0)) == pytest.approx(1790, rel=0.01)


def test_every_stage_has_a_pace_of_its_own():
    clock = Clock()
    pace = Pace(clock)
    assert pace.left_s(Progress()) is None
    for done_s in range(0, 600, 100):
        pace.note(Progress("listening", done_s, 600.0))
        clock.s += 1
    pace.note(Progress("watching", 10.0, 600.0))
    assert pace.left_s(Progress("watching", 10.0, 600.0)) is None


def input_of(pace: Pace, clock: Clock, *, rate: float, answering_s: float) -> None:
    """One input of 100 s, to its end."""
    for done_s in range(0, 110, 10):
        pace.note(Progress("watching", done_s, 100.0))
        clock.s += 10 * rate
    pace.note(Progress("answering", 100.0, 100.0))
    clock.s += answering_s
    pace.close()


def test_what_is_left_counts_the_stages_that_follow_as_the_inputs_before_showed_them():
    clock, known = Clock(), Known()
    first = Pace(clock, known)
    for done_s in (0.0, 50.0):
        first.note(Progress("listening", done_s, 100.0))
        assert first.left_s(Progress("listening", done_s, 100.0)) is None, "the watch takes longer, and is not known"
        clock.s += 2
    input_of(first, clock, rate=0.5, answering_s=7.0)
    second = Pace(clock, known)
    for done_s in (0.0, 50.0):
        second.note(Progress("listening", done_s, 100.0))
        clock.s += 2
    assert second.left_s(Progress("listening", 50.0, 100.0)) == pytest.approx(2 + 50 + 7, rel=0.01)
    for done_s in (0.0, 20.0):
        second.note(Progress("watching", done_s, 100.0))
        clock.s += 10
    assert second.left_s(Progress("watching", 20.0, 100.0)) == pytest.approx(40 + 7)
    second.note(Progress("answering", 100.0, 100.0))
    clock.s += 3
    assert second.left_s(Progress("answering", 100.0, 100.0)) == pytest.approx(4)
    clock.s += 30
    assert second.left_s(Progress("answering", 100.0, 100.0)) is None, "longer than the one before: nobody knows"


def test_the_screen_counts_tokens_while_answers_are_written():
    clock, said = Clock(), []
    row = BarRow("talk.mp4", bars=None)
    row.pace = Pace(clock)
    row(Progress("answering", 60.0, 60.0))
    clock.s += 75
    row(Progress("answering", 60.0, 60.0, tokens=120, questions=3))
    assert row.line(80).plain.endswith(" 120 tokens of 3 answers, 1:15")
    row(Progress("watching", 30.0, 60.0, tokens=1, questions=1))
    assert row.line(80).plain.endswith(" 0:30 of 1:00, 1 token of 1 answer")
    plain = PlainRow("talk.mp4", said.append, clock, first=True)
    plain(Progress("answering", 60.0, 60.0, tokens=120, questions=3))
    assert said == ["talk.mp4: answering 1:00 of 1:00, 120 tokens of 3 answers"]
    json_row = JsonRow("talk.mp4", said.append, None, clock)
    json_row(Progress("answering", 60.0, 60.0, tokens=120, questions=3))
    assert {"tokens": 120, "questions": 3}.items() <= json.loads(said[-1]).items()


def test_a_program_gets_four_lines_a_second_of_one_stage_at_most():
    clock, said = Clock(), []
    row = JsonRow("talk.mp4", said.append, None, clock)
    for number in range(20):
        row(Progress("answering", 60.0, 60.0, tokens=number, questions=1))
        clock.s += 0.05
    row(Progress("watching", 1.0, 60.0))
    stages = [json.loads(line)["stage"] for line in said]
    assert stages == ["answering"] * 4 + ["watching"]


def test_no_time_left_is_not_said():
    assert (left(None), left(0.9), left(1.0), left(52.0)) == ("", "", ", 0:01 left", ", 0:52 left")


def test_a_long_name_is_cut_in_its_middle():
    assert shortened("short.mp4", 12) == "short.mp4"
    cut = shortened(LONG, 30)
    assert len(cut) == 30 and cut.startswith("2026-11-27") and cut.endswith("office.mp4")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_stage_place_and_rest_stay_on_the_line(width: int):
    row = BarRow(f"[3/50] {LONG}", bars=None)
    clock = Clock()
    row.pace = Pace(clock)
    for done_s in (0.0, 1000.0, 2000.0):
        row(Progress("watching", done_s, 7200.0))
        clock.s += 10
    text = row.line(width).plain
    assert len(text) <= width and "watching" in text and "33:20 of 2:00:00, 0:52 left" in text


def test_what_has_no_end_says_how_long_it_has_been_going():
    row = BarRow("talk.mp4", bars=None)
    clock = Clock()
    row.pace = Pace(clock)
    row(Progress("answering", 60.0, 60.0))
    clock.s += 75
    assert row.line(80).plain.endswith(" 1:15") and "answering" in row.line(80).plain


def test_a_run_says_how_many_are_done_and_what_is_left():
    clock = Clock()
    count = Count(50, now=clock)
    assert str(count) == "0 of 50 done"
    count.done, clock.s = 10, clock.s + 60
    assert str(count) == "10 of 50 done, 4:00 left"


def test_plain_lines_begin_at_once_and_then_come_with_a_minute_or_a_quarter():
    clock, said = Clock(), []
    row = PlainRow("talk.mp4", said.append, clock, first=True)
    row(Progress("loading the model"))
    row(Progress("watching", 1.0, 100.0))
    assert said == ["talk.mp4: loading the model"]
    clock.s += 11
    row(Progress("watching", 30.0, 100.0))
    assert said[1:] == ["talk.mp4: watching 0:30 of 1:40, 0:26 left"]
    clock.s += 20
    row(Progress("watching", 31.0, 100.0))
    assert len(said) == 2
    clock.s += 41
    row(Progress("watching", 32.0, 100.0))
    assert len(said) == 3


def test_later_inputs_say_nothing_before_ten_seconds_have_passed():
    said = []
    row = PlainRow("b.mp4", said.append, Clock())
    row(Progress("watching", 50.0, 100.0))
    assert said == []


def test_a_program_gets_one_object_per_change():
    said = []
    row = JsonRow("talk.mp4", said.append, Count(2))
    row(Progress("watching", 30.0, 60.0))
    row.close()
    first, last = map(json.loads, said)
    assert first == {"input": "talk.mp4", "stage": "watching", "done_s": 30.0, "total_s": 60.0, "left_s": None,
                     "tokens": 0, "questions": 0, "inputs_done": 0, "inputs": 2}  # fmt: skip
    assert last["stage"] == "ended"


def test_progress_for_programs_goes_to_stderr(fake: FakeRun, capsys):
    media("a.mp4", "b.mp4")
    assert omnimem("summarize", "a.mp4", "b.mp4", "--progress", "json") == 0
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.err.splitlines() if line.startswith("{")]
    assert {line["input"] for line in lines} == {"[1/2] a.mp4", "[2/2] b.mp4"} and "{" not in shown.out
    assert omnimem("summarize", "a.mp4", "--force", "--progress", "none") == 0
    assert "watching" not in capsys.readouterr().err


def test_the_log_has_every_message_with_its_time_even_when_nothing_is_printed(fake: FakeRun, capsys):
    media("a.mp4")
    assert omnimem("summarize", "a.mp4", "gone.mp4", "-q", "--log", "run.log") == 3
    assert "watched" not in capsys.readouterr().err
    lines = Path("run.log").read_text().splitlines()
    assert all(line[:4].isdigit() and line[10] == "T" for line in lines)
    assert any("a.mp4: " in line and "watched" in line for line in lines)
    assert any("gone.mp4" in line and "error" in line for line in lines)
    assert omnimem("summarize", "a.mp4", "--log", "nowhere/run.log") == 8


def test_rows_of_several_inputs_are_drawn_together_and_leave_nothing():
    from rich.console import Console

    console = Console(force_terminal=True, width=80, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    bars = Bars(console)
    bars.count = Count(2)
    one, two = bars.row("a.mp4"), bars.row("b.mp4")
    one(Progress("watching", 1.0, 2.0))
    assert [line.split(":")[0] for line in bars._draw().plain.splitlines()] == ["a.mp4", "b.mp4", "0 of 2 done"]
    one.close()
    two.close()
    assert bars.rows == []
