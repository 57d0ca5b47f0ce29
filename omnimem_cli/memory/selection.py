"""From scores to the entries that stay: top-K per kind, the prefix, text that goes with its media.

Knows tables and scores; knows no method. Order is the same on every device: fp32, NaN never kept, ties to the earlier.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from omnimem_cli.memory.budget import LayerBudget
from omnimem_cli.memory.table import Table
from omnimem_cli.memory.tokens import AUDIO, PREFIX, TEXT, VISUAL

MAX_TEXT_GROUPS = 256
WHOLE_STEP = -1
"""The patch of a merged entry."""


@dataclass(frozen=True)
class Merged:
    """Entries that replace several others: keys, values [1, G, f, d] and a table with every column of the store.

    They count as entries of their kind. ``patch`` is ``WHOLE_STEP``: they show no single patch.
    """

    keys: Tensor
    values: Tensor
    table: Table


def join_merged(parts: list[Merged]) -> Merged | None:
    """All parts as one, None when there are none."""
    if not parts:
        return None
    keys, values = (torch.cat([getattr(part, name) for part in parts], dim=2) for name in ("keys", "values"))
    return Merged(keys, values, functools.reduce(Table.extend, (part.table for part in parts)))


@dataclass(frozen=True)
class Kept:
    """``indices`` [rows, k] into [memory; chunk] of one layer, ascending and unique, and the merged entries to add."""

    indices: Tensor
    merged: Merged | None = None


def top(scores: Tensor, candidates: Tensor, k: int) -> Tensor:
    """Mask [rows, N] of the k best candidates of every row (all of them when there are no more than k).

    Of a row with fewer than k scores that are numbers, all of these; of every other row then as many.
    """
    allowed = candidates & ~scores.isnan()
    order = scores.float().masked_fill(~allowed, -torch.inf).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(k, device=scores.device)[: order.shape[1]] < allowed.sum(1).min()
    return torch.zeros_like(candidates).scatter_(1, order[:, :k], places.expand(len(order), -1)) & allowed


def latest(mask: Tensor, k: int) -> Tensor:
    """The last k of every row's marked entries [rows, N]."""
    return mask & (mask.long().flip(1).cumsum(1).flip(1) <= k)


def candidate_pools(table: Table, budget: LayerBudget, pool: str) -> Iterator[tuple[Tensor, int]]:
    """Who competes for how many places: (mask [rows, N], k) per kind (``split``) or over both kinds (``one``)."""
    kinds = table["kind"]
    if pool == "one":
        yield (kinds == VISUAL) | (kinds == AUDIO), budget.total
    else:
        assert pool == "split", f"media entries compete in one pool or split, not {pool}"
        yield kinds == VISUAL, budget.visual
        yield kinds == AUDIO, budget.audio


def keep_media(table: Table, scores: Tensor, budget: LayerBudget, pool: str, focus: Tensor | None = None) -> Tensor:
    """Mask [rows, N] of the media entries that stay by scores [rows, N] that need no knowledge of the contest.

    ``focus`` fp32 [B, N]: attention of B texts, which raises scores (`raised`).
    """
    chosen = torch.zeros_like(table["kind"], dtype=torch.bool)
    for candidates, k in candidate_pools(table, budget, pool):
        chosen |= top(scores if focus is None else raised(scores, candidates, focus), candidates, k)
    return chosen


def raised(scores: Tensor, candidates: Tensor, focus: Tensor) -> Tensor:
    """Scores [rows, N], each times the attention of the text that attends most to the entry, as a multiple of that
    text's mean over the candidates. ``focus`` [B, N]; NaN counts as no attention. What else was tried: bench/LOG.md."""
    among = focus.nan_to_num(0.0).masked_fill(~candidates.any(0), 0.0)
    mean = among.sum(1, keepdim=True) / candidates.any(0).sum().clamp(min=1)
    return scores * (among / mean.clamp(min=1e-30)).amax(0)


def kept_indices(
    table: Table, media: Tensor, text: str = "grouped", merged: Merged | None = None, alive: Tensor | None = None
) -> Kept:
    """The kept list: the prefix, the chosen media, and media text.

    ``text`` = "grouped": a group's text goes with its last media entry, and beyond 256 groups every second goes;
    "all": text is never dropped (the released code). ``alive``: more entries whose groups keep their text (those that
    are part of ``merged``).
    """
    kinds = table["kind"]
    living = media if alive is None else media | alive
    stays = (kinds == PREFIX) | media | ((kinds == TEXT) & _text_mask(table, living, text))
    counts = stays.sum(1)
    assert bool((counts == counts[0]).all()), "every KV head of a layer keeps equally many entries"
    indices = stays.nonzero()[:, 1].reshape(stays.shape[0], -1)
    return Kept(indices, merged)


def _text_mask(table: Table, media: Tensor, text: str) -> Tensor:
    kinds, groups = table["kind"], table["group"]
    if text == "all" or not bool((kinds == TEXT).any()):
        return torch.ones_like(media)
    alive = groups[media].unique()  # over all heads: a group keeps its text while any head keeps some of its media
    stays = torch.isin(groups, alive) | (groups < 0)
    # Text of a group whose media has not arrived yet (a cut between mark and media) waits for it.
    newest = groups.max()
    stays |= groups == newest
    listed = groups[(kinds == TEXT) & stays & (groups >= 0)].unique()
    if len(listed) > MAX_TEXT_GROUPS:
        stays &= ~torch.isin(groups, listed[1::2]) | (groups == newest)
    return stays
