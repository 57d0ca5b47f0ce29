"""Queries, keys and values in bfloat16, and how near to float32 what is made of them has to be."""

import torch
from torch import Tensor


def random_parts(queries: int, keys: int, size: float = 1.0, *, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """q [2, heads, queries, 16], k and v [2, 3, keys, 16]; ``size``: by how much queries and keys are larger."""
    generator = torch.Generator().manual_seed(0)
    shapes = (heads, queries), (3, keys), (3, keys)
    q, k, v = (torch.randn(2, *shape, 16, generator=generator) for shape in shapes)
    return (size * q).bfloat16(), (size * k).bfloat16(), v.bfloat16()


def assert_like(ours, theirs):
    """Outputs and log-sum-exps in bfloat16 are those in float32."""
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.float(), other.float(), atol=3e-2, rtol=1e-2)
