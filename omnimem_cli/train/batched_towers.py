"""The vision and audio towers of a nano, run on many equal pieces at once.

The library's forward pass loops over attention windows one by one; here every frame pair is one row of a batch, and
so is every 2-s window of sound. The results are the same (tests/test_nano_towers.py), some seven times sooner.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
PATCH, GRID = 14, 4


def patches(frames: Tensor) -> Tensor:
    """Frames [pairs, 2, 3, 56, 56] with values 0 to 255 -> [pairs, 16, 1176], as the image processor lays them out."""
    mean, std = (torch.tensor(x, device=frames.device).view(3, 1, 1) for x in (IMAGE_MEAN, IMAGE_STD))
    x = (frames.float() / 255 - mean) / std
    x = x.view(-1, 2, 3, GRID // 2, 2, PATCH, GRID // 2, 2, PATCH)
    return x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(len(x), GRID * GRID, -1)


def see(tower: nn.Module, patches: Tensor) -> Tensor:
    """Embeddings of frame pairs: [pairs, 16, 1176] -> [pairs, 4, hidden]."""
    weight = tower.patch_embed.proj.weight
    x = F.linear(patches, weight.view(len(weight), -1))
    cos, sin = _axial_angles(tower.rotary_pos_emb.inv_freq)
    for block in tower.blocks:
        x = x + _see_attention(block.attn, block.norm1(x), cos, sin)
        x = x + block.mlp(block.norm2(x))
    merger = tower.merger
    return merger.mlp(merger.ln_q(x).reshape(len(x), GRID, -1))


def _axial_angles(inverse_frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine [16, head_dim] for the 4 x 4 patches in merge order."""
    cells = torch.arange(GRID, device=inverse_frequencies.device)
    rows, columns = torch.meshgrid(cells, cells, indexing="ij")
    order = lambda x: x.reshape(2, 2, 2, 2).permute(0, 2, 1, 3).flatten().float()  # noqa: E731
    angles = torch.cat([order(axis)[:, None] * inverse_frequencies for axis in (rows, columns)], -1)
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def _see_attention(attention: nn.Module, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    heads = [layer(x).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for layer in _qkv(attention, "qkv")]
    q, k = (h * cos + _rotate_half(h) * sin for h in heads[:2])
    return attention.proj(F.scaled_dot_product_attention(q, k, heads[2]).transpose(1, 2).flatten(2))


def _qkv(attention: nn.Module, names: Iterable[str]) -> list[nn.Module]:
    return [getattr(attention, name) for name in names]


def _rotate_half(x: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat((-b, a), -1)


def hear(tower: nn.Module, mel: Tensor) -> Tensor:
    """Embeddings of 2-s windows of sound: [windows, 64, 80] -> [windows, 20, hidden]."""
    x = F.gelu(tower.conv2(F.gelu(tower.conv1(mel)))).transpose(1, 2)
    x = x + tower.positional_embedding.positional_embedding[: x.shape[1]]
    for layer in tower.layers:
        x = x + _hear_attention(layer.self_attn, layer.self_attn_layer_norm(x))
        x = x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))
    pooled = x.unflatten(1, (-1, 2)).mean(2)
    return tower.proj(tower.ln_post(pooled))


def _hear_attention(attention: nn.Module, x: Tensor) -> Tensor:
    projections = _qkv(attention, ("q_proj", "k_proj", "v_proj"))
    q, k, v = (layer(x).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for layer in projections)
    return attention.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
