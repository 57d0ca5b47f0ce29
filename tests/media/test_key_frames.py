"""Key frames alone: each is shown from its own time until the next one, in the pixels of a decoder of all frames."""

from dataclasses import replace

import footage
import numpy as np
import pytest
import zoo
import zoo_joined

from omnimem_cli.base.errors import UsageError
from omnimem_cli.media import key_frames
from omnimem_cli.media.decode import Source
from omnimem_cli.media.key_frames import KeyFrames, longest_step_s, with_key_frames_only
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import Format, Media, VideoStream
from omnimem_cli.results.coverage import media_warnings

CFR = [(150, 0, 40)]
EVERY = 30  # frames between two key frames
LAYOUT = Format(2.0, 2, 80, 48)
GROUP = ("-g", EVERY, "-pix_fmt", "yuv420p")
CODECS = {
    "closed": ("-c:v", "libx264", "-bf", 2, "-sc_threshold", 0, *GROUP),
    "open": ("-c:v", "libx264", "-x264-params", "open-gop=1:b-adapt=0:scenecut=0", "-bf", 3, *GROUP),
    "hevc": ("-c:v", "libx265", "-x265-params", "open-gop=1:scenecut=0:bframes=4:log-level=error", *GROUP),
    "vp9": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", 8, *GROUP),
    "av1": ("-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", 8, *GROUP),
    "mpeg2": ("-c:v", "mpeg2video", "-bf", 2, "-q:v", 2, "-sc_threshold", 10**9, *GROUP),
}


def key_media(path) -> Media:
    return with_key_frames_only(probe(str(path)), 60.0)


def shown(media: Media, layout: Format = LAYOUT, **span) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """Times of the frames, the frames, and what there is to say."""
    with Source(media, layout, **span) as source:
        found = list(source)
    times, frames = ([getattr(segment, name) for segment in found] for name in ("frame_times", "frames"))
    return np.concatenate(times), np.concatenate(frames), source.warnings


def numbers(frames: np.ndarray) -> np.ndarray:
    return np.array([footage.read_number(frame) for frame in frames])


def keys_of(path) -> np.ndarray:
    """Numbers of the key frames, as decoding every frame shows them."""
    import av

    with av.open(str(path)) as container:
        frames = enumerate(frame for frame in container.decode(video=0))
        return np.array([number for number, frame in frames if frame.key_frame])


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_frame_is_the_latest_key_frame_that_is_not_later(codec, suffix, tmp_path):
    if suffix == "ts" and codec in ("vp9", "av1"):
        pytest.skip("no codec of transport streams")
    path = footage.av(tmp_path, f"film.{suffix}", audio_s=0, video=CODECS[codec])
    media, keys = key_media(path), keys_of(path)
    longest_s = np.diff([*keys, 150]).max() * 0.04
    assert len(keys) >= 4 and longest_s - 0.002 < media.video.key_step_s < longest_s + 0.2
    for span in ({}, {"start_s": 3.3}, {"start_s": 0.34, "end_s": 5.0}, {"first_segment": 1}):
        times, frames, warnings = shown(media, **span)
        exact = np.array(footage.expected_numbers(CFR, times))
        assert not warnings and len(times) == len(shown(probe(str(path)), **span)[0])
        assert numbers(frames).tolist() == keys[np.searchsorted(keys, exact, side="right") - 1].tolist()


@pytest.mark.parametrize("name", ["closed", "open", "hevc", "vp9"])
def test_its_pixels_are_those_of_a_decoder_of_all_frames(name, tmp_path):
    path = footage.timed(tmp_path, "film.mkv", CFR, video=CODECS[name])
    layout = Format(1.2, 1 / 1.2, 96, 64)
    assert np.array_equal(shown(key_media(path), layout)[1], shown(probe(str(path)), layout)[1])


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_picture_is_upright(degrees, tmp_path):
    plain = footage.timed(tmp_path, "plain.mp4", CFR, video=CODECS["closed"])
    path = tmp_path / "turned.mp4"
    footage.run("-display_rotation", degrees, "-i", plain, "-c", "copy", path)
    media = key_media(path)
    assert media.video.rotation == 360 - degrees
    layout = Format(1.2, 1 / 1.2, 64, 64)
    assert np.array_equal(shown(media, layout)[1], shown(probe(str(path)), layout)[1])


def test_fields_make_whole_pictures(tmp_path):
    path, woven = tmp_path / "fields.mpg", ("-vf", "tinterlace=interleave_top,setfield=tff", "-c:v", "mpeg2video")
    fields = ("-flags", "+ilme+ildct", "-q:v", 2, "-pix_fmt", "yuv420p", *GROUP[:2])
    footage.run("-i", footage.picture_file(tmp_path, 150), *woven, *fields, path)
    media = key_media(path)
    assert media.video.interlaced
    frames = shown(media, Format(2.0, 2, footage.WIDTH, footage.HEIGHT))[1]
    inside = frames[:, 4:28, 4:28].astype(int)  # of the block that differs between the two fields of a frame
    assert len(frames) and np.abs(np.diff(inside, axis=1)).max() < 50


