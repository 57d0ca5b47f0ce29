"""Where a watch stood, as one file: plain values and tensors, nothing pickled.

Knows values as `base.packing` takes them; knows no memory and no model. The file is small because the memory
is bounded, and belongs to one piece of work on one content: anything else's is as if there were none.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from omnimem_cli.base.errors import OutputError
from omnimem_cli.base.packing import packed, unpacked
from omnimem_cli.jobs.files import write_whole

if TYPE_CHECKING:  # a batch makes checkpoints long before the model brings torch
    from torch import Tensor

EVERY_S = 180.0
SCHEMA = "omnimem/checkpoint/2"


class Checkpoint:
    """The checkpoint at ``path`` of the work that ``identity`` (plain JSON values) describes.

    ``part``: where it is written before it is renamed. ``warn`` is told, once, when it cannot be written: the watch
    continues without.
    """

    def __init__(self, path: Path, part: Path, identity: dict, warn: Callable[[str], None], every_s: float = EVERY_S):
        self.path, self.part, self.warn, self.every_s = path, part, warn, every_s
        self.identity = json.loads(json.dumps(identity))
        self._next = time.monotonic() + every_s

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() >= self._next

    def save(self, state: dict) -> None:
        """Put ``state`` on the disk in one step, in place of the one before."""
        from safetensors.torch import save

        tensors: dict[str, Tensor] = {}
        header = {"schema": SCHEMA, "identity": self.identity, "state": packed(state, tensors)}
        try:
            write_whole(self.path, save(tensors, {"omnimem": json.dumps(header)}), self.part)
        except OutputError as error:
            self.warn(f"No checkpoint could be saved: {error.message}")
            self.every_s = float("inf")
        self._next = time.monotonic() + self.every_s

    def load(self) -> dict | None:
        """What was saved of this very work, or None."""
        try:
            with safe_open(self.path, "pt") as file:
                header = json.loads((file.metadata() or {}).get("omnimem", "{}"))
                if header.get("schema") != SCHEMA or header["identity"] != self.identity:
                    return None
                return unpacked(header["state"], file.get_tensor)
        except (FileNotFoundError, NotADirectoryError, SafetensorError, ValueError):
            return None

    def remove(self) -> None:
        """Forget it: the work is done."""
        self.path.unlink(missing_ok=True)
