"""The learning rate over a run: linear warm-up, then a cosine to zero (arXiv 1608.03983)."""

import math


def rate(step: int, steps: int, warmup: float) -> float:
    """Share of the peak rate at ``step``, from 0; ``warmup``: share of the ``steps`` in which it rises."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1))) / 2
