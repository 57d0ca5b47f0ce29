"""The one JSON object per input: what it holds, how coverage is computed, which words its codes are.

Knows plain values and the facts of a file; knows no torch, no session and no file format. The shape is
``schema/result-1.json``; every result and every record of a failure is made here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from omnimem_cli.base.errors import UserError
from omnimem_cli.base.paths import hide_secrets, readable_path
from omnimem_cli.base.timecode import format_clock, format_span

if TYPE_CHECKING:  # importing numpy would slow down `omnimem --help`
    from omnimem_cli.media.segment import AudioStream, Media, VideoStream
from omnimem_cli.results.codes import DEGRADING, warning
from omnimem_cli.results.coverage import LEAST_LOSS_S, _round, coverage_warnings

SCHEMA = "omnimem/result/1"
LEAST_DEAF_S = 30.0

PARTS = {"summarize": "summary", "transcribe": "transcript", "ask": "answers", "watch": "results"}
"""The key of a result that holds what the task produced."""


@cache
def schema(name: str = "result-1") -> dict:
    """The JSON Schema (draft 2020-12) of a result, of a hit of a search (hit-1), or of a memory's header (memory-1)."""
    text = resources.files("omnimem_cli.results").joinpath(f"schema/{name}.json").read_text("utf-8")
    return json.loads(text)


def input_facts(
    media: "Media", *, digest: str | None = None, start_s: float | None = None, end_s: float | None = None
) -> dict:
    """The ``input`` part; ``start_s`` and ``end_s`` are the chosen range, None where it is open."""
    return {
        "path": readable_path(media.path),
        "title": None,
        "digest": digest,
        "duration_s": _round(media.duration_s),
        "start_s": _round(start_s),
        "end_s": _round(end_s),
        "video": _video_facts(media),
        "audio": _audio_facts(media),
    }


def bare_input(path: str) -> dict:
    """The ``input`` part of a file that could not be probed."""
    blank = dict.fromkeys(("title", "digest", "duration_s", "start_s", "end_s", "video", "audio"))
    return {"path": readable_path(path), **blank}


def position_warnings(reached: int, trained: int | None, watched_s: float) -> list[dict]:
    """What to say of a watch of ``watched_s`` that used ``reached`` positions of a model trained on ``trained``."""
    if trained is None or reached <= trained:
        return []
    message = (
        f"After about {format_clock(watched_s * trained / reached)} of video the positions passed {trained}, the "
        f"most that the model was trained on (they reached {reached}); --positions lazy keeps them within."
    )
    return [warning("positions_beyond", message)]


def stopped_warnings(stopped: BaseException | None, end_s: float) -> list[dict]:
    """What to say of live input that ``stopped``, where that is no None, ended at ``end_s``."""
    if stopped is None:
        return []
    why = stopped.message if isinstance(stopped, UserError) else "It was interrupted."
    return [warning("live_stopped", f"This live input was watched until {format_clock(end_s)}. {why}")]


def behind_warnings(thinned_s: float, dropped_s: float) -> list[dict]:
    """What to say of a live stream that was faster than the model: seconds that were left out."""
    if thinned_s + dropped_s < LEAST_LOSS_S:
        return []
    text = f"The model was slower than the stream: frames of {format_clock(thinned_s)} were left out"
    return [warning("behind", f"{text}, and {format_clock(dropped_s)} were dropped whole.")]


def live_gap_warnings(gaps_s: float) -> list[dict]:
    """What to say of a live source that delivered nothing for so long in all."""
    if gaps_s < LEAST_LOSS_S:
        return []
    text = f"The source delivered nothing for {format_clock(gaps_s)} in all: that time does not count as watched."
    return [warning("gap", text)]


def lost_event_warnings(lost: int) -> list[dict]:
    """What to say of events of a live watch that could not be written, or that nobody read."""
    if not lost:
        return []
    return [warning("events_lost", f"{lost} events could not be written; the file of events lacks them.")]


def dropped_warnings(dropped: int, entered: int) -> list[dict]:
    """What to say of tokens that did not enter the memory, where ``entered`` others did."""
    if not dropped:
        return []
    share = dropped / (dropped + entered)
    text = f"{dropped} of {dropped + entered} tokens ({100 * share:.2f} %) were not finite numbers and were left out."
    return [warning("not_finite", text)]


