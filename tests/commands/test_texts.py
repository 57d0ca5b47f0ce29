"""Texts as people type and save them: blank ones and those that are not UTF-8 are usage errors, marks are no text."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_run import FakeRun, media, omnimem

LATIN = os.fsdecode(b"Wann f\xe4llt es aus?")
TYPED = (
    ("ask", "-Q"),
    ("summarize", "--prompt"),
    ("summarize", "--language"),
    ("transcribe", "--spoken-language"),
    ("summarize", "--audio-track"),
)


@pytest.mark.parametrize(("command", "flag"), TYPED)
@pytest.mark.parametrize("text", ["", "  ", LATIN])
def test_a_text_that_is_blank_or_not_utf8_is_a_usage_error(fake: FakeRun, command: str, flag: str, text: str, capsys):
    media("a.mp4")
    assert omnimem(command, "a.mp4", flag, text) == 2
    assert fake.watched == [] and flag in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_questions_in_the_encodings_of_editors_are_read(fake: FakeRun, encoding: str):
    media("a.mp4")
    Path("q.txt").write_bytes("Wann f\u00e4llt es aus?\r\n".encode(encoding))
    from omnimem_cli.tasks.presets.library import read_lines

    assert read_lines(Path("q.txt")) == ["Wann f\u00e4llt es aus?"]
    assert omnimem("ask", "a.mp4", "--questions", "q.txt") == 0


@pytest.mark.parametrize("flag", ["--questions", "--glossary", "--config", "--preset"])
@pytest.mark.parametrize("data", [b"f\xe4llt: 1", "why?".encode("utf-16-le")])
def test_a_file_that_is_not_utf8_is_a_usage_error(fake: FakeRun, flag: str, data: bytes, capsys):
    media("a.mp4")
    Path("q.yaml").write_bytes(data)
    asked = () if flag in ("--questions", "--preset") else ("-Q", "why?")
    assert omnimem("ask", "a.mp4", flag, "q.yaml", *asked) == 2
    assert "q.yaml is not UTF-8 text" in capsys.readouterr().err


def test_a_run_without_stdout_does_every_input(fake: FakeRun, monkeypatch: pytest.MonkeyPatch):
    media("a.mp4", "b.mp4")
    monkeypatch.setattr(sys, "stdout", None)
    assert omnimem("summarize", "a.mp4", "b.mp4", "--report", "r.json") == 0
    assert fake.watched == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_file_of_the_run(closed: str):
    """What is opened next must not take the number of a stream, or messages would go into it."""
    script = (
        "import os; from omnimem_cli.base.process import open_standard_streams; open_standard_streams()\n"
        "file = os.open('/dev/null', os.O_RDONLY); print('said'); raise SystemExit(0 if file > 2 else 1)"
    )
    assert (
        subprocess.run(["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, script], timeout=60).returncode == 0
    )


def test_a_stdout_that_cannot_be_written_is_8(fake: FakeRun, monkeypatch: pytest.MonkeyPatch, capsys):
    media("a.mp4")
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 (a buffer would fail again when it is closed)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=full, flush=lambda: None, isatty=lambda: False))
    assert omnimem("summarize", "a.mp4", "-o", "-") == 8
    full.close()
    assert "Standard output cannot be written: No space left on device" in capsys.readouterr().err
