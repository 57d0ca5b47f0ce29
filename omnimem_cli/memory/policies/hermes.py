"""HERMES (arXiv 2601.14724): shallow layers keep the recent, deep ones what a summary would look at, middle ones both.

After every chunk three pseudo prompts run over memory and chunk: one about the scene now (read by the shallow layers),
one about the whole story (deep), one about both (middle). Attention and recency are weighed by depth, smoothed from
the deepest layer up, and the best stay; in deep layers what was evicted leaves one summary entry per event, counted
inside the budget and from then on scored like any other.

``variant`` paper|code: the middle layers' weights of recency differ; the decay of recency is the code's in both (the
paper names none). ``smoothing`` code|paper: a layer takes its share of the next deeper layer's scores as smoothed
already, so that the deepest reach all above them, or of that layer's own scores (equation 5). ``align``: smoothing
compares entries by place in the cache, as released (after the first eviction that is another token), or by token
(ours). ``lazy`` or ``eager`` positions are the engine's (``--positions``). Not offered: the code's shortcut that reads
the prompts' embeddings in every layer without a forward pass. The prompts' words are ours: the paper finds little
difference, and prefixes the last question and answer where there are any.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from omnimem_cli.memory.policies.policy import BoundedPolicy, LayerState
from omnimem_cli.memory.proxy_query import ProxyQuery
from omnimem_cli.memory.selection import (
    WHOLE_STEP,
    Kept,
    Merged,
    contests,
    join_merged,
    kept_indices,
    top,
)
from omnimem_cli.memory.tokens import AUDIO, VISUAL

LOCAL = "What is happening right now? Name the objects and people, what they do, and where they are."
GLOBAL = "What has this video told so far? Sum up who takes part, what happens in which order, and what it is about."
PROMPTS = (LOCAL, GLOBAL, f"{LOCAL} {GLOBAL}")
SHALLOW, DEEP, MIDDLE = range(3)
"""Bands of layers; each reads the prompt of its number."""
SMOOTHING = {SHALLOW: 0.1, MIDDLE: 0.3, DEEP: 0.4}


@dataclass
class Hermes(BoundedPolicy):
    """Settings: ``variant`` paper|code; ``smoothing`` code|paper; ``align`` place|token; ``summary``: whether deep
    layers keep one."""

    variant: str = "paper"
    smoothing: str = "code"
    align: str = "place"
    summary: bool = True

    per_chunk: ClassVar[bool] = True
    choices: ClassVar = {"variant": ("paper", "code"), "smoothing": ("code", "paper"), "align": ("place", "token")}

    def on_chunk_end(self, layers: list[LayerState], proxy_query: ProxyQuery) -> list[Kept]:
        """Score all layers, smooth from the deepest up, keep the best of each."""
        received = proxy_query.attention(PROMPTS)
        depths = [Depth.of(layer.layer, len(layers)) for layer in layers]
        scores = [
            self._score(layer, depth, weights[depth.band])
            for layer, depth, weights in zip(layers, depths, received, strict=True)
        ]
        return [
            self._decide(*parts) for parts in zip(layers, depths, self._smoothed(layers, depths, scores), strict=True)
        ]

    def _score(self, layer: LayerState, depth: "Depth", received: Tensor) -> Tensor:
        """fp32 [media entries]: attention [N] and recency, each over its range, by the layer's weight of recency."""
        attention = received[_media(layer)]
        weight, decay = depth.recency(self.variant)
        count = len(attention)
        age = torch.arange(count - 1, -1, -1, device=attention.device) / max(count - 1, 1)
        return (1 - weight) * _over_range(attention) + weight * _over_range((-decay * age).exp())

    def _smoothed(self, layers: list[LayerState], depths: list["Depth"], scores: list[Tensor]) -> list[Tensor]:
        """Each layer's scores with a share of those of the next deeper one, where these are numbers."""
        smoothed = list(scores)
        for i in reversed(range(len(layers) - 1)):
            deeper = (smoothed if self.smoothing == "code" else scores)[i + 1]
            near = self._aligned(deeper, layers[i + 1], layers[i])
            share = SMOOTHING[depths[i].band]
            smoothed[i] = (1 - share) * scores[i] + share * torch.where(near.isnan(), scores[i], near)
        return smoothed

    def _aligned(self, scores: Tensor, source: LayerState, target: LayerState) -> Tensor:
        """The deeper layer's scores for the entries of the layer above it."""
        count = int(_media(target).sum())
        if self.align == "token":
            index, wanted = (layer.table["index"][0, _media(layer)] for layer in (source, target))
            return scores[torch.searchsorted(index, wanted).clamp(max=len(index) - 1)] if count else scores[:0]
        if len(scores) == count:
            return scores
        return torch.nn.functional.interpolate(scores[None, None], count, mode="linear", align_corners=True)[0, 0]

    def _decide(self, layer: LayerState, depth: "Depth", media_scores: Tensor) -> Kept:
        table, summaries = layer.table, []
        scores = torch.zeros_like(table["time"])
        scores[0, _media(layer)] = media_scores
        kept = torch.zeros_like(table["kind"], dtype=torch.bool)
        for contest in contests(layer.budget, self.pool):
            candidates, k = contest.candidates(table), contest.places
            leaves_summary = self.summary and depth.band == DEEP and k > 0 and int(candidates.sum()) > k
            chosen = top(scores, candidates, k - leaves_summary)
            kept |= chosen
            if leaves_summary:
                summaries.append(_summary(layer, (candidates & ~chosen)[0].nonzero()[:, 0]))
        return kept_indices(table, kept, merged=join_merged(summaries))


