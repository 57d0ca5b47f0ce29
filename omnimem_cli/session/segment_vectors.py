"""What a segment looks and sounds like as a whole: the mean of its tokens as they enter the model.

Knows tokens only. Nobody but who measures changes of topic reads them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from omnimem_cli.media.segment import Segment
from omnimem_cli.memory.tokens import AUDIO, VISUAL, TokenChunk


@dataclass(frozen=True)
class SegmentVectors:
    """Means over the tokens of a segment, float32 [D]; None where it has no token of the kind."""

    start_s: float
    visual: np.ndarray | None
    audio: np.ndarray | None


@torch.no_grad()
def vectors_of(segments: Sequence[Segment], parts: Sequence[TokenChunk]) -> list[SegmentVectors]:
    """Those of the segments whose tokens are ``parts``, one chunk each."""
    means = [[_mean(part, kind) for kind in (VISUAL, AUDIO)] for part in parts]
    found = [mean for pair in means for mean in pair if mean is not None]
    rows = iter(torch.stack(found).cpu().numpy() if found else ())  # from the device at once
    vectors = [[None if mean is None else next(rows) for mean in pair] for pair in means]
    return [SegmentVectors(segment.start_s, *pair) for segment, pair in zip(segments, vectors, strict=True)]


def _mean(part: TokenChunk, kind: int) -> torch.Tensor | None:
    chosen = part.embeds[part.kind == kind]
    return chosen.float().mean(0) if len(chosen) else None
