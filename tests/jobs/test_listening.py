"""The first pass over the sound of a file is made while its model is loaded, and changes no result."""

import itertools
import json
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import footage
import numpy as np
import psutil
import pytest
from fake_run import omnimem
from families import MAKERS

from omnimem_cli.base.errors import InputError, MissingError
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs import watch_one
from omnimem_cli.jobs.files import checkpoint_of
from omnimem_cli.jobs.model import LazyModel
from omnimem_cli.session import audio_scan, sound_pass
from omnimem_cli.session.preflight import prepare
from omnimem_cli.session.sound_pass import SoundPass

SMALL = ("--budget", "120", "--max-tokens", "3", "--fps", "1", "--max-pixels", "3136", "--device", "cpu")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working folder, with a clip; nothing of a pass is left in the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    footage.av(tmp_path, "a.mp4", video_s=4, audio_s=5)
    before = psutil.Process().children(recursive=True)  # those of other tests of this worker
    yield tmp_path
    assert "listen" not in {thread.name for thread in threading.enumerate()}
    assert not set(psutil.Process().children(recursive=True)) - set(before)


def transcribed(model: Path, *more: str) -> dict:
    assert omnimem("transcribe", "a.mp4", "-m", str(model), "-f", "json", "--force", *SMALL, *more) == 0
    return json.loads(Path("a.transcript.json").read_text()) | {"timing": None}


@pytest.mark.parametrize("family", ["qwen2.5-omni", "salmonn3"])
def test_the_result_is_that_of_a_pass_after_the_loading(family, folder, monkeypatch):
    model = MAKERS[family](folder / "model")
    scans = []
    monkeypatch.setattr(audio_scan, "sound_blocks", lambda *media, **reading: scans.append(media) or iter(()))
    beside = transcribed(model, "--start", "1", "--end", "4")
    assert not scans
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(LazyModel, "listening", lambda model, prepared, task: nullcontext())
    assert transcribed(model, "--start", "1", "--end", "4") == beside


def test_the_pass_hears_all_of_the_range_and_the_stream_knows_what_it_learned(tiny_adapter):
    settings = Settings(start_s=1.0, end_s=4.5, device="cpu", max_pixels=3136)
    prepared, blocks = prepare("a.mp4", settings, tiny_adapter), []
    with sound_pass.sound_pass(settings, prepared.media, tiny_adapter, blocks.append) as heard:
        pass
    streams = [tiny_adapter.open(prepared.watched, prepared.plan) for _ in range(2)]
    expected = list(audio_scan.scan_audio(prepared.media, streams[0], start_s=1.0, end_s=4.5, stall_s=60.0))
    streams[1].heard(heard.scan)
    assert np.array_equal(np.concatenate(blocks), np.concatenate(expected))
    assert heard.scan.maximum() is not None and streams[1].mel.maximum == streams[0].mel.maximum


def test_the_model_is_loaded_while_the_sound_is_heard(tiny_folder, monkeypatch):
    loading, load, take, order = threading.Event(), LazyModel.load, SoundPass._take, []

    def heard(own, block):
        assert loading.wait(60)
        order.append("heard")
        take(own, block)

    def loaded(own):
        loading.set()
        return load(own)

    monkeypatch.setattr(SoundPass, "_take", heard)
    monkeypatch.setattr(LazyModel, "load", loaded)
    transcribed(tiny_folder)
    assert order == ["heard"]


def test_a_model_that_cannot_be_loaded_ends_the_pass(tiny_folder, monkeypatch):
    def broken(own):
        raise MissingError("The weights are gone.", "Get them.")

    monkeypatch.setattr(sound_pass, "sound_blocks_of", lambda sound: itertools.repeat(np.zeros(16, np.float32)))
    monkeypatch.setattr(LazyModel, "load", broken)
    assert omnimem("transcribe", "a.mp4", "-m", str(tiny_folder), *SMALL) == 5


def test_what_breaks_the_pass_is_the_files_own_error(tiny_folder, monkeypatch, capfd):
    def broken(*where):
        raise InputError("a.mp4: no data for 60 s.", "Check the source.", code="stalled")

    monkeypatch.setattr(sound_pass, "open_sound", broken)
    assert omnimem("transcribe", "a.mp4", "-m", str(tiny_folder), *SMALL) == 4
    assert "no data for 60 s" in capfd.readouterr().err


def test_the_pass_counts_for_the_time_limit_and_ends_with_it(tiny_folder, folder, monkeypatch, capfd):
    footage.av(folder, "a.mp4", video_s=0, audio_s=40)  # two blocks
    take, taken = SoundPass._take, []

    def slowly(own, block):
        taken.append(len(block))
        time.sleep(0.7)
        take(own, block)

    monkeypatch.setattr(SoundPass, "_take", slowly)
    assert omnimem("transcribe", "a.mp4", "-m", str(tiny_folder), "--timeout", "0.6", *SMALL) == 4
    assert "longer than the limit" in capfd.readouterr().err and len(taken) == 1


def test_what_the_pass_took_is_gone_from_the_time_of_the_watch(tiny_folder, monkeypatch, capfd):
    take = SoundPass._take
    monkeypatch.setattr(SoundPass, "_take", lambda own, block: time.sleep(1.2) or take(own, block))
    watch = watch_one.watch_one
    monkeypatch.setattr(watch_one, "watch_one", lambda *own, **more: time.sleep(0.9) or watch(*own, **more))
    assert omnimem("transcribe", "a.mp4", "-m", str(tiny_folder), "--timeout", "2", *SMALL) == 4
    assert "longer than the limit" in capfd.readouterr().err


def test_a_watch_that_goes_on_from_a_checkpoint_hears_nothing_again(tiny_folder, folder, monkeypatch):
    passes = []
    monkeypatch.setattr(LazyModel, "listening", lambda model, prepared, task: passes.append(1) or nullcontext())
    place = checkpoint_of(folder, "a.transcript")
    place.parent.mkdir()
    place.write_bytes(b"of another time")
    assert omnimem("transcribe", "a.mp4", "-m", str(tiny_folder), "-f", "json", *SMALL) == 0
    assert not passes
    assert omnimem("transcribe", "a.mp4", "-m", str(tiny_folder), "-f", "json", "--force", *SMALL) == 0
    assert passes == [1]
