"""What a shell offers: asked as shells ask, and for every value of the command line that has a list."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from command_tree import leaves, offered, values

from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import flag_of
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands import completion
from omnimem_cli.commands.bench.shared import BenchOptions
from omnimem_cli.commands.options import RunOptions
from omnimem_cli.finetuning.choices import Training
from omnimem_cli.live.options import LiveFlags
from omnimem_cli.memory.policies import POLICIES
from omnimem_cli.results.writers import FORMATS

FREE = {
    *("TEXT", "N", "M", "R", "S", "A", "P", "T", "H", "W", "WORDS", "SIZE", "SIZE,...", "TOKENS", "SHARE", "SHARE,..."),
    *("N,...", "M,...", "RANGE,...", "TIME", "SPAN", "SECONDS", "RULE", "WHEN", "GLOB", "URL", "ADDRESS", "COMMAND"),
    *("FILE", "LIST", "PATH", "NAME=VALUE", "N|LANG", "NAME,..."),
}
"""Words for values that have no list, or that shells complete by themselves: any file."""
FREE_NAMES = {"--gguf"}  # of a file in the folder that another option names


VALUES = values()


def asked(line: str, shell: str = "bash", folder: Path = Path()) -> list[str]:
    """What a shell gets for a line whose last word is not finished."""
    words = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    environment = os.environ | words | {"_OMNIMEM_COMPLETE": f"complete_{shell}", "XDG_CONFIG_HOME": str(folder)}
    command = [sys.executable, "-c", "from omnimem_cli.app import main; main()"]
    shown = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=True)
    assert shown.stderr == ""
    return [line for line in shown.stdout.splitlines() if line]


def test_every_value_that_has_a_list_is_offered(tmp_path, monkeypatch):
    for file in ("a.mp4", "a.omnimem", "a.json"):
        (tmp_path / file).touch()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, command, parameter in VALUES:
        if parameter.metavar not in FREE and parameter.opts[-1] not in FREE_NAMES:
            message = f"{name} {parameter.metavar} offers nothing: give it a list, or say in FREE that it has none"
            assert offered(command, parameter), message


@pytest.mark.parametrize("kind", [Settings, RunOptions, BenchOptions, Training, LiveFlags])
def test_an_option_that_refuses_unknown_words_offers_the_known_ones(kind):
    choosy = set()
    for flag in filter(None, map(flag_of, fields(kind))):
        try:
            flag.read and flag.read("zzz", flag.flags[-1])
        except UsageError as error:
            if "Choose from" in error.hint:
                choosy.add(flag.flags[-1])
        except TypeError:  # it takes a number
            pass
    for name, command, parameter in VALUES:
        if parameter.opts[-1] in choosy:
            assert offered(command, parameter), name


def test_what_is_offered_is_what_is_taken():
    assert set(completion.policies()) == set(POLICIES)
    for name, command, parameter in VALUES:
        flag = next(
            (one for one in map(flag_of, fields(Settings)) if one and one.flags[-1] == parameter.opts[-1]), None
        )
        if flag and hasattr(flag.read, "allowed"):
            assert offered(command, parameter) == [str(word) for word in flag.read.allowed], name
    for task in FORMATS:
        (command,) = [command for path, command in leaves() if path == (task,)]
        (parameter,) = [one for one in command.params if one.name == "format"]
        assert offered(command, parameter) == list(FORMATS[task])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("omnimem ask a.mp4 -m qwen3", ["qwen3-omni-30b-a3b"]),
        ("omnimem ask a.mp4 --preset mee", ["meeting"]),
        ("omnimem models show nan", ["nano"]),
        ("omnimem models pull video-salmonn2-plus-7b", ["video-salmonn2-plus-7b"]),
        ("omnimem presets check lec", ["lecture"]),
        ("omnimem summarize --policy sli", ["sliding-window"]),
        ("omnimem bench needle --policies omnimem,sal", ["omnimem,salience"]),
        ("omnimem summarize -f md,ht", ["md,html"]),
        ("omnimem summarize --style ch", ["chapters"]),
        ("omnimem summarize --dtype fl", ["float32", "float16"]),
        ("omnimem summarize --device cp", ["cpu"]),
        ("omnimem summarize --kv-bits 1", ["16"]),
        ("omnimem summarize --language Ger", ["German"]),
        ("omnimem summarize --positions re", ["retime"]),
        ("omnimem watch --with summary,tr", ["summary,transcript"]),
        ("omnimem bench run lv", ["lvbench", "lvomnibench"]),
        ("omnimem config show summ", ["summarize"]),
        ("omnimem summarize --kv-b", ["--kv-bits"]),
    ],
)
def test_bash_gets_the_words_that_begin_as_typed(line, words, tmp_path):
    assert asked(line, folder=tmp_path) == words


def test_bash_completes_with_the_script_that_is_installed(tmp_path):
    (tmp_path / "omnimem").write_text(f"#!{sys.executable}\nfrom omnimem_cli.app import main\nmain()\n")
    (tmp_path / "omnimem").chmod(0o755)
    typed = "COMP_WORDS=(omnimem ask a.mp4 -m qwen3); COMP_CWORD=4; _omnimem_completion omnimem; echo ${COMPREPLY[@]}"
    script = f'eval "$(omnimem --show-completion bash)"; {typed}'
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert shown.stdout == "qwen3-omni-30b-a3b\n"


def test_zsh_and_fish_get_a_word_with_what_it_is_on_one_line(tmp_path):
    assert asked("omnimem models show qwen3", "zsh", tmp_path) == [
        """_arguments '*: :(("qwen3-omni-30b-a3b":"70.5 GB"))'"""
    ]
    assert asked("omnimem models show nan", "fish", tmp_path) == ["nano\tbuilt in"]
    lines = asked("omnimem ask a.mp4 --preset ", "fish", tmp_path)
    assert [line.split("\t")[0] for line in lines] == [word for word, _ in completion.presets()]


def test_inputs_are_media_memories_and_folders(tmp_path, monkeypatch):
    (tmp_path / "talks").mkdir()
    for name in ("talk.mp4", "talk.MKV", "talk.omnimem", "talk.summary.md", ".talk.mp4", "talks/a.wav", "talks/x.py"):
        (tmp_path / name).touch()
    assert asked("omnimem summarize ta", folder=tmp_path) == ["talk.MKV", "talk.mp4", "talk.omnimem", "talks/"]
    monkeypatch.chdir(tmp_path)
    assert completion.INPUTS("") == ["talk.MKV", "talk.mp4", "talk.omnimem", "talks/"]
    assert completion.INPUTS("talks") == ["talks/", "talks/a.wav"]  # no space after the folder
    assert completion.INPUTS("talks/a") == ["talks/a.wav"]
    assert completion.INPUTS(".t") == [".talk.mp4"]
    assert completion.INPUTS("nowhere/t") == completion.INPUTS("~nobody-of-this-name/t") == []
    assert completion.VIDEOS("") == ["talk.MKV", "talk.mp4", "talks/"]
    assert completion.MEMORIES("talk.") == ["talk.omnimem"]
    assert completion.FOLDERS("") == ["talks/"]


def test_a_name_that_bash_would_not_quote_is_left_to_bash(tmp_path):
    (tmp_path / "my talk.mp4").touch()
    assert asked("omnimem summarize my", folder=tmp_path) == []
    assert asked("omnimem summarize my", "zsh", tmp_path) == ["""_arguments '*: :(("my talk.mp4"))'"""]


def test_a_folder_below_the_home_is_offered_as_typed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.mp4").touch()
    assert asked("omnimem summarize ~/a", folder=tmp_path) == ["~/a.mp4"]


def test_a_config_file_that_cannot_be_read_does_not_disturb(tmp_path):
    (tmp_path / "omnimem.yaml").write_text("zzz: [")
    assert asked("omnimem ask a.mp4 --preset mee", folder=tmp_path) == ["meeting"]


OFFER_EVERYTHING = """
import sys
from command_tree import offered, values
assert sum(bool(offered(command, parameter)) for _, command, parameter in values()) > 30
assert not {"torch", "transformers", "numpy", "av"} & set(sys.modules)
"""


def test_nothing_that_is_offered_imports_torch():
    support = Path(__file__).parents[1] / "support"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(support), os.environ.get("PYTHONPATH", "")])}
    subprocess.run([sys.executable, "-c", OFFER_EVERYTHING], check=True, env=environment)
