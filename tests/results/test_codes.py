"""Every listed code is produced: each has here the way to provoke it, and a new one without a way fails."""

import errno
import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import footage
import kept
import pytest
import zoo
import zoo_joined
import zoo_sound
from scripted import ScriptedSession, mute, sound, watch
from streams import media_of

from omnimem_cli.base.budget import parse_budget
from omnimem_cli.base.errors import InputError
from omnimem_cli.base.process import limits, stop_signals
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs.calibration import calibrate
from omnimem_cli.jobs.files import make_folder
from omnimem_cli.jobs.page_urls import Page, opened
from omnimem_cli.jobs.watch_one import watch_one
from omnimem_cli.live.answers import LiveAnswers
from omnimem_cli.live.socket import QuestionSocket, Request, ask_live
from omnimem_cli.media import ffmpeg as ffmpeg_module
from omnimem_cli.media.decode import Source
from omnimem_cli.media.ffmpeg import Process, open_pipe
from omnimem_cli.media.gpu_decoder import with_gpu
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import AudioStream, Format, LostStream, Media
from omnimem_cli.media.subtitle_tracks import Track, read_track
from omnimem_cli.memory.allocation import Allocation
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.tokens import TokenChunk
from omnimem_cli.models import hub
from omnimem_cli.models.catalogue import row
from omnimem_cli.models.device import find_device
from omnimem_cli.models.download import pull
from omnimem_cli.models.loader import load, locate
from omnimem_cli.models.qwen_omni.adapter import QwenOmniAdapter
from omnimem_cli.results.codes import ERROR_CODES, WARNING_CODES
from omnimem_cli.results.coverage import coverage, coverage_warnings, media_warnings
from omnimem_cli.results.result import (
    behind_warnings,
    deaf_warnings,
    failed,
    lost_event_warnings,
    stopped_warnings,
)
from omnimem_cli.session import memory_file
from omnimem_cli.session.answering import Answer
from omnimem_cli.session.memory_file import read_header
from omnimem_cli.session.preflight import planned, prepare, probed
from omnimem_cli.session.sizing import size_memory
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets.preset import Question
from omnimem_cli.tasks.reply import clean_reply
from omnimem_cli.tasks.summarize import Summarize
from omnimem_cli.tasks.transcribe import Transcribe

ONE_QUESTION = [{"id": "q1", "question": "Who came?", "schema": None}]
LAYOUT = Format(2.0, 2, 80, 48)
TINY = Settings(budget=parse_budget("60"), max_tokens=2, fps=1, max_pixels=56 * 56)
LIVE = Media("camera", None, AudioStream(0, "opus", 1, 48_000, None), origin_s=None)


@dataclass
class Place:
    """What a provocation works with: an empty folder, a patcher that is undone, a tiny model (loaded when used)."""

    folder: Path
    patch: pytest.MonkeyPatch
    request: pytest.FixtureRequest

    @property
    def adapter(self) -> QwenOmniAdapter:
        return self.request.getfixturevalue("tiny_adapter")

    def decode(self, path: Path, **span: float) -> list[dict]:
        """Decode a file to its end; its warnings."""
        with Source(probe(str(path)), LAYOUT, **span) as source:
            list(source)
        return source.warnings

    def size(self, budget: str, free: int) -> None:
        """Size a memory on a device with ``free`` bytes."""
        settings, media = Settings(budget=parse_budget(budget), max_pixels=112 * 84), media_of(120, 120)
        size_memory(settings, self.adapter, planned(settings, self.adapter, media), media, free=free)

    def watch(self) -> list[dict]:
        """Watch a clip with a model of another world, trained on ten positions; the warnings."""
        self.adapter.row = replace(self.adapter.row, world="another", trained_positions=10)
        settings = TINY
        clip = str(footage.av(self.folder, video_s=2, audio_s=2))
        prepared = prepare(clip, settings, self.adapter)
        task = Summarize(settings)
        return watch_one(prepared, task, self.adapter, lambda progress: None).result(task)["warnings"]


def without_its_sound(folder: Path) -> Path:
    """A whole index, and zeros in place of all that was coded."""
    path = footage.av(folder, "zeros.mp4", video_s=0)
    data = path.read_bytes()
    begin = data.index(b"mdat") + 4
    end = begin - 8 + int.from_bytes(data[begin - 8 : begin - 4], "big")
    path.write_bytes(data[:begin] + bytes(end - begin) + data[end:])
    return path


