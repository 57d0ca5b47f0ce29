"""Summaries of periods: one per period whatever comes, their texts in a file, and none made up where nothing came."""

import pytest
from scripted import ScriptedSession, sound

from omnimem_cli.base.settings import Settings
from omnimem_cli.live.periods import NOTHING_CAME, Periods
from omnimem_cli.live.written_out import WrittenOut
from omnimem_cli.session.session import ChunkEnd
from omnimem_cli.tasks.notes import Note


class Session(ScriptedSession):
    """A scripted session that holds only what came before ``gap``."""

    start_s = 0.0
    gap: tuple[float, float] = (1e9, 1e9)

    @property
    def end_s(self) -> float:
        return self.now_s

    def holds(self, start_s: float, end_s: float) -> bool:
        return not (self.gap[0] <= start_s and end_s <= self.gap[1])


@pytest.fixture
def notes(tmp_path):
    notes = WrittenOut(tmp_path / "notes", Note)
    notes.cut(0)
    return notes


def chunks(task, session, times):
    for number, end_s in enumerate(times):
        session.now_s = end_s
        task.on_chunk(session, ChunkEnd(number, 0.0, end_s, False), sound(end_s - 10.0, [(10.0, 0.1)]))


def test_each_period_is_told_as_it_ends_and_the_last_with_the_watch(notes):
    told, session = [], Session(lambda text: "a door opens")
    task = Periods(Settings(), 60.0, notes, told.append)
    chunks(task, session, range(10, 160, 10))
    assert [(each.kind, each.start_s, each.end_s) for each in told] == [("period", 0, 60), ("period", 60, 120)]
    made = task.finish(session, 150.0)
    assert [each.kind for each in told[2:]] == ["period", "whole"]
    assert [chapter["end_s"] for chapter in made["summary"]["chapters"]] == [60, 120, 150]


def test_a_period_of_which_nothing_came_is_not_asked_about(notes):
    told, session = [], Session(lambda text: "a door opens")
    task = Periods(Settings(), 60.0, notes, told.append)
    chunks(task, session, range(10, 70, 10))
    session.gap, asked = (60.0, 200.0), len(session.asked)
    task.pass_empty(session, 185.0)
    assert [each.text for each in told[1:]] == [NOTHING_CAME] * 2
    assert len(session.asked) == asked


def test_until_now_ends_no_period(notes):
    told, session = [], Session(lambda text: "so far")
    task = Periods(Settings(), 60.0, notes, told.append)
    chunks(task, session, range(10, 40, 10))
    task.until_now(session)
    assert [(each.kind, each.end_s) for each in told] == [("until_now", 30)]
    assert len(notes) == 0


def test_the_texts_lie_in_their_file_and_a_resumed_watch_takes_them_up(notes, tmp_path):
    session = Session(lambda text: "a door opens")
    task = Periods(Settings(), 60.0, notes, lambda told: None)
    chunks(task, session, range(10, 130, 10))
    state = task.state()
    assert state["notes"] == 2
    chunks(task, session, range(130, 190, 10))
    again = Periods(Settings(), 60.0, WrittenOut(tmp_path / "notes", Note), lambda told: None)
    again.load_state(state)
    assert [note.end_s for note in again.notes] == [60, 120], "what came after the checkpoint comes again"
