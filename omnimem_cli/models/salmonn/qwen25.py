"""video-SALMONN 2+ on Qwen2.5-VL (3B, 7B, 72B): one vision span around picture and sound, no timestamps.

The release computes one set of positions for training and generates with another. ``GeneratedPositions``, the
default, is what published numbers come from; it needs the video's length, so a stream of unknown length takes the
trained rule.
"""

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from omnimem_cli.base.choices import MROPE
from omnimem_cli.media.segment import Media
from omnimem_cli.models.adapter import Plan
from omnimem_cli.models.salmonn.adapter import SalmonnAdapter
from omnimem_cli.models.salmonn.audio_tower import AudioTower
from omnimem_cli.models.salmonn.layout import END, START, Layout, grid_steps
from omnimem_cli.models.salmonn.mrope import BlockPositions, GeneratedPositions, Positions, TrainedPositions
from omnimem_cli.models.towers.patches import PatchSettings
from omnimem_cli.models.towers.vision import VisionTower


class Qwen25Salmonn(Qwen2_5_VLForConditionalGeneration):
    """The library's model with the audio tower added; ``config.audio_config`` is the checkpoint's dict."""

    def __init__(self, config: Qwen2_5_VLConfig):
        super().__init__(config)
        self.audio = AudioTower(config.audio_config, config.text_config.hidden_size)
        self.post_init()


class Qwen25Adapter(SalmonnAdapter):
    """Qwen2.5-VL family, the one with two rules of ``Plan.mrope``."""

    tower_class = VisionTower
    patches = PatchSettings(patch_size=14, min_pixels=3136)
    opens, closes = START, END
    mrope = MROPE

    def layout(self, step_s: float, steps: int | None) -> Layout:
        """One span without marks of its own."""
        return Layout(step_s, spans=False)

    def positions(self, media: Media, plan: Plan, first: int) -> Positions:
        """Sound alone counts like text in released inference."""
        fps, picture, sound = plan.format.fps, media.video is not None, media.audio is not None
        steps, (rows, columns) = grid_steps(media, fps), self.grid(plan)
        if plan.mrope == "trained" or steps is None:
            return TrainedPositions(first, 2 / fps, picture=picture, sound=sound)
        return GeneratedPositions(first, steps * rows * columns, rows, columns) if steps else BlockPositions(first)
