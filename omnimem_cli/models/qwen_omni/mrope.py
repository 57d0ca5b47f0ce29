"""Rotary positions of a Qwen-Omni stream in closed form: three integers of state, no history.

Knows counters; knows no tokens and no embeddings. Equal to the library's ``get_rope_index`` over the whole
sequence. With B the position after the opening marks (which share one):

- frame pair k, cell (i, j): (B + floor(k * seconds per pair * per_second), B + i, B + j);
- audio token n: B + n in all three rows;
- closing marks: one past the largest position of the *last* block that was appended, picture or sound;
  they share it, and text counts on from there.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor


@dataclass
class StreamPositions:
    """``base`` is B; ``close`` the position that closing marks would take now."""

    base: int
    per_second: float
    pair_s: float
    pairs: int = 0
    sounds: int = 0
    close: int = -1

    def __post_init__(self):
        self.close = self.base if self.close < 0 else self.close

    def visual(self, pairs: int, rows: int, columns: int) -> Tensor:
        """int64 [3, pairs * rows * columns] of the next frame pairs; advances."""
        index = torch.arange(self.pairs, self.pairs + pairs)
        # float32, product by product, as the library floors it.
        time = (index * torch.tensor(self.pair_s, dtype=torch.float32) * self.per_second).long()
        axes = torch.meshgrid(time, torch.arange(rows), torch.arange(columns), indexing="ij")
        positions = torch.stack([axis.flatten() for axis in axes]) + self.base
        self.pairs += pairs
        return self._appended(positions)

    def audio(self, tokens: int) -> Tensor:
        """int64 [3, tokens] of the next audio tokens; advances."""
        positions = torch.arange(self.sounds, self.sounds + tokens).expand(3, tokens) + self.base
        self.sounds += tokens
        return self._appended(positions)

    def skip(self, seconds: float, sounds_per_second: float) -> None:
        """Go on as after so many seconds of picture and sound."""
        self.pairs += round(seconds / self.pair_s)
        self.sounds += round(seconds * sounds_per_second)

    def _appended(self, positions: Tensor) -> Tensor:
        if positions.numel():
            self.close = int(positions.max()) + 1
        return positions

    def state(self) -> dict:
        """Plain numbers; ``StreamPositions(**state)`` continues."""
        return asdict(self)
