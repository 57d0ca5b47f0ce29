"""What a segment looks and sounds like as a whole: the mean of its tokens as they enter the model.

Knows tokens only. Nobody but who measures changes of topic reads them, so nothing leaves the device before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from omnimem_cli.memory.tokens import AUDIO, VISUAL, TokenChunk


@dataclass(frozen=True)
class SegmentVectors:
    """Means over the tokens of a segment, float32 [D]; None where it has no token of the kind."""

    start_s: float
    visual: np.ndarray | None
    audio: np.ndarray | None


@torch.no_grad()
def sums_of(parts: Sequence[TokenChunk]) -> Tensor:
    """Per segment, whose tokens are a chunk of its own, and kind (visual, audio): their sum, and their number last.

    float32 [segments, 2, D + 1], on the device of the tokens and without a read from it.
    """
    return torch.stack([_sums(part) for part in parts])


def vectors_of(starts_s: Sequence[float], sums: Tensor) -> list[SegmentVectors]:
    """The means of segments that begin at ``starts_s``; ``sums`` as of `sums_of`."""
    rows = sums.cpu().numpy()
    means = [[row[:-1] / row[-1] if row[-1] else None for row in both] for both in rows]
    return [SegmentVectors(start_s, *both) for start_s, both in zip(starts_s, means, strict=True)]


def _sums(part: TokenChunk) -> Tensor:
    kinds = torch.stack([part.kind == VISUAL, part.kind == AUDIO]).to(part.embeds.device)
    embeds = torch.where(kinds[..., None], part.embeds.float(), 0.0)  # what is not finite stays in its kind
    return torch.cat([embeds.sum(1), kinds.sum(1, keepdim=True).float()], 1)
