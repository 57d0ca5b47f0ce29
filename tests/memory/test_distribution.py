"""Where kept entries lie, against what the stores hold."""

import json
from dataclasses import asdict

import pytest
import torch
from decoders import omni_decoder, stream

from omnimem_cli.memory.budget import LayerBudget
from omnimem_cli.memory.distribution import KINDS, MOST_STEPS, distribution, step_for
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy

BUDGETS = [LayerBudget(10, 20), LayerBudget(20, 20), LayerBudget(5, 9), LayerBudget(30, 30)]


def watched(policy: str, seconds: int = 9) -> Memory:
    memory = Memory(omni_decoder(), make_policy(policy), BUDGETS, dtype=torch.float32)
    memory.absorb(stream(seconds, text=True))
    return memory


@pytest.mark.parametrize("policy", ["omnimem", "snapkv", "full"])
def test_steps_and_layers_add_up_to_what_the_memory_counts(policy):
    memory = watched(policy)
    found, counts = distribution(memory, 0.0, 9.0), memory.counts()
    for name, kind in KINDS.items():
        assert sum(found.over_time[name]) == pytest.approx(counts[kind], abs=0.05)
        assert sum(found.by_layer[name]) / len(memory.stores) == pytest.approx(counts[kind], abs=0.05)


def test_a_memory_that_keeps_all_has_the_same_entries_in_every_step():
    found = distribution(watched("full", seconds=8), 0.0, 8.0)
    assert (found.start_s, found.step_s) == (0.0, 2)
    assert found.over_time == {"visual": [12.0] * 4, "audio": [20.0] * 4, "text": [4.0] * 4}
    assert found.by_layer == {"visual": [48.0] * 4, "audio": [80.0] * 4, "text": [16.0] * 4}
    assert found.budget_by_layer is None


def test_no_layer_is_above_its_budget():
    found = distribution(watched("omnimem"), 0.0, 9.0)
    assert found.budget_by_layer == {"visual": [10, 20, 5, 30], "audio": [20, 20, 9, 30]}
    for kind, budgets in found.budget_by_layer.items():
        assert all(kept <= budget for kept, budget in zip(found.by_layer[kind], budgets, strict=True))


def test_entries_outside_the_range_count_in_its_first_and_last_step():
    found = distribution(watched("full", seconds=8), 2.0, 6.0)
    assert found.over_time["visual"] == [24.0, 24.0]


def test_an_empty_memory_has_a_distribution_of_zeros():
    memory = Memory(omni_decoder(), make_policy("omnimem"), BUDGETS, dtype=torch.float32)
    found = distribution(memory, 0.0, 0.0)
    assert found.over_time == {"visual": [0.0], "audio": [0.0], "text": [0.0]}


@pytest.mark.parametrize(
    ("seconds", "step_s"), [(0, 2), (52, 2), (192, 2), (193, 5), (3600, 60), (10_800, 120), (1e6, 10_800)]
)
def test_steps_are_whole_and_few(seconds, step_s):
    assert step_for(seconds) == step_s
    assert seconds / step_s <= MOST_STEPS


def test_a_distribution_is_plain_values():
    found = asdict(distribution(watched("omnimem"), 0.0, 9.0))
    assert json.loads(json.dumps(found)) == found
