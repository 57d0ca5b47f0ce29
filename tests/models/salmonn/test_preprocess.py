"""Patches and log-mel against what the released preprocessing makes of the same frames and sound."""

import subprocess

import numpy as np
import pytest
import torch
from salmonn_tiny import expected
from torch.nn import functional as F
from transformers import WhisperFeatureExtractor

from omnimem_cli.media.ffmpeg import ffmpeg_path
from omnimem_cli.media.picture import SCALER
from omnimem_cli.models.salmonn.audio_tower import SLICE_SAMPLES, TOKENS_PER_SLICE, log_mel, slices
from omnimem_cli.models.salmonn.qwen3 import Qwen3Adapter
from omnimem_cli.models.salmonn.qwen25 import Qwen25Adapter
from omnimem_cli.models.towers.patches import patch_rows

ADAPTERS = {"salmonn25": Qwen25Adapter, "salmonn3": Qwen3Adapter}
LIMITS = {"default": 61_250, "capped": 2_400}
HOST = torch.device("cpu")
GREY_LEVEL = 1.01 / 255 / 0.25
"""One grey level of 256 after the normalization, whose smallest deviation is above 0.25."""


def scaled(frames: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Antialiased bicubic on bytes, as the released code scales; here ffmpeg does it in a run."""
    small = F.interpolate(frames, size=(height, width), mode="bicubic", antialias=True)
    return small.permute(0, 2, 3, 1)


def patches_of(family: str, limit: int) -> torch.Tensor:
    frames = expected("salmonn25", "preprocess")["video_uint8"]  # [7, 3, 48, 76]
    settings = ADAPTERS[family].patches
    pixels = max(limit, settings.cell**2)
    width, height = settings.grid(frames.shape[3], frames.shape[2], pixels)
    even = torch.cat([frames, frames[-1:]])
    return patch_rows(scaled(even, width, height), settings).flatten(0, 1)


@pytest.mark.parametrize("family", ADAPTERS)
def test_patches_of_scaled_frames_are_the_released_ones(family):
    """Scaling rounds to bytes: on another processor a value in a thousand may be one grey level off."""
    reference = expected(family, "preprocess")
    for name, limit in LIMITS.items():
        got = patches_of(family, limit)
        got, want = (got, reference["capped"]) if name == "capped" else (got[::4], reference["default_every_4th_row"])
        apart = (got - want).abs()
        assert apart.max() < GREY_LEVEL and (apart > 1e-5).float().mean() < 1e-3, name


def test_log_mel_of_a_slice_is_the_released_one():
    """Both are 3e-6 from the same sum in float64: which bits a transform gives is the processor's."""
    reference = expected("salmonn25", "preprocess")
    mel = log_mel([reference["waveform_16k"].numpy()], 128, HOST)
    assert mel.shape == (1, 128, 3000)
    torch.testing.assert_close(mel[0, :, :160], reference["mel"], atol=1e-5, rtol=0)
    torch.testing.assert_close(mel[0, :, 160:], reference["mel_tail"].expand(128, 2840), atol=1e-5, rtol=0)


@pytest.mark.parametrize("samples", [1, 150, 8_000, 16_000 * 17 + 3, SLICE_SAMPLES])
def test_log_mel_is_the_extractors(samples):
    sound = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    extractor = WhisperFeatureExtractor(feature_size=128, sampling_rate=16_000, hop_length=160, chunk_length=30)
    expected_mel = extractor(sound, sampling_rate=16_000, return_tensors="pt").input_features
    torch.testing.assert_close(log_mel([sound], 128, HOST), expected_mel, atol=1e-5, rtol=0)


def test_log_mel_is_made_on_the_device_of_the_tower():
    """A device that computes nothing stands for a GPU."""
    mel = log_mel([np.zeros(8_000, np.float32)], 128, torch.device("meta"))
    assert mel.device.type == "meta" and mel.shape == (1, 128, 3000)


def test_slices_have_floors_of_their_own():
    rng = np.random.default_rng(0)
    loud = rng.standard_normal(SLICE_SAMPLES).astype(np.float32)
    quiet = 1e-4 * rng.standard_normal(8000).astype(np.float32)
    mel = log_mel(slices(np.concatenate([loud, quiet])), 128, HOST)
    torch.testing.assert_close(mel[1], log_mel([quiet], 128, HOST)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("samples", "tokens"), [(0, 0), (100, 60), (479_999, 60), (480_000, 60), (480_001, 120), (1_520_000, 240)]
)
def test_sound_is_counted_in_whole_slices(samples, tokens):
    assert len(slices(np.zeros(samples, np.float32))) * TOKENS_PER_SLICE == tokens


@pytest.mark.parametrize(("width", "height"), [(84, 56), (56, 28), (64, 64)])
def test_ffmpeg_scales_to_within_two_grey_levels_of_the_release(width, height):
    frames = expected("salmonn25", "preprocess")["video_uint8"]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    command = [ffmpeg_path(), "-v", "error", *raw, "-s", "76x48", "-i", "-"]
    command += ["-vf", f"scale={width}:{height}:flags={SCALER}", *raw, "-"]
    done = subprocess.run(command, input=frames.permute(0, 2, 3, 1).numpy().tobytes(), capture_output=True, check=True)
    ours = torch.frombuffer(bytearray(done.stdout), dtype=torch.uint8).view(len(frames), height, width, 3)
    apart = (ours.int() - scaled(frames, width, height).int()).abs()
    assert apart.max() <= 2
    assert apart.float().mean() < 0.3
