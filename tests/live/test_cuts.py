"""A camera whose connection is cut again and again: a watch keeps the memory, and tells each gap at full length."""

import json
import random
import time
from datetime import datetime
from pathlib import Path

import footage
import pytest
from events import lines_of
from rtsp_station import RtspStation
from station import Sent, Station
from watched_live import ask, started, wait_for

from omnimem_cli.world.mp4 import write_mp4
from omnimem_cli.world.video import Video, make_video

FIRST_S, PIECE_S = 16.0, 8.0
CUTS = 20
KINDS = ((448, 44_100), (320, 44_100), (448, 16_000), (240, 22_050))
"""Height and width of the picture, and rate of the sound, of the connections in turn."""


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> tuple[Video, list[bytes]]:
    """What the first connection sends, as a script, and what all send, as transport streams."""
    folder = tmp_path_factory.mktemp("films")
    first = make_video(60_003, 2, split="eval", duration_s=FIRST_S)
    names = [(each.slide.colour, each.slide.shape) for each in first.events]
    seeds = (seed for seed in range(60_100, 60_200) if not shows(made(seed), names))
    scripts = [first, *(made(next(seeds)) for _ in KINDS)]
    return first, [sent(folder, number, script) for number, script in enumerate(scripts)]


def made(seed: int) -> Video:
    return make_video(seed, 1, split="eval", duration_s=PIECE_S)


def shows(video: Video, names: list[tuple[str, str]]) -> bool:
    return any((each.slide.colour, each.slide.shape) in names for each in video.events)


def sent(folder: Path, number: int, script: Video) -> bytes:
    """A film as a camera sends it."""
    side, rate = KINDS[number % len(KINDS)]
    film, path = folder / f"{number}.mp4", folder / f"{number}.ts"
    write_mp4(script, film)
    picture = (
        "-vf",
        f"scale={side}:{side}",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        "10",
        "-pix_fmt",
        "yuv420p",
    )
    footage.run("-i", film, *picture, "-c:a", "aac", "-ar", rate, "-f", "mpegts", path)
    return path.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", [Station, RtspStation])
def test_twenty_cuts_cost_a_watch_neither_its_memory_nor_the_length_of_a_gap(kind, films, tmp_path):
    first, streams = films
    draw = random.Random(7)
    pieces = [data[: int(len(data) * draw.uniform(0.3, 0.6))] for data in (streams[1:] * 5)]
    rates = [len(data) / PIECE_S for data in streams[1:] * 5]
    script = [Sent(streams[0], len(streams[0]) / FIRST_S), *(Sent(*each) for each in zip(pieces, rates, strict=True))]
    log = tmp_path / "e.jsonl"
    with kind(script[:10]) as before:
        watch = started(tmp_path, before.url, "--every", "30s", "--events", log, "-f", "json")
        wait_for(lambda: len(before.times) == 10, watch)
    time.sleep(2.0)  # nobody listens
    with kind(script[10:], port=before.server_address[1]) as after:
        wait_for(lambda: after.count > len(script) - 10, watch)
        watch.terminate()
        _, err = watch.communicate(timeout=60)
    assert watch.returncode == 143, err.decode()
    assert b"Traceback" not in err
    told = lines_of(log)
    times = before.times + after.times
    check_gaps([each for each in told if each["type"] == "gap" and each["state"] == "closed"], times)
    assert sum(each["tag"] == "changed" for each in told) >= 8
    check_memory(json.loads((tmp_path / "camera.summary.json").read_text()))
    for event in first.events:
        slide = event.slide
        said = ask(tmp_path, "camera.omnimem", f"Which word is written on the {slide.colour} {slide.shape}?")
        assert slide.title in said, "the beginning can be asked about"


def check_gaps(gaps: list[dict], times: list[tuple[float, float]]) -> None:
    """Each gap begins where a connection ended, and ends where a later one began, and no cut is without one."""
    assert len(times) == CUTS + 1 and len(gaps) >= CUTS - 2
    ends, begins = [end for _, end in times], [begin for begin, _ in times]
    covered = set()
    for gap in gaps:
        start, end = (datetime.fromisoformat(gap[name]).timestamp() for name in ("start", "end"))
        cut = min(range(CUTS), key=lambda number: abs(ends[number] - start))
        back = min(range(cut + 1, CUTS + 1), key=lambda number: abs(begins[number] - end))
        assert abs(ends[cut] - start) <= 2.0 and abs(begins[back] - end) <= 2.0
        assert abs((gap["end_s"] - gap["start_s"]) - (begins[back] - ends[cut])) <= 2.0
        covered |= set(range(cut, back))
    assert covered == set(range(CUTS))


def check_memory(result: dict) -> None:
    """Entries of the time before the first cut are still there."""
    kept = result["memory"]["distribution"]
    steps = int(FIRST_S // kept["step_s"])
    assert all(sum(kept["over_time"][kind][:steps]) > 0 for kind in ("visual", "audio"))
    assert result["status"] == "done"
