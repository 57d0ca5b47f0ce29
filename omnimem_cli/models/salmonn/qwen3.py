"""video-SALMONN 2+ on Qwen3-VL (4B, 8B), the models of the OmniMem paper: timestamps, vision spans, deepstack.

Every grid step has its own ``<t seconds>`` and vision span; a video of more than 256 steps shares each span among
as many consecutive steps as bring the number back to 256 (a stream of unknown length does not).
"""

import math

from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from omnimem_cli.media.segment import Media
from omnimem_cli.models.adapter import Plan
from omnimem_cli.models.salmonn.adapter import SalmonnAdapter
from omnimem_cli.models.salmonn.audio_tower import AudioTower
from omnimem_cli.models.salmonn.layout import Layout
from omnimem_cli.models.salmonn.mrope import BlockPositions, Positions
from omnimem_cli.models.towers.deep_vision import DeepVisionTower
from omnimem_cli.models.towers.patches import PatchSettings


class Qwen3Salmonn(Qwen3VLForConditionalGeneration):
    """The library's model with the audio tower added; ``config.audio_config`` is the checkpoint's dict."""

    def __init__(self, config: Qwen3VLConfig):
        super().__init__(config)
        self.audio = AudioTower(config.audio_config, config.text_config.hidden_size)
        self.post_init()


class Qwen3Adapter(SalmonnAdapter):
    """Qwen3-VL family. ``timestamps``: the most that a video of known length gets."""

    tower_class = DeepVisionTower
    patches = PatchSettings(patch_size=16, image_mean=(0.5, 0.5, 0.5), image_std=(0.5, 0.5, 0.5), min_pixels=784)
    opens = closes = ""
    timestamps = 256

    def layout(self, step_s: float, steps: int | None) -> Layout:
        """A span per step, or per ceil(steps / timestamps) steps of a long video."""
        return Layout(step_s, spans=True, per_span=max(1, math.ceil((steps or 0) / self.timestamps)))

    def positions(self, media: Media, plan: Plan, first: int) -> Positions:
        """Spans and text in turn."""
        return BlockPositions(first)
