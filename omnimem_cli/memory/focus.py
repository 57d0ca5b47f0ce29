"""A focus: texts that a watch is about. They go through the decoder with every chunk, to see what they attend to.

The texts follow the chunk in the same forward pass: they see the memory, the chunk and, each alone, their own tokens,
as a question asked at that moment would. The chunk does not see them, and nothing of them is kept. Each layer so knows,
when it evicts, how much attention the texts pay to every entry. Knows a memory and a source of text chunks; how the
attention counts is the policy's business.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from omnimem_cli.memory.attention import attend, attend_masked
from omnimem_cli.memory.attention_kernels import merge
from omnimem_cli.memory.budget import LayerBudget
from omnimem_cli.memory.chunk_pass import ChunkPass
from omnimem_cli.memory.fork import left_padded, visible_tokens
from omnimem_cli.memory.importance import reduced_attention
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies.policy import Policy
from omnimem_cli.memory.proxy_query import Prompts, following
from omnimem_cli.memory.repositioning import TextPlacement
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.tokens import TokenChunk


class FocusPass(ChunkPass):
    """The pass of a chunk and, after it, of the focus: B texts, padded to T tokens each."""

    def __init__(self, memory: "FocusedMemory", chunk: TokenChunk):
        super().__init__(memory, chunk)
        after = self.next_position
        texts = [following(text, after) for text in memory.prompts(memory.focus)]
        embeds, positions, self._real = left_padded(texts)  # [B, T, D], [3, B, T], [B, T]
        self._visible = visible_tokens(self._real, embeds.shape[1])
        self._embeds = embeds.flatten(0, 1)
        self._placed = TextPlacement.after_memory(memory.position_map, len(memory.stores), after, embeds.device)
        self._places = self._placed.base(positions.flatten(1)[:, None])

    def inputs(self) -> dict:
        """Those of the chunk, with the texts after it."""
        inputs, count = super().inputs(), len(self._embeds)
        if "visual_pos_masks" in inputs:
            inputs["visual_pos_masks"] = torch.nn.functional.pad(inputs["visual_pos_masks"], (0, count))
        embeds, places = self._embeds[None].to(self.chunk.embeds), self._places
        return inputs | {
            "inputs_embeds": torch.cat([inputs["inputs_embeds"], embeds], dim=1),
            "position_ids": torch.cat([inputs["position_ids"], places], dim=2),
        }

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
        """As ``ChunkPass.attend``, of chunk and texts: [1, H, n + B T, d]."""
        own, texts = zip(*(part.split([len(self.chunk), len(self._embeds)], dim=2) for part in (q, k, v)), strict=True)
        brought = self.brought(layer, *own)
        with self.memory.stores[layer].reading():
            out = self._read(layer, texts, brought.keys, brought.values, scaling)
            return torch.cat([self.decide(layer, brought, scaling), out], dim=2)

    def _read(
        self, layer: int, texts: tuple[Tensor, Tensor, Tensor], keys: Tensor, values: Tensor, scaling: float
    ) -> Tensor:
        """Output of the texts; ``focus`` becomes what they pay to the layer's entries and to the chunk's."""
        store = self.memory.stores[layer]
        q, k = self._placed.rotate(layer, *texts[:2])
        rows = [self._rows(part) for part in (q, k, texts[2])]
        parts = [attend_masked(*rows, scaling, self._visible), self._chunk(q, keys, values, scaling)]
        if len(store):
            parts.append(store.attend(rows[0], scaling))
        out, lse = merge(parts)
        self.focus = self._paid(store, rows[0], lse, keys, scaling)
        return out.transpose(0, 1).reshape(q.shape)

    def _chunk(self, q: Tensor, keys: Tensor, values: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        out, lse = attend(q, keys, values, scaling, causal=False)
        return self._rows(out), self._rows(lse[..., None])[..., 0]

    def _paid(self, store: Store, q: Tensor, lse: Tensor, keys: Tensor, scaling: float) -> Tensor:
        """fp32 [B, m + n]: mean over a text's tokens and all heads."""
        chunk = reduced_attention(q, lse, keys, scaling, self._real, "mean")
        held = [store.weights(q, lse, scaling, self._real, "mean")] if len(store) else []
        return torch.cat([*held, chunk], dim=1)

    def _rows(self, x: Tensor) -> Tensor:
        """[1, H, B T, d] to [B, H, T, d]."""
        return x[0].unflatten(1, tuple(self._real.shape)).transpose(0, 1)


class FocusedMemory(Memory):
    """A memory of a watch that is about ``focus``, one or more texts. ``prompts``: from texts to chunks."""

    def __init__(
        self,
        focus: Sequence[str],
        decoder: nn.Module,
        policy: Policy,
        budgets: list[LayerBudget],
        *,
        prompts: Prompts,
        **more: Any,
    ):
        assert focus and policy.takes_focus, "there are texts, and the policy counts what they attend to"
        super().__init__(decoder, policy, budgets, prompts=prompts, **more)
        self.focus, self.prompts = tuple(focus), prompts

    def new_pass(self, chunk: TokenChunk) -> ChunkPass:
        """A pass with the focus."""
        return FocusPass(self, chunk)
