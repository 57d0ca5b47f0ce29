"""An answer that loops is asked for once more with a penalty, and replaced only by a better one."""

import pytest
from scripted import ScriptedSession, sound, watch

from omnimem_cli.base.settings import Settings
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets.preset import Question
from omnimem_cli.tasks.retry import PENALTY, answers_to
from omnimem_cli.tasks.summarize import Summarize
from omnimem_cli.tasks.transcribe import Transcribe

LOOP = "and so on " * 20


def test_only_what_loops_is_put_again_with_a_penalty():
    session = ScriptedSession(["One.", LOOP, "Three.", "Two."])
    answers = answers_to(session, ["a?", "b?", "c?"], max_tokens=9, held=session.hold(["a?", "b?", "c?"], (0.0, 0.0)))
    assert [answer.text for answer in answers] == ["One.", "Two.", "Three."]
    first, second = session.asked
    assert first.texts == ["a?", "b?", "c?"] and first.penalty == 1.0
    assert second.texts == ["b?"] and second.penalty == PENALTY > 1
    assert len(first.held) == 3 and len(second.held) == 1 and first.max_tokens == second.max_tokens == 9


def test_what_is_put_again_keeps_its_own_limit():
    session = ScriptedSession(["One.", LOOP, "Two."])
    answers_to(session, ["a?", "b?"], max_tokens=[9, 8])
    assert [call.max_tokens for call in session.asked] == [[9, 8], [8]]


@pytest.mark.parametrize("again", ["round and round and " * 20, " "])
def test_a_second_answer_that_is_no_better_does_not_replace_the_first(again):
    session = ScriptedSession([LOOP, again])
    (answer,) = answers_to(session, ["a?"], max_tokens=9)
    assert answer.text == LOOP and len(session.asked) == 2


def test_a_session_is_told_what_will_not_end_by_itself():
    session = ScriptedSession([LOOP, "Two."])
    answers_to(session, ["a?"], max_tokens=9)
    assert all(asked.loops(LOOP) and not asked.loops("One.") for asked in session.asked)


def test_nothing_is_put_again_when_nothing_loops():
    session = ScriptedSession(["No, no, no.", "Two."])
    answers_to(session, ["a?", "b?"], max_tokens=9)
    assert len(session.asked) == 1
    assert answers_to(session, [], max_tokens=9) == [] and len(session.asked) == 1


SECONDS = sound(0.0, [(6.0, 0.3)])


@pytest.mark.parametrize("make", [Summarize, Transcribe, lambda settings: Ask(settings, [Question("q", "?")])])
@pytest.mark.parametrize(("again", "codes"), [("Two birds.", []), (LOOP, ["repetition"])])
def test_every_task_asks_again_and_warns_only_if_that_loops_too(make, again, codes):
    task, session = make(Settings()), ScriptedSession([LOOP, again])
    part = watch(task, session, SECONDS, per_chunk=3)
    assert len(session.asked) == 2 and session.asked[1].penalty == PENALTY
    assert [note["code"] for note in task.warnings] == codes
    assert ("Two birds." in str(part)) == (not codes)


def test_repeats_in_an_answer_that_a_grammar_binds_are_not_asked_about_again():
    session = ScriptedSession([LOOP, LOOP, "Two birds."])
    first, second = answers_to(session, ["a?", "b?"], max_tokens=9, grammars=["{}", None])
    assert (first.text, second.text) == (LOOP, "Two birds.")
    assert [asked.texts for asked in session.asked] == [["a?", "b?"], ["b?"]]
