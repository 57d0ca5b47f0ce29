"""OmniMem (arXiv 2606.07577): keep what is attended to and unlike its neighbours, per kind and per layer.

psi_k = a_k ^ lambda * (1 - s_k) with importance a (equation 8) and redundancy s (equation 9); visual and audio
entries compete
only within their kind. ``score=code`` ranks as the released code does: sqrt(1 - s) * a ^ lambda.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from omnimem_cli.memory.policies.policy import View
from omnimem_cli.memory.redundancy import Carry, Pairs, neighbour_order, redundancy
from omnimem_cli.memory.scores import running_mean
from omnimem_cli.memory.selection import Keep, assemble, keep_media


@dataclass
class OmniMem:
    """Settings: ``score`` paper|code; ``exponent`` is the paper's lambda, 0 skips importance; ``heads`` exact|averaged;
    ``stride``: importance from every stride-th query; ``neighbours`` sequence|time; ``carry``: bytes of the
    vector kept per
    entry as a share of its keys and values (0 keeps the whole hidden state in fp32); ``pool`` split|one.
    """

    score: str = "paper"
    exponent: float = 0.02
    heads: str = "exact"
    stride: int = 8
    neighbours: str = "sequence"
    carry: float = 0.125
    pool: str = "split"

    bounded: ClassVar[bool] = True
    per_head: ClassVar[bool] = False
    needs_hidden: ClassVar[bool] = True
    decides_late: ClassVar[bool] = False

    def __post_init__(self):
        choices = {
            "score": ("paper", "code"),
            "heads": ("exact", "averaged"),
            "neighbours": ("sequence", "time"),
        }
        for name, allowed in {**choices, "pool": ("split", "one")}.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(allowed)}")
        if self.stride < 1 or self.exponent < 0 or self.carry < 0:
            raise ValueError("stride is at least 1, exponent and carry are not negative")

    def side_bytes(self, kv_bytes: int) -> int:
        """Importance, cosine and partner, and the carried vector (its size is the model's width when carry is 0)."""
        return 12 + self._dims(kv_bytes)

    def on_layer(self, view: View) -> Keep:
        """Score memory and chunk together, keep the best of each kind."""
        pairs, carry = self._pairs(view)
        cosines = pairs.cosines(carry)
        cosine, partner = pairs.remember(cosines)
        view.table["vector"], view.table["cosine"], view.table["partner"] = (
            pairs.vectors[None],
            cosine[None],
            partner[None],
        )
        psi = self.combine(self._importance(view), redundancy(cosines, pairs.order)[None])
        media = keep_media(view.table, psi, view.budget, self.pool, view.since)
        return assemble(view.table, media, text="all" if self.score == "code" else "grouped")

    def combine(self, importance: Tensor, redundant: Tensor) -> Tensor:
        """psi, fp32, clamped at 0 (rounding can push 1 - s below it)."""
        novelty = (1 - redundant).clamp(min=0)
        if self.score == "code":
            novelty = novelty.sqrt()
        return novelty * importance.clamp(min=0) ** self.exponent if self.exponent else novelty

    def _importance(self, view: View) -> Tensor:
        """Running importance [1, N]; also remembered for the next chunk."""
        if not self.exponent:
            return torch.ones_like(view.table["time"])
        received = view.importance(self.stride, self.heads)[None]
        if view.held:
            received = running_mean(received, view.store.table["importance"])
        view.table["importance"] = received
        return received

    def _dims(self, kv_bytes: int) -> int:
        return max(int(kv_bytes * self.carry), 8) if self.carry else 0

    def _pairs(self, view: View) -> tuple[Pairs, Carry]:
        """Who neighbours whom, with what is carried of everyone."""
        keys = view.chunk_keys
        dims = self._dims(2 * keys.shape[1] * keys.shape[3] * keys.element_size())
        carry = Carry(dims, "int8") if 0 < dims < view.hidden.shape[1] else Carry(0, "float32")
        unit = torch.nn.functional.normalize(view.hidden.float(), dim=-1)
        held, vectors = view.store.table if view.held else None, carry.compact(unit)
        if held is not None:
            vectors = torch.cat([held["vector"][0], vectors])
        return Pairs(unit, vectors, view.table["index"][0], held, *neighbour_order(view.table, self.neighbours)), carry
