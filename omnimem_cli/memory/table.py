"""The table of a layer: what is known of each entry, in columns of equal length. Holds no keys and no values."""

import torch
from torch import Tensor

from omnimem_cli.memory.tokens import NOT_FINITE, PREFIX, TokenChunk

COLUMNS = ("index", "position", "kind", "step", "patch", "group", "time")
"""The engine's own; a policy may add others."""


class Table:
    """Columns of equal length, one row of the table per entry: tensors [rows, m, ...]."""

    def __init__(self, columns: dict[str, Tensor]):
        self.columns = columns

    def __getitem__(self, name: str) -> Tensor:
        return self.columns[name]

    def __setitem__(self, name: str, value: Tensor) -> None:
        assert value.shape[:2] == self["index"].shape, f"column {name} must have one value per entry"
        self.columns[name] = value

    def __len__(self) -> int:
        return self.columns["index"].shape[1]

    def take(self, index: Tensor) -> "Table":
        """The entries ``index`` [rows, k]."""
        return Table({name: _gather(column, index) for name, column in self.columns.items()})

    def extend(self, other: "Table") -> "Table":
        """This table followed by ``other``; both must have the same columns."""
        assert self.columns.keys() == other.columns.keys(), "tables to join must have equal columns"
        return Table({name: torch.cat([c, other[name]], dim=1) for name, c in self.columns.items()})

    def inside(self, start_s: float, end_s: float) -> Tensor:
        """Mask [rows, m] of the prefix and the entries of video time [start_s, end_s)."""
        return (self["kind"] == PREFIX) | self.within(start_s, end_s)

    def within(self, start_s: float, end_s: float) -> Tensor:
        """Mask [rows, m] of the entries of video time [start_s, end_s), without the prefix."""
        in_time = (self["time"] >= start_s) & (self["time"] < end_s)
        return in_time & (self["kind"] != PREFIX) & (self["kind"] != NOT_FINITE)

    def without(self, lost: Tensor) -> "Table":
        """This table with the entries ``lost`` [m] marked as not finite, the prefix aside, which stays."""
        kind = self["kind"].masked_fill(lost & (self["kind"] != PREFIX), NOT_FINITE)
        return Table({**self.columns, "kind": kind})

    @property
    def raw_positions(self) -> Tensor:
        """The column ``position`` [rows, m, 3] as a position map takes it, int64 [3, rows, m]."""
        return self["position"].movedim(-1, 0).long()

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return sum(column.numel() * column.element_size() for column in self.columns.values())


def table_of(chunk: TokenChunk, first_index: int, rows: int) -> Table:
    """The engine's columns for the tokens of a chunk: index in the stream, position, kind, step, patch, group, time."""
    index = torch.arange(first_index, first_index + len(chunk), dtype=torch.int32, device=chunk.kind.device)
    columns = {
        "index": index,
        "position": chunk.positions.to(torch.int32).transpose(0, 1),
        "kind": chunk.kind,
        "step": chunk.step,
        "patch": chunk.patch,
        "group": chunk.group,
        "time": chunk.time,
    }
    return Table({name: c.unsqueeze(0).expand(rows, *c.shape).contiguous() for name, c in columns.items()})


def _gather(column: Tensor, index: Tensor) -> Tensor:
    extra = column.shape[2:]
    wide = index.reshape(*index.shape, *([1] * len(extra))).expand(*index.shape, *extra)
    return column.gather(1, wide)
