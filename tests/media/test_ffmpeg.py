"""ffmpeg is found, read within bounds, timed out, and reaped, however a consumer leaves."""

import errno
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import footage
import psutil
import pytest
from served import Server

from omnimem_cli.base.errors import InputError, MissingError
from omnimem_cli.media import ffmpeg as ffmpeg_module
from omnimem_cli.media.decode import Source
from omnimem_cli.media.ffmpeg import Process, ffmpeg_path, ffmpeg_version
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import Format
from omnimem_cli.media.single_process import open_single_process
from omnimem_cli.media.sound import sound_blocks

LAYOUT = Format(2.0, 2, 80, 48, lookahead=200)
ENDLESS = "lavfi:testsrc2=s=160x96:r=10[out0];sine=r=16000[out1]"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    # Old versions of ffmpeg do not say that the last frame of AAC is only in part sound.
    return str(footage.av(tmp_path_factory.mktemp("process"), video_s=30, audio_s=29.9))


def until(condition) -> None:
    """Wait for what a slow or busy machine takes longer for."""
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No process, thread or open file more than before."""
    own = psutil.Process()
    threads, files, others = threading.active_count(), own.num_fds(), own.children(recursive=True)
    yield
    gc.collect()
    assert set(own.children(recursive=True)) <= set(others)
    assert threading.active_count() == threads
    assert psutil.Process().num_fds() <= files


def test_a_source_read_to_its_end_leaves_nothing(clip):
    with Source(probe(clip), LAYOUT) as source:
        assert len(list(source)) == 15
        assert list(source) == []


@pytest.mark.parametrize("taken", [0, 1, 4])
@pytest.mark.parametrize("path", ["clip", ENDLESS])
def test_a_source_left_early_leaves_nothing(path, taken, clip):
    threads = threading.active_count()
    with Source(probe(clip if path == "clip" else path), LAYOUT) as source:
        for _ in range(taken):
            next(source)
    assert threading.active_count() == threads


def test_ctrl_c_in_the_terminal_reaches_us_alone():
    with Source(probe(ENDLESS), LAYOUT) as source:
        next(source)
        groups = {os.getpgid(child.pid) for child in psutil.Process().children() if "ffmpeg" in child.name()}
    assert groups and os.getpgid(0) not in groups


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_consumer_that_fails_leaves_nothing(error, clip):
    with pytest.raises(error), Source(probe(clip), LAYOUT) as source:
        next(source)
        raise error


def test_a_closed_generator_of_sound_leaves_nothing(clip):
    blocks = sound_blocks(probe(clip), block_s=1)
    next(blocks)
    blocks.close()


def test_a_source_closed_by_another_thread_ends_the_iteration():
    with Source(probe(ENDLESS), LAYOUT) as source:
        threading.Timer(0.5, source.close).start()
        count = sum(1 for _ in source)
    assert count >= 0
    time.sleep(0.05)


def test_decoding_runs_only_so_far_ahead():
    with Source(probe(ENDLESS), LAYOUT, queue=2) as source:
        next(source)
        until(source._decoder.queue.full)
        time.sleep(0.5)
        assert source._decoder.queue.qsize() == 2


def test_host_memory_does_not_grow_with_the_stream():
    layout = Format(2.0, 1, 160, 96)
    own = psutil.Process()

    def resident() -> int:
        return own.memory_info().rss + sum(child.memory_info().rss for child in own.children())

    with Source(probe(ENDLESS), layout) as source:
        for segment in source:
            if segment.index == 60:
                early = resident()
            if segment.index == 600:
                break
        assert resident() < early + 8 * 2**20


SCRIPT = """
import signal, sys, psutil
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell starts its children deaf to it
from omnimem_cli.media.decode import Source
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import Format
with Source(probe(sys.argv[1]), Format(2.0, 2, 80, 48)) as source:
    for segment in source:
        if segment.index == 0:
            print(*(child.pid for child in psutil.Process().children()), flush=True)
