"""Presets: the shipped ones, the user's own, and errors that name their line."""

import re
from pathlib import Path

import jsonschema
import pytest

from omnimem_cli.base.errors import UsageError
from omnimem_cli.tasks.presets import library as presets
from omnimem_cli.tasks.presets.preset import read_preset

SHIPPED = ("interview", "lecture", "meeting", "sports", "surveillance", "tutorial")
GOOD = "description: Mine.\nvariables: {team: null, tone: kind}\nquestions:\n- id: a\n  question: Who is in {team}?\n"


@pytest.fixture(autouse=True)
def user_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = presets.user_folder()
    folder.mkdir(parents=True)
    return folder


def problems(text: str) -> list[tuple[int, str]]:
    return [(p.line, p.message) for p in read_preset(text, "mine")[1]]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_preset_can_be_asked(name):
    assert presets.check(name) == []
    questions = presets.load(name).filled()
    assert len(questions) >= 5
    assert not any("{" in question.text for question in questions)
    for question in questions:
        if question.schema is not None:
            jsonschema.Draft202012Validator.check_schema(question.schema)


def test_the_shipped_presets_are_listed_in_order():
    listed = presets.list_presets()
    assert [entry.name for entry in listed] == list(SHIPPED)
    assert all(entry.origin == "built-in" and entry.description for entry in listed)


def test_the_meeting_preset_asks_for_decisions_owners_and_deadlines():
    schemas = {q.id: q.schema for q in presets.load("meeting").questions}
    assert {"decisions", "action_items", "open_questions"} <= set(schemas)
    assert set(schemas["action_items"]["items"]["required"]) == {"task", "owner", "deadline"}


def test_a_preset_of_the_user_goes_before_a_shipped_one(user_folder):
    (user_folder / "meeting.yaml").write_text(GOOD)
    assert presets.load("meeting").description == "Mine."
    assert {entry.name: entry.origin for entry in presets.list_presets()}["meeting"] == "user"


def test_a_broken_preset_of_the_user_is_listed_with_its_problem(user_folder):
    (user_folder / "bad.yaml").write_text("description: [")
    bad = next(entry for entry in presets.list_presets() if entry.name == "bad")
    assert bad.problems[0].message.startswith("this is not valid YAML")


