"""Evidence of the parts of an answer: of the lines of a text, and of the items of JSON arrays."""

import json
from dataclasses import dataclass

import pytest
from scripted import ScriptedSession, mute, watch

from omnimem_cli.base.settings import Settings
from omnimem_cli.session.answering import Answer
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.evidence import best_of, evidence_by_item, joined, paragraphs_of
from omnimem_cli.tasks.presets.preset import Question
from omnimem_cli.tasks.prompts import NOTE, TITLE
from omnimem_cli.tasks.summarize import Summarize


@dataclass
class Places:
    """Stands for an answer's attention: the evidence of a part is where it begins and ends in the text."""

    text: str

    def of_answer(self) -> list[dict]:
        return [span(0, len(self.text))]

    def of_text(self, start: int, end: int) -> list[dict]:
        return [span(start, end)]


def span(start_s: float, end_s: float, score: float = 0.5) -> dict:
    return {"start_s": start_s, "end_s": end_s, "kind": "visual", "score": score}


def answer(text: str) -> Answer:
    return Answer(text, len(text), True, Places(text))


def parts(text: str, found: dict[str, list[dict]]) -> dict[str, str]:
    """What of the text each evidence lies on."""
    return {pointer: text[spans[0]["start_s"] : spans[0]["end_s"]] for pointer, spans in found.items()}


def test_lines_have_the_evidence_of_their_own_characters():
    text = "One.\n\nTwo.\nTwo."
    assert paragraphs_of(text, answer(text)) == [
        {"line": 0, "evidence": [span(0, 4)]},
        {"line": 2, "evidence": [span(6, 10)]},
        {"line": 3, "evidence": [span(11, 15)]},
    ]


def test_a_line_that_the_answer_does_not_hold_has_no_evidence():
    found = paragraphs_of("One.\nMade up.\nTwo.", answer("One.\nTwo.\nTwo."))
    assert [(each["line"], each["evidence"]) for each in found] == [(0, [span(0, 4)]), (1, []), (2, [span(5, 9)])]


def test_joined_texts_keep_the_evidence_of_their_lines():
    first, second = "One.\nTwo.", "Three."
    text, paragraphs = joined(
        [(first, paragraphs_of(first, answer(first))), (second, paragraphs_of(second, answer(second)))]
    )
    lines = text.split("\n")
    assert [lines[each["line"]] for each in paragraphs] == ["One.", "Two.", "Three."]


def test_the_best_spans_of_several_lines_are_given_once():
    lines = [[span(0, 4, 0.4), span(8, 9, 0.3)], [span(2, 5, 0.6)], [span(20, 21, 0.2), span(30, 31, 0.1)]]
    best = best_of([{"line": n, "evidence": spans} for n, spans in enumerate(lines)])
    assert best == [span(2, 5, 0.6), span(8, 9, 0.3), span(20, 21, 0.2)]


@pytest.mark.parametrize("before", ["", "Here it is: ", "[not it] {nor: it} ", "[1, 2]\n"])
@pytest.mark.parametrize("indent", [None, 2])
def test_items_of_arrays_are_found_in_the_text_by_pointer(before, indent):
    data = {"tasks": [{"who": "Ann", "what": ["a", "b"]}, {"who": "], [", "what": []}], "x/y": [7]}
    text = before + json.dumps(data, indent=indent)
    found = parts(text, evidence_by_item(data, answer(text)))
    assert list(found) == ["/tasks/0", "/tasks/0/what/0", "/tasks/0/what/1", "/tasks/1", "/x~1y/0"]
    assert json.loads(found["/tasks/1"]) == data["tasks"][1]
    assert found["/tasks/0/what/1"] == '"b"' and found["/x~1y/0"] == "7"


def test_data_without_arrays_or_without_a_text_has_no_items():
    assert evidence_by_item({"who": "Ann"}, answer('{"who": "Ann"}')) == {}
    assert evidence_by_item("Ann", answer('"Ann"')) == {}
    assert evidence_by_item(["Ann"], answer("Ann")) == {}


