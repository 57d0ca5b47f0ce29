"""Where topics change: found in vectors of segments, as they come, whatever the chunks, and in bounded memory."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scripted import ScriptedSession

from omnimem_cli.base.packing import packed, unpacked
from omnimem_cli.base.settings import Settings
from omnimem_cli.session.segment_vectors import SegmentVectors
from omnimem_cli.session.session import ChunkEnd
from omnimem_cli.tasks.summarize import Summarize
from omnimem_cli.tasks.topics import HISTORY, Topics

SEGMENT_S = 2.0
TOPICS = ((0, 60), (1, 100), (2, 150), (0, 210), (3, 290), (1, 340))  # which, and until when


def vectors(until_s: float, topics=TOPICS, kinds: str = "va", noise: float = 0.6) -> list[SegmentVectors]:
    """Noisy segments, each near the direction of its topic."""
    rng, found = np.random.default_rng(0), []
    for start_s in np.arange(0.0, until_s, SEGMENT_S):
        about = next((which for which, end_s in topics if start_s < end_s), topics[-1][0])
        near = np.eye(8, dtype=np.float32)[about] + 1.0
        both = [(near + noise * rng.standard_normal(8)).astype(np.float32) for _ in "va"]
        found.append(
            SegmentVectors(float(start_s), *(v if k in kinds else None for v, k in zip(both, "va", strict=True)))
        )
    return found


def changes(segments: list[SegmentVectors], per_chunk: int = 5, target_s: float = 60.0) -> list[float]:
    topics, found, open_s = Topics(target_s), [], 0.0
    for first in range(0, len(segments), per_chunk):
        topics.add(segments[first : first + per_chunk])
        while (end_s := topics.change_after(open_s, first + per_chunk >= len(segments))) is not None:
            assert end_s > open_s
            found.append(open_s := end_s)
    return found


@pytest.mark.parametrize("kinds", ["va", "v", "a"])
def test_every_change_of_topic_is_found_within_two_segments(kinds: str):
    found = changes(vectors(340, kinds=kinds))
    assert all(min(abs(end - true) for end in found) <= 2 * SEGMENT_S for _, true in TOPICS[:-1]), found


def test_a_chapter_has_a_third_of_the_target_at_least_and_twice_at_most():
    for target_s in (30.0, 60.0, 120.0):
        ends = [0.0, *changes(vectors(1200, topics=(*TOPICS, (2, 1200))), target_s=target_s)]
        lengths = np.diff(ends)
        assert lengths.min() >= target_s / 3 and lengths.max() <= 2 * target_s, (target_s, lengths)


def test_what_never_changes_still_has_chapters():
    still = [SegmentVectors(float(s), np.ones(4, np.float32), None) for s in range(0, 400, 2)]
    lengths = np.diff([0.0, *changes(still)])
    assert len(lengths) >= 2 and lengths.max() <= 120.0


def test_segments_that_show_nothing_new_or_are_not_finite_do_not_break_it():
    gaps = [v if i % 3 else SegmentVectors(v.start_s, None, None) for i, v in enumerate(vectors(340))]
    assert len(changes(gaps)) >= 4
    broken = vectors(340)
    broken[50] = SegmentVectors(broken[50].start_s, np.full(8, np.nan, np.float32), broken[50].audio)
    assert all(min(abs(end - true) for end in changes(broken)) <= 2 * SEGMENT_S for _, true in TOPICS[:-1])
    assert changes([SegmentVectors(float(s), None, None) for s in range(0, 400, 2)]) == []


def test_what_is_kept_does_not_grow_with_the_video():
    topics, open_s = Topics(60.0), 0.0
    for one in vectors(6000, topics=(*TOPICS, (2, 6000))):
        topics.add([one])
        open_s = topics.change_after(open_s, False) or open_s
        assert len(topics._recent) <= 16 and len(topics._candidates) <= 61 and len(topics._distances) <= HISTORY


def test_a_watch_that_goes_on_from_its_state_ends_chapters_where_an_unbroken_one_does():
    segments, whole = vectors(340), changes(vectors(340))
    topics, found, open_s = Topics(60.0), [], 0.0
    for first in range(0, len(segments), 5):
        topics.add(segments[first : first + 5])
        while (end_s := topics.change_after(open_s, first + 5 >= len(segments))) is not None:
            found.append(open_s := end_s)
        tensors: dict[str, torch.Tensor] = {}
        state = packed(topics.state(), tensors)
        topics = Topics(60.0)
        topics.load_state(unpacked(state, tensors.__getitem__))
    assert found == whole


def told(style: str, by: str) -> tuple[list[tuple[float, float]], Summarize]:
    session = ScriptedSession(lambda text: "Said.", may_hold=True)
    task = Summarize(Settings(), style=style, notes_s=60.0, by=by)
    segments = vectors(340)
    for first in range(0, len(segments), 10):
        session.vectors = segments[first : first + 10]
        session.now_s = session.vectors[-1].start_s + SEGMENT_S
        task.on_chunk(session, ChunkEnd(first, 0.0, session.now_s, session.now_s >= 340), ())
    task.finish(session, 340.0)
    return [(note.start_s, note.end_s) for note in task.notes], task


@pytest.mark.parametrize("style", ["chapters", "detailed"])
def test_chapters_and_the_parts_of_a_detailed_summary_follow_topics(style: str):
    by_topic, _ = told(style, "topic")
    ends = [end_s for _, end_s in by_topic]
    assert all(min(abs(end_s - true) for end_s in ends) <= 4 for _, true in TOPICS[:-1])
    assert by_topic[0][0] == 0.0 and by_topic[-1][1] == 340.0
    assert all(before[1] == after[0] for before, after in pairwise(by_topic))
    by_clock, _ = told(style, "clock")
    assert by_clock[:5] == [(60.0 * i, 60.0 * (i + 1)) for i in range(5)]


def test_a_memory_file_keeps_notes_and_no_vectors():
    _, task = told("chapters", "topic")
    assert set(task.written) == {"notes", "warnings", "open_s"}
    assert set(task.state()) == {*task.written, "topics"}
    assert task.wishes["by"] == "topic"
