"""What makes the host wait for a device, counted on the CPU, where it costs nothing."""

from collections import Counter

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

READS = {"item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "nonzero", "equal"}
OPERATORS = {
    "_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "bincount", "unique_dim",
    "_unique", "_unique2", "unique_consecutive",
}  # fmt: skip
"""Those that return a number to the host, or a tensor whose size it must learn first."""


class Operators(TorchDispatchMode):
    """Counts what is dispatched; an index that is a mask counts as ``masked_index``."""

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.count["masked_index" if name in ("index", "index_put_") and _has_mask(args[1]) else name] += 1
        return func(*args, **(kwargs or {}))

    @property
    def reads(self) -> int:
        """How many of them wait for a device."""
        return sum(self.count[name] for name in (*OPERATORS, "masked_index"))


class Reads(TorchFunctionMode):
    """Counts calls that would wait for a device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += getattr(func, "__name__", "") in READS
        return func(*args, **(kwargs or {}))


def _has_mask(index) -> bool:
    return any(part is not None and part.dtype in (torch.bool, torch.uint8) for part in index)
