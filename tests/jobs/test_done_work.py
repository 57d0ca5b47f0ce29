"""What is done is skipped, what has changed is done again, and what is not ours is left alone."""

import json
import os
from pathlib import Path

import pytest
from fake_run import FakeRun, fail, media, omnimem


def test_done_work_is_skipped_and_changed_work_is_not(fake: FakeRun, capsys):
    media("a.mp4", "b.mp4")
    assert omnimem("summarize", "a.mp4", "b.mp4") == 0
    assert omnimem("summarize", "a.mp4", "b.mp4") == 0
    assert fake.watched == ["a.mp4", "b.mp4"]
    assert "2 skipped" in capsys.readouterr().err
    Path("a.mp4").write_bytes(b"another lecture")
    omnimem("summarize", "a.mp4", "b.mp4")
    assert fake.watched == ["a.mp4", "b.mp4", "a.mp4"]


def test_same_size_and_time_are_trusted_and_a_new_time_asks_the_content(fake: FakeRun):
    media("a.mp4")
    omnimem("summarize", "a.mp4")
    os.utime("a.mp4", (1, 1))
    omnimem("summarize", "a.mp4")
    assert fake.watched == ["a.mp4"], "the same bytes under another time are the same work"
    Path("a.mp4").write_bytes(b"MEDIA a.mp4")
    os.utime("a.mp4", (2, 2))
    omnimem("summarize", "a.mp4")
    assert fake.watched == ["a.mp4", "a.mp4"], "other bytes of the same size are other work"


def test_skipping_neither_reads_the_input_nor_writes_anything(fake: FakeRun, monkeypatch):
    media("a.mp4")
    omnimem("summarize", "a.mp4", "-f", "md,json")
    os.utime("a.mp4", (1, 1))
    omnimem("summarize", "a.mp4", "-f", "md,json")  # reads once, and remembers the new time
    monkeypatch.setattr("omnimem_cli.jobs.records.digest_file", fail(AssertionError("the input was read")))
    monkeypatch.setattr("omnimem_cli.jobs.files.write_whole", fail(AssertionError("something was written")))
    monkeypatch.setattr("omnimem_cli.jobs.files._try_lock", fail(AssertionError("a lock was taken")))
    assert omnimem("summarize", "a.mp4", "-f", "md,json") == 0


@pytest.mark.parametrize(
    "flags", [["--budget", "4k"], ["--start", "5"], ["--style", "detailed"], ["--language", "German"], ["--fps", "2"]]
)
def test_other_settings_are_other_work(fake: FakeRun, flags: list[str]):
    media("a.mp4")
    omnimem("summarize", "a.mp4")
    omnimem("summarize", "a.mp4", *flags)
    assert len(fake.watched) == 2


def test_another_model_revision_is_other_work(fake: FakeRun):
    media("a.mp4")
    omnimem("summarize", "a.mp4")
    fake.model = {"name": "fake", "revision": "2"}
    omnimem("summarize", "a.mp4")
    assert len(fake.watched) == 2


def test_another_format_of_done_work_is_written_without_watching_again(fake: FakeRun):
    media("a.mp4")
    omnimem("summarize", "a.mp4")
    omnimem("summarize", "a.mp4", "-f", "json")
    assert fake.watched == ["a.mp4"]
    assert json.loads(Path("a.summary.json").read_text())["summary"]["text"] == "a.mp4 under None"


def test_a_deleted_result_is_written_again_without_watching(fake: FakeRun, capsys):
    media("a.mp4")
    omnimem("summarize", "a.mp4")
    text = Path("a.summary.md").read_text()
    Path("a.summary.md").unlink()
    capsys.readouterr()
    assert omnimem("summarize", "a.mp4") == 0
    assert Path("a.summary.md").read_text() == text
    assert fake.watched == ["a.mp4"]
    assert capsys.readouterr().out == "a.summary.md\n"


def test_tasks_do_not_take_each_others_work_for_their_own(fake: FakeRun):
    media("a.mp4")
    omnimem("summarize", "a.mp4")
    omnimem("transcribe", "a.mp4", "-f", "srt,txt")
    omnimem("ask", "a.mp4", "-Q", "why?")
    assert len(fake.watched) == 3
    results = {p.name for p in Path().glob("a.*")}
    assert results == {"a.mp4", "a.summary.md", "a.srt", "a.transcript.txt", "a.answers.md"}


def test_a_preset_names_its_answers(fake: FakeRun):
    media("a.mp4")
    assert omnimem("ask", "a.mp4", "--preset", "meeting") == 0
    assert Path("a.meeting.md").exists()


def test_a_file_that_omnimem_did_not_write_is_not_replaced_without_force(fake: FakeRun, capsys):
    media("a.mp4")
    Path("a.summary.md").write_text("my own notes")
    assert omnimem("summarize", "a.mp4") == 8
    assert fake.watched == [], "this is found before the watch"
    assert Path("a.summary.md").read_text() == "my own notes"
    assert "--force" in capsys.readouterr().err
    assert omnimem("summarize", "a.mp4", "--force") == 0
    assert "a.mp4 under" in Path("a.summary.md").read_text()


def test_a_result_that_the_user_edited_is_not_replaced(fake: FakeRun):
    media("a.mp4")
    omnimem("summarize", "a.mp4")
    Path("a.summary.md").write_text("edited")
    assert omnimem("summarize", "a.mp4", "--budget", "4k") == 8
    assert Path("a.summary.md").read_text() == "edited"


def test_an_edited_result_of_done_work_is_left_alone_and_the_dry_run_says_the_same(fake: FakeRun, capsys):
    media("a.mp4")
    omnimem("summarize", "a.mp4", "-f", "md,txt")
    Path("a.summary.md").write_text("edited")
    Path("a.summary.txt").unlink()
    capsys.readouterr()
    said = "done before; a.summary.md was edited and left alone (--force replaces)"
    assert omnimem("summarize", "a.mp4", "-f", "md,txt", "--dry-run") == 0
    assert capsys.readouterr().out.startswith(f"would skip: {said}\t")
    assert omnimem("summarize", "a.mp4", "-f", "md,txt") == 0
    assert f"a.mp4: skipped, {said}; missing files written again" in capsys.readouterr().err
    assert Path("a.summary.md").read_text() == "edited" and Path("a.summary.txt").exists()
    assert omnimem("summarize", "a.mp4", "-f", "md,txt", "--force") == 0
    assert "a.mp4 under" in Path("a.summary.md").read_text()


def test_the_dry_run_fails_as_the_run_does_where_another_format_is_not_ours(fake: FakeRun, capsys):
    media("a.mp4")
    omnimem("summarize", "a.mp4")
    Path("a.summary.txt").write_text("mine")
    capsys.readouterr()
    omnimem("summarize", "a.mp4", "-f", "md,txt", "--dry-run")
    assert capsys.readouterr().out.startswith("would fail: a.summary.txt exists")
    assert omnimem("summarize", "a.mp4", "-f", "md,txt") == 8 and Path("a.summary.txt").read_text() == "mine"


def test_a_result_of_another_budget_replaces_the_one_before(fake: FakeRun):
    media("a.mp4")
    omnimem("summarize", "a.mp4")
    assert omnimem("summarize", "a.mp4", "--budget", "4k") == 0
    assert "under 4096" in Path("a.summary.md").read_text()


def test_force_does_done_work_again(fake: FakeRun):
    media("a.mp4")
    omnimem("summarize", "a.mp4")
    omnimem("summarize", "a.mp4", "--force")
    assert len(fake.watched) == 2
