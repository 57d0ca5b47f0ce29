"""Where the kept entries lie: over video time, and over the layers.

Knows the tables and budgets of a memory; knows no keys, no text and no file.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from omnimem_cli.memory.tokens import AUDIO, TEXT, VISUAL

if TYPE_CHECKING:
    from omnimem_cli.memory.memory import Memory
    from omnimem_cli.memory.store import Store

STEPS_S = (2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # whole for a reader; segments take up to 2 s
MOST_STEPS = 96
KINDS = {"visual": VISUAL, "audio": AUDIO, "text": TEXT}


@dataclass(frozen=True)
class Distribution:
    """Kept entries by kind, the prefix left out. ``over_time[kind][i]``: of the ``step_s`` seconds of video from
    ``start_s + i * step_s``, mean over layers. ``by_layer[kind][l]``: of layer l. Means over KV heads where these
    differ. ``budget_by_layer``: entries that a layer may keep; None for a policy that evicts nothing."""

    start_s: float
    step_s: float
    over_time: dict[str, list[float]]
    by_layer: dict[str, list[float]]
    budget_by_layer: dict[str, list[int]] | None


def distribution(memory: "Memory", start_s: float, end_s: float) -> Distribution:
    """The distribution of a memory that watched video time [start_s, end_s)."""
    step_s = step_for(end_s - start_s)
    steps = max(1, math.ceil((end_s - start_s) / step_s))
    counts = torch.stack([_counts(store, start_s, step_s, steps) for store in memory.stores])
    budgets = {"visual": [b.visual for b in memory.budgets], "audio": [b.audio for b in memory.budgets]}
    return Distribution(
        start_s=round(start_s, 3),
        step_s=step_s,
        over_time=_by_kind(counts.mean(dim=0)),
        by_layer=_by_kind(counts.sum(dim=2).T),
        budget_by_layer=budgets if memory.policy.bounded else None,
    )


def step_for(seconds: float) -> float:
    """The shortest of STEPS_S that cuts ``seconds`` into at most MOST_STEPS, or as many whole hours as it takes."""
    fitting = (step for step in STEPS_S if seconds <= step * MOST_STEPS)
    return next(fitting, STEPS_S[-1] * math.ceil(seconds / (STEPS_S[-1] * MOST_STEPS)))


def _counts(store: "Store", start_s: float, step_s: float, steps: int) -> torch.Tensor:
    """Entries of one layer by kind and step [3, steps], float64; mean over its rows."""
    if not len(store):
        return torch.zeros(len(KINDS), steps, dtype=torch.float64)
    kinds, times = store.table["kind"].cpu(), store.table["time"].cpu().double()
    steps_of = ((times - start_s) / step_s).floor().long().clamp(0, steps - 1)
    rows = [torch.bincount(steps_of[kinds == kind], minlength=steps) for kind in KINDS.values()]
    return torch.stack(rows).double() / store.rows


def _by_kind(rows: torch.Tensor) -> dict[str, list[float]]:
    return {kind: [round(value, 2) for value in row.tolist()] for kind, row in zip(KINDS, rows, strict=True)}
