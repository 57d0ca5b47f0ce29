"""How fast the engine takes in a long 640x360 stream, and what of the device's arithmetic that is.

One watch per policy to the longest length, with a reading at every length on the way; lengths are those of the video
that had gone in. What is timed is the real session, adapter and memory; decoding has its own figure (``clip``), and so
have a watch that decodes on the way (``decoded_watch``) and one that encodes ahead (``encoder_overlap``). Every other
stage waits for the device, so that a stage's seconds are its own. Knows no answer to be right or wrong.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch

from omnimem_cli.base.errors import DoesNotFitError
from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.base.sizes import format_bytes
from omnimem_cli.bench.decoded_watch import decoded_watch
from omnimem_cli.bench.device_idle import idle_share
from omnimem_cli.bench.encoder_overlap import encoder_overlap
from omnimem_cli.bench.flops import attention_flops, encoder_flops, linear_flops, matmul_rate
from omnimem_cli.bench.machine import device_peak, machine, reset_peak, timed
from omnimem_cli.bench.released_carry import CarryMemory
from omnimem_cli.bench.timing_clip import Clip, make_clip
from omnimem_cli.bench.variants import with_variant
from omnimem_cli.bench.wrapped_stream import WrappedStream
from omnimem_cli.media.segment import Segment
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.tokens import TokenChunk
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.models.device import free_bytes
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import WatchConfig, size_memory, watch_options

CARRY = "carry"
"""The name, among policies, of the released carry: OmniMem's scores over kept layer inputs."""

QUESTION = "What is shown, and what is said?"
BATCH, ANSWER_TOKENS, FIRST_TOKENS = 32, 16, 3
WARM_CHUNKS = 2


@dataclass(frozen=True)
class Lengths:
    """What to run: ``minutes`` of video to read at, and the wall seconds after which a policy is stopped."""

    policies: list[str]
    minutes: list[float]
    limit_s: float | None = None


def bench_throughput(adapter: Adapter, lengths: Lengths, settings: Settings, report: Report) -> dict:
    """Readings per policy and length; what `omnimem bench speed --random-weights` prints."""
    options = watch_options(settings)
    clip = make_clip(adapter, 60 * max(lengths.minutes), options)
    rate = matmul_rate(adapter.device, adapter.dtype)
    rows, stopped = [], []
    for policy in lengths.policies:
        chosen = with_variant(settings, "omnimem" if policy == CARRY else policy)
        try:
            _Watch(policy, adapter, clip, chosen, rate).warm_up()
            more = {
                "decoded_watch": decoded_watch(_Watch(policy, adapter, clip, chosen, rate).session, clip.length_s),
                "device_idle": _Watch(policy, adapter, clip, chosen, rate).device_idle(),
                "encoders": _Watch(policy, adapter, clip, chosen, rate).encoders(),
            }
            watch = _Watch(policy, adapter, clip, chosen, rate)
            rows += [row | more for row in watch.read(lengths, report)]
        except DoesNotFitError as error:  # of one policy: the readings of the others count
            stopped.append(_ended(policy, 0.0, error.message))
            continue
        stopped += watch.stopped
        del watch  # its memory must not coexist with the next one's
    return {
        "rows": rows,
        "stopped": stopped,
        "model": adapter.name,
        "dtype": str(adapter.dtype).removeprefix("torch."),
        "decode_rate": round(clip.decode_rate, 2),
        "matmul_flops": rate,
        "tokens_per_video_second": round(clip.plan.tokens_per_segment / clip.plan.format.segment_s, 2),
        **machine(adapter.device),
    }


def _ended(policy: str, at_s: float, why: str) -> dict:
    """A policy that stopped early, after ``at_s`` seconds of video."""
    return {"policy": policy, "at_s": round(at_s, 1), "why": why}


class TimedStream(WrappedStream):
    """A stream whose encoding waits for the device and is counted."""

    encode_s = 0.0

    def encode(self, segments: Sequence[Segment]) -> list[TokenChunk]:
        """As the stream's."""
        spent, encoded = timed(self.adapter.device, lambda: self.stream.encode(segments))
        self.encode_s += spent
        return encoded


