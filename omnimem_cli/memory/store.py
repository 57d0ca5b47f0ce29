"""The kept keys and values of one layer, and the table of what is known of each entry.

The only file that reads or writes kept keys and values: whoever else needs something of them calls a method here. How
they are held, whole or quantized, is the business of a form (`memory.forms`), which only this file uses. Knows no
policy and no budget. Entries are in stream order. With ``rows`` = 1 all KV heads keep the same entries; with ``rows`` =
G every KV head keeps its own, equally many.

A quantized store holds what was appended whole until ``keep`` decides which of it stays; what stays is quantized then,
once. From there on only codes are moved.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from omnimem_cli.base.choices import KV_BITS
from omnimem_cli.memory.attention import attend, attend_biased
from omnimem_cli.memory.attention_kernels import padded
from omnimem_cli.memory.forms import Form, Held, Quantized, Whole
from omnimem_cli.memory.growing import GrowingTensors
from omnimem_cli.memory.importance import column_sums, head_averaged_sums, placed_attention, reduced_attention
from omnimem_cli.memory.key_transform import KeyTransform
from omnimem_cli.memory.mass import BIAS
from omnimem_cli.memory.quantized import parts_of
from omnimem_cli.memory.rotary import Rotary, apply_rotary
from omnimem_cli.memory.several_stores import HeadStores
from omnimem_cli.memory.table import COLUMNS, Table

if TYPE_CHECKING:
    from omnimem_cli.memory.attention_by_time import Moments

WHOLE_BITS = KV_BITS[0]


class Store:
    """Keys and values of m entries, and their table. Compacted in place.

    ``kv_bits`` below 16: quantized, for which ``transform`` says how the layer's keys came to their places.
    """

    def __init__(
        self,
        groups: int,
        head_dim: int,
        dtype: torch.dtype,
        device,
        rows: int = 1,
        kv_bits: int = WHOLE_BITS,
        transform: KeyTransform | None = None,
    ):
        assert rows in (1, groups), "entries are kept per layer (1 row) or per KV head (G rows)"
        self.rows, self.dtype, self.device = rows, dtype, torch.device(device)
        self.table: Table | None = None
        self._groups, self._dim = groups, head_dim
        if kv_bits < WHOLE_BITS:
            assert transform is not None, "keys are quantized before rotation, so the way there must be known"
            self._form: Form = Quantized(kv_bits, head_dim, dtype, transform)
        else:
            self._form = Whole(head_dim, dtype)
        self._held = GrowingTensors(groups, self._form.parts, self.device)
        self._waiting: tuple[Tensor, Tensor] | None = None  # keys and values [1, G, n, d] that are not quantized yet
        self._read: Tensor | None = None  # the keys, dequantized, for as long as ``reading`` is open

    def __len__(self) -> int:
        return len(self._held) + self._waiting_count

    @property
    def kv_bytes(self) -> int:
        """Bytes of the keys and values of one entry as held, over all KV heads."""
        return self._groups * sum(dtype.itemsize * width for dtype, width in self._form.parts.values())

    @property
    def forms(self) -> dict[str, tuple[torch.dtype, tuple[int, int]]]:
        """Of the tensors of keys and values in ``state``: type, KV heads and width; their length is between these."""
        return {name: (dtype, (self._groups, width)) for name, (dtype, width) in self._form.parts.items()}

    @property
    def _waiting_count(self) -> int:
        return 0 if self._waiting is None else self._waiting[0].shape[2]

    @property
    def _keys(self) -> Tensor:
        """[1, G, m, d], post-rotary; a view where entries are held whole, else made for this reading."""
        if self._read is not None:
            return self._read
        return self._with_waiting(self._form.keys(self._held.views(), self._raw(self.table, slice(len(self._held)))), 0)

    @property
    def _values(self) -> Tensor:
        """[1, G, m, d], as ``_keys``."""
        return self._with_waiting(self._form.values(self._held.views()), 1)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Until it ends, or entries change, quantized keys are dequantized once; for so long they are held whole."""
        if not self._form.whole and self._read is None:
            self._read = self._keys
        try:
            yield
        finally:
            self._read = None

    def _raw(self, table: Table | None, where: Tensor | slice) -> Tensor | None:
        """Raw positions int64 [3, rows, k] of some entries of a table; None where the form needs none."""
        if self._form.whole:
            return None
        if table is None:
            return torch.zeros(3, self.rows, 0, dtype=torch.long, device=self.device)
        return table.raw_positions[:, :, where]

    def _with_waiting(self, held: Tensor, half: int) -> Tensor:
        return held if self._waiting is None else torch.cat([held, self._waiting[half]], dim=2)

    @property
    def nbytes(self) -> int:
        """Bytes of the entries held: keys, values and table."""
        waiting = 0 if self._waiting is None else sum(part.numel() * part.element_size() for part in self._waiting)
        return self._held.nbytes + waiting + (self.table.nbytes if self.table is not None else 0)

    def append(self, keys: Tensor, values: Tensor, table: Table) -> None:
        """Add entries [1, G, n, d] after the ones held; a quantized store holds them whole until the next ``keep``."""
        assert keys.shape[2] == len(table), "every entry needs its row in the table"
        self._read = None
        if self._form.whole:
            self._held.append(self._form.held(keys, values, None))
        else:
            assert self._waiting is None, "what was appended is decided on before more comes"
            self._waiting = keys, values
        self.table = table if self.table is None else self.table.extend(table)

    def keep(self, index: Tensor) -> None:
        """Hold only the entries ``index`` [rows, k], ascending and unique per row."""
        assert index.shape[0] == self.rows, "one row of indices per kept list"
        self._read = None
        if self._waiting is None:
            self._held.keep(index)
            self.table = self.table.take(index)
        else:
            (keys, values), self._waiting = self._waiting, None
            self.admit(index, keys, values, self.table)

    def admit(self, index: Tensor, keys: Tensor, values: Tensor, table: Table) -> None:
        """Hold the entries ``index`` [rows, k], ascending, of [held; chunk], the chunk being keys, values [1, G, n, d].

        ``table`` covers both. Where all heads keep the same entries, the chunk never enters the buffer whole, so a
        layer allocates no more than it keeps. How many of them are the chunk's is not known here without waiting for
        the device: as many as could be are prepared.
        """
        self._read, held = None, len(self._held)
        if self.rows == 1:
            last = index[0, max(index.shape[1] - keys.shape[2], 0) :].clamp(min=held)
            keys, values = keys[:, :, last - held], values[:, :, last - held]
            self._held.admit(index[0], self._form.held(keys, values, self._raw(table, last)))
        else:
            self._held.append(self._form.held(keys, values, self._raw(table, slice(held, None))))
            self._held.keep(index)
        self.table = table.take(index)

    def order(self) -> None:
        """Sort the entries into stream order, after merged entries were appended; what waits is quantized first."""
        order = self.table["index"].argsort(dim=1, stable=True)
        if self._waiting is not None:
            self.keep(torch.arange(len(self), device=self.device).expand(self.rows, -1))
        self.keep(order)

    def attend(self, q: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """Attention of every query [B, H, n, d] to every entry; the rows share the entries. Returns output and lse."""
        b, h, n, d = q.shape
        rows, bias = q.transpose(0, 1).reshape(1, h, b * n, d), self.bias(q.dtype)
        if bias is None:
            out, lse = attend(rows, self._keys, self._values, scaling, causal=False)
        else:
            out, lse = attend_biased(rows, self._keys, self._values, scaling, bias)
        return out.view(h, b, n, d).transpose(0, 1), lse.view(h, b, n).transpose(0, 1)

    def bias(self, dtype: torch.dtype) -> Tensor | None:
        """What is added to the attention scores of every entry, [1, 1, 1, m]; None where nothing is."""
        added = self._added
        if added is None:
            return None
        bias = torch.zeros(1, 1, 1, padded(len(added)), dtype=dtype, device=self.device)[..., : len(added)]
        return bias.copy_(added)

    @property
    def _added(self) -> Tensor | None:
        """The table's column of biases, fp32 [m]; None where it has none."""
        if not len(self) or BIAS not in self.table.columns:
            return None
        assert self.rows == 1, "all heads of a layer add the same"
        return self.table[BIAS][0]

    def attention_received(
        self, q: Tensor, lse: Tensor, chunk_keys: Tensor, scaling: float, stride: int = 1, per_group: bool = False
    ) -> Tensor:
        """``column_sums`` over [entries; chunk]: fp32 [m + n] (or [G, m + n]).

        q [1, H, r, d] and lse [1, H, r] are of the chunk's last r queries, chunk_keys [1, G, n, d], n >= r.
        """
        first = chunk_keys.shape[2] - q.shape[2]
        held = self._keys
        if first:
            held, chunk_keys = torch.cat([held, chunk_keys[:, :, :first]], dim=2), chunk_keys[:, :, first:]
        return column_sums(q, lse, held, chunk_keys, scaling, stride, per_group)

    def head_averaged_attention(self, q: Tensor, chunk_keys: Tensor, scaling: float, stride: int = 1) -> Tensor:
        """``head_averaged_sums`` over [entries; chunk]: fp32 [m + n]."""
        return head_averaged_sums(q, self._keys, chunk_keys, scaling, stride)

    def weights(self, q: Tensor, lse: Tensor, scaling: float, real: Tensor, reduce: str) -> Tensor:
        """``reduced_attention`` over the entries: fp32 [B, m]."""
        return reduced_attention(q, lse, self._keys, scaling, real, reduce, self._added)

    def attention_by_time(
        self, q: Tensor, lse: Tensor, heads: Sequence[int], of: int, scaling: float, moments: "Moments"
    ) -> Tensor:
        """Attention that falls on each kind and moment, summed over ``heads`` of ``of``: fp32 [B, n, moments.places].

        q [B, h, n, d] and lse fp32 [B, h, n] are of those h query heads alone.
        """
        paid = q.new_zeros(q.shape[0], q.shape[2], moments.places, dtype=torch.float32)
        if not len(self):
            return paid
        place, keys, added = moments.place(self.table), self._keys[0], self._added
        for i, group in enumerate(head * self._groups // of for head in heads):
            own = place[group % self.rows]
            paid += placed_attention(q[:, i], lse[:, i], keys[group], scaling, own, moments.places, added)
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

    def move(self, rotary: Rotary, delta: Tensor) -> None:
        """Rotate every key by position differences [3, rows, m], in fp32; quantized ones are rotated when read."""
        if self._form.whole:
            keys = self._keys[0]
            keys.copy_(apply_rotary(keys, *rotary.angles(delta)))

    @property
    def dequantized_bytes(self) -> int:
        """Bytes of the keys and values of ``dequantized``; 0 where entries are held whole."""
        return 0 if self._form.whole else self.whole_bytes(len(self))

    def whole_bytes(self, entries: int) -> int:
        """Bytes of the keys and values of so many entries, held whole."""
        return entries * kv_bytes(self._groups, self._dim, self.dtype)

    def dequantized(self) -> "Store":
        """A store of the same entries that holds them whole, with the same table."""
        form = Whole(self._dim, self.dtype)
        return self._part(form, form.held(self._keys, self._values, None), self.table, self.rows)

    def of_rows(self, rows: Sequence[int]) -> "Store":
        """What these rows of a fork read: all the same."""
        return self

    def listed(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values [G, m, d] of all entries, and what is added to their scores, fp32 [m]; None: nothing."""
        return self._keys[0], self._values[0], self._added

    def select(self, index: Tensor) -> "Store":
        """A new store with copies of the entries ``index`` [rows, k]."""
        assert self._waiting is None, "what was appended has no form yet"
        return self._part(self._form, self._held.picked(index), self.table.take(index), self.rows)

    def marked(self, inside: Tensor) -> "Store | HeadStores":
        """Copies of the entries marked in ``inside`` [rows, m]: one store per KV head where each keeps its own."""
        return self.select(inside.nonzero()[None, :, 1]) if self.rows == 1 else self._by_head(inside)

    def _by_head(self, inside: Tensor) -> HeadStores:
        assert self._waiting is None, "what was appended has no form yet"
        views, parts = self._held.views(), []
        for head, mask in enumerate(inside):
            held = {name: view[head : head + 1, mask] for name, view in views.items()}
            table = Table({name: column[head, mask][None] for name, column in self.table.columns.items()})
            parts.append(self._part(self._form.of_head(head), held, table, 1))
        return HeadStores(parts)

    def beginning(self, count: int) -> "Store":
        """A new store, whole, with copies of the first ``count`` entries, of which every KV head must hold the same.

        Its table has the engine's columns alone.
        """
        part = Store(self._groups, self._dim, self.dtype, self.device)
        if count:
            first = Table({name: self.table[name][:1, :count].clone() for name in COLUMNS})
            part.append(self._keys[:, :, :count], self._values[:, :, :count], first)
        return part

    def state(self) -> dict[str, Tensor]:
        """Copies on the CPU, as a device may have no room for them: those of ``forms``, and ``side.<column>``."""
        assert self._waiting is None, "a state is taken at a chunk's end"
        tensors = self._held.views()
        if self.table is not None:
            tensors |= {f"side.{name}": column for name, column in self.table.columns.items()}
        return {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Hold exactly what ``state`` gave; whole keys and values of another type become this store's."""
        columns = {n.removeprefix("side."): t for n, t in tensors.items() if n.startswith("side.")}
        self._held.fill(tensors)
        self._waiting = None
        self.table = Table({n: t.to(self.device) for n, t in columns.items()}) if columns else None

    def _part(self, form: Form, held: Held, table: Table, rows: int) -> "Store":
        """A store of this one's type that holds these tensors."""
        part = copy.copy(self)
        part._form, part._held, part._groups = form, GrowingTensors.of(held), len(next(iter(held.values())))
        part.table, part.rows, part._read = table, rows, None
        return part


def kv_bytes(groups: int, head_dim: int, dtype: torch.dtype, kv_bits: int = WHOLE_BITS) -> int:
    """Bytes of the keys and values of one entry of one layer, over all ``groups`` KV heads."""
    vector = head_dim * dtype.itemsize
    if kv_bits < WHOLE_BITS:
        vector = sum(part.itemsize * width for part, width in parts_of(kv_bits, head_dim).values())
    return 2 * groups * vector


def norms(x: Tensor) -> Tensor:
    """L2 norms of keys or values [1, G, m, d], fp32 [G, m]."""
    return x[0].float().norm(dim=-1)


def unit(x: Tensor) -> Tensor:
    """Keys [1, G, m, d] scaled to length 1, fp32 [G, m, d]."""
    return torch.nn.functional.normalize(x[0].float(), dim=-1)
