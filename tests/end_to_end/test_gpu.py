"""What needs a CUDA device: the fast kernels, and the memory on them. Run with ``pytest -m gpu``."""

from dataclasses import fields

import pytest
import torch
from decoders import omni_decoder, question, stream

from omnimem_cli.memory import attention_kernels as kernels
from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.tokens import TokenChunk

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def on(device: str, piece: TokenChunk) -> TokenChunk:
    columns = {f.name: getattr(piece, f.name) for f in fields(piece) if f.name != "deepstack"}
    return TokenChunk(**{name: column.to(device) for name, column in columns.items()})


def answer(device: str, policy: str, dtype=torch.float32) -> tuple[torch.Tensor, Memory]:
    decoder, piece = omni_decoder().to(device, dtype), stream(40)
    piece.embeds = piece.embeds.to(dtype)
    budgets = even_budgets(4, 64, 0.7, True, True)
    memory = Memory(decoder, make_policy(policy), budgets, dtype=dtype, device=device)
    for start in range(0, len(piece), 128):
        memory.absorb(on(device, piece.cut(start, min(start + 128, len(piece)))))
    embeds, positions = question()
    hidden = memory.fork().forward(embeds[None].to(device, dtype), positions[:, None].to(device))
    return hidden[0].float().cpu(), memory


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_a_fast_kernel_is_found_and_agrees(dtype, head_dim):
    kernel = kernels.best_kernel(torch.device("cuda"), dtype, head_dim)
    assert kernel is not kernels.reference_kernel
    q, k, v = torch.randn(3, 1, 4, 700, head_dim, device="cuda", dtype=dtype)
    for causal in (False, True):
        out, lse = kernel(q, k, v, head_dim**-0.5, causal)
        exact, exact_lse = kernels.reference_kernel(q, k, v, head_dim**-0.5, causal)
        assert (out.float() - exact.float()).abs().max() < 2e-2 and (lse - exact_lse).abs().max() < 2e-2


@pytest.mark.parametrize("policy", ["full", "omnimem:carry=100"])
def test_the_device_answers_as_the_cpu_does(policy):
    (there, memory), (here, reference) = answer("cuda", policy), answer("cpu", policy)
    same = [
        torch.isin(a.table["index"].cpu(), b.table["index"]).float().mean()
        for a, b in zip(memory.stores, reference.stores, strict=True)
    ]
    assert min(same) > 0.99 and (there - here).abs().max() < 5e-2


def test_bf16_memory_takes_half_of_fp32():
    (_, half), (_, whole) = answer("cuda", "full", torch.bfloat16), answer("cuda", "full")
    sides = [sum(s.table.nbytes for s in m.stores) for m in (half, whole)]
    assert 2 * (half.nbytes - sides[0]) == whole.nbytes - sides[1]


def test_the_allocators_peak_does_not_grow_with_the_stream():
    decoder, peaks = omni_decoder().cuda(), []
    memory = Memory(
        decoder, make_policy("omnimem"), even_budgets(4, 64, 0.7, True, True), dtype=torch.float32, device="cuda"
    )
    for i in range(30):
        torch.cuda.reset_peak_memory_stats()
        memory.absorb(on("cuda", stream(8, seed=i).cut(5, 5 + 128)))
        peaks.append(torch.cuda.max_memory_allocated())
    assert max(peaks[5:]) <= 1.02 * peaks[4]
