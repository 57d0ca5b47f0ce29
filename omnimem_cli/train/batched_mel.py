"""The log-mel spectrogram that nano hears, in torch and in batches. Equal to WhisperFeatureExtractor's."""

import functools

import torch
from transformers.audio_utils import mel_filter_bank

from omnimem_cli.world.words import SAMPLE_RATE

N_FFT, HOP, MEL_BINS = 800, 400, 64
MARGIN = N_FFT // 2
WINDOW_MEL = 80


@functools.cache
def _filters() -> torch.Tensor:
    bank = mel_filter_bank(1 + N_FFT // 2, MEL_BINS, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE, "slaney", "slaney")
    return torch.from_numpy(bank).float()


def log_mel(padded: torch.Tensor) -> torch.Tensor:
    """log10 mel power, not yet clamped: float32 [batch, samples + 2 * MARGIN] -> [batch, 64, samples / 400].

    `padded` holds MARGIN true samples (at a file's ends: the reflection) on either side.
    """
    window = torch.hann_window(N_FFT, device=padded.device)
    spectrum = torch.stft(padded, N_FFT, HOP, window=window, center=False, return_complex=True)
    power = spectrum[..., :-1].abs() ** 2
    return torch.clamp(_filters().T @ power, min=1e-10).log10()


def normalise(log_spec: torch.Tensor, maximum: torch.Tensor) -> torch.Tensor:
    """What the audio tower takes, given the maximum of `log_mel` over the whole file."""
    return (torch.maximum(log_spec, maximum - 8.0) + 4.0) / 4.0


def file_mel(wave: torch.Tensor) -> torch.Tensor:
    """The normalised mel of a whole sound [samples]: [64, samples / 400]."""
    padded = torch.nn.functional.pad(wave[None, None], (MARGIN, MARGIN), mode="reflect")[0]
    spec = log_mel(padded)
    return normalise(spec, spec.max())[0]
