"""From what was asked to what the memory will hold: chunk, budgets per layer, reserve, bytes.

Knows settings, a plan of the media and the decoder's geometry; loads nothing and decodes nothing.
"""

import bisect
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
from omnimem_cli.models.adapter import Adapter, Plan, WatchOptions
from omnimem_cli.models.catalogue import readable_size
from omnimem_cli.models.device import free_bytes
from omnimem_cli.models.footprint import asking_bytes, tail_bytes, tail_tokens, transient_bytes, widths
from omnimem_cli.settings import Settings

PLAN_SCHEMA = "omnimem/plan/1"
CHUNK_FACTOR = 2  # the paper's 16,384-token chunks at 8,192 entries
AUTO_MOST = 32 * 1024  # entries; more has not been measured by anyone
AUTO_SHARE = 0.9  # of the free bytes: allocators leave gaps
LEAST = 2  # entries: one of each kind


def watch_options(settings: Settings) -> WatchOptions:
    """What the settings ask of the encoding."""
    return WatchOptions(settings.fps, settings.max_pixels, settings.mrope)


@dataclass(frozen=True)
class Fitted:
    """What one input will be watched with. ``entries`` is None for an unbounded policy; ``tail_tokens``:
    of questions and answers that may stand at once; ``needed``: bytes at the worst moment, weights aside."""

    policy: Policy
    budget: Budget
    entries: int | None
    budgets: list[LayerBudget]
    chunk_tokens: int
    reserve_s: float
    geometry: Geometry
    tail_tokens: int
    needed: int
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


def fit(
    settings: Settings, adapter: Adapter, plan: Plan, media: Media, reserve_s: float = 0.0, free: int | None = None
) -> Fitted:
    """``free``: bytes beside the weights; None: what the adapter's device has now.

    Raises UsageError for what cannot be meant, DoesNotFitError for what ``free`` does not hold and for a budget that
    the prefix alone exceeds. No weight is looked at.
    """
    policy = make_policy(settings.policy)
    budget = parse_budget(settings.budget or str(adapter.row.budget))
    room = room_of(settings, adapter, plan, media)
    entries = _entries(budget, room, free_bytes(adapter.device) if free is None else free)
    budgets = _layer_budgets(settings, adapter, plan, room.shape.layers, entries)
    return Fitted(
        policy=policy,
        budget=budget,
        entries=entries if policy.bounded else None,
        budgets=budgets,
        chunk_tokens=room.flight(entries),
        reserve_s=_reserve(reserve_s, budgets, plan),
        geometry=room.shape,
        tail_tokens=tail_tokens(settings.answer_tokens),
        needed=room.needed_here(entries),
        positions=settings.positions,
    )


@dataclass(frozen=True)
class Room:
    """What a watch takes of the device, weights aside. ``layers`` hold a chunk in flight; ``chunk``: tokens asked for;
    ``beside``: tokens of a chunk to bytes that are no entries (encoders, activations, questions)."""

    shape: Geometry
    prefix: int
    plan: Plan
    layers: int
    chunk: int | None
    beside: Callable[[int], int]
    whole: int | None = None  # tokens of all of the input
    bounded: bool = True  # the policy evicts

    def flight(self, entries: int) -> int:
        """Tokens of a chunk: at least one segment, whatever was asked for."""
        return max(self.chunk or CHUNK_FACTOR * entries, self.plan.tokens_per_segment)

    def held(self, entries: int) -> int:
        """Entries of a layer in a watch of this input that may keep ``entries``."""
        if self.whole is None:
            return entries
        return min(entries, self.whole) if self.bounded else self.whole

    def needed(self, entries: int) -> int:
        """Bytes of a watch with so many entries per layer, at the worst moment."""
        return self._bytes(entries, self.flight(entries))

    def needed_here(self, entries: int) -> int:
        """The same for this input, which may be shorter than the memory or a chunk."""
        chunk = self.flight(entries)
        return self._bytes(self.held(entries), chunk if self.whole is None else min(chunk, self.whole))

    def _bytes(self, entries: int, chunk: int) -> int:
        stored = self.shape.layers * (self.prefix + entries) + self.layers * chunk
        return self.shape.entry_bytes * stored + self.beside(chunk)

    def entries(self, budget: Budget, free: int) -> int:
        """Entries per layer that a budget means where ``free`` bytes are free; 0 where it holds none."""
        if budget.auto:
            return self.most(int(free * AUTO_SHARE))
        return budget.entries or _entries_within(budget.bytes, self)

    def most(self, free: int) -> int:
        """The most entries per layer that ``free`` bytes hold, at most AUTO_MOST; 0 where none do."""
        return bisect.bisect_right(range(1, AUTO_MOST + 1), free, key=self.needed)


