"""Named tensors of one length that grow and are compacted in place. Knows no meaning of what they hold."""

import torch
from torch import Tensor


class GrowingTensors:
    """Tensors [G, n, width] by name, each in a buffer with room for more; ``parts``: their types and widths."""

    def __init__(self, groups: int, parts: dict[str, tuple[torch.dtype, int]], device: torch.device):
        self._buffers = {
            name: torch.empty(groups, 0, width, dtype=dtype, device=device) for name, (dtype, width) in parts.items()
        }
        self._length = 0

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> "GrowingTensors":
        """These tensors, uncopied."""
        made = cls(0, {}, torch.device("cpu"))
        made._buffers, made._length = tensors, next(iter(tensors.values())).shape[1]
        return made

    def __len__(self) -> int:
        return self._length

    def views(self) -> dict[str, Tensor]:
        """What is held, uncopied."""
        return {name: buffer[:, : self._length] for name, buffer in self._buffers.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of what is held."""
        return sum(view.numel() * view.element_size() for view in self.views().values())

    def append(self, tensors: dict[str, Tensor]) -> None:
        """Add rows [G, k, width] of every tensor; they take its type."""
        start, self._length = self._length, self._length + next(iter(tensors.values())).shape[1]
        for name, buffer in self._buffers.items():
            if self._length > buffer.shape[1]:
                self._grow(name, start, max(self._length, buffer.shape[1] * 5 // 4))  # amortised
            self._buffers[name][:, start : self._length] = tensors[name]

    def keep(self, index: Tensor) -> None:
        """Hold only the rows ``index`` [1 or G, k]."""
        for name, buffer in self._buffers.items():
            buffer[:, : index.shape[1]] = self._picked(name, index)
        self._length = index.shape[1]

    def picked(self, index: Tensor) -> dict[str, Tensor]:
        """Copies of the rows ``index`` [1 or G, k]."""
        return {name: self._picked(name, index) for name in self._buffers}

    def fill(self, tensors: dict[str, Tensor]) -> None:
        """Hold exactly these, with room for no more."""
        for name, buffer in self._buffers.items():
            self._buffers[name] = tensors[name].to(buffer, copy=True)
            self._length = tensors[name].shape[1]

    def _grow(self, name: str, held: int, rows: int) -> None:
        buffer = self._buffers[name]
        grown = buffer.new_empty(buffer.shape[0], rows, buffer.shape[2])
        grown[:, :held] = buffer[:, :held]
        self._buffers[name] = grown

    def _picked(self, name: str, index: Tensor) -> Tensor:
        buffer = self._buffers[name]
        if len(index) == 1:
            return buffer[:, index[0]]
        return buffer.gather(1, index[:, :, None].expand(-1, -1, buffer.shape[2]))
