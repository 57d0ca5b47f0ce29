"""Every policy in the table, over streams of every shape: what must hold whatever the rule.

A new policy is picked up by itself, with both pools where it has them.
"""

import copy
import dataclasses
import gc
import weakref

import pytest
import torch
from decoders import stream
from oracles import EVERY, alike, ask, cuts, memory_of, watched

from omnimem_cli.memory.budget import LayerBudget
from omnimem_cli.memory.policies import POLICIES, make_policy
from omnimem_cli.memory.selection import WHOLE_STEP
from omnimem_cli.memory.tokens import AUDIO, PREFIX, VISUAL

VARIANTS = (
    "omnimem:score=code",
    "omnimem:neighbours=time",
    "uniform:variant=stride",
    "snapkv:window=5:pooling=max",
    "infinipot-v:grid=true",
    "streammem:merge=mean:keys=raw",
    "streammem:merge=none:reduce=max",
    "hermes:variant=code:align=token",
    "hermes:summary=no:smoothing=paper",
)


def with_pools(name: str) -> list[str]:
    has_pools = "pool" in {f.name for f in dataclasses.fields(POLICIES[name])}
    return [f"{name}:pool={pool}" for pool in ("one", "split")] if has_pools else [name]


EACH = [text for name in POLICIES for text in with_pools(name)]
BOUNDED = [text for text in (*EACH, *VARIANTS) if make_policy(text).bounded]
BITS = (16, 8, 4)


SHAPES = {  # stream, sizes of chunks (repeated), budget
    "audio-visual": (lambda: stream(12), EVERY, 40),
    "with text": (lambda: stream(12, text=True), EVERY, 40),
    "video only": (lambda: stream(12, slots=0), EVERY, 20),
    "audio only": (lambda: stream(12, patches=0), EVERY, 40),
    "silent": (lambda: alike(stream(12), AUDIO), EVERY, 40),
    "static": (lambda: stream(12, static=True), EVERY, 40),
    "all equal": (lambda: alike(stream(12), PREFIX, VISUAL, AUDIO), EVERY, 40),
    "one chunk": (lambda: stream(12), (1000,), 40),
    "shorter than the budget": (lambda: stream(2), (11,), 40),
    "cut at any token": (lambda: stream(4, text=True), (1, 2, 9, 3, 17), 12),
    "cut inside a frame": (lambda: stream(6), (8, 3, 5), 20),
    "a budget of two": (lambda: stream(6), EVERY, 2),
}


def held_by_contest(kinds: torch.Tensor, pool: str) -> list[int]:
    visual, audio = int((kinds == VISUAL).sum()), int((kinds == AUDIO).sum())
    return [visual + audio] if pool == "one" else [visual, audio]


def places(budget: LayerBudget, pool: str) -> list[int]:
    return [budget.total] if pool == "one" else [budget.visual, budget.audio]


def cases():
    """Every policy on every shape; of the variants and with fewer bits, the shapes that are hardest on the code."""
    hard = ("with text", "all equal", "cut at any token", "a budget of two")
    whole = [(p, s, 16) for p in BOUNDED for s in SHAPES if p not in VARIANTS or s in hard]
    return whole + [(p, s, b) for p in BOUNDED for s in hard for b in (8, 4)]


@pytest.mark.parametrize(("policy", "shape", "kv_bits"), cases())
def test_every_contest_is_full_and_never_over_at_any_chunks_end(policy, shape, kv_bits):
    make, sizes, entries = SHAPES[shape]
    tokens = make()
    memory, pool = memory_of(policy, tokens, entries, kv_bits), make_policy(policy).pool
    seen = 0
    for chunk in cuts(tokens, sizes):
        memory.absorb(chunk)
        seen += len(chunk)
        so_far = held_by_contest(tokens.kind[:seen], pool)
        for store, budget in zip(memory.stores, memory.budgets, strict=True):
            expected = [min(count, k) for count, k in zip(so_far, places(budget, pool), strict=True)]
            for row in store.table["kind"]:
                assert held_by_contest(row, pool) == expected
            check_list(store.table, min(seen, 5))
        assert memory.nbytes <= memory.peak_bytes
    assert ask(memory).isfinite().all()


