"""Where a model's weights are held and in which type, as the library's `from_pretrained` wants to be told.

8 and 4 bits are bitsandbytes', an extra, `pip install "omnimem-cli[quant]"`: only the language model's linear layers
are held so; towers, embeddings and the output layer stay in bfloat16, as do activations, keys and values. Knows names
of types and of modules.
"""

import importlib.util
from dataclasses import dataclass

import torch
from transformers import BitsAndBytesConfig

from omnimem_cli.errors import MissingError
from omnimem_cli.models.device import DTYPES

BITS = {"int8": 8, "int4": 4}
WHOLE = ("visual", "audio", "audio_tower", "lm_head")
"""What stays in bfloat16: a token of sound or picture passes the towers once, and errors there reach every layer."""


@dataclass(frozen=True)
class Placement:
    """weights: the type that most of them are held in, as `--dtype` names it."""

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
    skipped = [*WHOLE, *(f"model.{name}" for name in WHOLE)]
    if BITS[dtype] == 8:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=skipped,
    )
