"""What a layer does to a key after its projection's product: a bias and a rotation, and how both are undone.

Knows a decoder's projection and rotary embedding, and a position map; knows no store and no bits.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from omnimem_cli.memory.rotary import Rotary, rotate_halves

if TYPE_CHECKING:
    from omnimem_cli.memory.repositioning import PositionMap


@dataclass(frozen=True)
class KeyTransform:
    """The way of a layer's keys from their product to their place: ``bias`` fp32 [G, 1, d] is added (None: none), then
    they are rotated. All in fp32; raw positions int64 [3, rows, m], one row for all heads or one per head."""

    layer: int
    position_map: "PositionMap"
    rotary: Rotary
    bias: Tensor | None

    @classmethod
    def of_layer(cls, decoder: nn.Module, layer: int, position_map: "PositionMap", rotary: Rotary) -> "KeyTransform":
        """The transform of a decoder's layer. Where keys are normalized, a bias before that is no constant."""
        attention = decoder.layers[layer].self_attn
        bias = None if hasattr(attention, "k_norm") else attention.k_proj.bias
        scaling = getattr(decoder.rotary_emb, "attention_scaling", 1.0)
        heads = None if bias is None else bias.float().view(-1, 1, attention.head_dim) * scaling
        return cls(layer, position_map, rotary, heads)

    def undone(self, keys: Tensor, raw: Tensor) -> Tensor:
        """Post-rotary keys [G, m, d] at place 0, without the bias: fp32."""
        product = rotate_halves(keys.float(), *self._angles(raw), back=True)
        return product if self.bias is None else product.sub_(self.bias)

    def done(self, product: Tensor, raw: Tensor) -> Tensor:
        """Post-rotary keys [G, m, d] of what ``undone`` gave, which is overwritten: fp32."""
        if self.bias is not None:
            product.add_(self.bias)
        return rotate_halves(product, *self._angles(raw))

    def of_head(self, head: int) -> "KeyTransform":
        """The transform of one KV head."""
        bias = None if self.bias is None else self.bias[head : head + 1]
        return KeyTransform(self.layer, self.position_map, self.rotary, bias)

    def _angles(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self.rotary.half_angles(self.position_map.place(self.layer, raw))
