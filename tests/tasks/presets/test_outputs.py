"""What comes out of every shipped preset in every format: all that was said, nothing that only programs read."""

import csv
import html
import io
import json
import re

import jsonschema
import pytest
from preset_answers import ANSWERS, NOTES
from scripted import ScriptedSession, result, sound, watch

from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs.work import Work
from omnimem_cli.results.result import schema
from omnimem_cli.results.writers import FORMATS, WRITERS
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets import library as presets
from omnimem_cli.tasks.prompts import NOTE

SHIPPED = [entry.name for entry in presets.list_presets() if entry.origin == "built-in"]


def asked(name: str) -> dict:
    """The result of a preset over ten minutes of a recording, of which a scripted model says ANSWERS."""
    questions = presets.load(name).filled()
    assert {question.id for question in questions} == set(ANSWERS[name])
    notes = iter(NOTES * 100)

    def reply(text: str) -> str:
        if text.startswith(NOTE):
            return next(notes)
        (question,) = (question for question in questions if text.startswith(question.text))
        said = ANSWERS[name][question.id]
        return said if question.schema is None else json.dumps(said)

    settings = Settings(notes="on")
    task = Ask(settings, questions, notes_s=200.0)
    part = watch(task, ScriptedSession(reply, rate=1.0), sound(0.0, [(600.0, 0.1)]), 50)
    work = Work("ask", Ask, {"questions": questions}, settings, name)
    return result("ask", part) | {"preset": name, "made_with": work.made_with, "warnings": task.warnings}


def words(value: object) -> list[str]:
    """Every text in an answer."""
    if isinstance(value, dict | list):
        return [text for each in (value.values() if isinstance(value, dict) else value) for text in words(each)]
    return [value] if isinstance(value, str) else []


def plain(text: str) -> str:
    """Without the marks and breaks of any format."""
    text = html.unescape(re.sub(r"<[a-z/][^>]*>", " ", text)).replace("\\", "")
    return " ".join(re.sub(r"^\s*- ", "", text, flags=re.MULTILINE).split())


def test_every_shipped_preset_is_tried():
    assert set(SHIPPED) == set(ANSWERS)


@pytest.mark.parametrize("format", FORMATS["ask"])
@pytest.mark.parametrize("name", SHIPPED)
def test_every_format_of_every_preset_says_all_that_was_answered(name: str, format: str):
    text = WRITERS[format](asked(name))
    if format == "json":
        jsonschema.validate(json.loads(text), schema())
    if format == "csv":
        text = " ".join(cell for row in csv.reader(io.StringIO(text)) for cell in row)
    missing = [said for said in words(ANSWERS[name]) if format != "json" and plain(said) not in plain(text)]
    assert not missing, missing


@pytest.mark.parametrize("format", ["md", "txt"])
@pytest.mark.parametrize("name", SHIPPED)
def test_people_are_shown_no_json_and_an_empty_list_is_said(name: str, format: str):
    body = WRITERS[format](asked(name)).partition("\n---\n")[0]
    assert not re.search(r"null|None\b(?!\.)|True|False|[{}]|\[\]|_s\b", body), body
    empty = sum(said == [] for said in ANSWERS[name].values())
    assert len(re.findall(r"None\.", body)) == empty


@pytest.mark.parametrize("name", SHIPPED)
def test_a_table_has_one_row_per_item_and_a_time_where_a_note_tells_one(name: str):
    rows = list(csv.DictReader(io.StringIO(WRITERS["csv"](asked(name)))))
    for question, said in ANSWERS[name].items():
        mine = [row for row in rows if row["question"] == question]
        assert len(mine) == (max(1, len(said)) if isinstance(said, list) else 1)
        assert all(row["status"] == ("none" if said == [] else "answered") for row in mine)
    if name == "surveillance":
        (event,) = (row for row in rows if row["question"] == "events")
        assert (event["start_s"], event["end_s"]) == ("0.0", "200.0")
