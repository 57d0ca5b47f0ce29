"""What a watch takes of the device, weights aside: entries retained, a chunk in flight, transient tensors.

Knows budgets, geometry and plans; loads nothing and decodes nothing.
"""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.choices import STILLS
from omnimem_cli.base.errors import DoesNotFitError
from omnimem_cli.base.settings import Settings
from omnimem_cli.media.decode import segments_ahead
from omnimem_cli.media.gpu_decoder import decoder_bytes
from omnimem_cli.media.segment import Media
from omnimem_cli.memory.attention_by_time import LEAST_STEP_S, MOST_MOMENTS, Moments
from omnimem_cli.memory.budget import Geometry
from omnimem_cli.memory.memory import geometry
from omnimem_cli.memory.policies.policy import Policy
from omnimem_cli.memory.store import WHOLE_BITS
from omnimem_cli.models.adapter import Adapter, Plan
from omnimem_cli.models.device import find_device
from omnimem_cli.session.look import look_plan
from omnimem_cli.session.transients import (
    ahead_bytes,
    asking_bytes,
    copied_bytes,
    focus_bytes,
    focus_tokens,
    observed_bytes,
    question_bytes_in_flight,
    question_tokens_in_flight,
    requantized_bytes,
    standing_bytes,
    transient_bytes,
    widths,
)

CHUNK_FACTOR = 2  # the paper's 16,384-token chunks at 8,192 entries
AUTO_MOST = 32 * 1024  # entries; more has not been measured by anyone
AUTO_SHARE = 0.9  # of the free bytes: allocators leave gaps
HELD_MEMORIES = 4  # times the memory, that windows take which wait to be asked about together
WAITING_CHUNKS = 2  # times a chunk, that windows take which wait whole
PADDED = 2  # times its own entries, that a window takes at most among longer ones: none but a last one is below half
MIN_ENTRIES = 2  # one of each kind
ONE_CORE = 50_000_000  # values of the largest model whose steps are begun for longer than a CPU computes them


