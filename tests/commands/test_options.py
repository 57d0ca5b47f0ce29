"""Options as fields: each is read by somebody, checked before any work, and known in full to the help."""

import ast
import json
from dataclasses import fields, make_dataclass
from pathlib import Path

import pytest
from fake_run import FakeRun, media, omnimem
from typer.main import get_command

import omnimem_cli
from omnimem_cli.app import app
from omnimem_cli.base.flags import Flag, flag, flag_of, from_typed, positive
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.bench.shared import BenchOptions
from omnimem_cli.commands.options import RunOptions

DECLARED = ("settings.py", "flags.py", "options.py")
BENCHES = ("memory", "needle", "recall", "speed", "overlap")


def uses() -> dict[str, set[str]]:
    """Attributes that the package reads of anything called settings (or s) and options (or self), by these names."""
    found: dict[str, set[str]] = {"settings": {"max_tokens"}, "options": set()}  # max_tokens: by Settings.answer_tokens
    short = {"s": "settings", "self": "options"}
    for file in Path(omnimem_cli.__file__).parent.rglob("*.py"):
        if file.name in DECLARED:
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                owner = getattr(node.value, "attr", getattr(node.value, "id", ""))
                found.get(short.get(owner, owner), set()).add(node.attr)
    return found


USES = uses()


def unread(kind: type, name: str) -> list[str]:
    """Fields of the dataclass that nobody reads of anything called ``name``."""
    return [one.name for one in fields(kind) if one.name not in USES[name]]


@pytest.mark.parametrize(("kind", "name"), [(Settings, "settings"), (RunOptions, "options"), (BenchOptions, "options")])
def test_no_option_is_ignored_by_everybody(kind: type, name: str):
    assert unread(kind, name) == []


def test_an_option_that_nobody_reads_is_found():
    colour = ("colour", str, flag("red", "Input", "--colour NAME", "Nothing."))
    dummy = make_dataclass("Dummy", [colour], bases=(Settings,), frozen=True)
    assert unread(dummy, "settings") == ["colour"]


def test_a_field_takes_its_default_its_flag_and_its_check_from_one_place():
    made = make_dataclass(
        "Made", [("width_s", float, flag(2.0, "Input", "-w --width S", "Width.", read=lambda text, f: float(text)))]
    )
    assert from_typed(made, {"width": "3"}).width_s == 3.0 and from_typed(made, {"width": None}).width_s == 2.0
    assert flag_of(fields(made)[0]) == Flag("Input", "-w --width S", "Width.", read=flag_of(fields(made)[0]).read)
    assert positive(1, "--width") == 1


@pytest.mark.parametrize(
    "wrong", [("--dtype", "foo"), ("--device", "tpu"), ("--chunk", "0")], ids=lambda wrong: wrong[0]
)
@pytest.mark.parametrize(
    "command", [("calibrate", "a.mp4"), *(("bench", name) for name in BENCHES)], ids=lambda command: command[-1]
)
def test_a_wrong_setting_is_2_before_the_model_is_loaded(command, wrong, fake: FakeRun, monkeypatch, capsys):
    monkeypatch.setattr("omnimem_cli.models.loader.load", lambda *a, **k: pytest.fail("loaded a model"))
    assert omnimem(*command, *wrong) == 2
    assert wrong[0] in capsys.readouterr().err


def test_calibrate_refuses_a_budget_before_the_model_is_loaded(fake: FakeRun, monkeypatch, capsys):
    monkeypatch.setattr("omnimem_cli.models.loader.load", lambda *a, **k: pytest.fail("loaded a model"))
    assert omnimem("calibrate", "a.mp4", "--budget", "lots") == 2
    assert "lots" in capsys.readouterr().err


def commands() -> dict:
    """Every command by its path: ``bench needle``."""
    found = {}
    for name, command in get_command(app).commands.items():
        found |= {f"{name} {sub}": c for sub, c in getattr(command, "commands", {}).items()} or {name: command}
    return found


@pytest.mark.parametrize("name", commands())
def test_every_default_is_shown_and_at_most_twenty_options(name: str):
    options = [p for p in commands()[name].params if p.param_type_name == "option"]
    assert len([p for p in options if not p.hidden]) <= 20
    silent = [p.name for p in options if p.default is not None and p.default is not False and not p.show_default]
    assert silent == []


