"""A live source: its segments are whole whatever happens to the connection, and what is missing is told."""

import http.server
import random
import socket
import subprocess
import threading
import time
from functools import partial

import footage
import numpy as np
import pytest
from station import Sent, Station

from omnimem_cli.base.errors import InputError
from omnimem_cli.media.decode import Source
from omnimem_cli.media.ffmpeg import ffmpeg_path
from omnimem_cli.media.live_clock import LiveClock
from omnimem_cli.media.live_connection import LiveConnection, LiveOptions
from omnimem_cli.media.live_source import LiveSource
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import Format

FORM = Format(2.0, 2, 160, 96, lookahead=240)
QUICK = LiveOptions(give_up_s=60.0, stall_s=1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("live")


def stream(folder, name, **how) -> bytes:
    """A transport stream of 8 seconds, as a camera sends it; kept for the module."""
    path = folder / f"{name}.ts"
    if not path.exists():
        film = footage.av(folder, f"{name}.mp4", **{"video_s": 8.0, "audio_s": 8.0} | how)
        footage.copy(film, path, "-f", "mpegts")
    return path.read_bytes()


def watched(url, options=QUICK, clock=None, until=lambda source: False, form=FORM):
    """All segments of a source, and the source."""
    connection = LiveConnection(str(url), options)
    source = LiveSource(str(url), form, connection, clock or LiveClock(), options)
    with source:
        return list(source.until(lambda: until(source), lambda: None)), source


def over(source, station) -> bool:
    """Whether the script of the station is played, and all of it has been taken."""
    return source.gone and station.count > len(station.script) and not source.waiting_s


def numbers(segments) -> list[int]:
    return [footage.read_number(frame) for segment in segments for frame in segment.frames]


def test_a_growing_file_is_cut_as_any_other(folder):
    path = folder / "whole.ts"
    stream(folder, "whole")
    segments, source = watched(path, LiveOptions(give_up_s=0.5))
    assert [len(segment.audio) for segment in segments[:4]] == [32_000] * 4
    assert numbers(segments[:4]) == [int(12.5 * count) for count in range(16)]
    assert source.picture_s == pytest.approx(8.0, abs=0.1) and source.sound_s == pytest.approx(8.0, abs=0.1)
    assert not source.notices


def test_a_cut_is_a_gap_and_stream_time_goes_on(folder):
    data = stream(folder, "whole")
    with Station([Sent(data), Sent(data)]) as station:
        segments, source = watched(station.url, QUICK, until=lambda source: over(source, station))
    starts = [segment.start_s for segment in segments]
    assert starts == sorted(set(starts)), "segments follow each other"
    assert len(segments) >= 8
    kinds = [(notice.kind, notice.open) for notice in source.notices]
    assert kinds[:2] == [("gap", True), ("gap", False)]


def test_gaps_are_right_to_two_seconds(folder):
    data = stream(folder, "whole")
    rate = len(data) / 8
    with Station([Sent(data[: len(data) // 2], rate), Sent(data[: len(data) // 2], rate)]) as station:
        _, source = watched(station.url, QUICK, until=lambda source: over(source, station))
        (_, ended), (began, _) = station.times[:2]
    gap = next(notice for notice in source.notices if notice.kind == "gap" and not notice.open)
    assert gap.start.timestamp() == pytest.approx(ended, abs=2.0)
    assert gap.end.timestamp() == pytest.approx(began, abs=2.0)
    assert gap.end_s - gap.start_s == pytest.approx(began - ended, abs=2.0)


def test_another_size_and_another_rate_on_the_way_are_taken(folder):
    parts = [stream(folder, "whole"), stream(folder, "small", size=(320, 192), rate=16_000)]
    with Station([Sent(part) for part in parts]) as station:
        segments, source = watched(station.url, QUICK, until=lambda source: over(source, station))
    assert {segment.frames.shape[1:] for segment in segments} == {(96, 160, 3)}
    assert "changed" in [notice.kind for notice in source.notices]
    assert source.sound_s == pytest.approx(16.0, abs=1.0)


def test_a_camera_that_is_held_upright_is_seen_as_a_batch_sees_it(folder):
    path, size = folder / "turned.ts", (320, 192)
    stream(folder, "small", size=size, rate=16_000)
    turn = ("-bsf:v", "h264_metadata=display_orientation=insert:rotate=90")
    footage.run("-i", folder / "small.ts", "-c", "copy", *turn, "-f", "mpegts", path)
    connection = LiveConnection(str(path), LiveOptions(give_up_s=0.5))
    connection.turn_upright()
    form = Format(2.0, 2, 96, 160)
    media = probe(str(path))
    assert (connection.media.video.width, connection.media.video.height) == (media.video.width, media.video.height)
    with LiveSource(str(path), form, connection, LiveClock(), LiveOptions(give_up_s=0.5)) as source:
        live = list(source.until(lambda: False, lambda: None))
    with Source(media, form) as batch:
        frames = [frame for segment in batch for frame in segment.frames]
    assert live[0].frames.shape[1:] == (160, 96, 3)
    assert source.picture_s > 7.8, "the frame that was looked at is not lost"
    shown = [frame for segment in live for frame in segment.frames]
    seen = [[footage.read_number(np.rot90(frame, -1)) for frame in each[:15]] for each in (shown, frames)]
    assert np.abs(np.subtract(*seen)).max() <= 2, "turned the same way"


def test_a_jump_of_the_sources_clock_in_one_connection_is_told(folder):
    first = stream(folder, "whole")
    shifted = folder / "shifted.ts"
    footage.copy(folder / "whole.ts", shifted, "-output_ts_offset", "5000", "-f", "mpegts")
    path = folder / "joined.ts"
    path.write_bytes(first + shifted.read_bytes())
    segments, source = watched(path, LiveOptions(give_up_s=0.5))
    assert [notice.kind for notice in source.notices if notice.kind != "gap"] == ["clock"]
    assert len(segments) == pytest.approx(8, abs=1)
    assert segments[-1].start_s < 20


def test_a_slow_model_has_frames_thinned_before_the_queue_grows(folder):
    data = stream(folder, "long", video_s=120.0, audio_s=120.0, fps=5)
    now = lambda: 1000 * time.monotonic()  # noqa: E731 (nothing comes faster than it plays)
    seen = []
    with Station([Sent(data)]) as station:
        options = LiveOptions(give_up_s=1.0, stall_s=1.0)
        connection = LiveConnection(station.url, options)
        with LiveSource(station.url, FORM, connection, LiveClock(now), options) as source:
            segments = []
            for segment in source.until(lambda: False, lambda: None):
                segments.append(segment)
                seen.append(source.waiting_s)
                time.sleep(0.1)
    assert max(seen) <= 62
    fed = {int(segment.pairs_held.sum()) for segment in segments}
    assert fed == {1, 2}
    assert source.thinned_s > 0 and source.dropped_s > 0
    entered = len(segments) * 2.0 - source.thinned_s
    assert source.picture_s == pytest.approx(entered, abs=2.5), "coverage tells the truth"
    assert {"thinned", "dropped"} <= {notice.kind for notice in source.notices}


def test_a_picture_that_stands_and_a_dead_microphone_are_told(folder):
    path = folder / "still.ts"
    quick = ("-c:v", "libx264", "-preset", "ultrafast", "-g", 25, "-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "mpegts")
    lavfi = ("-f", "lavfi", "-i", "color=red:size=160x96:rate=10:d=20", "-f", "lavfi", "-i", "anullsrc=d=20")
    footage.run(*lavfi, *quick, path)
    _, source = watched(path, LiveOptions(give_up_s=0.5, quiet_s=8.0))
    kinds = [(notice.kind, notice.open) for notice in source.notices]
    assert {*kinds} == {(kind, still) for kind in ("frozen", "silent") for still in (True, False)}


def test_sound_that_stops_is_replaced_by_silence_and_told(folder):
    path = folder / "mute.ts"
    film = footage.av(folder, "mute.mp4", video_s=16.0, audio_s=4.0)
    footage.copy(film, path, "-f", "mpegts")
    segments, source = watched(path, LiveOptions(give_up_s=0.5, quiet_s=6.0))
    assert all(len(segment.audio) == 32_000 for segment in segments[:7])
    assert float(np.abs(segments[-1].audio).max()) == 0.0
    assert source.sound_s == pytest.approx(4.0, abs=0.2) and source.picture_s == pytest.approx(16.0, abs=0.2)
    assert "silent" in [notice.kind for notice in source.notices]


@pytest.mark.slow
def test_a_playlist_that_grows_on_a_server_is_followed(folder, tmp_path):
    """HLS as ffmpeg writes it, served from a folder."""
    film = folder / "hls.mp4"
    if not film.exists():
        footage.av(folder, "hls.mp4", video_s=14.0, audio_s=14.0)
    how = ("-c", "copy", "-f", "hls", "-hls_time", "2", "-hls_list_size", "4", "-hls_flags", "delete_segments")
    sending = [ffmpeg_path(), "-v", "error", "-re", "-i", str(film), *how, str(tmp_path / "live.m3u8")]
    handler = partial(QuietFiles, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sender = subprocess.Popen(sending)
    try:
        wait_for(lambda: (tmp_path / "live.m3u8").exists())
        segments, source = watched(f"http://127.0.0.1:{server.server_port}/live.m3u8", LiveOptions(give_up_s=20.0))
    finally:
        sender.kill()
        sender.wait()
        server.shutdown()
        server.server_close()
    assert len(segments) >= 5
    assert [segment.start_s for segment in segments] == [2.0 * number for number in range(len(segments))]
    assert source.picture_s == pytest.approx(14.0, abs=2.5)


@pytest.mark.slow
def test_udp_that_stops_is_a_gap_and_goes_on(folder):
    stream(folder, "whole")
    port = free_port()
    sending = [ffmpeg_path(), "-v", "error", "-re", "-i", str(folder / "whole.ts"), "-c", "copy", "-f", "mpegts"]
    sending.append(f"udp://127.0.0.1:{port}?pkt_size=1316")
    url = f"udp://127.0.0.1:{port}"
    ends = []

    def send():
        for _ in range(2):
            subprocess.run(sending, check=True)
            ends.append(time.time())
            time.sleep(3.0)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    over = lambda source: len(ends) == 2 and source.gone and not source.waiting_s  # noqa: E731
    segments, source = watched(url, LiveOptions(give_up_s=60.0, stall_s=1.5), until=over)
    sender.join()
    gap = next(notice for notice in source.notices if notice.kind == "gap" and not notice.open)
    assert gap.start.timestamp() == pytest.approx(ends[0], abs=2.0)
    assert gap.end_s - gap.start_s == pytest.approx(3.0, abs=2.0)
    assert len(segments) >= 7


def test_what_the_libraries_cannot_open_is_said_with_a_next_step():
    said = {}
    for address in ("srt://127.0.0.1:9?passphrase=hunter2", "v4l2:/dev/video-none"):
        with pytest.raises(InputError) as refused:
            LiveConnection(address, QUICK)
        said[address[:4]] = (refused.value.message, refused.value.hint, refused.value.code)
    message, hint, code = said["srt:"]
    assert "no srt" in message and "hunter2" not in message and "ffmpeg -i srt://" in hint and code == "unopened"
    assert said["v4l2"][0] == "There is no device /dev/video-none." and said["v4l2"][2] == "missing"


@pytest.mark.slow
def test_twenty_cuts_a_restart_and_other_formats_keep_stream_time(folder):
    kinds = [{}, {"size": (320, 192)}, {"rate": 16_000}, {"size": (240, 144), "rate": 22_050}]
    films = [stream(folder, f"kind-{number}", **how) for number, how in enumerate(kinds)]
    draw = random.Random(7)
    script = [Sent(film[: int(len(film) * draw.uniform(0.3, 0.6))], len(film) / 8) for film in films * 5]
    first, second = Station(script[:10]), None
    url, options = first.url, LiveOptions(give_up_s=60.0, stall_s=1.5)
    times = first.times
    with first:
        connection = LiveConnection(url, options)
        source = LiveSource(url, FORM, connection, LiveClock(), options)
        with source:
            segments = []
            over = lambda: second is not None and source.gone and second.count > 10  # noqa: E731
            for segment in source.until(over, lambda: None):
                segments.append(segment)
                if second is None and len(times) == 10:
                    first.__exit__()
                    second = Station(script[10:], port=first.server_port)
                    second.times = times
                    second.__enter__()
            second.__exit__()
    gaps = [notice for notice in source.notices if notice.kind == "gap" and not notice.open]
    assert len(gaps) >= 18
    starts = [segment.start_s for segment in segments]
    assert starts == sorted(set(starts))
    for gap in gaps:  # where this machine is busy, one may hold a short connection
        assert min(abs(gap.start.timestamp() - ended) for _, ended in times) <= 2.0
        assert min(abs(gap.end.timestamp() - began) for began, _ in times) <= 2.0


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def wait_for(what, limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not what() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert what()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
