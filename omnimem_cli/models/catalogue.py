"""The models that the tool knows by name, with what a person needs to choose one. Pure Python: no torch.

Sizes are rounded; rates and bytes are for the row's own frame rate and pixel limit. The order is the order in
which ``auto`` looks for an installed model.
"""

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.sizes import format_bytes

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
QUANTIZED_BYTES = {"int8": 1, "int4": 0.5 + 4 / 64}
"""Bytes of a parameter that is held in fewer bits; of int4 with one float32 scale for 64 of them (nf4)."""

GB = 1_000_000_000


@dataclass(frozen=True)
class Row:
    """One model.

    ``params_b``: billions of parameters that are loaded; ``quantizable``: the share of them that int8 and int4 hold in
    fewer bits, the language model's linear layers (the rest stays in bfloat16); ``download_gb``: 10^9 bytes of the
    repository's weights; ``max_pixels``: default area of a frame; ``budget``: default retained visual + audio entries,
    mean over layers; ``av_ratio``: visual : audio prior r; ``visual_rate``, ``audio_rate``: tokens per second of
    640x360 video at ``fps``, of nano those of its world's square video (of 640x360 it is half as many);
    ``layers``, ``kv_heads``, ``head_dim``: of the language model;
    ``trained_positions``: positions seen in training; None where unknown; ``window_s``: the longest stretch of
    speech that it transcribes at once; ``world``: the comment that marks the only files it understands,
    None for a model of the world at large; ``look_detail``: how many times the frames, and the pixels of each, of a
    watch a second look takes; ``cpu_dtype``: the type of its weights on CPUs unless one is asked for, auto: bfloat16
    where the processor is faster with it.
    """

    name: str
    hub_id: str | None
    family: str
    licence: str
    params_b: float
    quantizable: float
    download_gb: float
    layers: int | None
    kv_heads: int | None
    head_dim: int | None
    visual_rate: float
    audio_rate: float
    max_pixels: int
    fps: float = 1.0
    budget: int = 8192
    av_ratio: float = 5.0
    trained_positions: int | None = None
    window_s: float = 30.0
    world: str | None = None
    look_detail: float = 2.0
    cpu_dtype: str = "auto"

    @property
    def download(self) -> str:
        """The size of the repository's weights, for people."""
        return format_bytes(self.download_gb * GB)

    def weights_gb(self, dtype: str) -> float:
        """10^9 bytes of weights in memory."""
        return self.params_b * self.parameter_bytes(dtype)

    def parameter_bytes(self, dtype: str) -> float:
        """Bytes of a parameter, mean over all of them."""
        if dtype in DTYPE_BYTES:
            return DTYPE_BYTES[dtype]
        return self.quantizable * QUANTIZED_BYTES[dtype] + (1 - self.quantizable) * DTYPE_BYTES["bfloat16"]

    def entry_bytes(self, dtype: str = "bfloat16") -> int | None:
        """Bytes of one entry's keys and values in all layers, without side data; None where unknown.

        ``dtype`` is that of the weights: what is held in fewer bits works in bfloat16.
        """
        if self.layers is None or self.kv_heads is None or self.head_dim is None:
            return None
        return 2 * self.layers * self.kv_heads * self.head_dim * DTYPE_BYTES.get(dtype, 2)


_OMNI_PIXELS = 299 * 28 * 28  # 640x360 rounded to 28-pixel cells: 23 x 13
_QWEN25_POSITIONS, _QWEN3_POSITIONS = 32_768, 65_536

