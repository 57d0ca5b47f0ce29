"""Questions that wait, with what the memory held of their windows: asked later they have the same answers."""

from dataclasses import replace

import pytest
import torch
from families import MAKERS
from peak import Peak
from streams import frames_of, media_of, segments_of, sound_of

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.memory.memory import geometry
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.loader import load
from omnimem_cli.session.footprint import AUTO_SHARE, HELD_MEMORIES, PADDED, WAITING_CHUNKS
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import WatchConfig, size_memory

TEXTS = ["What is shown?", "Who?"]
SETTINGS = Settings(budget=Budget(60), chunk=80, max_tokens=8, fps=1, max_pixels=112 * 84)
PLENTY = 2**36


def sized(adapter, free: int = PLENTY, seconds: float = 12.0, **changed) -> WatchConfig:
    settings, media = replace(SETTINGS, **changed), media_of(seconds, seconds)
    plan = adapter.plan(media, WatchOptions(fps=1, max_pixels=settings.max_pixels))
    return size_memory(settings, adapter, plan, media, free=free)


def begun(adapter, seconds: float = 12.0, **changed):
    """A session and the segments of its video, noise."""
    media, config = media_of(seconds, seconds), sized(adapter, seconds=seconds, **changed)
    plan = adapter.plan(media, WatchOptions(fps=1, max_pixels=SETTINGS.max_pixels))
    stream = adapter.open(media, plan)
    sound = sound_of(seconds)
    stream.scan_audio(torch.from_numpy(sound))
    room = {"held_bytes": config.held_bytes, "waiting_bytes": config.waiting_bytes}
    session = Session(stream, config.memory(stream), config.chunk_tokens, **room)
    return session, segments_of(plan.format, frames_of(seconds, 1, plan.format.width, plan.format.height), sound)


def said(answers) -> list:
    return [(answer.text, answer.tokens, answer.evidence) for answer in answers]


@pytest.mark.parametrize("kv_bits", [16, 8])
@pytest.mark.parametrize("family", MAKERS)
def test_questions_that_waited_are_answered_as_at_their_time(family, kv_bits, tmp_path):
    seconds = 90.0 if family.startswith("salmonn") else 20.0  # segments of half a minute
    session, segments = begun(load(str(MAKERS[family](tmp_path)), device="cpu"), seconds, kv_bits=kv_bits)
    held, at_once, open_s = [], [], 0.0
    for chunk_end, _ in session.watch(segments):
        held += session.hold(TEXTS, (open_s, chunk_end.end_s))
        at_once += session.ask(TEXTS, max_tokens=8, held=held[-2:], evidence=True)
        open_s = chunk_end.end_s
    assert len(held) >= 6
    assert said(session.ask(TEXTS * (len(held) // 2), max_tokens=8, held=held, evidence=True)) == said(at_once)


def test_windows_that_wait_take_no_more_than_was_left_for_them(tiny_adapter):
    peaks = []
    for wait in (False, True):
        session, segments = begun(tiny_adapter, 30.0, budget=Budget(150), chunk=40)
        held, open_s, most = [], 0.0, 0
        with Peak() as peak:
            for chunk_end, _ in session.watch(segments):
                held += session.hold(TEXTS, (open_s, chunk_end.end_s))
                open_s, most = chunk_end.end_s, max(most, len(held))
                if not wait or not session.may_hold:
                    held = []
        peaks.append(peak.most)
    memory = HELD_MEMORIES * session.memory.nbytes
    assert most > 8 and memory / 3 < peaks[1] - peaks[0] <= memory


@pytest.mark.parametrize("room", ["held_bytes", "waiting_bytes"])
def test_nothing_waits_where_the_budget_is_of_bytes_or_nothing_is_evicted(room, tiny_adapter):
    assert getattr(sized(tiny_adapter), room) > 0
    assert getattr(sized(tiny_adapter, budget=Budget(bytes=2**20)), room) == 0
    assert getattr(sized(tiny_adapter, policy="full"), room) == 0


def test_no_question_waits_where_entries_move(tiny_adapter):
    for positions, may_hold in (("keep", True), ("lazy", False)):
        session, segments = begun(tiny_adapter, positions=positions)
        next(session.watch(segments))
        held = session.hold(TEXTS, (0.0, session.end_s))
        assert held and session.may_hold == may_hold


@pytest.mark.parametrize("memories", [0.5, 1.5, 2.5, 9.0])
def test_windows_wait_in_what_the_watch_leaves_free(tiny_adapter, memories):
    usual = sized(tiny_adapter)
    shape = geometry(tiny_adapter.decoder, usual.policy, tiny_adapter.dtype)
    kept = (usual.held_bytes) // (HELD_MEMORIES - 1)
    assert kept >= shape.layers * shape.entry_bytes * 60
    tight = sized(tiny_adapter, free=int((usual.needed + memories * kept) / AUTO_SHARE) + 1)
    assert (tight.entries, tight.needed) == (usual.entries, usual.needed)
    assert tight.held_bytes == pytest.approx(max(0, min(memories, HELD_MEMORIES) - 1) * kept, abs=2)


def test_windows_that_wait_whole_take_no_more_than_was_left_for_them(tiny_adapter):
    peaks, room = [], sized(tiny_adapter, seconds=40.0).waiting_bytes
    for wait in (False, True):
        session, segments = begun(tiny_adapter, 40.0)
        session.memory.hold_recent(2.0)
        windows, most = [], 0
        with Peak() as peak:
            for chunk_end, _ in session.watch(segments):
                windows.append((windows[-1][1] if windows else max(chunk_end.end_s - 2.0, 0.0), chunk_end.end_s))
                session.hold_from(windows[0][0])
                if not wait or not session.may_wait:
                    most = max(most, len(windows))
                    session.ask(["x"] * len(windows), max_tokens=1, whole=windows)
                    session.hold_from(None)
                    windows = []
        peaks.append(peak.most)
    assert most >= WAITING_CHUNKS and room / 16 < peaks[1] - peaks[0] <= (1 + PADDED) * room


def test_no_window_waits_whole_where_entries_move(tiny_adapter):
    for positions, may_wait in (("keep", True), ("lazy", False)):
        session, segments = begun(tiny_adapter, positions=positions)
        session.memory.hold_recent(2.0)
        next(session.watch(segments))
        assert session.may_wait == may_wait


def test_windows_wait_whole_in_what_the_watch_and_held_questions_leave_free(tiny_adapter):
    usual = sized(tiny_adapter)
    held = usual.held_bytes // (HELD_MEMORIES - 1) * HELD_MEMORIES
    for left in (0, held, held + 3000, PLENTY):
        tight = sized(tiny_adapter, free=int((usual.needed + left) / AUTO_SHARE) + 1)
        expected = max(0, min((left - held) // (1 + PADDED), usual.waiting_bytes))
        assert tight.waiting_bytes == pytest.approx(expected, abs=2)
