"""Standard input, named pipes and process substitutions: read once into a temporary file, and watched from there."""

import errno
import hashlib
import json
import os
import tempfile
import threading
from pathlib import Path

import footage
import pytest
from fake_run import FakeRun, media, omnimem

from omnimem_cli.base.errors import InputError, OutputError
from omnimem_cli.base.process import Interrupted
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs import pipes
from omnimem_cli.jobs.inputs import named_input
from omnimem_cli.jobs.model import LazyModel
from omnimem_cli.jobs.pipes import saved

BYTES = b"media " * 100_000  # more than a pipe holds
SOON = Settings(timeout_s=0.2)


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def scratch(tmp_path_factory, monkeypatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def written(data: bytes) -> int:
    """The read end of a pipe into which another thread writes."""
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(data)

    threading.Thread(target=write, daemon=True).start()
    return reader


@pytest.fixture
def stdin():
    """Put a pipe with these bytes in the place of standard input."""
    before = os.dup(0)

    def give(data: bytes) -> None:
        reader = written(data)
        os.dup2(reader, 0)
        os.close(reader)

    yield give
    os.dup2(before, 0)
    os.close(before)


def reported(name: str = "r.json") -> list[dict]:
    return json.loads(Path(name).read_text())["inputs"]


def test_standard_input_is_watched_from_a_temporary_file_and_named_stdin(fake: FakeRun, stdin, scratch, monkeypatch):
    seen: list[bytes] = []

    def prepare(model: LazyModel, path: str, recent_s: float, media: None):
        seen.append(Path(path).read_bytes())
        return path, model.settings

    monkeypatch.setattr(LazyModel, "prepare", prepare)
    stdin(BYTES)
    assert omnimem("summarize", "-", "-f", "json") == 0
    facts = json.loads(Path("stdin.summary.json").read_text())["input"]
    assert facts["path"] == "/dev/stdin" and facts["digest"] == f"sha256:{hashlib.sha256(BYTES).hexdigest()}"
    assert seen == [BYTES] and list(scratch.iterdir()) == [], "the temporary file goes away"


def test_the_same_bytes_are_done_before_and_others_do_not_replace_their_result(fake: FakeRun, stdin, capsys):
    for data, code in ((BYTES, 0), (BYTES, 0), (b"other", 8)):
        stdin(data)
        assert omnimem("summarize", "-") == code
    said = capsys.readouterr().err
    assert "skipped, done before" in said and "stdin.summary.md is the result of something else" in said
    assert len(fake.watched) == 1
    stdin(b"other")
    assert omnimem("summarize", "-", "--force") == 0


def test_an_empty_standard_input_is_called_so_and_not_by_the_temporary_file(fake: FakeRun, stdin, capsys):
    stdin(b"")
    assert omnimem("summarize", "-") == 4
    assert "/dev/stdin is empty" in capsys.readouterr().err


def test_a_terminal_is_refused_at_once(fake: FakeRun, monkeypatch, capsys):
    monkeypatch.setattr(os, "isatty", lambda number: True)
    assert omnimem("summarize", "-") == 2
    assert "Standard input is a terminal" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["-"], ["/dev/stdin"], ["--files-from", "-"], ["--workers", "cpu,cpu"]])
def test_standard_input_has_one_reader(fake: FakeRun, more: list[str], capsys):
    assert omnimem("summarize", "-", *more) == 2
    assert fake.watched == []


def test_a_process_substitution_is_read(fake: FakeRun):
    first, second = written(BYTES), written(b"second")
    assert omnimem("summarize", f"/dev/fd/{first}", f"/dev/fd/{second}") == 0
    os.close(first)
    os.close(second)
    assert len(list(Path().glob("pipe-*.summary.md"))) == 2


def test_a_named_pipe_that_nobody_writes_to_costs_itself_and_nothing_else(fake: FakeRun):
    media("a.mp4", "b.mp4")
    os.mkfifo("pipe.mp4")
    assert omnimem("summarize", "a.mp4", "pipe.mp4", "b.mp4", "--timeout", "0.2", "--report", "r.json") == 3
    assert fake.watched == ["a.mp4", "b.mp4"]
    assert reported()[1]["error"]["code"] == "stalled"


def test_a_named_pipe_is_read_when_someone_writes(fake: FakeRun, scratch: Path):
    os.mkfifo("pipe.mp4")
    threading.Thread(target=lambda: Path("pipe.mp4").write_bytes(BYTES), daemon=True).start()
    with saved(named_input("pipe.mp4"), Settings()) as one:
        assert Path(one.file).read_bytes() == BYTES and one.path == "pipe.mp4"
    assert list(scratch.iterdir()) == []


def test_a_folder_gives_no_pipes_and_says_so(fake: FakeRun, capsys):
    media("rec/a.mp4")
    os.mkfifo("rec/live.mp4")
    assert omnimem("summarize", "-r", "rec") == 0
    assert fake.watched == ["a.mp4"] and "rec/live.mp4 is a pipe and was left out" in capsys.readouterr().err


def test_a_pipe_that_stops_half_way_is_stalled(scratch: Path):
    reader, writer = os.pipe()
    os.write(writer, b"half")
    with (
        pytest.raises(InputError, match=r"delivered nothing for 0\.2 seconds") as caught,
        saved(named_input(f"/dev/fd/{reader}"), SOON),
    ):
        pass
    os.close(reader)
    os.close(writer)
    assert caught.value.code == "stalled" and list(scratch.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_of_temporary_files_is_an_output_error_that_names_it(number: int, scratch: Path, monkeypatch):
    class Full:
        name = str(scratch / "omnimem-x" / "media")

        def write(self, block):
            raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError, match=f"cannot be saved in {scratch}: ") as caught:
        pipes._write(Full(), b"x", "-")
    assert "TMPDIR" in caught.value.hint


def test_the_temporary_file_goes_away_after_ctrl_c(scratch: Path):
    reader = written(BYTES)
    with pytest.raises(Interrupted), saved(named_input(f"/dev/fd/{reader}"), Settings()):
        assert list(scratch.iterdir())
        raise Interrupted(2)
    os.close(reader)
    assert list(scratch.iterdir()) == []


def test_errors_name_the_pipe_and_not_the_temporary_file(stdin, scratch: Path, capsys):
    stdin(footage.av(Path(), "mute.mp4", audio_s=0).read_bytes())
    assert omnimem("transcribe", "-", "--no-video", "-m", "nano") == 4
    said = capsys.readouterr().err
    assert "/dev/stdin has no sound" in said and str(scratch) not in said