def key_frame_warnings(path: Path) -> list[dict]:
    return media_warnings(probed(str(path), Settings(decode="keyframes")))


def garbled_subtitles(place: Place) -> None:
    file = place.folder / "film.srt"
    file.write_text("no time in it")
    read_track("film.mkv", Track("srt", None, file=str(file)), 60)


def without_subtitles(*pictures: str) -> list[dict]:
    task = Transcribe(Settings(subtitles="use"))
    task.take_no_subtitles(pictures)
    return task.warnings


def unreadable(place: Place) -> None:
    (place.folder / "film.mp4").symlink_to("film.mp4")
    probe(str(place.folder / "film.mp4"))


def far_apart(place: Place) -> None:
    place.patch.setattr(ffmpeg_module, "MAX_SKEW_BYTES", 1000)
    with Process(["head", "-c", "9999", "/dev/zero"], "camera", also=[open_pipe()]) as process:
        process.read(1, output=1)


def stalled(place: Place) -> None:
    with Process(["sleep", "60"], "camera", stall_s=0.1) as process:
        process.read(1)


def too_late(place: Place) -> None:
    with limits(0.01):
        time.sleep(30)


def not_on_this_machine(place: Place) -> None:
    place.patch.setattr(hub, "cached", lambda hub_id: None)
    locate("qwen2.5-omni-3b")


def broken_connection(place: Place) -> None:
    def break_off(*arguments, **options):
        raise ConnectionError("broken off")

    place.patch.setattr("huggingface_hub.snapshot_download", break_off)
    place.patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    place.patch.delenv("HF_HUB_OFFLINE", raising=False)
    pull(row("qwen2.5-omni-3b"))


def unknown_kind(place: Place) -> None:
    (place.folder / "config.json").write_text('{"model_type": "bert"}')
    load(str(place.folder), device="cpu")


def under_a_file(place: Place) -> None:
    (place.folder / "file").write_text("")
    make_folder(place.folder / "file" / "results")


def ctrl_c(place: Place) -> None:
    with stop_signals(signal.SIGINT):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)


def nothing_to_calibrate_from(place: Place) -> None:
    calibrate([], Settings(), None, Allocation(1.0), 0, lambda progress: None)


def no_free_descriptor(place: Place) -> None:
    def refuse(*arguments, **options):
        raise OSError(errno.EMFILE, "Too many open files")

    clip = footage.av(place.folder)
    place.patch.setattr(Path, "open", refuse)
    probe(str(clip))


def fault(place: Place) -> None:
    place.patch.setattr("av.open", lambda *arguments, **options: 1 / 0)
    probe("lavfi:testsrc2")


def cut_memory(place: Place) -> None:
    one = kept.watched(footage.av(place.folder, video_s=2, audio_s=2), TINY, place.adapter)
    path = kept.saved(one, place.folder / "a.omnimem")
    path.write_bytes(path.read_bytes()[:-8])
    read_header(path)


def newer_memory(place: Place) -> None:
    place.patch.setattr(memory_file, "SCHEMA", "omnimem/memory/2")
    memory_file.write_memory_file(place.folder / "a.omnimem", {}, {})
    read_header(place.folder / "a.omnimem")


def words_that_are_gone(place: Place) -> None:
    Transcribe(Settings()).look_back(None)


def ask_live_watch(place: Place, questions: list[dict], limit_s: float = 10.0) -> None:
    with closing(QuestionSocket(place.folder / "s", waiting=1)):
        ask_live(place.folder / "s", questions, limit_s=limit_s)


def asked_while_one_waits(place: Place) -> None:
    """A question to a live watch that takes one at a time, and has one."""
    with closing(QuestionSocket(place.folder / "s", waiting=1)) as listening:
        listening._requests.put(Request(ONE_QUESTION))
        ask_live(place.folder / "s", ONE_QUESTION)


def too_early(place: Place) -> None:
    """A question to a live watch before its first chunk."""
    request = Request(ONE_QUESTION)
    requests = SimpleNamespace(next_request=iter([request, None]).__next__)
    LiveAnswers(requests, Settings(), None, None)(ScriptedSession([]))
    error = request.wait(bool)["error"]
    raise InputError(error["message"], code=error["code"])


