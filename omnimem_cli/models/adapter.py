"""The two protocols between a model family and the engine: a loaded model, and one input on its way through it.

Knows tensors, media and tokens; knows no policy, no budget and no command line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from omnimem_cli.media.segment import Format, Media, Segment
from omnimem_cli.memory.tokens import TokenChunk
from omnimem_cli.models.catalogue import Row
from omnimem_cli.models.standing_picture import StandingPicture

if TYPE_CHECKING:  # only answers with a schema wait for it
    from llguidance import LLTokenizer


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

    ``window_s``: the longest stretch of speech that the model transcribes at once; ``mrope``: the rule of positions.
    ``text_tokens``: the most media text that a memory of the input keeps in a layer where it drops old text;
    ``whole_text_tokens``: all of it, None where the length is unknown; ``late_tokens``: the most sound of earlier
    segments that a segment brings with it.
    """

    format: Format
    tokens_per_segment: int
    visual_tokens_per_segment: int
    audio_tokens_per_segment: int
    window_s: float = 30.0
    mrope: str = "released"
    text_tokens: int = 0
    whole_text_tokens: int | None = 0
    late_tokens: int = 0

    @property
    def has_picture(self) -> bool:
        """Whether picture is watched."""
        return self.visual_tokens_per_segment > 0

    @property
    def has_sound(self) -> bool:
        """Whether sound is watched."""
        return self.audio_tokens_per_segment > 0


class Adapter(Protocol):
    """A loaded model, as the engine sees it. Immutable: everything about one input lives in a stream."""

    row: Row  # its defaults
    name: str
    revision: str | None  # the hub's commit of a downloaded folder
    lora: dict[str, str] | None  # name and revision of LoRA weights that were merged in
    model: nn.Module  # all of it; ``model.config`` is the checkpoint's
    decoder: nn.Module  # (inputs_embeds, position_ids [3, B, n], past_key_values, **kw) -> last_hidden_state
    device: torch.device
    dtype: torch.dtype
    weights_dtype: str  # the type that most weights are held in, as `--dtype` names it
    eos_ids: tuple[int, ...]
    penalty: float  # on tokens that prompt and answer hold already, as the checkpoint asks for; 1: none
    vocabulary: "LLTokenizer"  # the bytes of every token, as many as there are logits
    needs_audio_scan: bool  # a stream's sound is exact only after ``scan_audio`` of all of it

    def plan(self, media: Media, options: WatchOptions) -> Plan:
        """Choose segment length, grid and frame rate. Raises UsageError naming the nearest possible rate."""

    def prefix_ids(self, plan: Plan) -> list[int]:
        """Token ids of a stream's prefix. Looks at no weight."""

    def open(self, media: Media, plan: Plan) -> "Stream":
        """A new stream, which shares nothing with any other."""

    def audio_scan(self) -> "AudioScan | None":
        """What learns from all the sound of a file before its stream is open, for `Stream.heard`; None where
        ``needs_audio_scan`` is False. Looks at no weight."""

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [...] to embeddings [..., D]."""

    def head(self, hidden: Tensor) -> Tensor:
        """Final hidden states [..., D] to logits [..., V] in fp32."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens skipped."""


class AudioScan(Protocol):
    """A first pass over the sound of a file."""

    def add(self, audio: Tensor) -> None:
        """The next block: float32 [samples]."""


class Stream(Protocol):
    """One input on its way into tokens; it dies with the input. ``adapter.open(media, plan)`` makes one."""

    adapter: Adapter
    media: Media
    plan: Plan
    prefix: TokenChunk  # system prompt, role header, opening marks
    standing: StandingPicture

    def scan_audio(self, audio: Tensor) -> None:
        """First pass over a file's sound, block by block (float32 [samples]), before the first ``encode``."""

    def heard(self, scan: AudioScan) -> None:
        """All of that pass, in place of ``scan_audio``."""

    def encode(self, segments: Sequence[Segment]) -> list[TokenChunk]:
        """Tokens of the next segments, one chunk each; equal windows are batched through the encoders."""

    def question(self, texts: Sequence[str]) -> list[TokenChunk]:
        """Closing marks, question and answer header, positioned after all tokens so far. No state changes."""

    def prompt_ids(self, text: str) -> list[int]:
        """Token ids of the prompt around a question, in any order, for the penalty."""

    def again(self, plan: Plan, after_s: float) -> "Stream":
        """A new stream of the same media, in the form of ``plan``, that begins ``after_s`` seconds after this one.

        Its tokens have the positions of their time, as in a stream of that form from the beginning; a rule of positions
        without a clock begins where this stream was at that time. No state changes.
        """

    def state(self) -> dict:
        """Plain numbers and tensors that resume a stream of the same media and plan with ``load_state``."""

    def load_state(self, state: dict) -> None:
        """Continue where ``state`` was taken."""
