"""Attention kernels that return their log-sum-exp, and the choice of the fastest that proves right on a device.

Knows tensors and devices. A kernel takes q [B, H, n, d], k and v [B, H, m, d], the scaling, and whether query i sees
keys 0..i only (then n = m); it returns the output and the log-sum-exp (natural log, fp32) [B, H, n].
"""

import functools
import importlib.util
import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import (
    activate_flash_attention_impl,
    current_flash_attention_impl,
    restore_flash_attention_impl,
)

Kernel = Callable[[Tensor, Tensor, Tensor, float, bool], tuple[Tensor, Tensor]]


BLOCK = 1024  # keys per block of scores in plain torch: H * n * BLOCK of them at once


PACKAGES = {
    9: (("FA3", "flash_attn_interface"), ("FA4", "flash_attn.cute.interface")),
    10: (("FA4", "flash_attn.cute.interface"),),
}
"""Major compute capability to torch's names of FlashAttention releases and the modules that bring them, fastest first.

Below 9 torch's own flash kernel is the latest release that runs there.
"""


HEAD_DIMS = (64, 72, 80, 128)
"""Of the decoders and towers here: an installed release serves them all, or is not used."""


def merge(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """One attention from parts over disjoint keys: outputs weighted by exp(lse - total), in fp32."""
    if len(parts) == 1:
        return parts[0]
    total = torch.stack([lse for _, lse in parts]).logsumexp(0)
    out = sum(o.float() * (lse - total).exp()[..., None] for o, lse in parts)
    return out.to(parts[0][0].dtype), total


def softmax_values(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(scores) values [..., n, d] and the log-sum-exp [..., n] of fp32 scores [..., n, m].

    The scores are overwritten. A row that is -inf throughout gets zeros and -inf.
    """
    top = scores.amax(-1, keepdim=True).nan_to_num_(neginf=0.0)
    weights = scores.sub_(top).exp_()
    total = weights.sum(-1, keepdim=True)
    return weights @ values / total.clamp(min=1.0), (top + total.log())[..., 0]


def reference_kernel(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    """Blockwise over keys in plain torch, in fp32: right on every device, O(n * BLOCK) scores."""
    parts, n = [], q.shape[2]
    for start in range(0, k.shape[2], BLOCK):
        keys, values = k[:, :, start : start + BLOCK].float(), v[:, :, start : start + BLOCK].float()
        scores = q.float() @ keys.transpose(-1, -2) * scaling
        if causal:
            later = (
                torch.arange(start, start + keys.shape[2], device=q.device) > torch.arange(n, device=q.device)[:, None]
            )
            scores.masked_fill_(later, -torch.inf)
        parts.append(softmax_values(scores, values))
    out, lse = merge(parts)
    return out.to(q.dtype), lse


def _cpu_flash(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    op = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, lse = op(q, k, v, 0.0, causal, scale=scaling)
    return out, lse.float()


def _cuda_flash(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    op = torch.ops.aten._scaled_dot_product_flash_attention
    out, lse, *_ = op(q, k, v, 0.0, causal, False, scale=scaling)
    return out, lse[..., : q.shape[2]].float()


def _cuda_efficient(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    op = torch.ops.aten._scaled_dot_product_efficient_attention
    out, lse, *_ = op(q, k, v, None, True, 0.0, causal, scale=scaling)
    return out, lse[..., : q.shape[2]].float()


_FAST: dict[str, tuple[Kernel, ...]] = {"cpu": (_cpu_flash,), "cuda": (_cuda_flash, _cuda_efficient)}


@functools.cache
def best_kernel(device: torch.device, dtype: torch.dtype, head_dim: int) -> Kernel:
    """The first fast kernel that agrees with the portable one here. These are torch's private operators:
    their signature or the base of their logarithm may change with a version, so each is tried before it is trusted.
    """
    if device.type == "cuda":
        use_installed_flash(device)
    kernels = _FAST.get(device.type, ())
    for kernel in kernels:
        if _matches_reference(kernel, device, dtype, head_dim):
            return kernel
    if kernels:
        warnings.warn(f"no fast attention for {dtype} on {device}; the portable kernel is slower", stacklevel=3)
    return reference_kernel


@functools.cache
def use_installed_flash(device: torch.device) -> str:
    """Let torch's flash operator run an installed FlashAttention release that is made for this device and proves
    right on it; the towers gain too, as theirs is the same operator. Returns the name of what is in use.
    """
    if current_flash_attention_impl() is not None:  # somebody chose already
        return current_flash_attention_impl()
    major, _ = torch.cuda.get_device_capability(device)
    for name, module in PACKAGES.get(major, ()):
        if _is_installed(module) and _activates(name):
            if all(_matches_reference(_cuda_flash, device, torch.bfloat16, head_dim) for head_dim in HEAD_DIMS):
                return name
            restore_flash_attention_impl()
    return "torch"


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # of the package around it
        return False


def _activates(name: str) -> bool:
    try:
        activate_flash_attention_impl(name)
    except (ImportError, RuntimeError, AttributeError, ValueError) as error:  # built for another torch or CUDA
        warnings.warn(f"{name} is installed but cannot be used: {error}", stacklevel=4)
        return False
    return True


def _matches_reference(kernel: Kernel, device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 40, head_dim, generator=generator).to(device, dtype)
    tolerance = 1e-4 if dtype == torch.float32 else 3e-2
    try:
        for causal in (False, True):
            ours, reference = kernel(q, k, v, 0.3, causal), reference_kernel(q, k, v, 0.3, causal)
            if any((a.float() - b.float()).abs().max() > tolerance for a, b in zip(ours, reference, strict=True)):
                return False
    except (RuntimeError, TypeError, ValueError, AssertionError):  # not built for this device, type or signature
        return False
    return True


LOG2_E = math.log2(math.e)  # powers of 2 are some three times as fast as powers of e on CPUs
