"""Alarms of a transcript: windows on end without words, or with the same ones."""

import pytest
from scripted import ScriptedSession, sound, watch

from omnimem_cli.base.settings import Settings
from omnimem_cli.results.codes import DEGRADING
from omnimem_cli.session.answering import Answer
from omnimem_cli.tasks.alarms import WindowAlarms
from omnimem_cli.tasks.prompts import NOTHING_SAID
from omnimem_cli.tasks.transcribe import Transcribe

LOUD = 0.2


def alarms(*texts: str | None) -> list[dict]:
    """The alarms of windows of ten seconds with these texts."""
    followed = WindowAlarms()
    for number, text in enumerate(texts):
        followed.add((10.0 * number, 10.0 * number + 10.0), text)
    followed.end()
    return followed.warnings


@pytest.mark.parametrize(
    ("reply", "code"), [("", "nothing_written"), ("Thanks for watching this!", "same_words")], ids=["empty", "same"]
)
def test_windows_on_end_without_words_of_their_own_are_an_alarm_with_its_span(reply, code):
    task = Transcribe(Settings())
    watch(task, ScriptedSession(lambda text: reply), sound(0.0, [(100.0, LOUD)]), 5)
    (alarm,) = (note for note in task.warnings if note["code"] in DEGRADING)
    assert alarm["code"] == code
    assert " 0:00–1:40" in alarm["message"]


def test_noise_in_which_the_model_hears_no_speech_is_no_alarm():
    task = Transcribe(Settings())
    watch(task, ScriptedSession(lambda text: NOTHING_SAID), sound(0.0, [(100.0, LOUD)]), 5)
    assert not DEGRADING & {note["code"] for note in task.warnings}


def test_windows_of_special_tokens_alone_are_an_alarm():
    task = Transcribe(Settings())
    watch(task, ScriptedSession(lambda text: Answer("", 7, True)), sound(0.0, [(20.0, LOUD)]), 5)
    assert {"no_text"} == DEGRADING & {note["code"] for note in task.warnings}


def test_short_cheers_and_two_windows_on_end_are_no_alarm():
    assert alarms(*["Yes."] * 6) == []
    assert alarms("", "", "He came in.", "", None, "", "He came in.", "He came in.", "") == []


def test_each_stretch_has_an_alarm_of_its_own():
    first, second = alarms("", "", "", "A word.", "", "", "", "", "Another.")
    assert " 0:00–0:30," in first["message"] and " 0:40–1:20," in second["message"]


def test_an_alarm_counts_windows_across_chunks_and_checkpoints():
    task = Transcribe(Settings(), window_s=10.0)
    task.alarms.add((0.0, 10.0), "")
    task.alarms.add((10.0, 20.0), "")
    again = Transcribe(Settings(), window_s=10.0)
    again.load_state(task.state())
    again.alarms.add((20.0, 30.0), "")
    again.alarms.end()
    assert [note["code"] for note in again.alarms.warnings] == ["nothing_written"]
