"""What cannot be read, or is gone when its turn comes, costs itself and nothing else, and has a code of its own."""

import errno
import json
import os
from pathlib import Path

import pytest
from fake_run import FakeRun, media, omnimem
from scripted import result

from omnimem_cli.jobs import records
from omnimem_cli.results.result import bare_input


def summary() -> dict:
    return result("summarize", {"summary": {"text": "seen", "chapters": []}}, input=bare_input("a.mp4"))


def deny(monkeypatch: pytest.MonkeyPatch, method: str, name: str, number: int = errno.EACCES) -> None:
    """Let a method of Path fail on files of this name: root may read everything."""
    whole = getattr(Path, method)

    def call(path: Path, *arguments, **options):
        if path.name == name:
            raise OSError(number, os.strerror(number))
        return whole(path, *arguments, **options)

    monkeypatch.setattr(Path, method, call)


def test_a_record_that_cannot_be_read_is_the_problem_of_its_own_input(fake: FakeRun, monkeypatch, capsys):
    media("a.mp4", "b.mp4")
    omnimem("summarize", "a.mp4")
    deny(monkeypatch, "read_text", "a.summary.json", errno.EIO)
    assert omnimem("summarize", "a.mp4", "b.mp4") == 8
    assert fake.watched == ["a.mp4", "b.mp4"]
    said = capsys.readouterr().err
    assert "a.summary.json cannot be read: Input/output error" in said and "unexpected" not in said


@pytest.mark.parametrize(("number", "code"), [(errno.EACCES, "unreadable"), (errno.EIO, "unreadable")])
def test_an_input_that_cannot_be_read_is_an_input_error(fake: FakeRun, monkeypatch, number: int, code: str):
    media("a.mp4", "b.mp4")
    deny(monkeypatch, "open", "a.mp4", number)
    assert omnimem("summarize", "a.mp4", "b.mp4", "--report", "r.json") == 3
    assert json.loads(Path("r.json").read_text())["inputs"][0]["error"]["code"] == code


def test_an_input_that_vanishes_before_its_turn_is_missing(fake: FakeRun, capsys):
    media("a.mp4", "b.mp4", "c.mp4")
    fake.on["a.mp4"] = lambda: Path("b.mp4").unlink() or fake.on.clear() or summary()
    assert omnimem("summarize", "a.mp4", "b.mp4", "c.mp4") == 3
    assert "b.mp4 does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("step", ["stat_input", "digest_file"])
def test_an_input_that_vanishes_at_any_step_is_missing(fake: FakeRun, monkeypatch, step: str, capsys):
    media("a.mp4", "b.mp4")
    whole = getattr(records, step)

    def vanish(one):
        Path("a.mp4").unlink(missing_ok=True)
        return whole(one)

    monkeypatch.setattr(records, step, vanish)
    assert omnimem("summarize", "a.mp4", "b.mp4") == 3
    assert "a.mp4 does not exist" in capsys.readouterr().err


def test_an_input_that_vanishes_while_it_is_watched_keeps_its_result(fake: FakeRun, capsys):
    media("a.mp4")
    fake.on["a.mp4"] = lambda: Path("a.mp4").unlink() or summary()
    assert omnimem("summarize", "a.mp4") == 0
    assert Path("a.summary.md").is_file() and "changed while it was watched" in capsys.readouterr().err


def test_a_folder_that_may_not_be_listed_is_a_failed_input(fake: FakeRun, monkeypatch, capsys):
    media("rec/a.mp4", "rec/closed/b.mp4", "rec/closed.mp4")
    whole, opens = os.scandir, Path.open

    def refuse(call):
        def refusing(path, *more, **options):
            if os.fspath(path) == "rec/closed":
                raise PermissionError(errno.EACCES, "Permission denied", "rec/closed")
            return call(path, *more, **options)

        return refusing

    monkeypatch.setattr(os, "scandir", refuse(whole))
    monkeypatch.setattr(Path, "open", refuse(opens))
    assert omnimem("summarize", "-r", "rec", "--report", "r.json") == 3
    assert "rec/closed cannot be read: Permission denied" in capsys.readouterr().err
    assert {p.name for p in Path("rec").glob("*.md")} == {"a.summary.md", "closed.summary.md"}
    assert json.loads(Path("r.json").read_text())["counts"]["failed"] == 1


def test_a_folder_that_may_be_entered_but_not_listed_takes_results(fake: FakeRun, monkeypatch):
    media("rec/a.mp4")
    monkeypatch.setattr(Path, "iterdir", lambda path: (_ for _ in ()).throw(PermissionError(errno.EACCES, "no")))
    assert omnimem("summarize", "rec/a.mp4") == 0
