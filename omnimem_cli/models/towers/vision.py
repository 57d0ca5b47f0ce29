"""Qwen2.5's two encoders with equal windows in one batch: the library's own weights, without its loops.

Knows modules and shapes; knows no segments and no text. The library attends window by window in a Python loop;
here windows of equal size go through one attention call each, picture by picture and sound by sound the same
numbers (up to the order of summation).
"""

from itertools import groupby
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnimem_cli.memory.cpu_attention import takes_tiles
from omnimem_cli.memory.cpu_tiles import in_tiles

PAIRS_AT_ONCE = 64
"""Frame pairs per pass at most: bounds the encoder's peak whatever a chunk holds."""

CPU_VALUES_AT_ONCE = 1 << 20
"""Of a layer's output, per pass on a CPU: what its caches hold. Far larger tensors are new memory with every layer."""


class Windows:
    """The order of cells in which windows of equal size are neighbours, and the rotary table in that order.

    ``order`` int64 [cells]; ``runs``: (windows, patches per window), first to last; ``rotary``: as ``rotary_of``.
    """

    def __init__(self, tower: nn.Module, height: int, width: int):
        merge = tower.spatial_merge_size
        side = tower.window_size // merge // tower.patch_size
        windows = sorted(_windows_of(height // merge, width // merge, side), key=len, reverse=True)
        self.order = torch.tensor([cell for window in windows for cell in window], device=device_of(tower))
        self.runs = [(len(list(same)), size * merge**2) for size, same in groupby(map(len, windows))]
        tables = rotary_of(tower, height, width).unflatten(1, (-1, merge**2))
        self.rotary = tables[:, self.order].flatten(1, 2)


class VisionTower:
    """Qwen2.5-Omni's and Qwen2.5-VL's vision encoder over frame pairs of one grid, each blind to the others."""

    layout: ClassVar[type] = Windows
    """What a grid needs that its pixels do not change: made of the tower, height and width."""

    def __init__(self, tower: nn.Module):
        self._tower = tower
        self._layouts: dict[tuple[int, int], object] = {}

    def __call__(self, rows: Tensor, height: int, width: int) -> Tensor:
        """Patch rows [pairs, height * width, patch values] -> [pairs, cells, D]; sides in patches."""
        layout = self._layout(height, width)
        channels = len(self._tower.blocks[0].norm1.weight)
        at_once = pairs_at_once(device_of(self._tower), rows.shape[1] * channels)
        return torch.cat([self._encode(some, layout) for some in rows.split(at_once)])

    def _encode(self, rows: Tensor, windows: Windows) -> Tensor:
        t, cells = self._tower, len(windows.order)
        x = embedded(t, rows).unflatten(1, (cells, -1))[:, windows.order].flatten(1, 2)
        for i, block in enumerate(t.blocks):
            runs = [(1, x.shape[1])] if i in t.fullatt_block_indexes else windows.runs
            x = vision_layer(block, x, windows.rotary, runs)
        return t.merger(x.flatten(0, 1)).view(len(rows), cells, -1)[:, windows.order.argsort()]

    def _layout(self, height: int, width: int) -> object:
        """Of the last grid only: a stream has one."""
        if (height, width) not in self._layouts:
            self._layouts = {(height, width): self.layout(self._tower, height, width)}
        return self._layouts[height, width]


def _windows_of(rows: int, columns: int, side: int) -> list[list[int]]:
    """Cells of every window, row by row; windows at the right and lower edge are cut."""
    tops, lefts = range(0, rows, side), range(0, columns, side)
    return [
        [y * columns + x for y in range(top, min(top + side, rows)) for x in range(left, min(left + side, columns))]
        for top in tops
        for left in lefts
    ]


def towers_of(thinker: nn.Module) -> nn.Module:
    """What holds ``visual`` and ``audio_tower``: a Thinker itself in transformers 5.17, its ``model`` in 5.23."""
    return thinker if hasattr(thinker, "visual") else thinker.model


def device_of(tower: nn.Module) -> torch.device:
    """Where the tower's weights are."""
    return next(tower.parameters()).device


def pairs_at_once(device: torch.device, values: int) -> int:
    """How many frame pairs, of so many values each in a layer's output, a tower takes in one pass."""
    return max(min(CPU_VALUES_AT_ONCE // values, PAIRS_AT_ONCE), 1) if device.type == "cpu" else PAIRS_AT_ONCE


def embedded(tower: nn.Module, rows: Tensor) -> Tensor:
    """Patch rows [..., patch values] -> [..., C]: a convolution whose stride is its kernel is a matrix product, which
    is faster."""
    projection = tower.patch_embed.proj
    return F.linear(rows, projection.weight.flatten(1), projection.bias)


def in_cells(plane: Tensor, merge: int) -> Tensor:
    """[height, width, ...] -> [patches, ...] with the patches of a cell one after another."""
    return plane.unflatten(1, (-1, merge)).unflatten(0, (-1, merge)).transpose(1, 2).flatten(0, 3)


def rotary_of(tower: nn.Module, height: int, width: int) -> Tensor:
    """Cosines and sines, fp32 [2, patches, head dim / 2]: half of the angles count rows, half columns; patches in cell
    order."""
    half = tower.blocks[0].attn.head_dim // 2
    theta = (getattr(tower.config, "rope_parameters", None) or {}).get("rope_theta", 10_000.0)
    frequencies = 1.0 / theta ** (torch.arange(0, half, 2, dtype=torch.float32) / half)
    axes = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    plane = torch.cat([axis[..., None] * frequencies for axis in axes], dim=-1)
    angles = in_cells(plane, tower.spatial_merge_size)
    return torch.stack([angles.cos(), angles.sin()]).to(device_of(tower))


def vision_layer(block: nn.Module, x: Tensor, rotary: Tensor, runs: list[tuple[int, int]]) -> Tensor:
    """A pre-norm encoder layer over x [pairs, patches, C]; attention stays inside consecutive windows, ``runs`` of
    (windows, patches each)."""
    x = x + _attend(block.attn, block.norm1(x), rotary, runs)
    return x + block.mlp(block.norm2(x))


def _attend(attention: nn.Module, x: Tensor, rotary: Tensor, runs: list[tuple[int, int]]) -> Tensor:
    pairs, (cos, sin) = len(x), rotary[:, :, None]
    q, k, v = _queries_keys_values(attention, x)
    q, k = (_rotated(part, cos, sin) for part in (q, k))
    done, start = [], 0
    for windows, size in runs:
        stop = start + windows * size
        inside = [part[:, start:stop].reshape(pairs * windows, size, *part.shape[2:]) for part in (q, k, v)]
        attended = _attended(*(part.transpose(1, 2) for part in inside), attention.scaling)
        done.append(attended.transpose(1, 2).reshape(pairs, stop - start, -1))
        start = stop
    return attention.proj(torch.cat(done, dim=1))


def _attended(q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
    if takes_tiles(q):
        return in_tiles(q, k, v, scaling)[0]
    return F.scaled_dot_product_attention(q, k, v, scale=scaling)


def _queries_keys_values(attention: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """[pairs, patches, heads, head dim] each, of one fused projection (all but Qwen2.5-Omni's) or of three."""
    if hasattr(attention, "qkv"):
        return attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1)).unbind(2)
    return tuple(p(x).unflatten(-1, (attention.num_heads, -1)) for p in (attention.q, attention.k, attention.v))


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding in fp32: pairs are (i, i + half)."""
    one, other = x.float().chunk(2, dim=-1)
    return torch.cat([one * cos - other * sin, other * cos + one * sin], dim=-1).to(x.dtype)
