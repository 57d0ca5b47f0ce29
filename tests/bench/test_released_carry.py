"""The released carry beside the engine's: the same entries, the same answers, other bytes."""

import pytest
import torch
from decoders import DECODERS, WIDTH, question, stream

from omnimem_cli.bench.released_carry import CarryMemory
from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy

BUDGETS = even_budgets(4, 48, 0.7, True, True)


def watched(memory: Memory) -> Memory:
    piece = stream(20, text=True)
    for start in range(0, len(piece), 90):
        memory.absorb(piece.cut(start, min(start + 90, len(piece))))
    return memory


def answered(memory: Memory) -> torch.Tensor:
    embeds, positions = question()
    return memory.fork().forward(embeds[None], positions[:, None])[0]


@pytest.mark.parametrize("family", DECODERS)
def test_recomputed_keys_and_values_answer_as_carried_ones(family):
    decoder = DECODERS[family]()
    engine = watched(Memory(decoder, make_policy("omnimem:carry=100"), BUDGETS, dtype=torch.float32))
    carry = watched(CarryMemory(decoder, BUDGETS, dtype=torch.float32))
    for ours, theirs in zip(carry.stores, engine.stores, strict=True):
        assert torch.equal(ours.table["index"], theirs.table["index"])
    assert (answered(carry) - answered(engine)).abs().max() < 1e-4
    assert len(carry.stores[0]) < carry.tokens_seen / 2


def test_between_chunks_there_are_inputs_and_no_keys():
    carry = watched(CarryMemory(DECODERS["omni"](), BUDGETS, dtype=torch.float32))
    kept = sum(map(len, carry.stores))
    assert kept * 4 * WIDTH < carry.nbytes == sum(store.table.nbytes for store in carry.stores)
    answered(carry)
    assert carry.nbytes == sum(store.table.nbytes for store in carry.stores) + kept * 2 * 2 * 16 * 4


def test_a_carried_memory_goes_on_after_an_answer():
    decoder, piece = DECODERS["omni"](), stream(20)
    once, asked = (CarryMemory(decoder, BUDGETS, dtype=torch.float32) for _ in range(2))
    for start in range(0, len(piece), 90):
        for memory in (once, asked):
            memory.absorb(piece.cut(start, min(start + 90, len(piece))))
        answered(asked)
    assert (answered(once) - answered(asked)).abs().max() < 1e-5
