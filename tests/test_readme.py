"""The documents say what the code does: their tables, their commands, their examples."""

import importlib.util
import json
import re
import shlex
import shutil
from pathlib import Path

import jsonschema
import pytest
from typer.main import get_command

from omnimem_cli.app import app
from omnimem_cli.live.delivery import LOSSES
from omnimem_cli.live.events import TYPES
from omnimem_cli.live.teller import TITLES
from omnimem_cli.results.result import schema
from omnimem_cli.tasks.presets.preset import read_preset

ROOT = Path(__file__).parents[1]
WITH_COMMANDS = (
    "README.md",
    "presets/README.md",
    "omnimem_cli/bench/RESULTS.md",
    "omnimem_cli/models/nano/README.md",
    "omnimem_cli/results/README.md",
    "omnimem_cli/bench/public/README.md",
)
BESIDE_THE_CODE = (
    *WITH_COMMANDS,
    "CHANGELOG.md",
    "omnimem_cli/commands/RECIPES.md",
    "omnimem_cli/bench/LOG.md",
    "omnimem_cli/train/LOG.md",
)


def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def load_tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / ".ci" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands_in(text: str) -> list[str]:
    """The lines of code that call omnimem, no row of the policy omnimem, without what follows a pipe or a comment."""
    lines = re.findall(r"^omnimem (?! )[^\n]+", text, flags=re.MULTILINE)
    return [line.split(" | ")[0].split("   #")[0] for line in lines]


def unknown_words(line: str) -> set[str]:
    """Flags that the command does not have; the whole line where there is no such command."""
    command, words = get_command(app), shlex.split(line)[1:]
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in parameter.opts}
    flags = {word.split("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
    return {line} if hasattr(command, "commands") else flags - known


@pytest.fixture(scope="module")
def tables():
    return load_tables()


@pytest.mark.parametrize("name", ["README.md", "omnimem_cli/results/README.md", "omnimem_cli/commands/README.md"])
def test_every_generated_table_is_what_the_code_says_today(name, tables):
    text = text_of(name)
    assert tables.filled(text, tables.documents()[name]) == text, "run `python .ci/tables.py`"


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_every_command_line_names_a_command_and_options_that_exist(name):
    lines = commands_in(text_of(name))
    assert lines
    assert {line: unknown_words(line) for line in lines if unknown_words(line)} == {}


def test_every_table_of_results_stands_under_the_command_that_measures_it():
    sections = re.split(r"^##+ ", text_of("omnimem_cli/bench/RESULTS.md"), flags=re.MULTILINE)[1:]
    measured = [section for section in sections if "| --- |" in section]
    assert len(measured) >= 10
    for section in measured:
        for before in section.split("| --- |")[:1]:
            assert any(line.startswith("omnimem bench ") for line in commands_in(before)), section.splitlines()[0]
        assert re.search(r"Commits?\s[0-9a-f]{7}", section), section.splitlines()[0]


@pytest.mark.parametrize("name", BESIDE_THE_CODE)
def test_every_link_leads_to_a_file(name):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text_of(name))
    broken = [link for link in links if "://" not in link and not (ROOT / name).parent.joinpath(link).exists()]
    assert broken == []


def test_the_readme_can_be_read_in_one_sitting():
    assert len(text_of("README.md").splitlines()) <= 150


def test_the_two_commands_are_marked_for_ci():
    for number, command in (("one", "omnimem demo"), ("two", "pytest")):
        comment, fence, line, *_ = text_of("README.md").split(f"<!-- command {number}")[1].splitlines()
        assert (comment, fence) == (" -->", "```bash") and command in line


def test_the_example_of_a_result_is_a_result():
    example = text_of("omnimem_cli/results/README.md").split("<!-- example -->\n```json\n")[1].split("```")[0]
    jsonschema.Draft202012Validator(schema()).validate(json.loads(example))


def test_the_example_of_a_preset_can_be_asked():
    example = text_of("presets/README.md").split("<!-- example -->\n```yaml\n")[1].split("```")[0]
    preset, problems = read_preset(example, "product")
    assert problems == []
    overview, features = preset.filled({"product": "the camera"})
    assert "the camera? Answer for a customer" in overview.text and features.schema is not None


def test_the_python_example_runs_as_it_is_printed(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "omnimem_cli/world/demo.mp4", tmp_path / "lecture.mp4")
    monkeypatch.chdir(tmp_path)
    example = text_of("README.md").split("```python\n")[1].split("```")[0]
    assert len([line for line in example.splitlines() if line]) <= 7
    exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / "lecture.omnimem").exists()
    assert capsys.readouterr().out.startswith("['")


def test_every_word_of_a_status_is_in_the_section_on_events():
    section = text_of("omnimem_cli/results/README.md").split("## Events of a live watch")[1].split("\n## ")[0]
    words = [*TITLES, LOSSES, *TYPES, *(f"`{name}`" for name in schema("event-1")["properties"])]
    assert not [word for word in words if f"`{word.strip('`')}`" not in section]