@pytest.mark.parametrize(
    "arguments", [("models", "list"), ("models", "show", "nano"), ("presets", "list"), ("presets", "show", "meeting"),
                  ("presets", "check", "meeting")], ids=" ".join,
)  # fmt: skip
def test_every_command_writes_json_with_the_same_option(arguments, fake: FakeRun, capsys):
    assert omnimem(*arguments, "-f", "json") == 0
    assert json.loads(capsys.readouterr().out) is not None
    assert omnimem(*arguments, "-f", "md") == 2
    assert omnimem(*arguments, "-f", "json", "-f", "json") == 0
    assert omnimem(*arguments, "--json") == 2


def test_the_demo_writes_several_formats_into_a_folder_and_one_to_stdout(fake: FakeRun, capsys):
    assert omnimem("demo", "-f", "json", "-f", "md", "-o", "out/") == 0
    assert {p.suffix for p in Path("out").glob("demo.*")} == {".json", ".md", ".omnimem"}
    assert omnimem("demo", "-f", "json,md") == 2
    assert "json,md" in capsys.readouterr().err


def test_a_report_replaces_only_a_report(fake: FakeRun, capsys):
    media("a.mp4")
    Path("notes.txt").write_text("my notes")
    assert omnimem("summarize", "a.mp4", "--report", "notes.txt") == 8
    assert Path("notes.txt").read_text() == "my notes" and fake.watched == []
    assert "--force" in capsys.readouterr().err
    for _ in range(2):
        assert omnimem("summarize", "a.mp4", "--report", "report.json") == 0
    assert omnimem("summarize", "a.mp4", "--report", "notes.txt", "--force") == 0
    assert json.loads(Path("notes.txt").read_text())["exit_code"] == 0


def test_a_report_of_a_killed_run_is_replaced_too(fake: FakeRun, monkeypatch):
    media("a.mp4")
    monkeypatch.setattr("omnimem_cli.jobs.run_report.RunReport.close", lambda *a: None)
    assert omnimem("summarize", "a.mp4", "--report", "report.json") == 0
    assert json.loads(Path("report.json").read_text())["exit_code"] is None
    assert omnimem("summarize", "a.mp4", "--report", "report.json") == 0


def test_sampling_is_other_work_only_where_something_is_drawn(fake: FakeRun):
    media("a.mp4")
    warm = ("--temperature", "0.5")
    for more in ((), ("--seed", "2"), ("--top-p", "1"), warm, (*warm, "--seed", "2"), (*warm, "--top-p", "0.5")):
        assert omnimem("summarize", "a.mp4", *more) == 0
    drawn = [(s.temperature, s.seed, s.top_p) for s in fake.settings]
    assert drawn == [(0.0, 0, 0.9), (0.5, 0, 0.9), (0.5, 2, 0.9), (0.5, 0, 0.5)]


@pytest.mark.parametrize(
    "typed",
    [
        "--top-p 0",
        "--top-p 1.5",
        "--top-p nan",
        f"--seed {2**63}",
        "--seed -1",
        "--temperature -1",
        "--temperature nan",
    ],
)
def test_a_sampling_option_out_of_range_is_a_usage_error(fake: FakeRun, typed):
    media("a.mp4")
    assert omnimem("summarize", "a.mp4", *typed.split()) == 2 and fake.settings == []


def test_the_help_of_everything_leaves_the_command_as_it_was(capsys):
    command = get_command(app)
    command.main(["summarize", "--help-all"], standalone_mode=False)
    assert "--policy" in capsys.readouterr().out
    assert [p.name for p in command.commands["summarize"].params if getattr(p, "hidden", False)]


def test_transcribe_does_not_take_the_language_of_an_output_that_it_does_not_choose(fake: FakeRun, capsys):
    media("a.mp4")
    assert omnimem("transcribe", "a.mp4", "--language", "German") == 2
    Path("omnimem.yaml").write_text("language: German\n")
    assert omnimem("transcribe", "a.mp4") == 0, "a default for every command may concern some only"
