"""video-SALMONN 2+ on Qwen2.5-VL (3B, 7B, 72B): one vision span around picture and sound, no timestamps.

The release computes one set of positions for training and generates with another. ``GeneratedPositions``, the
default, is what published numbers come from; it needs the video's length, so a stream of unknown length takes the
trained rule.
"""

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from omnimem_cli.media.segment import Media
from omnimem_cli.models.patches import PatchSettings
from omnimem_cli.models.salmonn.adapter import SalmonnAdapter
from omnimem_cli.models.salmonn.audio import AudioTower
from omnimem_cli.models.salmonn.layout import END, START, Layout
from omnimem_cli.models.salmonn.positions import (
    BlockPositions,
    GeneratedPositions,
    Positions,
    TrainedPositions,
)
from omnimem_cli.models.towers import VisionTower


class Qwen25Salmonn(Qwen2_5_VLForConditionalGeneration):
    """The library's model with the audio tower beside it; ``config.audio_config`` is the checkpoint's dict."""

    def __init__(self, config: Qwen2_5_VLConfig):
        super().__init__(config)
        self.audio = AudioTower(config.audio_config, config.text_config.hidden_size)
        self.post_init()


class Qwen25Adapter(SalmonnAdapter):
    """Qwen2.5-VL family. ``trained_positions``: place tokens as in training instead of as in released inference."""

    model_class = Qwen25Salmonn
    tower_class = VisionTower
    patches = PatchSettings(patch_size=14, min_pixels=3136)
    opens, closes = START, END
    trained_positions = False

    def layout(self, step_s: float, steps: int | None) -> Layout:
        """One span without marks of its own."""
        return Layout(step_s, spans=False)

    def positions(self, media: Media, first: int, step_s: float, steps: int | None, grid: tuple[int, int]) -> Positions:
        """Sound alone counts like text in released inference."""
        if self.trained_positions or steps is None:
            return TrainedPositions(first, step_s, picture=media.video is not None, sound=media.audio is not None)
        if not steps:
            return BlockPositions(first)
        return GeneratedPositions(first, steps * grid[0] * grid[1], *grid)
