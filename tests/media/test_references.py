"""Large pictures in H.264: what no other needs is not decoded; no frame is early by more than half a step."""

import av
import footage
import numpy as np
import pytest
import zoo

from omnimem_cli.media import picture, references
from omnimem_cli.media.decode import Source
from omnimem_cli.media.probe import probe
from omnimem_cli.media.references import skipped_s
from omnimem_cli.media.segment import Format

CFR = [(150, 0, 40)]
PYRAMID = ("-c:v", "libx264", "-preset", "medium", "-g", 50, "-bf", 3, "-b-pyramid", "normal", "-pix_fmt", "yuv420p")
FLAT = (*PYRAMID[:-4], "-b-pyramid", "none", "-pix_fmt", "yuv420p")
OPEN = (*PYRAMID, "-x264-params", "open-gop=1:b-adapt=0")


@pytest.fixture(autouse=True)
def every_picture_is_large(monkeypatch):
    monkeypatch.setattr(references, "LARGE", 0)


def shown(path, fps, **kw) -> tuple[np.ndarray, list[int]]:
    """Times of the frames, and their numbers."""
    with Source(probe(str(path)), Format(2.0, fps, 80, 48), **kw) as source:
        found = list(source)
    assert not source.warnings
    frames = [footage.read_number(frame) for segment in found for frame in segment.frames]
    return np.concatenate([segment.frame_times for segment in found]), frames


@pytest.mark.parametrize("name", ["pyramid.mp4", "pyramid.ts", "pyramid.mkv", "flat.mp4", "open.mkv", "open.ts"])
def test_every_frame_is_the_one_on_screen_less_than_half_a_step_before(name, tmp_path):
    codec = {"pyramid": PYRAMID, "flat": FLAT, "open": OPEN}[name.partition(".")[0]]
    path = footage.timed(tmp_path, name, CFR, video=codec)
    for fps, where in (
        (1, {}),
        (2, {}),
        (1, {"start_s": 3.3}),
        (2, {"start_s": 0.34, "end_s": 5.0}),
        (2, {"first_segment": 1}),
    ):
        bound_s = skipped_s(probe(str(path)), Format(2.0, fps, 80, 48), 60.0)
        assert 0.04 < bound_s <= 0.25
        times, numbers = shown(path, fps, **where)
        exact = np.array(footage.expected_numbers(CFR, times))
        end_s = where.get("end_s", 6.0)
        assert len(times) == len(exact) == int(np.ceil((end_s - times[0]) * fps - 1e-6))
        assert (numbers <= exact).all() and ((exact - numbers) * 0.04 < bound_s).all()


def test_a_resumed_watch_gets_the_frames_of_an_unbroken_one(tmp_path):
    path = footage.timed(tmp_path, "pyramid.mp4", CFR, video=PYRAMID)
    assert shown(path, 2)[1][4:] == shown(path, 2, first_segment=1)[1]


@pytest.mark.parametrize("runs", [zoo.VFR, zoo.GAP, zoo.SLIDES, CFR])
@pytest.mark.parametrize("fps", [1, 10])
def test_no_frame_is_early_by_more_than_half_a_step_at_any_frame_rate(fps, runs, tmp_path):
    path = footage.timed(tmp_path, "varying.mkv", runs, video=FLAT)
    bound_s = skipped_s(probe(str(path)), Format(2.0, fps, 80, 48), 60.0)
    assert bound_s <= 0.5 / fps and (bound_s == 0 or fps == 1)
    times, numbers = shown(path, fps)
    early = np.array(footage.expected_numbers(runs, times)) != numbers
    if runs == zoo.GAP:
        early &= (times < 2.0) | (times >= 7.0 - 0.0005)  # black
    assert (times[early] - footage.frame_times(runs)[numbers][early] < bound_s).all()


def test_a_long_wait_for_the_next_needed_picture_is_found(tmp_path):
    assert references._longest_step(np.arange(6.0), np.array([1, 1, 0, 0, 1, 1], bool)) == 3.0
    assert references._longest_step(np.arange(4.0), np.array([0, 1, 1, 0], bool)) == 1.0
    assert references._longest_step(np.arange(4.0), np.array([1, 1, 1, 1], bool)) == 0.0
    assert references._longest_step(np.array([0.0, np.nan]), np.array([1, 0], bool)) == float("inf")
    assert references._longest_step(np.arange(2.0), np.array([0, 0], bool)) == float("inf")


def test_small_pictures_and_other_codecs_are_decoded_whole(tmp_path, monkeypatch):
    layout = Format(2.0, 1, 80, 48)
    path = footage.timed(tmp_path, "pyramid.mp4", CFR, video=PYRAMID)
    other = footage.timed(tmp_path, "other.webm", CFR, video=("-c:v", "libvpx", "-deadline", "realtime"))
    assert skipped_s(probe(str(path)), layout, 60.0) and not skipped_s(probe(str(other)), layout, 60.0)
    monkeypatch.undo()
    assert not skipped_s(probe(str(path)), layout, 60.0)


def test_what_is_not_needed_is_not_decoded(tmp_path, monkeypatch):
    path, commands = footage.timed(tmp_path, "pyramid.mp4", CFR, video=PYRAMID), []
    started = picture.Process
    monkeypatch.setattr(
        picture, "Process", lambda args, *rest, **kw: commands.append(args) or started(args, *rest, **kw)
    )
    shown(path, 1)
    assert commands[0][commands[0].index("-skip_frame") + 1] == "noref"


def test_the_last_picture_counts_where_no_other_needs_it(tmp_path):
    path = footage.timed(tmp_path, "pyramid.mp4", CFR, video=PYRAMID)
    with av.open(str(path)) as container:
        last = max((p for p in container.demux(video=0) if p.size), key=lambda packet: packet.pts)
        place = last.pos + 4  # behind the length of its first unit
    data = bytearray(path.read_bytes())
    data[place] &= ~96
    path.write_bytes(data)
    assert skipped_s(probe(str(path)), Format(2.0, 1, 80, 48), 60.0)
    times, _ = shown(path, 1, start_s=0.97)
    assert times[-1] == pytest.approx(5.97)
