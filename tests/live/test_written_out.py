"""What tasks write in a watch without an end lies in files: they hold none of it, and go on from there."""

from dataclasses import asdict

import pytest
from scripted import ScriptedSession, sound

from omnimem_cli.base.settings import Settings
from omnimem_cli.live.written_out import MOST_WARNINGS, WrittenOut, WrittenSummary, WrittenTranscript
from omnimem_cli.session.session import ChunkEnd
from omnimem_cli.tasks.notes import Note
from omnimem_cli.tasks.summarize import Summarize
from omnimem_cli.tasks.transcribe import Transcribe

TASKS = {
    "transcript": (WrittenTranscript, Transcribe, {}, dict),
    "chapters": (WrittenSummary, Summarize, {"style": "chapters", "notes_s": 60.0, "by": "clock"}, Note),
}


def begun(path, kind) -> WrittenOut:
    lines = WrittenOut(path, kind)
    lines.cut(0)
    return lines


def chunks(task, session, first: int, last: int) -> None:
    """Chunks of half a minute, each with sound that may be speech."""
    for number in range(first, last):
        session.now_s = 30.0 * (number + 1)
        task.on_chunk(
            session, ChunkEnd(number, 30.0 * number, session.now_s, False), sound(30.0 * number, [(30.0, 0.1)])
        )


def session() -> ScriptedSession:
    return ScriptedSession(lambda text: f"Said at {text[-1]}.")


def size(state) -> int:
    return len(repr(state))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_holds_nothing_of_what_it_writes_and_its_result_is_that_of_a_batch(name, tmp_path):
    written, plain, options, kind = TASKS[name]
    lines, live, batch = begun(tmp_path / "lines", kind), session(), session()
    task, other = written(Settings(), lines, **options), plain(Settings(), **options)
    chunks(task, live, 0, 8)
    early = size(task.state())
    chunks(task, live, 8, 40)
    assert len(lines) >= 15 and size(task.state()) < early + 100
    chunks(other, batch, 0, 40)
    assert task.written == other.written, "a memory file keeps what was written"
    assert task.finish(live, 1200.0) == other.finish(batch, 1200.0)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_goes_on_from_a_state_and_its_file(name, tmp_path):
    written, plain, options, kind = TASKS[name]
    live, batch = session(), session()
    task = written(Settings(), begun(tmp_path / "lines", kind), **options)
    chunks(task, live, 0, 8)
    state = task.state()
    chunks(task, live, 8, 12)  # the process is killed after that
    again = written(Settings(), WrittenOut(tmp_path / "lines", kind), **options)
    again.load_state(state)
    chunks(again, live, 8, 20)
    other = plain(Settings(), **options)
    chunks(other, batch, 0, 20)
    assert again.written == other.written


def test_warnings_are_bounded(tmp_path):
    live = ScriptedSession(lambda text: "la la la " * 300)
    task = WrittenTranscript(Settings(), begun(tmp_path / "lines", dict))
    chunks(task, live, 0, 3 * MOST_WARNINGS)
    assert 0 < len(task.warnings) <= MOST_WARNINGS


def test_lines_are_cut_and_taken_out(tmp_path):
    lines = begun(tmp_path / "lines", Note)
    notes = [Note(float(number), number + 1.0, "", f"text {number}") for number in range(4)]
    for note in notes:
        lines.append(note)
    assert lines.pop() == notes[3] and list(lines) == notes[:3]
    with (tmp_path / "lines").open("ab") as file:
        file.write(b'{"start_s": 3.0, "torn')
    lines.cut(2)
    assert [asdict(note) for note in lines] == [asdict(note) for note in notes[:2]]
    assert (tmp_path / "lines").read_bytes().count(b"\n") == 2
