"""Vectors in few bits: codes with their scales, and back.

Knows tensors only; knows no entry, no key and no position. 8 bits: one scale per vector, codes -127..127. 4 bits: two
codes per byte, and per group of at most 32 coordinates a scale and the least value. Scales are float16, and codes are
chosen for the scales as stored, so that their rounding costs nothing.
"""

import torch
from torch import Tensor

GROUP = 32  # coordinates of a 4-bit vector that share a scale, at most
MOST_AT_ONCE = 8192
AT_ONCE = {"cpu": 512}
"""Vectors of a head to dequantize at once: on CPUs as many as caches hold; elsewhere a launch costs more than room."""
_MOST = torch.finfo(torch.float16).max

Parts = dict[str, tuple[torch.dtype, int]]
"""Names of the tensors of quantized vectors, their types and widths: what was [..., d] becomes several [..., width]."""


def parts_of(bits: int, dim: int) -> Parts:
    """The parts of vectors of ``dim`` coordinates in 8 or 4 bits."""
    assert bits in (8, 4), f"vectors are quantized to 8 or 4 bits, not {bits}"
    if bits == 8:
        return {"codes": (torch.int8, dim), "scale": (torch.float16, 1)}
    assert dim % 2 == 0, "two 4-bit codes share a byte"
    groups = dim // group_size(dim)
    return {"codes": (torch.uint8, dim // 2), "scale": (torch.float16, groups), "least": (torch.float16, groups)}


def group_size(dim: int) -> int:
    """The largest divisor of ``dim`` up to GROUP."""
    return max(size for size in range(1, GROUP + 1) if dim % size == 0)


def quantize(x: Tensor, bits: int) -> dict[str, Tensor]:
    """Vectors fp32 [..., d] as the tensors of ``parts_of``."""
    return _to_8(x) if bits == 8 else _to_4(x)


def dequantize(parts: dict[str, Tensor], bits: int) -> Tensor:
    """What ``quantize`` took, fp32 [..., d], to within half a step."""
    if bits == 8:
        return parts["codes"].float().mul_(parts["scale"].float())
    codes = torch.cat([parts["codes"] & 15, parts["codes"] >> 4], dim=-1)
    groups = codes.unflatten(-1, (parts["scale"].shape[-1], -1)).float()
    return groups.mul_(parts["scale"].float()[..., None]).add_(parts["least"].float()[..., None]).flatten(-2)


def _to_8(x: Tensor) -> dict[str, Tensor]:
    scale = _half(x.abs().amax(-1, keepdim=True) / 127)
    codes = (x / _divisor(scale)).round_().clamp_(-127, 127).to(torch.int8)
    return {"codes": codes, "scale": scale}


def _to_4(x: Tensor) -> dict[str, Tensor]:
    groups = x.unflatten(-1, (-1, group_size(x.shape[-1])))
    low, high = groups.aminmax(dim=-1)
    least = _half(low)
    scale = _half((high - least.float()) / 15)
    codes = (groups - least.float()[..., None]).div_(_divisor(scale)[..., None]).round_().clamp_(0, 15)
    first, second = codes.flatten(-2).to(torch.uint8).chunk(2, dim=-1)
    return {"codes": first | second << 4, "scale": scale, "least": least}


def _half(x: Tensor) -> Tensor:
    return x.clamp(-_MOST, _MOST).half()


def _divisor(scale: Tensor) -> Tensor:
    """fp32, 1 where the scale is 0: there all coordinates are alike."""
    return torch.where(scale > 0, scale.float(), 1.0)
