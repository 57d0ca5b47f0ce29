"""A session's state from a file that may hold anything, back into a session.

Knows the form that a state must have for this model, media and memory; what does not have it is refused before any of
it is used. That its tensors are finite the reader of the file has seen. Knows no file.
"""

from typing import Any

import torch
from torch import Tensor

from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.tokens import AUDIO, QUESTION
from omnimem_cli.session.session import Session

MOST_POSITION = 2**31 - 1
ENGINE_COLUMNS = {
    "index": (torch.int32, ()),
    "position": (torch.int32, (3,)),
    "kind": (torch.uint8, ()),
    "step": (torch.int32, ()),
    "patch": (torch.int32, ()),
    "group": (torch.int32, ()),
    "time": (torch.float32, ()),
}
"""The columns that every table has, and the form of their rows (see `memory.table`)."""


class FormError(ValueError):
    """A state that this session cannot hold; the text says which part."""


def restore(session: Session, state: Any) -> None:
    """Continue ``session``, newly opened, where ``state`` was taken. Raises FormError."""
    form = session.state()
    _check_form({k: form[k] for k in ("stream", "session")}, _part(state, "stream", "session"), "state")
    _check_memory(session.memory, state["memory"])
    try:
        session.load_state(state)
    except (AssertionError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise FormError(f"its state cannot be continued ({type(error).__name__})") from error


def _part(state: Any, *names: str) -> dict:
    if not isinstance(state, dict) or set(state) != {"memory", "stream", "session"}:
        raise FormError("its state lacks a part")
    return {name: state[name] for name in names}


def _check_form(form: Any, value: Any, place: str) -> None:
    """``value`` has the keys, types and widths of ``form``. Where that has None there may be a number or a tensor."""
    if isinstance(form, dict):
        if not isinstance(value, dict) or form.keys() != value.keys():
            raise FormError(f"{place} has other parts")
        for key, inner in form.items():
            _check_form(inner, value[key], f"{place}.{key}")
    elif isinstance(form, list | tuple):
        if type(value) is not type(form) or not all(isinstance(item, bool | int | float | str) for item in value):
            raise FormError(f"{place} is no list of plain values")
    elif isinstance(form, Tensor):
        if not isinstance(value, Tensor) or not _alike(value, form):
            raise FormError(f"{place} is no tensor of its kind")
    elif form is None:
        if value is not None:
            _check_form(torch.empty(0) if isinstance(value, Tensor) else 0.0, value, place)
    elif isinstance(form, float) and isinstance(value, float | int) and not isinstance(value, bool):
        if abs(value) > 1e15 or value != value:  # seconds, levels and rates are far below
            raise FormError(f"{place} is out of range")
    elif value is not None and (type(value) is not type(form) or (isinstance(value, int) and abs(value) > 2**53)):
        raise FormError(f"{place} is no {type(form).__name__}")


def _alike(value: Tensor, form: Tensor) -> bool:
    """Of one width, and both fractions or of one type: a file from another device may hold shorter fractions."""
    fractions = value.is_floating_point() and form.is_floating_point()
    return (fractions or value.dtype == form.dtype) and value.dim() == form.dim() and value.shape[1:] == form.shape[1:]


def _check_memory(memory: Memory, state: Any) -> None:
    """Shapes, types, order and ranges of all that a memory holds."""
    if not isinstance(state, dict) or state.keys() != memory.state().keys():
        raise FormError("its memory lacks a part")
    layers = state["layers"]
    if not isinstance(layers, list) or len(layers) != len(memory.stores):
        raise FormError("its memory has other layers than the model")
    columns = layers[0].keys() if isinstance(layers[0], dict) else set()
    for number, (store, layer) in enumerate(zip(memory.stores, layers, strict=True)):
        whole = isinstance(layer, dict) and layer.keys() == columns
        if not whole or not all(isinstance(tensor, Tensor) for tensor in layer.values()):
            raise FormError(f"layer {number} of its memory lacks a part")
        _check_layer(store, layer, f"layer {number}")
    _check_counts(state)
    _check_position_map(memory.position_map.state(), state["position_map"])


def _check_layer(store: Store, layer: dict, place: str) -> None:
    """One layer: keys and values in the form of ``store``, and its table."""
    length = _check_entries(store.forms, layer, place)
    for name, (dtype, width) in ENGINE_COLUMNS.items():
        _check_tensor(layer.get(f"side.{name}"), dtype, (store.rows, length, *width), place)
    for name, column in layer.items():
        if name.startswith("side.") and column.shape[:2] != (store.rows, length):
            raise FormError(f"{name} of {place} has another length")
    if length and (int(layer["side.kind"].max()) > AUDIO or int(layer["side.position"].amin()) < 0):
        raise FormError(f"{place} holds kinds or positions that there are not")
    if length > 1 and bool((layer["side.index"].diff(dim=1) < 0).any()):
        raise FormError(f"{place} is out of order")


def _check_entries(forms: dict[str, tuple[torch.dtype, tuple[int, int]]], layer: dict, place: str) -> int:
    """Keys and values of one layer. Returns how many; whole ones may be of another type, all of one."""
    first = layer.get(next(iter(forms)))
    if not isinstance(first, Tensor) or first.dim() != 3 or not first.shape[1]:
        raise FormError(f"{place} holds no entries")
    length, whole = first.shape[1], first.is_floating_point()
    for name, (dtype, (groups, width)) in forms.items():
        own = first.dtype if whole and dtype.is_floating_point else dtype
        _check_tensor(layer.get(name), own, (groups, length, width), place)
    return length


def _check_tensor(tensor: Any, dtype: torch.dtype | None, shape: tuple[int, ...], place: str) -> None:
    if not isinstance(tensor, Tensor) or tensor.dtype != dtype or tuple(tensor.shape) != shape:
        raise FormError(f"{place} holds a tensor of another type or shape")


def _check_counts(state: dict) -> None:
    seen, numbers = state["seen"], [state[name] for name in ("next_position", "peak_bytes", "dropped")]
    if not isinstance(seen, dict) or not all(str(kind) in map(str, range(QUESTION)) for kind in seen):
        raise FormError("its counts of tokens are of unknown kinds")
    whole = [*numbers, *seen.values()]
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**53 for n in whole):
        raise FormError("its counts are no counts")
    if numbers[0] > MOST_POSITION:
        raise FormError("its next position is out of range")


def _check_position_map(form: dict, value: Any) -> None:
    """Breakpoints ascend, one list per layer; spacings shrink; the other numbers as `_check_form` wants them."""
    if not isinstance(value, dict) or form.keys() != value.keys():
        raise FormError("its position map is of another kind")
    lists = value.get("breakpoints", [])
    if not isinstance(lists, list) or len(lists) != len(form.get("breakpoints", [])):
        raise FormError("its position map has other layers")
    for points in lists:
        if points is not None and not _ascends(points):
            raise FormError("its position map is out of order")
    _check_form(
        {k: v for k, v in form.items() if k != "breakpoints"},
        {k: value[k] for k in value if k != "breakpoints"},
        "position map",
    )
    spacings = [value[name] for name in ("old", "new") if name in form]
    if not all(isinstance(spacing, float | int) and 0 < spacing <= 1 for spacing in spacings):
        raise FormError("its position map is out of range")


def _ascends(points: Any) -> bool:
    right = isinstance(points, Tensor) and points.dim() == 1 and points.dtype == torch.int32 and len(points) > 0
    return right and bool((points.diff() > 0).all())
