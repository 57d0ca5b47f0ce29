"""Frames and samples stand where the clock of the file says, for any range, and resuming changes nothing."""

from itertools import pairwise

import footage
import numpy as np
import pytest
import zoo
import zoo_joined

from omnimem_cli.base.errors import InputError
from omnimem_cli.media.decode import Source
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import Format, Segment
from omnimem_cli.media.sound import sound_blocks

CFR = [(150, 0, 40)]
PICTURES = {
    "steady.mp4": (CFR, footage.H264),
    "steady.ts": (CFR, footage.H264),
    "steady.webm": (CFR, ("-c:v", "libvpx", "-deadline", "realtime", "-g", 50)),
    "varying.mp4": (zoo.VFR, footage.H264),
    "varying.mkv": (zoo.VFR, footage.H264),
    "gap.mp4": (zoo.GAP, footage.H264),
    "gap.ts": (zoo.GAP, footage.H264),
    "slides.mkv": (zoo.SLIDES, footage.H264),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clock")


@pytest.fixture(scope="module")
def clip(folder):
    """A lossless sound and a picture with key frames every two seconds, 12 s each."""
    return str(footage.av(folder, "clip.mkv", video_s=12, audio_s=12, rate=16_000, audio=("-c:a", "flac")))


def segments(path, *, fps=2.0, segment_s=2.0, lookahead=200, **kw) -> list[Segment]:
    with Source(probe(str(path)), Format(segment_s, fps, 80, 48, lookahead=lookahead), **kw) as source:
        return list(source)


def sound(found: list[Segment]) -> np.ndarray:
    return np.concatenate([segment.audio for segment in found])


@pytest.mark.parametrize("name", PICTURES)
def test_every_frame_is_the_one_on_screen_at_its_time(name, folder):
    runs, codec = PICTURES[name]
    path = footage.timed(folder, name, runs, video=codec)
    ranges = [{}, {"start_s": 3.3}, {"start_s": 1 / 3, "end_s": 5.0}, {"first_segment": 1}]
    for fps, where in [(25, {}), (3, {}), (30_000 / 1001, {"start_s": 4.7}), *((2, where) for where in ranges)]:
        found = segments(path, fps=fps, **where)
        times = np.concatenate([segment.frame_times for segment in found])
        numbers = [footage.read_number(frame) for segment in found for frame in segment.frames]
        shown = footage.expected_numbers(runs, times)
        missing = (runs == zoo.GAP) & (times >= 2.0) & (times < 7.0 - 0.0005)
        assert numbers == np.where(missing, 0, shown).tolist()  # frames of a gap are black
        assert len(numbers) >= 1


def test_a_picture_ends_with_its_last_frame_however_the_others_were_coded(folder):
    path = footage.timed(folder, "reordered.mp4", zoo.GAP)
    assert probe(str(path)).duration_s == pytest.approx(9.0)


def test_frame_times_are_evenly_spaced_on_the_original_clock(clip):
    found = segments(clip, fps=3, start_s=1.25)
    times = np.concatenate([segment.frame_times for segment in found])
    assert np.allclose(times, 1.25 + np.arange(len(times)) / 3, atol=1e-9)
    assert [segment.start_s for segment in found] == [1.25 + 2 * index for index in range(len(found))]
    assert [len(segment.frames) for segment in found[:-1]] == [6] * (len(found) - 1)


def test_only_the_last_segment_is_marked(clip):
    assert [segment.last for segment in segments(clip)] == [False] * 5 + [True]


@pytest.mark.parametrize("start_s", [0.0, 0.5, 3.37, 7.0])
def test_sound_stands_at_its_place_to_the_sample(clip, start_s):
    heard = sound(segments(clip, start_s=start_s))
    wanted = footage.noise(12)[round(start_s * footage.RATE) :]
    assert len(heard) == len(wanted)
    assert np.abs(heard - wanted).max() < 1e-3


def test_a_gap_in_the_sound_is_silence_of_the_same_length(folder):
    heard = sound(segments(zoo.audio_gap(folder)))
    wanted = np.concatenate([footage.noise(12)[:64_000], np.zeros(3 * footage.RATE), footage.noise(12)[64_000:]])
    away = np.abs(heard - wanted) > 1e-3
    # Where silence begins the filter ramps down, for less than a tenth of a second.
    assert len(heard) == len(wanted) and not away[:62_000].any() and not away[113_600:].any()


def test_sound_that_begins_late_is_padded_and_not_counted(folder):
    path = zoo.late_audio(folder)
    media, layout = probe(str(path)), Format(2.0, 1, 80, 48)
    with Source(media, layout) as source:
        found = list(source)
    heard = sound(found)
    assert not heard[: round(2.4 * footage.RATE)].any()
    late = heard[round(2.5 * footage.RATE) :][: 5 * footage.RATE]
    assert np.corrcoef(late, footage.noise(6)[: len(late)])[0, 1] > 0.99
    assert footage.delivered_s(media, layout, found)[1] == pytest.approx(6.06, abs=0.02)


def test_the_samples_ahead_are_those_of_the_next_segment(clip):
    found = segments(clip, lookahead=200)
    for segment, following in pairwise(found):
        assert np.array_equal(segment.audio_ahead, following.audio[:200])
    assert not found[-1].audio_ahead.any()


def test_nothing_outside_the_range_is_delivered(clip):
    found = segments(clip, start_s=2.0, end_s=7.0)
    assert len(sound(found)) == 5 * footage.RATE and not found[-1].audio_ahead.any()
    assert found[-1].frame_times[-1] == 6.5 and sum(len(segment.frames) for segment in found) == 10


@pytest.mark.parametrize(
    ("name", "start_s"), [("aac.mp4", None), ("aac.mp4", 1.7), ("mp3.avi", 1.7), ("opus.webm", None), ("aac.ts", 1.7)]
)
def test_resuming_at_a_segment_equals_the_unbroken_run(folder, name, start_s):
    codecs = {"aac": "aac", "mp3": "libmp3lame", "opus": "libopus"}
    pictures = {"webm": ("-c:v", "libvpx", "-deadline", "realtime", "-g", 50), "avi": ("-c:v", "mpeg4", "-g", 50)}
    audio, container = name.split(".")
    video = pictures.get(container, footage.H264)
    path = folder / name
    if not path.exists():
        rate = 48_000 if audio == "opus" else 44_100
        footage.av(folder, name, video_s=9, audio_s=9, rate=rate, video=video, audio=("-c:a", codecs[audio]))
    whole = segments(path, start_s=start_s)
    for first in (1, len(whole) - 1):
        resumed = segments(path, start_s=start_s, first_segment=first)
        assert [segment.index for segment in resumed] == [segment.index for segment in whole[first:]]
        for one, other in zip(whole[first:], resumed, strict=True):
            assert one.last == other.last and one.start_s == other.start_s
            for field in ("frames", "frame_times", "audio", "audio_ahead"):
                assert np.array_equal(getattr(one, field), getattr(other, field)), field


def test_resuming_behind_the_last_segment_delivers_nothing(clip):
    assert segments(clip, first_segment=6) == []


LAST_FRAMES = 2 * 16_000 * 1024 // 44_100 + 1
"""Of joined recordings ffmpeg, when it is busy, delivers all but up to two AAC frames at the very end."""


@pytest.mark.parametrize("where", [{}, {"start_s": 1.7, "end_s": 8.3}])
def test_the_first_pass_hears_what_decoding_delivers(folder, where):
    for path in (footage.av(folder, "lossy.mp4", video_s=9, audio_s=9), zoo_joined.joined_recordings(folder)):
        blocks = list(sound_blocks(probe(str(path)), block_s=1.3, **where))
        first, decoded = np.concatenate(blocks), sound(segments(path, **where))
        assert 0 <= len(first) - len(decoded) <= (LAST_FRAMES if path.suffix == ".ts" else 0)
        assert np.array_equal(first[: len(decoded)], decoded)
        assert {block.dtype for block in blocks} == {np.dtype(np.float32)}


def test_a_range_behind_the_end_is_an_error(clip):
    with pytest.raises(InputError) as error:
        segments(clip, start_s=100.0)
    assert error.value.code == "empty_range" and "12.0 s" in error.value.message


def test_a_picture_can_be_left_out(clip):
    media, layout = probe(clip, no_video=True), Format(2.0, 2, 0, 0)
    with Source(media, layout) as source:
        found = list(source)
    assert all(segment.frames.shape == (0, 0, 0, 3) for segment in found)
    assert footage.delivered_s(media, layout, found) == (0, 12)


def test_scaled_frames_are_bicubic(folder):
    from PIL import Image

    path = footage.av(folder, "rgb.mkv", audio_s=0, video=("-c:v", "ffv1", "-pix_fmt", "bgr0"))
    found = segments(path, fps=1)[0].frames[0]
    raw = np.repeat(footage.numbered(1)[0][..., None], 3, axis=-1)
    wanted = np.asarray(Image.fromarray(raw).resize((80, 48), Image.Resampling.BICUBIC))
    assert np.abs(found.astype(int) - wanted.astype(int)).max() <= 8
