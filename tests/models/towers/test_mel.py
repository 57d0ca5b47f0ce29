"""Streaming log-mel against WhisperFeatureExtractor on the whole sound."""

import numpy as np
import pytest
import torch
from streams import sound_of
from transformers import WhisperFeatureExtractor

from omnimem_cli.models.towers.mel import LogMel, MaximumScan, MelSettings, StreamingLogMel

WHISPER = MelSettings()
NANO = MelSettings(feature_size=64, hop_length=400, n_fft=800)


def whole(sound: np.ndarray, settings: MelSettings) -> torch.Tensor:
    """The extractor's valid frames, with zeros after the sound and without truncation."""
    extractor = WhisperFeatureExtractor(
        settings.feature_size, settings.sampling_rate, settings.hop_length, n_fft=settings.n_fft
    )
    length = (len(sound) // settings.hop_length + 4) * settings.hop_length
    features = extractor(sound, sampling_rate=16_000, return_tensors="pt", max_length=length).input_features[0]
    return features[:, : -(-len(sound) // settings.hop_length)]


def streamed(mel: StreamingLogMel, sound: np.ndarray, segment: int = 32_000) -> torch.Tensor:
    samples = torch.from_numpy(sound)
    cuts = range(0, len(sound), segment)
    ahead = mel.log_mel.settings.lookahead
    return torch.cat([mel.frames(samples[i : i + segment], samples[i + segment :][:ahead]) for i in cuts], dim=1)


def scanned(settings: MelSettings, sound: np.ndarray, block: int) -> StreamingLogMel:
    log_mel = LogMel(settings)
    scan = MaximumScan(log_mel)
    for start in range(0, len(sound), block):
        scan.add(torch.from_numpy(sound[start : start + block]))
    return StreamingLogMel(log_mel, scan.maximum())


@pytest.mark.parametrize("settings", [WHISPER, NANO], ids=["whisper", "nano"])
@pytest.mark.parametrize("samples", [32_000 * 3, 32_000 * 3 + 7, 32_000 + 161, 40_001, 150, 1])
def test_segments_of_sound_make_the_whole_spectrogram(settings, samples):
    sound = sound_of(samples / 16_000)
    mel = scanned(settings, sound, block=5_000)
    expected = whole(sound, settings)
    assert samples < 1_000 or expected.max() - expected.min() > 1, "a flat spectrogram would hide a mistake"
    assert (streamed(mel, sound) - expected).abs().max() < 1e-5


def test_six_minutes_are_not_cut_at_five():
    sound = sound_of(360)
    mel = scanned(WHISPER, sound, block=480_000)
    made = streamed(mel, sound, segment=32_000)
    assert made.shape[1] == 36_000
    assert (made - whole(sound, WHISPER)).abs().max() < 1e-5


@pytest.mark.parametrize("block", [1, 7, 399, 16_000, 10**6])
def test_a_scan_finds_the_maximum_whatever_the_blocks(block):
    sound = sound_of(0.3 if block < 399 else 3)
    sound[-1] = 1.0  # heard at full height only by a window that reaches past the end
    mel = scanned(WHISPER, sound, block)
    top = whole(sound, WHISPER).max().item() * 4 - 4
    assert mel.maximum >= top - 1e-6
    assert mel.maximum == pytest.approx(scanned(WHISPER, sound, len(sound)).maximum, abs=1e-6)


def test_asking_a_scan_for_its_maximum_changes_nothing():
    sound = sound_of(3)
    asked, unasked = MaximumScan(LogMel(WHISPER)), MaximumScan(LogMel(WHISPER))
    assert asked.maximum() is None
    for start in range(0, len(sound), 7_001):
        for scan in (asked, unasked):
            scan.add(torch.from_numpy(sound[start : start + 7_001]))
        asked.maximum()
    assert asked.maximum() == asked.maximum() == unasked.maximum()


def test_without_a_scan_the_maximum_runs_along():
    sound = sound_of(6) * 3
    mel = StreamingLogMel(LogMel(WHISPER))
    live = streamed(mel, sound)
    exact = whole(sound, WHISPER)
    assert (live - exact).abs().max() > 0.1, "the maximum must matter here"
    assert (live[:, -100:] - exact[:, -100:]).abs().max() < 1e-5
