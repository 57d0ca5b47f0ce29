"""Policies and position modes through a real (tiny, random) model: what fitting wires."""

from dataclasses import replace

import pytest
import torch
from streams import frames_of, media_of, segments_of, sound_of

from omnimem_cli.base.budget import Budget, parse_budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.memory.policies import POLICIES, make_policy
from omnimem_cli.memory.tokens import AUDIO, VISUAL
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import size_memory


def watched(adapter, seconds, **settings):
    """A session that has watched so many seconds of noise, at a budget of 60 entries unless told."""
    media, sound = media_of(seconds, seconds), sound_of(seconds)
    plan = adapter.plan(media, WatchOptions(fps=2, max_pixels=112 * 84))
    stream = adapter.open(media, plan)
    stream.scan_audio(torch.from_numpy(sound))
    fitted = size_memory(Settings(**{"budget": Budget(60)} | settings), adapter, plan, media)
    session = Session(stream, fitted.memory(stream), fitted.chunk_tokens)
    for _ in session.watch(segments_of(plan.format, frames_of(seconds, 2, 112, 84), sound)):
        pass
    return session


@pytest.mark.parametrize("positions", ["keep", "eager", "retime"])
@pytest.mark.parametrize("policy", ["omnimem", "streammem:pool=split", "hermes"])
def test_policies_and_positions_work_together(tiny_adapter, policy, positions):
    session = watched(tiny_adapter, 11.0, policy=policy, positions=positions)
    first = session.ask(["What?", "And who is it?"], max_tokens=6)
    assert session.ask(["What?", "And who is it?"], max_tokens=6) == first
    assert all(store.state()["key"].isfinite().all() for store in session.memory.stores)


@pytest.mark.parametrize("policy", [name for name in POLICIES if make_policy(name).bounded])
@pytest.mark.parametrize("positions", ["keep", "eager"])
def test_a_byte_budget_holds_at_every_moment(tiny_adapter, policy, positions):
    memory = watched(
        tiny_adapter, 15.0, policy=policy, positions=positions, budget=parse_budget("400KiB"), chunk=80
    ).memory
    assert 0.6 * 400 * 1024 < memory.nbytes <= memory.peak_bytes <= 400 * 1024


@pytest.mark.parametrize("policy", POLICIES)
def test_tokens_that_are_not_finite_reach_no_memory(tiny_adapter, policy, monkeypatch):
    see, calls = type(tiny_adapter).see, []

    def broken(self, frames):
        calls.append(frames)
        seen = see(self, frames)
        seen[0][1, 3] = torch.nan
        return seen

    monkeypatch.setattr(type(tiny_adapter), "see", broken)
    memory = watched(tiny_adapter, 15.0, policy=policy).memory
    assert memory.counts()[VISUAL] >= 10 and memory.counts()[AUDIO] >= 5
    assert memory.dropped == len(calls) > 0
    assert all(store.state()[part].isfinite().all() for store in memory.stores for part in ("key", "value"))


def test_retiming_stays_inside_the_rows_trained_range(tiny_adapter):
    tiny_adapter.row = replace(tiny_adapter.row, trained_positions=256)
    kept, moved = (watched(tiny_adapter, 21.0, positions=mode).memory for mode in ("keep", "retime"))
    assert kept.next_position == moved.next_position > 256
    assert float(moved.position_map.place(0, torch.full((3, 1), moved.next_position)).max()) <= 256


@pytest.mark.parametrize("policy", ["omnimem", "hermes"])
def test_a_restored_session_goes_on_with_its_clock(tiny_adapter, tiny_folder, policy):
    from omnimem_cli.models.loader import load

    frames, sound, media = frames_of(11, 2, 112, 84), sound_of(11.0), media_of(11.0, 11.0)

    def begin(adapter):
        plan = adapter.plan(media, WatchOptions(fps=2, max_pixels=112 * 84))
        fitted = size_memory(Settings(budget=Budget(60), policy=policy, positions="eager"), adapter, plan, media)
        stream = adapter.open(media, plan)
        return Session(stream, fitted.memory(stream), fitted.chunk_tokens)

    whole = begin(tiny_adapter)
    whole.stream.scan_audio(torch.from_numpy(sound))
    segments, states = segments_of(whole.plan.format, frames, sound), []
    for _ in whole.watch(segments):
        states.append(whole.state())
    again = begin(load(str(tiny_folder), device="cpu"))
    again.load_state(states[1])
    for _ in again.watch(segments[2 * whole.segments_per_chunk :]):
        pass
    assert again.ask(["What?"], max_tokens=8) == whole.ask(["What?"], max_tokens=8)
