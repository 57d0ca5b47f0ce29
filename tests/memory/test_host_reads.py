"""While a chunk passes through the layers, the host launches work: it waits for the device a few times per chunk."""

import pytest
import torch
from decoders import omni_decoder, stream
from host_reads import Operators, Reads
from oracles import cuts, prompts

from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.focus import FocusedMemory
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.repositioning import make_position_map


def reads_of_a_chunk(layers: int, policy: str, kv_bits: int, positions: str, focus=()) -> tuple[int, int]:
    """How often the host waits while a memory that is full absorbs one more chunk: calls, and operators."""
    decoder, budgets = omni_decoder(layers), even_budgets(layers, 40, 0.7, True, True)
    memory = (FocusedMemory if focus else Memory)(
        *filter(None, (focus,)),
        decoder,
        make_policy(policy),
        budgets,
        dtype=torch.float32,
        position_map=make_position_map(positions, decoder),
        prompts=prompts,
        kv_bits=kv_bits,
    )
    memory.hold_recent(2.0)
    *before, last = cuts(stream(12), (64,))
    for chunk in before:
        memory.absorb(chunk)
    with Reads() as reads, Operators() as operators:
        memory.absorb(last)
    return reads.count, operators.reads


@pytest.mark.parametrize("positions", ["keep", "lazy"])
@pytest.mark.parametrize("kv_bits", [16, 8, 4])
@pytest.mark.parametrize("policy", ["omnimem", "salience", "uniform", "sliding-window", "snapkv", "key-norm", "full"])
def test_the_host_waits_for_the_device_equally_often_whatever_the_number_of_layers(policy, kv_bits, positions):
    few, many = (reads_of_a_chunk(layers, policy, kv_bits, positions) for layers in (2, 6))
    assert few == many


@pytest.mark.parametrize("policy", ["omnimem", "salience"])
def test_a_focus_does_not_make_the_host_wait_in_every_layer(policy):
    few, many = (reads_of_a_chunk(layers, policy, 16, "keep", ("Who speaks?", "Why?")) for layers in (2, 6))
    assert few == many
