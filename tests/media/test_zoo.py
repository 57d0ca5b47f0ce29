"""Every trait of media in the wild, from the file to its segments or to one clear error."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import footage
import numpy as np
import psutil
import pytest
import zoo
import zoo_joined

from omnimem_cli.base.errors import InputError
from omnimem_cli.media.decode import Source
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import Format, Media, Segment
from omnimem_cli.results.coverage import coverage, media_warnings

LAYOUT = Format(segment_s=2.0, fps=2, width=80, height=48, lookahead=200)


@dataclass
class Watched:
    media: Media
    segments: list[Segment]
    video_s: float
    audio_s: float
    warnings: list[dict]

    @property
    def numbers(self) -> list[int]:
        return [footage.read_number(frame) for segment in self.segments for frame in segment.frames]

    @property
    def sound(self) -> np.ndarray:
        return np.concatenate([segment.audio for segment in self.segments])


def watch(path: Path | str, layout: Format = LAYOUT, **kw: object) -> Watched:
    media = probe(os.fspath(path), **kw)
    with Source(media, layout) as source:
        segments = list(source)
    return Watched(media, segments, *footage.delivered_s(media, layout, segments), source.warnings)


EVERY_HALF = [int(25 * t / 2) for t in range(12)]  # of 6 s at 25 frames per second


BLACK = 0  # what is read from a frame that shows nothing


@dataclass(frozen=True)
class Outcome:
    """Seconds delivered of picture and sound, the numbers seen on the frames, and codes of warnings."""

    video_s: float = 6.0
    audio_s: float = 6.0
    numbers: list[int] | None = None
    warnings: set[str] = field(default_factory=set)
    check: Callable[[Watched], bool] = lambda watched: True


def shown(runs: list[footage.Run], end_s: float) -> list[int]:
    return footage.expected_numbers(runs, np.arange(0, end_s - 0.001, 1 / LAYOUT.fps))


def starts(watched: Watched) -> list[float]:
    return [segment.start_s for segment in watched.segments]


def quiet(sound: np.ndarray, begin_s: float, end_s: float) -> bool:
    return not np.abs(sound[round(begin_s * footage.RATE) : round(end_s * footage.RATE)]).max()


HEALTHY: dict[Callable[[Path], Path], Outcome] = {
    footage.av: Outcome(numbers=EVERY_HALF),
    zoo.no_audio: Outcome(audio_s=0, numbers=EVERY_HALF, check=lambda w: w.media.audio is None),
    zoo.no_video: Outcome(video_s=0, check=lambda w: w.media.video is None),
    zoo.rotated: Outcome(check=lambda w: (w.media.video.width, w.media.video.height) == (96, 160)),
    zoo.vfr: Outcome(5.51, 0, shown(zoo.VFR, 5.51), check=lambda w: w.media.video.variable),
    zoo.pts_gap: Outcome(4, 0, [0, 12, 25, 37, BLACK, BLACK, 50, 62, 75, 87], check=lambda w: starts(w) == [0, 6, 8]),
    zoo.slides: Outcome(20, 0, shown(zoo.SLIDES, 20), check=lambda w: w.media.video.last_frame_s == 5),
    zoo.negative_start: Outcome(6, 0, EVERY_HALF, check=lambda w: w.media.origin_s == -1),
    zoo.audio_gap: Outcome(0, 12, check=lambda w: quiet(w.sound, 4.1, 6.9) and not quiet(w.sound, 6.9, 7.2)),
    zoo.late_audio: Outcome(6, 6.06, EVERY_HALF, check=lambda w: quiet(w.sound, 0, 2.4)),
    zoo.late_start: Outcome(0, 6, check=lambda w: w.media.origin_s == 2.5 and w.media.duration_s == 6),
    zoo.late_video: Outcome(6, 6, [0] * 6 + [int((t / 2 - 2.52) * 25 + 1e-6) for t in range(6, 18)]),
    zoo.two_languages: Outcome(numbers=EVERY_HALF, check=lambda w: w.media.audio.language == "eng"),
    zoo.cover_art: Outcome(0, 6),
    zoo.interlaced: Outcome(6, 0, check=lambda w: w.media.video.interlaced),
    zoo.ten_bit: Outcome(numbers=EVERY_HALF),
    zoo.hdr: Outcome(numbers=EVERY_HALF, check=lambda w: w.media.video.transfer == "smpte2084"),
    zoo.odd_size: Outcome(numbers=EVERY_HALF, check=lambda w: w.media.video.width == 157),
    zoo.anamorphic: Outcome(numbers=EVERY_HALF, check=lambda w: w.media.video.width == 213),
    zoo.longer_sound: Outcome(4, 9, EVERY_HALF[:8]),
    zoo.shorter_sound: Outcome(9, 4),
    zoo.six_minute_sound: Outcome(0, 360),
    zoo.one_frame: Outcome(0.04, 0.04, [0]),
    zoo.silent: Outcome(check=lambda w: quiet(w.sound, 0, 6)),
    zoo.surround: Outcome(check=lambda w: w.media.audio.channels == 6),
    zoo.telephone: Outcome(0, 6),
    zoo.two_pictures: Outcome(6, 0, EVERY_HALF, check=lambda w: w.media.video.width == 320),
    zoo_joined.transport_stream: Outcome(6, 6.04),
    zoo_joined.changed_size: Outcome(5.92, 0, [0, 12, 25, 37, 50, 62, 2, 14, 27, 39, 52, 64]),
    zoo_joined.changed_size_interlaced: Outcome(5.96, 0, [0, 12, 25, 37, 50, 62, 1, 13, 26, 38, 51, 63]),
    zoo_joined.changed_channels: Outcome(0, 8, check=lambda w: abs(len(w.sound) - 8 * footage.RATE) < 100),
    zoo_joined.joined_recordings: Outcome(12, 12.04, check=lambda w: w.numbers[3:11] == w.numbers[15:23]),
    zoo_joined.language_of_two: Outcome(6, 6.05, check=lambda w: w.media.audio.language == "eng,fre"),
    zoo.title_like_a_rotation: Outcome(numbers=EVERY_HALF, check=lambda w: w.media.video.width == 160),
    zoo_joined.two_programmes: Outcome(6, 6.04, check=lambda w: w.media.video.width == 160),
    zoo_joined.variants: Outcome(6, 6.04, check=lambda w: (w.media.video.width, len(w.media.audio_tracks)) == (160, 1)),
    zoo_joined.locked_playlist: Outcome(6, 6.04),
    zoo_joined.discontinuity: Outcome(12, 12.04, check=lambda w: w.numbers[3:11] == w.numbers[15:23]),
    zoo_joined.clock_falls: Outcome(12, 12.04, check=lambda w: w.numbers[3:11] == w.numbers[15:23]),
    zoo_joined.clock_jumps_ahead: Outcome(
        12, 12.07, check=lambda w: starts(w) == [0, 2, 4, 6, 684, 686, 688, 690] and w.numbers[15:20] == [BLACK] * 5
    ),
    zoo_joined.late_sound_in_a_stream: Outcome(14, 6.06, check=lambda w: quiet(w.sound, 0, 7.9)),
    zoo_joined.sound_in_a_later_table: Outcome(11.92, 6.04, check=lambda w: quiet(w.sound, 0, 5.8)),
    zoo.long_subtitles: Outcome(numbers=EVERY_HALF),
    zoo.hidden_end: Outcome(3, 3, [50, 62, 75, 87, 100, 112]),
    zoo_joined.changed_rate: Outcome(0, 12.16, check=lambda w: comes_twice(w.sound, 6.1)),
    zoo.webm: Outcome(check=lambda w: steady(w, w.media.video.start_s) and w.media.video.start_s < 0.01),
    zoo.avi: Outcome(6.04, 6.03),
    zoo.gif: Outcome(6, 0, EVERY_HALF),
    zoo.live_recorded: Outcome(numbers=EVERY_HALF),
    zoo.fragmented: Outcome(check=lambda w: w.media.video.start_s == 0.08),
    zoo_joined.local_playlist: Outcome(6, 6.04),
    zoo.non_ascii_name: Outcome(numbers=EVERY_HALF),
    zoo.dash_name: Outcome(numbers=EVERY_HALF),
    zoo.non_utf8_name: Outcome(numbers=EVERY_HALF),
    zoo.colon_name: Outcome(numbers=EVERY_HALF),
    zoo.newline_name: Outcome(numbers=EVERY_HALF),
}


def steady(watched: Watched, start_s: float) -> bool:
    """Whether 25 frames per second stand where they belong; old versions of ffmpeg begin the picture of WebM late."""
    return watched.numbers == shown([(150, 1000 * start_s, 40)], start_s + 6)


def comes_twice(sound: np.ndarray, period_s: float) -> bool:
    """Whether the noise of two recordings stands where each has its place."""
    begin, later = (sound[round(at * footage.RATE) :][:60_000] for at in (1.0, 1.0 + period_s))
    shifts = np.correlate(later, begin[1000:-1000], mode="valid")
    return shifts.max() > 0.9 * np.linalg.norm(begin) * np.linalg.norm(later)


UNREAD = (
    zoo_joined.flv_after_flv,
    zoo_joined.flv_clock_begins_anew,
    zoo_joined.webm_after_webm,
    zoo_joined.mp4_after_mp4,
)

BROKEN = {
    zoo.encrypted: "encrypted",
    zoo.truncated_mp4: "incomplete",
    zoo.empty: "empty",
    zoo.text: "not_media",
    zoo.random_bytes: "not_media",
    zoo.subtitles: "no_stream",
    zoo_joined.playlist: "network",
    zoo.missing: "missing",
    zoo.directory: "directory",
}

PARTIAL = {
    zoo.truncated_faststart: {"truncated_input", "decode_errors"},
    zoo.truncated_mkv: {"truncated_input", "decode_errors"},
    zoo.being_written: {"decode_errors"},
    zoo.damaged: {"decode_errors"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all: the raw material of the clips is made once."""
    return tmp_path_factory.mktemp("zoo")


