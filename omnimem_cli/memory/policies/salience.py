"""Salience: OmniMem's rule, with importance per query, redundancy against more than two neighbours, and one pool.

- Importance is a mean over the queries that could see an entry. The paper sums over all queries of a chunk (equation
  8): few of them see the chunk's last tokens, so that these count as less important whatever they show, and where
  chunks end decides what stays. An entry's mean is its own, whatever its place in the chunk and however long that is.
  So it may weigh more in the score: its exponent is 0.2 instead of 0.02.
- The score of an entry falls with its likeness to any other of its kind that scores more. The paper compares
  neighbours in the list alone (equation 9): what is shown again an hour later is kept twice. Of two that are alike the
  better one keeps its score. The vectors that are carried anyway are compared.
- Likeness to neighbours counts by its root. New entries have the chunk's other entries as neighbours, most of which
  are about to go; those that have been kept have distant ones. In full it costs the end of a video what it shows.
- Pictures and sound compete for the same places. The paper gives each a share that is fixed before anything is seen
  (its memory budget r). How much a video says in pictures and how much in words differs from video to video, from
  stretch to stretch and from layer to layer; importance per query has one scale for both. ``pool=split`` shares.
- What is evicted leaves its attention to the nearest survivor of its kind (`memory.mass`): a word that one entry is
  left of is attended to like a word, and not a twentieth of one beside the newest chunk.
- The vector carried per entry takes half of the bytes, which hold more entries.

All else is the paper's. What else was tried is in bench/LOG.md.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from omnimem_cli.memory.policies.omnimem import OmniMem
from omnimem_cli.memory.policies.policy import LayerView
from omnimem_cli.memory.redundancy import twin_cosines


@dataclass
class Salience(OmniMem):
    """Settings: those of ``OmniMem``; ``novelty``: exponent of 1 - s; ``twins``: by how much a score falls with
    likeness to a better entry.
    """

    exponent: float = 0.2
    stride: int = 16
    carry: float = 0.0625
    novelty: float = 0.5
    twins: float = 1.0
    pool: str = "one"
    mass: float = 0.4

    needs_counts: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        if self.novelty < 0:
            raise ValueError("novelty is not negative")
        if not 0 <= self.twins <= 1:
            raise ValueError("twins is from 0 to 1")

    def received(self, view: LayerView) -> Tensor:
        """Attention that each entry received, mean over the chunk's queries that see it: fp32 [N]."""
        return view.importance_per_query(self.stride, self.heads)

    @property
    def novelty_exponent(self) -> float:
        """Of 1 - s, on top of the paper's."""
        return super().novelty_exponent * self.novelty

    def scores(self, view: LayerView) -> Tensor:
        """psi, lowered where a better entry is alike, unless all stay anyway: [1, N]."""
        psi = super().scores(view)
        if not self.twins or self.has_room(view):
            return psi
        alike = twin_cosines(view.table["vector"][0], view.table["kind"][0], psi[0], view.media)
        return psi * (1 - self.twins * alike)
