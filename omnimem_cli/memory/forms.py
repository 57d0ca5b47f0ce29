"""The forms in which a store holds keys and values: whole, or quantized to 8 or 4 bits. Only the store uses them.

Whole keys are post-rotary, and a move of positions rotates them. A quantized key is held as the layer's projection made
it, without its bias (`memory.key_transform`): trained keys have channels of large bias (Qwen2.5), which would widen
the steps of the codes, and which a rotation would spread over other channels. On reading the bias is put back and the
key is rotated to the place that the position map gives it now, so that a move changes nothing that is held. Values are
quantized unchanged. Knows the tensors of one layer; knows no policy.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from omnimem_cli.memory.key_transform import KeyTransform
from omnimem_cli.memory.quantized import AT_ONCE, MOST_AT_ONCE, dequantize, parts_of, quantize

Held = dict[str, Tensor]
"""The tensors [G, m, width] in which keys and values of m entries are held, by name."""


class Form(Protocol):
    """How entries are held. ``parts``: names of the tensors, with type and width; ``whole``: nothing is quantized.

    ``raw``: raw positions, int64 [3, rows, m]; a whole form needs none.
    """

    parts: dict[str, tuple[torch.dtype, int]]
    whole: bool

    def held(self, keys: Tensor, values: Tensor, raw: Tensor | None) -> Held:
        """From post-rotary keys and values [1, G, m, d]."""

    def keys(self, held: Held, raw: Tensor | None) -> Tensor:
        """Post-rotary keys [1, G, m, d]."""

    def values(self, held: Held) -> Tensor:
        """Values [1, G, m, d]."""

    def of_head(self, head: int) -> "Form":
        """The form of one KV head alone."""


class Whole:
    """Keys and values as the decoder made them; reading them copies nothing."""

    whole = True

    def __init__(self, dim: int, dtype: torch.dtype):
        self.parts = {"key": (dtype, dim), "value": (dtype, dim)}

    def held(self, keys: Tensor, values: Tensor, raw: Tensor | None) -> Held:
        """The same tensors."""
        return {"key": keys[0], "value": values[0]}

    def keys(self, held: Held, raw: Tensor | None) -> Tensor:
        """A view."""
        return held["key"][None]

    def values(self, held: Held) -> Tensor:
        """A view."""
        return held["value"][None]

    def of_head(self, head: int) -> "Whole":
        """All heads are alike."""
        return self


class Quantized:
    """Codes and scales in ``bits``; keys and values of a whole layer are made anew, as ``dtype``, on every reading."""

    whole = False

    def __init__(self, bits: int, dim: int, dtype: torch.dtype, transform: KeyTransform):
        self._bits, self._dim, self._dtype, self._transform = bits, dim, dtype, transform
        parts = parts_of(bits, dim)
        self.parts = {f"{kind}_{name}": parts[name] for kind in ("key", "value") for name in parts}

    def held(self, keys: Tensor, values: Tensor, raw: Tensor | None) -> Held:
        """Quantized, once for all: what is held is never quantized again."""
        assert raw is not None, "a key's place must be known to turn it back"
        made = self._made("key", self._transform.undone(keys[0], raw))
        return made | self._made("value", values[0].float())

    def keys(self, held: Held, raw: Tensor | None) -> Tensor:
        """Dequantized and rotated to their present places."""
        assert raw is not None, "a key's place must be known to rotate it there"
        return self._read(held, "key", lambda product, part: self._transform.done(product, raw[:, :, part]))

    def values(self, held: Held) -> Tensor:
        """Dequantized."""
        return self._read(held, "value", lambda values, _part: values)

    def of_head(self, head: int) -> "Quantized":
        """With the head's own bias."""
        return Quantized(self._bits, self._dim, self._dtype, self._transform.of_head(head))

    def _made(self, kind: str, vectors: Tensor) -> Held:
        return {f"{kind}_{name}": part for name, part in quantize(vectors, self._bits).items()}

    def _read(self, held: Held, kind: str, finished: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """[1, G, m, d], a block of entries after the other, so that what is worked out in fp32 stays small."""
        codes = held[f"{kind}_codes"]
        out = torch.empty(1, len(codes), codes.shape[1], self._dim, dtype=self._dtype, device=codes.device)
        size = AT_ONCE.get(codes.device.type, MOST_AT_ONCE)
        for part in (slice(start, start + size) for start in range(0, codes.shape[1], size)):
            parts = {name: held[f"{kind}_{name}"][:, part] for name in parts_of(self._bits, self._dim)}
            out[0, :, part] = finished(dequantize(parts, self._bits), part)
        return out
