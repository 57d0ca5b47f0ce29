"""Tiny random video-SALMONN 2+ checkpoints in the published key layout, and the reference's numbers for them.

``data/salmonn25`` and ``data/salmonn3`` hold config, key shapes and what the published reference code computes on
these weights. The weights themselves are drawn again: keys in order from one seed-0 generator. The tokenizer has
one token per byte, numbered by its code, and the special tokens at the config's ids.
"""

import json
import math
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import DynamicCache
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

from omnimem_cli.media.segment import AudioStream, Media, VideoStream
from omnimem_cli.memory.chunk_pass import deepstack_arguments
from omnimem_cli.memory.tokens import TokenChunk
from omnimem_cli.models.loader import load
from omnimem_cli.models.salmonn.adapter import SalmonnAdapter

DATA = Path(__file__).parents[1] / "data"
FAMILIES = ("salmonn25", "salmonn3")
SPECIAL = ("im_start", "im_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad", "audio_pad")
VIDEO_PAD, AUDIO_PAD = 306, 307


def tiny_salmonn(path: Path, family: str) -> Path:
    """A folder as published: config, weights under their stored names, tokenizer. Returns it."""
    path.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "generation_config.json"):
        shutil.copy(DATA / family / name, path / name)
    save_file(tiny_weights(family), path / "model.safetensors", metadata={"format": "pt"})
    tiny_tokenizer().save_pretrained(path)
    return path


def tiny_weights(family: str) -> dict[str, Tensor]:
    """Every stored tensor, the integer buffer included."""
    generator = torch.Generator().manual_seed(0)
    shapes = json.loads((DATA / family / "shapes.json").read_text())
    return {key: _drawn(key, shape, generator) for key, shape in sorted(shapes.items())}


def _drawn(key: str, shape: list[int], generator: torch.Generator) -> Tensor:
    if key.endswith("position_ids"):
        return torch.arange(math.prod(shape)).view(shape)
    noise = torch.randn(shape, generator=generator)
    if key.endswith("bias"):
        return 0.05 * noise
    if len(shape) == 1:
        return 1 + 0.1 * noise
    if key.endswith("embed_tokens.weight"):
        return 0.5 * noise
    if key.endswith(("embed_positions.weight", "pos_embed.weight", "q_tokens")):
        return 0.3 * noise
    return noise / math.sqrt(math.prod(shape[1:]))


def tiny_tokenizer() -> Qwen2Tokenizer:
    """Id = byte; then unused ids, then the special tokens at 300 to 308."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [byte for byte in range(256) if byte not in printable]
    vocab = {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(other)}
    vocab |= {f"<unused{i}>": i for i in range(256, 300)}
    names = [f"<|{name}|>" for name in (*SPECIAL, "endoftext")]
    tokenizer = Qwen2Tokenizer(vocab | {name: 300 + i for i, name in enumerate(names)}, merges=[])
    tokenizer.add_tokens(names, special_tokens=True)
    return tokenizer


def load_tiny(folder: Path) -> SalmonnAdapter:
    """A new adapter with a decoder of its own."""
    return load(str(folder), device="cpu")


def expected(family: str, name: str) -> dict[str, Tensor]:
    """The reference's tensors."""
    return load_file(DATA / family / f"{name}.safetensors")


def a_media(video_s: float | None, audio_s: float | None, width: int = 84, height: int = 56) -> Media:
    """A file with a picture and a sound of that many seconds (None: absent)."""
    video = None if video_s is None else VideoStream(0, "h264", width, height, 25.0, video_s)
    audio = None if audio_s is None else AudioStream(1, "aac", 1, 16_000, audio_s)
    return Media("clip.mp4", video, audio)


@torch.no_grad()
def one_shot(adapter: SalmonnAdapter, piece: TokenChunk) -> Tensor:
    """Logits [n, V] of all tokens in one forward pass."""
    hidden = adapter.decoder(
        inputs_embeds=piece.embeds[None], position_ids=piece.positions[:, None], **deepstack_arguments(piece)
    ).last_hidden_state
    return adapter.head(hidden[0])


@torch.no_grad()
def streamed(adapter: SalmonnAdapter, pieces: list[TokenChunk]) -> tuple[Tensor, DynamicCache]:
    """Logits [n, V], each piece in its own forward pass over a growing cache."""
    cache, rows = DynamicCache(), []
    for piece in pieces:
        out = adapter.decoder(
            inputs_embeds=piece.embeds[None],
            position_ids=piece.positions[:, None],
            past_key_values=cache,
            use_cache=True,
            **deepstack_arguments(piece),
        )
        rows.append(adapter.head(out.last_hidden_state[0]))
    return torch.cat(rows), cache


@torch.no_grad()
def greedy(adapter: SalmonnAdapter, pieces: list[TokenChunk], count: int) -> tuple[list[int], Tensor, Tensor]:
    """``count`` greedy ids, their logits [count, V], the positions [count - 1, 3] of all but the last."""
    logits, cache = streamed(adapter, pieces)
    rows, places = [logits[-1]], []
    at = int(pieces[-1].positions[:, -1].max())
    while len(rows) < count:
        at += 1
        places.append([at] * 3)
        ids = rows[-1].argmax()[None]
        position = torch.full((3, 1, 1), at)
        out = adapter.decoder(
            inputs_embeds=adapter.embed(ids)[None], position_ids=position, past_key_values=cache, use_cache=True
        )
        rows.append(adapter.head(out.last_hidden_state[0, -1]))
    stacked = torch.stack(rows)
    return stacked.argmax(-1).tolist(), stacked, torch.tensor(places)
