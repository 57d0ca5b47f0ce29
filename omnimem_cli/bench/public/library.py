"""The benchmarks by name, and the reading of one. Knows datasets; watches nothing."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from omnimem_cli.base.errors import InputError, UsageError
from omnimem_cli.bench.public.dataset import Clip, Dataset
from omnimem_cli.bench.public.jointavbench import JOINTAVBENCH
from omnimem_cli.bench.public.lvbench import LVBENCH
from omnimem_cli.bench.public.lvomnibench import LVOMNIBENCH
from omnimem_cli.bench.public.omnivideobench import OMNIVIDEOBENCH
from omnimem_cli.bench.public.video_holmes import VIDEO_HOLMES
from omnimem_cli.bench.public.videomme import VIDEOMME
from omnimem_cli.bench.public.worldsense import WORLDSENSE


def _of_length(length: str, folder: Path, fps: float | None) -> list[Clip]:
    return [clip for clip in VIDEOMME.read(folder, fps) if clip.length == length]


PARTS = tuple(
    replace(VIDEOMME, name=f"videomme-{length}", read=partial(_of_length, length))
    for length in ("short", "medium", "long")
)
DATASETS: dict[str, Dataset] = {
    one.name: one
    for one in (VIDEOMME, *PARTS, LVBENCH, LVOMNIBENCH, WORLDSENSE, VIDEO_HOLMES, OMNIVIDEOBENCH, JOINTAVBENCH)
}


def dataset(name: str) -> Dataset:
    """The benchmark of this name. Raises UsageError."""
    if name not in DATASETS:
        raise UsageError(f"{name} is no benchmark.", f"Choose from {', '.join(DATASETS)}.")
    return DATASETS[name]


def clips_of(one: Dataset, folder: Path, fps: float | None, most: int | None = None) -> Sequence[Clip]:
    """The clips of a benchmark whose files are in ``folder``, at ``most`` so many. Raises InputError, MissingError."""
    try:
        clips = one.read(folder, fps)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(
            f"{folder} is not in the layout of {one.name}: {type(error).__name__} {error}.",
            f"Get it from {one.source}.",
        ) from error
    return clips[:most]
