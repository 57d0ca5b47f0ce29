"""The subtitles of an input, for the tasks that use them. Knows inputs, records and subtitle tracks; knows no model."""

from pathlib import Path

from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs import records
from omnimem_cli.jobs.inputs import Input
from omnimem_cli.media.subtitle_tracks import Track, chosen, read_track, sidecars, streams
from omnimem_cli.media.subtitles import within
from omnimem_cli.session.preflight import stall_s
from omnimem_cli.tasks.prompts import language_code
from omnimem_cli.tasks.task import Task


def beside(one: Input) -> list[Track]:
    """The subtitle files of an input. What omnimem wrote itself is no source."""
    if one.stream or one.is_memory:
        return []
    return [track for track in sidecars(one.path) if not records.wrote(Path(track.file))]


def digests(one: Input) -> dict[str, str]:
    """What the files beside an input hold, by name: finished work is that of these files."""
    return {Path(track.file).name: records.digest_file(track.file) for track in beside(one)}


def give_subtitles(task: Task, one: Input, path: str, settings: Settings) -> None:
    """Hand the chosen subtitles of the range to every task. ``path``: the file that is watched, or an address.

    Raises InputError for subtitles that cannot be read.
    """
    wait_s = stall_s(settings)
    tracks = [*beside(one), *(streams(path, wait_s) if Path(path).is_file() else [])]
    language = settings.spoken_language
    track = chosen(tracks, None if language is None else language_code(language))
    if track is None or track.is_picture:
        for each in task.members:
            each.take_no_subtitles([other.format for other in tracks if other.is_picture])
        return
    lines = within(read_track(path, track, wait_s), settings.start_s, settings.end_s)
    facts = {"role": "transcript" if settings.subtitles == "use" else "hint", "file": track.file and track.name}
    facts |= {"stream": track.stream, "language": track.language, "format": track.format}
    for each in task.members:
        each.take_subtitles(facts, [dict(vars(line)) for line in lines])
