"""A watch that was killed goes on from its checkpoint and ends as an unbroken one does."""

import math
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import footage
import pytest
import torch
from watching import watch

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import OutputError
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs.batch import Batch
from omnimem_cli.jobs.checkpoint import Checkpoint
from omnimem_cli.jobs.inputs import find_inputs
from omnimem_cli.jobs.records import read_input
from omnimem_cli.jobs.work import Work
from omnimem_cli.tasks.summarize import Summarize
from omnimem_cli.tasks.transcribe import Transcribe

SETTINGS = Settings(budget=Budget(120), max_tokens=3, fps=1, max_pixels=56 * 56, chunk=100)
TASKS = {
    "summarize": lambda: Summarize(SETTINGS, style="chapters", notes_s=4.0),
    "transcribe": lambda: Transcribe(SETTINGS),
}


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return footage.av(tmp_path_factory.mktemp("clip"), video_s=9, audio_s=9)


@pytest.fixture(autouse=True)
def reported_by_chunk(monkeypatch):
    """Progress is reported as a watch begins and after its chunks alone."""
    monkeypatch.setattr("omnimem_cli.jobs.watch_one.REPORT_EVERY_S", math.inf)


def checkpoint(folder: Path, work: str = "this", every_s: float = 0.0) -> Checkpoint:
    return Checkpoint(
        folder / "a.checkpoint", folder / "a.part", {"work": work}, pytest.fail, lambda text: None, every_s
    )


def without_timing(result: dict) -> dict:
    return {key: value for key, value in result.items() if key != "timing"}


@pytest.mark.parametrize("task", TASKS)
def test_a_watch_killed_after_any_chunk_gives_the_unbroken_result(task, clip, tiny_adapter, tmp_path):
    whole = watch(clip, SETTINGS, TASKS[task](), tiny_adapter)
    deaths, result = 0, None
    while result is None:
        seen = set()

        def die_after_one_chunk(progress, seen=seen) -> None:
            seen.update([progress.done_s] if progress.stage == "watching" else [])
            if len(seen) == 3:  # where it began, after one chunk, after the next
                raise Killed

        try:
            result = watch(
                clip, SETTINGS, TASKS[task](), tiny_adapter, die_after_one_chunk, checkpoint=checkpoint(tmp_path)
            )
        except Killed:
            deaths += 1
    assert deaths >= 2
    assert without_timing(result) == without_timing(whole)


def test_a_resumed_watch_does_not_begin_again(clip, tiny_adapter, tmp_path):
    seen = []

    def die_at_four_seconds(progress) -> None:
        seen.append((progress.stage, progress.done_s))
        if progress.stage == "watching" and progress.done_s >= 4:
            raise Killed

    with pytest.raises(Killed):
        watch(clip, SETTINGS, Summarize(SETTINGS), tiny_adapter, die_at_four_seconds, checkpoint=checkpoint(tmp_path))
    again = []
    watch(
        clip,
        SETTINGS,
        Summarize(SETTINGS),
        tiny_adapter,
        lambda progress: again.append((progress.stage, progress.done_s)),
        checkpoint=checkpoint(tmp_path),
    )
    assert again[0] == ("watching", seen[-1][1]) and seen[-1][1] >= 4


def test_a_time_limit_counts_this_run_and_not_the_ones_before(clip, tiny_adapter, tmp_path):
    def die(progress) -> None:
        if progress.stage == "watching" and progress.done_s:
            raise Killed

    settings = replace(SETTINGS, timeout_s=600.0)
    with pytest.raises(Killed):
        watch(clip, settings, Summarize(settings), tiny_adapter, die, checkpoint=checkpoint(tmp_path))
    saved = checkpoint(tmp_path).load()
    saved["spent"]["wall_s"] = 599.0  # saved a moment before the limit
    checkpoint(tmp_path).save(saved, 4.0)
    tell = lambda progress: time.sleep(1.1) if progress.stage == "answering" else None  # noqa: E731
    result = watch(clip, settings, Summarize(settings), tiny_adapter, tell, checkpoint=checkpoint(tmp_path))
    assert result["status"] == "done" and result["timing"]["wall_s"] > 600


@pytest.mark.parametrize("change", [{"weights_dtype": "bfloat16"}, {"device": SimpleNamespace(type="cuda")}, "force"])
def test_a_checkpoint_of_other_numbers_or_before_force_is_not_continued(change, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"media")
    (tmp_path / ".omnimem").mkdir()
    adapter = SimpleNamespace(weights_dtype="float32", device=SimpleNamespace(type="cpu"))

    def saved_by(adapter, **settings) -> Checkpoint:
        batch = Batch(Work("summarize", Summarize, {}, Settings(**settings)), identity={})
        (job,) = batch.assign_targets(find_inputs([str(tmp_path / "a.mp4")]))
        return batch._checkpoint(job, read_input(job.input), adapter)

    saved_by(adapter).save({"a": 1}, 4.0)
    assert saved_by(adapter).load() == {"a": 1}
    if change == "force":
        assert saved_by(adapter, force=True).load() is None
    else:
        assert saved_by(SimpleNamespace(**vars(adapter) | change)).load() is None


def test_state_comes_back_bit_by_bit(tmp_path):
    state = {
        "half": torch.randn(3, 4).to(torch.bfloat16).T,
        "nested": [{"a": (1, 2.5, None)}, [True, "x"]],
        7: {"empty": {}, "inf": float("inf")},
        "flags": torch.tensor([True, False]),
        "none": torch.zeros(0, 5),
    }
    checkpoint(tmp_path).save(state, 4.0)
    loaded = checkpoint(tmp_path).load()
    assert repr(loaded) == repr(state)
    assert all(
        torch.equal(loaded[k], state[k]) and loaded[k].dtype == state[k].dtype for k in ("half", "flags", "none")
    )


def test_the_checkpoint_of_other_work_and_a_damaged_one_count_as_none(tmp_path):
    checkpoint(tmp_path).save({"a": 1}, 4.0)
    assert checkpoint(tmp_path, "other").load() is None
    path = tmp_path / "a.checkpoint"
    path.write_bytes(path.read_bytes()[:20])
    assert checkpoint(tmp_path).load() is None
    checkpoint(tmp_path).remove()
    assert checkpoint(tmp_path).load() is None


def test_a_checkpoint_that_cannot_be_written_is_told_once_and_costs_nothing(tmp_path, monkeypatch):
    def full(path: Path, content: bytes, part: Path) -> None:
        raise OutputError("a cannot be written: No space left on device.")

    monkeypatch.setattr("omnimem_cli.jobs.checkpoint.write_whole", full)
    told = []
    saving = Checkpoint(tmp_path / "a.checkpoint", tmp_path / "a.part", {}, told.append, pytest.fail, every_s=0.0)
    saving.save({"a": 1}, 4.0)
    assert len(told) == 1 and not saving.due()