@pytest.fixture(autouse=True)
def nothing_left_running():
    yield
    assert [child for child in psutil.Process().children() if "ffmpeg" in child.name()] == []


@pytest.mark.parametrize("build", HEALTHY, ids=lambda build: getattr(build, "__name__", ""))
def test_healthy_media_is_watched_whole(build, folder):
    expected = HEALTHY[build]
    watched = watch(build(folder))
    assert watched.warnings == []
    assert watched.video_s == pytest.approx(expected.video_s, abs=0.05)
    assert watched.audio_s == pytest.approx(expected.audio_s, abs=0.05)
    if expected.numbers is not None:
        assert watched.numbers == expected.numbers
    assert expected.check(watched)
    ends = [s.start_s + s.duration_s for s in (watched.media.video, watched.media.audio) if s]
    assert watched.media.duration_s == max(ends)


@pytest.mark.parametrize("build", BROKEN, ids=lambda build: build.__name__)
def test_unreadable_media_is_one_clear_error(build, folder):
    path = build(folder)
    with pytest.raises(InputError) as error:
        watch(path)
    assert error.value.code == BROKEN[build]
    assert str(path) in error.value.message and error.value.hint and "\n" not in error.value.message


@pytest.mark.parametrize("build", PARTIAL, ids=lambda build: build.__name__)
def test_partly_readable_media_is_watched_as_far_as_it_goes_and_says_so(build, folder):
    watched = watch(build(folder))
    assert {warning["code"] for warning in watched.warnings} == PARTIAL[build]
    assert 2 < watched.video_s <= 6.0
    if "truncated_input" in PARTIAL[build]:
        assert watched.media.duration_s == pytest.approx(6, abs=0.1)
        assert watched.video_s < 5


