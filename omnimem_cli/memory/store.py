"""The kept keys and values of one layer, and the table of what is known of each entry.

The only file that reads or writes kept keys and values: whoever else needs something of them calls a method here, so
how they are stored is decided here alone. Knows no policy and no budget. Entries are in stream order. With ``rows`` = 1
all KV heads keep the same entries; with ``rows`` = G every KV head keeps its own, equally many.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from omnimem_cli.memory.attention import attend
from omnimem_cli.memory.importance import column_sums, head_averaged_sums, placed_attention, reduced_attention
from omnimem_cli.memory.rotary import apply_rotary
from omnimem_cli.memory.table import COLUMNS, Table

if TYPE_CHECKING:
    from omnimem_cli.memory.attention_by_time import Moments


class Store:
    """Keys and values [1, G, m, d] in one growing buffer, and their table. Compacted in place."""

    def __init__(self, groups: int, head_dim: int, dtype: torch.dtype, device, rows: int = 1):
        assert rows in (1, groups), "entries are kept per layer (1 row) or per KV head (G rows)"
        self.rows, self.dtype, self.device = rows, dtype, torch.device(device)
        self.kv_bytes = kv_bytes(groups, head_dim, dtype)
        self.table: Table | None = None
        self._buffer = torch.empty(2, groups, 0, head_dim, dtype=dtype, device=device)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def form(self) -> tuple[int, int, int]:
        """Rows of the table, KV heads and head dimension."""
        return self.rows, self._buffer.shape[1], self._buffer.shape[3]

    @property
    def _keys(self) -> Tensor:
        """[1, G, m, d], post-rotary, a view."""
        return self._buffer[0:1, :, : self._length]

    @property
    def _values(self) -> Tensor:
        """[1, G, m, d], a view."""
        return self._buffer[1:2, :, : self._length]

    @property
    def nbytes(self) -> int:
        """Bytes of the entries held: keys, values and table."""
        return self._length * self.kv_bytes + (self.table.nbytes if self.table is not None else 0)

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

        ``table`` covers both. Where all heads keep the same entries, the chunk never enters the buffer whole, so a
        layer allocates no more than it keeps.
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
        """Sort the entries into stream order, after merged entries were appended."""
        self.keep(self.table["index"].argsort(dim=1, stable=True))

    def attend(self, q: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """Attention of every query [B, H, n, d] to every entry; the rows share the entries. Returns output and lse."""
        b, h, n, d = q.shape
        rows = q.transpose(0, 1).reshape(1, h, b * n, d)
        out, lse = attend(rows, self._keys, self._values, scaling, causal=False)
        return out.reshape(h, b, n, d).transpose(0, 1), lse.reshape(h, b, n).transpose(0, 1)

    def attention_received(
        self, q: Tensor, lse: Tensor, chunk_keys: Tensor, scaling: float, stride: int = 1, per_group: bool = False
    ) -> Tensor:
        """``column_sums`` over [entries; chunk]: fp32 [m + n] (or [G, m + n]).

        q [1, H, r, d] and lse [1, H, r] are of the chunk's last r queries, chunk_keys [1, G, n, d], n >= r.
        """
        first = chunk_keys.shape[2] - q.shape[2]
        seen_by_all = torch.cat([self._keys, chunk_keys[:, :, :first]], dim=2) if first else self._keys
        return column_sums(q, lse, seen_by_all, chunk_keys[:, :, first:], scaling, stride, per_group)

    def head_averaged_attention(self, q: Tensor, chunk_keys: Tensor, scaling: float, stride: int = 1) -> Tensor:
        """``head_averaged_sums`` over [entries; chunk]: fp32 [m + n]."""
        return head_averaged_sums(q, self._keys, chunk_keys, scaling, stride)

    def weights(self, q: Tensor, lse: Tensor, scaling: float, real: Tensor, reduce: str) -> Tensor:
        """``reduced_attention`` over the entries: fp32 [B, m]."""
        return reduced_attention(q, lse, self._keys, scaling, real, reduce)

    def attention_by_time(
        self, q: Tensor, lse: Tensor, heads: Sequence[int], of: int, scaling: float, moments: "Moments"
    ) -> Tensor:
        """Attention that falls on each kind and moment, summed over ``heads`` of ``of``: fp32 [B, n, moments.places].

        q [B, h, n, d] and lse fp32 [B, h, n] are of those h query heads alone.
        """
        paid = q.new_zeros(q.shape[0], q.shape[2], moments.places, dtype=torch.float32)
        if not len(self):
            return paid
        place, groups = moments.place(self.table), self._keys.shape[1]
        for i, group in enumerate(head * groups // of for head in heads):
            keys = self._keys[0, group]
            paid += placed_attention(q[:, i], lse[:, i], keys, scaling, place[group % self.rows], moments.places)
        return paid

    def key_norms(self) -> Tensor:
        """L2 norms of the keys, fp32 [G, m]."""
        return norms(self._keys)

    def value_norms(self) -> Tensor:
        """L2 norms of the values, fp32 [G, m]."""
        return norms(self._values)

    def unit_keys(self) -> Tensor:
        """Keys of length 1, fp32 [G, m, d]."""
        return unit(self._keys)

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Copies of the keys and values [1, G, k, d] of the entries ``index`` [k], the same for all heads."""
        return self._keys[:, :, index], self._values[:, :, index]

    def rotate(self, cos: Tensor, sin: Tensor) -> None:
        """Rotate every key by the angles of (cos, sin) [rows, m, d], in fp32."""
        self._buffer[0, :, : self._length] = apply_rotary(self._keys[0], cos, sin)

    def select(self, index: Tensor) -> "Store":
        """A new store with copies of the entries ``index`` [rows, k]."""
        part = Store(self._buffer.shape[1], self._buffer.shape[3], self.dtype, self.device, self.rows)
        part._buffer = self._picked(index)
        part._length, part.table = index.shape[1], self.table.take(index)
        return part

    def by_head(self, inside: Tensor) -> "HeadStores":
        """New stores, one per KV head, with copies of the entries marked in ``inside`` [rows = G, m]."""
        parts = []
        for head, mask in enumerate(inside):
            part = Store(1, self._buffer.shape[3], self.dtype, self.device)
            part._buffer = self._buffer[:, head : head + 1, : self._length][:, :, mask]
            part._length = part._buffer.shape[2]
            part.table = Table({name: column[head, mask][None] for name, column in self.table.columns.items()})
            parts.append(part)
        return HeadStores(parts)

    def beginning(self, count: int) -> "Store":
        """A new store with copies of the first ``count`` entries, of which every KV head must hold the same ones.

        Its table has the engine's columns alone.
        """
        part = Store(self._buffer.shape[1], self._buffer.shape[3], self.dtype, self.device)
        if count:
            first = Table({name: self.table[name][:1, :count].clone() for name in COLUMNS})
            part.append(self._keys[:, :, :count], self._values[:, :, :count], first)
        return part

    def state(self) -> dict[str, Tensor]:
        """Copies on the CPU, as a device may have no room for them: ``key``, ``value`` and ``side.<column>``."""
        tensors = {"key": self._keys[0], "value": self._values[0]}
        if self.table is not None:
            tensors |= {f"side.{name}": column for name, column in self.table.columns.items()}
        return {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Hold exactly what ``state`` gave; keys and values of another type become this store's."""
        columns = {n.removeprefix("side."): t for n, t in tensors.items() if n.startswith("side.")}
        groups, length, head_dim = tensors["key"].shape
        self._buffer = torch.empty(2, groups, length, head_dim, dtype=self.dtype, device=self.device)
        for half, name in enumerate(("key", "value")):
            self._buffer[half].copy_(tensors[name])
        self._length = length
        self.table = Table({n: t.to(self.device) for n, t in columns.items()}) if columns else None

    def reserve(self, entries: int) -> None:
        """Allocate ``entries`` at once, so that later appends allocate nothing."""
        if entries <= self._buffer.shape[2]:
            return
        _, groups, _, head_dim = self._buffer.shape
        grown = self._buffer.new_empty(2, groups, entries, head_dim)
        grown[:, :, : self._length] = self._buffer[:, :, : self._length]
        self._buffer = grown

    def _write(self, keys: Tensor, values: Tensor) -> None:
        """Write keys and values [1, G, n, d] after the ones held."""
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


def kv_bytes(groups: int, head_dim: int, dtype: torch.dtype) -> int:
    """Bytes of the keys and values of one entry of one layer, over all ``groups`` KV heads."""
    return 2 * groups * head_dim * dtype.itemsize


def norms(x: Tensor) -> Tensor:
    """L2 norms of keys or values [1, G, m, d], fp32 [G, m]."""
    return x[0].float().norm(dim=-1)


def unit(x: Tensor) -> Tensor:
    """Keys [1, G, m, d] scaled to length 1, fp32 [G, m, d]."""
    return torch.nn.functional.normalize(x[0].float(), dim=-1)


class HeadStores:
    """A window of a memory whose KV heads keep different entries: one store per head, of differing lengths."""

    def __init__(self, parts: list[Store]):
        self._parts = parts

    def attend(self, q: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """As ``Store.attend``."""
        heads = q.chunk(len(self._parts), dim=1)
        outs, lses = zip(*(part.attend(h, scaling) for part, h in zip(self._parts, heads, strict=True)), strict=True)
        return torch.cat(outs, dim=1), torch.cat(lses, dim=1)

    def attention_by_time(
        self, q: Tensor, lse: Tensor, heads: Sequence[int], of: int, scaling: float, moments: "Moments"
    ) -> Tensor:
        """As ``Store.attention_by_time``."""
        parts = [self._parts[head * len(self._parts) // of] for head in heads]
        by_head = zip(parts, q.split(1, dim=1), lse.split(1, dim=1), strict=True)
        return sum(part.attention_by_time(rows, level, [0], 1, scaling, moments) for part, rows, level in by_head)
