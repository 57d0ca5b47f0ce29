"""Query heads that share the keys and values of a group: q [B, H, n, d] over k and v [B, G, m, d], H a multiple of G.

Knows tensors only. A group's queries are in the order of its heads.
"""

from torch import Tensor


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """[B, G, m, d] to [B, heads, m, d]: every group's keys once per query head of the group."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


def fold_groups(q: Tensor, groups: int) -> Tensor:
    """[B, H, n, d] to [B, G, H / G * n, d]: the queries of a group in one row, so that its keys are not copied."""
    b, h, n, d = q.shape
    return q.reshape(b, groups, h // groups * n, d)
