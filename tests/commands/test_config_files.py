"""Flags before OMNIMEM_* before omnimem.yaml before the user's config before defaults."""

import json
import sys
from pathlib import Path

import pytest
from fake_run import FakeRun, media, omnimem


def budget_used() -> str:
    return Path("a.summary.md").read_text().split(" under ")[1].split()[0]


@pytest.fixture
def user_config(tmp_path: Path) -> Path:
    folder = tmp_path / "no-config" / "omnimem"
    folder.mkdir(parents=True)
    return folder / "config.yaml"


def test_each_source_beats_the_ones_below_it(fake: FakeRun, user_config: Path, monkeypatch: pytest.MonkeyPatch):
    media("a.mp4")
    user_config.write_text("budget: 1k\n")
    omnimem("summarize", "a.mp4")
    assert budget_used() == "1024"
    Path("omnimem.yaml").write_text("budget: 2k\n")
    omnimem("summarize", "a.mp4")
    assert budget_used() == "2048"
    monkeypatch.setenv("OMNIMEM_BUDGET", "3k")
    omnimem("summarize", "a.mp4")
    assert budget_used() == "3072"
    omnimem("summarize", "a.mp4", "--budget", "4k")
    assert budget_used() == "4096"


def test_a_named_config_stands_in_for_the_projects(fake: FakeRun):
    media("a.mp4")
    Path("omnimem.yaml").write_text("budget: 2k\n")
    Path("other.yaml").write_text("budget: 5k\nformat: [md, json]\n")
    assert omnimem("summarize", "a.mp4", "--config", "other.yaml") == 0
    assert budget_used() == "5120"
    assert Path("a.summary.json").exists()


def test_options_under_a_commands_name_hold_for_it_alone(fake: FakeRun):
    media("a.mp4")
    Path("omnimem.yaml").write_text("format: json\ntranscribe:\n  format: srt\nsummarize:\n  style: detailed\n")
    assert omnimem("transcribe", "a.mp4") == 0
    assert omnimem("summarize", "a.mp4") == 0
    assert {p.name for p in Path().glob("a.*")} == {"a.mp4", "a.srt", "a.summary.json"}


def test_a_key_is_the_long_name_of_its_option(fake: FakeRun, capsys):
    media("a.mp4")
    Path("omnimem.yaml").write_text("watch:\n  with: transcript\n")
    assert omnimem("watch", "a.mp4") == 0
    assert Path("a.transcript.md").exists()
    omnimem("config", "show", "watch", "-f", "json")
    rows = {row["option"]: row for row in json.loads(capsys.readouterr().out.splitlines()[-1])}
    assert rows["--with"] == {"option": "--with", "value": "transcript", "origin": "omnimem.yaml"}


def test_a_command_and_an_option_may_have_one_name(fake: FakeRun):
    media("a.mp4")
    Path("omnimem.yaml").write_text("report: run.json\n")
    assert omnimem("summarize", "a.mp4") == 0
    assert Path("run.json").exists()


def test_on_and_off_are_words(fake: FakeRun):
    media("a.mp4")
    Path("omnimem.yaml").write_text("notes: off\nquestion: Why?\n")
    assert omnimem("ask", "a.mp4") == 0
    assert fake.settings[-1].notes == "off"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budgett: 8k", "Did you mean budget?"),
        ("budget: [", "line"),
        ("- budget", "no options"),
        ("model: {name: x}", "not a mapping"),
        ("budget: lots", "not a budget"),
        ("style: poetic", "poetic"),
    ],
)
def test_a_config_with_an_error_is_a_usage_error_that_names_it(fake: FakeRun, text: str, said: str, capsys):
    media("a.mp4")
    Path("omnimem.yaml").write_text(text)
    assert omnimem("summarize", "a.mp4") == 2
    assert said in capsys.readouterr().err


