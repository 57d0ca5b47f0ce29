"""A watch whose picture the GPU should decode gives the result of any other, and is not done again for it."""

from dataclasses import replace

import footage
import pytest
from fake_run import media, omnimem
from kept import loaded, same_state, saved, watched

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings

PLAIN = Settings(budget=Budget(120), max_tokens=3, fps=1, max_pixels=56 * 56, chunk=100, device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory):
    return footage.av(tmp_path_factory.mktemp("clip"), video_s=6, audio_s=6)


def test_without_such_a_decoder_the_memory_is_the_same_and_the_result_says_so(clip, tiny_adapter, tmp_path):
    plain, tried = (watched(clip, settings, tiny_adapter) for settings in (PLAIN, replace(PLAIN, hwaccel="cuda")))
    assert same_state(plain, tried)
    (note,) = [note for note in tried.facts["warnings"] if note not in plain.facts["warnings"]]
    assert note["code"] == "no_gpu_decoder"
    assert same_state(loaded(saved(tried, tmp_path / "a.omnimem"), tiny_adapter), plain)


def test_it_is_no_work_of_its_own(fake):
    media("a.mp4")
    for typed in ([], ["--hwaccel", "cuda"], ["--hwaccel", "auto"]):
        assert omnimem("summarize", "a.mp4", "-o", "out", *typed) == 0
    assert fake.watched == ["a.mp4"]


def test_a_live_watch_refuses_it_where_it_is_demanded(fake, capfd):
    assert omnimem("watch", "http://127.0.0.1:9/camera.ts", "--every", "10m", "--hwaccel", "cuda") == 2
    assert "--hwaccel cuda is for files" in capfd.readouterr().err
