"""What a long live watch takes and finds: a generated stream through the real decoder, memory, periods and alerts.

Half an hour of film is sent round and round through a pipe by ffmpeg, so that hours of it take no disk. Runs: one
with a red square every five minutes, one without any, and one that comes three times faster than the model watched the
first. Knows Linux's /proc.
"""

import json
import math
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePath

import jsonschema

from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.bench.memory import SETTLED_MINUTE, drift, resident_bytes
from omnimem_cli.jobs.inputs import Input
from omnimem_cli.jobs.work import Work
from omnimem_cli.live.alerts import PERIOD_S
from omnimem_cli.live.batch import LiveBatch
from omnimem_cli.live.options import SUMMARY, LiveFlags, style_of
from omnimem_cli.live.prepare import CHUNK_S
from omnimem_cli.media.ffmpeg import ffmpeg_path
from omnimem_cli.media.probe import probe
from omnimem_cli.results.result import schema
from omnimem_cli.tasks.several import Part, Several
from omnimem_cli.world.mp4 import write_mp4
from omnimem_cli.world.slides import Slide
from omnimem_cli.world.video import Event, Video, make_video

REELS, REEL_S, EVENTS = 6, 300.0, 40  # of the film: videos one after the other, each of so many seconds and slides
SCENE_S, SCENE_LASTS_S = 100.0, 10.0  # when the red square appears, at the earliest, and for how long
RED_SQUARE = Slide("red", "square", "3", "plan")
RULE = "square: Which word is written on the red square?"
EVERY_S = 600.0
QUIET_HOURS = 2.0  # the most without a red square
FASTER = 3.0
READINGS = 150  # of a run, at most: each costs half a second of collecting what is unreachable


@dataclass(frozen=True)
class Film:
    """A file of ``duration_s``, and when in it a red square is on screen."""

    path: Path
    duration_s: float
    scenes: list[tuple[float, float]]


@dataclass(frozen=True)
class Reading:
    """What the process held when the stream had come to a whole minute, ``at`` seconds. RAM in bytes."""

    minute: int
    at: float
    rss: int
    handles: int
    threads: int


@dataclass(frozen=True)
class Told:
    """What a run left: its events, its readings, its result and the seconds that it took."""

    events: list[dict]
    torn: int
    readings: list[Reading]
    coverage: dict
    seconds: float