def test_a_preset_can_be_a_file(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text(GOOD)
    assert presets.load(str(path)).name == "mine"


def test_variables_are_filled_in(tmp_path):
    preset, _ = read_preset(GOOD.replace("Who is in {team}?", "In {language} - {team}, {tone}, {tone}"), "mine")
    assert preset.filled({"team": "A {b}"})[0].text == "In the language that is spoken - A {b}, kind, kind"
    assert preset.filled({"team": "A", "language": "German"})[0].text.startswith("In German")
    with pytest.raises(UsageError, match="needs the variable 'team'"):
        preset.filled()
    with pytest.raises(UsageError, match="no variable 'teem'"):
        preset.filled({"team": "A", "teem": "B"})


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("value", [None, "", "  ", "ice hockey"])
def test_no_question_has_a_hole_whatever_its_variables_hold(name, value):
    preset = presets.load(name)
    given = {} if value is None else dict.fromkeys(preset.variables, value)
    for question in preset.filled(given):
        assert not re.search(r"  | [.,?:]|\b(is|of|for|in)[ .,?]*[.,?]", question.text), question.text


@pytest.mark.parametrize("name", SHIPPED)
def test_a_default_repeats_no_word_of_the_sentence_that_it_fills(name):
    preset = presets.load(name)
    for sentence in (s for question in preset.questions for s in re.split(r"(?<=[.?:]) ", question.text)):
        said = set(re.findall(r"\w{4,}", sentence.lower()))
        for variable in (v for v in preset.variables if f"{{{v}}}" in sentence):
            filling = set(re.findall(r"\w{4,}", preset.variables[variable].lower()))
            assert not filling & (said - {variable}), f"{sentence} ({variable}: {preset.variables[variable]})"


def test_the_language_of_answers_fills_its_variable():
    preset, _ = read_preset(GOOD.replace("Who is in {team}?", "In {language} - {team}"), "mine")
    assert preset.filled({"team": "A"}, "de")[0].text == "In German - A"
    assert preset.filled({"team": "A", "language": "Dutch"}, "de")[0].text == "In Dutch - A"


SAY_WHEN = {
    "interview": {"answers", "quotes"},
    "lecture": {"key_ideas", "terms", "examples", "homework"},
    "meeting": {"topics", "decisions", "action_items", "open_questions", "next_meeting"},
    "sports": {"score", "key_moments", "penalties_and_injuries"},
    "surveillance": {"events", "people", "vehicles", "attention"},
    "tutorial": {"steps", "pitfalls"},
}


@pytest.mark.parametrize("name", SHIPPED)
def test_what_happens_at_some_time_is_timed_in_every_shipped_preset(name):
    timed = {q.id for q in presets.load(name).questions if q.schema and q.schema.get("items", q.schema).get("timed")}
    assert timed == SAY_WHEN[name]


def test_alerts_of_a_preset_are_as_typed_with_their_variables_filled_in():
    preset, _ = read_preset(GOOD.replace("null", "staff") + "alerts:\n  door: one of {team} enters\n", "mine")
    assert preset.filled_alerts() == ("door: one of staff enters",)
    assert read_preset(GOOD, "mine")[0].alerts == {}


def test_json_in_a_question_is_no_variable():
    preset, _ = read_preset(GOOD.replace("Who is in {team}?", """'Answer {"a": 1} or {}'"""), "mine")
    assert preset.filled({"team": "x"})[0].text == 'Answer {"a": 1} or {}'


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "a preset is a mapping"),
        ("- a", 1, "a preset is a mapping"),
        ("description: x\nquestions: [\n", 3, "this is not valid YAML"),
        ("description: x\n\tquestions: y", 2, "this is not valid YAML"),
        ("questions:\n- {id: a, question: b}\n", 1, "'description' is missing"),
        ("description: 7\nquestions:\n- {id: a, question: b}\n", 1, "'description' must be text"),
        ("description: x\n", 1, "'questions' must be a list"),
        ("description: x\nquestions: []\n", 2, "'questions' must be a list"),
        (GOOD + "questons: 1\n", 6, "unknown key 'questons'; did you mean 'questions'?"),
        (GOOD + "  schemas: {}\n", 6, "unknown key 'schemas'; did you mean 'schema'?"),
        (GOOD + "- just text\n", 6, "a question is a mapping"),
        (GOOD + "- question: b\n", 6, "'id' is missing"),
        (GOOD + "- id: a\n  question: b\n", 6, "the id 'a' is taken"),
        (GOOD + "- id: a b\n  question: b\n", 6, "may hold letters"),
        (GOOD + "- id: b\n  question: ''\n", 7, "'question' must be text"),
        (GOOD + "- id: b\n  question: In {taem}?\n", 7, "{taem} is not declared"),
        (GOOD + "  id: b\n", 6, "the key 'id' is written a second time"),
        (GOOD + "  schema: text\n", 6, "'schema' must be a JSON Schema object"),
        (
            GOOD + "  schema:\n    type: array\n    items:\n      type: strng\n",
            9,
            "broken schema: 'strng' is not one of",
        ),
        (GOOD + "  schema:\n    type: object\n    propertis: {}\n", 8, "'propertis' is no keyword"),
        (GOOD + "  schema:\n    properties:\n      a:\n        $ref: '#/$defs/b'\n", 9, "leads nowhere"),
        (GOOD + "  schema: {$ref: 'https://example.org/a.json'}\n", 6, "leads nowhere"),
        (GOOD + "  schema:\n    type: object\n    timed: often\n", 8, "'timed' must be true or false"),
        (GOOD + "  schema:\n    type: array\n    timed: true\n", 8, "'timed' belongs to an object"),
        (GOOD + "  schema:\n    anyOf:\n    - type: object\n      timed: true\n", 9, "inside `items` and `properties`"),
        (
            GOOD + "  schema:\n    type: object\n    timed: true\n    properties:\n      at: {}\n",
            10,
            "'at' is computed",
        ),
        (GOOD + "  schema: {const: 2026-11-22}\n", 6, "the schema is not JSON"),
        (GOOD + "  schema:\n    type: array\n    uniqueItems: true\n", 8, "'uniqueItems' cannot be held"),
        (GOOD + "  schema:\n    items:\n      not: {}\n", 8, "'not' cannot be held"),
        (GOOD + "  schema:\n    type: number\n    multipleOf: 0.1\n", 8, "must be a whole number"),
        (GOOD + "  schema:\n    properties:\n      a:\n        format: foo\n", 8, "Unknown format: foo"),
        (GOOD + "  schema:\n    items:\n      pattern: '^(?=a)b'\n", 7, "look-ahead"),
        (GOOD + "  schema:\n    oneOf: [{type: integer}, {type: number}]\n", 6, "oneOf"),
        (GOOD + "  schema: {type: object, required: [a], properties: {a: false}}\n", 6, "unsatisfiable"),
        ("description: x\nvariables: [a]\nquestions:\n- {id: a, question: b}\n", 2, "'variables' must map"),
        ("description: x\nvariables: {a-b: 1}\nquestions:\n- {id: a, question: b}\n", 2, "the variable name 'a-b'"),
        (GOOD.replace("null", "[1]"), 2, "the default of 'team' must be text"),
        ("description: x\nquestions: &q [*q]\n", 2, "a question is a mapping"),
        (GOOD + "alerts: [a]\n", 6, "'alerts' must map"),
        (GOOD + "alerts:\n  Door: somebody enters\n", 7, "the tag 'Door' may hold small letters"),
        (GOOD + "alerts:\n  door: ''\n", 7, "the alert 'door' must be a sentence"),
        (GOOD + "alerts:\n  door: {}\n", 7, "the alert 'door' must be a sentence"),
        (GOOD + "alerts:\n  door: one of {taem} enters\n", 7, "{taem} is not declared"),
    ],
)
def test_an_error_names_its_line(text, line, message):
    found = problems(text)
    assert any(where == line and message in told for where, told in found), found