def room_of(settings: Settings, adapter: Adapter, plan: Plan, media: Media) -> Room:
    """What watching this input takes; no weight is looked at."""
    policy, prefix = make_policy(settings.policy), len(adapter.prefix_ids(plan))
    shape = geometry(adapter.decoder, policy, adapter.dtype, settings.positions)
    flight_layers = shape.layers if policy.decides_late else 1
    beside = _beside(adapter, plan, policy, tail_tokens(settings.answer_tokens))
    return Room(shape, prefix, plan, flight_layers, settings.chunk, beside, _tokens(media, plan), policy.bounded)


def _tokens(media: Media, plan: Plan) -> int | None:
    """Tokens of all of an input; None where its length is unknown."""
    if media.duration_s is None:
        return None
    start_s = min(stream.start_s for stream in (media.video, media.audio) if stream is not None)
    return math.ceil((media.duration_s - start_s) / plan.format.segment_s + 1) * plan.tokens_per_segment


def _beside(adapter: Adapter, plan: Plan, policy: Policy, tail: int) -> Callable[[int], int]:
    """Nothing is asked while a chunk is on its way, so the larger of the two counts."""
    sizes, itemsize = widths(adapter.model.config), adapter.dtype.itemsize
    stride, held = getattr(policy, "stride", 1), tail_bytes(sizes, itemsize, tail)
    asking = asking_bytes(sizes, itemsize, tail)
    return lambda chunk: max(transient_bytes(sizes, plan, chunk, itemsize, stride), asking) + held


def _entries(budget: Budget, room: Room, free: int) -> int:
    """Visual + audio entries per layer. Raises DoesNotFitError naming what would fit."""
    return _checked(room.entries(budget, free), room, int(free * AUTO_SHARE) if budget.auto else free)


def _checked(entries: int, room: Room, free: int) -> int:
    """``entries`` as they are. Raises DoesNotFitError where ``free`` bytes do not hold them."""
    least = max(entries, LEAST)
    needed, held = room.needed_here(least), least if room.bounded else room.held(least)
    if entries and needed <= free:
        return entries
    raise DoesNotFitError(
        f"A memory of {held} entries per layer does not fit: the watch takes {readable_size(needed)} beside the "
        f"weights, and {readable_size(free)} are left for it.",
        _what_fits(room, free),
    )


def _what_fits(room: Room, free: int) -> str:
    most = room.most(free)
    if most >= LEAST and room.bounded:
        return f"--budget {most} fits, or use --budget auto."
    if most >= LEAST:
        return "Use a --policy that evicts, or watch a part with --start and --end."
    return "Use a smaller model, --dtype int8 or int4, or a smaller --max-pixels or --chunk."


def _entries_within(size: int, room: Room) -> int:
    """Entries per layer of which ``size`` bytes hold at every moment. Raises DoesNotFitError naming the least."""
    shape, prefix, layers = room.shape, room.prefix, room.layers
    flight = max(room.chunk or 0, room.plan.tokens_per_segment)
    entries = entries_for_bytes(size, shape, prefix, flight, layers)
    if room.chunk is None and CHUNK_FACTOR * entries > flight:  # a larger chunk is the tool's own wish: it shares
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