ERRORS: dict[str, Callable[[Place], object]] = {
    "usage": lambda place: find_device("tape"),
    "input": nothing_to_calibrate_from,
    "missing": lambda place: probe(str(zoo.missing(place.folder))),
    "directory": lambda place: probe(str(place.folder)),
    "empty": lambda place: probe(str(zoo.empty(place.folder))),
    "unreadable": unreadable,
    "not_media": lambda place: probe(str(zoo.text(place.folder))),
    "incomplete": lambda place: probe(str(zoo.truncated_mp4(place.folder))),
    "unopened": lambda place: probe("http://127.0.0.1:9/film.mp4"),
    "page": lambda place: opened("http://127.0.0.1:9/", Page("http://127.0.0.1:9/", "1", "A talk", False)).__enter__(),
    "no_stream": lambda place: probe(str(zoo.no_audio(place.folder)), no_video=True),
    "no_track": lambda place: probe(str(footage.av(place.folder)), audio_track="7"),
    "no_decoder": lambda place: probe(str(zoo.sound_without_decoder(place.folder, video_s=0))),
    "encrypted": lambda place: probe(str(zoo.encrypted(place.folder))),
    "empty_range": lambda place: place.decode(footage.av(place.folder), start_s=100.0),
    "frame_rate": lambda place: probed(str(footage.av(place.folder, video_s=1, audio_s=1)), Settings(fps=1000)),
    "undecodable": lambda place: place.decode(without_its_sound(place.folder)),
    "stalled": stalled,
    "network": lambda place: probe(str(zoo_joined.playlist(place.folder))),
    "apart": far_apart,
    "not_memory": lambda place: read_header(zoo.text(place.folder)),
    "memory_damaged": cut_memory,
    "memory_newer": newer_memory,
    "subtitles": garbled_subtitles,
    "no_transcript": words_that_are_gone,
    "live_away": lambda place: ask_live(place.folder / "nobody", ONE_QUESTION),
    "live_busy": asked_while_one_waits,
    "live_early": too_early,
    "live_request": lambda place: ask_live_watch(place, [{"id": "q1", "question": ""}]),
    "timeout": too_late,
    "environment": lambda place: Process([str(place.folder)], "a folder is no program"),
    "no_ffmpeg": lambda place: Process([str(place.folder / "ffmpeg")], "no such program"),
    "open_files": no_free_descriptor,
    "no_weights": not_on_this_machine,
    "download": broken_connection,
    "model": unknown_kind,
    "device": lambda place: find_device("cuda:99"),
    "does_not_fit": lambda place: place.size("8k", 2**20),
    "budget_too_small": lambda place: place.size("20KiB", 2**40),
    "output": under_a_file,
    "interrupted": ctrl_c,
    "unexpected": fault,
}


def transcribed(segments, words: str = "Words.") -> list[dict]:
    task = Transcribe(Settings())
    watch(task, ScriptedSession(lambda text: words), segments)
    return task.warnings


def asked_for_a_number() -> list[dict]:
    task = Ask(Settings(), [Question("q1", "How many?", {"type": "number"})])
    watch(task, ScriptedSession(lambda text: Answer("1e", 1, False)), mute(0.0, 4.0))
    return task.warnings


def not_finite(place: Place) -> list[dict]:
    absorb = Memory.absorb

    def poisoned(memory: Memory, chunk: TokenChunk) -> None:
        chunk.embeds[-1] = float("nan")
        absorb(memory, chunk)

    place.patch.setattr(Memory, "absorb", poisoned)
    return place.watch()


def notes_from_a_memory(place: Place) -> list[dict]:
    one = kept.watched(footage.av(place.folder, video_s=2, audio_s=2), TINY, place.adapter)
    task = Summarize(TINY, style="chapters")
    task.look_back(one.session)
    return task.warnings


