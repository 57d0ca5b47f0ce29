"""What a policy's decisions cost: seconds of encoding, prefill, scoring and answering over one generated video.

Every policy watches the same encoded chunks; each figure is the best of several runs, which is what the work itself
takes on a machine with other things to do. Knows sessions and policies; knows no answer to be right or wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import torch

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.bench.machine import machine, timed
from omnimem_cli.bench.memory import side_bytes
from omnimem_cli.bench.needle import chunk_tokens
from omnimem_cli.bench.replay import Encoded, encode
from omnimem_cli.bench.variants import with_variant
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import size_memory, watch_options
from omnimem_cli.world.questions import questions
from omnimem_cli.world.video import make_video

ANSWER_TOKENS = 16


@dataclass(frozen=True)
class Speed:
    """What to run. ``share``: entries per layer as a share of the video's tokens."""

    policies: list[str]
    share: str
    events: int
    repeats: int
    seed: int


def bench_speed(adapter: Adapter, speed: Speed, settings: Settings, report: Report) -> dict:
    """One row per policy; what `omnimem bench speed` prints."""
    video = make_video(speed.seed, speed.events, "skew", split="eval")
    options = watch_options(settings)
    encode_s, encoded = _best(adapter.device, speed.repeats, lambda: encode(adapter, video, options))
    tokens = sum(len(chunk) for chunk in encoded.chunks)
    entries = max(2, int(tokens * Fraction(speed.share)))
    rows = []
    for number, policy in enumerate(speed.policies):
        report(Progress(policy, video.duration_s * number / len(speed.policies), video.duration_s))
        chunk = settings.chunk or chunk_tokens(encoded)
        chosen = replace(with_variant(settings, policy), budget=Budget(entries), chunk=chunk)
        rows.append(_row(encoded, chosen, speed.repeats, encode_s) | {"policy": policy})
    whole = next((row["watch_s"] for row in rows if row["policy"] == "full"), None)
    return {
        "rows": [row | {"watch_to_full": whole and round(row["watch_s"] / whole, 3)} for row in rows],
        "model": adapter.name,
        **machine(adapter.device),
        "tokens": tokens,
        "entries": entries,
        "chunk": settings.chunk or chunk_tokens(encoded),
        "video_s": video.duration_s,
    }


@dataclass
class _Run:
    """One watch and one batch of answers. ``prefill_s`` holds ``scoring_s``."""

    session: Session
    prefill_s: float
    answer_s: float

    @property
    def scoring_s(self) -> float:
        return self.session.memory.scoring_s


def _row(encoded: Encoded, settings: Settings, repeats: int, encode_s: float) -> dict:
    runs = [_run(encoded, settings) for _ in range(repeats)]
    best = min(runs, key=lambda run: run.prefill_s)
    watch_s, memory = encode_s + best.prefill_s, best.session.memory
    return {
        "policy": settings.policy,
        "encode_s": round(encode_s, 4),
        "prefill_s": round(best.prefill_s, 4),
        "scoring_s": round(best.scoring_s, 4),
        "answer_s": round(min(run.answer_s for run in runs), 4),
        "watch_s": round(watch_s, 4),
        "scoring_of_watch": round(best.scoring_s / watch_s, 4),
        "scoring_of_prefill": round(best.scoring_s / best.prefill_s, 4),
        "tokens_per_second": round(memory.tokens_seen / watch_s),
        "bytes": memory.nbytes,
        "side_bytes": side_bytes(memory, size_memory(settings, encoded.adapter, encoded.plan, encoded.media)),
        "peak_bytes": memory.peak_bytes,
    }


def _run(encoded: Encoded, settings: Settings) -> _Run:
    adapter = encoded.adapter
    fitted = size_memory(settings, adapter, encoded.plan, encoded.media)
    session = Session(encoded.stream, fitted.memory(encoded.stream), fitted.chunk_tokens)
    session.memory.waits_for_device = True
    texts = [question.text for question in questions(encoded.video, 0)]
    prefill_s, _ = timed(adapter.device, lambda: list(session.watch(encoded.segments)))
    answer_s, _ = timed(adapter.device, lambda: session.ask(texts, max_tokens=ANSWER_TOKENS))
    return _Run(session, prefill_s, answer_s)


def _best(device: torch.device, repeats: int, work: Callable) -> tuple[float, object]:
    """The least seconds of several runs, and what the last one gave."""
    outcomes = [timed(device, work) for _ in range(repeats)]
    return min(seconds for seconds, _ in outcomes), outcomes[-1][1]
