"""Answers as CSV: rows, columns, times, and cells that no spreadsheet runs."""

import csv
import io

import pytest
from scripted import result

from omnimem_cli.results.writers.csv import FIXED, MARK, columns_of, write_csv

ITEM = {"type": "object", "properties": {"decision": {"type": "string"}, "by": {"type": "object", "properties": {}}}}
ITEM["properties"]["by"]["properties"] = {"name": {"type": "string"}}
QUESTIONS = (
    {"id": "decisions", "text": "What was decided?", "schema": {"type": "array", "items": ITEM}},
    {"id": "next", "text": "When next?", "schema": {"type": "object", "properties": {"date": {}}}},
    {"id": "links", "text": "Which?", "schema": {"type": "array", "items": {"type": "string"}}},
    {"id": "q1", "text": "Who spoke?", "schema": None},
)


def span(start_s: float, end_s: float) -> dict:
    return {"start_s": start_s, "end_s": end_s, "kind": "audio", "score": 2.0}


def answered(name: str, data: object, answer: str = "raw", status: str = "answered", **more: object) -> dict:
    question = next(each["text"] for each in QUESTIONS if each["id"] == name)
    return {"id": name, "question": question, "answer": answer, "status": status, "data": data} | more


def record(*answers: dict) -> dict:
    made = {"options": {"questions": QUESTIONS}, "settings": {}, "omnimem": "1"}
    return result("ask", {"answers": list(answers)}) | {"made_with": made}


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def filled(row: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in row.items() if value}


def test_the_columns_come_from_the_schemas_not_from_the_answers():
    columns = [*FIXED, "decisions.decision", "decisions.by.name", "next.date"]
    assert columns_of(QUESTIONS) == columns
    assert write_csv(record()).splitlines() == [",".join(columns)]


def test_each_item_of_a_list_is_a_row_with_its_fields_and_its_own_time():
    at = {"start_s": 3.0, "end_s": 4.25, "source": "notes"}
    data = [{"decision": "Buy", "by": {"name": "Anna"}}, {"at": at, "decision": "Sell, or wait", "by": None}]
    answer = answered("decisions", data, evidence=[span(9.0, 10.0)], item_evidence={"/0": [span(1.0, 2.0)]})
    first, second = map(filled, rows(write_csv(record(answer))))
    same = {"file": "talks/lecture.mp4", "question": "decisions", "status": "answered"}
    said = {"text": "Decision: Buy; By: Name: Anna", "decisions.decision": "Buy", "decisions.by.name": "Anna"}
    assert first == same | {"item": "1", "start_s": "1.0", "end_s": "2.0"} | said
    said = {"text": "Decision: Sell, or wait", "decisions.decision": "Sell, or wait"}
    assert second == same | {"item": "2", "start_s": "3.0", "end_s": "4.25"} | said


def test_an_item_without_evidence_has_no_time():
    (row,) = rows(write_csv(record(answered("links", ["a"], evidence=[span(9.0, 10.0)], item_evidence={}))))
    assert (row["item"], row["start_s"], row["text"]) == ("1", "", "a")


def test_an_answer_that_is_no_list_is_one_row():
    answers = answered("next", {"date": None}), answered("q1", None, "Two people.", evidence=[span(5.0, 6.0)])
    first, second = rows(write_csv(record(*answers)))
    assert (first["question"], first["item"], first["next.date"], first["text"]) == ("next", "", "", "")
    assert (second["question"], second["start_s"], second["text"]) == ("Who spoke?", "5.0", "Two people.")


@pytest.mark.parametrize(
    ("data", "status", "row"),
    [
        ([], "answered", ("none", "")),
        (None, "not_in_video", ("not_in_video", "")),
        (None, "invalid", ("invalid", "raw")),
        (["a"], "cut", ("cut", "a")),
    ],
)
def test_the_status_says_how_an_answer_ended(data: object, status: str, row: tuple[str, str]):
    (found,) = rows(write_csv(record(answered("links", data, status=status))))
    assert (found["status"], found["text"]) == row


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\n=1", "＝1", "'quoted'", "''", '=HYPERLINK("http://x")']


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula_and_the_mark_can_be_taken_off(text: str):
    (row,) = rows(write_csv(record(answered("decisions", [{"decision": text}]))))
    assert row["decisions.decision"] == MARK + text
    (row,) = rows(write_csv(record(answered("q1", None, text)) | {"input": {"path": text}}))
    assert row["text"] == row["file"] == MARK + text


@pytest.mark.parametrize("text", ["plain", 'a "quoted" word', "a, b", "two\nlines", "1 - 2 = 3", "naïve 列車", "a'b"])
def test_all_other_text_reads_back_as_it_was(text: str):
    (row,) = rows(write_csv(record(answered("q1", None, text))))
    assert row["text"] == text


def test_values_that_are_no_text_are_numbers_words_or_json():
    data = [{"decision": value} for value in (True, -2.5, ["a", "b"], [{"x": 1}], [])]
    found = [row["decisions.decision"] for row in rows(write_csv(record(answered("decisions", data))))]
    assert found == ["true", "-2.5", "a; b", '[{"x": 1}]', "[]"]


def test_line_ends_of_other_systems_become_our_own():
    (row,) = rows(write_csv(record(answered("q1", None, "a\r\nb\rc\0"))))
    assert row["text"] == "a\nb\nc"
