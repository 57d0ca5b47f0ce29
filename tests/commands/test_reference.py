"""The reference and the manual page are whole, current, and what the programs for them can show."""

import re
import shutil
import subprocess
from pathlib import Path

import man_page
import pytest
import reference
import yaml
from command_tree import leaves

from omnimem_cli.base.errors import EXIT_CODES
from omnimem_cli.base.process import PASSIVE
from omnimem_cli.commands.config_files import load_defaults
from omnimem_cli.commands.options import key_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "omnimem_cli" / "commands" / "omnimem.1"
README = (ROOT / "omnimem_cli" / "commands" / "README.md").read_text("utf-8")
PLAIN = PAGE.read_text("utf-8").replace("\\:", "").replace("\\-", "-")
RENDERERS = {
    "man": ["man", "--warnings", "-E", "UTF-8", "-l"],
    "groff": ["groff", "-man", "-Tutf8", "-ww", "-z"],
    "mandoc": ["mandoc", "-T", "lint", "-W", "warning"],
}


def sections() -> dict[str, str]:
    """The reference of each command."""
    return dict(part.split("\n", 1) for part in re.split(r"^## ", README, flags=re.MULTILINE)[1:])


def test_every_option_of_every_command_is_in_its_section_with_its_variable():
    told = sections()
    for path, command in [((), reference.root()), *leaves()]:
        section = told[" ".join(("omnimem", *path))]
        for parameter in command.params:
            assert f"`{parameter.opts[-1]}`" in section or f"`{parameter.metavar}`" in section, (path, parameter.opts)
            assert not parameter.envvar or f"`{parameter.envvar}`" in section, (path, parameter.envvar)


def test_the_manual_page_tells_every_command_option_variable_key_and_exit_code():
    for path, command in leaves():
        assert f".SS omnimem {' '.join(path)} " in PLAIN, path
        section = PLAIN.split(f".SS omnimem {' '.join(path)} ")[1].split("\n.S")[0]
        for parameter in command.params:
            word = parameter.opts[-1] if parameter.opts[-1].startswith("-") else parameter.metavar
            assert word in section, (path, word)
            assert not parameter.envvar or f"Variable: {parameter.envvar}." in PLAIN, parameter.envvar
    parts = dict(part.split("\n", 1) for part in PLAIN.split("\n.SH ")[1:])
    keys = parts["CONFIGURATION"].split("Keys:")[1]
    for key in reference.config_keys():
        assert re.search(rf"(?<![\w-]){key.replace('_', '-')}[,.]", keys), key
    assert all(f"\\fB{code}\\fR\n{meaning}" in parts["EXIT STATUS"] for code, meaning in EXIT_CODES.items())
    for option in reference.options_of(reference.root()):
        assert option.opts[-1] in parts["OPTIONS"]


def test_every_variable_that_the_source_reads_is_told():
    read = set(PASSIVE)
    for file in (ROOT / "omnimem_cli").rglob("*.py"):
        read |= set(re.findall(r'environ(?:\.get\(|\.setdefault\(|\[)\s*"([A-Z_]+)"', file.read_text("utf-8")))
    assert {"OMNIMEM_DEBUG", "OMP_NUM_THREADS"} <= read
    told = {name for names in reference.VARIABLES for name in names.split(", ")}
    assert read <= told
    assert all(f"`{name}`" in README and name in PLAIN for name in told)


def test_every_key_of_a_config_file_is_in_the_example_and_is_taken(tmp_path):
    known = {" ".join(path): [key_of(parameter) for parameter in command.params] for path, command in leaves()}
    text = README.split("<!-- table keys -->\n```yaml\n")[1].split("```")[0]
    live = tmp_path / "all.yaml"
    live.write_text(re.sub(r"^#(?=\S)(?!#)", "", text, flags=re.MULTILINE), "utf-8")
    keys = {key.replace("-", "_") for key in yaml.safe_load(live.read_text("utf-8"))}
    for name, command in reference.configured().items():
        own = {key_of(one) for one in reference.options_of(command)} - {"config", "help_all"}
        assert own <= keys, name
        assert load_defaults(live, name, known).keys() == own, name


def test_the_commands_that_read_config_files_are_named():
    (sentence,) = re.findall(r"^Files hold for (.*?)\.", README, flags=re.MULTILINE)
    assert re.findall(r"`(\w+)`", sentence) == list(reference.configured())


def test_the_manual_page_is_what_the_code_says_today():
    assert PAGE.read_text("utf-8") == man_page.man_page(), "run `python .ci/tables.py`"


@pytest.mark.parametrize("name", RENDERERS)
def test_the_manual_page_is_shown_without_a_warning(name):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not there")
    shown = subprocess.run([*RENDERERS[name], str(PAGE)], capture_output=True, text=True, check=True)
    assert shown.stderr == "" and (name != "mandoc" or shown.stdout == "")
