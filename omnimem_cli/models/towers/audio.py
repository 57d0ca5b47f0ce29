"""Qwen2.5's audio encoder with equal windows in one batch: the library's own weights, without its loops.

Knows modules and shapes; knows no segments and no text.
"""

from itertools import groupby, islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FLOAT16_LIMIT = torch.finfo(torch.float16).max - 1000
"""Where the library clamps the audio tower's float16 activations."""


class AudioTower:
    """The audio encoder over windows of ``2 * n_window`` mel frames, each blind to the others."""

    def __init__(self, tower: nn.Module):
        self._tower = tower
        self.window = 2 * tower.config.n_window
        assert self.window % 4 == 0, "windows end where an audio token ends"

    def __call__(self, mels: list[Tensor]) -> list[Tensor]:
        """Log-mel [bins, n] each, to embeddings [tokens(n), D] each. Every one starts a new window."""
        windows = [list(mel.split(self.window, dim=1)) if mel.shape[1] else [] for mel in mels]
        flat = [window for each in windows for window in each]
        encoded: list[Tensor] = [torch.empty(0)] * len(flat)
        order = sorted(range(len(flat)), key=lambda i: flat[i].shape[1])
        for _, same in groupby(order, key=lambda i: flat[i].shape[1]):
            indices = list(same)
            for i, tokens in zip(indices, self._encode(torch.stack([flat[i] for i in indices])), strict=True):
                encoded[i] = tokens
        nothing = self._tower.proj.weight.new_empty(0, self._tower.proj.out_features)
        rest = iter(encoded)
        return [torch.cat([nothing, *islice(rest, len(each))]) for each in windows]

    def _encode(self, windows: Tensor) -> Tensor:
        """[w, bins, n] -> [w, tokens(n), D]."""
        t = self._tower
        x = F.gelu(t.conv1(windows.to(t.conv1.weight.device, t.conv1.weight.dtype)))
        x = F.gelu(t.conv2(x)).transpose(1, 2)
        x = x + t.positional_embedding.positional_embedding[: x.shape[1]].to(x.dtype)
        for layer in t.layers:
            x = audio_layer(layer, x)
        even = x.shape[1] // 2 * 2
        pooled = (x[:, 0:even:2] + x[:, 1:even:2]) / 2
        return t.proj(t.ln_post(pooled))


def audio_layer(layer: nn.Module, x: Tensor) -> Tensor:
    """A pre-norm encoder layer over [w, n, C]; attention stays inside each of the w windows."""
    attention, normed = layer.self_attn, layer.self_attn_layer_norm(x)
    heads = (x.shape[0], x.shape[1], attention.num_heads, -1)
    q, k, v = (
        project(normed).view(heads).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    attended = F.scaled_dot_product_attention(q, k, v, scale=attention.scaling)
    x = x + attention.out_proj(attended.transpose(1, 2).flatten(2))
    x = x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))
    return x.clamp(-FLOAT16_LIMIT, FLOAT16_LIMIT) if x.dtype == torch.float16 else x
