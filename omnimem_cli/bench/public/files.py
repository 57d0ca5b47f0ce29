"""Annotations and videos where a dataset's authors put them. Knows files and their forms; knows no dataset."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omnimem_cli.base.errors import InputError, MissingError, unreadable_input
from omnimem_cli.media.subtitles import decode_subtitles, read_lines

SUFFIXES = (".mp4", ".MP4", ".mkv", ".webm", ".mov", ".avi")


def annotations(folder: Path, places: Sequence[str], source: str) -> Path:
    """The first of ``places`` that there is in the folder. Raises InputError."""
    found = next((folder / place for place in places if (folder / place).is_file()), None)
    if found is None:
        raise InputError(
            f"{folder} has no {places[0]}.", f"Get it from {source}; nothing is downloaded here.", "missing"
        )
    return found


def read_json(path: Path) -> Any:
    """A JSON file. Raises InputError."""
    return _parsed(path, path.read_text, json.loads)


def read_json_lines(path: Path) -> list[dict]:
    """A JSON Lines file. Raises InputError."""
    return _parsed(path, path.read_text, lambda text: [json.loads(line) for line in text.splitlines() if line.strip()])


def read_parquet(path: Path) -> list[dict]:
    """The rows of a Parquet file. Raises InputError, and MissingError where nothing is installed that reads it."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingError(
            f"{path} is a Parquet file, which needs pyarrow.", "pip install 'omnimem-cli[eval]'"
        ) from error
    try:
        return parquet.read_table(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet.", "Download it again.") from error


def _parsed(path: Path, read: Any, parse: Any) -> Any:
    try:
        return parse(read(encoding="utf-8"))
    except OSError as error:
        raise unreadable_input(str(path), error) from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}.", "Download it again.") from error


def video_of(folder: Path, places: Iterable[str], name: str) -> Path:
    """The video of this name in the first of ``places`` that holds it; where it should lie if none does."""
    places = list(places)
    paths = [folder / place / f"{name}{suffix}" for place in places for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def subtitles_of(path: Path, fps: float) -> str:
    """The subtitles that are on screen at one of the frames, ``fps`` of them a second; empty where there is no file."""
    if not path.is_file():
        return ""
    try:
        lines = read_lines(decode_subtitles(path.read_bytes()))
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}.", "Drop --subtitles.", "subtitles") from error
    return "\n".join(line.text for line in lines if _frame_from(line.start_s, fps) < line.end_s)


def _frame_from(time_s: float, fps: float) -> float:
    """When the first frame at or after a time is shown."""
    return -(-round(time_s * fps, 6) // 1) / fps
