"""What nano is: the sizes of its layers and its rates, in the stock Qwen2.5-Omni Thinker classes.

Rates: 56 x 56 frames at 2 per second make 4 visual tokens a second; a mel hop of 400 samples makes 10 audio tokens
a second; one audio attention window is exactly one 2-s segment.

Heads are wide and the rotary base is high because a name is found by what it is, minutes away: only pairs that turn
by less than about a radian over the video can carry what it is, at this base 16 of 32 over 100 s. Among such bases it
is the one at which a pair turns once in 10 s and another once in 100 s, as the figures of a clock do.
"""

import math

from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

from omnimem_cli.media.segment import SAMPLE_RATE
from omnimem_cli.models.towers.mel import MelSettings
from omnimem_cli.models.towers.patches import PatchSettings
from omnimem_cli.world.video import FRAME_SIZE

HIDDEN = 192
LAYERS = 6
HEAD_DIM = 64
PER_SECOND, TEN_SECONDS_PAIR = 10, 6
ROTARY_BASE = (10 * PER_SECOND / (2 * math.pi)) ** (HEAD_DIM / 2 / TEN_SECONDS_PAIR)
BINDING_LAYER = 2
ORDER_LAYER = 3
LOOKUP_LAYER = 3
READ_LAYER = 4
COUNT_LAYER = 5
VOCABULARY = 896

TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": 320,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": HEAD_DIM,
    "max_position_embeddings": 1_000_000,
    "rope_parameters": {"rope_type": "default", "rope_theta": ROTARY_BASE, "mrope_section": [20, 6, 6]},
    "tie_word_embeddings": True,
}
VISION = {
    "depth": 3,
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_heads": 4,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "window_size": 56,
    "fullatt_block_indexes": [0, 1, 2],
    "out_hidden_size": HIDDEN,
}
AUDIO = {
    "num_mel_bins": 64,
    "d_model": 128,
    "encoder_layers": 3,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 384,
    "max_source_positions": 40,
    "n_window": 40,
    "output_dim": HIDDEN,
}

PATCHES = PatchSettings(min_pixels=FRAME_SIZE**2, max_pixels=FRAME_SIZE**2)
GRID = FRAME_SIZE // PATCHES.patch_size
"""Patches along a side of a frame."""
MEL = MelSettings(feature_size=64, sampling_rate=SAMPLE_RATE, hop_length=SAMPLE_RATE // (4 * PER_SECOND), n_fft=800)


def build(token_ids: dict[str, int] | None = None) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """A nano with random weights. `token_ids`: the config's token fields (`audio_token_index`, ...)."""
    config = Qwen2_5OmniThinkerConfig(
        text_config=TEXT,
        vision_config=VISION,
        audio_config=AUDIO,
        position_id_per_seconds=PER_SECOND,
        seconds_per_chunk=2,
        tie_word_embeddings=True,
        **(token_ids or {}),
    )
    return Qwen2_5OmniThinkerForConditionalGeneration(config)
