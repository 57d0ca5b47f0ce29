"""nano's batched towers and front ends against the library's own."""

import numpy as np
import pytest
import torch
from transformers import Qwen2VLImageProcessorPil, WhisperFeatureExtractor

from omnimem_cli.models.towers.vision import towers_of
from omnimem_cli.train import tower_stage as encoders
from omnimem_cli.train.architecture import build
from omnimem_cli.train.batched_mel import HOP, MEL_BINS, N_FFT, file_mel
from omnimem_cli.train.batched_towers import IMAGE_MEAN, IMAGE_STD, hear, patches, see
from omnimem_cli.world.video import make_video


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build().eval()


@torch.no_grad()
def test_frame_pairs_in_a_batch_equal_the_library_vision_tower(model):
    x = torch.randn(5, 16, 1176)
    tower = towers_of(model).visual
    library = tower(x.flatten(0, 1), torch.tensor([[5, 4, 4]])).pooler_output
    assert (see(tower, x).flatten(0, 1) - library).abs().max() < 1e-5


@torch.no_grad()
def test_sound_windows_in_a_batch_equal_the_library_audio_tower(model):
    mel = torch.randn(4, MEL_BINS, 80)
    tower = towers_of(model).audio_tower
    library = tower(torch.cat(list(mel), 1), feature_lens=torch.tensor([320])).last_hidden_state
    assert (hear(tower, mel).flatten(0, 1) - library).abs().max() < 1e-5


def test_patches_equal_the_library_image_processor():
    frames = make_video(1, 2).frames(2.0)[:2]
    processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 56 * 56, "longest_edge": 56 * 56}, image_mean=IMAGE_MEAN, image_std=IMAGE_STD
    )
    library = processor([frames[0].permute(1, 2, 0).numpy()], return_tensors="pt").pixel_values
    ours = patches(frames[:1].expand(2, -1, -1, -1)[None])[0]
    assert (ours - library).abs().max() < 1e-5


def test_the_mel_of_a_file_equals_the_library_feature_extractor():
    wave = make_video(2, 3).sound()
    extractor = WhisperFeatureExtractor(feature_size=MEL_BINS, hop_length=HOP, n_fft=N_FFT, chunk_length=300)
    library = extractor(
        wave.numpy(), sampling_rate=16_000, return_tensors="pt", padding="do_not_pad", truncation=False
    ).input_features[0]
    assert (file_mel(wave) - library).abs().max() < 1e-5


def test_a_word_is_a_label_only_where_enough_of_it_is_inside_the_window():
    one = encoders.WINDOW
    assert encoders.window_labels([(7, one // 2, one)]) == [0] * 10 + [7] * 10
    assert encoders.window_labels([(7, one - 3200, one + 6400)]) == [0] * 18 + [encoders.IGNORE] * 2
    assert encoders.window_labels([(7, -3200, 6400)]) == [7] * 20
    assert encoders.window_labels([(7, -9600, 1600), (8, 16000, 24000)]) == [encoders.IGNORE] * 10 + [8] * 10


def test_batches_are_the_same_for_the_same_seed():
    first, second = (encoders.vision_batch(np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    first, second = (encoders.audio_batch(np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
