"""From scores to the entries that stay: top-K per kind, the prefix, text that goes with its media, the recent reserve.

Knows tables and scores; knows no method. Order is the same on every device: fp32, NaN never kept, ties to the earlier.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from omnimem_cli.memory.budget import LayerBudget
from omnimem_cli.memory.piece import AUDIO, PREFIX, TEXT, VISUAL
from omnimem_cli.memory.store import Table

MAX_TEXT_GROUPS = 256


@dataclass(frozen=True)
class Keep:
    """Indices [rows, k] into [memory; chunk] of one layer, ascending and unique."""

    index: Tensor


def top(scores: Tensor, candidates: Tensor, k: int) -> Tensor:
    """Mask [rows, N] of the k best candidates of every row (all of them when there are no more than k)."""
    ranked = scores.float().nan_to_num(nan=-torch.inf).masked_fill(~candidates, -torch.inf)
    order = ranked.argsort(dim=1, descending=True, stable=True)
    chosen = torch.zeros_like(candidates).scatter_(1, order[:, :k], True)
    return chosen & candidates & ~scores.isnan()


def with_reserve(scores: Tensor, table: Table, kind: Tensor, k: int, since: float) -> Tensor:
    """Scores in which entries of video time >= ``since`` outrank all others, the latest k of them when there
    are more."""
    if since == torch.inf:
        return scores
    recent = kind & (table["time"] >= since)
    rank = recent.long().flip(1).cumsum(1).flip(1)
    return scores.masked_fill(recent & (rank <= k), torch.inf)


def keep_media(table: Table, scores: Tensor, budget: LayerBudget, pool: str, since: float) -> Tensor:
    """Mask [rows, N] of the media entries that stay: per kind (``split``) or from one pool (``one``)."""
    kinds = table["kind"]
    if pool == "one":
        contests = [((kinds == VISUAL) | (kinds == AUDIO), budget.total)]
    else:
        assert pool == "split", f"media entries compete in one pool or split, not {pool}"
        contests = [(kinds == VISUAL, budget.visual), (kinds == AUDIO, budget.audio)]
    chosen = torch.zeros_like(kinds, dtype=torch.bool)
    for candidates, k in contests:
        chosen |= top(with_reserve(scores, table, candidates, k, since), candidates, k)
    return chosen


def assemble(table: Table, media: Tensor, text: str = "grouped") -> Keep:
    """The kept list: the prefix, the chosen media, and media text.

    ``text`` = "grouped": a group's text goes with its last media entry, and beyond 256 groups every second goes;
    "all": text is never dropped (the released code).
    """
    kinds = table["kind"]
    stays = (kinds == PREFIX) | media | ((kinds == TEXT) & _text_mask(table, media, text))
    counts = stays.sum(1)
    assert bool((counts == counts[0]).all()), "every KV head of a layer keeps equally many entries"
    index = stays.nonzero()[:, 1].reshape(stays.shape[0], -1)
    return Keep(index)


def _text_mask(table: Table, media: Tensor, text: str) -> Tensor:
    kinds, groups = table["kind"], table["group"]
    if text == "all" or not bool((kinds == TEXT).any()):
        return torch.ones_like(media)
    alive = groups[media].unique()  # over all heads: a group lives while any head holds some of it
    stays = torch.isin(groups, alive) | (groups < 0)
    # Text of a group whose media has not arrived yet (a cut between mark and media) waits for it.
    newest = groups.max()
    stays |= groups == newest
    listed = groups[(kinds == TEXT) & stays & (groups >= 0)].unique()
    if len(listed) > MAX_TEXT_GROUPS:
        stays &= ~torch.isin(groups, listed[1::2]) | (groups == newest)
    return stays
