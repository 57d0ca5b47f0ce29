"""Batched encoders against the library's own, window by window."""

import pytest
import torch

from omnimem_cli.models.towers import AudioTower, VisionTower


def towers(adapter):
    """What holds both encoders: the whole model in some of the supported transformers, its inner model in others."""
    return adapter.model if hasattr(adapter.model, "visual") else adapter.model.model


GRIDS = [(26, 46), (6, 8), (4, 4), (8, 8), (2, 30), (10, 2)]


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), GRIDS)
@pytest.mark.parametrize("pairs", [1, 3])
def test_frame_pairs_in_one_batch_are_the_librarys(tiny_adapter, height, width, pairs):
    tower = towers(tiny_adapter).visual
    rows = torch.randn(pairs, height * width, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(0))
    grid = torch.tensor([[pairs, height, width]])
    expected = tower(rows.flatten(0, 1), grid_thw=grid).pooler_output
    seen = VisionTower(tower)(rows, height, width)
    assert expected.std() > 0.1
    assert (seen.flatten(0, 1) - expected).abs().max() < 5e-6 * expected.abs().max()


@torch.no_grad()
def test_a_long_chunk_goes_through_in_parts(tiny_adapter):
    tower = VisionTower(towers(tiny_adapter).visual)
    rows = torch.randn(130, 16, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(0))
    whole = tower(rows, 4, 4)
    assert torch.allclose(whole[100:], tower(rows[100:], 4, 4), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("lengths", [[200], [200] * 5, [200, 130], [400, 7], [1], [2, 200, 0, 3], [199, 198, 200]])
def test_sound_windows_in_one_batch_are_the_librarys(tiny_adapter, lengths):
    tower = towers(tiny_adapter).audio_tower
    generator = torch.Generator().manual_seed(0)
    mels = [torch.randn(128, n, generator=generator) for n in lengths]
    heard = AudioTower(tower)(mels)
    for mel, tokens in zip(mels, heard, strict=True):
        if mel.shape[1] < 3:  # too short for a token; the library cannot encode it alone
            assert tokens.shape == (0, 64)
            continue
        expected = tower(mel, feature_lens=torch.tensor([mel.shape[1]])).last_hidden_state
        assert expected.std() > 0.1
        assert (tokens - expected).abs().max() < 1e-5
