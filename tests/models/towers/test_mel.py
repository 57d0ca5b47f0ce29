"""Streaming log-mel against WhisperFeatureExtractor on the whole sound."""

import numpy as np
import pytest
import torch
from streams import sound_of
from transformers import WhisperFeatureExtractor

from omnimem_cli.base.settings import Settings
from omnimem_cli.models.catalogue import row
from omnimem_cli.models.towers.mel import LogMel, MaximumScan, MelSettings, StreamingLogMel
from omnimem_cli.session.preflight import outline_of_row

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


def test_frames_are_made_on_the_device_and_what_is_carried_stays_on_the_host():
    """A device that computes nothing stands for a GPU: samples go there, and nothing comes back."""
    mel = StreamingLogMel(LogMel(WHISPER).on(torch.device("meta")), maximum=1.0)
    for samples, frames in ((32_000, 200), (0, 0)):
        made = mel.frames(torch.zeros(samples), torch.zeros(200))
        assert made.device.type == "meta" and made.shape == (128, frames)
        assert mel.state()["tail"].device.type == "cpu"


def test_a_model_makes_frames_where_it_is_and_scans_sound_on_the_host():
    adapter = outline_of_row(row("qwen2.5-omni-3b"), Settings(device="cpu")).adapter
    assert adapter.log_mel.device == adapter.device == torch.device("meta")
    assert adapter.host_log_mel.device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_frames_of_a_gpu_are_those_of_the_host():
    sound = sound_of(6.0)
    host = scanned(WHISPER, sound, block=5_000)
    device = StreamingLogMel(host.log_mel.on(torch.device("cuda")), host.maximum)
    assert (streamed(device, sound).cpu() - streamed(host, sound)).abs().max() < 1e-4
