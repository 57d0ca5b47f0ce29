"""The protocol between a model family and the engine, and the tokens that cross it.

Knows tensors, positions and kinds; knows no policy, no budget and no command line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from omnimem_cli.media.segment import Format, Media, Segment
from omnimem_cli.memory.tokens import TokenChunk


@dataclass(frozen=True)
class WatchOptions:
    """What a user may ask of the encoding; None means the catalogue row's default.

    ``mrope``: place tokens as in "released" inference or as "trained", where a model's release has two rules.
    """

    fps: float | None = None
    max_pixels: int | None = None
    mrope: str = "released"


@dataclass(frozen=True)
class Plan:
    """How one input will be watched: the segment format and its nominal cost in tokens.

    ``window_s``: the longest stretch of speech that the model is asked to write down at once; ``mrope``: as asked for.
    """

    format: Format
    tokens_per_segment: int
    visual_tokens_per_segment: int
    audio_tokens_per_segment: int
    window_s: float = 30.0
    mrope: str = "released"


class Adapter(Protocol):
    """A model family, seen by the engine. One instance watches one input at a time (``open`` starts anew)."""

    model: nn.Module  # all of it; ``model.config`` is the checkpoint's
    decoder: nn.Module  # (inputs_embeds, position_ids [3, B, n], past_key_values, **kw) -> last_hidden_state
    device: torch.device
    dtype: torch.dtype
    weights_dtype: str  # the type that most weights are held in, as `--dtype` names it
    eos_ids: tuple[int, ...]
    penalty: float  # on tokens that prompt and answer hold already, as the checkpoint asks for; 1: none
    needs_audio_scan: bool  # ``scan_audio`` to the whole of a file first makes its sound exact

    def plan(self, media: Media, options: WatchOptions) -> Plan:
        """Choose segment length, grid and frame rate. Raises UsageError naming the nearest possible rate."""

    def scan_audio(self, audio: "torch.Tensor") -> None:
        """First pass over a file's sound, block by block (float32 [samples]): learns the log-mel maximum."""

    def prefix_ids(self, plan: Plan) -> list[int]:
        """Token ids of what `open` returns; no state changes and no weight is looked at."""

    def open(self, media: Media, plan: Plan) -> TokenChunk:
        """The prefix: system prompt, role header, opening marks. A new stream; keeps what was listened to."""

    def encode(self, segments: Sequence[Segment]) -> list[TokenChunk]:
        """Tokens of consecutive segments, one piece each; equal windows are batched through the encoders."""

    def question(self, texts: Sequence[str]) -> list[TokenChunk]:
        """Closing marks, question and answer header, positioned after all tokens so far. No state changes."""

    def prompt_ids(self, text: str) -> list[int]:
        """Token ids of the prompt around a question, in any order, for the penalty."""

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [...] to embeddings [..., D]."""

    def head(self, hidden: Tensor) -> Tensor:
        """Final hidden states [..., D] to logits [..., V] in fp32."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens skipped."""

    def state(self) -> dict:
        """Plain tensors and numbers that resume the stream with ``load_state``."""

    def load_state(self, state: dict) -> None:
        """Continue where ``state`` was taken."""
