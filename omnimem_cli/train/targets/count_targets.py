"""How moments of a video count: one layer's attention as a balance between what has begun so far and the first token.

A head that gives every beginning the same attention and the first token that of `AGAINST` beginnings puts n / (n +
AGAINST) of it on n beginnings: a number that grows with n and can be read. Left to itself a head gives one beginning
half as much again as another, and thirty of them cannot be distinguished from thirty-one; here the whole distribution
is taught. Slides and words have two heads each, for small and for large numbers.

Knows batches and attention, not how samples are packed.
"""

import torch
from torch import Tensor

from omnimem_cli.train.decoder import Trace, scores
from omnimem_cli.train.packing import Batch
from omnimem_cli.train.targets.moment_labels import LABELS

BALANCES = (
    *(("slide_begins", head, against, 4) for head, against in ((0, 4.0), (1, 20.0))),
    *(("word_begins", head, against, 3) for head, against in ((2, 4.0), (3, 20.0))),
)
"""What is counted, by which head, how many beginnings outweigh half, and how many tokens a beginning has."""
EVERY = 8  # a moment like its neighbours teaches nothing new


def count_loss(trace: Trace, batch: Batch, layer: int) -> Tensor:
    """Mean divergence of a layer's attention from the balance, over heads and every `EVERY`th media token."""
    losses = []
    for b, (is_media, labels) in enumerate(zip(batch.is_media, batch.labels, strict=True)):
        media = is_media.nonzero()[:, 0]
        rows = media[EVERY - 1 :: EVERY]
        attention = _log_attention(trace, layer, b, rows)
        for label, head, against, tokens in BALANCES:
            begins = (labels[:, LABELS.index(label)] == 1) & is_media
            target = _balance(begins, rows, against * tokens)
            losses.append((torch.xlogy(target, target) - target * attention[head]).sum(-1))
    return torch.cat(losses).mean()


def _log_attention(trace: Trace, layer: int, b: int, rows: Tensor) -> Tensor:
    """Log of the causal attention [heads, rows, s] of some rows of a sample."""
    given = scores(trace, layer, b, rows)
    later = torch.arange(given.shape[-1]) > rows[:, None]
    return given.masked_fill(later, -1e4).log_softmax(-1)


def _balance(begins: Tensor, rows: Tensor, against: float) -> Tensor:
    """Target attention [rows, s]: alike on what has begun, and as on `against` tokens of it on the first."""
    target = (begins & (torch.arange(len(begins)) <= rows[:, None])).float()
    target[:, 0] = against
    return target / target.sum(-1, keepdim=True)
