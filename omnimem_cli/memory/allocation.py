"""Audio-Visual Budget Allocation (OmniMem, arXiv 2606.07577, equations 10 to 14): layer budgets from a calibration run.

Knows signals (how evenly attention is spread, how alike neighbours are) and numbers of entries; knows no file and no
video. ``score=code`` follows the released generator, which takes square roots of the redundancy gaps.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field

import torch
from torch import Tensor

from omnimem_cli.memory.budget import share_out
from omnimem_cli.memory.policies.omnimem import OmniMem
from omnimem_cli.memory.policies.policy import LayerView
from omnimem_cli.memory.tokens import AUDIO, VISUAL

KINDS = {"visual": (VISUAL,), "audio": (AUDIO,), "all": (VISUAL, AUDIO)}


@dataclass(frozen=True)
class Signal:
    """Of the candidates of one kind in one layer, mean over chunks: ``entropy`` in nats of their importance made to sum
    to 1, mean ``redundancy``, and ``log_candidates``, the most that the entropy could be."""

    entropy: float = 0.0
    redundancy: float = 1.0
    log_candidates: float = 0.0


Signals = dict[str, Signal]
"""Of one layer, by kind: "visual", "audio" and "all"."""


@dataclass(frozen=True)
class Allocation:
    """How signals become budgets. ``ratio``: the visual : audio prior r; ``floor``: the least a layer gets, as a share
    of the mean; ``clip`` (only ``score=code``): budgets stay within half and one and a half of their prior."""

    ratio: float
    temperature: float = 0.2
    score: str = "paper"
    floor: float = 0.125
    clip: bool = False

    def __post_init__(self):
        assert self.score in ("paper", "code"), "allocations are scored as in the paper or as in the released code"

    def budgets(self, signals: list[Signals], entries: int) -> list[tuple[int, int]]:
        """(audio, visual) of every layer; their mean is exactly ``entries`` unless clipped."""
        levels = torch.tensor([self._level(layer) for layer in signals], dtype=torch.float64)
        shares = (levels / self.temperature).softmax(0).tolist()
        totals = share_out(shares, entries * len(signals), floor=max(2, int(self.floor * entries)))
        pairs = [self._split(total, layer) for total, layer in zip(totals, signals, strict=True)]
        return [self._clipped(pair, entries) for pair in pairs] if self.clip else pairs

    def _level(self, layer: Signals) -> float:
        """What a layer competes with."""
        if self.score == "paper":
            return layer["all"].entropy * (1 - layer["all"].redundancy)
        gaps = [1 - layer[kind].redundancy for kind in ("visual", "audio")]
        return layer["all"].entropy * math.sqrt(max(sum(gaps) / 2, 0.0))

    def _weight(self, signal: Signal) -> float:
        """What a kind competes with inside a layer."""
        gap = max(1 - signal.redundancy, 0.0)
        if self.score == "code":
            return signal.entropy * math.sqrt(gap)
        return signal.entropy * gap / signal.log_candidates if signal.log_candidates else 0.0

    def _split(self, total: int, layer: Signals) -> tuple[int, int]:
        visual, audio = self.ratio * self._weight(layer["visual"]), self._weight(layer["audio"])
        if not layer["visual"].log_candidates or not layer["audio"].log_candidates:
            kept = total if layer["visual"].log_candidates else 0  # an absent stream gives its whole share away
        else:
            share = visual / (visual + audio) if visual + audio else self.ratio / (1 + self.ratio)
            kept = min(max(round(total * share), 1), total - 1)
        return total - kept, kept

    def _clipped(self, pair: tuple[int, int], entries: int) -> tuple[int, int]:
        audio, visual = pair
        return _within(audio, entries / self.ratio), _within(visual, entries)


def _within(count: int, prior: float) -> int:
    return round(min(max(count, 0.5 * prior), 1.5 * prior))


@dataclass
class Calibrating(OmniMem):
    """OmniMem that also notes the signals of every chunk after the first ``skip`` of each watch."""

    skip: int = 5
    noted: dict[tuple[int, str], list[Tensor]] = field(default_factory=lambda: defaultdict(list), init=False)
    chunks: dict[int, int] = field(default_factory=lambda: defaultdict(int), init=False)

    def start(self) -> None:
        """Another watch begins: its first chunks are skipped again."""
        self.chunks.clear()

    def scored(self, view: LayerView) -> tuple[Tensor, Tensor]:
        """Importance and redundancy, as noted."""
        importance, redundant = super().scored(view)
        self.chunks[view.layer] += 1
        if self.chunks[view.layer] > self.skip:
            for name, kinds in KINDS.items():
                among = torch.isin(view.table["kind"], torch.tensor(kinds, device=importance.device))
                self._note((view.layer, name), importance[among], redundant[among])
        return importance, redundant

    def signals(self) -> list[Signals]:
        """The mean of what was noted, layer by layer."""
        layers = 1 + max((layer for layer, _ in self.noted), default=-1)
        return [{kind: self._mean(layer, kind) for kind in KINDS} for layer in range(layers)]

    def _note(self, where: tuple[int, str], importance: Tensor, redundant: Tensor) -> None:
        if not len(importance):
            return
        share = importance.clamp(min=0) / importance.sum().clamp(min=1e-12)
        entropy = -torch.special.xlogy(share, share).sum()
        size = torch.tensor(float(len(share)), device=share.device).log()
        self.noted[where].append(torch.stack([entropy, redundant.mean(), size]).cpu())

    def _mean(self, layer: int, kind: str) -> Signal:
        noted = self.noted.get((layer, kind))
        return Signal(*torch.stack(noted).double().mean(0).tolist()) if noted else Signal()
