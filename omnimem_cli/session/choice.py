"""How the next token of every row is chosen from its logits: penalties, what a grammar allows, the draw.

Knows logits and tokens; knows no text and no model. All that depends on what was written is a tensor on the device, so
that choosing is the same operations for every token, and nothing of it waits for the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen: greedy at temperature 0, else from the nucleus ``top_p``.

    ``seed``: of every answer's own draws, so that an answer does not depend on the questions of its batch.
    """

    temperature: float = 0.0
    top_p: float = 0.9
    seed: int = 0


@dataclass(frozen=True)
class Penalties:
    """How much tokens are lowered that a row holds: ``written`` those of its answer, ``whole`` those of its prompt too,
    as the library's ``generate`` does with a checkpoint's own penalty. 1: not at all. ``prompts``: ids by row."""

    written: float = 1.0
    whole: float = 1.0
    prompts: Sequence[Sequence[int]] = ()


GREEDY, NO_PENALTIES = Sampling(), Penalties()


class Choice:
    """The choice of a batch's tokens. ``prepare``, then a call with logits [B, V]; ``note`` what was written."""

    def __init__(self, like: Tensor, sampling: Sampling, penalties: Penalties, bound: bool):
        """``like``: logits [B, V]. ``bound``: a grammar binds some row."""
        self.vocabulary = like.shape[1]
        self._sampling, self._penalties = sampling, penalties
        none = torch.zeros_like(like, dtype=torch.bool)
        self._written = none.clone() if penalties.written != 1.0 else None  # bool [B, V]
        self._whole = _held(none, penalties.prompts) if penalties.whole != 1.0 else None
        self._allowed = ~none if bound else None
        if sampling.temperature:
            self._generators = [torch.Generator().manual_seed(sampling.seed) for _ in like]  # a row's draws are its own
            self._waits = torch.empty_like(like, dtype=torch.float32)

    def prepare(self, allowed: np.ndarray | None = None) -> None:
        """What the host gives for the next token: what grammars allow, bool [B, V], and draws.

        The draws are the CPU's, so that a seed gives the same answers on every device.
        """
        if allowed is not None:
            self._allowed.copy_(torch.from_numpy(allowed))
        if self._sampling.temperature:
            for waits, generator in zip(self._waits, self._generators, strict=True):
                waits.copy_(torch.empty(waits.shape).exponential_(generator=generator), non_blocking=True)

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        kept = list(rows)
        held = (self._written, self._whole, self._allowed)
        self._written, self._whole, self._allowed = (None if each is None else each[kept] for each in held)
        if self._sampling.temperature:
            self._generators, self._waits = [self._generators[row] for row in kept], self._waits[kept]

    def note(self, tokens: Tensor) -> None:
        """Count tokens [B] as written."""
        for held in (self._written, self._whole):
            if held is not None:
                held.scatter_(1, tokens[:, None], True)

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B], and the logarithms of how likely the model itself took them to be."""
        logits = logits.float()
        tokens = self._chosen(self._permitted(logits))
        return tokens, logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]

    def _permitted(self, logits: Tensor) -> Tensor:
        """Logits after the penalties, -inf at what a row's grammar does not allow."""
        for held, penalty in ((self._whole, self._penalties.whole), (self._written, self._penalties.written)):
            if held is not None:
                logits = repetition_penalty(logits, held, penalty)
        return logits if self._allowed is None else logits.masked_fill(~self._allowed, -torch.inf)

    def _chosen(self, logits: Tensor) -> Tensor:
        """The likeliest; or of the nucleus the token whose exponential waiting time ends first, which draws it by its
        share (`torch.multinomial` draws so too)."""
        if not self._sampling.temperature:
            return logits.argmax(-1)
        below = logits - logits.amax(-1, keepdim=True)  # finite at any temperature
        shares = nucleus((below / self._sampling.temperature).softmax(-1), self._sampling.top_p)
        return (shares / self._waits).argmax(-1)


def nucleus(shares: Tensor, top_p: float) -> Tensor:
    """Shares [B, V] with 0 outside of the fewest tokens that make up ``top_p`` of a row (arXiv 1904.09751).

    Tokens keep their places: a draw then turns on no order among shares that are almost equal.
    """
    ranked, order = shares.sort(dim=-1, descending=True, stable=True)
    outside = ranked.cumsum(-1) - ranked > top_p
    return shares.masked_fill(torch.zeros_like(outside).scatter(-1, order, outside), 0.0)


def repetition_penalty(logits: Tensor, held: Tensor, penalty: float) -> Tensor:
    """Logits [B, V] with those that are ``held``, bool [B, V], lowered (arXiv 1909.05858, section 4.1)."""
    return torch.where(held, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def _held(none: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
    held = none.clone()
    for row, tokens in enumerate(rows):
        held[row, list(tokens)] = True
    return held
