"""The command line itself: speed, help, streams, messages, exit codes of what stops before any work."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import footage
import pytest
from fake_run import FakeRun, media, omnimem
from typer.main import get_command

from omnimem_cli.app import app

COMMANDS = ("summarize", "transcribe", "ask", "demo", "doctor")


def in_a_process(*arguments: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, **more)


def test_help_imports_no_torch_and_nothing_else_that_is_slow():
    script = (
        "import sys; from omnimem_cli.app import run; code = run(['summarize', '--help']); "
        "print(sorted({'torch', 'transformers', 'numpy', 'yaml', 'jsonschema', 'ffmpeg'} & set(sys.modules)), code)"
    )
    assert in_a_process("-c", script).stdout.splitlines()[-1] == "[] 0"


def test_help_imports_few_modules_and_so_answers_at_once():
    """Counted, not timed: about 350 modules are a quarter of a second on a machine of today, on any machine 350."""
    script = "import sys; from omnimem_cli.app import run; code = run(['--help']); print(len(sys.modules), code)"
    modules, code = in_a_process("-c", script).stdout.split()[-2:]
    assert 100 < int(modules) < 420 and code == "0"


def test_no_garbage_is_looked_for_while_torch_and_the_library_are_imported(tmp_path: Path):
    """Some 0.8 s of the five that it took."""
    script = (
        "import gc, os, sys; from omnimem_cli.app import run; from omnimem_cli.jobs.model import LazyModel\n"
        "looked = []; gc.callbacks.append(lambda phase, about: looked.append((phase, about['generation'])))\n"
        "def imported(*_): print('transformers' in sys.modules, looked.count(('start', 2)), flush=True); os._exit(0)\n"
        "LazyModel.prepare = imported; run(['summarize', sys.argv[1], '-m', 'nano', '-o', '-'])"
    )
    clip = footage.av(tmp_path, "clip.mp4")
    imported, looked = in_a_process("-c", script, str(clip)).stdout.split()
    assert imported == "True" and int(looked) <= 1, "all objects are looked through once at most, before"


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_shows_more_than_twenty_options_and_help_all_shows_the_rest(command: str, fake: FakeRun, capsys):
    shown = [p for p in get_command(app).commands[command].params if not getattr(p, "hidden", False)]
    assert len(shown) <= 20
    if command in ("summarize", "transcribe", "ask"):
        assert omnimem(command, "--help") == 0
        assert "--policy" not in capsys.readouterr().out
        assert omnimem(command, "--help-all") == 0
        assert "--policy" in capsys.readouterr().out


def test_the_advanced_options_of_a_benchmark_can_be_found(capsys):
    assert omnimem("bench", "needle", "--help") == 0
    assert "--plan" not in capsys.readouterr().out
    assert omnimem("bench", "needle", "--help-all") == 0
    assert "--plan" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["memory", "needle", "recall", "speed", "answers", "transcript", "overlap", "fuzz"])
def test_a_benchmark_refuses_a_format_that_it_cannot_write_before_any_work(command: str, capsys):
    assert omnimem("bench", command, "-f", "md") == 2
    assert "-f md" in capsys.readouterr().err


def test_every_example_in_the_help_parses(fake: FakeRun):
    """The examples of the three tasks: each is a command that omnimem would run."""
    from omnimem_cli.commands import ask, summarize, transcribe

    media("lecture.mp4", "interview.mp4", "film.mkv", "match.mkv", "recordings/a.mp4", "meetings/b.mp4")
    Path("questions.txt").write_text("Who won?\n")
    for line in (*summarize.EXAMPLES, *transcribe.EXAMPLES, *ask.EXAMPLES):
        if "|" in line:
            continue
        words = re.findall(r'"[^"]*"|\S+', line)
        no_watch_runs = 4 if "--live" in words else 0
        assert omnimem(*[w.strip('"') for w in words[1:]]) == no_watch_runs, line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["summarize", "--bogus"], "--bogus"),
        (["sumarize"], "summarize"),
        (["summarize", "a.mp4", "-m", "qwen2.5-omni-8b"], "Did you mean"),
        (["summarize", "a.mp4", "--budget", "8q"], "8k"),
        (["summarize", "a.mp4", "--budget", "8"], "8k is 8,192 entries"),
        (["summarize", "a.mp4", "-o", "x.docx"], "looks like a file"),
        (["summarize", "a.mp4", "-o", "b.mp4"], "looks like a file"),
        (["summarize", "a.mp4", "--chunk", "many"], "it is no whole number"),
        (["summarize", "a.mp4", "--fps", "many"], "it is no number"),
        (["summarize", "a.mp4", "-f", "srt"], "md, html, json, txt"),
        (["summarize", "a.mp4", "-f", "md,json", "-o", "-"], "one format"),
        (["summarize", "a.mp4", "-f", "chapters"], "--style chapters"),
        (["summarize", "a.mp4", "-o", "a.vtt"], "--style chapters"),
        (["watch", "a.mp4", "--with", "summary,transcript", "-f", "md,chapters"], "Add chapters to --with"),
        (["summarize", "a.mp4", "--start", "1:30", "--end", "90"], "not after"),
        (["summarize", "a.mp4", "--start", "soon"], "1:30"),
        (["summarize", "a.mp4", "--timeout", "0"], "10m"),
        (["summarize", "a.mp4", "--device", "tpu"], "cuda"),
        (["summarize", "a.mp4", "--no-audio", "--no-video"], "nothing to watch"),
        (["summarize", "a.mp4", "--av-ratio", "-1"], "above 0"),
        (["summarize", "a.mp4", "--av-ratio", "2"], "--policy salience:pool=split"),
        (["summarize", "a.mp4", "--av-ratio", "2", "--policy", "full"], "Drop it"),
        (["summarize", "a.mp4", "--mrope", "best"], "released, trained"),
        (["summarize", "a.mp4", "--policy", "best"], "sliding-window"),
        (["summarize", "a.mp4", "--policy", "omnimem:colour=red"], "stride"),
        (["summarize", "a.mp4", "--policy", "snapkv:pool=round"], "pool"),
        (["summarize", "a.mp4", "folder/b.mp4", "-o", "-", "--policy", "best"], "sliding-window"),
        (["summarize", "a.mp4", "--plan", "gone.json"], "gone.json does not exist"),
        (["summarize", "a.mp4", "--plan", "a.mp4"], "omnimem calibrate"),
        (["summarize", "a.mp4", "folder/b.mp4", "-o", "out", "--plan", "a.mp4"], "omnimem calibrate"),
        (["summarize", "folder"], "-r"),
        (["summarize", "-", "-"], "once"),
        (["ask", "a.mp4"], "-Q"),
        (["ask", "a.mp4", "-Q", "x", "-Q", "x "], "'x ' is there twice"),
        (["watch", "a.mp4", "-Q", "x", "-Q", "x"], "'x' is there twice"),
        (["ask", "-", "--questions", "-"], "questions and inputs at once"),
        (["ask", "a.mp4", "--files-from", "-", "--questions", "-"], "questions and inputs at once"),
        (["ask", "a.mp4", "--questions", "empty.txt"], "empty.txt holds no question"),
        (["ask", "a.mp4", "--var", "language=German", "-Q", "x"], "Add --preset"),
        (["ask", "a.mp4", "--preset", "meetings"], "meeting"),
        (["models", "show", "qwen9"], "models list"),
        (["models", "pull", "a/b/c"], "OWNER/NAME"),
        (["summarize", "a.mp4", "-m", "a/b/c"], "OWNER/NAME"),
    ],
)
def test_a_wrong_command_line_is_2_in_one_sentence_with_the_next_step(fake: FakeRun, arguments, said, capsys):
    media("a.mp4", "folder/b.mp4")
    Path("empty.txt").write_text("# nothing\n\n")
    assert omnimem(*arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    first, *rest = shown.err.strip().splitlines()
    assert first.startswith("error: ") and said in shown.err
    assert len(rest) <= 1 and "Traceback" not in shown.err
    assert fake.watched == [] and not Path("out").exists()


def test_the_rule_of_positions_reaches_the_watch(fake: FakeRun):
    media("a.mp4")
    assert omnimem("summarize", "a.mp4") == 0 and omnimem("summarize", "a.mp4", "--mrope", "trained") == 0
    assert [settings.mrope for settings in fake.settings] == ["released", "trained"], "and is work of its own"


def test_the_bits_of_the_memory_reach_the_watch_from_flag_and_config(fake: FakeRun, capsys):
    media("a.mp4")
    assert omnimem("summarize", "a.mp4") == 0 and omnimem("summarize", "a.mp4", "--kv-bits", "8") == 0
    Path("omnimem.yaml").write_text("kv_bits: 4\n")
    assert omnimem("summarize", "a.mp4") == 0 and omnimem("summarize", "a.mp4") == 0
    assert [settings.kv_bits for settings in fake.settings] == [16, 8, 4], "and is work of its own"
    assert omnimem("summarize", "a.mp4", "--kv-bits", "5") == 2
    assert "Choose from 16, 8, 4" in capsys.readouterr().err


def test_a_focus_reaches_the_watch_and_is_work_of_its_own(fake: FakeRun):
    media("a.mp4")
    for more in ([], ["--focus", "budget decisions"], ["--focus", "budget decisions"], ["--focus", "cats"]):
        assert omnimem("summarize", "a.mp4", *more) == 0
    assert [settings.focus for settings in fake.settings] == [(), ("budget decisions",), ("cats",)]


@pytest.mark.parametrize("command", ["ask", "watch"])
def test_the_questions_can_be_what_a_watch_is_about(command, fake: FakeRun):
    media("a.mp4")
    omnimem(command, "a.mp4", "-Q", "Who speaks?", "-Q", "Why?", "--focus-questions")
    assert [settings.focus for settings in fake.settings] == [("Who speaks?", "Why?")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["summarize", "a.mp4", "--focus", " "], "--focus is empty"),
        (["summarize", "a.mp4", "--focus", "x", "--policy", "streammem"], "omnimem, salience"),
        (["ask", "a.mp4", "-Q", "x", "--focus-questions", "--policy", "uniform"], "omnimem, salience"),
        (["ask", "a.mp4", "-Q", "x", "--focus-questions", "--focus", "y"], "Use one of them"),
        (["watch", "a.mp4", "--focus-questions"], "-Q TEXT or --preset"),
    ],
)
def test_a_focus_that_cannot_be_is_2_before_any_work(arguments, said, fake: FakeRun, capsys):
    media("a.mp4")
    assert omnimem(*arguments) == 2
    assert said in capsys.readouterr().err and fake.watched == []


def test_no_input_is_2_so_that_an_empty_variable_in_a_script_is_noticed(fake: FakeRun, capsys):
    assert omnimem("summarize") == 2
    assert "omnimem summarize lecture.mp4" in capsys.readouterr().err


@pytest.mark.parametrize("group", [[], ["models"], ["presets"]])
def test_a_group_alone_shows_its_help(group: list[str], capsys):
    omnimem(*group)
    assert "Usage: omnimem" in capsys.readouterr().out


def test_nothing_but_errors_is_said_when_quiet(fake: FakeRun, capsys):
    media("a.mp4", "b.mp4")
    omnimem("summarize", "a.mp4", "b.mp4", "-q")
    shown = capsys.readouterr()
    assert shown.err == "" and shown.out == "a.summary.md\nb.summary.md\n"
    omnimem("summarize", "gone.mp4", "-q")
    assert "gone.mp4 does not exist" in capsys.readouterr().err


def test_nothing_is_coloured_or_animated_off_a_terminal(fake: FakeRun, capsys):
    media("a.mp4")
    omnimem("summarize", "a.mp4", "gone.mp4")
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err


def test_a_traceback_is_shown_only_with_debug(fake: FakeRun, capsys):
    def broken() -> dict:
        raise ZeroDivisionError("oops")

    media("a.mp4")
    fake.on["a.mp4"] = broken
    assert omnimem("summarize", "a.mp4") == 1
    shown = capsys.readouterr().err
    assert "Traceback" not in shown and "--debug" in shown
    assert omnimem("summarize", "a.mp4", "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


def test_without_an_installed_model_it_stops_with_5_and_the_next_steps(tmp_path: Path):
    (tmp_path / "lecture.mp4").write_bytes(b"x")
    environment = {
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "1",
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
    }
    run = in_a_process("-m", "omnimem_cli", "summarize", "lecture.mp4", cwd=tmp_path, env=environment)
    assert run.returncode == 5, run.stderr
    assert run.stdout == ""
    assert "omnimem models pull" in run.stderr and "omnimem demo" in run.stderr and "GiB" in run.stderr
    assert not list(tmp_path.glob("*.md"))


def test_a_known_model_without_weights_is_5_and_says_how_large_they_are(tmp_path: Path):
    (tmp_path / "lecture.mp4").write_bytes(b"x")
    environment = {"HF_HOME": str(tmp_path / "hub"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    arguments = ("-m", "omnimem_cli", "summarize", "lecture.mp4", "-m", "qwen2.5-omni-3b")
    run = in_a_process(*arguments, cwd=tmp_path, env=environment)
    assert run.returncode == 5, run.stderr
    assert "11.1 GiB" in run.stderr and "models pull qwen2.5-omni-3b" in run.stderr


STUBBORN = """
import contextlib, sys, time, types
import omnimem_cli.jobs
from omnimem_cli.app import main
from omnimem_cli.jobs.model import LazyModel

