"""SnapKV (arXiv 2404.14469): keep what the last queries look at, smoothed over neighbours in the cache. Per KV head.

Made for one compression at the end of a prompt; here it runs at every chunk's end with that chunk's last ``window``
queries, whatever they are: audio, where the sound of a segment comes last. Old entries are scored anew each time and
nothing is accumulated. The window itself always stays. Selection is per KV head, as in NVIDIA kvpress (the original
selects per query head, which saves nothing under grouped queries). Defaults are kvpress's; the original's code has
window 32 and LongBench runs had kernel 7 with maximum pooling.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from omnimem_cli.memory.policies.policy import LayerView, RankingPolicy


@dataclass
class SnapKV(RankingPolicy):
    """Settings: ``window`` queries, pooling ``kernel`` (odd) and ``pooling`` avg|max."""

    window: int = 64
    kernel: int = 5
    pooling: str = "avg"

    per_head: ClassVar[bool] = True
    choices: ClassVar = {"pooling": ("avg", "max")}

    def __post_init__(self):
        super().__post_init__()
        if self.window < 1 or self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError("window is at least 1 and kernel an odd number")

    def rank(self, view: LayerView, candidates: Tensor, k: int) -> Tensor:
        """Pooled attention from the window's queries; the window above all others, later ones higher."""
        window = min(self.window, view.queries.shape[2])
        received = view.last_queries_importance(window)
        before, own = self._pooled(received[:, :-window]), received[:, -window:]
        ceiling = before.nan_to_num(0.0).amax(1, keepdim=True) if before.shape[1] else before.new_zeros(len(before), 1)
        last = ceiling + torch.arange(1, window + 1, device=before.device)
        return torch.cat([before, last.masked_fill(own.isnan(), torch.nan)], dim=1)

    def _pooled(self, received: Tensor) -> Tensor:
        """[G, N] smoothed along the cache; what is NaN stays so alone."""
        if not received.shape[1]:
            return received
        unknown = received.isnan()
        received = received.masked_fill(unknown, 0.0)
        pool = torch.nn.functional.avg_pool1d if self.pooling == "avg" else torch.nn.functional.max_pool1d
        pooled = pool(received[None], self.kernel, stride=1, padding=self.kernel // 2)[0]
        return pooled.masked_fill(unknown, torch.nan)
