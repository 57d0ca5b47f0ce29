"""No bound: every entry stays. The reference that bounded policies are compared with."""

from dataclasses import dataclass
from typing import ClassVar

from omnimem_cli.memory.policies.policy import LayerView, Policy
from omnimem_cli.memory.selection import Kept, kept_at_most
from omnimem_cli.memory.tokens import NOT_FINITE


@dataclass
class Full(Policy):
    """Keeps everything; the memory grows with the stream. No settings."""

    bounded: ClassVar[bool] = False

    def on_layer(self, view: LayerView) -> Kept:
        """All that is finite."""
        return kept_at_most(view.table["kind"] != NOT_FINITE, sum(view.seen.values()))