def not_looked(reason: str) -> dict:
    """What to say of a second look that was asked for and could not be had; ``reason``: a sentence."""
    return warning("not_looked", f"No second look: {reason} Answers without one rest on the memory alone.")


def deaf_warnings(bounds_s: Sequence[float], watched_s: float) -> list[dict]:
    """What to say of spans (start, end, start, ...) whose sound was decoded, and no token of it entered the model.

    Less than half a minute may be sound on its way, unless that is all of a short input.
    """
    spans = zip(bounds_s[::2], bounds_s[1::2], strict=True)
    least_s = min(LEAST_DEAF_S, watched_s / 2)
    texts = [
        f"The sound of {format_span(*span)} was decoded, and nothing of it entered the model."
        for span in spans
        if span[1] - span[0] >= least_s
    ]
    return [warning("sound_not_entered", text) for text in texts]


@dataclass(frozen=True)
class Result:
    """A finished result. ``part``: what the task's ``finish`` returned, one key of PARTS, and the notes it read.

    Model, memory and coverage are None where nothing was watched.
    """

    task: str
    part: dict
    input: dict
    model: dict | None
    memory: dict | None
    coverage: dict | None
    timing: dict
    warnings: Sequence[dict] = ()
    preset: str | None = None

    def as_dict(self) -> dict:
        """The JSON object; what there is to say of its coverage is added to the warnings."""
        assert set(self.part) - {"notes"} == {PARTS[self.task]}, f"{self.task} must return {PARTS[self.task]!r}"
        facts = {"input": self.input, "model": self.model, "memory": self.memory, "coverage": self.coverage}
        notes = [*self.warnings, *(coverage_warnings(self.coverage) if self.coverage else ())]
        return _head(self.task, self.preset, "done") | facts | {"warnings": notes, "timing": self.timing} | self.part


def failed(task: str, error: BaseException, *, input: dict, preset: str | None = None) -> dict:
    """The record of an input that gave no result. A KeyboardInterrupt has the status ``interrupted``."""
    problem = error_part(error)
    status = "interrupted" if problem["code"] == "interrupted" else "failed"
    nothing = {"model": None, "memory": None, "coverage": None, "warnings": [], "timing": None}
    return _head(task, preset, status, problem) | {"input": input} | nothing


def error_part(error: BaseException) -> dict:
    """The ``error`` part of a record."""
    if isinstance(error, UserError):
        return _error(error.code, error.message, error.hint)
    if isinstance(error, KeyboardInterrupt):
        return _error("interrupted", "Stopped before the end.", getattr(error, "hint", ""))
    message = hide_secrets(f"{type(error).__name__}: {error}")
    return _error("unexpected", message, "Run again with --debug for the traceback.")


def degraded(result: dict) -> bool:
    """Whether a finished result falls short of what was asked (``--strict``: exit code 7)."""
    return any(note["code"] in DEGRADING for note in result["warnings"])


def _error(code: str, message: str, hint: str) -> dict:
    return {"code": code, "message": message, "hint": hint}


def _head(task: str, preset: str | None, status: str, error: dict | None = None) -> dict:
    return {"schema": SCHEMA, "task": task, "preset": preset, "status": status, "error": error}


def _video_facts(media: "Media") -> dict | None:
    video = media.video
    if video is None:
        return None
    fps = None if video.fps is None else round(video.fps, 3)
    facts = {"width": video.width, "height": video.height, "fps": fps, "codec": video.codec}
    if video.key_step_s is not None:
        facts["key_step_s"] = _round(video.key_step_s)
    return facts | _place(video, media.video_tracks)


def _audio_facts(media: "Media") -> dict | None:
    if media.audio is None:
        return None
    return _place(media.audio, media.audio_tracks) | {"language": media.audio.language}


def _place(stream: "VideoStream | AudioStream", tracks: "Sequence[VideoStream | AudioStream]") -> dict:
    """How many tracks of its kind there are, and which one the stream is, from 1."""
    indices = [track.index for track in tracks or (stream,)]
    return {"tracks": len(indices), "chosen": 1 + indices.index(stream.index)}
