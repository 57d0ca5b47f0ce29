"""Salience: OmniMem's rule, with importance as a mean over the queries that could see an entry.

The paper sums attention over all queries of a chunk (equation 8). Few of them see the chunk's last tokens, so that
these count as less important whatever they show, and where chunks end decides what stays. Divided by the number of
queries that see it, an entry's importance is its own, whatever its place in the chunk and however long the chunk is.
So it may weigh more in the score: its exponent is 0.2 instead of 0.02. The vector carried per entry takes half of the
bytes, which hold more entries. All else is the paper's. What was tried besides is in bench/LOG.md.
"""

from dataclasses import dataclass

from torch import Tensor

from omnimem_cli.memory.policies.omnimem import OmniMem
from omnimem_cli.memory.policies.policy import LayerView


@dataclass
class Salience(OmniMem):
    """Settings: those of ``OmniMem``."""

    exponent: float = 0.2
    carry: float = 0.0625

    def received(self, view: LayerView) -> Tensor:
        """Attention that each entry received, mean over the chunk's queries that see it: fp32 [N]."""
        return view.importance_per_query(self.stride, self.heads)