"""


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGKILL])
def test_no_ffmpeg_outlives_an_ended_program(with_signal):
    program = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    pids = [int(word) for word in program.stdout.readline().split()]
    program.send_signal(with_signal)
    program.wait(timeout=30)
    program.stdout.close()
    assert pids
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_a_source_that_sends_nothing_times_out():
    with Process(["sleep", "60"], "camera", stall_s=0.3) as process, pytest.raises(InputError) as error:
        process.read(1)
    assert error.value.code == "stalled" and "camera" in error.value.message


def test_a_decoder_that_works_but_shows_nothing_yet_is_waited_for(monkeypatch):
    monkeypatch.setattr(ffmpeg_module, "BUSY_STALLS", 1000)  # this machine may be busy too
    late = "import time\nend = time.process_time() + 2.5\nwhile time.process_time() < end: pass\nprint('x', end='')"
    with Process([sys.executable, "-c", late], "film", stall_s=1.0) as process:
        assert process.read(1) == b"x"


def test_a_decoder_that_gets_no_processor_is_waited_for(monkeypatch):
    monkeypatch.setattr(ffmpeg_module, "waited_s", lambda pid: time.monotonic())
    with Process(["sh", "-c", "sleep 2.5; echo x"], "film", stall_s=1.0) as process:
        assert process.read(1) == b"x"


def test_waiting_for_a_processor_is_told_from_sleeping():
    def spin():
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])

    asleep = subprocess.Popen(["sleep", "600"], preexec_fn=spin)
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=spin) for _ in range(2)]
    until(lambda: psutil.Process(asleep.pid).name() == "sleep" and psutil.Process(asleep.pid).status() == "sleeping")
    begun = ffmpeg_module.waited_s(asleep.pid)
    until(lambda: min(ffmpeg_module.waited_s(program.pid) for program in spinning) > 0.5)
    waited = ffmpeg_module.waited_s(asleep.pid) - begun
    for program in (asleep, *spinning):
        program.kill()
        program.communicate()
    assert waited < 0.1 and ffmpeg_module.waited_s(2**22) == 0.0


def test_complaints_are_kept_within_bounds_and_never_block():
    flood = "import sys\nfor n in range(50000): print('error', n, file=sys.stderr)\nprint('done', end='')"
    with Process([sys.executable, "-c", flood], "film") as process:
        assert process.read(10) == b"done"
        assert process.finish() == 0
        assert process.errors == 50_000 and len(process.tail) < 40 * 400


def test_what_is_said_after_the_data_is_known_with_the_end_of_the_data():
    late = "import os, sys, time; os.write(1, b'12345'); os.close(1); time.sleep(0.3); sys.stderr.write('broken')"
    with Process([sys.executable, "-c", late], "film") as process:
        assert process.read(5) == b"12345"
        assert process.errors == 0
        assert process.read(1) == b"" and process.tail == "broken"


def test_an_error_in_the_thread_is_raised_in_the_consumer(clip, monkeypatch):
    monkeypatch.setattr("omnimem_cli.media.decoder_thread.open_sound", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError), Source(probe(clip), LAYOUT) as source:
        list(source)


def test_ffmpeg_on_the_path_goes_before_the_wheels(tmp_path, monkeypatch):
    mine = tmp_path / "ffmpeg"
    mine.write_text("#!/bin/sh\necho ffmpeg version 4.4.1-mine Copyright\n")
    mine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ffmpeg_path() == str(mine) and ffmpeg_version() == "4.4.1-mine"


def test_without_any_ffmpeg_the_way_to_get_one_is_named(clip, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingError) as error:
        probe(clip)
    assert error.value.exit_code == 5 and "pip install" in error.value.hint


def test_an_ffmpeg_that_is_gone_is_a_missing_one(clip, monkeypatch):
    monkeypatch.setattr(ffmpeg_module, "ffmpeg_path", lambda: "/nonexistent/ffmpeg")
    with pytest.raises(MissingError) as error:
        probe(clip)
    assert error.value.code == "no_ffmpeg"


def test_an_ffmpeg_that_may_not_be_run_is_named_and_not_called_missing(clip, tmp_path, monkeypatch):
    mine = tmp_path / "ffmpeg"
    mine.write_text("#!/bin/sh\n")
    monkeypatch.setattr(ffmpeg_module, "ffmpeg_path", lambda: str(mine))
    with pytest.raises(MissingError) as error:
        probe(clip)
    assert error.value.code == "environment"
    assert str(mine) in error.value.message and "chmod +x" in error.value.hint


@pytest.mark.parametrize(("number", "next_step"), [(errno.ENOMEM, "memory"), (errno.E2BIG, "shorter"), (errno.EIO, "")])
def test_what_keeps_ffmpeg_from_starting_is_said(number, next_step, monkeypatch):
    def refuse(*args, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(MissingError) as error:
        ffmpeg_version()
    assert error.value.code == "environment"
    assert os.strerror(number) in error.value.message and next_step in error.value.hint


@pytest.mark.skipif(sys.version_info < (3, 11, 4), reason="subprocess itself leaves pipes open there (gh-87474)")
def test_no_free_file_is_said_wherever_it_runs_out_and_leaves_nothing():
    """Of every number of files that are still free, until it is enough to start."""
    media, opened, errors = probe(ENDLESS), [], []
    own = psutil.Process()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    for free in range(40):
        count = own.num_fds()
        resource.setrlimit(resource.RLIMIT_NOFILE, (_first_free(free), limit[1]))
        try:
            with open_single_process(media, LAYOUT, 0.0, None)[0]:
                opened.append(free)
        except MissingError as error:
            errors.append(error)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        assert own.num_fds() == count
        if opened:
            break
    assert len(errors) > 5 and opened
    assert all("Too many open files" in error.message and "ulimit -n" in error.hint for error in errors)


def _first_free(free: int) -> int:
    """The limit under which ``free`` more files can be opened."""
    held, number = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}, 0
    while free:
        free -= number not in held
        number += 1
    return number


@pytest.fixture
def served() -> Iterator:
    servers = []

    def start(data: bytes, stop_at: int | None = None) -> str:
        servers.append(Server(data, stop_at))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1].url

    yield start
    for server in servers:
        server.released.set()
        server.shutdown()
        server.server_close()
    deadline = time.monotonic() + 5
    while threading.active_count() > 1 and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_url_is_watched_like_a_file(clip, served):
    url = served(Path(clip).read_bytes())
    media = probe(url)
    assert media.duration_s == pytest.approx(30, abs=0.05)
    with Source(media, LAYOUT) as source:
        found = list(source)
    assert len(found) == 15 and source.warnings == []
    assert footage.delivered_s(media, LAYOUT, found)[0] == pytest.approx(30, abs=0.05)


def test_a_url_that_stalls_times_out(clip, served, tmp_path):
    footage.copy(Path(clip), tmp_path / "fast.mp4", "-movflags", "+faststart")
    data = (tmp_path / "fast.mp4").read_bytes()
    media = probe(served(data))
    stalling = served(data, stop_at=len(data) // 2)
    media = type(media)(stalling, media.video, media.audio, media.audio_tracks)
    begun = time.monotonic()
    with pytest.raises(InputError) as error, Source(media, LAYOUT, stall_s=1.0) as source:
        list(source)
    assert error.value.code == "stalled" and time.monotonic() - begun < 50


def test_leaving_a_stalled_source_does_not_wait_for_it(clip, served, tmp_path):
    footage.copy(Path(clip), tmp_path / "fast.mp4", "-movflags", "+faststart")
    data = (tmp_path / "fast.mp4").read_bytes()
    media = probe(served(data))
    media = type(media)(served(data, stop_at=len(data) // 2), media.video, media.audio, media.audio_tracks)
    with Source(media, LAYOUT, queue=100) as source:
        next(source)
        time.sleep(1.0)  # by now the thread waits for the server
        begun = time.monotonic()
    assert time.monotonic() - begun < 30, "half of what the stall time would take"


def test_a_url_that_is_not_there_is_one_clear_error(served):
    with pytest.raises(InputError) as error:
        probe("http://127.0.0.1:9/film.mp4")
    assert "Connection refused" in error.value.message


def test_a_pipe_is_refused_at_once_and_not_opened(tmp_path):
    pipe = tmp_path / "fifo.mkv"
    os.mkfifo(pipe)
    with pytest.raises(InputError) as error:
        probe(str(pipe))  # opening it would wait for a writer
    assert "is a pipe" in error.value.message and error.value.hint


def test_what_ffmpeg_says_is_the_same_in_every_run():
    lines = r"[h264 @ 0x55c063f8e9c0] bad slice\n    Last message repeated 3 times\n"
    with Process(["sh", "-c", f"printf '{lines}' >&2"], "a.mp4") as process:
        process.finish()
        assert (process.tail, process.errors) == ("[h264] bad slice", 1)
