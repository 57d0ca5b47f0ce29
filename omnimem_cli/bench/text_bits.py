"""What fewer bits cost a trained text model: perplexity and a hidden sentence, with the KV cache at 16, 8 and 4 bits.

Keys and values are quantized by the engine's own code, when their chunk ends, in a cache of the library. Knows any
causal language model in transformers' layout whose positions are one number; knows no video and no policy.
"""

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.cache_utils import DynamicLayer

from omnimem_cli.memory.forms import Form, Quantized
from omnimem_cli.memory.key_transform import KeyTransform
from omnimem_cli.memory.repositioning import KeepPositions

BITS = (16, 8, 4)
CHUNK = 256  # tokens per forward pass: what is read of earlier chunks has been quantized
NEEDLES = 10


class TextRotary:
    """Angles of a decoder whose positions are one number, as ``KeyTransform`` asks for them."""

    def __init__(self, decoder: nn.Module):
        self._frequency = decoder.rotary_emb.inv_freq.float()

    def half_angles(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """cos, sin fp32 [rows, m, d / 2] of places [3, rows, m], of which all three are the same."""
        angle = place[0].float()[..., None] * self._frequency
        return angle.cos(), angle.sin()


class HeldLayer(DynamicLayer):
    """A layer of a cache of one row that reads what was held before as ``form`` holds it."""

    def __init__(self, form: Form):
        super().__init__()
        self._form = form

    def update(self, key_states: Tensor, value_states: Tensor, *more: Any, **named: Any) -> tuple[Tensor, Tensor]:
        """All keys and values [1, G, m + n, d]; the new ones are quantized after this pass."""
        start = self.get_seq_length()
        keys, values = super().update(key_states, value_states)
        raw = torch.arange(start, keys.shape[2], device=keys.device).expand(3, 1, -1)
        held = self._form.held(key_states, value_states, raw)
        self.keys = torch.cat([keys[:, :, :start], self._form.keys(held, raw)], dim=2)
        self.values = torch.cat([values[:, :, :start], self._form.values(held)], dim=2)
        return keys, values


def cache_of(model: nn.Module, bits: int) -> DynamicCache:
    """An empty cache in so many bits; 16: whole, as the model makes them."""
    decoder, cache = model.get_decoder(), DynamicCache()
    if bits == BITS[0]:
        return cache
    rotary, place = TextRotary(decoder), KeepPositions()
    for i, layer in enumerate(decoder.layers):
        transform = KeyTransform.of_layer(decoder, i, place, rotary)
        cache.layers.append(HeldLayer(Quantized(bits, layer.self_attn.head_dim, model.dtype, transform)))
    return cache


@torch.no_grad()
def logits_of(model: nn.Module, ids: Tensor, cache: DynamicCache) -> Tensor:
    """fp32 [n, V] of token ids [n], chunk by chunk."""
    chunks = ids[None].split(CHUNK, dim=1)
    return torch.cat([model(chunk, past_key_values=cache).logits[0].float() for chunk in chunks])


def perplexity(model: nn.Module, windows: Sequence[Tensor], bits: int) -> float:
    """Over windows of token ids, each read from its beginning."""
    losses = [
        nn.functional.cross_entropy(logits_of(model, ids, cache_of(model, bits))[:-1], ids[1:], reduction="none")
        for ids in windows
    ]
    return math.exp(float(torch.cat(losses).mean()))


def needles(tokenizer: Any, filler: Tensor, count: int = NEEDLES) -> Iterator[tuple[Tensor, str]]:
    """Token ids of texts that hide a number, at depths from first to last, and then ask for it; with the number."""
    rng = random.Random(0)
    for i in range(count):
        number = str(rng.randrange(10_000, 100_000))
        hidden = tokenizer(f"\nThe number of the red door is {number}.\n", add_special_tokens=False).input_ids
        asking = tokenizer("\nAs said above, the number of the red door is", add_special_tokens=False).input_ids
        at = i * len(filler) // count
        yield torch.cat([filler[:at], torch.tensor(hidden), filler[at:], torch.tensor(asking)]), number


@torch.no_grad()
def finds(model: nn.Module, tokenizer: Any, ids: Tensor, wanted: str, bits: int, tokens: int = 8) -> bool:
    """Whether the greedy continuation says what was hidden."""
    cache, written = cache_of(model, bits), []
    logits = logits_of(model, ids, cache)
    for _ in range(tokens):
        written.append(int(logits[-1].argmax()))
        logits = model(torch.tensor([written[-1:]]), past_key_values=cache).logits[0].float()
    return wanted in tokenizer.decode(written)


def bench_text_bits(path: str, gguf: str | None, tokens: int, windows: int) -> dict:
    """Rows of perplexity and of hidden numbers found, by bits. ``gguf``: the name of such a file in folder ``path``.

    The text is the reference that Python's own `help` prints.
    """
    import pydoc_data.topics

    model = AutoModelForCausalLM.from_pretrained(path, gguf_file=gguf, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(path, gguf_file=gguf)
    text = "\n\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
    ids = torch.tensor(tokenizer(text[: 8 * tokens * (windows + 1)], add_special_tokens=False).input_ids)
    parts = [ids[i * tokens : (i + 1) * tokens] for i in range(windows + 1)]
    hidden = list(needles(tokenizer, parts.pop()))
    return {
        "model": type(model).__name__,
        "tokens": tokens,
        "windows": windows,
        "rows": [
            {
                "bits": bits,
                "perplexity": round(perplexity(model, parts, bits), 4),
                "found": sum(finds(model, tokenizer, *each, bits) for each in hidden),
                "needles": len(hidden),
            }
            for bits in BITS
        ],
    }