def test_key_frames_that_no_frame_shows_are_not_decoded(tmp_path, monkeypatch):
    decoded = []
    scaled = KeyFrames._scaled
    monkeypatch.setattr(KeyFrames, "_scaled", lambda self, frame: decoded.append(1) or scaled(self, frame))
    path = footage.timed(tmp_path, "intra.mkv", CFR, video=("-c:v", "mjpeg", "-q:v", 2, "-pix_fmt", "yuvj420p"))
    media = key_media(path)
    assert media.video.key_step_s == pytest.approx(0.04, abs=0.002)
    times, frames, _ = shown(media)
    assert numbers(frames).tolist() == footage.expected_numbers(CFR, times)
    assert len(decoded) == len(frames) == 12


def test_a_seek_behind_its_goal_is_tried_from_further_back(tmp_path):
    path = footage.timed(tmp_path, "film.ts", [(500, 0, 40)], video=(*CODECS["open"], "-muxdelay", 0))
    media = key_media(path)
    whole = dict(zip(*map(np.ndarray.tolist, (shown(media)[0], numbers(shown(media)[1]))), strict=True))
    for start_s in (0.5, 4.0, 7.5, 12.0, 18.5):
        times, frames, _ = shown(media, start_s=start_s)
        assert numbers(frames).tolist() == [whole[time] for time in times]


def test_a_broken_key_frame_is_told_and_the_one_before_it_shown(tmp_path, monkeypatch):
    path = footage.timed(tmp_path, "film.mkv", CFR, video=CODECS["vp9"])
    media, keys, read = key_media(path), keys_of(path), KeyFrames._read

    def breaking(self):
        for key in read(self):
            yield replace(key, packet=self._stream.codec_context and broken(key.packet)) if key.time_s > 1 else key

    def broken(packet):
        import av

        return av.Packet(b"\xff" * 9) if round(packet.pts * float(packet.time_base) / 0.04) == keys[1] else packet

    monkeypatch.setattr(KeyFrames, "_read", breaking)
    times, frames, warnings = shown(media)
    assert [note["code"] for note in warnings] == ["decode_errors"]
    kept = np.delete(keys, 1)
    exact = footage.expected_numbers(CFR, times)
    assert numbers(frames).tolist() == kept[np.searchsorted(kept, exact, side="right") - 1].tolist()


def test_a_file_that_breaks_off_is_told(tmp_path):
    path = footage.timed(tmp_path, "film.mkv", CFR, video=CODECS["closed"])
    media = key_media(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    times, _, warnings = shown(media)
    assert [note["code"] for note in warnings] == ["truncated_input"] and 1 < times[-1] < 5


def test_a_close_while_it_decodes_ends_it(tmp_path):
    path = footage.timed(tmp_path, "film.mkv", CFR, video=CODECS["closed"])
    with Source(key_media(path), LAYOUT, queue=1) as source:
        next(source)
    assert not source._thread.is_alive()


@pytest.mark.parametrize(
    ("make", "word"), [(zoo.hdr, "dynamic range"), (zoo_joined.joined_recordings, "joined")], ids=["hdr", "joined"]
)
def test_where_key_frames_cannot_be_had_all_are_decoded_and_the_result_says_why(make, word, tmp_path):
    media = key_media(make(tmp_path))
    (note,) = [note for note in media_warnings(media) if note["code"] == "all_frames"]
    assert word in note["message"] and media.video.key_step_s is None


def test_key_frames_far_apart_are_told_and_close_ones_are_not():
    media = Media("a.mp4", VideoStream(0, "h264", 80, 48, 25, 60.0), None)
    for step_s, codes in ((2.0, []), (10.0, ["key_frames"])):
        notes = media_warnings(replace(media, video=replace(media.video, key_step_s=step_s)))
        assert [note["code"] for note in notes] == codes
        assert all("10.0 s apart" in note["message"] for note in notes)


def test_live_input_has_no_key_frames_to_ask_for():
    live = Media("rtsp://camera", VideoStream(0, "h264", 80, 48, 25, None), None, origin_s=None)
    with pytest.raises(UsageError, match="live"):
        with_key_frames_only(live, 60.0)


def test_sound_alone_has_no_key_frames(tmp_path):
    path = footage.av(tmp_path, "sound.mp4", video_s=0)
    assert key_media(path) == probe(str(path))


def test_an_index_tells_the_distance_without_reading_packets(tmp_path, monkeypatch):
    path = footage.timed(tmp_path, "film.mp4", CFR, video=CODECS["closed"])
    media = probe(str(path))
    monkeypatch.setattr(key_frames, "_packets", lambda *_: pytest.fail("packets were read"))
    assert longest_step_s(media, 60.0) == pytest.approx(1.2, abs=0.002)
