"""The vision encoder of Qwen3-Omni and Qwen3-VL in one batch: the library's own weights, without its loop over pairs.

Patches attend over their whole frame pair, learned positions are stretched over the picture, and some layers hand
their output to the decoder's first layers (deepstack). Knows modules and shapes; knows no segments and no text.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnimem_cli.models.towers.vision import VisionTower, embedded, in_cells, rotary_of, vision_layer


class Places:
    """Where the patches of a grid are: ``learned`` [patches, C] in the weights' type; ``rotary``: as ``rotary_of``."""

    def __init__(self, tower: nn.Module, height: int, width: int):
        self.rotary = rotary_of(tower, height, width)
        self.learned = in_cells(_stretched(tower.pos_embed.weight, height, width), tower.spatial_merge_size)


def _stretched(table: Tensor, height: int, width: int) -> Tensor:
    """A square of learned positions [side * side, C], corner on corner over [height, width, C]; fp32 in between."""
    square = table.float().unflatten(0, (math.isqrt(len(table)), -1)).permute(2, 0, 1)
    plane = F.interpolate(square[None], (height, width), mode="bilinear", align_corners=True)[0]
    return plane.permute(1, 2, 0).to(table.dtype)


class DeepVisionTower(VisionTower):
    """Frame pairs of one grid; the features of every deepstack layer follow a cell's embedding."""

    layout: ClassVar[type] = Places

    def __init__(self, tower: nn.Module):
        super().__init__(tower)
        self._mergers = dict(zip(tower.deepstack_visual_indexes, tower.deepstack_merger_list, strict=True))

    def _encode(self, rows: Tensor, places: Places) -> Tensor:
        """[pairs, patches, patch values] -> [pairs, cells, D * (1 + deepstack layers)]."""
        t, deep = self._tower, []
        x = embedded(t, rows) + places.learned
        for i, block in enumerate(t.blocks):
            x = vision_layer(block, x, places.rotary, [(1, x.shape[1])])
            if i in self._mergers:
                deep.append(self._mergers[i](x))
        return torch.cat([t.merger(x), *deep], dim=-1).unflatten(0, (len(rows), -1))
