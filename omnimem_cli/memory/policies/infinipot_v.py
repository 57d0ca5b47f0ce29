"""InfiniPot-V (arXiv 2506.15745): keys unlike their place in recent frames (TaR), then values of large norm (VaN).

Per KV head. TaR of a past entry is the negative mean cosine of its key to the recent keys of the same patch; the recent
entries and the best of TaR take ``alpha`` of the budget, VaN fills the rest. Defaults are the released code's.

Differences and unknowns: the code compresses when a cache of M is full, down to C, so that a question meets M entries;
here every chunk's end leaves C. After its first compression it compares by place in the cache as if that were still a
frame grid, and so does this by default (``grid=pseudo``); ``grid=true`` compares equal patches only (ours). Pooling by
layer is off in its scripts and absent here; the thresholds in the paper are unknown. Sound is undefined there: here
every audio token is compared with the mean of the recent ones.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from omnimem_cli.memory.policies.policy import LayerView, RankingPolicy
from omnimem_cli.memory.selection import latest, top
from omnimem_cli.memory.table import Table
from omnimem_cli.memory.tokens import AUDIO, VISUAL


@dataclass
class InfiniPotV(RankingPolicy):
    """Settings: ``alpha``, the share by TaR; ``rho``, the share of time steps that count as recent; ``grid``."""

    alpha: float = 0.5
    rho: float = 0.25
    grid: str = "pseudo"

    per_head: ClassVar[bool] = True
    choices: ClassVar = {"grid": ("pseudo", "true")}

    def __post_init__(self):
        super().__post_init__()
        if not (0 <= self.alpha <= 1 and 0 <= self.rho <= 1):
            raise ValueError("alpha and rho are shares between 0 and 1")

    def rank(self, view: LayerView, candidates: Tensor, k: int) -> Tensor:
        """Norms of values; what TaR chose ranks above them."""
        norms = view.value_norms()
        unknown = norms.isnan()
        first = self._by_novelty(view, candidates, k) & ~unknown
        return norms.masked_fill(first, float(norms.masked_fill(unknown, 0.0).max()) + 1)

    def _by_novelty(self, view: LayerView, candidates: Tensor, k: int) -> Tensor:
        """Mask [G, N] of the entries that TaR gives a place: the recent ones, as many as fit, then the most novel."""
        places = k - round((1 - self.alpha) * k)
        keys = view.unit_keys()
        recent, novelty = torch.zeros_like(candidates), torch.zeros_like(keys[..., 0])
        for kind in (VISUAL, AUDIO):
            members = candidates & (view.table["kind"] == kind)
            step, patch = self._grid(view.table, members)
            newest = members & (step >= self._first_recent(step[members]))
            recent |= newest
            novelty = torch.where(members, _novelty(keys, patch, newest), novelty)
        return top(novelty.masked_fill(latest(recent, places), torch.inf), candidates, places)

    def _first_recent(self, steps: Tensor) -> int:
        steps = steps.unique()
        return int(steps[-max(int(self.rho * len(steps)), 1)]) if len(steps) else 0

    def _grid(self, table: Table, members: Tensor) -> tuple[Tensor, Tensor]:
        """Time step and patch of every entry [G, N]."""
        if self.grid == "true":
            return table["step"].long(), table["patch"].long().clamp(min=0)
        patches = int(table["patch"][members].max()) + 1 if bool(members.any()) else 1
        number = members.cumsum(1) - 1
        return number // patches, (number % patches).clamp(min=0)


def _novelty(keys: Tensor, patch: Tensor, recent: Tensor) -> Tensor:
    """Negative mean cosine [G, N] of unit keys [G, N, d] to the ``recent`` ones of equal patch; 0 without any."""
    groups, _, dims = keys.shape
    width = int(patch.max()) + 1
    cell = patch + width * torch.arange(groups, device=patch.device)[:, None]
    sums = keys.new_zeros(groups * width, dims).index_add_(0, cell[recent], keys[recent])
    counts = torch.bincount(cell[recent], minlength=groups * width).clamp(min=1)
    return -(keys * (sums / counts[:, None])[cell]).sum(-1)
