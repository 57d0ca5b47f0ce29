"""Files appear whole or not at all; folders that cannot be written are found before the watch."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_run import FakeRun, media, omnimem

from omnimem_cli.base.errors import OutputError
from omnimem_cli.jobs.files import _warn_of_no_locks, locked, state_folder, write_whole


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = tmp_path / "a.md"
    target.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_whole(target, b"new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_8_and_leaves_nothing_half_written(fake: FakeRun, monkeypatch: pytest.MonkeyPatch, capsys):
    media("a.mp4")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert omnimem("summarize", "a.mp4") == 8
    assert fake.watched == [], "this is found before the watch"
    assert {p.name for p in Path().rglob("*")} == {"a.mp4", ".omnimem"}
    assert "No space left" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["taken", "taken/below", "taken/notes.md"])
def test_an_output_folder_that_is_a_file_is_8(fake: FakeRun, output: str, capsys):
    media("a.mp4")
    Path("taken").write_text("a file")
    assert omnimem("summarize", "a.mp4", "-o", output) == 8
    assert fake.watched == []
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_8_before_the_watch(fake: FakeRun):
    media("a.mp4")
    # /proc refuses new files even to root.
    assert omnimem("summarize", "a.mp4", "-o", "/proc/omnimem") == 8
    assert fake.watched == []


def test_a_lock_is_held_by_one_and_leaves_nothing(tmp_path: Path):
    state_folder(tmp_path).mkdir()
    with locked(tmp_path, "a") as first, locked(tmp_path, "a") as second, locked(tmp_path, "b") as other:
        assert (first, second, other) == (True, False, True)
    with locked(tmp_path, "a") as again:
        assert again
    assert list(state_folder(tmp_path).iterdir()) == []


def test_a_lock_dies_with_its_process(tmp_path: Path):
    state_folder(tmp_path).mkdir()
    script = (
        "import os, pathlib, sys; from omnimem_cli.jobs.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), 'a') as mine: print(mine, flush=True); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert died.stdout == "True\n" and died.returncode == -9
    with locked(tmp_path, "a") as mine:
        assert mine


def test_what_a_killed_run_left_is_cleared_by_the_next(fake: FakeRun):
    media("a.mp4")
    omnimem("summarize", "a.mp4")
    left = Path(".omnimem/a.summary.part")
    left.write_text("half")
    omnimem("summarize", "a.mp4")
    assert not left.exists()


def test_a_run_killed_between_record_and_result_is_finished_by_the_next(fake: FakeRun):
    media("a.mp4")
    omnimem("summarize", "a.mp4")
    old = Path("a.summary.md").read_text()
    omnimem("summarize", "a.mp4", "--budget", "4k")
    new = Path("a.summary.md").read_text()
    Path("a.summary.md").write_text(old)  # as if the process had died after it saved the record
    assert omnimem("summarize", "a.mp4", "--budget", "4k") == 0
    assert Path("a.summary.md").read_text() == new != old
    assert len(fake.watched) == 2


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


@pytest.mark.parametrize("step", range(1, 7))
def test_a_run_killed_at_any_write_is_finished_by_the_next(fake: FakeRun, monkeypatch: pytest.MonkeyPatch, step: int):
    media("a.mp4")
    omnimem("summarize", "a.mp4", "-f", "md,json")
    replace, renamed = Path.replace, 0

    def die(path: Path, target: Path) -> None:
        nonlocal renamed
        renamed += 1
        if renamed == step:
            raise Killed
        replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        try:
            omnimem("summarize", "a.mp4", "-f", "md,json,txt", "--budget", "4k")
            assert step > renamed, "every write of this run was met"
        except Killed:
            pass
    assert omnimem("summarize", "a.mp4", "-f", "md,json,txt", "--budget", "4k") == 0
    for suffix in ("md", "json", "txt"):
        assert "under 4096" in Path(f"a.summary.{suffix}").read_text()
    assert {p.name for p in Path(".omnimem").iterdir()} == {"a.summary.json"}


def refuse(number: int, unless: Callable[[int], bool] = lambda descriptor: False) -> Callable:
    def call(descriptor: int, *more: int) -> None:
        if not unless(descriptor):
            raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL])
def test_a_disk_without_locks_gets_its_results_and_one_warning(fake: FakeRun, monkeypatch, number: int, capsys):
    media("a.mp4", "b.mp4")
    _warn_of_no_locks.cache_clear()
    monkeypatch.setattr(fcntl, "flock", refuse(number))
    assert omnimem("summarize", "a.mp4", "b.mp4") == 0
    assert capsys.readouterr().err.count("has no locks") == 1
    assert {p.name for p in Path(".omnimem").iterdir()} == {"a.summary.json", "b.summary.json"}


def test_a_lock_that_fails_for_another_reason_is_8(fake: FakeRun, monkeypatch: pytest.MonkeyPatch):
    media("a.mp4")
    monkeypatch.setattr(fcntl, "flock", refuse(errno.EIO))
    assert omnimem("summarize", "a.mp4") == 8


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_that_cannot_flush_folders_gets_its_results(fake: FakeRun, monkeypatch, number: int):
    media("a.mp4")
    monkeypatch.setattr(os, "fsync", refuse(number, unless=lambda fd: not stat.S_ISDIR(os.fstat(fd).st_mode)))
    assert omnimem("summarize", "a.mp4") == 0
