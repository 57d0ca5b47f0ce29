"""The page of a result, with its video where that is at hand; and a result read from its file.

Knows results, local files and their pictures; watches nothing.
"""

import json
import math
from pathlib import Path

import jsonschema

from omnimem_cli.base.errors import InputError, UserError, unreadable_input
from omnimem_cli.base.paths import readable_path
from omnimem_cli.jobs.inputs import MEMORY_SUFFIX
from omnimem_cli.jobs.recall import read_facts
from omnimem_cli.jobs.records import digest_file
from omnimem_cli.media.ffmpeg import is_local
from omnimem_cli.media.thumbnails import Thumbnail, thumbnails
from omnimem_cli.results.report.charts import span_of
from omnimem_cli.results.report.footage import Footage, relative_address
from omnimem_cli.results.report.page import write_html
from omnimem_cli.results.result import SCHEMA, schema

THUMBNAILS = 16


def page_of(result: dict, video: str | None, folder: Path) -> bytes:
    """The page of a finished result as the bytes of a file in ``folder``. A ``video`` that is no local file is not
    shown."""
    footage = None
    if video is not None and is_local(video) and Path(video).is_file():
        footage = Footage(relative_address(video, folder), tuple(_pictures(result, video)))
    return write_html(result, footage).encode("utf-8", "backslashreplace")


def _pictures(result: dict, video: str) -> list[Thumbnail]:
    """Pictures from the middle of equal parts of the range; none where they cannot be had: the page does without."""
    facts, span = result["input"]["video"], span_of(result)
    if facts is None:
        return []
    length = (span.end_s - span.start_s) / THUMBNAILS
    times = (span.start_s + (i + 0.5) * length for i in range(THUMBNAILS))
    try:
        return thumbnails(video, times, track=facts.get("chosen", 1))
    except UserError:
        return []


def find_video(result: dict, folder: Path) -> str | None:
    """The watched file: in ``folder``, or where it was; None where neither place has a file with its content."""
    named = Path(result["input"]["path"])
    places = (folder / named.name, named) if is_local(str(named)) else ()
    return next((str(place) for place in places if place.is_file() and is_of(result, str(place))), None)


def is_of(result: dict, video: str) -> bool:
    """Whether a local file is what was watched, as far as its digest is known. Raises UserError."""
    try:
        return result["input"]["digest"] in (None, digest_file(video))
    except OSError as error:
        raise unreadable_input(readable_path(video), error) from error


def read_result(file: Path) -> dict:
    """The finished result in a JSON file, or that of a memory. Raises InputError where there is none."""
    return _of_memory(file) if file.suffix == MEMORY_SUFFIX else _of_json(file)


def _of_memory(file: Path) -> dict:
    """A watch with what was written on the way: the transcript but for its last window, and notes as chapters."""
    header = read_facts(file)
    head = {"schema": SCHEMA, "task": "watch", "preset": None, "status": "done", "error": None}
    result = head | header["facts"] | {"results": {}}
    for part in header["taken"]:
        if part["task"] == "transcribe":
            language = part["wishes"].get("spoken_language")
            result["transcript"] = {"language": language, "segments": part["state"]["segments"]}
        elif part["state"]["notes"]:
            result["summary"] = {"text": "", "chapters": part["state"]["notes"]}
    return _consistent_or_error(result, readable_path(str(file)))


def _of_json(file: Path) -> dict:
    shown = readable_path(str(file))
    try:
        data = file.read_bytes()
    except OSError as error:
        raise unreadable_input(shown, error) from error
    try:
        result = json.loads(data, parse_constant=_finite, parse_float=_finite)
        jsonschema.Draft202012Validator(schema()).validate(result)
    except (ValueError, RecursionError, jsonschema.ValidationError) as error:
        raise InputError(f"{shown} is not a result of omnimem.", "Name a file that -f json wrote.") from error
    if result["status"] != "done":
        raise InputError(f"{shown} is the record of an input that failed.", "Watch the input again.")
    return _consistent_or_error(result, shown)


def _consistent_or_error(result: dict, shown: str) -> dict:
    if not _consistent((result["memory"] or {}).get("distribution")):
        raise InputError(f"{shown} is damaged: its distribution has lists of different lengths.", "Watch it again.")
    return result


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _consistent(spread: dict | None) -> bool:
    """Whether all lists over time, and all lists by layer, are of one length."""
    if spread is None:
        return True
    by_layer = [*spread["by_layer"].values(), *(spread["budget_by_layer"] or {}).values()]
    return all(len({len(row) for row in rows}) == 1 for rows in (spread["over_time"].values(), by_layer))
