"""Copies of windows of the memory: read later, they are what the memory held then."""

import pytest
import torch
from decoders import omni_decoder, question, stream
from oracles import cuts, prompts

from omnimem_cli.base.choices import POSITIONS
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