def check_list(table, prefix: int) -> None:
    """In stream order, the prefix first and whole, no token twice (a merged entry stands beside its last token)."""
    index, merged = table["index"], (table["patch"] == WHOLE_STEP) & (table["kind"] >= VISUAL)
    assert bool((index[:, 1:] >= index[:, :-1]).all())
    for row, extra in zip(index, merged, strict=True):
        own = row[~extra]
        assert bool((own[1:] > own[:-1]).all())
        assert own[:prefix].tolist() == list(range(prefix))


@pytest.mark.parametrize("policy", BOUNDED)
def test_a_budget_as_long_as_the_stream_equals_full(policy):
    tokens = stream(5, text=True)
    assert (ask(watched(policy, tokens, entries=1000)) - ask(watched("full", tokens))).abs().max() < 1e-4


@pytest.mark.parametrize("kv_bits", BITS)
@pytest.mark.parametrize("policy", [*EACH, *VARIANTS])
def test_asking_changes_nothing(policy, kv_bits):
    memory = watched(policy, stream(6), kv_bits=kv_bits)
    before = copy.deepcopy(memory.state())
    first = ask(memory)
    ask(memory, n=4, seed=3)
    ask(memory, n=3, window=(0.0, 4.0))
    assert torch.equal(ask(memory), first)
    assert_same(before, memory.state())


@pytest.mark.parametrize("kv_bits", BITS)
@pytest.mark.parametrize("policy", [*EACH, *VARIANTS])
def test_a_restored_memory_goes_on_bit_for_bit(policy, kv_bits):
    tokens = stream(9, text=True)
    whole = watched(policy, tokens, kv_bits=kv_bits)
    chunks = list(cuts(tokens, EVERY))
    first, second = (memory_of(policy, tokens, 40, kv_bits) for _ in range(2))
    for chunk in chunks[:2]:
        first.absorb(chunk)
    second.load_state(copy.deepcopy(first.state()))
    for chunk in chunks[2:]:
        second.absorb(chunk)
    assert_same(whole.state()["layers"], second.state()["layers"])


@pytest.mark.parametrize("kv_bits", BITS)
@pytest.mark.parametrize("policy", BOUNDED)
def test_bytes_are_flat_once_the_budget_is_full(policy, kv_bits):
    tokens = stream(40)
    memory, sizes = memory_of(policy, tokens, 40, kv_bits), []
    for chunk in cuts(tokens, (64,)):
        memory.absorb(chunk)
        sizes.append((memory.nbytes, memory.peak_bytes if len(chunk) == 64 else sizes[-1][1]))
    assert len(set(sizes[2:])) == 1


@pytest.mark.parametrize(("policy", "layers"), [("sliding-window", 1), ("hermes", 4)])
def test_the_peak_counts_the_chunk_in_flight_in_every_layer_that_waits(policy, layers):
    memory = watched(policy, stream(12))
    kv_bytes, table_bytes = 2 * 2 * 16 * 4, 33
    assert memory.peak_bytes - memory.nbytes == layers * 37 * (kv_bytes + table_bytes)


def test_a_window_reads_the_same_seconds_in_every_head():
    """SnapKV with room for all keeps what full keeps, but reads it head by head."""
    by_head, by_layer = (watched(policy, stream(9), entries=1000) for policy in ("snapkv", "full"))
    window = (3.0, 6.0)
    assert (ask(by_head, window=window) - ask(by_layer, window=window)).abs().max() < 1e-4
    assert (ask(by_layer, window=window) - ask(by_layer)).abs().max() > 0.05


@pytest.mark.parametrize("policy", EACH)
def test_a_memory_is_gone_with_its_last_use(policy):
    memory = watched(policy, stream(6))
    ask(memory)
    alive = weakref.ref(memory)
    gc.disable()  # on a GPU its bytes are missing until something else makes the collector run
    try:
        del memory
        assert alive() is None
    finally:
        gc.enable()


def assert_same(a, b) -> None:
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b
