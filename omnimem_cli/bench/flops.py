"""Arithmetic of a watch: what encoders, linear layers and attention must do, and what the device can.

Products and sums of matrices count 2 per multiply-add; scoring, softmax, norms and rotary positions count nothing, so
that a share of the device's rate is a share of useful work. Knows modules and shapes.
"""

from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from omnimem_cli.bench.machine import timed

MATRIX_SIDE = {"cuda": 8192, "cpu": 1024}
"""Of the square matrices that the device's rate is measured with."""


def matmul_rate(device: torch.device, dtype: torch.dtype, repeats: int = 5) -> float:
    """FLOP/s of a product of random square matrices, median of several."""
    n = MATRIX_SIDE.get(device.type, 1024)
    a, b = torch.randn(2, n, n, device=device, dtype=dtype)
    a @ b
    return 2 * n**3 / median(timed(device, lambda: a @ b)[0] for _ in range(repeats))


def encoder_flops(encode: Callable[[], object]) -> int:
    """FLOP of one call, counted operator by operator; attention in its plain form, which the counter knows."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        encode()
    return counter.get_total_flops()


def linear_flops(decoder: nn.Module) -> float:
    """FLOP of one token in all linear layers. Of experts (weights of three dimensions) only the chosen ones work."""
    config = decoder.config
    active = getattr(config, "num_experts_per_tok", 0) / max(getattr(config, "num_experts", 1), 1)
    shares = {2: 1.0, 3: active}
    return 2 * sum(p.numel() * shares.get(p.dim(), 0.0) for p in decoder.layers.parameters())


def attention_flops(decoder: nn.Module, new: int, held: Sequence[int]) -> float:
    """FLOP of a chunk of ``new`` tokens over ``held`` entries per layer and, causally, over itself."""
    config = decoder.config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    pairs = sum(new * m + new * (new + 1) / 2 for m in held)
    return 4 * config.num_attention_heads * head_dim * pairs
