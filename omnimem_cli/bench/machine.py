"""What figures belong to: device, versions and kernels; and how long the device works and how much it holds.

Knows torch and devices; knows no model and no benchmark.
"""

import platform
import resource
import time
from collections.abc import Callable
from importlib import metadata
from typing import TypeVar

import torch
from torch.nn.attention import current_flash_attention_impl

Outcome = TypeVar("Outcome")


def machine(device: torch.device) -> dict:
    """Device and versions. ``attention``: the FlashAttention release that was put in place of torch's own kernel."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else platform.processor() or platform.machine()
    versions = {package: metadata.version(package) for package in ("torch", "transformers")}
    return {
        "device": str(device),
        "device_name": name,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **versions,
        "cuda": torch.version.cuda if on_gpu else None,
        "attention": current_flash_attention_impl() or "torch",
    }


def timed(device: torch.device, work: Callable[[], Outcome]) -> tuple[float, Outcome]:
    """Wall seconds until the device is done with ``work``, and what that gave."""
    wait(device)
    began = time.perf_counter()
    outcome = work()
    wait(device)
    return time.perf_counter() - began, outcome


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Begin a new peak, where the device counts one."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def device_peak(device: torch.device) -> dict:
    """Most bytes at once: of the allocator on CUDA since the last reset, else of this process since it began."""
    if device.type == "cuda":
        reserved = torch.cuda.max_memory_reserved(device)
        return {"device_peak_bytes": torch.cuda.max_memory_allocated(device), "device_reserved_bytes": reserved}
    return {"rss_peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