@dataclass(frozen=True)
class WatchFootprint:
    """What a watch takes of the device, weights aside.

    ``prefix`` and ``text``: tokens that every layer keeps in addition to its entries; ``layers`` hold a chunk in
    flight; ``chunk``: tokens of --chunk; ``window``: of the prefix and the longest window that is read
    whole, 0 where none is; ``look``: of a segment of a second look, 0 without one; ``transient_bytes``: tokens of a
    chunk to bytes that are no entries (encoders, activations, questions); ``reading_bytes``: kept entries of a layer
    and tokens of a chunk to those that quantizing and reading what is held take; ``constant_bytes``: of the GPU's
    decoder and the picture that stands, however much is kept.
    """

    shape: Geometry
    prefix: int
    text: int
    plan: Plan
    layers: int
    chunk: int | None
    transient_bytes: Callable[[int], int]
    reading_bytes: Callable[[int, int], int]
    ahead_bytes: Callable[[int], int]
    constant_bytes: int = 0
    window: int = 0
    look: int = 0
    whole: int | None = None  # tokens of all of the input
    bounded: bool = True  # the policy evicts

    @property
    def fixed(self) -> int:
        """Tokens that a layer may keep besides its entries: the prefix, and the text among the media."""
        return self.prefix + self.text

    @property
    def chunk_copies(self) -> int:
        """Layers that hold a chunk whole, those that hold it for windows once more.

        After the watch, all layers hold as many tokens of a second look.
        """
        watch = self.layers + (self.shape.layers if self.window else 0)
        return max(watch, self.shape.layers if self.look else 0)

    def chunk_tokens(self, entries: int) -> int:
        """Tokens of a chunk: at least one segment, however small --chunk is."""
        return max(self.chunk or CHUNK_FACTOR * entries, self.plan.tokens_per_segment)

    def resident_entries(self, entries: int) -> int:
        """Entries of a layer in a watch of this input that may keep ``entries``."""
        if self.whole is None:
            return entries
        return min(entries, self.whole) if self.bounded else self.whole

    def needed(self, entries: int) -> int:
        """Bytes of a watch with so many entries per layer, at the worst moment."""
        return self._bytes(entries, self.chunk_tokens(entries))

    def peak_bytes_of_input(self, entries: int) -> int:
        """The same for this input, which may be shorter than the memory or a chunk."""
        chunk = self.chunk_tokens(entries)
        return self._bytes(self.resident_entries(entries), chunk if self.whole is None else min(chunk, self.whole))

    def ahead_bytes_of_input(self, entries: int) -> int:
        """Bytes that it takes besides to encode a chunk of this input beside the one before it; 0 where it has one."""
        chunk = self.chunk_tokens(entries)
        return self.ahead_bytes(chunk) if self.whole is None or self.whole > chunk else 0

    def held_bytes(self, budget: Budget, entries: int, left: int) -> int:
        """Bytes of the windows that may wait for a chunk more, of those ``left`` besides the watch.

        When it has come, the windows that end in it hold at most what the memory holds. None wait where the budget is
        of bytes, which hold the memory alone, or where nothing is evicted.
        """
        if budget.bytes is not None or not self.bounded:
            return 0
        kept = self._kept_bytes(self.resident_entries(entries))
        return max(0, min(left, HELD_MEMORIES * kept) - kept)

    def waiting_bytes(self, budget: Budget, entries: int, left: int) -> int:
        """Bytes that may be held whole at a chunk's end while windows wait for another one.

        As ``held_bytes``, of what those windows leave. While they are asked about there are padded copies as well.
        """
        if budget.bytes is not None or not self.bounded:
            return 0
        chunk = self.shape.layers * self.shape.whole_entry_bytes * self.chunk_tokens(entries)
        left -= HELD_MEMORIES * self._kept_bytes(self.resident_entries(entries))
        return max(0, min(left // (1 + PADDED), WAITING_CHUNKS * chunk))

    def _kept_bytes(self, entries: int) -> int:
        return self.shape.layers * self.shape.entry_bytes * (self.fixed + entries)

    def _bytes(self, entries: int, chunk: int) -> int:
        kept, chunk = self.fixed + entries, max(chunk, self.look)
        whole = self.layers * self.plan.late_tokens + self.chunk_copies * chunk + self.shape.layers * self.window
        stored = self._kept_bytes(entries) + self.shape.whole_entry_bytes * whole
        return stored + self.transient_bytes(chunk) + self.reading_bytes(kept, chunk) + self.constant_bytes

    def entries(self, budget: Budget, free: int) -> int:
        """Entries per layer that a budget means where ``free`` bytes are free; 0 where it holds none."""
        if budget.auto:
            return self.most_entries(int(free * AUTO_SHARE))
        return budget.entries or _entries_within(budget.bytes, self)

    def most_entries(self, free: int) -> int:
        """The most entries per layer that ``free`` bytes hold, at most AUTO_MOST; 0 where none do."""
        return bisect.bisect_right(range(1, AUTO_MOST + 1), free, key=self.needed)


def footprint_of(
    settings: Settings, policy: Policy, adapter: Adapter, plan: Plan, media: Media, recent_s: float = 0.0
) -> WatchFootprint:
    """What watching this input takes; no weight is read. ``recent_s``: seconds that are held whole."""
    prefix = len(adapter.prefix_ids(plan))
    segments = math.ceil(recent_s / plan.format.segment_s + 1)
    window = prefix + segments * plan.tokens_per_segment if recent_s else 0
    shape = geometry(adapter.decoder, policy, adapter.dtype, settings.positions, settings.kv_bits)
    look = look_plan(media, settings, adapter) if settings.look_again else None
    return WatchFootprint(
        shape,
        prefix=prefix,
        text=kept_text_tokens(policy, plan),
        plan=plan,
        layers=shape.layers if policy.per_chunk else 1,
        chunk=settings.chunk,
        transient_bytes=_transient_bytes_of(
            settings, policy, adapter, [plan, *([look] if look else [])], media, shape, window
        ),
        reading_bytes=_reading_bytes_of(settings, adapter),
        ahead_bytes=partial(_ahead_bytes, settings, adapter, plan),
        constant_bytes=_constant_bytes(settings, adapter, plan, media),
        window=window,
        look=look.tokens_per_segment if look else 0,
        whole=_tokens(media, plan),
        bounded=policy.bounded,
    )


def kept_text_tokens(policy: Policy, plan: Plan) -> int:
    """The most media text of a layer; of a stream of unknown length that keeps all of it, what is kept elsewhere."""
    if policy.keeps_all_text and plan.whole_text_tokens is not None:
        return plan.whole_text_tokens
    return plan.text_tokens


def _tokens(media: Media, plan: Plan) -> int | None:
    """Tokens of all of an input; None where its length is unknown."""
    if media.duration_s is None:
        return None
    start_s = min(stream.start_s for stream in (media.video, media.audio) if stream is not None)
    return math.ceil((media.duration_s - start_s) / plan.format.segment_s + 1) * plan.tokens_per_segment


def _transient_bytes_of(
    settings: Settings,
    policy: Policy,
    adapter: Adapter,
    plans: Sequence[Plan],
    media: Media,
    shape: Geometry,
    window: int,
) -> Callable[[int], int]:
    """Tokens of a chunk to bytes. No question is asked during a chunk, so the larger of the two counts.

    While windows are asked about there are padded copies of ``window`` and chunk in all layers. ``plans``: of the
    watch, and of what follows it.
    """
    sizes, itemsize = widths(adapter.model.config), adapter.dtype.itemsize
    stride, tokens = getattr(policy, "stride", 1), question_tokens_in_flight(settings.answer_tokens)
    asking, held = asking_bytes(sizes, itemsize, tokens), question_bytes_in_flight(sizes, itemsize, tokens)
    observed = observed_bytes(sizes, _moments(media), itemsize, tokens)

    def asked(chunk: int) -> int:
        windows = PADDED * shape.layers * shape.whole_kv_bytes * (chunk + window) if window else 0
        return asking + max(windows, observed)  # evidence of windows is not observed

    focus = focus_tokens(settings.focus)

    def encoded(chunk: int) -> int:
        watching = max(transient_bytes(sizes, plan, chunk + focus, itemsize, stride) for plan in plans)
        return watching + focus_bytes(sizes, focus)

    def decoded(chunk: int) -> int:
        """Segments of the watch that wait behind a chunk, where the model runs in the same memory."""
        if find_device(settings.device).type != "cpu":  # an outline's own device says nothing
            return 0
        form, each, whole = plans[0].format, max(plans[0].tokens_per_segment, 1), _tokens(media, plans[0])
        left = math.inf if whole is None else max(0, whole - chunk) // each
        return min(segments_ahead(form, chunk // each), left) * form.segment_bytes

    return lambda chunk: max(encoded(chunk) + decoded(chunk), asked(chunk)) + held


def _reading_bytes_of(settings: Settings, adapter: Adapter) -> Callable[[int, int], int]:
    sizes, itemsize = widths(adapter.model.config), adapter.dtype.itemsize

    def reading(kept: int, chunk: int) -> int:
        quantized = 0 if settings.kv_bits == WHOLE_BITS else requantized_bytes(sizes, itemsize, kept, chunk)
        return quantized + (copied_bytes(sizes, itemsize, kept) if settings.look_again else 0)

    return reading


def _ahead_bytes(settings: Settings, adapter: Adapter, plan: Plan, chunk: int) -> int:
    """What encoders beside the language model take; 0 where a device does one thing after the other.

    A CPU does so with a large model, which keeps all cores busy.
    """
    if settings.stills != STILLS[0]:
        return 0
    values = sum(weight.numel() for weight in adapter.model.parameters())
    if find_device(settings.device).type != "cuda" and values > ONE_CORE:
        return 0
    return ahead_bytes(widths(adapter.model.config), plan, chunk, adapter.dtype.itemsize)


def _constant_bytes(settings: Settings, adapter: Adapter, plan: Plan, media: Media) -> int:
    """Of the device, throughout: what the GPU's decoder holds, and the picture that stands."""
    decoder = decoder_bytes(media.video) if find_device(settings.device).type == "cuda" else 0
    if settings.stills != STILLS[0]:
        return decoder + standing_bytes(widths(adapter.model.config), plan, adapter.dtype.itemsize)
    return decoder


def _moments(media: Media) -> Moments:
    """Those that evidence tells apart in all of an input; the most where its length is unknown."""
    return Moments.of(0.0, MOST_MOMENTS * LEAST_STEP_S if media.duration_s is None else media.duration_s)


def _entries_within(size: int, footprint: WatchFootprint) -> int:
    """Entries per layer of which ``size`` bytes hold at every moment. Raises DoesNotFitError naming the least."""
    shape = footprint.shape
    kept, whole = shape.layers * shape.entry_bytes, footprint.chunk_copies * shape.whole_entry_bytes
    late = shape.layers * footprint.window + footprint.layers * footprint.plan.late_tokens
    fixed = kept * footprint.fixed + shape.whole_entry_bytes * late
    chunk_tokens = max(footprint.chunk or 0, footprint.plan.tokens_per_segment, footprint.look)
    entries = (size - fixed - whole * chunk_tokens) // kept
    if (
        footprint.chunk is None and CHUNK_FACTOR * entries > chunk_tokens
    ):  # a larger chunk is the tool's own wish: it shares
        entries = max((size - fixed) // (kept + CHUNK_FACTOR * whole), chunk_tokens // CHUNK_FACTOR)
    if entries < MIN_ENTRIES:
        least = fixed + kept * MIN_ENTRIES + whole * chunk_tokens
        raise DoesNotFitError(
            f"A budget of {size} bytes is smaller than the prompt and one chunk in flight.",
            f"The least that works here is --budget {-(-least // 1024)}KiB.",
            code="budget_too_small",
        )
    return entries
