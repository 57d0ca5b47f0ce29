"""Many inputs: isolation, the account of a run, exit codes."""

import errno
import json
import mmap
import pickle
import time
from pathlib import Path

import pytest
import torch
from fake_run import FakeRun, fail, lines, media, omnimem
from scripted import result

import omnimem_cli
from omnimem_cli.base.errors import DoesNotFitError, InputError, MissingError, OutputError, UserError
from omnimem_cli.jobs.outcomes import Outcome, exit_code


def test_one_bad_input_does_not_cost_the_others(fake: FakeRun, capsys):
    media("a.mp4", "bad.mp4", "c.mp4")
    fake.on["bad.mp4"] = fail(InputError("bad.mp4 is not media.", "Check it.", code="not_media"))
    assert omnimem("summarize", "a.mp4", "bad.mp4", "c.mp4") == 3
    assert Path("a.summary.md").exists() and Path("c.summary.md").exists()
    assert not Path("bad.summary.md").exists()
    assert "bad.mp4 is not media." in capsys.readouterr().err


def test_an_unexpected_fault_in_one_input_does_not_cost_the_others_but_is_told(fake: FakeRun):
    media("a.mp4", "bad.mp4", "c.mp4")
    fake.on["bad.mp4"] = fail(ZeroDivisionError("oops"))
    assert omnimem("summarize", "a.mp4", "bad.mp4", "c.mp4") == 1
    assert fake.watched == ["a.mp4", "bad.mp4", "c.mp4"]


