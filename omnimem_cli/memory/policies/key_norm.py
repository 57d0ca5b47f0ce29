"""Key norm (arXiv 2406.11430): keys of small L2 norm tend to receive much attention, so they stay. Per KV head.

The paper leaves the first two layers whole; here, as in NVIDIA kvpress, every layer is treated alike.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from omnimem_cli.memory.policies.policy import LayerView, RankingPolicy


@dataclass
class KeyNorm(RankingPolicy):
    """No setting but ``pool``."""

    per_head: ClassVar[bool] = True

    def rank(self, view: LayerView, candidates: Tensor, k: int) -> Tensor:
        """By the negative norm of the key."""
        return -view.key_norms()
