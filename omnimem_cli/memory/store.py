"""The kept keys and values of one layer, and what is known of each entry. The only file that touches them.

Knows shapes and bytes; knows no score, no budget and no policy. Entries stand in stream order. With ``rows`` = 1
all KV heads keep the same entries; with ``rows`` = G every KV head keeps its own (equally many).
"""

import torch
from torch import Tensor

from omnimem_cli.memory.attention import attend
from omnimem_cli.memory.rotary import apply_rotary
from omnimem_cli.memory.table import Table


class Store:
    """Keys and values [1, G, m, d] in one growing buffer, and their table. Compacted in place."""

    def __init__(self, groups: int, head_dim: int, dtype: torch.dtype, device, rows: int = 1):
        assert rows in (1, groups), "entries are kept per layer (1 row) or per KV head (G rows)"
        self.rows = rows
        self.table: Table | None = None
        self._buffer = torch.empty(2, groups, 0, head_dim, dtype=dtype, device=device)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def keys(self) -> Tensor:
        """[1, G, m, d], post-rotary, a view."""
        return self._buffer[0:1, :, : self._length]

    @property
    def values(self) -> Tensor:
        """[1, G, m, d], a view."""
        return self._buffer[1:2, :, : self._length]

    @property
    def nbytes(self) -> int:
        """Bytes of the entries held: keys, values and table."""
        held = 2 * self._buffer.shape[1] * self._length * self._buffer.shape[3] * self._buffer.element_size()
        return held + (self.table.nbytes if self.table is not None else 0)

    @property
    def allocated_bytes(self) -> int:
        """Bytes taken from the allocator: the whole buffer and the table."""
        return self._buffer.numel() * self._buffer.element_size() + (self.table.nbytes if self.table else 0)

    def append(self, keys: Tensor, values: Tensor, table: Table) -> None:
        """Add entries [1, G, n, d] after the ones held."""
        assert keys.shape[2] == len(table), "every entry needs its row in the table"
        self._write(keys, values)
        self.table = table if self.table is None else self.table.extend(table)

    def keep(self, index: Tensor) -> None:
        """Hold only the entries ``index`` [rows, k], ascending and unique per row."""
        assert index.shape[0] == self.rows, "one row of indices per kept list"
        self._compact(index)
        self.table = self.table.take(index)

    def admit(self, index: Tensor, keys: Tensor, values: Tensor, table: Table) -> None:
        """Hold the entries ``index`` [rows, k] of [held; chunk], the chunk being keys, values [1, G, n, d].

        ``table`` covers both. The chunk never enters the buffer whole where all heads agree, so a layer takes no more
        room than what it keeps.
        """
        held = self._length
        if self.rows == 1:
            old, new = index[:, index[0] < held], index[:, index[0] >= held] - held
            self._compact(old)
            self._write(keys[:, :, new[0]], values[:, :, new[0]])
        else:
            self._write(keys, values)
            self._compact(index)
        self.table = table.take(index)

    def order(self) -> None:
        """Put entries back into stream order, after merged entries were appended."""
        self.keep(self.table["index"].argsort(dim=1, stable=True))

    def attend(self, q: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """Every query [B, H, n, d] over every entry; the batch shares the entries uncopied. Returns out, lse."""
        b, h, n, d = q.shape
        rows = q.transpose(0, 1).reshape(1, h, b * n, d)
        out, lse = attend(rows, self.keys, self.values, scaling, causal=False)
        return out.reshape(h, b, n, d).transpose(0, 1), lse.reshape(h, b, n).transpose(0, 1)

    def rotate(self, cos: Tensor, sin: Tensor) -> None:
        """Turn every key by the angles of (cos, sin) [rows, m, d], in fp32."""
        self._buffer[0, :, : self._length] = apply_rotary(self.keys[0], cos, sin)

    def select(self, index: Tensor) -> "Store":
        """A store of its own with the entries ``index`` [rows, k]; this one stays as it is."""
        part = Store(self._buffer.shape[1], self._buffer.shape[3], self._buffer.dtype, self._buffer.device, self.rows)
        part._buffer = self._picked(index)
        part._length, part.table = index.shape[1], self.table.take(index)
        return part

    def by_head(self, inside: Tensor) -> "HeadStores":
        """Stores of their own with the entries marked in ``inside`` [rows = G, m], not equally many per KV head."""
        parts = []
        for head, mask in enumerate(inside):
            part = Store(1, self._buffer.shape[3], self._buffer.dtype, self._buffer.device)
            part._buffer = self._buffer[:, head : head + 1, : self._length][:, :, mask]
            part._length = part._buffer.shape[2]
            parts.append(part)
        return HeadStores(parts)

    def state(self) -> dict[str, Tensor]:
        """Plain tensors: ``key``, ``value`` and ``side.<column>``."""
        tensors = {"key": self.keys[0].clone(), "value": self.values[0].clone()}
        if self.table is not None:
            tensors |= {f"side.{name}": column.clone() for name, column in self.table.columns.items()}
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Hold exactly what ``state`` gave."""
        columns = {n.removeprefix("side."): t for n, t in tensors.items() if n.startswith("side.")}
        device = self._buffer.device
        self._buffer = torch.stack([tensors["key"], tensors["value"]]).to(device)
        self._length = self._buffer.shape[2]
        self.table = Table({n: t.to(device) for n, t in columns.items()}) if columns else None

    def reserve(self, entries: int) -> None:
        """Take room for ``entries`` at once, so that later appends allocate nothing."""
        if entries <= self._buffer.shape[2]:
            return
        _, groups, _, head_dim = self._buffer.shape
        grown = self._buffer.new_empty(2, groups, entries, head_dim)
        grown[:, :, : self._length] = self._buffer[:, :, : self._length]
        self._buffer = grown

    def _write(self, keys: Tensor, values: Tensor) -> None:
        """Keys and values [1, G, n, d] behind the held ones."""
        end = self._length + keys.shape[2]
        if end > self._buffer.shape[2]:
            self.reserve(max(end, self._buffer.shape[2] * 5 // 4))  # amortised where nothing was reserved
        self._buffer[0, :, self._length : end] = keys[0]
        self._buffer[1, :, self._length : end] = values[0]
        self._length = end

    def _compact(self, index: Tensor) -> None:
        self._buffer[:, :, : index.shape[1]] = self._picked(index)
        self._length = index.shape[1]

    def _picked(self, index: Tensor) -> Tensor:
        """[2, G, k, d]: the entries ``index`` [rows, k] of keys and values."""
        _, groups, _, head_dim = self._buffer.shape
        if self.rows == 1:
            return self._buffer[:, :, index[0]]
        return self._buffer.gather(2, index[None, :, :, None].expand(2, groups, -1, head_dim))


class HeadStores:
    """What a reader sees where every KV head has its own number of entries: one store per head."""

    def __init__(self, parts: list[Store]):
        self._parts = parts

    def attend(self, q: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """As ``Store.attend``."""
        heads = q.chunk(len(self._parts), dim=1)
        outs, lses = zip(*(part.attend(h, scaling) for part, h in zip(self._parts, heads, strict=True)), strict=True)
        return torch.cat(outs, dim=1), torch.cat(lses, dim=1)
