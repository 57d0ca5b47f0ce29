"""A watch that encodes chunks ahead: it takes what the decoder has ready, and a stop or a kill loses nothing."""

import time
from dataclasses import replace
from pathlib import Path

import footage
import pytest

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import InputError
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs.checkpoint import Checkpoint
from omnimem_cli.jobs.watch_one import watch_one
from omnimem_cli.media.decode import Source
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import Format
from omnimem_cli.session import session as sessions
from omnimem_cli.session.encoded_ahead import EncodedAhead
from omnimem_cli.session.preflight import prepare
from omnimem_cli.tasks.summarize import Summarize

LAYOUT = Format(2.0, 2, 80, 48)
SETTINGS = Settings(budget=Budget(60), max_tokens=3, fps=1, max_pixels=56 * 56, chunk=100, device="cpu")


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return footage.av(tmp_path_factory.mktemp("clip"), video_s=18, audio_s=18)


def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_the_decoder_has_ready_is_told_without_its_end(clip):
    with Source(probe(str(clip)), LAYOUT, queue=20) as source:
        assert source.ready() == 0
        next(source)
        until(lambda: source.ready() == 8)
        assert len(list(source)) == 8 and source.ready() == 0


def test_an_error_that_waits_behind_segments_is_none_of_them(clip, monkeypatch):
    with Source(probe(str(clip)), LAYOUT, queue=20) as source:
        monkeypatch.setattr(source._decoder, "_finish", lambda *readers: (_ for _ in ()).throw(InputError("broken")))
        next(source)
        until(lambda: source._decoder.queue.qsize() == 8)
        assert source.ready() == 7


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the chunks that are encoded ahead, by a watch whose decoder is always faster."""
    made, ready = [], Source.ready

    def later(source: Source) -> int:
        until(lambda: source._decoder.queue.full() or not source._thread.is_alive())
        return ready(source)

    monkeypatch.setattr(Source, "ready", later)

    def noted(stream, segments, side):
        made.append(len(segments))
        return EncodedAhead(stream, segments, side)

    monkeypatch.setattr(sessions, "EncodedAhead", noted)
    return made


def watched(clip: Path, adapter, *, ahead_bytes: int, **more) -> dict:
    prepared, task = prepare(str(clip), SETTINGS, adapter), Summarize(SETTINGS)
    prepared = replace(prepared, config=replace(prepared.config, ahead_bytes=ahead_bytes))
    return watch_one(prepared, task, adapter, more.pop("report", lambda progress: None), **more).result(task)


def test_the_result_is_the_same_and_a_kill_between_two_chunks_loses_nothing(
    clip, tiny_adapter, ahead, tmp_path, monkeypatch
):
    whole = watched(clip, tiny_adapter, ahead_bytes=0)
    assert not ahead
    saved = tmp_path / "a.checkpoint"

    def die(progress) -> None:
        if saved.exists() and len(ahead) >= 2:
            raise Killed

    def run(**more) -> dict:
        point = Checkpoint(saved, tmp_path / "a.part", {}, pytest.fail, lambda text: None, 0.0)
        return watched(clip, tiny_adapter, ahead_bytes=1, checkpoint=point, **more)

    with pytest.raises(Killed):
        run(report=die)
    before = len(ahead)
    assert run() | {"timing": None} == whole | {"timing": None}
    assert len(ahead) > before