def test_answers_and_their_items_carry_evidence():
    schema = {"type": "array", "items": {"type": "string"}}
    task = Ask(Settings(), [Question("q1", "Who?"), Question("names", "Who?", schema)])
    session = ScriptedSession([answer("Ann."), answer('["Ann", "Bo"]')])
    plain, listed = watch(task, session, mute(0.0, 10.0))["answers"]
    assert (plain["evidence"], plain["item_evidence"]) == ([span(0, 4)], {})
    assert listed["item_evidence"] == {"/0": [span(1, 6)], "/1": [span(8, 12)]}


@pytest.mark.parametrize(("text", "kind"), [("[]", "array"), ("{}", "object"), ('""', "string")])
def test_data_that_say_nothing_rest_on_nothing(text, kind):
    task = Ask(Settings(), [Question("names", "Who?", {"type": kind})])
    (listed,) = watch(task, ScriptedSession([answer(text)]), mute(0.0, 10.0))["answers"]
    assert (listed["evidence"], listed["item_evidence"]) == ([], {})


@pytest.mark.parametrize("style", ["brief", "detailed", "chapters"])
def test_every_paragraph_of_a_summary_and_every_chapter_carries_evidence(style):
    told = {NOTE: "A note.\nIts end.", TITLE: "A title"}
    session = ScriptedSession(lambda text: answer(told.get(text, "The whole.")))
    summary = watch(Summarize(Settings(), style=style, notes_s=60.0), session, mute(0.0, 120.0), 5)["summary"]
    for text, paragraphs in [(part["text"], part["paragraphs"]) for part in (summary, *summary["chapters"])]:
        lines = text.split("\n")
        said = [number for number, line in enumerate(lines) if line and not line.startswith("[")]  # no heading of times
        assert [each["line"] for each in paragraphs] == said
        assert all(each["evidence"] for each in paragraphs)
    assert all(chapter["evidence"] for chapter in summary["chapters"])


TIMED = {"type": "object", "timed": True, "properties": {"what": {"type": "string"}}}


def at(start_s: float, end_s: float) -> dict:
    return {"start_s": start_s, "end_s": end_s, "source": "evidence"}


def timed(schema: dict, text: str) -> dict:
    """The record of one answer to a question with this schema."""
    task = Ask(Settings(), [Question("events", "What?", schema)])
    return watch(task, ScriptedSession([answer(text)]), mute(0.0, 10.0))["answers"][0]


def test_an_item_is_timed_by_the_evidence_of_its_own_tokens():
    text = '[{"what": "a"}, {"what": "b"}]'
    record = timed({"type": "array", "items": TIMED}, text)
    assert record["data"] == [{"at": at(1, 14), "what": "a"}, {"at": at(16, 29), "what": "b"}]
    assert list(record["data"][0]) == ["at", "what"] and record["answer"] == text


def test_an_object_in_no_list_is_timed_by_the_whole_answer_and_one_in_an_item_by_the_item():
    text = '{"what": "a"}'
    assert timed(TIMED, text)["data"] == {"at": at(0, 13), "what": "a"}
    deep = {"type": "array", "items": {"type": "object", "properties": {"place": TIMED}}}
    assert timed(deep, '[{"place": {"what": "a"}}]')["data"] == [{"place": {"at": at(1, 25), "what": "a"}}]


def test_a_time_that_the_model_wrote_is_replaced():
    text = '[{"at": {"start_s": 7, "end_s": 9}, "what": "a"}]'
    assert timed({"type": "array", "items": TIMED}, text)["data"] == [{"at": at(1, 48), "what": "a"}]


def test_an_item_without_evidence_has_no_time_and_does_not_borrow_one():
    record = Answer('[{"what": "a"}]', 5, True)  # nothing was observed
    task = Ask(Settings(), [Question("events", "What?", {"type": "array", "items": TIMED})])
    assert watch(task, ScriptedSession([record]), mute(0.0, 10.0))["answers"][0]["data"] == [{"at": None, "what": "a"}]


def test_the_model_sees_nothing_of_the_wish_for_times():
    schema = {"type": "array", "items": TIMED}
    bare = {"type": "array", "items": {key: value for key, value in TIMED.items() if key != "timed"}}
    asked = []
    for each in (schema, bare):
        session = ScriptedSession(["[]"])
        watch(Ask(Settings(), [Question("events", "What?", each)]), session, mute(0.0, 10.0))
        asked += session.asked
    assert asked[0] == asked[1]
