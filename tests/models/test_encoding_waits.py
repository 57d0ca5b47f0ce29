"""Encoding segments never makes the host wait for a GPU: nothing is read from it, and all copies to it are ordered.

A device that computes nothing stands for the GPU; to read a number from it raises.
"""

import pytest
import torch
from families import MAKERS
from streams import frames_of, media_of, segments_of, sound_of
from torch.overrides import TorchFunctionMode

from omnimem_cli.models import base_adapter, device
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.loader import load
from omnimem_cli.models.qwen_omni import adapter as omni_adapter
from omnimem_cli.models.qwen_omni import stream as omni_stream
from omnimem_cli.models.salmonn import adapter as salmonn_adapter
from omnimem_cli.models.salmonn import stream as salmonn_stream
from omnimem_cli.models.towers import mel, patches

GPU = torch.device("meta")
COPY = (base_adapter, omni_adapter, omni_stream, salmonn_adapter, salmonn_stream, mel, patches)


class Copies(TorchFunctionMode):
    """Counts copies from the host to the stand-in that are not made by `device.joined`."""

    def __init__(self):
        super().__init__()
        self.blocking, self.ordered, self._inside = [], 0, False

    def joined(self, parts, where):
        self._inside, self.ordered = True, self.ordered + 1
        try:
            return device.joined(parts, where)
        finally:
            self._inside = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        there = isinstance(made, torch.Tensor) and made.device == GPU
        from_host = name == "tensor" or (name in ("to", "copy_") and args[0].device != GPU)
        if there and from_host and not self._inside:
            self.blocking.append(name)
        return made


def on_stand_in(adapter):
    """The adapter with its model on the stand-in."""
    adapter.model.to(GPU)
    adapter.device = GPU
    if hasattr(adapter, "log_mel"):
        adapter.log_mel = adapter.host_log_mel.on(GPU)


@pytest.mark.parametrize("name", MAKERS)
def test_no_copy_waits_and_nothing_is_read(name, tmp_path, monkeypatch):
    adapter = load(str(MAKERS[name](tmp_path)), device="cpu")
    seconds, media = 8.0, media_of(8.0, 8.0)
    plan = adapter.plan(media, WatchOptions(fps=1, max_pixels=112 * 84))
    sound = sound_of(seconds)
    stream = adapter.open(media, plan)
    stream.scan_audio(torch.from_numpy(sound))
    segments = segments_of(plan.format, frames_of(seconds, 1, plan.format.width, plan.format.height), sound)
    on_stand_in(adapter)
    stream.load_state(stream.state())
    copies = Copies()
    for module in COPY:
        monkeypatch.setattr(module, "joined", copies.joined)
    with copies:
        stream.encode(segments)
        copies.blocking.clear()  # what a grid needs is made once
        parts = stream.encode(segments)
    assert sum(map(len, parts)) and all(part.embeds.device == GPU for part in parts)
    assert copies.ordered and not copies.blocking
