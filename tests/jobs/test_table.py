"""One CSV file of the answers over a whole batch: whose rows, when it is written, and whose file it is."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_run import FakeRun, media, omnimem
from scripted import result

from omnimem_cli.base.errors import InputError, OutputError
from omnimem_cli.base.process import Interrupted
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs.inputs import find_inputs
from omnimem_cli.jobs.outcomes import Outcome
from omnimem_cli.jobs.table import AnswerTable
from omnimem_cli.jobs.work import Job, Work
from omnimem_cli.tasks.ask import Ask


def read(text: str) -> Iterator[tuple[str, str, str, str]]:
    """File, question, status and text of each row."""
    for row in csv.DictReader(io.StringIO(text)):
        yield row["file"], row["question"], row["status"], row["text"]


def table(name: str = "all.csv") -> list[tuple[str, str, str, str]]:
    return list(read(Path(name).read_text()))


def fails(error: BaseException):
    def fail() -> dict:
        raise error

    return fail


def says(text: str):
    answer = {"id": "q1", "question": "Who?", "answer": text, "status": "answered", "data": None}
    return lambda: result("ask", {"answers": [answer]})


ASK = ("ask", "videos", "-r", "-Q", "Who?", "-o", "all.csv")


def test_one_file_holds_every_input_in_order_also_what_failed_and_what_was_done_before(fake: FakeRun, capsys):
    media("videos/b.mp4")
    fake.on = {"a.mp4": fails(InputError("It is no video.")), "b.mp4": says("Ben"), "c.mp4": says("Carla")}
    assert omnimem(*ASK) == 0
    assert table() == [("videos/b.mp4", "Who?", "answered", "Ben")]
    media("videos/a.mp4", "videos/c.mp4")
    capsys.readouterr()
    assert omnimem(*ASK) == 3
    assert capsys.readouterr().out.split() == ["all.csv"]
    assert fake.watched == ["b.mp4", "a.mp4", "c.mp4"], "what was done before is not watched again"
    assert table() == [
        ("videos/a.mp4", "", "failed", "It is no video."),
        ("videos/b.mp4", "Who?", "answered", "Ben"),
        ("videos/c.mp4", "Who?", "answered", "Carla"),
    ]
    assert sorted(path.name for path in Path().iterdir()) == [".omnimem", "all.csv", "videos"]


def test_a_preset_gives_its_columns_and_a_question_more(fake: FakeRun):
    media("videos/a.mp4")
    Path("more.txt").write_text("What else?\n")
    assert omnimem(*ASK, "--preset", "meeting", "--questions", "more.txt", "-f", "csv") == 0
    head = Path("all.csv").read_text().splitlines()[0].split(",")
    assert head[:7] == ["file", "question", "item", "status", "start_s", "end_s", "text"]
    assert "action_items.owner" in head and "next_meeting.date" in head
    asked = [(question, status) for _, question, status, _ in table()]
    assert asked[:2] == [("topics", "none"), ("decisions", "none")]
    assert asked[-2:] == [("Who?", "answered"), ("What else?", "answered")]


def test_into_a_folder_and_beside_the_input_each_has_its_own(fake: FakeRun):
    media("videos/a.mp4", "videos/b.mp4")
    assert omnimem("ask", "videos", "-r", "-Q", "Who?", "-f", "csv", "-o", "out") == 0
    assert omnimem("ask", "videos", "-r", "--preset", "meeting", "-f", "csv,json") == 0
    assert [row[0] for row in table("out/b.answers.csv")] == ["videos/b.mp4"]
    assert len(table("videos/a.meeting.csv")) == 5 and Path("videos/a.meeting.json").is_file()


def test_on_standard_output_the_head_comes_once(fake: FakeRun, capsys):
    media("videos/a.mp4", "videos/b.mp4")
    fake.on = {"a.mp4": fails(InputError("It is no video.")), "b.mp4": says("Ben")}
    assert omnimem(*ASK[:-1], "-", "-f", "csv") == 3
    expected = [("videos/a.mp4", "", "failed", "It is no video."), ("videos/b.mp4", "Who?", "answered", "Ben")]
    assert list(read(capsys.readouterr().out)) == expected


def test_rows_are_in_the_order_of_the_inputs_whichever_ends_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    work = Work("ask", Ask, {"questions": []}, Settings(formats=("csv",), output="all.csv"))
    made = AnswerTable(Path("all.csv"), work, [Job(one, None) for one in find_inputs(["a.mp4", "b.mp4"])])
    for name in ("b.mp4", "a.mp4"):
        made.note(Outcome(name, "done", result=says(name)() | {"input": {"path": name}}))
    made.write()
    assert [row[0] for row in table()] == ["a.mp4", "b.mp4"]


def test_a_run_that_is_interrupted_leaves_the_table_as_it_was(fake: FakeRun, capsys):
    media("videos/a.mp4", "videos/b.mp4")
    assert omnimem(*ASK) == 0
    before = Path("all.csv").read_bytes()
    media("videos/c.mp4")
    fake.on["c.mp4"] = fails(Interrupted(2))
    assert omnimem(*ASK) == 130
    assert Path("all.csv").read_bytes() == before
    assert "all.csv was not written: run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [(), ("-n",)])
def test_a_table_that_is_not_ours_or_was_edited_is_never_replaced_unasked(fake: FakeRun, capsys, flags):
    media("videos/a.mp4")
    Path("all.csv").write_text("mine")
    assert omnimem(*ASK, *flags) == 8
    assert (Path("all.csv").read_text(), fake.watched) == ("mine", [])
    assert "is not asked again" in " ".join(capsys.readouterr().err.split())
    assert omnimem(*ASK[:-1], "other.csv", *flags) == 0
    assert omnimem(*ASK, "--force") == 0
    assert table() == [("videos/a.mp4", "Who?", "answered", "a.mp4 under None")]
    with Path("all.csv").open("a") as file:
        file.write("edited\n")
    assert omnimem(*ASK, *flags) == 8


def test_a_full_disk_at_the_end_is_said_and_counts(fake: FakeRun, capsys, monkeypatch):
    media("videos/a.mp4")
    monkeypatch.setattr(AnswerTable, "write", lambda table: fails(OutputError("The disk is full."))())
    assert omnimem(*ASK) == 8
    assert "The disk is full." in capsys.readouterr().err


def test_a_dry_run_names_the_table_for_every_input(fake: FakeRun, capsys):
    media("videos/a.mp4", "videos/b.mp4")
    assert omnimem(*ASK, "-n") == 0
    assert [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()] == ["all.csv", "all.csv"]
    assert not Path("all.csv").exists()


def test_no_other_command_writes_tables(fake: FakeRun, capsys):
    media("a.mp4")
    assert omnimem("summarize", "a.mp4", "-o", "a.csv") == 2
    assert "csv is no format of this command" in capsys.readouterr().err
