"""Weights in 8 or 4 bits, by bitsandbytes: an extra, `pip install "omnimem-cli[quant]"`.

Only the language model's linear layers are held so; towers, embeddings and the output layer stay in bfloat16, as do
activations, keys and values. Knows names of types and of modules.
"""

import importlib.util

import torch
from transformers import BitsAndBytesConfig

from omnimem_cli.errors import MissingError

BITS = {"int8": 8, "int4": 4}
WHOLE = ("visual", "audio", "audio_tower", "lm_head")
"""What stays in bfloat16: a token of sound or picture passes the towers once, and errors there reach every layer."""


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
