"""Tiny random Qwen3-Omni Thinkers on disk: alone, or inside the hub's layout of the whole model."""

from pathlib import Path

import torch
from tiny import IMAGE, SOUND, as_published, save_generation_config, tiny_tokenizer, with_random_biases, write_json
from transformers import Qwen3OmniMoeThinkerConfig, Qwen3OmniMoeThinkerForConditionalGeneration
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

SPECIAL = {
    "image_token": "<|image_pad|>",
    "audio_token": "<|audio_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}
PIXELS = {"patch_size": 16, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def tiny_qwen3_omni(path: str | Path, layout: str = "thinker", seed: int = 0) -> Path:
    """A folder with config, weights, tokenizer and settings. Returns the folder."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer(SPECIAL)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    with_random_biases(Qwen3OmniMoeThinkerForConditionalGeneration(_config(tokenizer))).save_pretrained(folder)
    save_generation_config(folder, tokenizer)
    if layout == "full":
        as_published(folder, "qwen3_omni_moe")
    write_json(folder / "preprocessor_config.json", SOUND | IMAGE | PIXELS)
    return folder


def _config(tokenizer: Qwen2Tokenizer) -> Qwen3OmniMoeThinkerConfig:
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in SPECIAL.items()}
    return Qwen3OmniMoeThinkerConfig(
        text_config=_text(),
        vision_config=_vision(),
        audio_config=_audio(),
        position_id_per_seconds=13,
        image_token_id=ids["image_token"],
        video_token_id=ids["video_token"],
        audio_token_id=ids["audio_token"],
        audio_start_token_id=ids["audio_bos_token"],
        vision_start_token_id=ids["vision_bos_token"],
        user_token_id=0,
        initializer_range=0.2,
    )


def _text() -> dict:
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3], "mrope_interleaved": True}
    size = {"vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "head_dim": 16}
    experts = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return size | experts | heads | {"initializer_range": 0.2, "rope_parameters": rope}


def _vision() -> dict:
    size = {"depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}
    return size | {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 2], "initializer_range": 0.2}


def _audio() -> dict:
    size = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48}
    return size | {"downsample_hidden_size": 8, "output_dim": 64, "initializer_range": 0.2}