@dataclass
class _Watch:
    """One policy on its way through the clip."""

    policy: str
    adapter: Adapter
    clip: Clip
    settings: Settings
    matmul: float
    stopped: list[dict] = field(default_factory=list)

    def __post_init__(self):
        self.stream, self.device = TimedStream(self.clip.open(self.adapter)), self.adapter.device
        self.fitted = size_memory(self.settings, self.adapter, self.clip.plan, self.clip.media)
        memory = self._memory(self.fitted)
        memory.waits_for_device = True
        self.session = Session(self.stream, memory, self.fitted.chunk_tokens, questions=BATCH)
        self.watched_s = self.flops = 0.0

    def _memory(self, fitted: WatchConfig) -> Memory:
        if self.policy == CARRY:
            return CarryMemory(
                self.adapter.decoder, fitted.budgets, dtype=self.adapter.dtype, device=self.adapter.device
            )
        return fitted.memory(self.stream)

    def warm_up(self) -> None:
        """A few chunks and an answer: kernels are chosen, the allocator has its blocks."""
        for chunk_end, _ in self.session.watch(self.clip):
            if chunk_end.chunk + 1 == WARM_CHUNKS:
                break
        self.session.ask([QUESTION], max_tokens=2)

    def device_idle(self) -> float | None:
        """The share of a few chunks' time in which the device runs nothing; None where it is not CUDA."""
        self.session.memory.waits_for_device = False  # a wait would count as idle
        watch = self.session.watch(self.clip)
        next(watch)  # the memory is filled
        return idle_share(self.device, lambda: [next(watch, None) for _ in range(WARM_CHUNKS)])

    def encoders(self) -> dict | None:
        """A few chunks encoded in their turn, and beside the language model; None without room for that."""
        if not self.fitted.ahead_bytes and self.device.type == "cuda":
            return None

        def begin() -> Session:
            stream = self.clip.open(self.adapter)  # one that waits for nothing
            return Session(stream, self._memory(self.fitted), self.fitted.chunk_tokens)

        return encoder_overlap(begin, self.clip)

    def read(self, lengths: Lengths, report: Report) -> Iterator[dict]:
        """A row at every length that is reached; why it ended early goes to ``stopped``."""
        reset_peak(self.device)
        left = sorted(lengths.minutes)
        try:
            for end_s in self._chunks():
                report(Progress(self.policy, end_s, self.clip.length_s))
                while left and end_s >= min(60 * left[0], self.clip.end_s) - 1e-6:
                    yield self._row(left.pop(0))
                if left and (why := self._must_stop(lengths.limit_s)):
                    return self._stop(why)
        except torch.OutOfMemoryError:
            self._stop("the device's memory ran out")

    def _chunks(self) -> Iterator[float]:
        """Seconds of video that have gone in, after every chunk; only the engine's own time counts."""
        encoding = self._encoding_flops()
        self.stream.encode_s = 0.0
        linear, stores = linear_flops(self.adapter.decoder), self.session.memory.stores
        watch = self.session.watch(self.clip)
        while True:
            held, before = [len(store) for store in stores], self.session.memory.tokens_seen
            spent, step = timed(self.device, lambda: next(watch, None))
            self.watched_s += spent
            if step is None:
                return
            chunk_end, segments = step
            new = self.session.memory.tokens_seen - before
            self.flops += len(segments) * encoding + new * linear
            self.flops += attention_flops(self.adapter.decoder, new, held)
            yield chunk_end.end_s

    def _encoding_flops(self) -> int:
        stream = self.adapter.open(self.clip.media, self.clip.plan)
        return encoder_flops(lambda: stream.encode(self.clip.segments[:1]))

    def _must_stop(self, limit_s: float | None) -> str | None:
        if limit_s is not None and self.watched_s > limit_s:
            return f"the limit of {limit_s:g} s was reached"
        shape, memory = self.fitted.geometry, self.session.memory
        grows = max(self.fitted.chunk_tokens, memory.tokens_seen // 4)  # stores grow by a quarter at a time
        if not self.fitted.policy.bounded and grows * shape.layers * shape.entry_bytes > free_bytes(self.device):
            return f"its {format_bytes(memory.nbytes)} of entries leave no room for more"
        return None

    def _stop(self, why: str) -> None:
        self.stopped.append(_ended(self.policy, self.session.end_s, why))

    def _row(self, minutes: float) -> dict:
        memory, video_s = self.session.memory, self.session.end_s
        seconds_of = {
            "decode": video_s / self.clip.decode_rate,
            "encode": self.stream.encode_s,
            "prefill": self.watched_s - self.stream.encode_s - memory.scoring_s,
            "scoring": memory.scoring_s,
        }
        whole, rate = sum(seconds_of.values()), self.flops / self.watched_s
        peaks = {"bytes": memory.nbytes, "peak_bytes": memory.peak_bytes, **device_peak(self.device)}
        peaks["estimated_bytes"] = self._estimated_bytes()
        return {
            "policy": self.policy,
            "minutes": minutes,
            "video_s": round(video_s, 1),
            "watched_s": round(self.watched_s, 3),
            "tokens": memory.tokens_seen,
            "entries": self.fitted.entries,
            "chunk": self.session.segments_per_chunk * self.clip.plan.tokens_per_segment,
            "video_seconds_per_second": round(video_s / self.watched_s, 2),
            "tokens_per_second": round(memory.tokens_seen / self.watched_s),
            "flops": self.flops,
            "flops_per_second": rate,
            "of_matmul": round(rate / self.matmul, 4),
            "shares": {stage: round(spent / whole, 4) for stage, spent in seconds_of.items()},
            **peaks,
            **self._answers(),
        }

    def _estimated_bytes(self) -> int | None:
        """What the tool says beforehand that weights and watch take; nothing of what it would not run."""
        if self.policy == CARRY or self.fitted.entries is None:
            return None
        weights = sum(p.numel() * p.element_size() for p in self.adapter.model.parameters())
        return weights + self.fitted.needed - self.fitted.ahead_bytes  # its chunks are encoded in their turn

    def _answers(self) -> dict:
        """Seconds to the first token (median), and answer tokens a second for one question and for many."""
        first = median(timed(self.device, lambda: self._ask(1, 1))[0] for _ in range(FIRST_TOKENS))
        return {"first_token_s": round(first, 4)} | {
            f"answer_tokens_per_second_{count}": round(self._answer_rate(count), 1) for count in (1, BATCH)
        }

    def _answer_rate(self, count: int) -> float:
        spent, written = timed(self.device, lambda: self._ask(count, ANSWER_TOKENS))
        return written / spent

    def _ask(self, count: int, tokens: int) -> int:
        return sum(answer.tokens for answer in self.session.ask([QUESTION] * count, max_tokens=tokens))
