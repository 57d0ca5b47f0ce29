"""The Triton kernel of importance: against plain torch through Triton's interpreter, and through its compiler.

Both need Triton, which comes with torch's CUDA builds. A process of their own, because what interprets is chosen when
Triton is first imported.
"""

import importlib.util
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from omnimem_cli.memory import importance as scores

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")

INTERPRETED = """
import torch
from omnimem_cli.memory.importance import blockwise, fused

for dtype in (torch.float32, torch.float16):
    for heads, groups, n, m, d, stride in SHAPES:
        generator = torch.Generator().manual_seed(0)
        q, memory, chunk = (
            torch.randn(1, n, h, d, generator=generator).to(dtype).transpose(1, 2) / 2
            for h, n in ((heads, n), (groups, m), (groups, n))
        )
        lse = torch.randn(1, heads, n, generator=generator) + 5
        ours, reference = (way(q, lse, memory, chunk, 0.25, stride) for way in (fused, blockwise))
        assert ours.shape == reference.shape == (groups, m + n) and ours.dtype == torch.float32
        apart = ((ours - reference).abs() / (reference + 1e-3)).max()
        assert apart < 1e-4, (heads, groups, n, m, d, stride, dtype, apart)
"""

COMPILED = """
import torch
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from omnimem_cli.memory.importance_kernel import KEYS, ROWS, _sums

pointers = {"q": "*bf16", "lse": "*fp32", "keys": "*bf16", "sums": "*fp32", "scale": "fp32", "log2_e": "fp32"}
for capability in (80, 90, 100):
    for causal in (False, True):
        fixed = {"CAUSAL": causal, "D": 128, "WIDTH": 128, "ROWS": ROWS, "KEYS": KEYS}
        kinds = {n: pointers.get(n, "constexpr" if n in fixed else "i32") for n in _sums.arg_names}
        source = ASTSource(fn=_sums, signature=kinds, constexprs=fixed)
        built = compile(source, target=GPUTarget("cuda", capability, 32))
        assert "mma" in built.asm["ptx"] and built.metadata.shared < 64 * 1024, capability
"""

SHAPES = [
    (4, 2, 70, 150, 16, 1),
    (4, 2, 300, 150, 16, 8),
    (7, 1, 130, 0, 72, 3),
    (4, 4, 129, 300, 128, 8),
    (2, 1, 1, 5, 64, 8),
]
"""Query heads, KV heads, tokens of the chunk, entries of the memory, head size, stride."""


def run(script: str, **environment: str) -> None:
    folder = str(Path(scores.__file__).parents[2])
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)
    if "only 0-dimensional arrays" in done.stderr:
        pytest.skip("this Triton's interpreter does not run with this NumPy")
    assert done.returncode == 0, done.stderr


@needs_triton
def test_the_kernel_sums_what_plain_torch_sums():
    run(f"SHAPES = {SHAPES}\n{INTERPRETED}", TRITON_INTERPRET="1")


@needs_triton
def test_the_kernel_compiles_to_tensor_core_products(tmp_path):
    run(COMPILED, TRITON_CACHE_DIR=str(tmp_path))


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_sums_are_trusted_only_where_they_agree(factor):
    def scaled(*arguments):
        return scores.blockwise(*arguments) * factor

    cpu = torch.device("cpu")
    assert scores._matches_reference(scaled, cpu, torch.bfloat16, 64) == (factor == 1.0)


def test_the_kernel_is_launched_on_the_device_of_its_tensors(monkeypatch):
    entered, launched = [], []

    @contextmanager
    def device_of(tensor):
        entered.append(tensor)
        yield
        entered.clear()

    def group_sums(q, lse, keys, *how, causal):
        launched.append(list(entered))
        return torch.zeros(keys.shape[:2])

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    monkeypatch.setitem(sys.modules, "omnimem_cli.memory.importance_kernel", SimpleNamespace(group_sums=group_sums))
    q, memory, chunk = torch.zeros(1, 4, 5, 8), torch.zeros(1, 2, 3, 8), torch.zeros(1, 2, 5, 8)
    assert scores.fused(q, torch.zeros(1, 4, 5), memory, chunk, 1.0, 1).shape == (2, 8)
    assert [[tensor is q for tensor in on] for on in launched] == [[True], [True]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_kernel_is_used_on_the_device(dtype):
    assert scores._best_sums(torch.device("cuda"), dtype, 128) is scores.fused
