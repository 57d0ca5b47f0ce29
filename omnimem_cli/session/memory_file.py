"""A memory as one safetensors file: a JSON header, and the tensors of a session's state.

Knows bytes, checksums and packed values; knows no model, no memory and no fact of the header but its version and its
state. A file may come from anywhere: nothing of it is run, and nothing is believed before it is checked.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from omnimem_cli.base.errors import InputError, unreadable_input
from omnimem_cli.base.packing import packed, unpacked
from omnimem_cli.base.paths import readable_path

if TYPE_CHECKING:  # facts are read without it
    from torch import Tensor

VERSION = 1
SCHEMA = f"omnimem/memory/{VERSION}"
_SEARCHED = 1 << 16  # bytes at the start of a file in which its kind is looked for
_WORD = 8  # bytes
_DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def write_memory_file(path: Path, header: dict, state: Any) -> None:
    """Write ``header`` (plain JSON values) and ``state`` (as `packed` takes it). Raises OSError."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    own = {"schema": SCHEMA, **header, "state": packed(state, tensors)}
    own["checksums"] = {name: checksum(tensor) for name, tensor in tensors.items()}
    text = json.dumps(own)
    path.touch()
    mode = path.stat().st_mode  # of the user's umask, which the library does not keep to
    try:
        save_file(tensors, path, {"omnimem": text, "digest": _digest(text)})
    except SafetensorError as error:  # it has no other word for a full disk
        raise OSError(None, str(error)) from error
    path.chmod(mode)


def read_header(path: str | Path) -> dict:
    """The header, whose facts nobody has checked yet. Reads no tensor. Raises InputError."""
    with _opened(path, "np") as file:
        return _header(file, path)


def part_sizes(path: str | Path) -> dict[str, int]:
    """Bytes of the keys and values, of the tables, and of the rest: stream, position map, header. Reads no tensor."""
    sizes = {"keys and values": 0, "tables": 0}
    with _opened(path, "np") as file:
        for name in file.keys():  # noqa: SIM118
            part = "tables" if ".side." in name else "keys and values" if ".layers." in name else None
            if part is not None:
                held = file.get_slice(name)
                sizes[part] += math.prod(held.get_shape()) * _DTYPE_BYTES[held.get_dtype()]
    return sizes | {"the rest": Path(path).stat().st_size - sum(sizes.values())}


def read_memory_file(path: str | Path) -> tuple[dict, Any]:
    """Header and state, all of whose numbers are finite. Raises InputError for a damaged, foreign or newer file."""
    with _opened(path) as file:
        header = _header(file, path)
        sums = header["checksums"]
        if not isinstance(sums, dict) or sums.keys() != set(file.keys()):
            raise damaged(path, "its list of tensors is not that of its content")

        def tensor(name: str) -> "Tensor":
            held = file.get_tensor(name)
            if sums.get(name) != checksum(held):
                raise damaged(path, f"the checksum of {name[:80]} does not match")
            if not _is_finite(held):
                raise damaged(path, f"{name[:80]} holds numbers that are not finite")
            return held

        try:
            return header, unpacked(header["state"], tensor)
        except ValueError as error:
            raise damaged(path, str(error)) from error


def checksum(tensor: "Tensor") -> str:
    """Type, shape and the sum of all bytes as 64-bit words modulo 2^64: finds damage, not malice, at memory speed."""
    import torch

    data = tensor.reshape(-1).view(torch.uint8)
    whole = len(data) // _WORD * _WORD
    rest = int.from_bytes(bytes(data[whole:].tolist()), "little")
    words = data[:whole] if data.data_ptr() % _WORD == 0 else data[:whole].clone()
    total = int(words.view(torch.int64).sum()) + rest if whole else rest
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}:{total % 2**64:016x}"


def damaged(path: str | Path, why: str) -> InputError:
    """The error of a memory file that does not hold what it should."""
    shown = readable_path(str(path))
    return InputError(f"{shown} is damaged: {why}.", "Watch the video again.", code="memory_damaged")


def _is_finite(tensor: "Tensor") -> bool:
    """Least and largest are finite exactly where all are, and are found at memory speed."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return all(bool(end.isfinite()) for end in tensor.aminmax())


@contextmanager
def _opened(path: str | Path, framework: str = "pt") -> Iterator[Any]:
    try:
        with safe_open(str(path), framework) as file:
            yield file
    except SafetensorError as error:
        raise _no_memory(path, str(error)) from error
    except OSError as error:
        raise unreadable_input(readable_path(str(path)), error) from error


def _header(file: Any, path: str | Path) -> dict:
    metadata = file.metadata() or {}
    text = metadata.get("omnimem", "")
    schema = re.match(r'\{"schema": "omnimem/memory/(\d{1,6})"', text)
    if schema is None:
        raise _foreign(path)
    if int(schema[1]) > VERSION:
        message = f"{readable_path(str(path))} was written by a newer omnimem (memory format {schema[1]})."
        raise InputError(message, "Update omnimem.", code="memory_newer")
    if metadata.get("digest") != _digest(text):
        raise damaged(path, "its header was changed")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, "its header is no JSON") from error
    if not {"checksums", "state"} <= header.keys():
        raise damaged(path, "its header lacks a part")
    return header


def _no_memory(path: str | Path, why: str) -> InputError:
    """The error of what is no safetensors file: a memory file that was cut, or something else."""
    try:
        with Path(path).open("rb") as file:
            ours = b"omnimem/memory/" in file.read(_SEARCHED)
    except OSError as error:
        return unreadable_input(readable_path(str(path)), error)
    return damaged(path, why.removeprefix("Error while deserializing header: ")) if ours else _foreign(path)


def _foreign(path: str | Path) -> InputError:
    message = f"{readable_path(str(path))} is not a memory file of omnimem."
    return InputError(message, "`omnimem watch VIDEO` writes one.", code="not_memory")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