def allocator_error() -> RuntimeError:
    """What torch raises on the CPU, by asking for more than any machine has."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**59, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried."), "(OutOfMemoryError: CUDA out of memory)"),
        (MemoryError(), "(MemoryError)"),
        (allocator_error(), "(it asked for 536870912.0 GiB at once)"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), "(it asked for"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate memory)"),
    ],
)
def test_memory_that_runs_out_in_one_input_is_6_with_the_next_step(fake: FakeRun, error, shown, capsys):
    media("a.mp4", "long.mp4", "c.mp4")
    fake.on["long.mp4"] = fail(error)
    assert omnimem("summarize", "a.mp4", "long.mp4", "c.mp4") == 6
    said = capsys.readouterr().err
    assert "long.mp4 took more memory than there is" in said and shown in said
    assert "--budget" in said and "unexpected" not in said
    assert fake.watched == ["a.mp4", "long.mp4", "c.mp4"]


def test_what_is_missing_on_the_machine_ends_the_run(fake: FakeRun):
    media("a.mp4", "b.mp4")
    fake.on["a.mp4"] = fail(MissingError("No ffmpeg was found.", "Install it."))
    assert omnimem("summarize", "a.mp4", "b.mp4") == 5
    assert fake.watched == ["a.mp4"]


@pytest.mark.parametrize("make", ["missing.mp4", "empty.mp4"])
def test_a_missing_or_empty_file_is_4_alone_and_3_among_others(fake: FakeRun, make: str):
    media("good.mp4")
    if make == "empty.mp4":
        Path(make).touch()
    assert omnimem("summarize", make, "--report", "report.json") == 4
    code = json.loads(Path("report.json").read_text())["inputs"][0]["error"]["code"]
    assert code == make.removesuffix(".mp4")
    assert omnimem("summarize", make, "good.mp4") == 3
    assert fake.watched == ["good.mp4"]


def test_the_account_of_a_long_run_holds_no_texts_and_no_frames():
    def fault() -> BaseException:
        try:
            raise ZeroDivisionError("oops")
        except ZeroDivisionError as error:
            return error

    outcome = Outcome("a", "failed", result=result(), error=fault()).without_payload()
    assert set(outcome.result) == {"coverage", "warnings"}
    assert outcome.error.__traceback__ is None
    held = fault()
    sent = pickle.loads(pickle.dumps(Outcome("a", "failed", error=held).picklable()))
    assert held.__traceback__ is None, "nor does a worker hold on to them while it does the next input"
    assert "in fault" in sent.error.__notes__[0], "and --debug still shows where it was"


def test_a_failed_input_leaves_no_result_and_no_unfinished_file(fake: FakeRun):
    media("bad.mp4")
    fake.on["bad.mp4"] = fail(InputError("no.", code="not_media"))
    assert omnimem("summarize", "bad.mp4") == 4
    assert {p.name for p in Path().rglob("*")} == {"bad.mp4", ".omnimem"}


def test_json_lines_on_stdout_hold_one_record_per_input_failures_included(fake: FakeRun, capsys):
    media("a.mp4", "bad.mp4")
    fake.on["bad.mp4"] = fail(InputError("no.", code="not_media"))
    assert omnimem("summarize", "a.mp4", "bad.mp4", "missing.mp4", "-o", "-") == 3
    records = lines(capsys.readouterr().out)
    assert [r["status"] for r in records] == ["done", "failed", "failed"]
    assert records[0]["input"]["digest"].startswith("sha256:")
    assert records[1]["error"]["code"] == "not_media"
    assert not Path(".omnimem").exists()


def test_paths_alone_are_on_stdout(fake: FakeRun, capsys):
    media("a.mp4", "b.mp4")
    omnimem("summarize", "a.mp4", "b.mp4", "missing.mp4", "-f", "md,json")
    out = capsys.readouterr().out
    assert out.splitlines() == ["a.summary.md", "a.summary.json", "b.summary.md", "b.summary.json"]


def test_the_report_accounts_for_every_input(fake: FakeRun):
    media("a.mp4", "bad.mp4")
    omnimem("summarize", "a.mp4")
    fake.on["bad.mp4"] = fail(InputError("no.", code="not_media"))
    assert omnimem("summarize", "a.mp4", "bad.mp4", "--report", "report.json") == 3
    report = json.loads(Path("report.json").read_text())
    assert report["exit_code"] == 3
    assert report["counts"] == {"done": 0, "skipped": 1, "failed": 1, "interrupted": 0, "not_reached": 0}
    assert [(i["path"], i["status"]) for i in report["inputs"]] == [("a.mp4", "skipped"), ("bad.mp4", "failed")]
    assert report["inputs"][1]["error"]["code"] == "not_media"


def test_an_interrupt_is_recorded_and_what_was_done_stays(fake: FakeRun, capsys):
    from omnimem_cli.base.process import Interrupted

    media("a.mp4", "b.mp4", "c.mp4")
    fake.on["b.mp4"] = fail(Interrupted(15))
    assert omnimem("summarize", "a.mp4", "b.mp4", "c.mp4", "-o", "-", "--report", "r.json") == 143
    assert [r["status"] for r in lines(capsys.readouterr().out)] == ["done", "interrupted"]
    assert json.loads(Path("r.json").read_text())["counts"]["not_reached"] == 1


def test_dry_run_lists_what_would_happen_and_changes_nothing(fake: FakeRun, capsys):
    media("done.mp4", "new.mp4", "blocked.mp4")
    omnimem("summarize", "done.mp4")
    Path("blocked.summary.md").write_text("mine")
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    assert omnimem("summarize", "done.mp4", "new.mp4", "blocked.mp4", "gone.mp4", "--dry-run") == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[1] for line in out] == ["done.mp4", "new.mp4", "blocked.mp4", "gone.mp4"]
    assert [line.split(":")[0].split("\t")[0] for line in out] == [
        "would skip",
        "would run",
        "would fail",
        "would fail",
    ]
    assert sorted(Path().rglob("*")) == before


def test_a_degraded_result_is_7_under_strict_only(fake: FakeRun):
    media("a.mp4")
    note = {"code": "coverage_low", "message": "Only half."}
    fake.on["a.mp4"] = lambda: result(warnings=[note])
    assert omnimem("summarize", "a.mp4") == 0
    assert omnimem("summarize", "a.mp4", "--strict") == 7, "also when the work was done before"


def test_the_time_limit_costs_one_input_only(fake: FakeRun):
    media("slow.mp4", "fast.mp4")

    def sleep() -> dict:
        time.sleep(30)
        return result()

    fake.on["slow.mp4"] = sleep
    begun = time.monotonic()
    assert omnimem("summarize", "slow.mp4", "fast.mp4", "--timeout", "1") == 3
    assert time.monotonic() - begun < 25, "it would have slept for 30 s"
    assert Path("fast.summary.md").exists()


def test_an_input_that_takes_the_last_memory_is_stopped_and_costs_itself_only(fake: FakeRun, monkeypatch):
    def hungry() -> dict:
        with mmap.mmap(-1, 2**24) as taken:  # fresh pages: the allocator might hand out some that it holds already
            taken[:: mmap.PAGESIZE] = b"x" * (2**24 // mmap.PAGESIZE)
            time.sleep(30)
        return result()

    monkeypatch.setattr("omnimem_cli.base.process.GROWTH", 2**23)
    monkeypatch.setattr("omnimem_cli.base.process._available_share", lambda: 0.01)
    media("hungry.mp4", "modest.mp4")
    fake.on["hungry.mp4"] = hungry
    assert omnimem("summarize", "hungry.mp4", "modest.mp4") == 6
    assert Path("modest.summary.md").exists()


def test_an_input_that_changes_while_it_is_watched_is_done_again_by_the_next_run(fake: FakeRun, capsys):
    def growing() -> dict:
        Path("a.mp4").write_bytes(b"longer than before")
        fake.on.clear()
        return result()

    media("a.mp4")
    fake.on["a.mp4"] = growing
    assert omnimem("summarize", "a.mp4") == 0
    assert "changed while" in capsys.readouterr().err
    omnimem("summarize", "a.mp4")
    assert fake.watched == ["a.mp4", "a.mp4"]


def test_two_runs_on_one_folder_do_not_work_on_the_same_input(fake: FakeRun, capsys):
    media("a.mp4")
    codes = []

    def second_run_meanwhile() -> dict:
        fake.on.clear()
        codes.append(omnimem("summarize", "a.mp4"))
        return result()

    fake.on["a.mp4"] = second_run_meanwhile
    assert omnimem("summarize", "a.mp4") == 0
    assert codes == [0] and fake.watched == ["a.mp4"]
    assert "another omnimem is at work on it" in capsys.readouterr().err


FAILURES = {1: ZeroDivisionError(), 4: InputError(""), 5: MissingError(""), 6: DoesNotFitError(""), 8: OutputError("")}


@pytest.mark.parametrize(
    ("failed", "done", "expected"),
    [([], 2, 0), ([4], 1, 3), ([4, 4], 0, 4), ([4, 8], 1, 8), ([6, 8], 1, 6), ([5, 6], 0, 5), ([1, 5], 3, 1)],
)
def test_the_exit_code_is_that_of_the_worst_failure(failed: list[int], done: int, expected: int):
    outcomes = [Outcome("x", "failed", error=FAILURES[code]) for code in failed] + [Outcome("y", "done")] * done
    assert exit_code(outcomes, strict=False) == expected
    assert exit_code(outcomes, strict=False, stopped=130) == 130


def test_every_user_error_has_an_exit_code_of_the_table():
    kinds = {kind.exit_code for kind in UserError.__subclasses__()}
    assert kinds == {2, 4, 5, 6, 8}


def test_a_result_says_what_made_it(fake: FakeRun):
    media("a.mp4")
    assert omnimem("summarize", "a.mp4", "-f", "json,md", "--budget", "2k", "--fps", "3", "--style", "detailed") == 0
    made = json.loads(Path("a.summary.json").read_text())["made_with"]
    assert made["omnimem"] == omnimem_cli.__version__ and made["options"]["style"] == "detailed"
    assert made["settings"]["fps"] == 3.0 and made["settings"]["budget"]["entries"] == 2048
    assert f"omnimem {omnimem_cli.__version__}" in Path("a.summary.md").read_text()
