"""Sliding window with attention sinks (StreamingLLM, arXiv 2309.17453): the prefix and what came last.

The original keeps 4 sink tokens; here the whole prefix is the sink, as in the ports to video. It numbers positions by
their index in the cache: ``--positions eager`` does, on text; ``keep`` is what the ports do. It evicts before a turn
to make room for it; here, after a chunk.
"""

from dataclasses import dataclass

from torch import Tensor

from omnimem_cli.memory.policies.policy import LayerView, RankingPolicy


@dataclass
class SlidingWindow(RankingPolicy):
    """No setting but ``pool``."""

    def rank(self, view: LayerView, candidates: Tensor, k: int) -> Tensor:
        """By recency."""
        index = view.table["index"]
        return (index - index[:, -1:]).float()
