"""Copies of windows of the memory: read later, they are what the memory held then."""

import pytest
import torch
from decoders import omni_decoder, question, stream
from oracles import cuts, prompts

from omnimem_cli.base.choices import POSITIONS
from omnimem_cli.memory import attention
from omnimem_cli.memory.attention_by_time import AttentionByTime, Moments, RowMoments
from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.repositioning import make_position_map

WINDOWS = [(0.0, 3.0), (3.0, 4.0), (4.0, 6.0)]


def watched(policy="omnimem", positions="keep", kv_bits=16, chunk=37):
    """The memory of a stream after each chunk."""
    decoder = omni_decoder()
    memory = Memory(
        decoder,
        make_policy(policy),
        even_budgets(len(decoder.layers), 40, 0.7, True, True),
        dtype=torch.float32,
        position_map=make_position_map(positions, decoder, 64),
        prompts=prompts,
        kv_bits=kv_bits,
    )
    for piece in cuts(stream(9), (chunk,)):
        memory.absorb(piece)
        yield memory


def ask(memory, copies, observer=None):
    embeds, positions = question()
    rows = len(copies)
    fork = memory.fork_copies(copies)
    return fork.forward(embeds.expand(rows, -1, -1), positions[:, None].expand(-1, rows, -1), None, observer)


@pytest.mark.parametrize("kv_bits", [16, 8])
@pytest.mark.parametrize("policy", ["omnimem", "snapkv"])
def test_a_copy_is_read_as_the_memory_was_whatever_was_evicted_since(policy, kv_bits):
    memories = watched(policy, kv_bits=kv_bits)
    memory = next(memories)
    copied = memory.copy_window(0.0, 3.0)
    then = ask(memory, [copied])
    for _ in memories:
        pass
    assert (ask(memory, [copied]) - then).abs().max() < 1e-5
    assert (ask(memory, [memory.copy_window(0.0, 3.0)]) - then).abs().max() > 0.01, "something must have been evicted"


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("policy", ["omnimem", "snapkv"])
def test_rows_read_copies_of_their_own(policy, positions):
    *_, memory = watched(policy, positions)
    copies = [memory.copy_window(*window) for window in WINDOWS]
    singles = torch.cat([ask(memory, [copied]) for copied in copies])
    order = [0, 0, 1, 2, 2, 2, 0]
    assert (ask(memory, [copies[i] for i in order]) - singles[order]).abs().max() < 1e-4
    assert (singles[0] - singles[1]).abs().max() > 0.05


@pytest.mark.parametrize("positions", [mode for mode in POSITIONS if mode != "keep"])
def test_a_copy_of_a_memory_that_moved_its_entries_is_refused(positions):
    memories = watched(positions=positions)
    memory = next(memories)
    copied = memory.copy_window(0.0, 3.0)
    next(memories)
    with pytest.raises(AssertionError, match="moved"):
        ask(memory, [copied])


def test_every_row_is_observed_by_moments_of_its_own_window():
    *_, memory = watched()
    copies, moments = [memory.copy_window(*window) for window in WINDOWS], [Moments.of(*window) for window in WINDOWS]
    order = [0, 1, 1, 2]
    together = AttentionByTime([(0, 0), (1, 1)], RowMoments([moments[i] for i in order]))
    ask(memory, [copies[i] for i in order], together)
    paid = together.tokens()
    for row, i in enumerate(order):
        alone = AttentionByTime([(0, 0), (1, 1)], moments[i])
        ask(memory, [copies[i]], alone)
        own = alone.tokens()[0]
        torch.testing.assert_close(paid[row, ..., : moments[i].count], own, atol=2e-3, rtol=1e-2)
        assert paid[row, ..., moments[i].count :].sum() == 0 and own.sum() > 0


ROWS = [0, 0, 1, 2, 2]


def steps(memory, copies, kept=None, observer=None, row_bytes=2**20):
    """Hidden states of three steps after a question, the last two of the rows ``kept`` alone."""
    embeds, positions = question()
    rows = len(copies)
    made = memory.fork_copies(copies, row_bytes)
    made.forward(embeds.expand(rows, -1, -1), positions[:, None].expand(-1, rows, -1), None, observer)
    token, place = embeds[..., -1:, :].expand(rows, -1, -1), positions[:, None, -1:].expand(-1, rows, -1) + 1
    found = []
    for count in range(3):
        made.reserve(40)
        found.append(made.step(token, place + count))
        if observer is not None:
            observer.took(1)
        if kept is not None and not count:
            made.keep_rows(kept)
            token, place = token[kept], place[:, kept]
    return made, found


@pytest.mark.parametrize("kv_bits", [16, 8])
@pytest.mark.parametrize("policy", ["omnimem", "salience", "snapkv"])
def test_steps_read_the_same_before_the_text_and_apart(policy, kv_bits):
    *_, memory = watched(policy, kv_bits=kv_bits)
    copies = [memory.copy_window(*WINDOWS[i]) for i in ROWS]
    ours, found = steps(memory, copies, [4, 0, 2])
    _, expected = steps(memory, copies, [4, 0, 2], row_bytes=0)
    assert (ours._tail.front > 0) == (policy != "snapkv"), "KV heads of snapkv keep lists of unequal length"
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_a_step_is_one_call_of_attention_in_each_layer(monkeypatch):
    *_, memory = watched()
    calls, kernel = [], attention.best_biased_kernel
    made, _ = steps(memory, [memory.copy_window(*WINDOWS[i]) for i in ROWS])
    monkeypatch.setattr(attention, "best_biased_kernel", lambda *of: calls.append(of) or kernel(*of))
    embeds, positions = question()
    made.step(embeds[..., -1:, :].expand(5, -1, -1), positions[:, None, -1:].expand(-1, 5, -1) + 4)
    assert len(calls) == len(memory.stores)


def test_no_more_is_copied_than_there_is_room_for():
    *_, memory = watched()
    copies = [memory.copy_window(*WINDOWS[i]) for i in ROWS]
    made, _ = steps(memory, copies)
    copied = sum(2 * keys[:, :, : made._tail.front].numel() * 4 for keys in made._tail.keys)
    for room, fits in ((copied, True), (copied - 1, False)):
        assert (steps(memory, copies, row_bytes=room)[0]._tail.front > 0) == fits


def test_attention_is_observed_as_where_entries_are_read_apart():
    *_, memory = watched()
    copies = [memory.copy_window(*WINDOWS[0])] * 2
    paid = []
    for room in (2**20, 0):
        observer = AttentionByTime([(0, 0), (1, 1)], Moments.of(*WINDOWS[0]))
        steps(memory, copies, observer=observer, row_bytes=room)
        paid.append(observer.tokens())
    torch.testing.assert_close(*paid)
    assert paid[0][:, -3:].sum() > 0
