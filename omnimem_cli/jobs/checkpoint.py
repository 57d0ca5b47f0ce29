"""Where a watch stood, as one file: plain values and tensors, nothing pickled.

Knows values as `base.packing` takes them; knows no memory and no model. The file is small because the memory
is bounded, and belongs to one piece of work on one content: anything else's is as if there were none.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from omnimem_cli.base.errors import InputError, OutputError
from omnimem_cli.base.packing import packed, unpacked
from omnimem_cli.base.process import Interrupted
from omnimem_cli.base.timecode import format_clock
from omnimem_cli.jobs.files import write_whole

if TYPE_CHECKING:  # a batch makes checkpoints long before the model brings torch
    from torch import Tensor

EVERY_S = 180.0
SCHEMA = "omnimem/checkpoint/3"


class Checkpoint:
    """The checkpoint at ``path`` of the work that ``identity`` (plain JSON values) describes.

    ``part``: where it is written before it is renamed. ``warn`` is told, once, when it cannot be written: the watch
    continues without; ``tell``, where a watch goes on. ``end_s``: the video time up to which the file holds the watch;
    None: it is not known to hold any.
    """

    def __init__(
        self,
        path: Path,
        part: Path,
        identity: dict,
        warn: Callable[[str], None],
        tell: Callable[[str], None],
        every_s: float = EVERY_S,
    ):
        self.path, self.part, self.warn, self.tell, self.every_s = path, part, warn, tell, every_s
        self.identity = json.loads(json.dumps(identity))
        self.end_s: float | None = None
        self._next = time.monotonic() + every_s

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() >= self._next

    def save(self, state: dict, end_s: float) -> None:
        """Put the ``state`` at video time ``end_s`` on the disk in one step, in place of the one before."""
        from safetensors.torch import save

        tensors: dict[str, Tensor] = {}
        header = {"schema": SCHEMA, "identity": self.identity, "end_s": end_s, "state": packed(state, tensors)}
        try:
            write_whole(self.path, save(tensors, {"omnimem": json.dumps(header)}), self.part)
            self.end_s = end_s
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
                state = unpacked(header["state"], file.get_tensor)
                self.end_s = header["end_s"]
                self.tell(f"goes on at {format_clock(self.end_s)}")
                return state
        except (FileNotFoundError, NotADirectoryError, SafetensorError, ValueError):
            return None

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Within, an interrupt and the time limit say where the same command goes on."""
        try:
            yield
        except (Interrupted, InputError) as error:
            stopped = isinstance(error, Interrupted) or error.code == "timeout"
            if stopped and self.end_s is not None:
                error.hint = f"{error.hint} The same command goes on at {format_clock(self.end_s)}.".lstrip()
            raise

    def remove(self) -> None:
        """Forget it: the work is done."""
        self.path.unlink(missing_ok=True)
