"""The GPU's decoder is asked for where the file's own first frame came from it, else the processor decodes and says so.

A stand-in for ffmpeg plays a machine with such a decoder: it drops the options and says what a GPU's ffmpeg says.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import footage
import numpy as np
import pytest
import torch
import zoo_joined
from streams import media_of

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import DoesNotFitError
from omnimem_cli.base.settings import Settings
from omnimem_cli.media import gpu_decoder
from omnimem_cli.media.decode import Source
from omnimem_cli.media.ffmpeg import Process, ffmpeg_path
from omnimem_cli.media.gpu_decoder import GpuPictures, decoder_bytes, gpu_fault, with_gpu
from omnimem_cli.media.key_frames import with_key_frames_only
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import Format, Media, VideoStream
from omnimem_cli.results.coverage import media_warnings
from omnimem_cli.session import footprint, preflight
from omnimem_cli.session.preflight import planned, probed

LAYOUT = Format(2.0, 2, 80, 48)
STAND_IN = """#!{python}
import os, subprocess, sys
words, say = sys.argv[1:], {say!r}
with open({log!r}, "a") as log:
    print(*words, file=log)
if "-hwaccel" in words and "-frames:v" not in words and {full}:
    sys.exit("[CUDA] no memory is left")
def plain(words):
    words = iter(words)
    for word in words:
        if word in ("-hwaccel", "-hwaccel_device", "-hwaccel_output_format", "-init_hw_device"):
            next(words)
        else:
            yield word
if "-hwaccel_output_format" in words:
    done = subprocess.run([{real!r}, *plain(words)], stderr=subprocess.PIPE, text=True)
    sys.stderr.write(done.stderr.replace("wrapped_avframe, yuv420p", "wrapped_avframe, " + say))
    sys.exit(done.returncode)
