"""From what was asked to what the memory will hold: chunk, budgets per layer, reserve, bytes.

Knows settings, a plan of the media and the decoder's geometry; loads nothing and decodes nothing.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from omnimem_cli.errors import DoesNotFitError, UsageError
from omnimem_cli.media.segment import Media
from omnimem_cli.memory.budget import (
    Budget,
    Geometry,
    LayerBudget,
    entries_for_bytes,
    even_budgets,
    fit_plan,
    parse_budget,
)
from omnimem_cli.memory.cache import Memory, geometry
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.policies.policy import Policy
from omnimem_cli.memory.positions import make_clock
from omnimem_cli.models.adapter import Adapter, Plan
from omnimem_cli.settings import Settings

PLAN_SCHEMA = "omnimem/plan/1"
CHUNK_FACTOR = 2  # the paper's 16,384-token chunks at 8,192 entries
AUTO_MOST = 32 * 1024  # entries; more has not been measured by anyone
AUTO_SHARE = 0.6  # of the free bytes: encoders, activations and answers need the rest
LEAST = 2  # entries: one of each kind


@dataclass(frozen=True)
class Fitted:
    """What one input will be watched with. ``entries`` is None for an unbounded policy."""

    policy: Policy
    budget: Budget
    entries: int | None
    budgets: list[LayerBudget]
    chunk_tokens: int
    reserve_s: float
    geometry: Geometry
    positions: str = "keep"

    def memory(self, adapter: Adapter) -> Memory:
        """An empty memory of this shape."""
        return Memory(
            adapter.decoder,
            self.policy,
            self.budgets,
            dtype=adapter.dtype,
            device=adapter.device,
            reserve_s=self.reserve_s,
            clock=make_clock(self.positions, adapter.decoder, adapter.row.trained_positions),
            prompts=adapter.question,
        )


def fit(settings: Settings, adapter: Adapter, plan: Plan, media: Media, reserve_s: float = 0.0) -> Fitted:
    """Raises UsageError for what cannot be meant, DoesNotFitError for a budget that the prefix alone exceeds."""
    policy = make_policy(settings.policy)
    budget = parse_budget(settings.budget or str(adapter.row.budget))
    shape = geometry(adapter.decoder, policy, adapter.dtype, settings.positions)
    prefix = len(adapter.open(media, plan))
    flight_layers = shape.layers if policy.decides_late else 1
    entries = _entries(budget, shape, prefix, plan, flight_layers, free_bytes(adapter.device), settings.chunk)
    budgets = _layer_budgets(settings, adapter, plan, shape.layers, entries)
    return Fitted(
        policy=policy,
        budget=budget,
        entries=entries if policy.bounded else None,
        budgets=budgets,
        chunk_tokens=settings.chunk or max(CHUNK_FACTOR * entries, plan.tokens_per_segment),
        reserve_s=_reserve(reserve_s, budgets, plan),
        geometry=shape,
        positions=settings.positions,
    )


def _entries(
    budget: Budget, shape: Geometry, prefix: int, plan: Plan, layers: int, free: int, chunk: int | None
) -> int:
    """Visual + audio entries per layer; ``layers`` hold a chunk in flight, ``free`` bytes are left on the device."""
    if budget.auto:
        return min(_entries_within(int(free * AUTO_SHARE), shape, prefix, plan, layers, chunk), AUTO_MOST)
    entries = budget.entries or _entries_within(budget.bytes, shape, prefix, plan, layers, chunk)
    flight = chunk or max(CHUNK_FACTOR * entries, plan.tokens_per_segment)
    needed = shape.entry_bytes * (shape.layers * (prefix + entries) + layers * flight)
    if needed > free:
        most = _entries_within(free, shape, prefix, plan, layers, chunk)
        raise DoesNotFitError(
            f"A memory of {entries} entries takes {needed / 2**30:.1f} GiB; {free / 2**30:.1f} GiB are free.",
            f"--budget {min(most, AUTO_MOST)} fits, or use --budget auto.",
        )
    return entries


def _entries_within(size: int, shape: Geometry, prefix: int, plan: Plan, layers: int, chunk: int | None) -> int:
    """Entries per layer of which ``size`` bytes hold at every moment. Raises DoesNotFitError naming the least."""
    flight = chunk or plan.tokens_per_segment
    entries = entries_for_bytes(size, shape, prefix, flight, layers)
    if chunk is None and CHUNK_FACTOR * entries > flight:  # a larger chunk is the tool's own wish: it shares the bytes
        held = size // shape.entry_bytes - shape.layers * prefix
        entries = max(held // (shape.layers + CHUNK_FACTOR * layers), flight // CHUNK_FACTOR)
    if entries < LEAST:
        least = shape.entry_bytes * (shape.layers * (prefix + LEAST) + layers * flight)
        raise DoesNotFitError(
            f"A budget of {size} bytes is smaller than the prompt and one chunk in flight.",
            f"The least that works here is --budget {-(-least // 1024)}KiB.",
            code="budget_too_small",
        )
    return entries


def free_bytes(device: torch.device) -> int:
    """Memory of the device that nothing uses yet."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def _layer_budgets(settings: Settings, adapter: Adapter, plan: Plan, layers: int, entries: int) -> list[LayerBudget]:
    has_video, has_audio = plan.visual_tokens_per_segment > 0, plan.audio_tokens_per_segment > 0
    if settings.plan is not None:
        return fit_plan(read_plan(settings.plan, layers, adapter.name), entries, has_video, has_audio)
    if has_video and has_audio and entries < LEAST:
        raise DoesNotFitError("A budget of 1 entry cannot hold picture and sound.", "Use --budget 2 or more.")
    ratio = settings.av_ratio if settings.av_ratio is not None else adapter.row.av_ratio
    return even_budgets(layers, entries, ratio, has_video, has_audio)


def read_plan(path: str, layers: int, model: str) -> list[tuple[int, int]]:
    """(audio, visual) per layer from a plan file. Raises UsageError when it is not a plan for this model."""
    try:
        content = json.loads(Path(path).read_text("utf-8"))
        made_for, pairs = content["model"]["name"], content["budgets"]
        plan = [(int(audio), int(visual)) for audio, visual in pairs]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a plan: {error}.", "`omnimem calibrate` writes one.") from error
    if made_for != model or len(plan) != layers:
        raise UsageError(
            f"{path} is a plan for {made_for} with {len(plan)} layers; this is {model} with {layers}.",
            "Calibrate with the model that you use.",
        )
    if any(min(pair) < 0 or sum(pair) < 1 for pair in plan):
        raise UsageError(f"{path} gives a layer no entries.", "`omnimem calibrate` writes one that does.")
    return plan


def _reserve(wanted: float, budgets: list[LayerBudget], plan: Plan) -> float:
    """Seconds that are never evicted: at most half of the audio budget's worth, at least one segment."""
    rate = plan.audio_tokens_per_segment / plan.format.segment_s
    if not wanted or not rate:
        return 0.0
    half = min(b.audio for b in budgets) / 2 / rate
    return max(min(wanted, half), plan.format.segment_s)
