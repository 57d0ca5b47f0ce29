"""Damaged and hostile memory files: each ends in one typed error, or is still the memory that it was."""

import json
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import footage
import pytest
import torch
from kept import loaded, saved, watched
from safetensors import safe_open
from safetensors.torch import save_file

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import InputError, UserError
from omnimem_cli.base.settings import Settings
from omnimem_cli.session import memory_file, restore
from omnimem_cli.session.memory_file import checksum

SETTINGS = Settings(budget=Budget(60), max_tokens=2, fps=1, max_pixels=56 * 56, chunk=100, positions="eager")
CODES = {"memory_damaged", "memory_newer", "not_memory"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_folder) -> Path:
    from omnimem_cli.models.loader import load

    folder = tmp_path_factory.mktemp("whole")
    clip = footage.av(folder, video_s=6, audio_s=6)
    return saved(watched(clip, SETTINGS, load(str(tiny_folder), device="cpu")), folder / "whole.omnimem")


def read(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """The header and the tensors of a file."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["omnimem"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def write(path: Path, header: dict, tensors: dict[str, torch.Tensor]) -> None:
    """A file whose digest and checksums are right: made by somebody who knows the format."""
    header["checksums"] = {name: checksum(tensor) for name, tensor in tensors.items()}
    text = json.dumps({"schema": header["schema"], **header})
    save_file(tensors, path, {"omnimem": text, "digest": memory_file._digest(text)})


def cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def flip(data: bytearray, draw: random.Random) -> None:
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def flip_in_header(data: bytearray, draw: random.Random) -> None:
    data[draw.randrange(8, 8 + struct.unpack("<Q", data[:8])[0])] = draw.randrange(256)


def claim_a_huge_size(data: bytearray, draw: random.Random) -> None:
    data[:8] = struct.pack("<Q", draw.choice([0, 1, len(data), 2**31, 2**40, 2**63]))


def overwrite(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data))
    data[start : start + draw.randrange(1, 4096)] = draw.randbytes(draw.randrange(1, 4096))


def append(data: bytearray, draw: random.Random) -> None:
    data += draw.randbytes(draw.randrange(1, 4096))


BYTES: list[Callable[[bytearray, random.Random], None]] = [
    cut, flip, flip_in_header, claim_a_huge_size, overwrite, append
]  # fmt: skip


def change_a_value(header: dict, tensors: dict, draw: random.Random) -> None:
    """Some value anywhere in the header becomes another one."""
    places = list(_places(header))
    parent, key = draw.choice(places)
    parent[key] = draw.choice([None, -1, 0, 2**70, 1e308, float("nan"), "x", "../../etc/passwd", [], {}, True, [[]]])


def drop_a_value(header: dict, tensors: dict, draw: random.Random) -> None:
    parent, key = draw.choice(list(_places(header)))
    del parent[key]


def change_a_tensor(header: dict, tensors: dict, draw: random.Random) -> None:
    """Another shape, another type, numbers that are not finite, or none at all."""
    name = draw.choice(sorted(tensors))
    tensor = tensors[name]
    changes = [
        lambda: tensor[..., :-1].contiguous() if tensor.dim() and tensor.shape[-1] > 1 else tensor.double(),
        lambda: tensor.unsqueeze(0).contiguous(),
        lambda: torch.cat([tensor, tensor]),
        lambda: tensor.to(torch.float64),
        lambda: tensor.to(torch.int64),
        lambda: torch.full_like(tensor, torch.nan) if tensor.is_floating_point() else torch.full_like(tensor, 127),
        lambda: torch.zeros(0),
        lambda: tensor.flip(-1).contiguous(),
    ]
    tensors[name] = draw.choice(changes)()


def drop_a_tensor(header: dict, tensors: dict, draw: random.Random) -> None:
    del tensors[draw.choice(sorted(tensors))]


def _places(value):
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


FORGED = [change_a_value, drop_a_value, change_a_tensor, drop_a_tensor]


def damage(whole: Path, seed: int, path: Path) -> str:
    """Write a damaged copy; returns how it was damaged."""
    draw = random.Random(seed)
    how = draw.choice([*BYTES, *FORGED])
    if how in BYTES:
        data = bytearray(whole.read_bytes())
        how(data, draw)
        path.write_bytes(data)
    else:
        header, tensors = read(whole)
        how(header, tensors, draw)
        if "schema" not in header:
            header = {"schema": None, **header}
        write(path, header, tensors)
    return f"{seed}: {how.__name__}"


def try_each(seeds, whole: Path, adapter, folder: Path) -> dict[str, int]:
    """Every damaged file loads and answers, or gives a typed error. Returns how many ended how."""
    ends: dict[str, int] = {}
    for seed in seeds:
        path = folder / "damaged.omnimem"
        what = damage(whole, seed, path)
        try:
            again = loaded(path, adapter, Settings(max_tokens=1))
            again.ask("What?")
            end = "loaded"
        except UserError as error:
            end = error.code
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
        assert end in CODES | {"loaded", "usage"}, what
        ends[end] = ends.get(end, 0) + 1
    return ends


def test_damaged_files_end_in_a_sentence(whole, tiny_adapter, tmp_path):
    ends = try_each(range(150), whole, tiny_adapter, tmp_path)
    assert ends["memory_damaged"] > 75


def test_damaged_files_of_codes_end_in_a_sentence(tiny_adapter, tmp_path):
    clip, settings = footage.av(tmp_path, video_s=6, audio_s=6), replace(SETTINGS, kv_bits=4)
    whole = saved(watched(clip, settings, tiny_adapter), tmp_path / "codes.omnimem")
    assert try_each(range(60), whole, tiny_adapter, tmp_path)["memory_damaged"] > 30
    header, tensors = read(whole)
    for name, changed in (("key_codes", torch.int8), ("value_scale", torch.float32)):
        place = f"memory.layers.0.{name}"
        write(tmp_path / "a.omnimem", header, tensors | {place: tensors[place].to(changed)})
        with pytest.raises(InputError, match="another type"):
            loaded(tmp_path / "a.omnimem", tiny_adapter)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_thousand_damaged_files_end_in_a_sentence_and_within_their_memory(whole, tiny_adapter, tmp_path):
    from omnimem_cli.base.process import resident_bytes

    try_each(range(1000, 1020), whole, tiny_adapter, tmp_path)
    before = resident_bytes()
    ends = try_each(range(2000), whole, tiny_adapter, tmp_path)
    print(ends)
    assert sum(ends.values()) == 2000
    assert resident_bytes() - before < 64 * 2**20 + 2 * whole.stat().st_size


@pytest.mark.parametrize("change", ["flipped", "cut"])
def test_damage_to_keys_is_found_by_their_checksum(change, whole, tiny_adapter, tmp_path):
    data = bytearray(whole.read_bytes())
    if change == "cut":
        del data[-100:]
    else:
        data[-1000] ^= 1
    (tmp_path / "a.omnimem").write_bytes(data)
    with pytest.raises(InputError) as refused:
        loaded(tmp_path / "a.omnimem", tiny_adapter)
    assert refused.value.code == "memory_damaged" and refused.value.message.count("\n") == 0


def test_keys_that_are_not_finite_are_refused(whole, tiny_adapter, tmp_path):
    header, tensors = read(whole)
    tensors["memory.layers.1.key"][0, 3, 2] = torch.inf
    write(tmp_path / "a.omnimem", header, tensors)
    with pytest.raises(InputError, match="not finite"):
        loaded(tmp_path / "a.omnimem", tiny_adapter)


@pytest.mark.parametrize("spacing", [0.0, -0.5, 2.0, float("nan"), None])
@pytest.mark.parametrize("name", ["old", "new"])
def test_spacings_that_no_watch_leaves_are_refused(name, spacing):
    form = {"anchor": 3, "knee": 60, "old": 0.25, "new": 1.0}
    restore._check_position_map(form, form)
    with pytest.raises(restore.FormError):
        restore._check_position_map(form, form | {name: spacing})
