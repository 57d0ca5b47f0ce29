"""Budgets of the layers: entries per layer and kind, and the bytes behind them.

Knows numbers; knows no tensor of the memory and no policy. The bound that the user chose is `base.budget.Budget`.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LayerBudget:
    """Entries one layer may keep of each kind."""

    visual: int
    audio: int

    @property
    def total(self) -> int:
        """Entries of both kinds."""
        return self.visual + self.audio


def even_budgets(layers: int, entries: int, ratio: float, has_video: bool, has_audio: bool) -> list[LayerBudget]:
    """Every layer alike, split visual : audio = ratio : 1. An absent stream gives its whole share to the other."""
    visual = _visual_share(entries, ratio, has_video, has_audio)
    return [LayerBudget(visual, entries - visual)] * layers


def _visual_share(entries: int, ratio: float, has_video: bool, has_audio: bool) -> int:
    if not (has_video and has_audio):
        return entries if has_video else 0
    return min(max(round(entries * ratio / (1 + ratio)), 1), max(entries - 1, 0))


def fit_plan(plan: list[tuple[int, int]], entries: int, has_video: bool, has_audio: bool) -> list[LayerBudget]:
    """Layer budgets in the proportions of a plan's (audio, visual) pairs, averaging ``entries`` exactly."""
    totals = share_out([a + v for a, v in plan], entries * len(plan))
    ratios = [v / a if a else math.inf for a, v in plan]
    return [
        LayerBudget(*_split(total, ratio, has_video, has_audio)) for total, ratio in zip(totals, ratios, strict=True)
    ]


def _split(total: int, ratio: float, has_video: bool, has_audio: bool) -> tuple[int, int]:
    visual = total if math.isinf(ratio) and has_video else _visual_share(total, min(ratio, 1e9), has_video, has_audio)
    return visual, total - visual


def share_out(weights: list[float], total: int, floor: int = 1) -> list[int]:
    """Whole numbers in proportion to ``weights`` that sum to ``total`` exactly, none below ``floor`` (largest
    remainder)."""
    assert total >= floor * len(weights), "every layer needs its floor"
    poor = {i for i, w in enumerate(weights) if w * total < floor * sum(weights)}
    rest, left = sum(w for i, w in enumerate(weights) if i not in poor), total - floor * len(poor)
    exact = [floor if i in poor else max(w * left / rest, floor) for i, w in enumerate(weights)]
    counts = [math.floor(x) for x in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    while sum(counts) > total:  # lifting to the floor took more than the rest could give
        counts[counts.index(max(counts))] -= 1
    return counts


@dataclass(frozen=True)
class Geometry:
    """What one entry costs per layer: bytes of keys and values as kept, of everything else kept with them, and of keys
    and values before they are quantized, as a chunk in flight and windows have them."""

    layers: int
    kv_bytes: int
    side_bytes: int
    whole_kv_bytes: int

    @property
    def entry_bytes(self) -> int:
        """Everything one entry of one layer costs."""
        return self.kv_bytes + self.side_bytes

    @property
    def whole_entry_bytes(self) -> int:
        """Everything one entry of one layer costs before it is quantized."""
        return self.whole_kv_bytes + self.side_bytes
