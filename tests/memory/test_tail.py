"""The text after a memory, in buffers of a fixed size."""

import pytest
import torch
from decoders import DECODERS, question, stream

from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.tail import TAIL_STEP, Tail


@pytest.mark.parametrize("family", DECODERS)
def test_a_step_of_every_family_is_one_graph(family):
    decoder = DECODERS[family]()
    memory = Memory(decoder, make_policy("omnimem"), even_budgets(4, 40, 0.7, True, True), dtype=torch.float32)
    memory.absorb(stream(9))
    embeds, positions = question(5)

    def states(made):
        fork, found = memory.fork(), []
        fork.forward(embeds[None], positions[:, None])
        fork.reserve(12)
        step, hidden = made(fork.step), embeds[-1].clone()[None, None]
        for token in range(12):
            hidden = step(hidden, positions[:, None, -1:] + 1 + token).clone()
            found.append(hidden)
        return torch.cat(found)

    expected = states(lambda step: step)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True), torch.no_grad():
        ours = states(lambda step: torch.compile(step, fullgraph=True, backend="aot_eager"))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_buffers_grow_with_what_they_hold_and_only_when_they_must():
    tail, (k, v) = Tail(1, 2, torch.float32, torch.device("cpu")), torch.randn(2, 2, 3, 5, 8)
    tail.open_text(torch.tensor([[True] * 5, [False] * 2 + [True] * 3]), tail.reserve(5))
    tail.write_text(0, k, v, 0)
    held = tail.keys[0]
    assert tail.reserve(TAIL_STEP - 5) == 5 and tail.keys[0] is held
    assert tail.reserve(1) == TAIL_STEP and tail.keys[0].shape[2] == tail.bias.shape[4] == 2 * TAIL_STEP
    tail.open_token()
    keys, values = tail.write_token(0, k[:, :, :1], v[:, :, :1])
    assert torch.equal(keys[:, :, :6], torch.cat([k, k[:, :, :1]], 2)) and torch.equal(values[:, :, 5:6], v[:, :, :1])
    assert tail.bias_of(0)[:, 0, 0, :7].isinf().tolist() == [[False] * 6 + [True], [True] * 2 + [False] * 4 + [True]]
