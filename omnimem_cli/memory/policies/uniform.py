"""Uniform: entries are chosen by their place alone. The floor that every content-aware rule must clear.

``stride`` keeps floor(i N / B), i = 0..B-1, of the N candidates at every chunk's end (the baseline in InfiniPot-V's
code, arXiv 2506.15745). Applied again and again it forgets geometrically, so that it leans to the recent.
``online`` (ours) is even over the whole past and as causal: it keeps the B entries whose number in the stream has the
smallest fractional part of number * golden ratio. Such sets are evenly spaced for every B (three-distance theorem) and
do not fall into step with the tokens of a frame, as a stride does.

Unknown: which form the OmniMem paper calls Uniform. Sampling frames before the encoder is the media settings' business.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from omnimem_cli.memory.policies.policy import LayerView, RankingPolicy

GOLDEN = (5**0.5 - 1) / 2


@dataclass
class Uniform(RankingPolicy):
    """Settings: ``variant`` stride|online."""

    variant: str = "online"

    choices: ClassVar = {"variant": ("stride", "online")}

    def rank(self, view: LayerView, candidates: Tensor, k: int) -> Tensor:
        """By the spread sequence; for ``stride``, the entries on the grid first."""
        spread = (view.table["index"].double() * GOLDEN).frac()
        return 1 - spread + (_on_grid(candidates, k) if self.variant == "stride" else 0)


def _on_grid(candidates: Tensor, k: int) -> Tensor:
    """1.0 [rows, N] at the candidates numbered floor(i N / k) for some i < k."""
    count, number = candidates.sum(1, keepdim=True).clamp(min=1), candidates.cumsum(1) - 1
    i = -(-number * k // count)  # the only i that could lead to this number
    return ((i * count // k == number) & candidates).double()
