"""Redundancy: how alike an entry's layer input is to its two neighbours (OmniMem, equation 9).

Knows hidden states as vectors, and who neighbours whom; knows no budget. What is carried from chunk to chunk counts
against the budget, so the exact cosine of each neighbouring pair is carried, and a compact vector per entry serves
only the pairs that eviction made neighbours.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from omnimem_cli.memory.piece import TEXT


@dataclass(frozen=True)
class Carry:
    """What stands for a hidden state once its chunk is over: ``dims`` = 0 keeps the unit vector whole.

    Otherwise a fixed random projection to ``dims`` dimensions (Johnson-Lindenstrauss), stored as ``dtype``: "float32",
    "bfloat16" or "int8" (a unit vector times 127).
    """

    dims: int = 32
    dtype: str = "int8"

    def compact(self, unit: Tensor) -> Tensor:
        """Unit rows [..., D] to what is carried [..., dims or D]."""
        if self.dims:
            unit = torch.nn.functional.normalize(unit @ _projection(unit.shape[-1], self.dims, unit.device), dim=-1)
        if self.dtype == "int8":
            return (unit * 127).round().to(torch.int8)
        return unit.to(getattr(torch, self.dtype))

    def cosine(self, a: Tensor, b: Tensor) -> Tensor:
        """Cosine of carried rows [..., dims], fp32."""
        return torch.nn.functional.cosine_similarity(a.float(), b.float(), dim=-1)


def _projection(width: int, dims: int, device) -> Tensor:
    """The same matrix [width, dims] on every device and in every run."""
    generator = torch.Generator().manual_seed(width * 1009 + dims)
    return torch.randn(width, dims, generator=generator).to(device)


def neighbour_order(table, mode: str) -> tuple[Tensor, Tensor]:
    """A permutation [rows, N] of the entries in which neighbours stand side by side, and which pairs count
    [rows, N - 1].

    ``sequence``: the merged list of all kinds, text included (the paper and its code). ``time``: entries of the same
    kind and patch, by step, so that a visual entry is compared with its own place one step before and after.
    """
    count = table["index"].shape[1]
    index = torch.arange(count, device=table["index"].device).expand(table["index"].shape)
    if mode == "sequence":
        return index, torch.ones_like(index[:, 1:], dtype=torch.bool)
    assert mode == "time", f"neighbours are taken in sequence or time, not {mode}"
    kind, patch = table["kind"].long(), table["patch"].long()
    patch = torch.where(kind <= TEXT, -1, patch)
    track = kind * (int(patch.max()) + 3) + patch
    order = track.argsort(dim=1, stable=True)  # entries stand in stream order, so steps ascend within a track
    track = track.gather(1, order)
    return order, track[:, 1:] == track[:, :-1]


def pair_cosines(hidden: Tensor, carried: Tensor | None, table, order: Tensor, counts: Tensor, carry: Carry) -> Tensor:
    """Cosine of every neighbouring pair along ``order`` [rows, N - 1]; 1 where the pair does not count.

    Pairs inside the chunk are exact (``hidden`` [n, D] are its layer inputs), pairs held before keep the
    cosine carried in
    the column ``cosine`` of the memory's ``table``; the rest comes from carried vectors (``carried`` [rows, N, r]).
    """
    held = 0 if table is None else len(table)
    unit = torch.nn.functional.normalize(hidden.float(), dim=-1)
    left, right = order[:, :-1], order[:, 1:]
    cosines = carry.cosine(_rows(carried, left), _rows(carried, right))
    fresh = (left >= held) & (right >= held)
    exact = (unit[(left - held).clamp(min=0)] * unit[(right - held).clamp(min=0)]).sum(-1)
    cosines = torch.where(fresh, exact, cosines)
    if held:
        known = table["cosine"].gather(1, left.clamp(max=held - 1))
        partner = table["partner"].gather(1, left.clamp(max=held - 1))
        same = (left < held) & (right < held) & (partner == table["index"].gather(1, right.clamp(max=held - 1)))
        cosines = torch.where(same, known, cosines)
    return torch.where(counts, cosines, torch.ones_like(cosines))


def redundancy(cosines: Tensor, order: Tensor) -> Tensor:
    """Mean cosine of each entry to both neighbours, in entry order [rows, N]; a missing neighbour counts as 1."""
    ones = torch.ones_like(order[:, :1], dtype=cosines.dtype)
    mean = (torch.cat([ones, cosines], dim=1) + torch.cat([cosines, ones], dim=1)) / 2
    return torch.empty_like(mean).scatter_(1, order, mean)


def _rows(vectors: Tensor, index: Tensor) -> Tensor:
    return vectors.gather(1, index[..., None].expand(*index.shape, vectors.shape[-1]))
