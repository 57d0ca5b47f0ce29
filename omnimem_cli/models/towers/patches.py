"""Frames to the rows of patches that Qwen vision towers embed, and the grid a picture is scaled to.

Knows pixels; knows no tokens. Scaling itself is done before, by the decoder.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from omnimem_cli.models.device import joined

CELLS_MIN, CELLS_MAX = 128, 768
"""Merged cells per frame that the published video preprocessing allows."""


@dataclass(frozen=True)
class PatchSettings:
    """The image processor's own parameters (``preprocessor_config.json``)."""

    patch_size: int = 14
    temporal_patch_size: int = 2
    merge_size: int = 2
    rescale_factor: float = 1 / 255
    image_mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    min_pixels: int | None = None  # of a video frame; None: CELLS_MIN cells
    max_pixels: int | None = None

    @property
    def cell(self) -> int:
        """Pixels along one side of what becomes one token."""
        return self.patch_size * self.merge_size

    def grid(self, width: int, height: int, max_pixels: int) -> tuple[int, int]:
        """(width, height) in pixels, multiples of ``cell``, that a picture is scaled to."""
        most = min(max_pixels, self.max_pixels or CELLS_MAX * self.cell**2)
        least = min(most, self.min_pixels or CELLS_MIN * self.cell**2)
        return smart_resize(width, height, self.cell, least, most)


def pixel_fault(settings: dict, own: PatchSettings) -> str | None:
    """What a folder's settings of pixels say against the family's ``own``; None where they agree or are silent.

    The vision tower was trained on pixels of one scale. Settings of another come from another model's folder, and
    nothing but wrong answers would show it.
    """
    for name in ("rescale_factor", "image_mean", "image_std"):
        value, expected = settings.get(name), getattr(own, name)
        if value is not None and not _close(value, expected):
            return f"has the setting {name} {value}, where its family has {expected}"
    return None


def _close(value: object, expected: float | tuple[float, ...]) -> bool:
    """Equal but for rounding in the file."""
    try:
        return bool(
            np.allclose(np.asarray(value, float), expected, rtol=1e-3) and np.shape(value) == np.shape(expected)
        )
    except (ValueError, TypeError):
        return False


def smart_resize(width: int, height: int, cell: int, least: int, most: int) -> tuple[int, int]:
    """Nearest multiples of ``cell`` with an area in [least, most] pixels at about the same aspect ratio.

    The rule of Qwen2-VL's preprocessing: round each side; if the area is out of range, scale both sides by
    the same factor and round down (too large) or up (too small).
    """
    w, h = round(width / cell) * cell, round(height / cell) * cell
    if h * w > most:
        scale = math.sqrt(height * width / most)
        w, h = (max(cell, math.floor(side / scale / cell) * cell) for side in (width, height))
    elif h * w < least:
        scale = math.sqrt(least / (height * width))
        w, h = (math.ceil(side * scale / cell) * cell for side in (width, height))
    return w, h


def patch_rows(frames: Tensor, settings: PatchSettings) -> Tensor:
    """uint8 frames [n, H, W, 3], n a multiple of t -> float32 [n / t, H/p * W/p, 3 * t * p * p].

    Rows of the patches of one merged cell follow each other; inside a row: channel, frame, y, x. Mean and deviation
    are scaled, not the pixels, as the library's video processors do: the same numbers bit by bit (its PIL image
    processor scales the pixels, which differs by up to 5e-7).
    """
    n, height, width, channels = frames.shape
    t, p, m = settings.temporal_patch_size, settings.patch_size, settings.merge_size
    cells = frames.view(n // t, t, height // (p * m), m, p, width // (p * m), m, p, channels)
    rows = cells.permute(0, 2, 5, 3, 6, 8, 1, 4, 7)  # moved as bytes
    rows = rows.reshape(n // t, (height // p) * (width // p), channels * t * p * p).to(torch.float32)
    scale = 1.0 / settings.rescale_factor
    own = (torch.tensor(of_channel) * scale for of_channel in (settings.image_mean, settings.image_std))
    mean, std = (joined([each.repeat_interleave(t * p * p)], frames.device) for each in own)
    return rows.sub_(mean).div_(std)