def bench_live(settings: Settings, hours: float, report: Report) -> dict:
    """The three runs; what `omnimem bench live` prints."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        reels = min(REELS, math.ceil(hours * 3600 / REEL_S))
        film, without = (_film(place, settings.seed, reels, name) for name in ("scenes", "quiet"))
        length_s = hours * 3600
        scenes = _run(place, film.path, settings, length_s, report, "scenes")
        quiet = _run(place, without.path, settings, min(length_s, QUIET_HOURS * 3600), report, "quiet")
        rate = _fastest(scenes.readings)
        fast = _run(place, without.path, settings, length_s / 2, report, "fast", FASTER * rate)
    shown = _scenes(film, length_s)
    return {
        "hours": hours,
        "times_real_time": round(length_s / scenes.seconds, 1),
        "scenes": _figures(scenes) | _alerts(scenes, shown),
        "quiet": _figures(quiet) | {"invented": len(_alert_ids(quiet))},
        "fast": _figures(fast) | {"faster": FASTER},
    }


def _fastest(readings: list[Reading]) -> float:
    """Seconds of stream per second in the fastest minute: whatever else this machine does, the model is no faster."""
    pairs = pairwise(readings)
    return max((60 * (two.minute - one.minute) / (two.at - one.at) for one, two in pairs), default=1.0)


def _film(place: Path, seed: int, reels: int, name: str) -> Film:
    """Videos of the seeds from ``seed`` on, one after the other: each with one red square ("scenes") or none."""
    paths, scenes, end_s = [], [], 0.0
    for number in range(reels):
        video, path = _reel(seed + number, name), place / f"{name}-{number}.mp4"
        write_mp4(video, path)
        paths.append(path)
        scenes += [(end_s + e.start_s, end_s + e.end_s) for e in video.events if e.slide == RED_SQUARE]
        end_s += probe(str(path)).duration_s
    return Film(_joined(paths, place / f"{name}.mp4"), end_s, scenes)


def _reel(seed: int, name: str) -> Video:
    video = make_video(seed, EVENTS, split="eval", duration_s=REEL_S)
    others = [each for each in video.events if (each.slide.colour, each.slide.shape) != ("red", "square")]
    return replace(video, events=tuple(_with_scene(others) if name == "scenes" else others))


def _joined(paths: list[Path], path: Path) -> Path:
    """One file of several of the same form, nothing encoded anew."""
    listed = path.with_suffix(".txt")
    listed.write_text("".join(f"file {each.name}\n" for each in paths))
    args = [ffmpeg_path(), "-v", "error", "-nostdin", "-y", "-f", "concat", "-i", str(listed), "-c", "copy", str(path)]
    subprocess.run(args, check=True)
    return path


def _with_scene(events: list[Event]) -> list[Event]:
    """The events with a red square in the place of those that were on screen with it."""
    first = next(each for each in events if each.start_s >= SCENE_S)
    scene = replace(first, slide=RED_SQUARE, end_s=first.start_s + SCENE_LASTS_S)
    before = [each for each in events if each.end_s <= scene.start_s]
    return [*before, scene, *(each for each in events if each.start_s >= scene.end_s)]


def _scenes(film: Film, length_s: float) -> list[tuple[float, float]]:
    """When a red square is on screen, round by round, as far as the stream goes."""
    rounds = [number * film.duration_s for number in range(int(length_s // film.duration_s) + 1)]
    shown = [(round_s + start_s, round_s + end_s) for round_s in rounds for start_s, end_s in film.scenes]
    return [each for each in shown if each[1] < length_s]


def _run(
    place: Path, film: Path, settings: Settings, length_s: float, report: Report, name: str, rate: float | None = None
) -> Told:
    """Watch a stream of ``length_s``. ``rate``: it comes so many times faster than it plays, and waits for nobody."""
    folder = place / name
    folder.mkdir()
    events, readings = folder / "events.jsonl", []
    flags = LiveFlags(every_s=EVERY_S, events=str(events), alert=[RULE])
    own = replace(settings, output=str(folder), formats=("json",), keep_memory=True, positions="retime")
    parts = {SUMMARY: Part("summarize", {"style": style_of(EVERY_S)})}
    work = Work("watch", Several, {"parts": parts}, own)
    batch = LiveBatch(work, flags, _sampled(readings, report, name, length_s))
    if rate is not None:
        batch.now, batch.waits = (lambda: rate * time.monotonic()), False
    began = time.monotonic()
    with _sent(film, folder / "stream", length_s) as stream:
        jobs = batch.assign_targets([Input(str(stream), PurePath("stream.ts"), stream=True)])
        (outcome,) = batch.outcomes(jobs)
    if outcome.error is not None:
        raise outcome.error
    seconds, (told, torn) = time.monotonic() - began, _read(events)
    return Told(told, torn, readings, outcome.result["coverage"], seconds)


@contextmanager
def _sent(film: Path, pipe: Path, length_s: float) -> Iterator[Path]:
    """A named pipe through which the film comes round and round."""
    os.mkfifo(pipe)
    args = [ffmpeg_path(), "-v", "error", "-nostdin", "-y", "-stream_loop", "-1", "-i", str(film), "-c", "copy"]
    sender = subprocess.Popen([*args, "-t", str(length_s), "-f", "mpegts", str(pipe)], start_new_session=True)
    try:
        yield pipe
    finally:
        sender.kill()
        sender.wait()


def _sampled(readings: list[Reading], report: Report, name: str, length_s: float) -> Callable:
    """The progress of a batch, which takes a reading at every whole minute of stream, or every few."""
    step = max(1, round(length_s / 60 / READINGS))

    def take(progress: Progress) -> None:
        minute = int(progress.done_s // 60)
        if progress.stage == "watching" and minute >= (readings[-1].minute if readings else 0) + step:
            handles = len(list(Path("/proc/self/fd").iterdir()))
            readings.append(Reading(minute, time.monotonic(), resident_bytes(), handles, threading.active_count()))
            report(Progress(name, progress.done_s, length_s))

    @contextmanager
    def drawn(label: str) -> Iterator[Report]:
        yield take

    return drawn


def _read(path: Path) -> tuple[list[dict], int]:
    """The events of a file, and how many of its lines are no whole event."""
    validator, events, torn = jsonschema.Draft202012Validator(schema("event-1")), [], 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            event = json.loads(line)
            validator.validate(event)
            events.append(event)
            torn += not line.endswith(b"\n")
        except (ValueError, jsonschema.ValidationError):
            torn += 1
    return events, torn


def _figures(told: Told) -> dict:
    whole = told.readings[:-1] or told.readings  # with the last one the source may be closed already
    settled = [each for each in whole if each.minute >= SETTLED_MINUTE] or whole[-1:]
    ends_s = told.coverage["duration_s"] - 1.0  # with the watch, what alerts read whole is released
    timely = [each for each in told.events if 60 * SETTLED_MINUTE <= each["end_s"] < ends_s]
    kept = [each["memory_bytes"] for each in timely]
    lost = {tag: _lost(told.events, tag) for tag in ("thinned", "dropped", "gap", "clock")}
    return {
        "seconds": round(told.seconds, 1),
        "events": len(told.events),
        "torn": told.torn,
        "periods": sum(each["tag"] == "period" for each in told.events),
        "coverage": told.coverage,
        "rss": settled[-1].rss if settled else None,
        "rss_drift": round(drift([each.rss for each in settled]), 4),
        "memory_drift": round(drift(kept), 4),
        "handles": sorted({each.handles for each in settled}),
        "threads": sorted({each.threads for each in settled}),
        "lost_s": lost,
        "minutes": [asdict(each) for each in told.readings],
    }


def _lost(events: list[dict], tag: str) -> float:
    """Seconds that events of a kind say are lost, by their last revisions."""
    newest = {each["id"]: each for each in events if each["tag"] == tag}
    return round(sum(each["data"]["lost_s"] for each in newest.values()), 1)


def _alert_ids(told: Told) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for each in told.events:
        if each["type"] == "alert":
            found.setdefault(each["id"], []).append(each)
    return found


def _alerts(told: Told, scenes: list[tuple[float, float]]) -> dict:
    """How the alerts of a run fit the scenes: each found in time, opened and closed once, and none beside them."""
    found = list(_alert_ids(told).values())
    of_scene = [[each for each in found if _meets(each, scene)] for scene in scenes]
    delays = [alerts[0][0]["end_s"] - start_s for alerts, (start_s, _) in zip(of_scene, scenes, strict=True) if alerts]
    return {
        "shown": len(scenes),
        "found": len(delays),
        "once": sum(len(alerts) == 1 for alerts in of_scene),
        "in_time": sum(delay <= PERIOD_S + CHUNK_S for delay in delays),
        "latest_s": round(max(delays, default=0.0), 1),
        "closed": sum(revisions[-1]["state"] == "closed" for revisions in found),
        "invented": sum(not any(_meets(each, scene) for scene in scenes) for each in found),
    }


def _meets(revisions: list[dict], scene: tuple[float, float]) -> bool:
    return revisions[0]["start_s"] < scene[1] and revisions[-1]["end_s"] > scene[0]