def watch(*arguments, **more):
    print("watching", file=sys.stderr, flush=True)
    time.sleep(60)

sys.modules["omnimem_cli.jobs.watch_one"] = types.SimpleNamespace(watch_one=watch)
loading = types.SimpleNamespace(memory_errors=lambda what: contextlib.nullcontext())
sys.modules["omnimem_cli.models.loading"] = loading
LazyModel.identify = lambda model: {"name": "fake", "revision": "1"}
LazyModel.prepare = lambda model, path, recent_s, media=None: path
LazyModel.load = lambda model: types.SimpleNamespace(weights_dtype="float32", device=types.SimpleNamespace(type="cpu"))
main(["summarize", "a.mp4", "-o", "-"])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_record_and_its_exit_code(tmp_path: Path, number: signal.Signals):
    (tmp_path / "a.mp4").write_bytes(b"x")
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while process.stderr.readline() != "watching\n":
        pass
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert '"status": "interrupted"' in out
    assert "Traceback" not in err


def test_presets_check_tells_every_problem_with_its_line(fake: FakeRun, capsys):
    Path("mine.yaml").write_text("description: Mine\nqestions: []\n")
    assert omnimem("presets", "check", "mine.yaml") == 2
    assert "mine.yaml:2: " in capsys.readouterr().out
    assert omnimem("presets", "check", "meeting") == 0


