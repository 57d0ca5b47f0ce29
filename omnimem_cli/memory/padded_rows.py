"""What each row of a fork reads of one layer, padded to one length: one call of attention serves all rows.

Knows keys, values and which of them are padding; knows no table, so what is read in this way cannot be observed.
"""

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from omnimem_cli.memory.attention import attend_biased
from omnimem_cli.memory.attention_kernels import padded
from omnimem_cli.memory.store import Store


class PaddedRows:
    """Copies of the entries of ``store`` that are marked in ``inside`` bool [B, m], at least one in every row."""

    dequantized_bytes = 0

    def __init__(self, store: Store, inside: Tensor):
        counts = inside.sum(1)
        places = torch.arange(padded(int(counts.max())), device=inside.device)
        order = (~inside).to(torch.uint8).argsort(dim=1, stable=True)  # the marked ones first, in stream order
        index = order[:, places.clamp(max=inside.shape[1] - 1)]
        pairs = store.gather(index.flatten())
        self._keys, self._values = (x[0].unflatten(1, index.shape).transpose(0, 1) for x in pairs)  # [B, G, m, d]
        padding = (places >= counts[:, None])[:, None, None]
        self._bias = torch.zeros(padding.shape, dtype=store.dtype, device=store.device)
        self._bias.masked_fill_(padding, -torch.inf)

    @property
    def nbytes(self) -> int:
        """Bytes of the copies."""
        return self._keys.nbytes + self._values.nbytes + self._bias.nbytes

    def dequantized(self) -> "PaddedRows":
        """These, which are whole."""
        return self

    def of_rows(self, rows: Sequence[int]) -> "PaddedRows":
        """As ``Entries.of_rows``: copies."""
        own = copy(self)
        own._keys, own._values, own._bias = (x[list(rows)] for x in (self._keys, self._values, self._bias))
        return own

    def attend(self, q: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """Attention of every query [B, H, n, d] to the entries of its row. Returns output and lse."""
        return attend_biased(q, self._keys, self._values, scaling, self._bias)
