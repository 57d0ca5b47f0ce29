"""No bound: every entry stays. The reference that bounded policies are compared with."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from omnimem_cli.memory.policies.policy import LayerView
from omnimem_cli.memory.selection import Kept


@dataclass
class Full:
    """Keeps everything; the memory grows with the stream."""

    bounded: ClassVar[bool] = False
    per_head: ClassVar[bool] = False
    needs_hidden: ClassVar[bool] = False
    per_chunk: ClassVar[bool] = False

    def side_bytes(self, kv_bytes: int) -> int:
        """Nothing beside keys and values."""
        return 0

    def on_layer(self, view: LayerView) -> Kept:
        """All of it."""
        return Kept(torch.arange(len(view.table), device=view.queries.device)[None])
