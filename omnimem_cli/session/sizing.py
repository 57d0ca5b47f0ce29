"""The size of a watch from its settings: chunk, budgets per layer, bytes.

Knows settings, a plan of the media and the decoder's geometry; loads nothing and decodes nothing.
"""

from dataclasses import dataclass
from functools import partial

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import DoesNotFitError
from omnimem_cli.base.settings import Settings
from omnimem_cli.base.sizes import format_bytes
from omnimem_cli.media.segment import Media
from omnimem_cli.media.stills import Stills
from omnimem_cli.memory.budget import Geometry, LayerBudget, even_budgets, fit_plan
from omnimem_cli.memory.focus import FocusedMemory
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import check_focus, make_policy
from omnimem_cli.memory.policies.policy import Policy
from omnimem_cli.memory.repositioning import make_position_map
from omnimem_cli.memory.store import WHOLE_BITS
from omnimem_cli.models.adapter import Adapter, Plan, Stream, WatchOptions
from omnimem_cli.models.device import free_bytes
from omnimem_cli.session.footprint import AUTO_SHARE, MIN_ENTRIES, WatchFootprint, footprint_of
from omnimem_cli.session.plan_file import CalibratedPlan, EvidenceRule, read_plan
from omnimem_cli.session.transients import question_tokens_in_flight


def watch_options(settings: Settings) -> WatchOptions:
    """The part of the settings that the encoding needs."""
    return WatchOptions(settings.fps, settings.max_pixels, settings.mrope)


def stills_of(settings: Settings, plan: Plan) -> Stills | None:
    """What leaves out pictures that show nothing new, if that is wanted."""
    return Stills() if settings.stills == "skip" and plan.has_picture else None


@dataclass(frozen=True)
class WatchConfig:
    """How one input is watched. ``entries`` is None for an unbounded policy; ``recent_s``: seconds before the newest
    chunk that are held whole with it, 0 for neither; ``question_tokens_in_flight``: the most tokens of questions and
    answers at once; ``needed``: bytes at the worst moment, weights aside; ``held_bytes`` and ``waiting_bytes``:
    besides, of windows that wait to be asked about; ``ahead_bytes``: of ``needed``, to encode a chunk while the
    language model works on the one before, 0 where there is no room for it; ``evidence_rule``: the plan's, if it has
    one."""

    policy: Policy
    budget: Budget
    entries: int | None
    budgets: list[LayerBudget]
    chunk_tokens: int
    recent_s: float
    geometry: Geometry
    question_tokens_in_flight: int
    needed: int
    held_bytes: int
    ahead_bytes: int
    waiting_bytes: int
    positions: str = "keep"
    evidence_rule: EvidenceRule | None = None
    kv_bits: int = WHOLE_BITS
    focus: tuple[str, ...] = ()

    def memory(self, stream: Stream) -> Memory:
        """An empty memory of this shape."""
        return new_memory(stream, self.policy, self.budgets, self.positions, self.kv_bits, self.focus)


def new_memory(
    stream: Stream,
    policy: Policy,
    budgets: list[LayerBudget],
    positions: str,
    kv_bits: int = WHOLE_BITS,
    focus: tuple[str, ...] = (),
) -> Memory:
    """An empty memory of a stream's model; a policy or a focus that asks the model something asks by ``stream``."""
    adapter = stream.adapter
    return (partial(FocusedMemory, focus) if focus else Memory)(
        adapter.decoder,
        policy,
        budgets,
        dtype=adapter.dtype,
        device=adapter.device,
        position_map=make_position_map(positions, adapter.decoder, adapter.row.trained_positions),
        prompts=stream.question,
        kv_bits=kv_bits,
        trained=adapter.row.trained_positions,
    )


