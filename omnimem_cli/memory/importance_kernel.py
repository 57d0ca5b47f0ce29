"""Column sums of softmax attention as one Triton kernel: what every key received, with no score ever in memory.

Knows tensors and CUDA. A program takes a block of keys of one KV head and walks over the queries of that head's group,
given their log-sum-exp: scores stay in registers, sums are fp32, each column is stored once, by one program. Under
``TRITON_INTERPRET=1`` it runs on the CPU, which is how it is tested where there is no GPU.
"""

from subprocess import SubprocessError

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.errors import TritonError

from omnimem_cli.memory.cpu_tiles import LOG2_E

FAULTS = (TritonError, RuntimeError, OSError, SubprocessError)
"""What keeps a kernel from being built: no compiler on this machine, no room on this device."""

KEYS, ROWS = 128, 64
"""Keys of a program and queries per step: a [ROWS, KEYS] block of scores in fp32 is what registers hold."""


def group_sums(q: Tensor, lse: Tensor, keys: Tensor, scaling: float, stride: int, causal: bool) -> Tensor:
    """What each key [G, m, d] received from every ``stride``-th query [H, n, d], counted back from the last.

    fp32 [G, m], summed over queries and the group's heads; lse fp32 [H, n]. ``causal``: key j is hidden from the
    queries before j (then m = n).
    """
    heads, n, d = q.shape
    groups, m, _ = keys.shape
    assert q.stride(2) == keys.stride(2) == lse.stride(1) == 1, "rows lie one after the other"
    sums = torch.empty(groups, m, dtype=torch.float32, device=q.device)
    _sums[triton.cdiv(m, KEYS), groups](
        q, lse, keys, sums,
        scaling * LOG2_E, LOG2_E,
        (n - 1) % stride, stride, (n - 1) // stride + 1, m, heads // groups,
        q.stride(0), q.stride(1), lse.stride(0), keys.stride(0), keys.stride(1),
        CAUSAL=causal, D=d, WIDTH=max(16, triton.next_power_of_2(d)), ROWS=ROWS, KEYS=KEYS,
    )  # fmt: skip
    return sums


@triton.jit
def _sums(
    q, lse, keys, sums,
    scale, log2_e,
    first, stride, rows, count, heads,
    q_head, q_row, lse_head, key_group, key_row,
    CAUSAL: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """One block of keys of one group; ``rows`` queries stand at first, first + stride, ..."""
    start, group = tl.program_id(0) * KEYS, tl.program_id(1)
    column, part = start + tl.arange(0, KEYS), tl.arange(0, WIDTH)
    inside = (part[:, None] < D) & (column[None, :] < count)
    key = tl.load(keys + group * key_group + column[None, :] * key_row + part[:, None], mask=inside, other=0.0)
    received = tl.zeros([KEYS], dtype=tl.float32)
    begin = 0
    if CAUSAL:  # queries before the block see none of it
        begin = tl.maximum(start - first, 0) // stride // ROWS * ROWS
    for head in range(group * heads, group * heads + heads):
        for step in range(begin, rows, ROWS):
            index = step + tl.arange(0, ROWS)
            row, real = (first + index * stride).to(tl.int64), index < rows
            at = q + head * q_head + row[:, None] * q_row + part[None, :]
            query = tl.load(at, mask=real[:, None] & (part[None, :] < D), other=0.0)
            level = tl.load(lse + head * lse_head + row, mask=real, other=float("inf"))
            score = tl.dot(query, key) * scale - level[:, None] * log2_e
            if CAUSAL:
                score = tl.where(column[None, :] <= row[:, None], score, float("-inf"))
            received += tl.sum(tl.exp2(score), 0)
    tl.store(sums + group * count + column, received, mask=column < count)
