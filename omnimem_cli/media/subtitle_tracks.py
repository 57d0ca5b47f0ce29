"""The subtitles of a file: files of its name beside it, and streams inside it. Finds, chooses and reads them.

Knows names, streams and ffmpeg; knows no model. Subtitles that are pictures (PGS, DVD, DVB) are found and not read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.media.container import open_container
from omnimem_cli.media.ffmpeg import Process, command, source
from omnimem_cli.media.languages import same_language
from omnimem_cli.media.subtitles import Line, decode_subtitles, read_lines

SUFFIXES = (".srt", ".vtt", ".ass", ".ssa")
PICTURES = ("hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle", "xsub")
MARKS = ("default", "forced", "sdh", "cc")  # that a name may hold, as in film.en.forced.srt
MOST_BYTES = 64 << 20  # subtitles of a day have about two million
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")


@dataclass(frozen=True)
class Track:
    """Subtitles in one language. ``file``: beside the video; ``stream``: inside, from 1 among its subtitles."""

    format: str  # srt, vtt, ass, ssa, or the codec of a stream
    language: str | None
    file: str | None = None
    stream: int | None = None
    default: bool = False
    forced: bool = False  # only what is not in the language of the film

    @property
    def is_picture(self) -> bool:
        """Whether it holds pictures of text."""
        return self.format in PICTURES

    @property
    def name(self) -> str:
        """What to call it: the file, or the number of the stream."""
        return readable_path(self.file) if self.file else f"subtitle stream {self.stream}"


def sidecars(path: str) -> list[Track]:
    """The subtitle files of a video: film.srt, film.en.srt, film.mkv.srt, film.de.forced.vtt; film.srt comes first."""
    video = Path(path)
    try:
        names = sorted(each.name for each in video.parent.iterdir() if each.suffix.lower() in SUFFIXES)
    except OSError:
        return []
    found = [track for name in names if (track := _sidecar(video, name)) is not None]
    return sorted(found, key=lambda track: len(Path(track.file).name.split(".")))


def streams(path: str, stall_s: float) -> list[Track]:
    """The subtitle streams of a file. Raises InputError."""
    with open_container(path, stall_s) as (container, _):
        return [_track(stream, number) for number, stream in enumerate(container.streams.subtitles, 1)]


def chosen(tracks: Sequence[Track], language: str | None) -> Track | None:
    """The track in the language, else one that names none; without a language the default one, else the first.

    Text is taken before pictures, a file before a stream. None where nothing fits.
    """
    fitting = [track for track in tracks if language is None or _speaks(track, language)]
    fitting = fitting or [track for track in tracks if track.language is None]
    ranked = sorted(fitting, key=lambda track: (track.is_picture, track.forced, track.file is None, not track.default))
    return ranked[0] if ranked else None


def read_track(path: str, track: Track, stall_s: float) -> list[Line]:
    """The lines of the subtitles of the video at ``path``. Raises InputError (``subtitles``) and MissingError."""
    try:
        text = decode_subtitles(_read(Path(track.file))) if track.file else _converted(path, track, stall_s)
        return read_lines(text)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        where = "" if track.file else f" of {readable_path(path)}"
        message = f"{track.name}{where} cannot be read as subtitles: {why}."
        hint = "Mend it (UTF-8 text), or leave out --subtitles to have the speech written down."
        raise InputError(message[0].upper() + message[1:] if not track.file else message, hint, "subtitles") from error


def _sidecar(video: Path, name: str) -> Track | None:
    for base in (video.name, video.stem):
        if name.startswith(f"{base}."):
            *parts, suffix = name[len(base) + 1 :].split(".")
            marks = [part for part in parts if part.lower() in MARKS]
            languages = [part for part in parts if part not in marks]
            if len(languages) <= 1 and all(map(_LANGUAGE.fullmatch, languages)):
                flags = {mark: mark in map(str.lower, marks) for mark in ("default", "forced")}
                language = languages[0] if languages else None
                return Track(suffix.lower(), language, file=str(video.parent / name), **flags)
    return None


def _track(stream, number: int) -> Track:
    codec = "unknown" if stream.codec_context is None else stream.codec_context.codec.canonical_name
    language = stream.metadata.get("language")
    marks = {mark: bool(stream.disposition & getattr(type(stream.disposition), mark)) for mark in ("default", "forced")}
    return Track(codec, None if language in ("", "und") else language, stream=number, **marks)


def _speaks(track: Track, language: str) -> bool:
    return track.language is not None and same_language(track.language, language)


def _read(file: Path) -> bytes:
    if file.stat().st_size > MOST_BYTES:
        raise ValueError("it is too large for subtitles")
    return file.read_bytes()


def _converted(path: str, track: Track, stall_s: float) -> str:
    """A stream as SubRip, on the clock of the file."""
    output = source(path)[f"s:{track.stream - 1}"].output("pipe:", format="srt")
    with Process(command(output), path, stall_s=stall_s) as process:
        data = process.read(MOST_BYTES)
        if process.finish() != 0:
            raise ValueError((process.tail.splitlines() or ["ffmpeg failed"])[-1].rstrip("."))
    return data.decode(errors="replace")
