"""What a person at a terminal reads after `ask`: the answers, and where they are kept."""

import re
import sys

import pytest
from fake_run import FakeRun, media, omnimem

from omnimem_cli.commands.answers import print_answers


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def test_a_terminal_shows_the_answers_to_what_was_asked_now_and_their_file(fake: FakeRun, monkeypatch, capsys):
    on_a_terminal(monkeypatch)
    media("a.mp4")
    omnimem("ask", "a.mp4", "-Q", "first?")
    shown = capsys.readouterr().out
    assert shown.startswith("\x1b[1mfirst?\x1b[0m\na.mp4 under None\n\n") and shown.endswith("\na.answers.md\n")
    omnimem("ask", "a.mp4", "-Q", "second?")
    shown = capsys.readouterr().out
    assert "second?" in shown and "first?" not in shown
    omnimem("ask", "a.mp4", "-Q", "first?")
    assert "first?\x1b[0m\na.mp4 under None" in capsys.readouterr().out, "an answer of before is shown again"


def test_answers_are_shown_neither_when_quiet_nor_beside_data(fake: FakeRun, monkeypatch, capsys):
    on_a_terminal(monkeypatch)
    media("a.mp4")
    omnimem("ask", "a.mp4", "-Q", "first?", "-q")
    assert capsys.readouterr().out == "a.answers.md\n"
    omnimem("ask", "a.mp4", "-Q", "first?", "-o", "-", "-f", "txt")
    assert capsys.readouterr().out == "first?\na.mp4 under None\n"
    omnimem("summarize", "a.mp4")
    assert capsys.readouterr().out == "a.summary.md\n"


def test_off_a_terminal_there_are_paths_alone(fake: FakeRun, capsys):
    media("a.mp4")
    omnimem("ask", "a.mp4", "-Q", "first?")
    assert capsys.readouterr().out == "a.answers.md\n"


def test_an_answer_is_shown_with_its_times_and_its_end_and_moves_no_cursor(monkeypatch, capsys):
    on_a_terminal(monkeypatch)
    span = {"start_s": 65.0, "end_s": 70.0, "kind": "visual", "score": 0.9}
    both = {"item_evidence": {"/0": [span]}, "evidence": [span]}
    words = {"id": "q1", "question": "who?", "answer": "Ann\x1b[2J", "data": None, "status": "cut", "evidence": [span]}
    data = {"id": "tasks", "question": "?", "answer": "", "data": [{"who": "Bo"}], "status": "answered", **both}
    absent = {"id": "q2", "question": "when?", "answer": "x", "data": None, "status": "not_in_video"}
    print_answers({"answers": [words, data, absent]}, ["who?", "?", "when?"])
    plain = re.sub(r"\x1b\[[01]m", "", capsys.readouterr().out)
    assert plain == (
        "who?\nAnn[2J [1:05]\n(Cut at the token limit.)\n\nTasks\n- Who: Bo [1:05]\n\nwhen?\n(Not in the video.)\n\n"
    )
