"""Where each result is written: next to its input, mirrored under a folder, or in the one file that was named.

Knows paths and what is already taken; writes nothing. Two inputs never share a name, and an input keeps the name
that its record of an earlier run holds.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath

from omnimem_cli.base.choices import FORMATS, MEMORY
from omnimem_cli.base.errors import OutputError, UsageError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.jobs.files import LONGEST_ENDING, fitting_name, name_bytes
from omnimem_cli.jobs.inputs import MEDIA_SUFFIXES, MEMORY_SUFFIX, Input

RESULT_SUFFIXES = frozenset(f".{format}" for format in (*FORMATS, MEMORY))
SUFFIX_BYTES = 60  # a preset's name may be longer, but the input's own needs room
DOCUMENTS = frozenset(
    (".doc", ".docx", ".odt", ".pdf", ".rtf", ".htm", ".tsv", ".xlsx", ".yaml", ".xml", ".log", ".ass")
)
ALONE = ("srt", "vtt", "chapters", MEMORY)  # players look for lecture.srt, not for lecture.transcript.srt
CHAPTERS = ("summary", "chapters")  # words of results that may have chapters: lecture.chapters.vtt is no subtitle


@dataclass(frozen=True)
class Target:
    """The files of one result: ``folder / files[format]``; ``name`` is unique in the folder and names the record.

    A format is that of the one result (md), of one of several (summary.md), or that of the memory.
    """

    folder: Path
    name: str
    files: dict[str, str]

    def path(self, format: str) -> Path:
        """The file of the result in this format."""
        return self.folder / self.files[format]

    @property
    def memory(self) -> Path | None:
        """Where the memory is kept, if it is."""
        return self.path(MEMORY) if MEMORY in self.files else None

    @property
    def formats(self) -> list[str]:
        """The formats of every file but the memory."""
        return [format for format in self.files if format != MEMORY]

    @property
    def texts(self) -> list[Path]:
        """Every file but the memory."""
        return [self.path(format) for format in self.formats]


Owner = Callable[[Target], str | None]
"""The input that a recorded target belongs to, as `owner_key` gives it; None where nothing is recorded."""


def owner_key(one: Input, folder: Path) -> str:
    """How a record in ``folder`` names its input: relative, so that a tree can be moved as a whole.

    An address is named without its secrets, and with digits that tell two queries apart.
    """
    if one.stream:
        return f"{readable_path(one.path)} {_digits(one)}"
    return os.path.relpath(os.path.realpath(one.path), os.path.realpath(folder))


def _digits(one: Input) -> str:
    """Eight digits of the whole path or address. A login is left out: digits of a password could be guessed."""
    whole = re.sub("://[^/?#]*@", "://", one.path, count=1) if one.stream else os.path.realpath(one.path)
    return hashlib.sha256(os.fsencode(whole)).hexdigest()[:8]


def name_targets(
    inputs: Sequence[Input], suffix: str, formats: Sequence[str], output: str | None, owner: Owner
) -> list[Target]:
    """One target per input, in order. ``suffix``: summary, transcript, answers or a preset's name.

    Raises UsageError where ``output`` is a result file but there are several inputs or formats, OutputError where it
    is a file and no folder can be made of it.
    """
    if output and Path(output).suffix in RESULT_SUFFIXES and not Path(output).is_dir():
        return [_named_file(Path(output), inputs, formats)]
    if output and Path(output).suffix.lower() in DOCUMENTS | MEDIA_SUFFIXES and not Path(output).exists():
        message = f"-o {output} looks like a file of a format that is not written."
        raise UsageError(message, f"Choose from {', '.join(FORMATS)}, or make a folder of that name first.")
    if output and Path(output).exists() and not Path(output).is_dir():
        raise OutputError(f"{output} is a file, not a folder.", "Name another folder with -o.")
    places = [
        _folder(one, relative, output) for one, relative in zip(inputs, _disambiguate(inputs, output), strict=True)
    ]
    stems = Counter((folder, stem(one)) for one, folder in zip(inputs, places, strict=True))
    names = Counter((folder, one.relative.name) for one, folder in zip(inputs, places, strict=True))
    stems_in = cache(_media_stems)
    taken: set[tuple[Path, str]] = set()
    targets = []
    for one, folder in zip(inputs, places, strict=True):
        # A twin that was not asked for counts too: names must not depend on what else is in the run.
        twin = output is None and not one.stream and stems_in(folder)[stem(one)] > 1
        alone = stems[folder, stem(one)] == 1 and not twin
        ambiguity = 0 if alone else 1 if names[folder, one.relative.name] == 1 else 2
        target = _choose(one, folder, ambiguity, suffix, formats, owner, taken)
        taken.add((folder, target.name))
        targets.append(target)
    return targets


def _named_file(path: Path, inputs: Sequence[Input], formats: Sequence[str]) -> Target:
    first, *more = formats
    if len(inputs) != 1 or more not in ([], [MEMORY]):
        what = f"{len(inputs)} inputs" if len(inputs) != 1 else f"{len(formats)} formats"
        raise UsageError(f"-o {path} names one file, but there are {what}.", "Name a folder with -o.")
    if path.suffix != f".{first}":
        raise UsageError(f"-o {path} does not end in .{first}.", "Let -f and the suffix agree, or drop -f.")
    name = fitting_name(path.name, name_bytes(path.parent) - LONGEST_ENDING)
    return Target(path.parent, name, {first: path.name} | {each: path.with_suffix(f".{each}").name for each in more})


def _choose(
    one: Input, folder: Path, ambiguity: int, suffix: str, formats: Sequence[str], owner: Owner, taken: set
) -> Target:
    candidates = [_target(folder, base, suffix, formats) for base in _name_candidates(one)]
    key = owner_key(one, folder)
    for target in candidates:
        if (folder, target.name) not in taken and owner(target) == key:
            return target
    for target in candidates[ambiguity:]:
        if (folder, target.name) not in taken and owner(target) is None:
            return target
    return candidates[-1]


def _name_candidates(one: Input) -> Iterator[str]:
    """Ever longer names: lecture, lecture.mp4, lecture.mp4-1f6b3c8a (of the whole path: always its own)."""
    yield from (stem(one), one.relative.name, f"{one.relative.name}-{_digits(one)}")


def _target(folder: Path, base: str, suffix: str, formats: Sequence[str]) -> Target:
    """The target of this name, which is cut where the disk allows none that long."""
    suffix = fitting_name(suffix, SUFFIX_BYTES)
    words = (suffix, *(format.rpartition(".")[0] for format in formats))
    base = fitting_name(base, name_bytes(folder) - max(len(os.fsencode(f".{word}")) for word in words) - LONGEST_ENDING)
    return Target(folder, f"{base}.{suffix}", {format: f"{base}.{_ending(suffix, format)}" for format in formats})


def _ending(suffix: str, format: str) -> str:
    """What a file's name has behind the input's own. ``format`` names its result itself where there are several."""
    own, _, plain = format.rpartition(".")
    if plain == "vtt" and (own or suffix) in CHAPTERS:
        return "chapters.vtt"
    return plain if plain in ALONE else f"{fitting_name(own, SUFFIX_BYTES) or suffix}.{plain}"


def stem(one: Input) -> str:
    """The name without its suffix, if that is one of media: in ``talk.v2`` the end says something."""
    path = one.relative
    return path.stem if path.suffix.lower() in MEDIA_SUFFIXES | {MEMORY_SUFFIX} and path.stem else path.name


def _folder(one: Input, relative: PurePath, output: str | None) -> Path:
    if output:
        return Path(output) / relative.parent
    return Path() if one.stream else Path(one.path).parent


def _disambiguate(inputs: Sequence[Input], output: str | None) -> list[PurePath]:
    """Places below ``output``; inputs that would meet keep as many of their own folders as parts them."""
    meeting = Counter(one.relative for one in inputs)
    roots = [os.path.realpath(one.path) for one in inputs if meeting[one.relative] > 1 and not one.stream]
    if not output or len(roots) < 2:
        return [one.relative for one in inputs]
    common = os.path.commonpath([Path(root).parent for root in roots])
    return [
        PurePath(os.path.relpath(os.path.realpath(one.path), common))
        if meeting[one.relative] > 1 and not one.stream
        else one.relative
        for one in inputs
    ]


def _media_stems(folder: Path) -> Counter:
    """How many media files of each stem a folder holds; none where it may not be listed."""
    try:
        return Counter(p.stem for p in folder.iterdir() if p.suffix.lower() in MEDIA_SUFFIXES)
    except OSError:
        return Counter()
