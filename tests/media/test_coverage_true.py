"""What is told about coverage is true: of random edits of files in every container whose true seconds are known."""

import random

import footage
import pytest
from edits import Edited, Editor

from omnimem_cli.base.errors import InputError
from omnimem_cli.media.decode import Source
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import Format
from omnimem_cli.results.coverage import coverage, coverage_warnings, media_warnings

LAYOUT = Format(segment_s=2.0, fps=2, width=16, height=16)
SAMPLE, ALL = 32, 500
LEAST_LOSS_S = 2.0
SEED = 5
SECONDS = 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("edits")


def faults(edited: Edited) -> list[str]:
    """What is told about an edited file and is not so."""
    try:
        media = probe(str(edited.path))
        with Source(media, LAYOUT) as source:
            segments = list(source)
    except InputError as error:
        return [] if edited.lost_s else [f"refused: {error}"]
    video_s, audio_s = footage.delivered_s(media, LAYOUT, segments)
    part = coverage(media, video_s, audio_s)
    warnings = [*media_warnings(media), *source.warnings, *coverage_warnings(part)]
    found = [
        f"{name}: {told:.2f} s are told, {true:.2f} s are true"
        for name, told, true in (("picture", video_s, edited.video_s), ("sound", audio_s, edited.audio_s))
        if abs(told - true) > max(SECONDS, 0.02 * true)
    ]
    if edited.lost_s > LEAST_LOSS_S and not warnings:
        found.append(f"a loss of {edited.lost_s:.1f} s is not told")
    if not edited.lost_s and {"coverage_low", "truncated_input", "gap", "unread_bytes"} & {w["code"] for w in warnings}:
        found.append(f"a false alarm: {warnings}")
    watched_s = LAYOUT.segment_s * len(segments)
    if watched_s > edited.shown_s + 3 * LAYOUT.segment_s:
        found.append(f"{watched_s:.0f} s are watched of {edited.shown_s:.0f} s")
    return found


def check(folder, first: int, count: int) -> list[str]:
    wrong = []
    for number in range(first, first + count):
        edited = Editor(folder, random.Random(SEED * 1000 + number), number).any()
        wrong += [f"{number} {edited.story}: {fault}" for fault in faults(edited)]
        edited.path.unlink()
    return wrong


def test_coverage_is_true_of_some_edits(folder):
    assert check(folder, 0, SAMPLE) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_coverage_is_true_of_five_hundred_edits(folder):
    assert check(folder, SAMPLE, ALL) == []
