"""OmniMem (arXiv 2606.07577): keep what is attended to and unlike its neighbours, per kind and per layer.

psi_k = a_k ^ lambda * (1 - s_k) with importance a (equation 8) and redundancy s (equation 9); visual and audio
entries compete only within their kind. ``score=code`` ranks as the released code does: sqrt(1 - s) * a ^ lambda.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from omnimem_cli.memory.importance import running_mean
from omnimem_cli.memory.mass import BIAS, inherited, most_counted
from omnimem_cli.memory.policies.policy import BoundedPolicy, LayerView
from omnimem_cli.memory.redundancy import HiddenSketch, NeighbourCosines, NeighbourCosinesInTime, time_order, unit_rows
from omnimem_cli.memory.selection import Kept, keep_media

LEAST_VECTOR = 8  # bytes


@dataclass
class OmniMem(BoundedPolicy):
    """Settings: ``score`` paper|code; ``exponent`` is the paper's lambda, 0 skips importance; ``heads`` exact|averaged;
    ``stride``: importance from every stride-th query; ``neighbours`` sequence|time; ``carry``: bytes of the vector kept
    per entry as a share of its keys and values as kept (as soon as they suffice the whole hidden state in fp32),
    ``vector`` int8|bfloat16: of what; ``pool`` split|one; ``mass``: exponent of the entries that a survivor stands for
    (`memory.mass`), 0 counts none.
    """

    score: str = "paper"
    exponent: float = 0.02
    heads: str = "exact"
    stride: int = 8
    neighbours: str = "sequence"
    carry: float = 0.125
    vector: str = "int8"
    pool: str = "split"
    mass: float = 0.0

    needs_hidden: ClassVar[bool] = True
    takes_focus: ClassVar[bool] = True
    choices: ClassVar = {
        "score": ("paper", "code"),
        "heads": ("exact", "averaged"),
        "neighbours": ("sequence", "time"),
        "vector": ("int8", "bfloat16"),
    }

    @property
    def novelty_exponent(self) -> float:
        """Of 1 - s."""
        return 0.5 if self.score == "code" else 1.0

    @property
    def keeps_all_text(self) -> bool:
        """As the released code."""
        return self.score == "code"

    def __post_init__(self):
        super().__post_init__()
        if self.stride < 1 or self.exponent < 0 or self.carry <= 0 or self.mass < 0:
            raise ValueError("stride is at least 1, exponent and mass not negative, carry above 0")

    def side_bytes(self, kv_bytes: int) -> int:
        """Importance, cosine, neighbour's index, the mass if any, and the vector at its largest."""
        return 12 + 4 * (self.mass > 0) + self._vector_bytes(kv_bytes)

    def on_layer(self, view: LayerView) -> Kept:
        """Score memory and chunk together, keep the best of each kind."""
        media = keep_media(view.table, self.scores(view), view.budget, self.pool, view.focus)
        if self.mass:
            self._pass_on(view, media)
        return self.kept(view, media, "all" if self.keeps_all_text else "grouped")

    def scores(self, view: LayerView) -> Tensor:
        """psi of memory and chunk [1, N]."""
        return self.combine(*self.scored(view))

    def scored(self, view: LayerView) -> tuple[Tensor, Tensor]:
        """Importance and redundancy [1, N] of memory and chunk; what the next chunk needs of them goes to the table."""
        pairs = self._pairs(view)
        cosines = pairs.cosines()
        cosine, neighbour_index = pairs.remember(cosines)
        for name, column in (("vector", pairs.vectors), ("cosine", cosine), ("neighbour_index", neighbour_index)):
            view.table[name] = column[None]
        return self._importance(view), pairs.redundancy(cosines)[None]

    def combine(self, importance: Tensor, redundant: Tensor) -> Tensor:
        """psi, fp32, clamped at 0 (rounding can push 1 - s below it)."""
        new = (1 - redundant).clamp_(min=0) ** self.novelty_exponent
        return new * importance.clamp(min=0) ** self.exponent if self.exponent else new

    def received(self, view: LayerView) -> Tensor:
        """Attention that each entry of memory and chunk received from the chunk, fp32 [N] (equation 8)."""
        return view.importance(self.stride, self.heads)

    def _importance(self, view: LayerView) -> Tensor:
        """Running importance [1, N]; also remembered for the next chunk."""
        if not self.exponent:
            return torch.ones_like(view.table["time"])
        received = self.received(view)[None]
        if view.held:
            received = running_mean(received, view.store.table["importance"])
        view.table["importance"] = received
        return received

    def _pass_on(self, view: LayerView, media: Tensor) -> None:
        """What is about to go leaves its attention to what stays: the column ``BIAS``. Memory files of before it was
        counted have no such column: their entries stand for one each."""
        known = view.held and BIAS in view.store.table.columns
        before = view.store.table[BIAS] if known else view.lse.new_zeros(1, view.held)
        view.table[BIAS] = torch.nn.functional.pad(before, (0, len(view.table) - view.held))
        if not self.has_room(view):
            view.table[BIAS] = inherited(view.table, media, self.mass, most_counted(view.budget.total, view.trained))

    def _vector_bytes(self, kv_bytes: int) -> int:
        return max(int(kv_bytes * self.carry), LEAST_VECTOR)

    def _pairs(self, view: LayerView) -> NeighbourCosines:
        """Who neighbours whom, with what is carried of everyone."""
        size = self._vector_bytes(view.store.kv_bytes)
        carry = HiddenSketch.within(size, view.hidden.shape[1], self.vector)
        unit = unit_rows(view.hidden)
        held, vectors = view.store.table if view.held else None, carry.compact(unit)
        if held is not None:
            vectors = torch.cat([held["vector"][0], vectors])
        entries = unit, vectors, view.table["index"][0], held
        if self.neighbours == "time":
            return NeighbourCosinesInTime(*entries, *time_order(view.table))
        return NeighbourCosines(*entries)
