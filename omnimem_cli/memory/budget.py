"""Budgets: what the user typed, entries per layer and kind, and the bytes behind them.

Knows numbers; knows no tensor of the memory and no policy.
"""

import math
import re
from dataclasses import dataclass

from omnimem_cli.base.errors import UsageError

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_FORMS = "Write entries (8192 or 8k), bytes (512MiB, 2GiB, 2GB) or auto."


@dataclass(frozen=True)
class Budget:
    """The bound the user chose, in exactly one unit. Entries: visual + audio, averaged over layers."""

    entries: int | None = None
    bytes: int | None = None
    auto: bool = False


def parse_budget(text: str) -> Budget:
    """ "8k" is 8192 entries, "2GiB" bytes. Raises UsageError naming the accepted forms."""
    cleaned = text.strip()
    if cleaned.lower() == "auto":
        return Budget(auto=True)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", cleaned)
    amount, unit = (float(match[1]), match[2].upper()) if match else (0.0, "")
    if match and unit in _UNITS and (size := int(amount * _UNITS[unit])) > 0:
        return Budget(bytes=size)
    scale = {"": 1, "K": 1024}.get(unit)
    if match is None or scale is None or (entries := int(amount * scale)) < 1:
        raise UsageError(f"--budget {text!r} is not a budget.", _FORMS)
    return Budget(entries=entries)


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
    """What one entry costs: bytes of keys and values, and of everything else kept beside it, per layer."""

    layers: int
    kv_bytes: int
    side_bytes: int

    @property
    def entry_bytes(self) -> int:
        """Everything one entry of one layer costs."""
        return self.kv_bytes + self.side_bytes


def entries_for_bytes(size: int, geometry: Geometry, fixed_tokens: int, chunk_tokens: int, chunk_layers: int) -> int:
    """Entries per layer that fit ``size`` bytes at every moment, 0 or less when none do.

    ``fixed_tokens`` (prefix and most text) stand in every layer; ``chunk_tokens`` are in flight in
    ``chunk_layers`` layers.
    """
    held = geometry.layers * fixed_tokens + chunk_layers * chunk_tokens
    return (size // geometry.entry_bytes - held) // geometry.layers
