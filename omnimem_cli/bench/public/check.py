"""What a benchmark would take, before anything is watched: videos at hand, their hours, tokens, and time on a GPU.

Knows clips, probing and the shape of a model; loads no weight and decodes nothing.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.bench.flops import linear_flops
from omnimem_cli.bench.public.dataset import Clip
from omnimem_cli.jobs.model import LazyModel
from omnimem_cli.session.preflight import ModelOutline, outline_of_row, planned, probed

GPU_FLOPS = 300e12
"""Arithmetic per second of one large GPU, assumed: some 0.4 of what products of matrices reach on an H200."""
OVER_LINEAR = 2.0
"""All arithmetic of a watch over that of the language model's linear layers: encoders, attention, scoring on top."""
DECODED_PER_CORE = 5.0
"""Seconds of 1080p video that a core decodes in one: about 10 on two cores were measured."""


@dataclass(frozen=True)
class Found:
    """One clip: ``fault`` is why it cannot be watched, "" where it can; ``tokens`` and ``seconds`` of its watch."""

    clip: Clip
    code: str = ""
    fault: str = ""
    seconds: float = 0.0
    tokens: float = 0.0


def check(clips: Sequence[Clip], policies: int, settings: Settings, report: Report) -> dict:
    """What `omnimem bench run --check` prints. Hours are estimates, for all policies. Raises MissingError."""
    outline = _outline(settings)
    found = []
    for number, clip in enumerate(clips):
        report(Progress("probing", number, len(clips)))
        found.append(_look(clip, settings, outline))
    seconds, tokens = sum(one.seconds for one in found), sum(one.tokens for one in found)
    flops = OVER_LINEAR * linear_flops(outline.adapter.decoder) * tokens
    faults = [one for one in found if one.fault]
    return {
        "videos": len({clip.video for clip in clips}),
        "watches": policies * len(clips),
        "questions": sum(len(clip.items) for clip in clips),
        "present": len(found) - len(faults),
        "missing": [str(one.clip.path) for one in faults if one.code == "missing"],
        "unreadable": {str(one.clip.path): one.fault for one in faults if one.code != "missing"},
        "hours": round(seconds / 3600, 2),
        "tokens": round(tokens),
        "gpu_hours_estimate": round(policies * flops / GPU_FLOPS / 3600, 2),
        "decoding_hours_estimate": round(policies * seconds / DECODED_PER_CORE / (os.cpu_count() or 1) / 3600, 2),
        "model": outline.adapter.name,
    }


def _outline(settings: Settings) -> ModelOutline:
    """The shape of the model, whether its weights are here or not."""
    model = LazyModel(settings)
    model.check_name()
    row = model.to_download()
    return model.outline() if row is None else outline_of_row(row, settings)


def _look(clip: Clip, settings: Settings, outline: ModelOutline) -> Found:
    own = replace(settings, start_s=clip.start_s, end_s=clip.end_s)
    try:
        media = probed(str(clip.path), own)
    except InputError as error:
        return Found(clip, error.code, error.message)
    plan = planned(own, outline.adapter, media)
    seconds = media.within(clip.start_s, clip.end_s).duration_s or 0.0
    return Found(clip, seconds=seconds, tokens=seconds / plan.format.segment_s * plan.tokens_per_segment)
