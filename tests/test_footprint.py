"""What a watch takes beside the weights: the bound before it begins, and the tensors that were really alive."""

import pytest
import torch
from peak import Peak
from streams import frames_of, media_of, segments_of, sound_of

from omnimem_cli.fitting import fit
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.blank import random_adapter
from omnimem_cli.models.device import free_bytes
from omnimem_cli.models.footprint import tail_bytes, transient_bytes, widths
from omnimem_cli.session import Session
from omnimem_cli.settings import Settings


def begun(adapter, seconds: float, width: int, height: int, **settings):
    """A session and the segments of its video."""
    media, chosen = media_of(seconds, seconds, width, height), Settings(max_pixels=width * height, **settings)
    plan = adapter.plan(media, WatchOptions(max_pixels=chosen.max_pixels))
    fitted = fit(chosen, adapter, plan, media)
    frames = frames_of(seconds, plan.format.fps, plan.format.width, plan.format.height)
    session = Session(adapter, fitted.memory(adapter), media, plan, fitted.chunk_tokens)
    return session, segments_of(plan.format, frames, sound_of(seconds))


@pytest.mark.parametrize("policy", ["omnimem", "omnimem:stride=1", "full"])
@pytest.mark.parametrize(("seconds", "width", "height"), [(20, 112, 84), (8, 448, 364)])
def test_no_more_is_alive_than_was_reckoned(tiny_adapter, policy, seconds, width, height):
    session, segments = begun(tiny_adapter, seconds, width, height, budget="2000", policy=policy)
    with Peak() as peak:
        list(session.watch(segments))
    watched = peak.most
    with Peak() as peak:
        session.ask(["What is shown?"] * 4, max_tokens=3)
    sizes, chunk = widths(tiny_adapter.model.config), session.memory.tokens_seen
    stride = 8 if policy == "omnimem" else 1
    reckoned = transient_bytes(sizes, session.plan, chunk, 4, stride) + session.memory.peak_bytes
    assert reckoned / 6 < watched <= reckoned
    assert peak.most <= tail_bytes(sizes, 4)


def test_free_memory_is_what_can_be_had():
    free = free_bytes(torch.device("cpu"))
    assert 2**27 < free < 2**50


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("budget", ["1k", "8k"])
def test_the_allocators_peak_stays_below_what_was_reckoned(budget):
    adapter = random_adapter("qwen2.5-omni-3b", device="cuda")
    session, segments = begun(adapter, 240, 640, 360, budget=budget)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    list(session.watch(segments))
    session.ask(["What is shown?"] * 16, max_tokens=64)
    taken = torch.cuda.max_memory_allocated() - before
    sizes = widths(adapter.model.config)
    reckoned = transient_bytes(sizes, session.plan, session.chunk_tokens, 2, 2) + tail_bytes(sizes, 2)
    assert taken <= reckoned + session.memory.peak_bytes
