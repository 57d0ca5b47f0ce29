"""Grids and patch rows against the library's image processor."""

import numpy as np
import pytest
import torch
from streams import frames_of
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as library_resize

from omnimem_cli.models.towers.patches import PatchSettings, patch_rows, smart_resize


@pytest.mark.parametrize("size", [(14, 2, 2), (16, 2, 2)])
def test_rows_of_a_doubled_frame_are_the_librarys(size):
    patch, temporal, merge = size
    settings = PatchSettings(patch, temporal, merge)
    frame = frames_of(1, 1, 6 * patch, 4 * patch)
    rows = patch_rows(torch.from_numpy(np.repeat(frame, 2, axis=0)), settings)
    processor = Qwen2VLImageProcessorPil(do_resize=False, patch_size=patch, merge_size=merge)
    expected = processor(frame[0], return_tensors="pt")["pixel_values"]
    assert rows.shape == (1, *expected.shape)
    assert (rows[0] - expected).abs().max() < 1e-6


def test_rows_of_two_frames_keep_them_apart():
    frames = torch.from_numpy(frames_of(2, 1, 56, 28))
    rows = patch_rows(frames, PatchSettings()).view(1, 8, 3, 2, 14 * 14)
    for i, frame in enumerate(frames):
        alone = patch_rows(frame.expand(2, -1, -1, -1), PatchSettings()).view(1, 8, 3, 2, 14 * 14)
        assert (rows[:, :, :, i] - alone[:, :, :, 0]).abs().max() < 1e-6


SIZES = [(640, 360), (1920, 1080), (1080, 1920), (320, 240), (64, 48), (3840, 2160), (100, 1000), (28, 28)]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("limits", [(128 * 784, 299 * 784), (128 * 784, 768 * 784), (3136, 3136)])
def test_grids_follow_the_librarys_rule(width, height, limits):
    expected = library_resize(height, width, factor=28, min_pixels=limits[0], max_pixels=limits[1])
    assert smart_resize(width, height, 28, *limits) == expected[::-1]


def test_a_square_picture_fills_nanos_grid():
    assert PatchSettings(min_pixels=3136, max_pixels=3136).grid(448, 448, 3136) == (56, 56)
