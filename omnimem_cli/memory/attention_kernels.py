"""Attention kernels that return their log-sum-exp, and the choice of the fastest that proves right on a device.

Knows tensors and devices. A kernel takes q [B, H, n, d], k and v [B, G, m, d] with H a multiple of G, the scaling, and
whether query i sees keys 0..i only (then n = m); it returns the output and the log-sum-exp (natural log, fp32)
[B, H, n].
"""

import functools
import importlib.util
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import (
    activate_flash_attention_impl,
    current_flash_attention_impl,
    restore_flash_attention_impl,
)

from omnimem_cli.memory import cpu_attention
from omnimem_cli.memory.groups import repeat_heads

Kernel = Callable[[Tensor, Tensor, Tensor, float, bool], tuple[Tensor, Tensor]]
BiasedKernel = Callable[[Tensor, Tensor, Tensor, float, Tensor], tuple[Tensor, Tensor]]
"""As a kernel with H = G, with a bias [B, 1, 1, m] on the scores in place of an order: -inf where a key is not seen."""

MULTIPLE = 8
"""Of places in the buffer of a bias, as some kernels want it."""

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


def padded(count: int) -> int:
    """The places of a buffer for ``count`` keys and their bias: the next ``MULTIPLE``."""
    return -(-count // MULTIPLE) * MULTIPLE


def merge(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """One attention from parts over disjoint keys, outputs weighted by exp(lse - total) in fp32: in the first's type.

    Where no part has a key, what they hold (zeros and -inf).
    """
    out, lse = functools.reduce(_merge_two, parts)
    return out.to(parts[0][0].dtype), lse


def _merge_two(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    share = (one[1] - other[1]).nan_to_num_().sigmoid_()[..., None]
    return torch.lerp(other[0].float(), one[0].float(), share), torch.logaddexp(one[1], other[1])


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
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
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


def _cuda_flash(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    op = torch.ops.aten._scaled_dot_product_flash_attention
    out, lse, *_ = op(q, k, v, 0.0, causal, False, scale=scaling)
    return out, lse[..., : q.shape[2]].float()


def _cuda_efficient(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    op = torch.ops.aten._scaled_dot_product_efficient_attention
    out, lse, *_ = op(q, k, v, None, True, 0.0, causal, scale=scaling)
    return out, lse[..., : q.shape[2]].float()


_FAST: dict[str, tuple[Kernel, ...]] = {"cpu": (cpu_attention.attend,), "cuda": (_cuda_flash, _cuda_efficient)}


def reference_biased(q: Tensor, k: Tensor, v: Tensor, scaling: float, bias: Tensor) -> tuple[Tensor, Tensor]:
    """With ``bias`` [B, 1, 1, m] on the scores, of all queries at once, in plain torch, in fp32."""
    scores = (q.float() * scaling) @ k.float().transpose(-1, -2) + bias.float()
    out, lse = softmax_values(scores, v.float())
    return out.to(q.dtype), lse


def _cuda_biased(q: Tensor, k: Tensor, v: Tensor, scaling: float, bias: Tensor) -> tuple[Tensor, Tensor]:
    op = torch.ops.aten._scaled_dot_product_efficient_attention
    out, lse, *_ = op(q, k, v, bias.expand(*q.shape[:3], -1), True, scale=scaling)
    return out, lse[..., : q.shape[2]].float()


_FAST_BIASED = {"cpu": (cpu_attention.attend_biased,), "cuda": (_cuda_biased,)}


def best_kernel(device: torch.device, dtype: torch.dtype, head_dim: int) -> Kernel:
    """The first fast kernel that agrees with the portable one here. These are torch's private operators:
    their signature or the base of their logarithm may change with a version, so each is tried before it is trusted.
    """
    return (*_FAST.get(device.type, ()), reference_kernel)[_fastest(device, dtype, head_dim, biased=False)]


def best_biased_kernel(device: torch.device, dtype: torch.dtype, head_dim: int) -> BiasedKernel:
    """As ``best_kernel``, of the kernels that take a bias."""
    return (*_FAST_BIASED.get(device.type, ()), reference_biased)[_fastest(device, dtype, head_dim, biased=True)]


@torch.compiler.assume_constant_result
def _fastest(device: torch.device, dtype: torch.dtype, head_dim: int, biased: bool) -> int:
    return _proven(device, dtype, head_dim, biased)


@functools.cache
def _proven(device: torch.device, dtype: torch.dtype, head_dim: int, biased: bool) -> int:
    """The place of the first kernel that proves right; that after the last where none does."""
    if device.type == "cuda":
        use_installed_flash(device)
    kernels, proof = (_FAST_BIASED, _matches_biased) if biased else (_FAST, _matches_reference)
    tried = kernels.get(device.type, ())
    for place, kernel in enumerate(tried):
        if proof(kernel, device, dtype, head_dim):
            return place
    if tried:
        warnings.warn(f"no fast attention for {dtype} on {device}; the portable kernel is slower", stacklevel=5)
    return len(tried)


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
    return all(_agree(kernel, reference_kernel, causal, device, dtype, head_dim) for causal in (False, True))


def _matches_biased(kernel: BiasedKernel, device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    bias = torch.zeros(1, 1, 1, 40, dtype=dtype, device=device)
    bias[..., ::3] = -torch.inf
    return _agree(kernel, reference_biased, bias, device, dtype, head_dim)


def _agree(
    kernel: Callable, reference: Callable, last: bool | Tensor, device: torch.device, dtype: torch.dtype, head_dim: int
) -> bool:
    """Whether two kernels give the same of random tensors, ``last`` being their last argument."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 40, head_dim, generator=generator).to(device, dtype)
    tolerance = 1e-4 if dtype == torch.float32 else 3e-2
    try:
        pairs = zip(kernel(q, k, v, 0.3, last), reference(q, k, v, 0.3, last), strict=True)
        return all((a.float() - b.float()).abs().max() <= tolerance for a, b in pairs)
    except (RuntimeError, TypeError, ValueError, AssertionError):  # not built for this device, type or signature
        return False
