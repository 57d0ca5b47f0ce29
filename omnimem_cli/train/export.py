"""Writes nano as a folder in the library's own layout: what `from_pretrained` and the tool read."""

import copy
import dataclasses
import json
from pathlib import Path

import torch
from transformers import (
    GenerationConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2Tokenizer,
    WhisperFeatureExtractor,
)

from omnimem_cli.train.architecture import MEL, PATCHES
from omnimem_cli.train.nano_tokenizer import END_OF_TEXT, TURN_END

LONGEST_SOUND_S = 300
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}"
    "{% elif part.type == 'video' %}<|vision_bos|><|VIDEO|><|vision_eos|>"
    "{% elif part.type == 'image' %}<|vision_bos|><|IMAGE|><|vision_eos|>"
    "{% elif part.type == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def save_checkpoint(model: Qwen2_5OmniThinkerForConditionalGeneration, tokenizer: Qwen2Tokenizer, folder: Path) -> None:
    """Write weights (bfloat16), configs, tokenizer and front-end settings to `folder`."""
    ends = [tokenizer.convert_tokens_to_ids(token) for token in (TURN_END, END_OF_TEXT)]
    small = copy.deepcopy(model).to(torch.bfloat16)
    small.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=ends[1], do_sample=False)
    small.save_pretrained(folder)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(_front_ends(), indent=2) + "\n")


def _front_ends() -> dict:
    """The settings of sound and picture in one dictionary, as the published checkpoints keep them."""
    sound = WhisperFeatureExtractor(
        **dataclasses.asdict(MEL), chunk_length=LONGEST_SOUND_S, return_attention_mask=True
    ).to_dict()
    picture = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5OmniProcessor",
        "min_pixels": PATCHES.min_pixels,
        "max_pixels": PATCHES.max_pixels,
        "patch_size": PATCHES.patch_size,
        "temporal_patch_size": PATCHES.temporal_patch_size,
        "merge_size": PATCHES.merge_size,
        "image_mean": list(PATCHES.image_mean),
        "image_std": list(PATCHES.image_std),
    }
    return {**sound, **picture}
