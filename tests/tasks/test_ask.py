"""Questions: one batch, answers bound to their schemas, four ways to end."""

import pytest
from scripted import ScriptedSession, mute, watch

from omnimem_cli.base.settings import Settings
from omnimem_cli.session.answering import Answer
from omnimem_cli.session.look import Looked
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets.answer_schema import grammar
from omnimem_cli.tasks.presets.preset import Question
from omnimem_cli.tasks.prompts import NOT_IN_VIDEO, SAY_NOT_IN_VIDEO

NO_EVIDENCE = {"evidence": [], "item_evidence": {}}
NAMES = {"type": "array", "items": {"type": "string"}}
OWNER = {"type": "object", "properties": {"owner": {"type": ["string", "null"]}}, "required": ["owner"]}


def run(questions, replies, **settings):
    session, task = ScriptedSession(replies), Ask(Settings(**settings), questions)
    return watch(task, session, mute(0.0, 10.0))["answers"], session.asked, task


def ended(text, schema=None, finished=True):
    """Status, data and the codes of the warnings of one answer."""
    answers, _, task = run([Question("q1", "Who?", schema)], [Answer(text, len(text), finished)])
    return answers[0]["status"], answers[0]["data"], [w["code"] for w in task.warnings]


def test_all_questions_go_in_one_batch_at_the_end():
    questions = [Question("q1", "Who?"), Question("q2", "When?")]
    answers, asked, task = run(questions, ["Ann.", "Monday."])
    assert [(a.texts, a.held, a.at_s) for a in asked] == [(["Who?", "When?"], None, 10.0)]
    assert answers == [
        {"id": "q1", "question": "Who?", "answer": "Ann.", "status": "answered", "data": None} | NO_EVIDENCE,
        {"id": "q2", "question": "When?", "answer": "Monday.", "status": "answered", "data": None} | NO_EVIDENCE,
    ]
    assert task.warnings == []


def test_the_schema_is_part_of_the_question_and_not_of_the_result():
    answers, asked, _ = run([Question("names", "Who?", NAMES)], ['["Ann"]'], language="fr")
    assert asked[0].texts[0].startswith("Who? Answer in French.\n\nAnswer with JSON only")
    assert '"items": {"type": "string"}' in asked[0].texts[0]
    told = {"id": "names", "question": "Who?", "answer": '["Ann"]', "status": "answered", "data": ["Ann"]}
    assert answers[0] == told | NO_EVIDENCE


def test_an_answer_with_a_schema_is_bound_and_another_one_is_free():
    _, asked, _ = run([Question("q1", "Who?"), Question("names", "Names?", NAMES)], ["Ann.", "[]"])
    assert [call.grammars for call in asked] == [(None, grammar(NAMES))]


def test_repeats_inside_data_are_no_loop():
    text = "[" + ", ".join(['"a"'] * 30) + "]"
    answers, asked, task = run([Question("names", "Who?", NAMES)], [text])
    assert (answers[0]["data"], answers[0]["answer"]) == (["a"] * 30, text)
    assert task.warnings == [] and len(asked) == 1


def test_only_a_model_of_the_world_at_large_is_asked_to_say_that_the_video_has_no_answer():
    for world, wish in (("omnimem world", ""), (None, f" {SAY_NOT_IN_VIDEO}")):
        session = ScriptedSession(["Ann.", "[]"], world=world)
        watch(Ask(Settings(), [Question("q1", "Who?"), Question("q2", "Who?", NAMES)]), session, mute(0.0, 4.0))
        assert session.asked[0].texts[0] == f"Who?{wish}" and SAY_NOT_IN_VIDEO not in session.asked[0].texts[1]


@pytest.mark.parametrize(
    "text",
    [
        NOT_IN_VIDEO,
        "not in the video",
        '"Not in the video."',
        "**Not in the video.** The talk is about trains.",
    ],
)
def test_a_model_that_says_so_found_nothing(text):
    assert ended(text) == ("not_in_video", None, [])


@pytest.mark.parametrize("text", ["Not in the video, but on the slides.", "It is not in the video.", "Ann."])
def test_other_words_are_an_answer(text):
    assert ended(text) == ("answered", None, [])


def test_an_answer_in_words_is_cut_or_empty():
    assert ended("Ann and", finished=False) == ("cut", None, ["answer_cut"])
    assert ended("") == ("empty", None, ["answer_empty"])


def test_data_is_complete_or_nothing_or_closed_early_or_cut_too_early():
    assert ended('{"owner": "Bo"}', OWNER) == ("answered", {"owner": "Bo"}, [])
    assert ended('{"owner": null}', OWNER) == ("not_in_video", {"owner": None}, [])
    assert ended("null", {"type": ["string", "null"]}) == ("not_in_video", None, [])
    assert ended('"Not in the video."', {"type": "string"}) == ("not_in_video", NOT_IN_VIDEO, [])
    assert ended("[]", NAMES) == ("answered", [], [])
    assert ended('["Ann"]', NAMES, finished=False) == ("cut", ["Ann"], ["answer_cut"])
    assert ended('["Ann', NAMES, finished=False) == ("invalid", None, ["answer_invalid"])
    assert ended("[" * 3000, NAMES, finished=False) == ("invalid", None, ["answer_invalid"])


def test_a_number_beyond_all_floats_stays_a_number():
    status, data, warnings = ended("-1e999", {"type": "number"})
    assert (status, warnings) == ("answered", []) and data == -1.7976931348623157e308


def test_data_that_is_nested_without_end_is_no_data():
    deep = "[" * 400 + "]" * 400
    assert ended(deep, {}) == ("invalid", None, ["answer_invalid"])
    assert ended('["' + "[" * 400 + '\\""]', {})[0] == "answered"


class Look:
    """A second look in which every question is put once more, over some spans."""

    def __init__(self, *spans):
        self.spans = list(spans)

    def again(self, answers, ask):
        return [
            Looked(answer, self.spans) for answer in ask(list(range(len(answers))), "a detail", [[]] * len(answers))
        ]


def looked_at(questions, replies, *spans):
    session, task = ScriptedSession(replies), Ask(Settings(), questions)
    session.look = Look(*spans)
    return task.finish(session, 10.0)["answers"], session.asked, task


def test_after_a_second_look_the_last_answer_counts_and_the_first_is_told():
    questions = [Question("q1", "Who?"), Question("names", "Names?", NAMES)]
    replies = [NOT_IN_VIDEO, '["Ann"]', "Ann.", '["Ann"]']
    answers, asked, task = looked_at(questions, replies, (2.0, 4.0))
    spans = [{"start_s": 2.0, "end_s": 4.0}]
    before = {"answer": NOT_IN_VIDEO, "status": "not_in_video", "data": None}
    assert (answers[0]["answer"], answers[0]["status"]) == ("Ann.", "answered")
    assert answers[0]["look"] == {"spans": spans, "before": before, "changed": True}
    assert answers[1]["look"]["changed"] is False and answers[1]["data"] == ["Ann"]
    assert [call.grammars for call in asked] == [(None, grammar(NAMES))] * 2 and task.warnings == []


def test_only_the_last_answer_is_warned_of():
    _, _, task = looked_at([Question("q1", "Who?")], ["", "Ann."], (2.0, 4.0))
    assert task.warnings == []


def test_answers_of_a_session_that_cannot_look_again_say_nothing_of_it():
    answers, _, _ = run([Question("q1", "Who?")], ["Ann."])
    assert "look" not in answers[0]