WARNINGS: dict[str, Callable[[Place], list[dict]]] = {
    "foreign_world": Place.watch,
    "coverage_low": lambda place: coverage_warnings(coverage(media_of(60, 60), 60.0, 30.0)),
    "duration_unknown": lambda place: coverage_warnings(coverage(LIVE, 60.0, 60.0)),
    "live_stopped": lambda place: stopped_warnings(InputError("camera delivered nothing for 60 seconds."), 75.0),
    "behind": lambda place: behind_warnings(40.0, 12.0),
    "events_lost": lambda place: lost_event_warnings(3),
    "gap": lambda place: media_warnings(probe(str(zoo.pts_gap(place.folder)))),
    "joined": lambda place: media_warnings(probe(str(zoo_joined.joined_recordings(place.folder)))),
    "short_track": lambda place: media_warnings(probe(str(zoo.short_first_track(place.folder)))),
    "unread_bytes": lambda place: media_warnings(probe(str(zoo_joined.flv_after_flv(place.folder)))),
    "no_decoder": lambda place: media_warnings(probe(str(zoo.sound_without_decoder(place.folder)))),
    "encrypted": lambda place: media_warnings(replace(LIVE, lost=(LostStream(1, "picture", "h264", "encrypted"),))),
    "truncated_input": lambda place: place.decode(zoo.truncated_mkv(place.folder)),
    "decode_errors": lambda place: place.decode(zoo.damaged(place.folder)),
    "key_frames": lambda place: key_frame_warnings(footage.av(place.folder, video=(*footage.H264, "-g", 150))),
    "all_frames": lambda place: key_frame_warnings(zoo.hdr(place.folder)),
    "no_gpu_decoder": lambda place: media_warnings(with_gpu(probe(str(footage.av(place.folder))), 0, 60.0)),
    "loudest_channel": lambda place: place.decode(zoo_sound.opposite_phase(place.folder)),
    "not_finite": not_finite,
    "positions_beyond": Place.watch,
    "no_sound": lambda place: transcribed(mute(0.0, 4.0)),
    "no_subtitles": lambda place: without_subtitles(),
    "picture_subtitles": lambda place: without_subtitles("hdmv_pgs_subtitle"),
    "silent": lambda place: transcribed(sound(0.0, [(4.0, 0.0)])),
    "quiet_sound": lambda place: transcribed(sound(0.0, [(4.0, 0.0), (4.0, 0.003)])),
    "quiet_skipped": lambda place: transcribed(sound(0.0, [(40.0, 0.2), *[(0.5, 0.002), (0.5, 0.0002)] * 40])),
    "notes_late": notes_from_a_memory,
    "not_looked": lambda place: look_at_what_is_gone(),
    "no_text": lambda place: clean_reply("", True, "It", 5).warnings,
    "sound_not_entered": lambda place: deaf_warnings([0.0, 40.0], 60.0),
    "nothing_written": lambda place: transcribed(sound(0.0, [(120.0, 0.2)]), ""),
    "same_words": lambda place: transcribed(sound(0.0, [(120.0, 0.2)]), "Thanks for watching!"),
    "repetition": lambda place: clean_reply("over and over again " * 9, True, "It").warnings,
    "answer_cut": lambda place: clean_reply("A talk", False, "It").warnings,
    "answer_empty": lambda place: clean_reply("", True, "It").warnings,
    "answer_invalid": lambda place: asked_for_a_number(),
}


def look_at_what_is_gone() -> list[dict]:
    """A question to a session whose video is gone when it would look again."""
    session, task = ScriptedSession(["A dog."]), Ask(Settings(), [Question("q1", "What?")])
    session.look = SimpleNamespace(again=gone)
    task.finish(session, 4.0)
    return task.warnings


def gone(*_):
    raise InputError("a.mp4 does not exist.")


@pytest.fixture
def place(tmp_path, monkeypatch, request) -> Place:
    return Place(tmp_path, monkeypatch, request)


def test_every_listed_code_has_a_way_to_provoke_it():
    assert (list(ERRORS), list(WARNINGS)) == (list(ERROR_CODES), list(WARNING_CODES))


@pytest.mark.parametrize("code", ERRORS)
def test_every_error_code_is_produced(code, place):
    with pytest.raises(BaseException) as caught:
        ERRORS[code](place)
    place.patch.undo()
    assert failed("summarize", caught.value, input={})["error"]["code"] == code


@pytest.mark.parametrize("code", WARNINGS)
def test_every_warning_code_is_produced(code, place):
    assert code in {warning["code"] for warning in WARNINGS[code](place)}