def test_presets_show_is_the_file_itself(fake: FakeRun, capsys):
    assert omnimem("presets", "show", "meeting") == 0
    Path("mine.yaml").write_text(capsys.readouterr().out)
    assert omnimem("presets", "check", "mine.yaml") == 0


def test_a_list_of_paths_on_stdin_is_taken_and_a_folder_without_media_is_told(fake: FakeRun, monkeypatch, capsys):
    media("a.mp4", "b c.mp4")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"a.mp4\0b c.mp4\0"), isatty=lambda: False))
    assert omnimem("summarize", "--files-from", "-", "-0") == 0
    assert fake.watched == ["a.mp4", "b c.mp4"]
    Path("empty").mkdir()
    assert omnimem("summarize", "empty", "-r") == 4
    assert "No media files" in capsys.readouterr().err


def test_a_reader_that_leaves_ends_the_run_without_a_word(tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    piped = f"{sys.executable} -m omnimem_cli models list | true; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, cwd=tmp_path)
    assert "Traceback" not in run.stderr and "BrokenPipe" not in run.stderr


def test_a_pull_offline_is_5_and_says_that_weights_are_missing(monkeypatch, capsys):
    monkeypatch.setattr("omnimem_cli.models.hub.cached", lambda hub_id: None)
    assert omnimem("models", "pull", "qwen2.5-omni-3b", "--offline") == 5
    shown = capsys.readouterr()
    assert "are not on this machine" in shown.err and "offline" in shown.err and shown.out == ""


def test_a_download_is_offered_at_a_terminal_only_and_happens_with_yes(fake: FakeRun, monkeypatch, capsys):
    pulled = []
    monkeypatch.setattr("omnimem_cli.models.download.pull", lambda row: pulled.append(row.name))
    media("a.mp4")
    name = "qwen2.5-omni-3b"
    omnimem("summarize", "a.mp4", "-m", name)
    omnimem("summarize", "a.mp4", "-m", name, "--yes", "--offline")
    assert pulled == []
    omnimem("summarize", "a.mp4", "-m", name, "--yes")
    assert pulled == [name] and "11.1 GiB" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["models"], ["presets"], ["bench"], ["memory"]])
