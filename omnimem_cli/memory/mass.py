"""Attention mass: how much of the attention of what was evicted the survivors take over.

A stretch of n entries that say the same is attended to n times as much as one of them. Once all but one are evicted,
what the question looks for weighs less than whatever was evicted less: the newest chunk, the prefix, a text. So every
survivor counts the entries it stands for, evicted ones going to the nearest survivor of their kind, and its attention
scores rise by ``exponent`` times the logarithm of that count. (Merged tokens count so in ToMe's proportional attention,
arXiv 2210.09461, with an exponent of 1; here nothing is merged.)

The count is bounded twice. What stands for minutes is not worth more than what is shown for some seconds. And a model
has learned to attend to as many tokens as its training held: a memory that counts for more drowns what is not video.

Knows tables and what stays; knows no key, no score and no policy.
"""

import torch
from torch import Tensor

from omnimem_cli.memory.table import Table

BIAS = "bias"
"""The column of a table that is added to an entry's attention scores: fp32, natural logarithm."""

MOST = 16
"""The most that any entry counts for."""

APART, NOWHERE = 32, 61
"""Powers of two: how far apart kinds are, more than twice as far as any two entries of one; and beyond all of them."""


def most_counted(places: int, trained: int | None) -> float:
    """What an entry of a layer with so many places counts for at most, of a model trained on so many positions."""
    return MOST if trained is None else min(max(trained / max(places, 1), 1), MOST)


def inherited(table: Table, stays: Tensor, exponent: float, most: float) -> Tensor:
    """The column ``BIAS`` [1, N] of memory and chunk once only the media entries marked in ``stays`` [1, N] are left.

    ``table``: its own column holds that of before, 0 at new entries. An entry counts for ``most`` at most; where none
    of its kind is left, what goes is lost.
    """
    count = (table[BIAS][0] / exponent).exp()
    heir, leaves_nothing = _heirs(table, stays[0])
    count = count.index_add(0, heir, count.masked_fill(leaves_nothing, 0.0))
    return count.clamp_(max=most).log_().mul_(exponent)[None]


def _heirs(table: Table, stays: Tensor) -> tuple[Tensor, Tensor]:
    """Of every entry, the place [N] of the nearest survivor in the stream, the earlier of two, where that is of its
    kind, and who is a survivor or has none: bool [N]. On one axis, kinds apart, as few operators serve both kinds."""
    kind = table["kind"][0].long()
    at = torch.add(table["index"][0], kind, alpha=1 << APART)
    survivors, places = torch.where(stays, at, 1 << NOWHERE).sort()
    nearest = torch.searchsorted(survivors[:-1] + survivors[1:], 2 * at)
    return places[nearest], stays | (survivors[nearest] >> APART != kind)
