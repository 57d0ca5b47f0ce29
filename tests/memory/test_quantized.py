"""Vectors in 8 and 4 bits: how near they come back, and what they take."""

import pytest
import torch

from omnimem_cli.memory.quantized import dequantize, group_size, parts_of, quantize

BITS = (8, 4)
DIMS = (16, 64, 72, 80, 128)


def vectors(dim: int, seed: int = 0) -> torch.Tensor:
    """Of very different lengths, some constant, one zero."""
    x = torch.randn(3, 40, dim, generator=torch.Generator().manual_seed(seed))
    x *= torch.logspace(-3, 3, 40)[:, None]
    x[0, 0], x[0, 1], x[0, 2] = 0.0, 7.3, -1e-4
    return x


def half_steps(parts: dict[str, torch.Tensor], dim: int) -> torch.Tensor:
    """The most by which each coordinate may be off, with the rounding of scales and least values to float16."""
    scale = parts["scale"].float()
    ends = parts["least"].float().abs() if "least" in parts else 127 * scale
    return (scale / 2 + ends * 2**-10 + 127 * 2**-25).repeat_interleave(dim // scale.shape[-1], dim=-1)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("bits", BITS)
def test_every_coordinate_comes_back_to_within_half_a_step(bits, dim):
    x = vectors(dim)
    parts = quantize(x, bits)
    assert ((dequantize(parts, bits) - x).abs() <= half_steps(parts, dim)).all()


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("bits", BITS)
def test_parts_have_the_types_and_widths_that_are_announced(bits, dim):
    parts = quantize(vectors(dim), bits)
    assert {name: (part.dtype, part.shape[-1]) for name, part in parts.items()} == parts_of(bits, dim)
    assert all(part.shape[:-1] == (3, 40) for part in parts.values())


def test_eight_bits_take_one_scale_and_four_bits_two_numbers_per_32_coordinates():
    sizes = {b: sum(dtype.itemsize * width for dtype, width in parts_of(b, 128).values()) for b in BITS}
    assert sizes == {8: 128 + 2, 4: 64 + 4 * (2 + 2)}
    assert [group_size(dim) for dim in DIMS] == [16, 32, 24, 20, 32]


@pytest.mark.parametrize(("bits", "most"), [(8, 0.0066), (4, 0.082)])
def test_normal_vectors_lose_little(bits, most):
    x = torch.randn(500, 128, generator=torch.Generator().manual_seed(1))
    error = (dequantize(quantize(x, bits), bits) - x).norm() / x.norm()
    assert 0.9 * most < error < most


@pytest.mark.parametrize("bits", BITS)
def test_numbers_beyond_float16_stay_finite(bits):
    x = torch.full((1, 32), 1e7)
    x[0, 0] = -1e7
    assert dequantize(quantize(x, bits), bits).isfinite().all()
