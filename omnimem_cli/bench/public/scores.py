"""Figures of a benchmark from what became of every question. Knows answers and outcomes; reads and prints nothing.

Whatever was not answered is wrong: failed, missing, no letter. Questions about one video share its luck: intervals and
comparisons take videos as the sample.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

from omnimem_cli.bench.intervals import interval, paired
from omnimem_cli.bench.public.dataset import Answered

UNANSWERED = ("no_letter", "failed", "missing")


def policy_row(policy: str, answered: Sequence[Answered], results: Sequence[dict]) -> dict:
    """The figures of one policy. ``results``: those of its watches that were done."""
    return {
        "policy": policy,
        **accuracy(answered),
        "by_task": _grouped(answered, lambda one: one.item.tasks),
        "by_length": _grouped(answered, lambda one: (one.length,)),
        **watch_figures(results),
    }


def accuracy(answered: Sequence[Answered]) -> dict:
    """Accuracy over all questions with its 95 % interval, that over answered ones, and how many are which."""
    mean, low, high = interval(_by_video(answered))
    counts = {status: sum(one.status == status for one in answered) for status in ("right", "wrong", *UNANSWERED)}
    given = counts["right"] + counts["wrong"]
    return {
        "accuracy": _rounded(mean),
        "low": _rounded(low),
        "high": _rounded(high),
        "answered_accuracy": _rounded(counts["right"] / given) if given else None,
        "n": len(answered),
        "videos": len({one.video for one in answered}),
        **counts,
    }


def watch_figures(results: Sequence[dict]) -> dict:
    """Coverage, bytes, tokens and seconds over watches; None where none was done."""
    ratios = [r["coverage"]["ratio"] for r in results if r["coverage"]["ratio"] is not None]
    seen = [sum(r["memory"]["seen"].values()) for r in results]
    walls = [r["timing"]["wall_s"] for r in results]
    return {
        "watched": len(results),
        "coverage_least": min(ratios, default=None),
        "coverage_mean": _rounded(sum(ratios) / len(ratios)) if ratios else None,
        "bytes": max((r["memory"]["bytes"] for r in results), default=None),
        "peak_bytes": max((r["memory"]["peak_bytes"] for r in results), default=None),
        "budget_entries": results[0]["memory"]["budget_entries"] if results else None,
        "tokens": round(sum(seen)),
        "seconds": round(sum(walls), 1),
    }


def comparisons(answered: Sequence[Answered]) -> list[dict]:
    """Every two policies on the same questions.

    The difference of their accuracies with its 95 % interval over videos, and McNemar's exact test of the questions
    that only one of them has right, which takes every question as a video of its own.
    """
    by_policy: dict[str, dict[str, Answered]] = defaultdict(dict)
    for one in answered:
        by_policy[one.policy][one.item.id] = one
    return [_compared(first, second, by_policy) for first, second in combinations(by_policy, 2)]


def _compared(first: str, second: str, by_policy: dict[str, dict[str, Answered]]) -> dict:
    ours, theirs = by_policy[first].values(), [by_policy[second][name] for name in by_policy[first]]
    mean, low, high = paired(_by_video(ours), _by_video(theirs))
    pairs = list(zip(ours, theirs, strict=True))
    only = sum(a.right > b.right for a, b in pairs), sum(a.right < b.right for a, b in pairs)
    return {
        "policies": [first, second],
        "difference": _rounded(mean),
        "low": _rounded(low),
        "high": _rounded(high),
        "only_first_right": only[0],
        "only_second_right": only[1],
        "mcnemar_p": _rounded(mcnemar(*only)),
    }


def mcnemar(first: int, second: int) -> float:
    """Two-sided p of so many questions that only one of two has right, if either were as likely to be that one."""
    n, most = first + second, max(first, second)
    tail = sum(math.comb(n, k) for k in range(most, n + 1)) / 2**n
    return min(1.0, 2 * tail)


def _by_video(answered: Iterable[Answered]) -> list[list[float]]:
    groups: dict[str, list[float]] = defaultdict(list)
    for one in answered:
        groups[one.video].append(float(one.right))
    return list(groups.values())


def _grouped(answered: Sequence[Answered], of: Callable[[Answered], Sequence[str]]) -> dict[str, dict]:
    """Accuracy by group; a question may be in several."""
    groups: dict[str, list[Answered]] = defaultdict(list)
    for one in answered:
        for name in of(one):
            groups[name].append(one)
    return {name: accuracy(groups[name]) for name in sorted(groups)}


def _rounded(value: float) -> float:
    return round(value, 4)
