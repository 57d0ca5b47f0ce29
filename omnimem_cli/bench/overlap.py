"""How much of what one setting of a policy keeps another keeps too, after a long watch of the same chunks.

Each setting goes its own way from the first chunk on, so a difference early on has all the time to grow. Knows
sessions and policies; asks no questions.
"""

import time
from dataclasses import dataclass, replace
from fractions import Fraction

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.bench.needle import watched
from omnimem_cli.bench.replay import Encoded, encode
from omnimem_cli.bench.variants import with_variant
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.tokens import AUDIO, VISUAL
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.sizing import watch_options
from omnimem_cli.world.video import make_video


@dataclass(frozen=True)
class Overlap:
    """What to run. ``reference``: the policy that the others are compared with; ``share``: entries of the tokens."""

    reference: str
    policies: list[str]
    share: str
    videos: int
    events: int
    seed: int


def bench_overlap(adapter: Adapter, overlap: Overlap, settings: Settings, report: Report) -> dict:
    """One row per policy: the mean and the least share of the reference's media entries that it keeps too."""
    began, found, chunks, side = time.monotonic(), {name: [] for name in overlap.policies}, [], {}
    for i in range(overlap.videos):
        video = make_video(overlap.seed + i, overlap.events, "skew", split="eval")
        encoded = encode(adapter, video, watch_options(settings))
        chosen = replace(settings, budget=_entries(encoded, overlap.share))
        session = watched(encoded, with_variant(chosen, overlap.reference))
        reference = kept(session.memory)
        chunks.append(session.chunks_seen)
        for number, policy in enumerate(overlap.policies):
            report(
                Progress(
                    policy, video.duration_s * (i + number / len(overlap.policies)), video.duration_s * overlap.videos
                )
            )
            memory = watched(encoded, with_variant(chosen, policy)).memory
            found[policy].append(shared(reference, kept(memory)))
            side[policy] = memory.nbytes
    return {
        "reference": overlap.reference,
        "rows": [_row(policy, shares, side[policy]) for policy, shares in found.items()],
        "chunks": min(chunks),
        "videos": overlap.videos,
        "seconds": round(time.monotonic() - began, 1),
    }


def kept(memory: Memory) -> list[set[int]]:
    """Stream indices of the media entries that each layer holds."""
    return [_media(store.table) for store in memory.stores]


def shared(reference: list[set[int]], other: list[set[int]]) -> float:
    """The share of the reference's entries that the other holds too, mean over layers."""
    return sum(len(a & b) / max(len(a), 1) for a, b in zip(reference, other, strict=True)) / len(reference)


def _media(table) -> set[int]:
    kind = table["kind"][0]
    return set(table["index"][0][(kind == VISUAL) | (kind == AUDIO)].tolist())


def _entries(encoded: Encoded, share: str) -> Budget:
    return Budget(max(2, int(sum(map(len, encoded.chunks)) * Fraction(share))))


def _row(policy: str, shares: list[float], held: int) -> dict:
    return {
        "policy": policy,
        "overlap": round(sum(shares) / len(shares), 4),
        "least": round(min(shares), 4),
        "bytes": held,
    }