@dataclass(frozen=True)
class Depth:
    """The depth of a layer: its band, and how far through the middle band it is."""

    band: int
    through: float

    @classmethod
    def of(cls, layer: int, layers: int) -> "Depth":
        """The first tenth is shallow, from seven tenths on layers are deep."""
        shallow, deep = layers // 10, layers * 7 // 10
        band = SHALLOW if layer < shallow else DEEP if layer >= deep else MIDDLE
        return cls(band, (layer - shallow) / max(deep - shallow, 1))

    def recency(self, variant: str) -> tuple[float, float]:
        """Weight of recency against attention, and its decay."""
        if self.band == SHALLOW:
            return 1.0, 20.0
        if self.band == DEEP:
            return 0.0, 0.0
        weight = 0.75 - 0.6 * self.through if variant == "paper" else 1 - 0.9 * self.through
        return weight, 20 - 19.5 * self.through


def _summary(layer: LayerState, evicted: Tensor) -> Merged:
    """Mean of the entries ``evicted`` [k], their keys moved to the position after the last one."""
    table = layer.table
    after = table["position"].amax((1, 2), keepdim=True).expand(1, 1, 3) + 1
    keys, values = layer.store.gather(evicted)
    keys = layer.move(keys, table["position"][0, evicted], after[0])
    row = table.take(torch.full((1, 1), len(table) - 1, device=evicted.device))
    row["position"], row["group"] = after, torch.full_like(row["group"], -1)
    row["patch"] = torch.full_like(row["patch"], WHOLE_STEP)
    row["kind"] = table["kind"][0, evicted].mode().values.reshape(1, 1)
    row["time"] = table["time"][0, evicted].mean().reshape(1, 1)
    return Merged(*(x.float().mean(2, keepdim=True).to(x.dtype) for x in (keys, values)), row)


def _media(layer: LayerState) -> Tensor:
    """Mask [N] of the entries that compete."""
    kind = layer.table["kind"][0]
    return (kind == VISUAL) | (kind == AUDIO)


def _over_range(x: Tensor) -> Tensor:
    """Min-max to [0, 1] over all that are numbers; without any, unchanged."""
    known = x[~x.isnan()]
    return (x - known.min()) / (known.max() - known.min() + 1e-6) if len(known) else x
