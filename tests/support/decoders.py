"""Tiny random decoder stacks of the families the memory attaches to, and streams of made-up media tokens."""

import torch
from transformers import (
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLTextModel,
    Qwen2_5OmniThinkerConfig,
    Qwen3VLTextConfig,
    Qwen3VLTextModel,
)
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniThinkerTextModel
from transformers.models.qwen3_omni_moe.configuration_qwen3_omni_moe import Qwen3OmniMoeTextConfig
from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import Qwen3OmniMoeThinkerTextModel

from omnimem_cli.memory.tokens import AUDIO, PREFIX, TEXT, VISUAL, TokenChunk, concat, text_chunk

WIDTH = 64
_SIZES = dict(
    vocab_size=320, hidden_size=WIDTH, intermediate_size=96, num_hidden_layers=4,
    num_attention_heads=4, num_key_value_heads=2, head_dim=16, initializer_range=0.2,
)  # fmt: skip
_ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}


def omni_decoder(layers: int = 4) -> torch.nn.Module:
    sizes = {**_SIZES, "num_hidden_layers": layers}
    config = Qwen2_5OmniThinkerConfig(text_config={**sizes, "rope_parameters": _ROPE}).text_config
    return _randomised(Qwen2_5OmniThinkerTextModel, config)


def qwen25_vl_decoder() -> torch.nn.Module:
    return _randomised(Qwen2_5_VLTextModel, Qwen2_5_VLTextConfig(**_SIZES, rope_parameters=_ROPE))


def qwen3_vl_decoder() -> torch.nn.Module:
    rope = {**_ROPE, "mrope_interleaved": True}
    return _randomised(Qwen3VLTextModel, Qwen3VLTextConfig(**_SIZES, rope_parameters=rope))


def qwen3_omni_decoder() -> torch.nn.Module:
    experts = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}
    rope = {**_ROPE, "mrope_interleaved": True}
    config = Qwen3OmniMoeTextConfig(**_SIZES, **experts, rope_parameters=rope)
    return _randomised(Qwen3OmniMoeThinkerTextModel, config)


DECODERS = {
    "omni": omni_decoder,
    "qwen2.5-vl": qwen25_vl_decoder,
    "qwen3-vl": qwen3_vl_decoder,
    "qwen3-omni": qwen3_omni_decoder,
}


def _randomised(model_class, config) -> torch.nn.Module:
    """Large random weights and biases: a model that is too flat lets wrong masks pass."""
    torch.manual_seed(0)
    decoder = model_class(config).eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in decoder.named_parameters():
        if name.endswith("bias"):
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return decoder.requires_grad_(False)


def stream(steps: int, patches: int = 6, slots: int = 10, seed: int = 0, *, static: bool = False, text: bool = False):
    """A prefix, then per second one visual step of ``patches`` tokens and ``slots`` audio tokens; one joined piece.

    ``static``: every second is the same. ``text``: a two-token timestamp opens every second and forms a group with it.
    """
    generator = torch.Generator().manual_seed(seed)
    pieces = [text_chunk(torch.randn(5, WIDTH, generator=generator), 0, PREFIX)]
    base, still = (
        5,
        (torch.randn(patches, WIDTH, generator=generator), torch.randn(slots, WIDTH, generator=generator)),
    )
    for step in range(steps):
        visual, audio = still if static else (
            torch.randn(patches, WIDTH, generator=generator), torch.randn(slots, WIDTH, generator=generator)
        )  # fmt: skip
        if text:
            stamp = text_chunk(torch.randn(2, WIDTH, generator=generator), base + 10 * step, TEXT, float(step))
            stamp.group.fill_(step)
            pieces.append(stamp)
        pieces += _second(visual, audio, base, step, slots)
    return concat(pieces)


def _second(visual, audio, base: int, step: int, slots: int) -> list[TokenChunk]:
    patches, out = visual.shape[0], []
    if patches:
        place = torch.arange(patches)
        positions = torch.stack([torch.full((patches,), base + slots * step), base + place // 3, base + place % 3])
        out.append(_media(visual, positions, VISUAL, torch.full((patches,), step), place, step))
    if slots:
        count = base + slots * step + torch.arange(slots)
        out.append(_media(audio, count.expand(3, -1), AUDIO, count - base, torch.zeros(slots), step))
    return out


def _media(embeds, positions, kind: int, step, patch, second: int) -> TokenChunk:
    n = embeds.shape[0]
    return TokenChunk(
        embeds=embeds, positions=positions.long().clone(), kind=torch.full((n,), kind, dtype=torch.uint8),
        step=step.to(torch.int32), patch=patch.to(torch.int32),
        group=torch.full((n,), second, dtype=torch.int32), time=torch.full((n,), float(second)),
    )  # fmt: skip


def question(n: int = 7, first: int = 10_000, seed: int = 9):
    generator = torch.Generator().manual_seed(seed)
    embeds = torch.randn(n, WIDTH, generator=generator)
    return embeds, (first + torch.arange(n)).expand(3, n)
