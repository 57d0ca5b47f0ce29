"""The files that hold results and transcripts: which ones do, and what each says. Knows file formats; no index.

A JSON result names its schema, Markdown by omnimem ends in its table of facts, an HTML page has a record in
``.omnimem/``, subtitles are recognised by their cues, and plain text by its name. Every other file is foreign.
"""

import html
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.texts import UTF_16
from omnimem_cli.results.result import SCHEMA
from omnimem_cli.results.search.passages import Passage, distinct, markdown_blocks, passage, passages_of
from omnimem_cli.results.writers import SUFFIXES
from omnimem_cli.results.writers.cues import SILENT

_SIGNATURES = {
    ".json": b"omnimem/result/",
    ".jsonl": b"omnimem/result/",
    ".md": b"\n| Facts | |",
    ".html": b'<meta name="generator" content="omnimem ',
}
"""What a file of omnimem holds, and hardly any other."""
MOST_BYTES = 64 * 2**20  # a result of ten hours has about two million
_FACTS = re.compile(r"^---\n+\| Facts \| \|$", re.MULTILINE)
_CLOCK = r"(\d+(?::\d\d){1,2})"
_CHAPTER = re.compile(rf"## {_CLOCK}–{_CLOCK} (.*)")
_SEGMENT = re.compile(rf"\*\*{_CLOCK}\*\* ")
_ESCAPED = re.compile(r"\\([\\`*_\[\]<>#|])")
_NOTHING = ("*No speech was found.*", "*No answer.*", "*None.*")  # what the writer puts for an empty part
_RULE = re.compile(r"\|(?: --- \|)+")
_STAMP = r"((?:\d+:)?\d\d:\d\d[.,]\d{3})"
_CUE = re.compile(rf"^{_STAMP} +--> +{_STAMP}[^\n]*\n(.*?)(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?。！？…]\W*$")
_LONGEST_S = 30.0  # of a passage that is joined from cues


class NotAResultError(Exception):
    """The file is none of omnimem's."""


class BrokenFileError(Exception):
    """The file looks like a result and cannot be read; the message says why, as the end of a sentence."""


@dataclass(frozen=True)
class Document:
    """One result. ``source``: the input it was made of, as far as the file says."""

    source: str
    passages: list[Passage]


def read_documents(path: str) -> list[Document]:
    """What a file says. Raises NotAResultError and BrokenFileError."""
    suffix = PurePath(path).suffix.lower()
    try:
        data = _read(path)
        if _SIGNATURES.get(suffix, b"") not in data or (suffix == ".txt" and not _ending(path)):
            raise NotAResultError
        return READERS[suffix](_decoded(data), path)
    except OSError as error:
        raise BrokenFileError(f"it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BrokenFileError("it is not valid JSON") from error
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise BrokenFileError("it is no result of the form that omnimem writes") from error


def _read(path: str) -> bytes:
    with Path(path).open("rb") as file:
        if os.fstat(file.fileno()).st_size > MOST_BYTES:
            raise NotAResultError
        return file.read()


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-16" if data.startswith(UTF_16) else "utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise BrokenFileError("it is not UTF-8 text") from error


def _json(text: str, path: str) -> list[Document]:
    try:
        records = [json.loads(text)]
    except json.JSONDecodeError:  # maybe one object per line
        records = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [_of_result(record) for record in records]


def _of_result(record: dict) -> Document:
    named = record["schema"]
    if named != SCHEMA:
        if str(named).startswith("omnimem/result/"):
            raise BrokenFileError(f"it is of another version ({named})")
        raise NotAResultError
    try:
        return Document(passage("title", record["input"]["path"]).text, passages_of(record))
    except ValueError as error:
        raise BrokenFileError(str(error)) from error


def _page(text: str, path: str) -> list[Document]:
    """The result of which a page was made, from the record that omnimem keeps of it."""
    page = Path(path)
    for name in (page.stem, page.name):  # the second of a page that was named with -o
        record = page.parent / ".omnimem" / f"{name}.json"
        if record.is_file():
            return [_of_result(json.loads(record.read_bytes())["result"])]
    raise NotAResultError


def _markdown(text: str, path: str) -> list[Document]:
    end = _FACTS.search(text)
    if end is None or not text.startswith("# "):
        raise NotAResultError
    title, _, body = text[2 : end.start()].partition("\n")
    source = _unescaped(title)
    sections = _sections(body.partition("\n## Warnings\n")[0])
    return [Document(source, distinct([passage("title", source), *sections]))]


def _sections(body: str) -> Iterator[Passage]:
    """Passages of a Markdown result, with the times of its headings and segments."""
    place = Passage("summary", "")
    for block in _blocks(body):
        text = _unescaped(block)
        if chapter := _CHAPTER.fullmatch(text):
            place = Passage("chapter", "", _seconds(chapter[1]), _seconds(chapter[2]))
            yield passage("chapter", chapter[3], place.start_s, place.end_s)
        elif text.startswith("## "):
            place = Passage("answer", "")
            yield passage("question", text[3:])
        elif segment := _SEGMENT.match(text):
            yield passage("segment", text[segment.end() :], _seconds(segment[1]))
        elif text not in _NOTHING and not _RULE.fullmatch(text):
            yield from _plain_passages(replace(place, text=text.strip("| ").replace(" | ", "; ")))


def _blocks(body: str) -> list[str]:
    """Headings, table rows and segments as they are; other lines up to a blank one together."""
    return [block for block in re.split(r"\n\s*\n|\n(?=\|)|(?<=\|)\n", body) if block.strip()]


def _plain_passages(place: Passage) -> Iterator[Passage]:
    yield from (passage(place.part, block, place.start_s, place.end_s) for block in markdown_blocks(place.text))


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text.strip("\n"))


