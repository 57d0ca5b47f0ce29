"""A watch of key frames alone is work of its own, covers the whole input, says what it did, and can be broken off."""

from dataclasses import replace
from pathlib import Path

import footage
import pytest
from fake_run import media, omnimem
from kept import loaded, same_state, saved, watched
from watching import watch

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs.checkpoint import Checkpoint
from omnimem_cli.results.facts import fact_rows
from omnimem_cli.tasks.summarize import Summarize

ALL = Settings(budget=Budget(120), max_tokens=3, fps=1, max_pixels=56 * 56, chunk=100)
KEYS = replace(ALL, decode="keyframes")


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 s with sound, key frames 2 s apart; for 12 s of it the picture stands still."""
    moving = footage.av(tmp_path_factory.mktemp("clip"), video_s=12, audio_s=12)
    path = moving.with_name("half.mp4")
    still = ["-vf", "tpad=start_duration=12:start_mode=clone", "-af", "adelay=12000:all=1"]
    footage.run("-i", moving, *still, *footage.H264, *footage.AAC, path)
    return path


@pytest.mark.parametrize("stills", ["watch", "skip"])
def test_killed_after_a_chunk_it_gives_the_unbroken_result(stills, clip, tiny_adapter, tmp_path):
    settings, chunks = replace(KEYS, stills=stills), 0

    def run(report=lambda progress: None) -> dict:
        point = Checkpoint(tmp_path / "a.checkpoint", tmp_path / "a.part", {}, pytest.fail, lambda text: None, 0.0)
        return watch(clip, settings, Summarize(settings), tiny_adapter, report, checkpoint=point)

    def die(progress) -> None:
        nonlocal chunks
        chunks += progress.stage == "watching"
        if chunks == 3:
            raise Killed

    with pytest.raises(Killed):
        run(die)
    whole = watch(clip, settings, Summarize(settings), tiny_adapter)
    assert run() | {"timing": None} == whole | {"timing": None}
    assert (whole["coverage"]["still_s"] is None) == (stills == "watch") and whole["coverage"]["still_s"] != 0


def test_it_covers_what_all_frames_cover_and_says_how_far_apart_its_frames_lie(clip, tiny_adapter):
    whole, keys = (watch(clip, settings, Summarize(settings), tiny_adapter) for settings in (ALL, KEYS))
    assert keys["coverage"] == whole["coverage"] and keys["memory"]["seen"] == whole["memory"]["seen"]
    assert keys["input"]["video"].pop("key_step_s") == pytest.approx(2.0, abs=0.2)
    assert keys["input"] == whole["input"] and keys["warnings"] == whole["warnings"]
    keys["input"]["video"]["key_step_s"] = 2.0
    assert "key frames alone, at most 2.0 s apart" in dict(fact_rows(keys))["Input"]


def test_its_memory_file_says_so_and_looks_again_at_key_frames(clip, tiny_adapter, tmp_path):
    one = watched(clip, KEYS, tiny_adapter)
    again = loaded(saved(one, tmp_path / "a.omnimem"), tiny_adapter)
    assert same_state(one, again) and again.settings.decode == "keyframes"
    assert again.session.media.video.key_step_s == one.session.media.video.key_step_s


def test_it_is_work_of_its_own_and_the_default_is_what_it_was(fake):
    media("a.mp4")
    for typed in ([], ["--decode", "keyframes"], ["--decode", "keyframes"], ["--decode", "all"]):
        assert omnimem("summarize", "a.mp4", "-o", "out", *typed) == 0
    assert [settings.decode for settings in fake.settings] == ["all", "keyframes", "all"]


def test_a_live_watch_refuses_it(fake, capfd):
    assert omnimem("watch", "http://127.0.0.1:9/camera.ts", "--every", "10m", "--decode", "keyframes") == 2
    assert "--decode is for files" in capfd.readouterr().err