def test_every_problem_is_reported_in_order():
    found = problems("questions:\n- id: a\n  qestion: b\n- {id: b, question: c, schema: {type: x}}\n")
    assert [line for line, _ in found] == sorted(line for line, _ in found)
    assert len(found) == 4


def test_loading_a_broken_preset_says_where(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD + "questons: 1\nother: 2\n")
    with pytest.raises(UsageError, match=r"mine\.yaml, line 6: unknown key 'questons'.*and 1 more") as caught:
        presets.load(str(path))
    assert caught.value.hint == f"See `omnimem presets check {path}`."


@pytest.mark.parametrize("name", ["nothing", "nowhere/mine.yaml", "mine.yaml", "a/b"])
def test_a_preset_that_is_not_there_is_a_usage_error(name):
    with pytest.raises(UsageError, match="There is no preset"):
        presets.load(name)


def test_a_file_that_is_not_text_is_a_usage_error(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        presets.load(str(path))


def test_questions_come_from_a_file_of_lines(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text("# mine\nWho?\n\n  When? \n")
    assert presets.read_lines(path) == ["Who?", "When?"]
    with pytest.raises(UsageError):
        presets.read_lines(tmp_path / "none.txt")


def test_the_package_carries_the_presets_of_the_repository():
    """As a link where it is used in place, as copies where it was installed."""
    here = Path(__file__).parents[3] / "presets"
    shipped = {file.name: file.read_bytes() for file in presets.built_in_folder().glob("*.yaml")}
    assert shipped == {file.name: file.read_bytes() for file in here.glob("*.yaml")} != {}
