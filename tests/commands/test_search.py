"""The command `omnimem search`: what it prints on a terminal and off one, its messages and its exit codes."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_run import FakeRun, media, omnimem
from rich.cells import cell_len
from rich.console import Console
from searching import MEETING, transcript, write

from omnimem_cli.commands import search
from omnimem_cli.results.search.hits import Hit


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folders with a result each, and a cache of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(Path("talks/a.transcript.json"), transcript(*MEETING))
    write(Path("notes/b.transcript.json"), transcript((760.0, 790.0, "The budget of 2027, again.")))


def test_off_a_terminal_a_hit_is_a_line_of_file_time_and_sentence(capsys):
    assert omnimem("search", "budget 2027") == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "notes/b.transcript.json\t12:40\tThe budget of 2027, again.",
        "talks/a.transcript.json\t0:00\tThe budget for 2027 is ten million.",
    ]
    assert shown.err == ""


def test_json_is_one_object_per_line(capsys):
    assert omnimem("search", "予算", "-f", "json") == 0
    (hit,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (hit["file"], hit["start_s"], hit["text"]) == ("talks/a.transcript.json", 60.0, "2027年の予算は十億円です。")
    assert [hit["text"][begin:end] for begin, end in hit["matches"]] == ["予算"]


def test_no_match_is_9_and_said_on_stderr(capsys):
    assert omnimem("search", "zebra", "-f", "json") == 9
    assert capsys.readouterr() == ("", "No match for zebra\n")
    assert omnimem("search", "zebra", "-q") == 9
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search"], "Usage"),
        (["search", ""], "empty"),
        (["search", '""'], "nothing to search for"),
        (["search", os.fsdecode(b"\xe9")], "UTF-8"),
        (["search", "budget", "2027"], 'omnimem search "budget 2027"'),
        (["search", "budget", "talks/a.transcript.json"], "is not a folder"),
        (["search", "budget", "-f", "md"], "text, json"),
        (["search", "budget", "--limit", "-1"], "--limit -1"),
    ],
)
def test_a_wrong_command_line_is_2_and_leaves_no_index(arguments: list[str], said: str, capsys):
    assert omnimem(*arguments) == 2
    shown = capsys.readouterr()
    assert said in shown.err + shown.out and not Path("cache").exists()


def test_only_the_named_folders_are_searched_and_each_once(capsys):
    assert omnimem("search", "budget 2027", "talks") == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert omnimem("search", "budget 2027", "talks", ".", "notes", "./talks/") == 0
    assert capsys.readouterr().out.count("\n") == 2
    assert omnimem("search", "budget 2027", "talks", "notes", "--limit", "1") == 0
    shown = capsys.readouterr()
    assert shown.out.count("\n") == 1 and "1 of 2 matches shown; --limit 0 shows all" in shown.err


@pytest.mark.parametrize("output", [(), ("-o", "notes.html")])
def test_a_result_of_which_only_a_page_was_written_is_found(fake: FakeRun, output: tuple[str, ...], capsys):
    media("film/lecture.mp4")
    assert omnimem("transcribe", "film/lecture.mp4", "-f", "html", *output) == 0
    page = capsys.readouterr().out.strip()
    assert omnimem("search", '"lecture.mp4 under"') == 0
    assert capsys.readouterr().out == f"{page}\t0:00\tlecture.mp4 under {fake.settings[0].budget}\n"
    Path(page).unlink()
    assert omnimem("search", '"lecture.mp4 under"') == 9


def test_a_limit_of_0_prints_all(capsys):
    write(Path("many/a.json"), transcript(*((float(n), n + 1.0, "same words") for n in range(60))))
    omnimem("search", "same", "many")
    assert capsys.readouterr().out.count("\n") == 50
    omnimem("search", "same", "many", "--limit", "0")
    assert capsys.readouterr() == ("".join(f"many/a.json\t{n // 60}:{n % 60:02}\tsame words\n" for n in range(60)), "")


def test_files_that_were_skipped_are_told_and_cost_nothing(capsys):
    for number in range(7):
        Path(f"talks/broken{number}.json").write_text('{"schema": "omnimem/result/1"')
    media("talks/film.mp4", "talks/package.json")
    assert omnimem("search", "budget 2027") == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 2
    assert "warning: talks/broken0.json was skipped: it is not valid JSON." in shown.err
    assert shown.err.count("was skipped") == 5 and "2 more files were skipped" in shown.err
    assert "1 file was left out" in shown.err
    omnimem("search", "budget 2027", "-q")
    assert capsys.readouterr().err == ""


def test_a_name_cannot_break_the_line_and_keeps_its_bytes(capfdbinary):
    write(Path(os.fsdecode(b"talks/\xe9\n\x1b[2J.json")), transcript((0.0, 1.0, "A zebra.")))
    assert omnimem("search", "zebra") == 0
    assert capfdbinary.readouterr().out == b"talks/\xe9\\x0a\\x1b[2J.json\t0:00\tA zebra.\n"


def drawn(hit: Hit, width: int) -> list[str]:
    stdout = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True, highlight=False)
    search._show_hit(stdout, hit)
    return stdout.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_hit_fits_the_terminal_with_its_file_time_and_match(width: int):
    file = "/".join(["a folder of 映画"] * 12) + "/lecture.json"
    text = "word " * 100 + "the budget " + "word " * 100
    first, *rest = drawn(Hit(file, "lecture.mp4", "segment", 760.0, 790.0, text.strip(), ((504, 510),), 1.0), width)
    plain = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in (first, *rest)]
    assert max(map(cell_len, plain)) <= width
    assert plain[0].endswith("lecture.json [12:40]") and "…" in plain[0]
    assert any("\x1b[1mbudget\x1b[0m" in line for line in rest)
    assert plain[1].startswith("  …") and plain[-1].rstrip().endswith("…") and len("".join(plain[1:])) < 500


def test_a_short_name_and_a_sentence_without_time_are_shown_whole():
    lines = drawn(Hit("a.md", "a.mp4", "summary", None, None, "The budget.", ((4, 10),), 1.0), 80)
    assert lines[0] == "a.md" and lines[1].rstrip() == "  The \x1b[1mbudget\x1b[0m."


def test_help_and_search_load_neither_torch_nor_what_reads_videos(tmp_path: Path):
    script = (
        "import sys; from omnimem_cli.app import run; code = run(['search', 'budget']); "
        "print(sorted({'torch', 'transformers', 'numpy', 'yaml', 'jsonschema', 'av'} & set(sys.modules)), code)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ran.stdout.splitlines()[-1] == "[] 0"
