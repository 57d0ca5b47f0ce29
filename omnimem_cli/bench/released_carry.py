"""The carry of the released OmniMem, for comparison: a layer keeps its input between chunks, not keys and values.

Every chunk runs each layer once more over the kept inputs, which yields their keys and values, and lets go of these
afterwards (arXiv 2606.07577; bytedance/SALMONN, branch omni_mem). Keys and values are functions of that input, so
what is kept and answered is what the engine keeps and answers; only bytes and time differ. Knows the engine's
memory; only the benchmark uses it. The released code also keeps cosines and sines of the positions, which are made anew
here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from omnimem_cli.memory.attention import attend
from omnimem_cli.memory.budget import LayerBudget
from omnimem_cli.memory.fork import Fork
from omnimem_cli.memory.memory import Memory, kv_heads
from omnimem_cli.memory.policies.omnimem import OmniMem
from omnimem_cli.memory.policies.policy import LayerView
from omnimem_cli.memory.redundancy import redundancy
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.tokens import TokenChunk


@dataclass
class CarryPolicy(OmniMem):
    """OmniMem's scores, with similarity from the kept layer inputs themselves. ``width``: of a hidden state."""

    width: int = 0

    def side_bytes(self, kv_bytes: int) -> int:
        """The layer input in half precision, and importance."""
        return 2 * self.width + 4

    def scored(self, view: LayerView) -> tuple[Tensor, Tensor]:
        """Importance and redundancy [1, N]; the layer inputs go to the table."""
        held = [view.store.table["hidden"][0]] if view.held else []
        inputs = torch.cat([*held, view.hidden])
        view.table["hidden"] = inputs[None]
        unit = normalize(inputs.float(), dim=-1)
        return self._importance(view), redundancy((unit[:-1] * unit[1:]).sum(-1))[None]


class CarryMemory(Memory):
    """A memory whose layers make their keys and values when they are about to run, and forget them after."""

    def __init__(self, decoder, budgets: list[LayerBudget], *, dtype: torch.dtype, device: torch.device | str = "cpu"):
        policy = CarryPolicy(width=decoder.config.hidden_size)
        super().__init__(decoder, policy, budgets, dtype=dtype, device=device)
        self.stores = [_InputStore(*kv_heads(decoder), dtype, device) for _ in budgets]
        self._making = False

    def absorb(self, chunk: TokenChunk) -> None:
        """As the engine's, with every layer run over its kept inputs first."""
        hooks = []
        for i, layer in enumerate(self.decoder.layers):
            hooks.append(layer.register_forward_pre_hook(lambda *_, i=i: self._make(i)))
            hooks.append(layer.register_forward_hook(lambda *_, i=i: self._forget(i)))
        try:
            super().absorb(chunk)
        finally:
            for hook in hooks:
                hook.remove()

    def fork(self) -> Fork:
        """Keys and values of all layers stay until the next chunk, as the released code makes a cache to answer."""
        for i in range(len(self.stores)):
            self._make(i)
        return super().fork()

    @torch.no_grad()
    def _make(self, index: int) -> None:
        store = self.stores[index]
        if self._making or not len(store):
            return
        inputs = store.table["hidden"].to(store.dtype)
        places = store.table["position"].movedim(-1, 0).long()
        made = _Made()
        self._making = True
        self.decoder.layers[index](
            inputs,
            attention_mask=None,
            position_embeddings=self.decoder.rotary_emb(inputs, places),
            use_cache=False,
            memory_pass=made,
        )
        self._making = False
        store.fill(made.keys, made.values)

    def _forget(self, index: int) -> None:
        if not self._making:
            self.stores[index].forget()


class _Made:
    """The registered attention function's partner for one layer over its kept inputs."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
        """Causal among the kept, as in the released pass; the keys and values stay here."""
        self.keys, self.values = k, v
        return attend(q, k, v, scaling, causal=True)[0]


class _InputStore(Store):
    """A store that may be without its keys and values: the table's column ``hidden`` makes them again."""

    def __len__(self) -> int:
        return 0 if self.table is None else len(self.table)

    def fill(self, keys: Tensor, values: Tensor) -> None:
        """Keys and values [1, G, m, d] of the entries held."""
        columns = {f"side.{name}": column for name, column in self.table.columns.items()}
        self.load_state({"key": keys[0], "value": values[0], **columns})

    def forget(self) -> None:
        """Let go of keys and values; entries and table stay."""
        self.fill(*self.gather(torch.zeros(0, dtype=torch.long, device=self.device)))