def test_a_named_config_must_exist(fake: FakeRun, capsys):
    media("a.mp4")
    assert omnimem("summarize", "a.mp4", "--config", "gone.yaml") == 2
    assert "gone.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "typed", [["what is it?"], ["-Q", "what?"], ["--questions", "list.txt"], ["--preset", "other.yaml"]], ids=" ".join
)
def test_questions_that_are_typed_replace_those_of_a_file(fake: FakeRun, typed: list[str]):
    media("a.mp4")
    Path("list.txt").write_text("what?\n")
    Path("mine.yaml").write_text("description: mine\nvariables: {x: y}\nquestions:\n- {id: one, question: '{x}?'}\n")
    Path("other.yaml").write_text("description: other\nquestions:\n- {id: one, question: 'what?'}\n")
    Path("omnimem.yaml").write_text("ask:\n  preset: mine.yaml\n  var: x=z\n")
    assert omnimem("ask", "a.mp4", *typed) == 0
    assert fake.asked == ["what is it?" if len(typed) == 1 else "what?"]
    assert omnimem("ask", "a.mp4") == omnimem("ask", "a.mp4", "--var", "x=w") == 0
    assert fake.asked[1:] == ["z?", "w?"]


def test_a_thing_said_in_one_way_beats_another_way_of_a_lower_place(
    fake: FakeRun, user_config: Path, monkeypatch: pytest.MonkeyPatch
):
    media("a.mp4")
    user_config.write_text("question: lowest?\nfocus: slides\n")
    Path("mine.yaml").write_text("description: mine\nquestions:\n- {id: one, question: 'one?'}\n")
    Path("omnimem.yaml").write_text("preset: mine.yaml\n")
    assert omnimem("ask", "a.mp4") == 0
    monkeypatch.setenv("OMNIMEM_QUESTION", "three?")
    assert omnimem("ask", "a.mp4", "--focus-questions") == 0
    assert fake.asked == ["one?", "three?"]
    assert [settings.focus for settings in fake.settings] == [("slides",), ("three?",)]


def test_a_typed_cluster_beats_the_workers_of_a_file(fake: FakeRun, monkeypatch: pytest.MonkeyPatch, capsys):
    media("a.mp4")
    monkeypatch.setitem(sys.modules, "ray", None)
    Path("omnimem.yaml").write_text("workers: cpu,cpu\n")
    assert omnimem("summarize", "a.mp4", "--ray", "nowhere:1") == 5
    assert "two ways" not in capsys.readouterr().err
    assert omnimem("summarize", "a.mp4", "--ray", "nowhere:1", "--workers", "cpu") == 2


def test_config_show_names_the_origin_of_each_value(
    fake: FakeRun, user_config: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    user_config.write_text("budget: 1k\nfps: 2\nmax-pixels: 1000\n")
    Path("omnimem.yaml").write_text("budget: 2k\nask:\n  preset: meeting\n")
    monkeypatch.setenv("OMNIMEM_FPS", "3")
    assert omnimem("config", "show", "ask", "-f", "json") == 0
    shown = {row["option"]: (row["value"], row["origin"]) for row in json.loads(capsys.readouterr().out)}
    assert shown["--budget"] == ("2k", "omnimem.yaml") and shown["--preset"] == ("meeting", "omnimem.yaml")
    assert shown["--fps"] == ("3", "OMNIMEM_FPS") and shown["--max-pixels"] == (1000, str(user_config))
    assert shown["--kv-bits"] == (16, "default")
    monkeypatch.setenv("OMNIMEM_QUESTION", "What?")
    assert omnimem("config", "show", "ask", "-f", "json") == 0
    shown = {row["option"]: row["value"] for row in json.loads(capsys.readouterr().out)}
    assert shown["--question"] == "What?" and shown["--preset"] is None, "of two ways to ask the higher place counts"
    assert omnimem("config", "show", "summarize") == 0
    assert "meeting" not in capsys.readouterr().out, "what stands under ask is for ask alone"


def test_config_show_says_which_commands_read_files(fake: FakeRun, capsys):
    assert omnimem("config", "show", "bench") == 2
    assert "watch, summarize, transcribe, ask, chat, doctor" in capsys.readouterr().err
    Path("omnimem.yaml").write_text("budgett: 2k\n")
    assert omnimem("config", "show", "ask") == 2
    assert "Did you mean budget?" in capsys.readouterr().err


def test_config_show_hides_what_receivers_of_events_may_hold(fake: FakeRun, monkeypatch: pytest.MonkeyPatch, capsys):
    Path("omnimem.yaml").write_text("watch:\n  webhook: http://host/hunter2\n")
    monkeypatch.setenv("OMNIMEM_EXEC", "notify hunter2")
    for form in ((), ("-f", "json")):
        assert omnimem("config", "show", "watch", *form) == 0
        said = capsys.readouterr()
        assert "hunter2" not in said.out + said.err and said.out.count("***") == 2
