"""How sure an accuracy is. Knows numbers only."""

import math
from collections.abc import Sequence

Z = 1.96  # two-sided 95 %


def interval(groups: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Mean of all scores (0 to 1) and its 95 % interval; ``groups`` are the scores of each video.

    Wilson's interval, with the number of questions divided by Kish's design effect, because questions about one
    video share its luck. No scores: (nan, 0, 1).
    """
    scores = [score for group in groups for score in group]
    if not scores:
        return math.nan, 0.0, 1.0
    mean = sum(scores) / len(scores)
    low, high = wilson(mean, len(scores) / design_effect(groups))
    return mean, low, high


def paired(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Mean difference of scores of the same questions and its 95 % interval; groups are the scores of each video.

    The interval is that of a ratio of sums over videos (Student's t would widen it below about ten videos).
    """
    gaps = [[a - b for a, b in zip(*pair, strict=True)] for pair in zip(ours, theirs, strict=True)]
    gaps = [group for group in gaps if group]
    n, clusters = sum(map(len, gaps)), len(gaps)
    if clusters < 2:
        return (sum(map(sum, gaps)) / n if n else math.nan), -1.0, 1.0
    mean = sum(map(sum, gaps)) / n
    spread = clusters / (clusters - 1) * sum((sum(group) - len(group) * mean) ** 2 for group in gaps) / n**2
    half = Z * math.sqrt(spread)
    return mean, max(-1.0, mean - half), min(1.0, mean + half)


def wilson(share: float, n: float) -> tuple[float, float]:
    """95 % interval of a share seen in n trials."""
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def design_effect(groups: Sequence[Sequence[float]]) -> float:
    """Variance of the mean of clustered scores over that of independent ones, at least 1."""
    filled = [group for group in groups if group]
    n, clusters = sum(map(len, filled)), len(filled)
    mean = sum(map(sum, filled)) / n
    spread = mean * (1 - mean) / n
    if clusters < 2 or spread == 0:
        return 1.0
    between = sum((sum(group) - len(group) * mean) ** 2 for group in filled)
    return max(1.0, clusters / (clusters - 1) * between / n**2 / spread)
