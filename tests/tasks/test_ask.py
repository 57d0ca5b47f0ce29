"""Questions: one batch, answers held against their schemas, one repair."""

import pytest
from scripted import ScriptedSession, mute, watch

from omnimem_cli.base.settings import Settings
from omnimem_cli.session.answering import Answer
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets import answer_schema
from omnimem_cli.tasks.presets.preset import Question

NO_EVIDENCE = {"evidence": [], "item_evidence": {}}
NAMES = {"type": "array", "items": {"type": "string"}}
OWNER = {"type": "object", "properties": {"owner": {"type": ["string", "null"]}}, "required": ["owner"]}


def run(questions, replies, **settings):
    session, task = ScriptedSession(replies), Ask(Settings(**settings), questions)
    return watch(task, session, mute(0.0, 10.0))["answers"], session.asked, task


def test_all_questions_go_in_one_batch_at_the_end():
    questions = [Question("q1", "Who?"), Question("q2", "When?")]
    answers, asked, task = run(questions, ["Ann.", "Monday."])
    assert [(a.texts, a.window, a.at_s) for a in asked] == [(["Who?", "When?"], None, 10.0)]
    assert answers == [
        {"id": "q1", "question": "Who?", "answer": "Ann.", "data": None} | NO_EVIDENCE,
        {"id": "q2", "question": "When?", "answer": "Monday.", "data": None} | NO_EVIDENCE,
    ]
    assert task.warnings == []


def test_the_schema_is_part_of_the_question_and_not_of_the_result():
    answers, asked, _ = run([Question("names", "Who?", NAMES)], ['["Ann"]'], language="fr")
    assert asked[0].texts[0].startswith("Who? Answer in French.\n\nAnswer with JSON only")
    assert '"items": {"type": "string"}' in asked[0].texts[0]
    told = {"id": "names", "question": "Who?", "answer": '["Ann"]', "data": ["Ann"]}
    assert answers[0] == told | NO_EVIDENCE


@pytest.mark.parametrize(
    "text",
    [
        '["Ann", "Bo"]',
        '```json\n["Ann", "Bo"]\n```',
        'The names are: ["Ann", "Bo"]. I hope that helps {you}!',
        'See [1]. ["Ann", "Bo"]',
        '["Ann", "Bo"]\nHuman: {"more": 1}',
    ],
)
def test_json_is_found_in_the_text(text):
    answers, asked, _ = run([Question("names", "Who?", NAMES)], [text])
    assert answers[0]["data"] == ["Ann", "Bo"]
    assert len(asked) == 1


def test_a_wrong_answer_is_asked_again_once_with_what_is_wrong():
    questions = [Question("q1", "Who?"), Question("owner", "Whose?", OWNER), Question("names", "Names?", NAMES)]
    answers, asked, task = run(questions, ["Ann.", '{"owner": 7}', "[]", '{"owner": "Bo"}'])
    assert len(asked) == 2
    assert len(asked[1].texts) == 1
    assert asked[1].texts[0].startswith(asked[0].texts[1])
    assert "at owner: 7 is not of type" in asked[1].texts[0]
    assert '{"owner": 7}' in asked[1].texts[0]
    assert [a["data"] for a in answers] == [None, {"owner": "Bo"}, []]
    assert task.warnings == []


def test_a_second_wrong_answer_gives_null_and_a_warning():
    answers, asked, task = run([Question("owner", "Whose?", OWNER)], ["Bo's.", "Really Bo's."])
    assert len(asked) == 2
    assert answers[0]["data"] is None
    assert answers[0]["answer"] == "Really Bo's."
    assert [w["code"] for w in task.warnings] == ["answer_invalid"]
    assert "'owner'" in task.warnings[0]["message"]


def test_repeats_inside_data_are_no_loop():
    text = "[" + ", ".join(['"a"'] * 30) + "]"
    answers, _, task = run([Question("names", "Who?", NAMES)], [text])
    assert answers[0]["data"] == ["a"] * 30
    assert task.warnings == []


def test_a_cut_answer_without_a_schema_is_flagged():
    _, _, task = run([Question("q1", "Who?")], [Answer("Ann and", 768, False)])
    assert [w["code"] for w in task.warnings] == ["answer_cut"]


def test_json_values_skip_what_is_broken():
    assert list(answer_schema.json_values('{bad} [1, {"a": 2}] {"b": 3')) == [[1, {"a": 2}]]
    assert list(answer_schema.json_values(" 7 ")) == [7]
    assert list(answer_schema.json_values("no json")) == []


def test_deep_nesting_is_survived():
    assert list(answer_schema.json_values("text " + "[" * 3000)) == []