os.execv({real!r}, [{real!r}, *plain(words)])
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return footage.av(tmp_path_factory.mktemp("clip"), video_s=6, audio_s=6)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Makes ``ffmpeg`` one with a GPU. ``say``: where frames are; ``full``: no memory is left once they are decoded."""

    def make(say: str = "cuda(tv, progressive)", full: bool = False) -> Path:
        log, program = tmp_path / "log", tmp_path / "ffmpeg"
        program.write_text(STAND_IN.format(python=sys.executable, log=str(log), real=ffmpeg_path(), say=say, full=full))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return log

    return make


def shown(media: Media, **span: float) -> tuple[np.ndarray, list[dict]]:
    """The frames, and what there is to say."""
    with Source(media, LAYOUT, **span) as source:
        frames = [segment.frames for segment in source]
    return np.concatenate(frames), [*media_warnings(media), *source.warnings]


def test_a_gpu_that_decoded_the_first_frame_decodes_all_and_the_frames_are_the_same(clip, stand_in):
    plain, _ = shown(probe(str(clip)))
    log = stand_in()
    media = with_gpu(probe(str(clip)), 1, 60.0)
    frames, notes = shown(media)
    assert np.array_equal(frames, plain) and not notes and media.video.gpu == 1
    decoded = [line for line in log.read_text().splitlines() if "rawvideo" in line]
    assert len(decoded) == 1 and "-hwaccel cuda -hwaccel_device 1 " in decoded[0].partition(" -i ")[0]


def test_without_such_a_decoder_the_processor_decodes_and_the_result_says_why(clip):
    media = with_gpu(probe(str(clip)), 0, 60.0)
    frames, (note,) = shown(media)
    assert np.array_equal(frames, shown(probe(str(clip)))[0]) and media.video.gpu is None
    assert note["code"] == "no_gpu_decoder" and "not the GPU: ffmpeg says: " in note["message"]


def test_a_picture_that_the_gpu_leaves_to_the_processor_is_said_to_be_its(clip, stand_in):
    stand_in(say="yuv420p(progressive)")
    video = with_gpu(probe(str(clip)), 0, 60.0).video
    assert video.gpu is None and video.no_gpu == "it cannot decode h264 of this kind"


@pytest.mark.parametrize("span", [{}, {"start_s": 3.3}])
def test_a_gpu_without_memory_once_it_counts_leaves_the_rest_to_the_processor(span, clip, stand_in):
    plain, _ = shown(probe(str(clip)), **span)
    stand_in(full=True)
    frames, (note,) = shown(with_gpu(probe(str(clip)), 0, 60.0), **span)
    assert np.array_equal(frames, plain)
    assert note["code"] == "no_gpu_decoder" and note["message"].endswith("[CUDA] no memory is left.")


def test_what_neither_can_decode_is_not_blamed_on_the_gpu():
    pictures = GpuPictures(lambda by_gpu: Process(["true"], "film"))
    assert pictures.read(12) == b"" and not pictures.refused
    pictures.close()


def test_a_reader_that_was_killed_starts_no_processor():
    started = []
    pictures = GpuPictures(lambda by_gpu: started.append(by_gpu) or Process(["sleep", "60"], "film"))
    pictures.kill()
    assert pictures.read(12) == b"" and started == [True]
    pictures.close()


@pytest.mark.parametrize(("kind", "why"), [("keys", "key frames alone"), ("joined", "recordings that were joined")])
def test_what_ffmpeg_does_not_decode_file_by_file_stays_with_the_processor(kind, why, clip, tmp_path, stand_in):
    stand_in()
    joined = kind == "joined"
    media = probe(str(zoo_joined.joined_recordings(tmp_path))) if joined else with_key_frames_only(probe(str(clip)), 60)
    video = with_gpu(media, 0, 60.0).video
    assert video.gpu is None and why in video.no_gpu


def test_sound_alone_has_nothing_to_say_of_decoders(tmp_path):
    media = probe(str(footage.av(tmp_path, video_s=0, audio_s=2)))
    assert with_gpu(media, 0, 60.0) == media


@pytest.mark.parametrize(("wanted", "gpu", "tried"), [("none", None, 0), ("auto", None, 0), ("cuda", 0, 1)])
def test_auto_tries_nothing_where_the_model_runs_on_the_processor(wanted, gpu, tried, clip, stand_in):
    log = stand_in()
    video = probed(str(clip), Settings(hwaccel=wanted, device="cpu")).video
    asked = log.read_text().splitlines() if log.exists() else []
    assert video.gpu == gpu and sum("-hwaccel" in line for line in asked) == tried and not video.no_gpu


@pytest.mark.parametrize(("wanted", "gpu"), [("none", None), ("auto", 1), ("cuda", 1)])
def test_the_gpu_of_the_model_decodes_where_it_may(wanted, gpu, monkeypatch):
    monkeypatch.setattr(preflight, "find_device", lambda device: torch.device("cuda", 1))
    assert preflight.decoding_gpu(Settings(hwaccel=wanted)) == gpu


@pytest.mark.parametrize(
    ("codec", "form", "each"),
    [("libx264", "yuv420p", 1.5), ("libx264", "yuv420p10le", 3.0), ("libx264", "yuv444p", 3.0), ("ffv1", "gray", 3.0)],
)
def test_a_surface_has_the_bytes_of_its_form(codec, form, each, tmp_path):
    path = footage.av(tmp_path, "a.mkv", video_s=1, audio_s=0, video=("-c:v", codec, "-pix_fmt", form))
    assert probe(str(path)).video.pixel_bytes == each


@pytest.mark.parametrize(("codec", "surfaces"), [("h264", 32), ("hevc", 17), ("av1", 16), ("mpeg2video", 2)])
def test_the_surfaces_that_ffmpeg_asks_for_lie_within_the_estimate(codec, surfaces, monkeypatch):
    monkeypatch.setattr(gpu_decoder.os, "cpu_count", lambda: 15)
    video = VideoStream(0, codec, 1440, 1080, 25.0, 60.0, stored=(1920, 1080), gpu=0)
    asked = 2 * (surfaces + 2 + 8 + 16) * 1920 * 1080 * 3 // 2
    assert asked <= decoder_bytes(video) and decoder_bytes(replace(video, pixel_bytes=3.0)) == 2 * decoder_bytes(video)
    assert decoder_bytes(replace(video, gpu=None)) == decoder_bytes(None) == 0


def sized_for(adapter, monkeypatch, free: int, device: str = "cuda"):
    """Input and size of a watch whose picture the GPU is to decode; and the size without that."""
    monkeypatch.setattr(footprint, "find_device", lambda name: torch.device(device))
    settings, plain = Settings(budget=Budget(120), max_pixels=56 * 56), media_of(60, 60)
    plan = planned(settings, adapter, plain)
    media = replace(plain, video=replace(plain.video, gpu=0))
    config = preflight.sized(settings, adapter, plan, plain)[1]
    needed = config.needed - config.ahead_bytes
    return *preflight.sized(settings, adapter, plan, media, free=needed + free), needed


def test_what_the_decoder_holds_is_a_part_of_the_watch_where_the_model_runs_beside_it(tiny_adapter, monkeypatch):
    media, config, needed = sized_for(tiny_adapter, monkeypatch, 2**30)
    assert config.needed - config.ahead_bytes - needed == decoder_bytes(media.video) > 2**20
    media, config, needed = sized_for(tiny_adapter, monkeypatch, 2**30, "cpu")
    assert config.needed - config.ahead_bytes == needed and media.video.gpu == 0


def test_without_room_for_a_decoder_the_processor_decodes_and_the_watch_fits(tiny_adapter, monkeypatch):
    media, config, needed = sized_for(tiny_adapter, monkeypatch, 1000)
    assert config.needed == needed and media.video.gpu is None and "no room" in media.video.no_gpu
    with pytest.raises(DoesNotFitError):
        sized_for(tiny_adapter, monkeypatch, -1000)


def test_whether_ffmpeg_reaches_a_gpu_is_said_without_a_file(stand_in):
    assert gpu_fault().startswith("ffmpeg says: ")
    stand_in()
    assert gpu_fault() == ""