@pytest.mark.parametrize("build", UNREAD, ids=lambda build: build.__name__)
def test_what_follows_a_file_in_the_same_file_is_called_unread(build, folder):
    path = build(folder)
    watched = watch(path)
    assert watched.media.unread_bytes == pytest.approx(path.stat().st_size / 2, rel=0.1)
    assert watched.video_s == pytest.approx(6, abs=0.1) and watched.audio_s == pytest.approx(6, abs=0.1)
    assert coverage(watched.media, watched.video_s, watched.audio_s)["ratio"] is None


def test_ogg_behind_a_change_of_rate_is_called_unread(folder):
    path = zoo_joined.ogg_of_two_rates(folder)
    media = probe(str(path))
    assert media.unread_bytes > path.stat().st_size / 2
    assert coverage(media, 0.0, 6.0)["ratio"] is None


def test_sound_without_a_decoder_is_lost_and_not_absent(folder):
    watched = watch(zoo.sound_without_decoder(folder))
    assert [(stream.kind, stream.codec, stream.reason) for stream in watched.media.lost] == [("sound", "apac", "codec")]
    assert watched.warnings == [] and coverage(watched.media, 6.0, 0.0)["ratio"] == 0.0


def test_a_second_sound_without_a_decoder_is_named_and_costs_nothing(folder):
    media = probe(str(zoo.second_sound_without_decoder(folder)))
    assert [warning["code"] for warning in media_warnings(media)] == ["no_decoder"]
    assert coverage(media, 0.0, 6.0)["ratio"] > 0.98


