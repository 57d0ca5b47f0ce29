"""A model's folder: its config, its preprocessing settings, and whether its weights are all there.

Knows JSON and safetensors headers; knows no torch and runs no code of a checkpoint. Every error names the
folder and the next step (exit code 5).
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omnimem_cli.base.errors import MissingError
from omnimem_cli.models import hub
from omnimem_cli.models.catalogue import Row, nearest_by_size
from omnimem_cli.models.hub import LORA_CONFIG

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"


LORA_WEIGHTS = "adapter_model.safetensors"


VOICE = ("talker.", "token2wav.", "code2wav.")
UNUSED = re.compile(r"\.inv_freq$|(^|\.)ttt_|\.embeddings\.position_ids$")
"""Stored tensors that no released model reads: rotary frequencies and position numbers, which older saves kept and the
config implies, and parts for training at test time, which the release switches off."""


NESTED = "vs2_checkpoint"  # where the OmniMem repository keeps its model


HASHED_WHOLE = 64 * 2**20  # bytes of weights up to which a folder's revision is a digest of its content


@dataclass(frozen=True)
class Checkpoint:
    """A folder in the library's layout; ``config`` is the content of config.json.

    ``lora``: the folder of a LoRA release to merge into it.
    """

    folder: Path
    config: dict
    lora: Path | None = None

    @property
    def model_type(self) -> str:
        """The architecture that config.json names."""
        return str(self.config.get("model_type", ""))

    @property
    def commit(self) -> str | None:
        """The hub's commit of a downloaded folder, None of any other."""
        return self.folder.name if self.folder.parent.name == "snapshots" else None

    @property
    def generation(self) -> dict:
        """generation_config.json; empty where there is none."""
        return _read(self.folder / "generation_config.json")

    @property
    def repetition_penalty(self) -> float:
        """What generation_config.json asks for; 1 where it is silent."""
        penalty = self.generation.get("repetition_penalty") or 1.0
        if not isinstance(penalty, int | float):
            raise broken_folder(self.folder, "holds a generation_config.json whose repetition_penalty is no number")
        return float(penalty)

    @property
    def listed_ends(self) -> list[int]:
        """Ids that generation_config.json lists as ends; empty where it is silent."""
        ends = self.generation.get("eos_token_id")
        listed = ends if isinstance(ends, list) else [] if ends is None else [ends]
        if not all(isinstance(end, int) for end in listed):
            raise broken_folder(self.folder, "holds a generation_config.json whose eos_token_id is no id")
        return listed

    def settings(self, part: str) -> dict:
        """``part`` ("image_processor", "video_processor", "feature_extractor") of the preprocessing settings.

        processor_config.json nests them; preprocessor_config.json holds picture and sound side by side.
        """
        nested = _read(self.folder / "processor_config.json").get(part)
        if nested is not None and not isinstance(nested, dict):
            raise broken_folder(self.folder, f"holds a processor_config.json whose {part} is not a JSON object")
        if nested is not None:
            return nested
        flat = _read(self.folder / "preprocessor_config.json")
        return {} if part == "video_processor" else flat

    def check_weights(self) -> None:
        """Raises MissingError where a weight file is absent or shorter than its own header says."""
        files = self.weight_files()
        if not files:
            raise broken_folder(self.folder, "holds no safetensors weights")
        for name in files:
            _check_file(self.folder / name, "which its index names")
        if self.lora is not None:
            _check_file(self.lora / LORA_WEIGHTS, "the adapter itself")

    @property
    def values(self) -> int:
        """How many numbers a loaded model holds: all weights but an Omni model's own voice and ``UNUSED``."""
        headers = [_header(self.folder / name) or (0, {}) for name in self.weight_files()]
        tensors = [item for _, header in headers for item in header.items()]
        return sum(
            math.prod(tensor["shape"])
            for name, tensor in tensors
            if not name.startswith(VOICE) and not UNUSED.search(name)
        )

    @property
    def geometry(self) -> dict[str, int | None]:
        """``layers``, ``kv_heads``, ``head_dim`` of the language model; None where the config is silent."""
        text = _part(_part(self.config, "thinker_config"), "text_config")
        told = {name: value for name, value in text.items() if isinstance(value, int)}
        heads, width = told.get("num_attention_heads"), told.get("hidden_size")
        dim = told.get("head_dim") or (width // heads if heads and width else None)
        return {"layers": told.get("num_hidden_layers"), "kv_heads": told.get("num_key_value_heads"), "head_dim": dim}

    def weight_files(self) -> list[str]:
        """Names of the safetensors files that hold the weights; empty where there are none."""
        if (self.folder / INDEX).exists():
            shards = _read(self.folder / INDEX).get("weight_map")
            if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
                raise broken_folder(self.folder, f"holds a {INDEX} that names no files")
            return sorted(set(shards.values()))
        return [SINGLE] if (self.folder / SINGLE).exists() else []


def read_checkpoint(folder: Path) -> Checkpoint:
    """The model in a folder; of a LoRA release, the base it was trained on. Raises MissingError where there is none."""
    if (folder / NESTED).is_dir():
        return read_checkpoint(folder / NESTED)
    if (folder / hub.LORA_CONFIG).exists():
        return replace(read_checkpoint(_base(folder)), lora=folder)
    if not (folder / "config.json").exists():
        raise broken_folder(folder, "holds no config.json")
    return Checkpoint(folder, _read(folder / "config.json"))


def read_whole(folder: Path) -> Checkpoint:
    """`read_checkpoint` of a folder whose weight files are all there. Raises MissingError."""
    checkpoint = read_checkpoint(folder)
    checkpoint.check_weights()
    return checkpoint


def downloaded(row: Row) -> Path | None:
    """The folder of a row of the hub whose weights are all on this machine and of its size, else None."""
    folder = hub.cached(row.hub_id or "")
    if folder is None:
        return None
    try:
        return folder if nearest_by_size(row, read_whole(folder).values) is row else None
    except MissingError:
        return None


def is_installed(row: Row) -> bool:
    """Whether a row's weights are whole on this machine; the built-in ones always are. Without torch."""
    return row.hub_id is None or downloaded(row) is not None


def revision_of(folder: Path) -> str:
    """The hub's commit for a download; else a digest of the weights, or of their sizes and times if large."""
    if folder.parent.name == "snapshots":
        return folder.name
    files = sorted(p for p in folder.iterdir() if p.suffix in (".json", ".safetensors") and p.is_file())
    whole = sum(p.stat().st_size for p in files) <= HASHED_WHOLE
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(file.name.encode())
        digest.update(file.read_bytes() if whole else f"{status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def config_digest(folder: Path) -> str | None:
    """SHA-256 of config.json; None where there is none (a LoRA release has its base's)."""
    file = folder / "config.json"
    return "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def _base(lora: Path) -> Path:
    name = lora_base(lora)
    folder = lora / name if (lora / name).is_dir() else hub.cached(name)
    if folder is None:
        raise broken_folder(lora, f"is an adapter of {name}, which is not on this machine")
    if (folder / hub.LORA_CONFIG).exists():
        raise broken_folder(lora, f"is an adapter of {name}, which is an adapter itself")
    return folder


def _part(config: dict, name: str) -> dict:
    """A config inside a config; the whole where there is none of that name."""
    part = config.get(name)
    return part if isinstance(part, dict) else config


def broken_folder(folder: Path, why: str) -> MissingError:
    """The error of a folder that cannot be loaded."""
    hint = "Download it again with `omnimem models pull NAME`, or name another folder with -m."
    return MissingError(f"The model folder {folder} {why}.", hint, code="model")


def _read(path: Path) -> dict:
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise broken_folder(path.parent, f"holds a {path.name} that is not JSON") from error
    except OSError as error:
        raise broken_folder(path.parent, f"holds a {path.name} that cannot be read ({error.strerror})") from error
    if not isinstance(values, dict):
        raise broken_folder(path.parent, f"holds a {path.name} that is not a JSON object")
    return values


def _check_file(file: Path, what: str) -> None:
    if not file.is_file():
        raise broken_folder(file.parent, f"lacks {file.name}, {what}")
    if not _is_whole(file):
        raise broken_folder(file.parent, f"holds an incomplete {file.name}")


def _is_whole(file: Path) -> bool:
    header = _header(file)
    if header is None:
        return False
    begin, tensors = header
    return file.stat().st_size >= begin + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)


def _header(file: Path) -> tuple[int, dict[str, dict]] | None:
    """Where the data begins, and the tensors by name; None where the file is shorter than its header or has none.

    A safetensors file is 8 bytes of header length, the header, and the data that it lays out.
    """
    size = file.stat().st_size
    with file.open("rb") as data:
        length = int.from_bytes(data.read(8), "little")
        if size < 8 or length > size - 8:
            return None
        try:
            header = json.loads(data.read(length))
        except ValueError:
            return None
    tensors = {k: v for k, v in header.items() if k != "__metadata__"} if isinstance(header, dict) else {"": None}
    return (8 + length, tensors) if all(map(_is_tensor, tensors.values())) else None


def _is_tensor(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    lists = isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2
    return lists and all(isinstance(number, int) for number in (*shape, *offsets))


def lora_base(folder: Path) -> str:
    """Hub id, or path relative to ``folder``, of the model that a LoRA release was trained on. Raises MissingError."""

    try:
        base = json.loads((folder / LORA_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    if not isinstance(base, str):
        raise broken_folder(folder, f"holds an {LORA_CONFIG} that names no base model")
    return base
