"""Rotary positions (time, height, width) of a stream, in closed form: a few integers of state, no history.

Knows counters; knows no tokens. Text has three equal rows that count up; ``next`` is where text would go on.
Three rules, because the Qwen2.5-VL release was trained with one and generates with another.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from omnimem_cli.models.salmonn.audio_tower import TOKENS_PER_S


class TextPositions:
    """What the rules share: text counts up in all three rows from ``next``, which is never below ``start``."""

    start: int
    next: int

    def __post_init__(self):
        self.next = max(self.next, self.start)

    def text(self, count: int) -> Tensor:
        """int64 [3, count]; advances."""
        self.next += count
        return torch.arange(self.next - count, self.next).expand(3, count)


@dataclass
class BlockPositions(TextPositions):
    """Qwen3-VL: every vision span is a clip of its own, all else is text, audio tokens too. No other clock."""

    next: int
    start: int = 0  # of the current span

    def skip(self, before: "BlockPositions", share: float, sounds: int) -> None:
        """Go on where a stream, which is at ``before``, was after this share of its time and so many audio tokens."""
        self.next += round((before.next - self.next) * share)

    def audio(self, count: int) -> Tensor:
        """int64 [3, count]; advances."""
        return self.text(count)

    def visual(self, step: int, inside: int, rows: int, columns: int) -> Tensor:
        """int64 [3, rows * columns] of grid step ``inside`` of its span; advances."""
        self.start = self.next if inside == 0 else self.start
        positions = _grid(inside, rows, columns) + self.start
        self.next = max(self.next, int(positions.max()) + 1)
        return positions


@dataclass
class TrainedPositions(TextPositions):
    """Qwen2.5-VL as trained: step g at start + floor(2 s g); sound counts from the same start.

    The j-th audio token is at (start + j, start, start + j), without picture at (start + j, start + j, start).
    Text goes on after the largest time row where there is sound, else after the largest of all rows.
    """

    start: int
    step_s: float
    picture: bool
    sound: bool
    next: int = -1
    sounds: int = 0

    def audio(self, count: int) -> Tensor:
        """int64 [3, count]; advances."""
        running = torch.arange(self.sounds, self.sounds + count)
        still = torch.zeros_like(running)
        rows = (running, still, running) if self.picture else (running, running, still)
        self.sounds += count
        self.next = max(self.next, self.start + self.sounds)
        return torch.stack(rows) + self.start

    def skip(self, before: "TrainedPositions", share: float, sounds: int) -> None:
        """As of ``BlockPositions``: exact, as a step says its own place."""
        self.sounds = sounds

    def visual(self, step: int, inside: int, rows: int, columns: int) -> Tensor:
        """int64 [3, rows * columns] of grid step ``step`` of the stream; advances."""
        time = int(torch.tensor(step) * self.step_s * TOKENS_PER_S)  # float32, as trained
        positions = _grid(time, rows, columns) + self.start
        largest = positions[0].max() if self.sound else positions.max()
        self.next = max(self.next, int(largest) + 1)
        return positions


@dataclass
class GeneratedPositions(TextPositions):
    """Qwen2.5-VL as released inference places tokens: by ids and grid alone, a step every 2 positions.

    The first ``total`` tokens of the span, total being all visual tokens of the whole video, get the grid's
    positions in order, whatever they are; the rest counts up from the largest. Needs the video's length.
    """

    start: int
    total: int
    rows: int
    columns: int
    next: int = -1
    placed: int = 0

    def audio(self, count: int) -> Tensor:
        """int64 [3, count]; advances."""
        on_grid = max(0, min(count, self.total - self.placed))
        index = torch.arange(self.placed, self.placed + on_grid)
        cell = index % (self.rows * self.columns)
        step = index // (self.rows * self.columns)
        positions = torch.stack([2 * step, cell // self.columns, cell % self.columns]) + self.start
        self.placed += on_grid
        if on_grid:
            self.next = max(self.next, int(positions.max()) + 1)
        return torch.cat([positions, self.text(count - on_grid)], dim=1)

    def skip(self, before: "GeneratedPositions", share: float, sounds: int) -> None:
        """As of ``BlockPositions``. What follows is a grid of its own that begins there."""
        replayed = replace(before, next=-1, placed=0)
        replayed.audio(before.total)
        tokens = before.placed + max(0, before.next - replayed.next)
        replayed = replace(before, next=-1, placed=0)
        replayed.audio(round(tokens * share))
        on_grid = replayed.start + 2 * (replayed.placed // (replayed.rows * replayed.columns))
        self.start = self.next = on_grid if replayed.placed < replayed.total else replayed.next

    def visual(self, step: int, inside: int, rows: int, columns: int) -> Tensor:
        """int64 [3, rows * columns], placed like any token; advances."""
        return self.audio(rows * columns)


Positions = BlockPositions | TrainedPositions | GeneratedPositions


def _grid(time: int, rows: int, columns: int) -> Tensor:
    axes = torch.meshgrid(torch.tensor([time]), torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([axis.flatten() for axis in axes])
