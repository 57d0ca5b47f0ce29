"""Redundancy: how alike an entry's layer input is to its two neighbours (OmniMem, equation 9).

Knows hidden states as vectors, and who neighbours whom; knows no budget. What is carried from chunk to chunk counts
against the budget, so the exact cosine of each neighbouring pair is carried, and a compact vector per entry serves
only the pairs that eviction made neighbours. One row of entries, N = m held and n new.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from omnimem_cli.memory.table import Table
from omnimem_cli.memory.tokens import TEXT

MOST_ROWS = 1024
ROWS = {"cpu": 192}
"""Entries that are compared at once with all better ones: on CPUs as many as caches hold; elsewhere launches cost."""
TWIN_DIMS = 64  # coordinates of a carried vector that tell whether two entries are twins
WIDEST = 4.0  # a coordinate of a projected unit vector is about normal: nothing to speak of lies beyond


@dataclass(frozen=True)
class HiddenSketch:
    """What is kept of a hidden state after its chunk: ``dims`` = 0 keeps the unit vector whole, in fp32.

    Otherwise its coordinates along ``dims`` fixed random orthogonal directions, stored as ``dtype``: "int8" or
    "bfloat16".
    """

    dims: int = 32
    dtype: str = "int8"

    @classmethod
    def within(cls, size: int, width: int, dtype: str) -> "HiddenSketch":
        """What fits ``size`` bytes, given the width of a hidden state: all of it, or as many dimensions as possible."""
        return cls(0) if size >= 4 * width else cls(min(size // getattr(torch, dtype).itemsize, width), dtype)

    def compact(self, unit: Tensor) -> Tensor:
        """Unit rows [..., D] to what is carried [..., dims or D]."""
        if not self.dims:
            return unit.float()
        short = unit @ _projection(unit.shape[-1], self.dims, unit.device)
        if self.dtype == "int8":
            return (short * (127 / WIDEST)).round_().clamp_(-127, 127).to(torch.int8)
        return short.to(getattr(torch, self.dtype))


@functools.cache
def _projection(width: int, dims: int, device: torch.device) -> Tensor:
    """Orthogonal columns [width, dims] of length sqrt(width), the same on every device and in every run.

    Along them the coordinates of a unit vector are about normal with variance 1. Orthogonal ones keep cosines better
    than independent ones do, the more so the closer ``dims`` is to ``width``.
    """
    generator = torch.Generator().manual_seed(width * 1009 + dims)
    drawn = torch.randn(width, dims, generator=generator, dtype=torch.float64)
    return (torch.linalg.qr(drawn).Q * width**0.5).float().to(device)


@dataclass(frozen=True)
class NeighbourCosines:
    """The neighbouring pairs of one layer, in the merged list of all kinds, text included (the paper and its code).

    ``unit`` [n, D]: unit layer inputs of the chunk; ``vectors`` [N, r]: what is carried of every entry; ``index`` [N];
    ``held``: the memory's table (None: empty), with the columns ``cosine`` and ``neighbour_index`` that ``remember``
    gave.
    """

    unit: Tensor
    vectors: Tensor
    index: Tensor
    held: Table | None

    def cosines(self) -> Tensor:
        """Cosine of every entry to the next [N - 1].

        Exact inside the chunk, and for pairs that were neighbours before; the rest comes from carried vectors.
        """
        inside = torch.linalg.vecdot(self.unit[:-1], self.unit[1:])
        if self.held is None:
            return inside
        m = len(self.held)
        known = self.held["neighbour_index"][0] == self.index[1 : m + 1]  # no new entry was a neighbour before
        across = torch.where(known, self.held["cosine"][0], adjacent_cosines(self.vectors[: m + 1]))
        return torch.cat([across, inside])

    def remember(self, cosines: Tensor) -> tuple[Tensor, Tensor]:
        """Each entry's cosine to its next neighbour [N], and that one's index [N] (-1: none): known while both stay."""
        return pad(cosines, (0, 1), value=1.0), pad(self.index[1:], (0, 1), value=-1)

    def redundancy(self, cosines: Tensor) -> Tensor:
        """Mean cosine of each entry to both neighbours [N]."""
        return redundancy(cosines)


@dataclass(frozen=True)
class NeighbourCosinesInTime(NeighbourCosines):
    """The same, of pairs that are adjacent in ``order`` [N], where ``counts`` bool [N - 1] (`time_order`)."""

    order: Tensor
    counts: Tensor

    def cosines(self) -> Tensor:
        """Cosine of every pair along ``order`` [N - 1]; 1 where the pair does not count."""
        m, (left, right) = len(self.index) - len(self.unit), (self.order[:-1], self.order[1:])
        cosines = torch.ones_like(left, dtype=torch.float32)
        if m:
            cosines = self._across(left, right, adjacent_cosines(self.vectors[self.order]))
        inside = (self.counts & (left >= m) & (right >= m)).nonzero()[:, 0]
        cosines[inside] = (self.unit[left[inside] - m] * self.unit[right[inside] - m]).sum(-1)
        return cosines.masked_fill(~self.counts, 1.0)

    def _across(self, left: Tensor, right: Tensor, by_vectors: Tensor) -> Tensor:
        """Cosine of pairs, not both of the chunk: exact where both are held and were neighbours before."""
        m = len(self.held)
        before = left.clamp(max=m - 1)
        known = (left < m) & (right < m) & (self.held["neighbour_index"][0][before] == self.index[right])
        return torch.where(known, self.held["cosine"][0][before], by_vectors)

    def remember(self, cosines: Tensor) -> tuple[Tensor, Tensor]:
        """Each entry's cosine to its next neighbour [N], and that one's index [N] (-1: none): known while both stay."""
        neighbour_index, cosine = torch.full_like(self.index, -1), torch.ones_like(self.index, dtype=torch.float32)
        neighbour_index[self.order[:-1]] = torch.where(self.counts, self.index[self.order[1:]], -1)
        cosine[self.order[:-1]] = cosines
        return cosine, neighbour_index

    def redundancy(self, cosines: Tensor) -> Tensor:
        """Mean cosine of each entry to both neighbours, in entry order [N]."""
        mean = redundancy(cosines)
        return torch.empty_like(mean).scatter_(0, self.order, mean)


def time_order(table: Table) -> tuple[Tensor, Tensor]:
    """A permutation [N] of the entries in which neighbours in time are adjacent, and which pairs count, bool [N - 1].

    Entries of the same kind and patch, by step, so that a visual entry is compared with the same patch one step before
    and after. Reads from the device in every layer.
    """
    kind, patch = table["kind"][0].long(), table["patch"][0].long()
    patch = torch.where(kind <= TEXT, -1, patch)
    track = kind * (int(patch.max()) + 3) + patch
    order = track.argsort(stable=True)  # entries are in stream order, so steps ascend within a track
    track = track[order]
    return order, track[1:] == track[:-1]


def adjacent_cosines(rows: Tensor) -> Tensor:
    """Cosine of each row [n, r] to the next, fp32 [n - 1]; 0 where one is zero."""
    rows = rows.float()
    norms = torch.linalg.vector_norm(rows, dim=-1)
    return torch.linalg.vecdot(rows[:-1], rows[1:]) / (norms[:-1] * norms[1:]).clamp_(min=1e-16)


def unit_rows(rows: Tensor) -> Tensor:
    """Rows [n, r] scaled to length 1, fp32; those of zeros stay as they are."""
    rows = rows.float()
    return rows / lengths(rows)[:, None]


def lengths(rows: Tensor) -> Tensor:
    """Of rows [n, r], fp32 [n], above 0."""
    return torch.linalg.vector_norm(rows.float(), dim=-1).clamp_(min=1e-12)


def redundancy(cosines: Tensor) -> Tensor:
    """Mean of each entry's cosines [N - 1] to the one before and the one after [N]; a missing neighbour counts as 1."""
    ended = pad(cosines, (1, 1), value=1.0)
    return (ended[:-1] + ended[1:]) / 2


