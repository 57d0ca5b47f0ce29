"""The README says what the code does: its words, its codes, its commands."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from omnimem_cli.app import app
from omnimem_cli.results.codes import ERROR_CODES, WARNING_CODES

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


@pytest.mark.parametrize("word", [*ERROR_CODES, *WARNING_CODES])
def test_every_code_stands_in_the_readme_with_its_meaning(word):
    meaning = (ERROR_CODES | WARNING_CODES)[word]
    assert f"| `{word}` | {meaning} |" in README


def test_every_command_line_in_the_readme_names_a_command_and_options_that_exist():
    lines = re.findall(r"^(?:\$ )?omnimem ([^#\n]+)", README, flags=re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        command, words = get_command(app), line.split()
        while hasattr(command, "commands") and words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        known = {name for parameter in command.params for name in parameter.opts}
        flags = {word.split("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
        assert not hasattr(command, "commands") and flags <= known, line


def test_the_two_commands_are_marked_for_ci():
    for number, command in (("one", "omnimem demo"), ("two", "pytest")):
        block = README.split(f"<!-- command {number} -->")[1].split("```")[1]
        assert command in block