def test_a_group_of_commands_alone_prints_its_help_and_ends_well(arguments, capsys):
    assert omnimem(*arguments) == 0
    shown = capsys.readouterr()
    assert "Usage:" in shown.out and shown.err == ""


def test_a_name_with_a_slip_is_answered_with_the_name_that_is_there(fake, capsys):
    media("talks/lecture.mp4")
    assert omnimem("summarize", "talks/lectre.mp4") == 4
    assert f"Did you mean {Path('talks/lecture.mp4')}?" in capsys.readouterr().err
    assert omnimem("summarize", "talks/other.mkv") == 4
    assert "Check the name." in capsys.readouterr().err


def test_a_pattern_that_matches_nothing_is_called_a_pattern(fake, capsys):
    media("a.mp4")
    assert omnimem("summarize", "*.mkv") == 4
    assert "*.mkv matches no file." in capsys.readouterr().err


def test_words_after_an_input_are_a_question(fake, capsys):
    media("a.mp4", "b and c.mp4", "d e")
    assert omnimem("ask", "a.mp4", "b and c.mp4", "d e", "what is shown?") == 0
    assert fake.watched == ["a.mp4", "b and c.mp4", "d e"]
    assert omnimem("ask", "a.mp4") == 2 and "Type a question" in capsys.readouterr().err
    assert omnimem("ask", "gone and lost.mp4", "why is it so?") == 4


