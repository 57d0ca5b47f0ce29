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
        start, end = self._length, self._length + next(iter(tensors.values())).shape[1]
        for name in self._buffers:
            self._reserve(name, end)[:, start:end] = tensors[name]
        self._length = end

    def keep(self, index: Tensor) -> None:
        """Hold only the rows ``index`` [1 or G, k]."""
        for name, buffer in self._buffers.items():
            buffer[:, : index.shape[1]] = self._picked(name, index)
        self._length = index.shape[1]

    def admit(self, index: Tensor, new: dict[str, Tensor]) -> None:
        """Hold the rows ``index`` [k], ascending, of those held and of others that follow them.

        ``new`` [G, f, width]: rows for the last f places; those whose index is of a held row are not used. So how many
        of each stay need not be known.
        """
        held, kept, last = self._length, len(index), next(iter(new.values())).shape[1]
        if not held:
            return self.append(new)
        is_new, old = (index[kept - last :] >= held)[:, None], index.clamp(max=held - 1)[None]
        for name in self._buffers:
            rows = self._picked(name, old)
            buffer = self._reserve(name, kept)
            buffer[:, : kept - last] = rows[:, : kept - last]
            buffer[:, kept - last : kept] = torch.where(is_new, new[name].to(rows), rows[:, kept - last :])
        self._length = kept

    def picked(self, index: Tensor) -> dict[str, Tensor]:
        """Copies of the rows ``index`` [1 or G, k]."""
        return {name: self._picked(name, index) for name in self._buffers}

    def fill(self, tensors: dict[str, Tensor]) -> None:
        """Hold exactly these, with room for no more."""
        for name, buffer in self._buffers.items():
            self._buffers[name] = tensors[name].to(buffer, copy=True)
            self._length = tensors[name].shape[1]

    def _reserve(self, name: str, rows: int) -> Tensor:
        """A buffer with room for so many rows, in which those held are."""
        buffer = self._buffers[name]
        if rows > buffer.shape[1]:
            room = max(rows, buffer.shape[1] * 5 // 4)  # amortised
            self._buffers[name] = buffer.new_empty(buffer.shape[0], room, buffer.shape[2])
            self._buffers[name][:, : self._length] = buffer[:, : self._length]
        return self._buffers[name]

    def _picked(self, name: str, index: Tensor) -> Tensor:
        buffer = self._buffers[name]
        if len(index) == 1:
            return buffer[:, index[0]]
        return buffer.gather(1, index[:, :, None].expand(-1, -1, buffer.shape[2]))
