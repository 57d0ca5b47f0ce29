"""The one JSON object per input: what it holds, how coverage is computed, which words its codes are.

Knows plain values and the facts of a file; knows no torch, no session and no file format. The shape is
``schema/result-1.json``; every result and every record of a failure is made here.
"""

import json
import os
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from omnimem_cli.base.errors import UserError
from omnimem_cli.base.timecode import format_clock

if TYPE_CHECKING:  # importing numpy would slow down `omnimem --help`
    from omnimem_cli.media.segment import Media, VideoStream
from omnimem_cli.results.codes import DEGRADING, warning
from omnimem_cli.results.coverage import _round, coverage_warnings

SCHEMA = "omnimem/result/1"


PARTS = {"summarize": "summary", "transcribe": "transcript", "ask": "answers"}
"""The key of a result that holds what the task produced."""


@cache
def schema() -> dict:
    """The JSON Schema (draft 2020-12) of a result."""
    text = resources.files("omnimem_cli.results").joinpath("schema/result-1.json").read_text("utf-8")
    return json.loads(text)


def input_facts(
    media: "Media", *, digest: str | None = None, start_s: float | None = None, end_s: float | None = None
) -> dict:
    """The ``input`` part; ``start_s`` and ``end_s`` are the range asked for, None where it is open."""
    return {
        "path": readable_path(media.path),
        "digest": digest,
        "duration_s": _round(media.duration_s),
        "start_s": _round(start_s),
        "end_s": _round(end_s),
        "video": _video_facts(media.video),
        "audio": _audio_facts(media),
    }


def bare_input(path: str) -> dict:
    """The ``input`` part of a file that could not be probed."""
    blank = dict.fromkeys(("digest", "duration_s", "start_s", "end_s", "video", "audio"))
    return {"path": readable_path(path), **blank}


def readable_path(path: str) -> str:
    """A name that is not UTF-8 with its odd bytes as ``\\xNN``, so that the result can be written."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def position_warnings(reached: int, trained: int | None, watched_s: float) -> list[dict]:
    """What to say of a watch of ``watched_s`` that used ``reached`` positions of a model trained on ``trained``."""
    if trained is None or reached <= trained:
        return []
    message = (
        f"After about {format_clock(watched_s * trained / reached)} of video the positions passed {trained}, the "
        f"most that the model was trained on (they reached {reached}); --positions retime keeps them within."
    )
    return [warning("positions_beyond", message)]


def done(
    task: str,
    part: dict,
    *,
    input: dict,
    model: dict,
    memory: dict,
    coverage: dict,
    timing: dict,
    warnings: Iterable[dict] = (),
    preset: str | None = None,
) -> dict:
    """A finished result. ``part`` is what the task's ``finish`` returned: one key of PARTS."""
    assert set(part) == {PARTS[task]}, f"{task} must return {PARTS[task]!r}, not {sorted(part)}"
    notes = [*warnings, *coverage_warnings(coverage)]
    facts = {"input": input, "model": model, "memory": memory, "coverage": coverage}
    return _record(task, "done", None, facts, notes, timing, preset) | part


def failed(task: str, error: BaseException, *, input: dict, preset: str | None = None, **facts: object) -> dict:
    """The record of an input that gave no result; ``facts``: what was known of model, memory, coverage,
    timing, warnings. A KeyboardInterrupt, or an error with the code ``interrupted``, has that status.
    """
    problem = error_part(error)
    status = "interrupted" if problem["code"] == "interrupted" else "failed"
    known = {"input": input} | {key: facts.get(key) for key in ("model", "memory", "coverage")}
    return _record(task, status, problem, known, facts.get("warnings") or (), facts.get("timing"), preset)


def error_part(error: BaseException) -> dict:
    """The ``error`` part of a record."""
    if isinstance(error, UserError):
        return _error(error.code, error.message, error.hint)
    if isinstance(error, KeyboardInterrupt):
        return _error("interrupted", "Stopped before the end.", "Run the same command again to go on.")
    message = f"{type(error).__name__}: {error}"
    return _error("unexpected", message, "Run again with --debug for the traceback.")


def degraded(result: dict) -> bool:
    """Whether a finished result falls short of what was asked (``--strict``: exit code 7)."""
    return any(note["code"] in DEGRADING for note in result["warnings"])


def _error(code: str, message: str, hint: str) -> dict:
    return {"code": code, "message": message, "hint": hint}


def _record(
    task: str,
    status: str,
    error: dict | None,
    facts: dict,
    warnings: Iterable[dict],
    timing: object,
    preset: str | None,
) -> dict:
    head = {"schema": SCHEMA, "task": task, "preset": preset, "status": status, "error": error}
    return {**head, **facts, "warnings": list(warnings), "timing": timing}


def _video_facts(video: "VideoStream | None") -> dict | None:
    if video is None:
        return None
    fps = None if video.fps is None else round(video.fps, 3)
    return {"width": video.width, "height": video.height, "fps": fps, "codec": video.codec}


def _audio_facts(media: "Media") -> dict | None:
    if media.audio is None:
        return None
    tracks = media.audio_tracks or (media.audio,)
    indices = [track.index for track in tracks]
    return {
        "tracks": len(tracks),
        "chosen": 1 + indices.index(media.audio.index),
        "language": media.audio.language,
    }
