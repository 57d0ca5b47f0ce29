"""Proxy queries (StreamMem's term): run a text over the memory only to see how much attention each entry gets.

Knows a memory's forks and a source of text chunks; knows no policy and no model. Never changes the memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from omnimem_cli.memory.fork import Readable, left_padded
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.tokens import TokenChunk

Prompts = Callable[[Sequence[str]], list[TokenChunk]]
"""From texts to tokens of questions, with the chat template around them."""


class ProxyQuery:
    """Runs texts through forks of one memory."""

    def __init__(self, memory: Readable, prompts: Prompts):
        self._memory, self._prompts = memory, prompts

    def attention(self, texts: Sequence[str], reduce: str = "mean") -> list[Tensor]:
        """Per layer fp32 [len(texts), m]: softmax weight of each entry, ``reduce``d (mean, max or sum) over a text's
        tokens and all heads. The softmax runs over the memory and the text itself."""
        embeds, positions, real = left_padded(
            [following(chunk, self._memory.next_position) for chunk in self._prompts(texts)]
        )
        weights: list[Tensor] = []

        def observe(_layer: int, q: Tensor, lse: Tensor, store: Store, scaling: float) -> None:
            weights.append(store.weights(q, lse, scaling, real, reduce))

        self._memory.fork().forward(embeds, positions, real, observe)
        return weights


def following(text: TokenChunk, position: int) -> TokenChunk:
    """A text whose first token has this position."""
    return replace(text, positions=text.positions + (position - text.positions[:, :1].max()))
