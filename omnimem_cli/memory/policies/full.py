"""No bound: every entry stays. The reference that bounded policies are compared with."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from omnimem_cli.memory.policies.policy import LayerView, Policy
from omnimem_cli.memory.selection import Kept


@dataclass
class Full(Policy):
    """Keeps everything; the memory grows with the stream. No settings."""

    bounded: ClassVar[bool] = False

    def on_layer(self, view: LayerView) -> Kept:
        """All of it."""
        return Kept(torch.arange(len(view.table), device=view.queries.device)[None])
