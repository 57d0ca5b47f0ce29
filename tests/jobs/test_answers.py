"""Answers of one video in one file: which of them stay when more is asked, and what is said of those that go."""

import json
import os
from pathlib import Path

import pytest
from fake_run import FakeRun, media, omnimem
from jsonschema import validate

from omnimem_cli.results.codes import warning
from omnimem_cli.results.result import schema


def asked(*questions: str, flags: tuple[str, ...] = ()) -> int:
    """`ask a.mp4` these questions, as JSON."""
    typed = [word for question in questions for word in ("-Q", question)]
    return omnimem("ask", "a.mp4", "-f", "json", *typed, *flags)


def held(file: str = "a.answers.json") -> dict[str, str]:
    """The ids and the questions of a result file, which is a valid result."""
    content = json.loads(Path(file).read_text())
    validate(content, schema())
    return {answer["id"]: answer["question"] for answer in content["answers"]}


def test_a_second_question_is_added_to_the_answers_and_asked_alone(fake: FakeRun):
    media("a.mp4")
    assert asked("first?") == asked("second?") == asked("first?", "third?") == 0
    assert held() == {"q1": "first?", "q2": "second?", "q3": "third?"}
    assert fake.asked == ["first?", "second?", "third?"]


def test_a_question_that_was_answered_is_done_before_whatever_else_was_asked(fake: FakeRun, capsys):
    media("a.mp4")
    asked("first?", "second?")
    asked("third?")
    assert asked("second?") == asked("third?", "first?") == 0
    assert fake.watched == ["a.mp4", "a.mp4"]
    assert capsys.readouterr().err.count("skipped, done before") == 2
    assert omnimem("ask", "a.mp4", "-Q", "second?", "-n") == 0
    assert capsys.readouterr().out.startswith("would skip: done before")


def test_every_format_that_shows_the_answers_shows_the_new_one_too(fake: FakeRun, capsys):
    media("a.mp4")
    assert asked("first?", flags=("-f", "md,html")) == 0
    Path("a.answers.html").write_text("my own page")
    capsys.readouterr()
    assert omnimem("ask", "a.mp4", "-Q", "second?") == 0
    assert list(held().values()) == ["first?", "second?"]
    text = Path("a.answers.md").read_text()
    assert text.index("## first?") < text.index("## second?")
    assert Path("a.answers.html").read_text() == "my own page", "what a person wrote stays"
    assert set(capsys.readouterr().out.split()) == {"a.answers.md", "a.answers.json"}


def test_deleted_answers_are_written_again_with_all_that_was_asked(fake: FakeRun):
    media("a.mp4")
    asked("first?")
    asked("second?")
    Path("a.answers.json").unlink()
    assert asked("first?") == 0
    assert list(held().values()) == ["first?", "second?"] and len(fake.watched) == 2


def test_force_starts_anew_without_a_word(fake: FakeRun, capsys):
    media("a.mp4")
    asked("first?")
    assert asked("second?", flags=("--force",)) == 0
    assert held() == {"q1": "second?"} and "warning" not in capsys.readouterr().err


def test_answers_of_other_settings_are_replaced_and_the_run_says_so(fake: FakeRun, capsys):
    media("a.mp4")
    asked("first?", "second?")
    capsys.readouterr()
    assert asked("third?", flags=("--budget", "4k")) == 0
    assert held() == {"q1": "third?"}
    said = " ".join(capsys.readouterr().err.split())
    assert "2 earlier answers were made with other settings (--budget) and will be replaced; use -o" in said
    fake.model = {"name": "fake", "revision": "2"}
    asked("third?", flags=("--budget", "4k"))
    assert "1 earlier answer was by another model and will be replaced" in " ".join(capsys.readouterr().err.split())


def test_answers_about_another_video_of_the_same_name_are_replaced(fake: FakeRun, capsys):
    media("a.mp4")
    asked("first?")
    Path("a.mp4").write_bytes(b"another lecture")
    os.utime("a.mp4", (2, 2))
    assert asked("second?") == 0
    assert held() == {"q1": "second?"}
    assert "1 earlier answer was about other content" in " ".join(capsys.readouterr().err.split())


