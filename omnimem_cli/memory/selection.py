"""From scores to the entries that stay: top-K per kind, the prefix, text that goes with its media.

Knows tables and scores; knows no method. Order is the same on every device: fp32, NaN never kept, ties to the earlier.
What stays is decided on the device. Of streams without media text the host knows how many entries that is
(`most_kept`), and waits for nothing here; media text costs a read of the device per layer.
"""

import functools
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
    """``indices`` [rows, k] into [memory; chunk] of one layer, ascending and unique, and the merged entries to add.

    ``counts`` int64 [rows]: how many of the indices count, where only the device knows; those after repeat the last
    entry. None: all count.
    """

    indices: Tensor
    merged: Merged | None = None
    counts: Tensor | None = None


@dataclass(frozen=True)
class Contest:
    """Media entries of these ``kinds`` compete for so many ``places`` of a layer."""

    kinds: tuple[int, ...]
    places: int

    def candidates(self, table: Table) -> Tensor:
        """Mask [rows, N] of the entries that compete."""
        return functools.reduce(torch.bitwise_or, (table["kind"] == kind for kind in self.kinds))

    def seen(self, seen: dict[int, int]) -> int:
        """How many have ever come, given the tokens ``seen`` of every kind."""
        return sum(seen[kind] for kind in self.kinds)


def contests(budget: LayerBudget, pool: str) -> list[Contest]:
    """Visual and audio entries compete apart (``split``) or with each other (``one``)."""
    if pool == "one":
        return [Contest((VISUAL, AUDIO), budget.total)]
    assert pool == "split", f"media entries compete in one pool or split, not {pool}"
    return [Contest((VISUAL,), budget.visual), Contest((AUDIO,), budget.audio)]


def most_kept(seen: dict[int, int], budget: LayerBudget, pool: str) -> int:
    """Entries that stay of a stream of which so many tokens of every kind were ``seen``, none of them media text.

    Fewer stay only where there were numbers that are not finite.
    """
    return seen[PREFIX] + sum(min(contest.seen(seen), contest.places) for contest in contests(budget, pool))


def top(scores: Tensor, candidates: Tensor, k: int) -> Tensor:
    """Mask [rows, N] of the k best candidates of every row (all of them when there are no more than k).

    Of a row with fewer than k scores that are numbers, all of these; of every other row then as many.
    """
    allowed = candidates & (scores == scores)  # NaN equals nothing
    if len(allowed) == 1 and k >= allowed.shape[1]:
        return allowed
    order = torch.where(allowed, scores.float(), -torch.inf).argsort(dim=1, descending=True, stable=True)
    chosen: Tensor | bool = True
    if len(order) > 1:
        chosen = torch.arange(k, device=scores.device)[: order.shape[1]] < allowed.sum(1).min()
        chosen = chosen.expand(len(order), -1)
    return torch.zeros_like(candidates).scatter_(1, order[:, :k], chosen) & allowed


def latest(mask: Tensor, k: int) -> Tensor:
    """The last k of every row's marked entries [rows, N]."""
    return mask & (mask.long().flip(1).cumsum(1).flip(1) <= k)


def keep_media(table: Table, scores: Tensor, budget: LayerBudget, pool: str, focus: Tensor | None = None) -> Tensor:
    """Mask [rows, N] of the media entries that stay by scores [rows, N] that need no knowledge of the contest.

    ``focus`` fp32 [B, N]: attention of B texts, which raises scores (`raised`).
    """
    chosen = []
    for contest in contests(budget, pool):
        candidates = contest.candidates(table)
        scored = scores if focus is None else raised(scores, candidates, focus)
        chosen.append(top(scored, candidates, contest.places))
    return functools.reduce(torch.bitwise_or, chosen)


def raised(scores: Tensor, candidates: Tensor, focus: Tensor) -> Tensor:
    """Scores [rows, N], each times the attention of the text that attends most to the entry, as a multiple of that
    text's mean over the candidates. ``focus`` [B, N]; NaN counts as no attention. What else was tried: bench/LOG.md."""
    among = focus.nan_to_num(0.0).masked_fill(~candidates.any(0), 0.0)
    mean = among.sum(1, keepdim=True) / candidates.any(0).sum().clamp(min=1)
    return scores * (among / mean.clamp(min=1e-30)).amax(0)


def kept_indices(
    table: Table, media: Tensor, text: str = "grouped", merged: Merged | None = None, alive: Tensor | None = None
) -> Kept:
    """The kept list: the prefix, the chosen media, and media text. Its length is read from the device.

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


def kept_at_most(stays: Tensor, most: int) -> Kept:
    """The kept list of the entries marked in ``stays`` [rows, N], at most ``most`` per row; nothing is read."""
    rows, count = stays.shape
    most = min(most, count)
    places = torch.where(stays, stays.cumsum(1) - 1, most)  # all that goes shares the place after the last
    entries = torch.arange(count, device=stays.device).expand(rows, -1)
    indices = torch.full((rows, most + 1), count - 1, device=stays.device).scatter_(1, places, entries)
    return Kept(indices[:, :most], counts=stays.sum(1))


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