ROWS = (
    Row(
        name="qwen2.5-omni-7b",
        hub_id="Qwen/Qwen2.5-Omni-7B",
        family="qwen2.5-omni",
        licence="Apache-2.0",
        params_b=8.93,
        quantizable=0.73,
        download_gb=22.4,
        layers=28,
        kv_heads=4,
        head_dim=128,
        visual_rate=149.5,
        audio_rate=25,
        max_pixels=_OMNI_PIXELS,
        trained_positions=_QWEN25_POSITIONS,
    ),
    Row(
        name="qwen2.5-omni-3b",
        hub_id="Qwen/Qwen2.5-Omni-3B",
        family="qwen2.5-omni",
        licence="Qwen Research License",
        params_b=4.70,
        quantizable=0.59,
        download_gb=11.9,
        layers=36,
        kv_heads=2,
        head_dim=128,
        visual_rate=149.5,
        audio_rate=25,
        max_pixels=_OMNI_PIXELS,
        trained_positions=_QWEN25_POSITIONS,
    ),
    Row(
        name="qwen3-omni-30b-a3b",
        hub_id="Qwen/Qwen3-Omni-30B-A3B-Instruct",
        family="qwen3-omni",
        licence="Apache-2.0",
        params_b=31.7,
        quantizable=0.03,
        download_gb=70.5,
        layers=48,
        kv_heads=4,
        head_dim=128,
        visual_rate=220,
        audio_rate=13,
        max_pixels=220 * 32 * 32,
        fps=2.0,  # at which its published numbers were measured
        trained_positions=_QWEN3_POSITIONS,
    ),
    Row(
        name="video-salmonn2-plus-8b",
        hub_id="BrianatCambridge/OmniMem",
        family="salmonn-qwen3-vl",
        licence="see the model card",
        params_b=9.70,
        quantizable=0.72,
        download_gb=19.4,
        layers=36,
        kv_heads=8,
        head_dim=128,
        visual_rate=76.5,
        audio_rate=2,
        max_pixels=176_400,
    ),
    Row(
        name="video-salmonn2-plus-4b",
        hub_id="BrianatCambridge/OmniMem",
        family="salmonn-qwen3-vl",
        licence="see the model card",
        params_b=5.36,
        quantizable=0.68,
        download_gb=11.5,
        layers=36,
        kv_heads=8,
        head_dim=128,
        visual_rate=76.5,
        audio_rate=2,
        max_pixels=176_400,
    ),
    Row(
        name="video-salmonn2-plus-7b",
        hub_id="tsinghua-ee/video-SALMONN2_plus_7B_full",
        family="salmonn-qwen2.5-vl",
        licence="Apache-2.0",
        params_b=9.22,
        quantizable=0.71,
        download_gb=18.5,
        layers=28,
        kv_heads=4,
        head_dim=128,
        visual_rate=33,
        audio_rate=2,
        max_pixels=61_250,
    ),
    Row(
        name="video-salmonn2-plus-3b",
        hub_id="tsinghua-ee/video-SALMONN2_plus_3B_full",
        family="salmonn-qwen2.5-vl",
        licence="see the model card",
        params_b=4.68,
        quantizable=0.59,
        download_gb=10.0,
        layers=36,
        kv_heads=2,
        head_dim=128,
        visual_rate=33,
        audio_rate=2,
        max_pixels=61_250,
    ),
    Row(
        name="video-salmonn2-plus-72b",
        hub_id="tsinghua-ee/video-SALMONN-2_plus_72B",
        family="salmonn-qwen2.5-vl",
        licence="see the model card",
        params_b=74.4,
        quantizable=0.94,
        download_gb=149,
        layers=80,
        kv_heads=8,
        head_dim=128,
        visual_rate=33,
        audio_rate=2,
        max_pixels=61_250,
    ),
    Row(
        name="nano",
        hub_id=None,
        family="qwen2.5-omni",
        licence="Apache-2.0",
        params_b=0.004,
        quantizable=0.61,
        download_gb=0.0,
        layers=6,
        kv_heads=4,
        head_dim=64,
        visual_rate=4,
        audio_rate=10,
        max_pixels=56 * 56,
        fps=2.0,
        budget=512,
        av_ratio=0.4,  # its own tokens per second of picture and of sound
        trained_positions=1_550,  # 150 s of video and a question
        window_s=15.0,
        world="omnimem world",
        look_detail=1.0,
        cpu_dtype="float32",  # of it are the demo and most figures, which should not depend on the processor
    ),
)


def row(name: str) -> Row:
    """The row of a name or hub id. Raises UsageError naming the nearest."""
    wanted = name.lower()
    for candidate in ROWS:
        if wanted in (candidate.name, (candidate.hub_id or "").lower()):
            return candidate
    names = [r.name for r in ROWS]
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise UsageError(f"There is no model named {name!r}.", hint + "`omnimem models list` shows all names.")


def is_built_in(name: str) -> bool:
    """Whether a name, in any case, is that of a model that comes with the tool."""
    return any(candidate.name == name.lower() and candidate.hub_id is None for candidate in ROWS)


def nearest_by_size(wanted: Row, parameters: int) -> Row:
    """Of the rows that share a repository with ``wanted``, the one that comes nearest to so many parameters."""
    sharing = [candidate for candidate in ROWS if candidate.hub_id == wanted.hub_id]
    return min(sharing, key=lambda candidate: abs(candidate.params_b * 1e9 - parameters), default=wanted)


def shipped_plan(name: str) -> Path | None:
    """The plan that comes with the model of that name, None where there is none."""
    file = Path(__file__).parent / name / "plan.json"
    return file if name in [r.name for r in ROWS] and file.exists() else None


def row_for_unlisted(name: str, family: str, hub_id: str | None = None) -> Row:
    """A row for a folder or hub id that the catalogue does not know: its family's rates, sizes unknown."""
    relative = next(r for r in ROWS if r.family == family)
    unknown = {"licence": "unknown", "params_b": 0.0, "download_gb": 0.0}
    geometry = {"layers": None, "kv_heads": None, "head_dim": None}
    return replace(relative, name=name, hub_id=hub_id, **unknown, **geometry)