def _subtitles(text: str, path: str) -> list[Document]:
    cues = [
        passage("segment", html.unescape(re.sub(r"<[^>\n]*>", "", said)), _seconds(start), _seconds(end))
        for start, end, said in _CUE.findall(text)
        if said.strip() != SILENT
    ]
    if not cues and SILENT not in text and text.strip() not in ("", "WEBVTT"):
        raise NotAResultError
    source = _source(path)
    said = _sentences(cues)
    if path.lower().endswith(".chapters.vtt"):  # cues are titles
        source, said = source.removesuffix(".chapters"), (replace(cue, part="chapter") for cue in cues)
    return [Document(source, distinct([passage("title", source), *said]))]


def _sentences(cues: list[Passage]) -> Iterator[Passage]:
    """Cues that follow each other within a sentence as one passage: a sentence is rarely one cue."""
    joined: Passage | None = None
    for cue in (cue for cue in cues if cue.text):
        if joined is None:
            joined = cue
        elif _SENTENCE_END.search(joined.text) or cue.end_s - joined.start_s > _LONGEST_S:
            yield joined
            joined = cue
        else:
            joined = replace(joined, text=f"{joined.text} {cue.text}", end_s=cue.end_s)
    if joined is not None:
        yield joined


def _text(text: str, path: str) -> list[Document]:
    source, part = _source(path), {"transcript": "segment", "answers": "answer"}.get(_ending(path), "summary")
    return [Document(source, distinct([passage("title", source), *_plain_passages(Passage(part, text))]))]


def _ending(path: str) -> str:
    """``transcript`` of lecture.transcript.txt; empty where the name does not say what it is."""
    ending = PurePath(path).stem.rpartition(".")[2]
    return ending if ending in SUFFIXES.values() else ""


def _source(path: str) -> str:
    """The name of the input, without its suffix, from that of the file."""
    return readable_path(PurePath(path).stem.removesuffix(f".{_ending(path)}"))


def _seconds(clock: str) -> float:
    """``1:02:03.500`` or ``1:02:03,500``."""
    seconds = 0.0
    for part in clock.replace(",", ".").split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


READERS: dict[str, Callable[[str, str], list[Document]]] = {
    ".json": _json,
    ".jsonl": _json,
    ".md": _markdown,
    ".html": _page,
    ".vtt": _subtitles,
    ".srt": _subtitles,
    ".txt": _text,
}
"""By suffix, the one that says most first: of files of the same result the first that can be read is the one read."""