def size_memory(
    settings: Settings, adapter: Adapter, plan: Plan, media: Media, recent_s: float = 0.0, free: int | None = None
) -> WatchConfig:
    """The configuration of one watch. ``free``: bytes for it besides the weights; None: what the device has now.
    ``recent_s``: seconds of the longest window that is read whole.

    Raises UsageError for contradicting settings, DoesNotFitError for what ``free`` does not hold, for a budget that
    the prefix alone exceeds and for bytes that nothing would hold. No weight is read.
    """
    policy = make_policy(settings.policy)
    if settings.focus:
        check_focus(policy)
    budget = settings.budget or Budget(adapter.row.budget)
    if budget.entries is None and policy.keeps_all_text and plan.whole_text_tokens is None:
        raise DoesNotFitError(
            f"--policy {settings.policy} keeps all timestamps: no number of bytes holds those of an endless stream.",
            "Give --budget as entries per layer, or use another policy.",
        )
    footprint = footprint_of(settings, policy, adapter, plan, media, recent_s)
    free = free_bytes(adapter.device) if free is None else free
    entries = _entries(budget, footprint, free)
    calibrated = None if settings.plan is None else read_plan(settings.plan, adapter)
    budgets = _layer_budgets(settings, adapter, plan, footprint.shape.layers, entries, calibrated)
    needed, ahead = footprint.peak_bytes_of_input(entries), footprint.ahead_bytes_of_input(entries)
    left = int(free * AUTO_SHARE) - needed
    ahead = ahead if ahead <= left else 0
    return WatchConfig(
        policy=policy,
        budget=budget,
        entries=entries if policy.bounded else None,
        budgets=budgets,
        chunk_tokens=footprint.chunk_tokens(entries),
        recent_s=recent_s,
        geometry=footprint.shape,
        question_tokens_in_flight=question_tokens_in_flight(settings.answer_tokens),
        needed=needed + ahead,
        held_bytes=footprint.held_bytes(budget, entries, left - ahead),
        ahead_bytes=ahead,
        waiting_bytes=footprint.waiting_bytes(budget, entries, left - ahead),
        positions=settings.positions,
        evidence_rule=calibrated and calibrated.evidence,
        kv_bits=settings.kv_bits,
        focus=settings.focus,
    )


def _entries(budget: Budget, footprint: WatchFootprint, free: int) -> int:
    """Visual + audio entries per layer. Raises DoesNotFitError naming what would fit."""
    return _require_fit(footprint.entries(budget, free), footprint, int(free * AUTO_SHARE) if budget.auto else free)


def _require_fit(entries: int, footprint: WatchFootprint, free: int) -> int:
    """``entries``, unchanged. Raises DoesNotFitError where ``free`` bytes do not hold them."""
    least = max(entries, MIN_ENTRIES)
    needed = footprint.peak_bytes_of_input(least)
    if entries and needed <= free:
        return entries
    held = least if footprint.bounded else footprint.resident_entries(least)
    raise DoesNotFitError(
        f"A memory of {held} entries per layer does not fit: the watch takes {format_bytes(needed)}, "
        f"the weights aside, and {format_bytes(free)} are left for it.",
        _what_fits(footprint, free),
    )


def _what_fits(footprint: WatchFootprint, free: int) -> str:
    most = footprint.most_entries(free)
    if most >= MIN_ENTRIES and footprint.bounded:
        return f"--budget {most} fits, or use --budget auto."
    if most >= MIN_ENTRIES:
        return "Use a --policy that evicts, or watch a part with --start and --end."
    return "Use a smaller model, --dtype int8 or int4, or a smaller --max-pixels or --chunk."


def _layer_budgets(
    settings: Settings, adapter: Adapter, plan: Plan, layers: int, entries: int, calibrated: CalibratedPlan | None
) -> list[LayerBudget]:
    has_video, has_audio = plan.visual_tokens_per_segment > 0, plan.audio_tokens_per_segment > 0
    if calibrated is not None:
        return fit_plan(calibrated.budgets, entries, has_video, has_audio)
    if has_video and has_audio and entries < MIN_ENTRIES:
        raise DoesNotFitError("A budget of 1 entry cannot hold picture and sound.", "Use --budget 2 or more.")
    ratio = settings.av_ratio if settings.av_ratio is not None else adapter.row.av_ratio
    return even_budgets(layers, entries, ratio, has_video, has_audio)
