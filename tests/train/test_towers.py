"""nano's towers as its training runs them, against the library's own; and what they are trained on."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from omnimem_cli.models.towers.audio import AudioTower
from omnimem_cli.models.towers.mel import normalized
from omnimem_cli.models.towers.vision import VisionTower, towers_of
from omnimem_cli.train import tower_stage as encoders
from omnimem_cli.train.architecture import GRID, MEL, build
from omnimem_cli.world.video import make_video


@pytest.fixture(scope="module")
def towers():
    torch.manual_seed(0)
    return towers_of(build())


def test_the_vision_tower_has_the_librarys_gradients(towers):
    rows = torch.randn(5, GRID**2, 1176)
    library = towers.visual(rows.flatten(0, 1), torch.tensor([[5, GRID, GRID]])).pooler_output
    _assert_same_gradients(towers.visual, VisionTower(towers.visual)(rows, GRID, GRID).flatten(0, 1), library)


def test_the_audio_tower_has_the_librarys_gradients(towers):
    mel = torch.randn(4, MEL.feature_size, 80)
    library = towers.audio_tower(torch.cat(list(mel), 1), feature_lens=torch.tensor([320])).last_hidden_state
    _assert_same_gradients(towers.audio_tower, torch.cat(AudioTower(towers.audio_tower)(list(mel))), library)


def _assert_same_gradients(tower, ours, library):
    """Of the same random projection of both outputs, parameter by parameter."""
    weights = torch.randn_like(ours)
    known = [p for p in tower.parameters() if p.requires_grad]
    gradients, expected = (
        torch.autograd.grad((out * weights).sum(), known, allow_unused=True) for out in (ours, library)
    )
    pairs = [(got, wanted) for got, wanted in zip(gradients, expected, strict=True) if wanted is not None]
    assert len(pairs) > 20
    assert all((got - wanted).abs().max() < 1e-4 * max(wanted.abs().max(), 1.0) for got, wanted in pairs)


def test_windows_of_sound_in_a_batch_have_the_mel_of_the_library():
    wave = make_video(2, 3).sound()
    extractor = WhisperFeatureExtractor(
        feature_size=MEL.feature_size, hop_length=MEL.hop_length, n_fft=MEL.n_fft, chunk_length=300
    )
    library = extractor(
        wave.numpy(), sampling_rate=16_000, return_tensors="pt", padding="do_not_pad", truncation=False
    ).input_features[0]
    margin = encoders.MARGIN
    padded = torch.nn.functional.pad(wave[None, None], (margin, margin), mode="reflect")[0]
    spec = encoders.mel_frames(padded.expand(2, -1))
    assert (normalized(spec, spec.max()) - library).abs().max() < 1e-5


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
