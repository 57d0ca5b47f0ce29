"""Qwen3-Omni's Thinker as an adapter: Qwen2.5-Omni's, but for what is named here.

Picture and sound are merged token by token in order of position, picture first; marks take a position each;
the audio tower attends over 8 s, so segments are that long; the vision tower hands features to the first decoder
layers as well (deepstack); the published template has no system turn. Past the end of a sound shorter than one
second the library pads less than is done here, and its extractor mirrors the last 12.5 ms of any sound where here
zeros follow.
"""

from collections.abc import Callable
from itertools import groupby
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnimem_cli.base.errors import UsageError
from omnimem_cli.memory.tokens import TokenChunk, concat
from omnimem_cli.models.qwen_omni.adapter import QwenOmniAdapter
from omnimem_cli.models.qwen_omni.stream import QwenOmniStream
from omnimem_cli.models.towers.audio import audio_layer
from omnimem_cli.models.towers.deep_vision import DeepVisionTower
from omnimem_cli.models.towers.patches import PatchSettings


class Qwen3OmniStream(QwenOmniStream):
    """A stream of Qwen3-Omni."""

    marks_share = False
    _last: Tensor | None = None  # position [3] of the segment's last token, in the order of `interleaved`

    def placed(self, positions: Tensor) -> Tensor:
        """Remembers the last one; sound comes after a picture at its position."""
        if positions.shape[1] and (self._last is None or positions[0, -1] >= self._last[0]):
            self._last = positions[:, -1]
        return positions

    def interleaved(self, picture: TokenChunk, sound: TokenChunk) -> TokenChunk:
        """Sorted by the time position; a picture comes before the sound at its position."""
        depth = picture.embeds.shape[1] // sound.embeds.shape[1]
        if depth > 1:
            embeds, *features = picture.embeds.chunk(depth, dim=1)
            picture.embeds, picture.deepstack = embeds, features
        if self._last is not None:  # on the host, while the tokens are on the device
            self.positions.close, self._last = int(self._last.max()) + 1, None
        both = concat([picture, sound])
        return both.take(torch.argsort(both.positions[0], stable=True))


class Qwen3OmniAdapter(QwenOmniAdapter):
    """One Qwen3-Omni Thinker."""

    marks: ClassVar[dict[str, str]] = {
        "vision_bos": "<|vision_start|>",
        "vision_eos": "<|vision_end|>",
        "audio_bos": "<|audio_start|>",
        "audio_eos": "<|audio_end|>",
    }
    system = ""
    patches = PatchSettings(patch_size=16, image_mean=(0.5, 0.5, 0.5), image_std=(0.5, 0.5, 0.5))
    stream_class = Qwen3OmniStream

    @staticmethod
    def encoders(towers: nn.Module) -> tuple[Callable, Callable]:
        """As in the base; the vision encoder's features follow each cell's embedding, [pairs, cells, D * (1 + k)]."""
        return DeepVisionTower(towers.visual), LongAudioTower(towers.audio_tower)

    @property
    def segment_s(self) -> float:
        """The audio tower's attention window."""
        sound = self.log_mel.settings
        return self.config.audio_config.n_window_infer * sound.hop_length / sound.sampling_rate

    def frame_rate(self, fps: float) -> float:
        """Frame pairs must lie on whole positions and fill a segment, else UsageError naming the nearest rate."""
        positions = round(self.segment_s * self.config.position_id_per_seconds)
        per_pair = self.patches.temporal_patch_size / self.segment_s
        rates = [positions // n * per_pair for n in range(1, positions + 1) if positions % n == 0]
        nearest = min(rates, key=lambda rate: abs(rate - fps))
        if nearest != fps:
            raise UsageError(
                f"{self.name} cannot take {fps:g} frames per second: pairs must fall on whole positions.",
                f"Use --fps {nearest:g}.",
            )
        return fps

    @staticmethod
    def tokens_of(mel_frames: int) -> int:
        """Audio tokens of a run of mel frames that starts a window: three convolutions of stride 2 per 100 frames."""
        whole, rest = divmod(mel_frames, 100)
        return _halved_thrice(100) * whole + _halved_thrice(rest)


def _halved_thrice(frames: int) -> int:
    for _ in range(3):
        frames = -(-frames // 2)
    return frames


class LongAudioTower:
    """The audio encoder: convolutions over chunks of ``2 * n_window`` mel frames, attention over a whole segment."""

    def __init__(self, tower: nn.Module):
        self._tower = tower
        self._chunk = 2 * tower.config.n_window

    def __call__(self, mels: list[Tensor]) -> list[Tensor]:
        """Log-mel [bins, n] of one attention window each, to embeddings [tokens(n), D] each."""
        done = [self._tower.proj2.weight.new_empty(0, self._tower.proj2.out_features)] * len(mels)
        convolved = {i: self._convolved(mel) for i, mel in enumerate(mels) if mel.shape[1]}
        for _, same in groupby(sorted(convolved, key=lambda i: len(convolved[i])), key=lambda i: len(convolved[i])):
            indices = list(same)
            for i, tokens in zip(indices, self._attended(torch.stack([convolved[i] for i in indices])), strict=True):
                done[i] = tokens
        return done

    def _convolved(self, mel: Tensor) -> Tensor:
        """[bins, n] -> [tokens(n), C]; zeros complete the last chunk, as the library pads it."""
        t, n = self._tower, mel.shape[1]
        padded = F.pad(mel, (0, -n % self._chunk)).to(t.conv2d1.weight.device, t.conv2d1.weight.dtype)
        x = padded.unflatten(1, (-1, self._chunk)).transpose(0, 1)[:, None]
        for convolution in (t.conv2d1, t.conv2d2, t.conv2d3):
            x = F.gelu(convolution(x))
        x = t.conv_out(x.permute(0, 3, 1, 2).flatten(2))
        x = x + t.positional_embedding.positional_embedding[: x.shape[1]].to(x.dtype)
        return x.flatten(0, 1)[: Qwen3OmniAdapter.tokens_of(n)]

    def _attended(self, x: Tensor) -> Tensor:
        """[windows, tokens, C] -> [windows, tokens, D]."""
        t = self._tower
        for layer in t.layers:
            x = audio_layer(layer, x)
        return t.proj2(t.act(t.proj1(t.ln_post(x))))
