"""Devices and number types: which device is meant, how much memory it has, and how weights are held there.

Knows torch, and bitsandbytes by name; knows no model.
"""

import functools
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import BitsAndBytesConfig

from omnimem_cli.base.errors import MissingError, UsageError
from omnimem_cli.base.process import available_bytes, total_bytes
from omnimem_cli.memory.trial import least_seconds

_ROWS, _WIDTH = 128, 1024
CLEARLY = 1.5
"""At so many times the time of bfloat16 float32 is given up. Measured: 0.03 to 0.9 times, or 4 and more."""

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.bfloat16,
    "int4": torch.bfloat16,
}
"""`--dtype` to the type of activations, keys and values."""

BITS = {"int8": 8, "int4": 4}
"""`--dtype` to the bits of a quantized weight."""

WHOLE = ("visual", "audio", "audio_tower", "lm_head")
"""What stays in bfloat16: a token of sound or picture passes the towers once, and errors there reach every layer."""

OUTLIER = 6.0
"""Input values of an int8 layer that are larger stay in the type of the model (LLM.int8, arXiv 2208.07339).

Above 0 it also keeps the others in the range of float16, to which bitsandbytes casts them: language models have a few
activations that overflow there.
"""


def find_device(device: str) -> torch.device:
    """``auto``: the first CUDA device, else the CPU. Raises MissingError where there is no such device."""
    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"There is no device named {device!r}.", "Use auto, cpu, cuda or cuda:N.") from error
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        hint = "Use --device cpu, or check the driver with nvidia-smi."
        raise MissingError(f"This machine has no device {device!r}.", hint, code="device")
    return wanted


def dtype_name(dtype: str | None, device: torch.device, cpu_dtype: str) -> str:
    """The type asked for; else bfloat16 where the device is faster with it, and float32 elsewhere.

    ``cpu_dtype``: the model's own on CPUs, or auto (`Row.cpu_dtype`).
    """
    if dtype is not None:
        return dtype
    if device.type == "cpu" and cpu_dtype != "auto":
        return cpu_dtype
    is_faster = bfloat16_is_faster() if device.type == "cpu" else device.type == "cuda"
    return "bfloat16" if is_faster else "float32"


@functools.cache
def bfloat16_is_faster() -> bool:
    """Whether this processor takes clearly less time for a linear layer in bfloat16 than in float32: both are tried.

    Its instructions do not tell: with AVX512-BF16 alone, AMD's Zen 5 takes a quarter of the time of float32, and a Xeon
    up to twice as long (bench/LOG.md). Without any, which is not tried, it takes some 30 times as long.
    """
    if not has_bfloat16():
        return False
    whole, half = (linear_seconds(dtype) for dtype in (torch.float32, torch.bfloat16))
    return whole > CLEARLY * half


def has_bfloat16() -> bool:
    """Whether torch has kernels for bfloat16 that this processor runs."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def linear_seconds(dtype: torch.dtype) -> float:
    """The least time of a linear layer of the size of a small model's, of several tries: about a millisecond."""
    weight, rows = torch.ones(_WIDTH, _WIDTH, dtype=dtype), torch.ones(_ROWS, _WIDTH, dtype=dtype)
    return least_seconds(lambda: torch.nn.functional.linear(rows, weight))[0]


def total_memory(device: torch.device) -> int:
    """Bytes of the device's memory, whatever is in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return total_bytes()


def free_bytes(device: torch.device) -> int:
    """Memory of the device that can be had: what the allocator keeps unused and what only caches files counts."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return available_bytes()


def joined(parts: Sequence[Tensor], device: torch.device) -> Tensor:
    """Tensors of the host, one after the other, on ``device``.

    A GPU copies them from pinned memory in the order of its work, while the host goes on: it would wait for all of that
    work if the memory were its own.
    """
    if device.type != "cuda":
        return torch.cat(tuple(parts)).to(device)
    shape = (sum(map(len, parts)), *parts[0].shape[1:])
    pinned = torch.empty(shape, dtype=parts[0].dtype, pin_memory=True)
    return torch.cat(tuple(parts), out=pinned).to(device, non_blocking=True)


@dataclass(frozen=True)
class Placement:
    """Where a model is loaded. ``weights``: the type that most of its weights are held in, as `--dtype` names it."""

    device: torch.device
    weights: str

    def options(self) -> dict:
        """Arguments of `from_pretrained`. Raises MissingError where bitsandbytes is needed and not installed."""
        return {
            "dtype": DTYPES[self.weights],
            "quantization_config": quantization(self.weights),
            "device_map": {"": self.device},
            "attn_implementation": "sdpa",
        }


def quantization(dtype: str) -> BitsAndBytesConfig | None:
    """What `from_pretrained` needs for a ``--dtype``; None for a type that torch knows.

    Raises MissingError where bitsandbytes is not installed.
    """
    if dtype not in BITS:
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingError(
            f"--dtype {dtype} needs bitsandbytes.", 'pip install "omnimem-cli[quant]", or use --dtype bfloat16.'
        )
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # else a line for every layer and pass
    skipped = [*WHOLE, *(f"model.{name}" for name in WHOLE)]
    if BITS[dtype] == 8:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=OUTLIER, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=skipped,
    )
