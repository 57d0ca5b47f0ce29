"""A memory that is asked line by line."""

import io
import shutil
import sys
from pathlib import Path

import pytest
from fake_run import omnimem

from omnimem_cli.models import loader

DEMO = Path(loader.__file__).parents[1] / "world" / "demo.mp4"


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_a_memory_answers_line_by_line_as_its_video_does(monkeypatch: pytest.MonkeyPatch, capsys):
    shutil.copy(DEMO, "talk.mp4")
    assert omnimem("watch", "talk.mp4", "-m", "nano", "--device", "cpu", "-q") == 0
    capsys.readouterr()
    asked = "Which word is said first?\n\n  Which word is said last?\nexit\nHow many slides are shown?\n"
    for name in (["talk.omnimem"], ["talk.mp4", "-m", "nano", "--device", "cpu"]):
        typed(monkeypatch, asked)
        assert omnimem("chat", *name, "-q") == 0
        first, last = capsys.readouterr().out.splitlines()
        assert first.startswith("lemon [") and last.startswith("forest ["), "and nothing after exit"
    assert {path.name for path in Path().iterdir()} - {".omnimem"} == {"talk.mp4", "talk.omnimem"}


def test_a_chat_needs_something_to_ask(monkeypatch: pytest.MonkeyPatch, capsys):
    typed(monkeypatch, "What?\n")
    Path("talk.mp4").write_bytes(b"x")
    assert omnimem("chat", "tlak.mp4") == 4 and "Did you mean talk.mp4?" in capsys.readouterr().err
    assert omnimem("chat", "-") == 2 and "cannot read a pipe" in capsys.readouterr().err


def test_ctrl_c_stops_an_answer_and_the_chat_goes_on(monkeypatch: pytest.MonkeyPatch, capsys):
    from omnimem_cli.commands import chat

    def answer(watched, question: str) -> None:
        if question == "long":
            raise KeyboardInterrupt
        print(question)

    monkeypatch.setattr(chat, "_watched", lambda named, settings: None)
    monkeypatch.setattr(chat, "_answer", answer)
    typed(monkeypatch, "one\nlong\ntwo\n")
    assert omnimem("chat", "talk.omnimem") == 0
    assert capsys.readouterr().out.split() == ["one", "two"]
