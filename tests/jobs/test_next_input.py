"""The next file of a batch is read while the model works on the one before, and that changes no result."""

import json
import threading
import time
from pathlib import Path

import footage
import psutil
import pytest
import torch
from fake_run import omnimem

from omnimem_cli.jobs import batch, next_input, records, watch_one
from omnimem_cli.jobs.files import checkpoint_of
from omnimem_cli.jobs.next_input import NextInput, idle_cores
from omnimem_cli.session import audio_scan, sound_pass
from omnimem_cli.session.sound_pass import SoundPass
from omnimem_cli.tasks.transcribe import Transcribe

SMALL = ("--budget", "120", "--max-tokens", "3", "--fps", "1", "--max-pixels", "3136", "--device", "cpu", "-f", "json")
NAMES = ("a.mp4", "b.mp4", "c.mp4")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working folder, with three clips, on a machine with an idle core; nothing is at work in the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.setattr(batch, "idle_cores", lambda device: 1)
    for number, name in enumerate(NAMES):
        footage.av(tmp_path, name, video_s=3 + number, audio_s=4 + number)
    before = psutil.Process().children(recursive=True)
    yield tmp_path
    assert not {"listen", "next input"} & {thread.name for thread in threading.enumerate()}
    assert not set(psutil.Process().children(recursive=True)) - set(before)


def results(task: str, model: Path, *more: str, code: int = 0) -> list[dict]:
    """Of all clips, from a run of its own."""
    assert omnimem(task, *NAMES, "-m", str(model), *SMALL, "--force", *more) == code
    return [json.loads(path.read_text()) | {"timing": None} for path in sorted(Path().glob("*.transcript.json"))]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of inputs that were read ahead."""
    names, run = [], NextInput._run
    monkeypatch.setattr(NextInput, "_run", lambda own: names.append(own.job.input.path) or run(own))
    return names


def test_the_results_are_those_of_one_after_the_other(tiny_folder, monkeypatch, read):
    scans = []
    with monkeypatch.context() as within:
        within.setattr(audio_scan, "sound_blocks", lambda *media, **reading: scans.append(media) or iter(()))
        ahead = results("transcribe", tiny_folder, "--start", "1")
    assert read == ["b.mp4", "c.mp4"] and not scans
    monkeypatch.setattr(batch, "idle_cores", lambda device: 0)
    assert results("transcribe", tiny_folder, "--start", "1") == ahead and len(ahead) == 3


def test_the_sound_of_the_next_file_is_heard_while_one_is_watched(tiny_folder, monkeypatch):
    watch, take, heard, order = watch_one.watch_one, SoundPass._take, threading.Event(), []

    def taken(own, block):
        take(own, block)
        order.append(Path(own._media.path).name)
        if len(order) == 2:
            heard.set()

    def watched(prepared, *more, **facts):
        assert heard.wait(60)
        order.append("watched")
        return watch(prepared, *more, **facts)

    monkeypatch.setattr(SoundPass, "_take", taken)
    monkeypatch.setattr(watch_one, "watch_one", watched)
    results("transcribe", tiny_folder)
    assert order[:3] == ["a.mp4", "b.mp4", "watched"]


def test_nothing_is_read_where_no_core_is_idle(tiny_folder, monkeypatch, read):
    monkeypatch.setattr(batch, "idle_cores", lambda device: 0)
    results("transcribe", tiny_folder)
    assert not read


def test_a_model_on_the_processor_takes_its_threads_and_a_gpu_one_core(monkeypatch):
    monkeypatch.setattr(next_input.os, "sched_getaffinity", lambda process: range(8), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    assert [idle_cores(torch.device(kind)) for kind in ("cpu", "cuda")] == [2, 7]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 12)
    assert idle_cores(torch.device("cpu")) == 0


def test_a_file_of_which_something_stands_is_left_to_its_own_turn(tiny_folder, folder, read):
    place = checkpoint_of(folder, "b.transcript")
    place.parent.mkdir()
    place.write_bytes(b"of another time")
    for _ in range(2):
        assert omnimem("transcribe", *NAMES, "-m", str(tiny_folder), *SMALL) == 0
    assert read == ["c.mp4"]


def test_a_file_that_changes_meanwhile_is_read_again(tiny_folder, folder, monkeypatch):
    watch, watched = watch_one.watch_one, []

    def changing(prepared, *more, **facts):
        if not watched:
            for thread in threading.enumerate():
                if thread.name == "next input":
                    thread.join()
            footage.av(folder, "b.mp4", video_s=8, audio_s=9)
        watched.append(prepared.media.duration_s)
        return watch(prepared, *more, **facts)

    monkeypatch.setattr(watch_one, "watch_one", changing)
    made = results("transcribe", tiny_folder)
    assert watched[1] > 8 and made[1]["input"]["digest"] == records.digest_file("b.mp4")


def test_what_is_wrong_with_it_is_said_in_its_own_turn(tiny_folder, capfd):
    Path("b.mp4").write_bytes(b"no video at all")
    results("transcribe", tiny_folder, code=3)
    assert capfd.readouterr().err.count("b.mp4") == 1


def test_a_pass_that_broke_off_is_made_again_by_a_new_task(tiny_folder, monkeypatch):
    plain = results("transcribe", tiny_folder)
    scan, calls = Transcribe.scan_audio, []

    def breaking(own, block):
        scan(own, block)
        calls.append(own)
        if len(calls) == 2:
            raise ValueError("once")

    monkeypatch.setattr(Transcribe, "scan_audio", breaking)
    assert results("transcribe", tiny_folder) == plain
    assert sum(task is calls[1] for task in calls) == 1


def test_a_run_that_ends_early_ends_the_reading(tiny_folder, monkeypatch):
    def interrupted(*prepared, **facts):
        time.sleep(0.5)
        raise KeyboardInterrupt

    blocks = sound_pass.sound_blocks_of
    monkeypatch.setattr(sound_pass, "sound_blocks_of", lambda sound: blocks(sound, block_s=0.05))
    monkeypatch.setattr(SoundPass, "_take", lambda own, block: time.sleep(0.2 * (own._media.path == "b.mp4")))
    monkeypatch.setattr(watch_one, "watch_one", interrupted)
    assert omnimem("transcribe", *NAMES, "-m", str(tiny_folder), *SMALL) == 130


def test_the_time_that_it_took_counts(tiny_folder, monkeypatch, capfd):
    take, watch = SoundPass._take, watch_one.watch_one
    slow = lambda path, seconds: time.sleep(seconds if path == "b.mp4" else 0.0)  # noqa: E731
    monkeypatch.setattr(SoundPass, "_take", lambda own, block: slow(own._media.path, 1.2) or take(own, block))
    monkeypatch.setattr(watch_one, "watch_one", lambda own, *a, **k: slow(own.media.path, 0.9) or watch(own, *a, **k))
    results("transcribe", tiny_folder, "--timeout", "2", code=3)
    assert "error: b.mp4: It took longer than the limit" in capfd.readouterr().err
