"""Rotation of keys and queries to rotary positions, and by differences of them.

Knows a decoder's rotary embedding. Knows no store and no rule of positions.
"""

from functools import cached_property

import torch
from torch import Tensor, nn


class Rotary:
    """Moves keys and queries by a difference of positions, in fp32, with the decoder's own frequencies."""

    def __init__(self, decoder: nn.Module):
        self._embedding = decoder.rotary_emb

    def angles(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """cos, sin fp32 [B, n, d] of position differences [3, B, n]; no attention scaling in them."""
        self._check()
        cos, sin = self._embedding(torch.zeros(1, dtype=torch.float32, device=delta.device), delta)
        scaling = getattr(self._embedding, "attention_scaling", 1.0)
        return self._by_section(cos) / scaling, self._by_section(sin) / scaling

    def rotate(self, x: Tensor, delta: Tensor) -> Tensor:
        """Rotated vectors x [B, H, n, d], moved by ``delta`` [3, B, n]; B of ``delta`` may be 1."""
        cos, sin = self.angles(delta)
        return apply_rotary(x, cos[:, None], sin[:, None])

    def half_angles(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """As ``angles`` of positions [3, B, n], for the first half of the channels: the second half's are the same.

        fp32 [B, n, d / 2], in a third of the work.
        """
        self._check()
        axis, frequency = self._channels
        angle = place.movedim(0, -1).float()[..., axis].mul_(frequency)
        return angle.cos(), angle.sin_()

    @cached_property
    def _channels(self) -> tuple[Tensor, Tensor]:
        """Of the first half of the channels: the axis of positions that turns each, found by trying, and how fast."""
        frequency = self._embedding.inv_freq.float()
        alone = torch.eye(3, device=frequency.device)[:, :, None]
        _, sin = self.angles(alone)
        return sin[:, 0, : len(frequency)].abs().argmax(0), frequency

    def _check(self) -> None:
        kind = getattr(self._embedding, "rope_type", "default")
        assert kind not in ("dynamic", "longrope"), f"keys under {kind} rotary positions cannot be moved exactly"

    def _by_section(self, angles: Tensor) -> Tensor:
        """[3, B, n, d], one row per axis as some versions return it, to [B, n, d]."""
        if angles.dim() == 3:
            return angles
        sections = list(self._embedding.config.rope_parameters["mrope_section"]) * 2
        return torch.cat([part[i % 3] for i, part in enumerate(angles.split(sections, dim=-1))], dim=-1)


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [..., d] rotated by angles that broadcast to it (pairs are i and i + d / 2); computed in fp32, in x's type."""
    half = x.shape[-1] // 2
    wide = x.float()
    crossed = torch.cat([-wide[..., half:], wide[..., :half]], dim=-1)
    return (wide * cos + crossed * sin).to(x.dtype)


def rotate_halves(x: Tensor, cos: Tensor, sin: Tensor, back: bool = False) -> Tensor:
    """fp32 [..., d] rotated by ``half_angles`` that broadcast to its halves, or ``back`` by them; a new tensor."""
    (first, second), out, sign = x.chunk(2, dim=-1), torch.empty_like(x), -1 if back else 1
    one, other = out.chunk(2, dim=-1)
    torch.mul(first, cos, out=one).addcmul_(second, sin, value=-sign)
    torch.mul(second, cos, out=other).addcmul_(first, sin, value=sign)
    return out