PRESET = "description: mine\nquestions:\n- {id: q1, question: 'one?'}\n- {id: two, question: 'two?'}\n"


def test_typed_questions_a_preset_and_a_file_are_one_batch_in_the_file_of_the_preset(fake, monkeypatch, capsys):
    media("a.mp4")
    Path("mine.yaml").write_text(PRESET)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"# more\nfour?\n"), isatty=lambda: False))
    flags = ("--preset", "mine.yaml", "-Q", "three?", "--questions", "-", "-f", "json")
    assert omnimem("ask", "a.mp4", *flags) == 0
    content = json.loads(Path("a.mine.json").read_text())
    held = {answer["id"]: answer["question"] for answer in content["answers"]}
    assert held == {"q1": "one?", "two": "two?", "q2": "three?", "q3": "four?"} and content["preset"] == "mine"
    assert fake.watched == ["a.mp4"]
    assert omnimem("ask", "a.mp4", "--preset", "mine.yaml", "-Q", "two?") == 2
    assert "'two?' is there twice" in capsys.readouterr().err


def test_questions_can_come_from_a_pipe_of_the_shell(fake):
    media("a.mp4")
    os.mkfifo("questions")
    writer = threading.Thread(target=lambda: Path("questions").write_text("one?\n"), daemon=True)
    writer.start()
    assert omnimem("ask", "a.mp4", "--questions", "questions") == 0
    assert fake.asked == ["one?"]
