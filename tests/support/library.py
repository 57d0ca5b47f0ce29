"""What the library's own preprocessing makes of frames and sound (its Omni processors need torchvision)."""

import numpy as np
import torch
from transformers import WhisperFeatureExtractor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil


def library_rows(frames: np.ndarray, patch: int = 14, **pixels) -> tuple[torch.Tensor, torch.Tensor]:
    """Grid [1, 3] and patch rows of frame pairs, from the library's image processor (which doubles one image).

    ``pixels``: its mean and deviation, where they are not its defaults.
    """
    even = np.concatenate([frames, frames[-1:]]) if len(frames) % 2 else frames
    processor = Qwen2VLImageProcessorPil(do_resize=False, patch_size=patch, **pixels)
    done = [processor(frame, return_tensors="pt") for frame in even]
    rows = torch.stack([d["pixel_values"].view(-1, 3, 2, patch * patch) for d in done])
    pairs = torch.stack([rows[0::2, :, :, 0], rows[1::2, :, :, 1]], dim=3)
    height, width = done[0]["image_grid_thw"][0, 1:].tolist()
    return torch.tensor([[len(pairs), height, width]]), pairs.flatten(0, 1).flatten(1)


def library_mel(sound: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mel [1, bins, frames] and its mask, zeros after the sound, never truncated."""
    extractor = WhisperFeatureExtractor(feature_size=128, chunk_length=300)
    longest = max(extractor.n_samples, len(sound) + 16_000 - len(sound) % 16_000)
    done = extractor(sound, sampling_rate=16_000, return_attention_mask=True, return_tensors="pt", max_length=longest)
    return done.input_features, done.attention_mask
