"""Tiny random Qwen2.5-Omni checkpoints on disk, in the layouts that people have.

``thinker``: what transformers saves for the Thinker alone, one file, settings in ``processor_config.json``.
``full``: what the hub holds: ``thinker.*`` beside talker and token2wav keys, two shards with an index, a
nested config, settings in ``preprocessor_config.json``. Same seed, same weights in both.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

SPECIAL = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
IMAGE = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "rescale_factor": 1 / 255,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
SOUND = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 128,
    "sampling_rate": 16_000,
    "hop_length": 160,
    "n_fft": 400,
    "chunk_length": 300,
    "padding_value": 0.0,
    "dither": 0.0,
}


def tiny_omni(path: str | Path, layout: str = "thinker", seed: int = 0) -> Path:
    """A folder with config, weights (about 1 MB), tokenizer and settings. Returns the folder."""
    assert layout in ("thinker", "full"), layout
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    tiny_thinker(tokenizer, seed).save_pretrained(folder)
    save_generation_config(folder, tokenizer)
    if layout == "full":
        as_published(folder, "qwen2_5_omni")
        write_json(folder / "preprocessor_config.json", SOUND | IMAGE)
    else:
        settings = {"image_processor": IMAGE, "feature_extractor": SOUND}
        write_json(folder / "processor_config.json", {"processor_class": "Qwen2_5OmniProcessor"} | settings)
    return folder


def save_generation_config(folder: Path, tokenizer: Qwen2Tokenizer) -> None:
    """Generation ends at <|im_end|> and <|endoftext|>, as published."""
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    write_json(folder / "generation_config.json", {"eos_token_id": ends, "pad_token_id": ends[1]})


def tiny_tokenizer(special: dict[str, str] = SPECIAL) -> Qwen2Tokenizer:
    """Byte-level: one token per byte, plus the special tokens."""
    vocab = {char: i for i, char in enumerate(_byte_alphabet())}
    tokenizer = Qwen2Tokenizer(vocab, merges=[], extra_special_tokens=special)
    tokenizer.add_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], special_tokens=True)
    tokenizer.eos_token = "<|im_end|>"
    return tokenizer


def tiny_thinker(tokenizer: Qwen2Tokenizer, seed: int = 0) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """Random weights large enough that a wrong mask or position changes the logits."""
    torch.manual_seed(seed)
    return with_random_biases(Qwen2_5OmniThinkerForConditionalGeneration(_config(tokenizer)))


def with_random_biases(model: PreTrainedModel) -> PreTrainedModel:
    """The library starts biases at zero, which hides a bias that is forgotten."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_(std=0.1)
    return model.eval()


def _config(tokenizer: Qwen2Tokenizer) -> Qwen2_5OmniThinkerConfig:
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in SPECIAL.items()}
    return Qwen2_5OmniThinkerConfig(
        text_config=_text(),
        vision_config=_vision(),
        audio_config=_audio(),
        image_token_index=ids["image_token"],
        video_token_index=ids["video_token"],
        audio_token_index=ids["audio_token"],
        audio_start_token_id=ids["audio_bos_token"],
        audio_end_token_id=ids["audio_eos_token"],
        vision_start_token_id=ids["vision_bos_token"],
        vision_end_token_id=ids["vision_eos_token"],
        user_token_id=0,
        initializer_range=0.2,
    )


def _text() -> dict:
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]}
    size = {"vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return size | heads | {"initializer_range": 0.2, "rope_parameters": rope, "tie_word_embeddings": False}


def _vision() -> dict:
    size = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}
    return size | {
        "patch_size": 14,
        "window_size": 112,
        "fullatt_block_indexes": [1],
        "initializer_range": 0.2,
    }


def _audio() -> dict:
    size = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48}
    return size | {"num_mel_bins": 128, "n_window": 100, "output_dim": 64, "initializer_range": 0.2}


def as_published(folder: Path, model_type: str) -> None:
    """Rewrite a saved Thinker as the hub's whole model: prefixed keys, two shards, a nested config."""
    file = folder / "model.safetensors"
    weights = {f"thinker.{name}": weight for name, weight in load_file(file).items()}
    weights |= {
        "talker.codec_head.weight": torch.zeros(2, 2),
        "token2wav.code2wav_bigvgan_model.x": torch.zeros(2),
    }
    file.unlink()
    names = sorted(weights)
    shards = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for shard, held in shards.items():
        save_file({name: weights[name] for name in held}, folder / shard, metadata={"format": "pt"})
    where = {name: shard for shard, held in shards.items() for name in held}
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})
    thinker = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {"model_type": model_type, "thinker_config": thinker})


def _byte_alphabet() -> list[str]:
    """The 256 characters of byte-level BPE: printable bytes as themselves, the others from U+0100."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [256 + i for i in range(256 - len(printable))]
    return [chr(code) for code in printable + other]


def write_json(path: Path, values: dict) -> None:
    """A settings file."""
    path.write_text(json.dumps(values, indent=2))