def test_a_sound_that_ends_long_before_another_is_called_short(folder):
    path = str(zoo.short_first_track(folder))
    assert [warning["code"] for warning in media_warnings(probe(path))] == ["short_track"]
    assert media_warnings(probe(path, audio_track="2")) == []


def test_the_picture_with_a_number_is_watched(folder):
    path = str(zoo.two_pictures(folder))
    assert [probe(path, video_track=number).video.width for number in "12"] == [160, 320]
    with pytest.raises(InputError) as error:
        probe(path, video_track="3")
    assert error.value.code == "no_track" and "2 (320x192)" in error.value.hint


@pytest.mark.parametrize("rates", [(200_000, 100_000), (100_000, 100_000)])
def test_the_best_variant_is_watched_with_the_sound_that_all_share(folder, rates):
    media = probe(str(zoo_joined.variants_listed(folder, *rates)))
    assert (media.video.width, len(media.audio_tracks)) == (160, 1)


def test_the_zoo_has_at_least_thirty_traits():
    assert len(HEALTHY) + len(BROKEN) + len(PARTIAL) >= 30


def test_a_rotated_picture_stands_upright(folder):
    watched = watch(zoo.rotated(folder), Format(2.0, 1, 48, 80))
    upright = [np.rot90(frame, 3) for segment in watched.segments for frame in segment.frames]
    assert [footage.read_number(frame) for frame in upright] == EVERY_HALF[::2]
    assert watched.media.video.rotation == 270


def test_the_track_asked_for_is_heard(folder):
    path = zoo.two_languages(folder)
    english, japanese = footage.noise(6), footage.noise(6, seed=8)
    for track, wanted in ((None, english), ("1", english), ("2", japanese), ("jpn", japanese), ("ja", japanese)):
        sound = watch(path, audio_track=track).sound
        assert np.corrcoef(sound[:90_000], wanted[:90_000])[0, 1] > 0.99


@pytest.mark.parametrize("track", ["3", "0", "fra"])
def test_a_track_that_is_not_there_lists_those_that_are(track, folder):
    with pytest.raises(InputError) as error:
        probe(str(zoo.two_languages(folder)), audio_track=track)
    assert error.value.code == "no_track" and "1 (eng), 2 (jpn)" in error.value.hint


def test_switching_off_the_only_stream_leaves_nothing(folder):
    for build, switch in ((zoo.no_audio, "no_video"), (zoo.no_video, "no_audio")):
        with pytest.raises(InputError) as error:
            probe(str(build(folder)), **{switch: True})
        assert error.value.code == "no_stream" and switch.replace("_", "-") in error.value.hint


def test_a_bright_scene_in_high_dynamic_range_is_not_washed_out(folder):
    watched = watch(zoo.hdr(folder))
    frame = watched.segments[0].frames[-1]
    assert frame.min() < 40 and frame.max() > 230
