"""The second look of a memory in hand: whether its video can be read again, and in which form.

Knows inputs, media and sessions; knows no task and no answer.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from omnimem_cli.base.errors import InputError, UserError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.jobs.records import digest_file
from omnimem_cli.jobs.watched import Watched
from omnimem_cli.media.decode import Source
from omnimem_cli.media.segment import Media, Segment
from omnimem_cli.results.result import not_looked
from omnimem_cli.session.look import SecondLook, look_plan, most_seconds
from omnimem_cli.session.preflight import probed, stall_s


def give_look(watched: Watched, memory_file: str | None = None) -> None:
    """Let the session of ``watched`` look again; where its video is not at hand, a warning of its results says so.

    ``memory_file``: where the memory was loaded from, None for one that was just watched.
    """
    try:
        media = _media_again(watched, memory_file)
    except UserError as error:
        watched.facts = watched.facts | {"warnings": [*watched.facts["warnings"], not_looked(error.message)]}
        return
    settings, session = watched.settings, watched.session
    plan = look_plan(media.within(settings.start_s, settings.end_s), settings, session.adapter)
    most_s = settings.look_span_s or most_seconds(session.end_s - (session.start_s or 0.0), session.plan, plan)
    begin_s = settings.start_s or 0.0

    def read(first: int, count: int) -> Iterator[Segment]:
        """From ``start_s`` on: sound before a ``first_segment`` would be decoded too, from the beginning."""
        start_s = begin_s + first * plan.format.segment_s
        with Source(media, plan.format, start_s=start_s, end_s=settings.end_s, stall_s=stall_s(settings)) as source:
            for segment in islice(source, count):
                yield replace(segment, index=first + segment.index)

    session.look = SecondLook(session, plan, most_s, begin_s, read, session.chunk_tokens)


def _media_again(watched: Watched, memory_file: str | None) -> Media:
    """The probed video. Raises UserError where it is no file, is missing, or is another one."""
    named = watched.session.media.path
    if memory_file is None:
        path = Path(named)
        if not path.is_file():
            raise InputError(f"{readable_path(named)} can be read only once.")
        return probed(named, watched.settings)
    places = (Path(named), Path(memory_file).with_name(Path(named).name))
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise InputError(f"{readable_path(named)} is not where it was, nor beside the memory.")
    if digest_file(str(path)) != watched.facts["input"]["digest"]:
        raise InputError(f"{readable_path(str(path))} is not the video that was watched.")
    return probed(str(path), watched.settings)