def test_a_preset_keeps_a_file_of_its_own_with_what_it_asks(fake: FakeRun, capsys):
    media("a.mp4")
    preset = "description: mine\nquestions:\n- {id: one, question: 'one?'}\n- {id: two, question: 'two?'}\n"
    Path("mine.yaml").write_text(preset)
    assert omnimem("ask", "a.mp4", "--preset", "mine.yaml", "-f", "json") == asked("first?") == 0
    assert (held("a.mine.json"), held()) == ({"one": "one?", "two": "two?"}, {"q1": "first?"})
    Path("mine.yaml").write_text(preset.splitlines()[0] + "\nquestions:\n- {id: one, question: 'one?'}\n")
    capsys.readouterr()
    assert omnimem("ask", "a.mp4", "--preset", "mine.yaml", "-f", "json") == 0
    assert held("a.mine.json") == {"one": "one?"}
    assert "1 earlier answer was to other questions" in " ".join(capsys.readouterr().err.split())


def test_answers_of_a_preset_in_a_named_file_are_not_mixed_with_typed_questions(fake: FakeRun):
    media("a.mp4")
    Path("mine.yaml").write_text("description: mine\nquestions:\n- {id: one, question: 'one?'}\n")
    omnimem("ask", "a.mp4", "--preset", "mine.yaml", "-o", "notes.json")
    assert omnimem("ask", "a.mp4", "-Q", "first?", "-o", "notes.json") == 0
    assert held("notes.json") == {"q1": "first?"}
    assert omnimem("ask", "a.mp4", "-Q", "second?", "-o", "notes.json") == 0
    assert held("notes.json") == {"q1": "first?", "q2": "second?"}


def test_stdout_gets_what_was_asked_now(fake: FakeRun, capsys):
    media("a.mp4")
    asked("first?")
    capsys.readouterr()
    omnimem("ask", "a.mp4", "-Q", "second?", "-o", "-")
    assert [a["question"] for a in json.loads(capsys.readouterr().out)["answers"]] == ["second?"]
    assert held() == {"q1": "first?"}


def test_a_memory_that_is_missing_is_made_and_the_answers_to_its_questions_replace_their_own(fake: FakeRun):
    media("a.mp4")
    asked("first?", "second?")
    assert asked("second?", flags=("--keep-memory",)) == 0
    assert held() == {"q1": "first?", "q2": "second?"}
    assert fake.asked == ["first?", "second?", "second?"] and Path("a.omnimem").exists()


@pytest.mark.parametrize("code", ["answer_cut", "gap"])
def test_warnings_about_answers_stay_with_them_and_those_about_the_watch_are_of_the_last_one(fake: FakeRun, code: str):
    media("a.mp4")
    fake.warnings = [warning(code, "Something was wrong.")]
    asked("first?")
    fake.warnings = []
    asked("second?")
    notes = json.loads(Path("a.answers.json").read_text())["warnings"]
    assert [note["code"] for note in notes if note["code"] == code] == ([code] if code == "answer_cut" else [])


def test_answers_that_a_watch_has_written_stay_when_more_is_asked(fake: FakeRun):
    media("a.mp4")
    assert omnimem("watch", "a.mp4", "-Q", "first?", "-f", "json") == 0
    assert asked("second?") == 0
    assert held() == {"q1": "first?", "q2": "second?"}
    assert asked("third?") == 0
    assert held() == {"q1": "first?", "q2": "second?", "q3": "third?"}


def test_a_watch_says_which_answers_it_replaces(fake: FakeRun, capsys):
    media("a.mp4")
    asked("first?", "second?")
    assert omnimem("watch", "a.mp4", "-Q", "first?", "-f", "json") == 0
    assert "1 earlier answer was to other questions and will be replaced" in " ".join(capsys.readouterr().err.split())
    assert omnimem("watch", "a.mp4", "--with", "summary", "-f", "json", "--force") == 0
    assert "replaced" not in capsys.readouterr().err
