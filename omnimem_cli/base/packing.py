"""Nested plain values with tensors in them, as JSON and a flat dict of named tensors, and back.

Knows dicts, lists, tuples, numbers, texts and tensors; knows no file. A tensor is named by its place in the value, such
as ``memory.layers.0.key``.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a batch packs long before the model brings torch
    from torch import Tensor

DEPTH = 32
"""Levels that a value may have: far more than any state, far fewer than Python's own limit."""


def packed(value: Any, tensors: "dict[str, Tensor]", place: str = "") -> Any:
    """``value`` as JSON; its tensors go into ``tensors``, on the CPU."""
    from torch import Tensor

    if isinstance(value, Tensor):
        assert place not in tensors, f"two tensors have the place {place}"
        tensors[place] = value.detach().to("cpu").contiguous()
        return {"tensor": place}
    if isinstance(value, dict):
        return {"dict": [[key, packed(item, tensors, _inner(place, key))] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [packed(item, tensors, _inner(place, number)) for number, item in enumerate(value)]
        return {type(value).__name__: items}
    assert value is None or isinstance(value, bool | int | float | str), f"a state holds a {type(value).__name__}"
    return value


def unpacked(content: Any, tensor: "Callable[[str], Tensor]", depth: int = DEPTH) -> Any:
    """What was packed; ``tensor`` gives a tensor by its name. Raises ValueError for anything else."""
    if not isinstance(content, dict):
        if isinstance(content, list):
            raise ValueError("a list is not packed as one")
        return content
    if len(content) != 1 or not depth:
        raise ValueError("a packed value has one kind and few levels")
    ((kind, inner),) = content.items()
    if kind == "tensor" and isinstance(inner, str):
        return tensor(inner)
    if kind == "dict" and isinstance(inner, list):
        return {_key(pair): unpacked(pair[1], tensor, depth - 1) for pair in inner}
    if kind in ("list", "tuple") and isinstance(inner, list):
        items = [unpacked(item, tensor, depth - 1) for item in inner]
        return tuple(items) if kind == "tuple" else items
    raise ValueError(f"a packed value has the unknown kind {str(kind)[:40]!r}")


def _key(pair: Any) -> str | int:
    if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str | int):
        return pair[0]
    raise ValueError("an item of a packed dict is not a key and a value")


def _inner(place: str, key: str | int) -> str:
    return f"{place}.{key}" if place else str(key)