def twin_cosines(vectors: Tensor, kinds: Tensor, scores: Tensor, most: dict[int, int]) -> Tensor:
    """How alike each entry is to the one most like it of those of its kind that score more: fp32 [N], from 0 to 1.

    vectors [N, r] as carried (the first ``TWIN_DIMS`` coordinates count), kinds [N], scores [N], not negative; of equal
    scores the earlier counts as more, NaN as least. ``most``: of each kind that counts, at least as many as there are;
    entries of no such kind get 0.
    """
    rows = vectors[:, :TWIN_DIMS]
    as_int8 = rows.dtype == torch.int8 and _multiplies_int8(rows.device)
    compared = (rows, 1 / lengths(rows)) if as_int8 else (unit_rows(rows),)
    level, likeness = scores.nan_to_num(nan=-1.0), torch.zeros_like(scores)
    for kind, count in most.items():
        if not count:
            continue
        member = kinds == kind
        ranked = torch.where(member, level, -torch.inf).argsort(descending=True, stable=True)[:count]
        own = (each.index_select(0, ranked) for each in compared)  # others too, if any, which come last
        alike = _likeness_to_those_before(*own)
        likeness = torch.where(member, level.scatter(0, ranked, alike), likeness)
    return likeness


def _likeness_to_those_before(rows: Tensor, scale: Tensor | None = None) -> Tensor:
    """The greatest cosine of each row [n, r] to an earlier one, at least 0: fp32 [n]. A block of rows at a time.

    Rows of length 1; or int8, and ``scale`` [n], one over their lengths.
    """
    likeness, before, columns = [], 0, rows.T
    for block in rows.split(ROWS.get(rows.device.type, MOST_ROWS)):
        start, before = before, before + len(block)
        earlier = columns.narrow(1, 0, before)
        if scale is None:
            cosines = block @ earlier
        else:
            cosines = torch._int_mm(block, earlier).float().mul_(scale.narrow(0, 0, before))
        likeness.append(cosines.tril_(start - 1).amax(1))  # with a 0 in every row
    return torch.cat(likeness) if scale is None else torch.cat(likeness).mul_(scale)


@functools.cache
def _multiplies_int8(device: torch.device) -> bool:
    """Whether oneDNN multiplies int8 here, on x86 several times as fast as fp32: a private operator of torch's, so it
    is tried."""
    if not (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability().startswith("AVX")
    ):
        return False
    rows = torch.arange(-127, 128, dtype=torch.int8).view(-1, 15)
    try:
        return torch.equal(torch._int_mm(rows, rows.T), rows.int() @ rows.T.int())
    except (RuntimeError, AttributeError, TypeError):
        return False
