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
from omnimem_cli.memory.tokens import AUDIO, VISUAL

BIAS = "bias"
"""The column of a table that is added to an entry's attention scores: fp32, natural logarithm."""

MOST = 16
"""The most that any entry counts for."""


def most_counted(places: int, trained: int | None) -> float:
    """What an entry of a layer with so many places counts for at most, of a model trained on so many positions."""
    return MOST if trained is None else min(max(trained / max(places, 1), 1), MOST)


def inherited(table: Table, stays: Tensor, exponent: float, most: float) -> Tensor:
    """The column ``BIAS`` [1, N] of memory and chunk once only the media entries marked in ``stays`` [1, N] are left.

    ``table``: its own column holds that of before, 0 at new entries. An entry counts for ``most`` at most; where none
    of its kind is left, what goes is lost.
    """
    count = (table[BIAS][0] / exponent).exp()
    heir, goes = _heirs(table, stays[0])
    count = count.index_add(0, heir, torch.where(goes, count, 0.0))
    return exponent * count.clamp(max=most).log()[None]


def _heirs(table: Table, stays: Tensor) -> tuple[Tensor, Tensor]:
    """Of every entry, the place [N] of the survivor of its kind that is nearest in the stream, and who has one but is
    none: bool [N]."""
    kind, index = table["kind"][0], table["index"][0]
    place = torch.arange(len(kind), device=kind.device)
    kinds = torch.stack([kind == VISUAL, kind == AUDIO])  # [2, N]
    kept = kinds & stays
    before = torch.where(kept, place, -1).cummax(1).values
    after = torch.where(kept, place, len(kind)).flip(1).cummin(1).values.flip(1)
    before, after = (side.gather(0, kinds[1:].long())[0] for side in (before, after))
    earlier, later = index[before.clamp(min=0)], index[after.clamp(max=len(kind) - 1)]
    prior = (before >= 0) & ((after == len(kind)) | (index - earlier <= later - index))
    heir = torch.where(prior, before, after)
    return heir.clamp(max=len(kind) - 1), kinds.any(0) & ~stays & (heir < len(kind))
