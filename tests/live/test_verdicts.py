"""Verdicts: how a rule is asked about windows, and what counts as a yes."""

import json

import jsonschema
import pytest
from scripted import ScriptedSession

from omnimem_cli.live.alert_rules import Rule
from omnimem_cli.live.verdicts import SCHEMA, Verdict, names, question_of, verdict_of, verdicts
from omnimem_cli.tasks.presets import answer_schema
from omnimem_cli.tasks.prompts import NOTE

DOOR = Rule("door", "somebody opens the back door")
STAR = Rule("star", "Which word is written on the green star?")
LIST = "- blue star 3 plan\n- green star 4 film, apple"
ABSENT = "Not in the video."


def test_the_question_holds_the_rule_and_what_is_normal():
    text = question_of(DOOR, "The cat comes in at night.")
    assert "somebody opens the back door?" in text and "The cat comes in at night." in text
    assert "normal" not in question_of(DOOR)


def test_answers_are_bound_to_yes_or_no_and_a_reason():
    said = {"answer": "no", "reason": "The door is shut."}
    session = ScriptedSession(lambda text: json.dumps(said), world=None)
    assert verdicts(session, [((0, 30), DOOR)], "quiet") == [Verdict(0, 30, False, "The door is shut.")]
    (asked,) = session.asked
    assert asked.grammars == (answer_schema.grammar(SCHEMA),) and asked.texts == [question_of(DOOR, "quiet")]
    jsonschema.validate(said, SCHEMA)
    assert answer_schema.problems(SCHEMA) == []


@pytest.mark.parametrize("text", ["", "yes", "{}", "[]", "7", '{"answer": "maybe", "reason": "x"}', '{"answer": "yes"'])
def test_what_is_no_verdict_is_neither_yes_nor_no(text):
    assert verdict_of(text) == (None, "")


def generated(answer: str, listed: str) -> ScriptedSession:
    """A session of a model of the generated world: its answer to a rule, and its description of a stretch."""
    return ScriptedSession(lambda text: listed if text == NOTE else answer)


@pytest.mark.parametrize(
    ("answer", "listed", "yes"),
    [
        ("film", LIST, True),
        (ABSENT, LIST, False),
        ("film", "- blue star 4 film", False),
        ("film", "- green circle 4 film\n- blue star 3 plan", False),
        ("film", "", False),
    ],
)
def test_a_model_of_a_generated_world_must_describe_what_it_answers_about(answer, listed, yes):
    session = generated(answer, listed)
    assert verdicts(session, [((25, 60), STAR)]) == [Verdict(25, 60, yes, answer)]
    assert session.asked[0].texts == [STAR.sentence] and session.asked[0].grammars == (None,)


def test_a_window_without_an_answer_is_not_described():
    session = generated(ABSENT, LIST)
    verdicts(session, [((25, 60), STAR)])
    assert len(session.asked) == 1


def test_a_window_is_described_once_for_all_rules_in_stretches_that_cover_it():
    session = generated("film", LIST)
    told = verdicts(
        session, [((25, 60), STAR), ((25, 60), Rule("blue", "What is on the blue star?")), ((60, 75), STAR)]
    )
    assert [verdict.yes for verdict in told] == [True] * 3
    assert session.asked[1].whole == [(25, 45), (40, 60), (60, 75)]


def test_a_sentence_that_names_nothing_of_the_world_needs_no_line():
    assert names("What is shown first?", [])
    assert names("What is shown while the word apple is said?", LIST.splitlines())
    assert not names("What is shown while the word apple is said?", ["- red star 1 art"])
