"""One token more of every answer of a batch: one function over tensors that stay where they are.

Knows a model, a fork and a choice; knows no text. The step neither waits for the device nor hands a number to the host:
it compiles as one graph, and on a CUDA device it is one launch (`CapturedStep`). ``read`` is all that the host sees.
"""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from omnimem_cli.memory.fork import Fork
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.choice import Choice

READ_EVERY = 8
"""Tokens of an answer that are written before the host looks at them; where a grammar binds an answer, 1."""


class AnswerStep:
    """``tokens`` int64 [B]: the last ones. ``__call__`` reads them and chooses the next."""

    def __init__(self, adapter: Adapter, fork: Fork, choice: Choice, positions: Tensor):
        """``positions`` int64 [3, B] of the last token of every question."""
        self._adapter, self._fork, self._choice = adapter, fork, choice
        self._positions = positions[..., None].clone()
        rows, device = positions.shape[1], positions.device
        self.tokens = torch.zeros(rows, dtype=torch.long, device=device)
        self._block = torch.zeros(2, rows, READ_EVERY, dtype=torch.float64, device=device)  # holds every id exactly
        self._slot = torch.zeros(1, dtype=torch.long, device=device)

    def __call__(self) -> None:
        """One token more of every row."""
        self._choice.note(self.tokens)
        self._positions.add_(1)
        embeds = self._adapter.embed(self.tokens[:, None])
        hidden = self._fork.step(embeds, self._positions)
        self.take(self._adapter.head(hidden[:, -1]))

    def take(self, logits: Tensor) -> None:
        """Choose from logits [B, V]."""
        tokens, logs = self._choice(logits)
        self.tokens.copy_(tokens)
        both = torch.stack([tokens.double(), logs.double()])
        self._block.index_copy_(2, self._slot, both[..., None])
        self._slot.add_(1)

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        kept = list(rows)
        self._positions, self.tokens, self._block = self._positions[:, kept], self.tokens[kept], self._block[:, kept]
        self._fork.keep_rows(rows)
        self._choice.keep_rows(rows)

    def replace(self, tokens: Sequence[int]) -> None:
        """Go on from these tokens by row, in place of those that were chosen last."""
        self.tokens.copy_(torch.tensor(tokens))

    def read(self, count: int) -> tuple[list[list[int]], list[list[float]]]:
        """By row the ``count`` tokens since the last time, and their logarithms: the one wait for the device."""
        tokens, logs = self._block[:, :, :count].tolist()
        self._slot.zero_()
        return [[int(token) for token in row] for row in tokens], logs


def one_launch(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """The step as it runs fastest on a device: as a CUDA graph where there is CUDA, else as it is written."""
    return CapturedStep(step) if device.type == "cuda" else step


class CapturedStep:
    """A step whose launches are captured once as a CUDA graph and then replayed as one, over the same tensors.

    The first step runs as written: what is made on first use is made then. A step that cannot be captured (an operator
    waits for the device, as LLM.int8's does) runs as written ever after, with a warning.
    """

    def __init__(self, step: Callable[[], None]):
        self._step, self._graph = step, None
        self._ran = self._fails = False

    @property
    def captured(self) -> bool:
        """Whether there is a graph."""
        return self._graph is not None

    def __call__(self) -> None:
        """One token more."""
        if self._fails or not self._ran:
            self._ran = True
            return self._step()
        if self._graph is None:
            self._graph = self._captured()
        return self._step() if self._graph is None else self._graph.replay()

    def _captured(self) -> torch.cuda.CUDAGraph | None:
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._step()
        except RuntimeError as error:
            self._fails = True
            warnings.warn(f"answers are written without a CUDA graph, more slowly: {error}", stacklevel=4)
            return None
        return graph
