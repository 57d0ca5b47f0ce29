"""Whisper's log-mel spectrogram, segment by segment, equal to the extractor on the whole sound.

Knows samples and mel frames; knows no tokens and no clock. Samples are on the host, frames where the filters are: what
moves is sound, not its spectrogram. Three things of the one-shot extractor reach
across a cut: the STFT window (the caller hands on half a window of lookahead, the tail is carried here), the
reflection at the very start, and the floor, which lies 8 below the maximum over the whole sound (log10 of
power). The maximum comes from a first pass (``MaximumScan``), else it runs along. Past the end of the sound there
are zeros, as where the extractor pads to its full length; its truncation to that length has no counterpart.
"""

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import WhisperFeatureExtractor

from omnimem_cli.models.device import joined

FLOOR_BELOW_MAXIMUM = 8.0
LIVE_MAXIMUM = 0.0
"""Where the running maximum starts: about that of quiet speech, so that leading noise is not blown up."""


@dataclass(frozen=True)
class MelSettings:
    """The extractor's own parameters (``preprocessor_config.json``)."""

    feature_size: int = 128
    sampling_rate: int = 16_000
    hop_length: int = 160
    n_fft: int = 400

    @property
    def lookahead(self) -> int:
        """Samples after a segment that its last frames need."""
        return self.n_fft // 2

    def frames_in(self, seconds: float) -> int:
        """Mel frames of that much sound."""
        return -(-round(seconds * self.sampling_rate) // self.hop_length)


class LogMel:
    """The extractor's filters and window, on the host: a spectrogram of whole windows, without state."""

    def __init__(self, settings: MelSettings):
        self.settings = settings
        extractor = WhisperFeatureExtractor(
            feature_size=settings.feature_size,
            sampling_rate=settings.sampling_rate,
            hop_length=settings.hop_length,
            n_fft=settings.n_fft,
        )
        self._filters = torch.from_numpy(extractor.mel_filters).to(torch.float32).T.contiguous()
        self._window = torch.hann_window(settings.n_fft)

    @property
    def device(self) -> torch.device:
        """Where it is made."""
        return self._window.device

    def on(self, device: torch.device) -> "LogMel":
        """The same, made on ``device``."""
        moved = copy(self)
        moved._filters, moved._window = self._filters.to(device), self._window.to(device)
        return moved

    def __call__(self, samples: Tensor) -> Tensor:
        """log10 of the mel power of every whole window: float32 samples [..., n], wherever they are, to
        [..., feature_size, windows] on ``device``."""
        if samples.device != self.device:
            samples = joined([samples], self.device)
        n_fft, hop = self.settings.n_fft, self.settings.hop_length
        spectrum = torch.stft(samples, n_fft, hop, window=self._window, center=False, return_complex=True)
        real, imaginary = torch.view_as_real(spectrum).unbind(-1)
        power = real.square().addcmul_(imaginary, imaginary)  # a third of the time that the absolute value takes
        return torch.clamp(self._filters @ power, min=1e-10).log10()


class MaximumScan:
    """The log-mel maximum of one sound, block by block."""

    def __init__(self, log_mel: LogMel):
        self._log_mel, self._settings = log_mel, log_mel.settings
        self._maximum: float | None = None  # over the complete windows so far
        self._rest: Tensor | None = None  # samples that later windows need; None before the first block
        self._reflected = False

    def add(self, samples: Tensor) -> None:
        """The next block: float32 [n], any n."""
        held = samples if self._rest is None else torch.cat([self._rest, samples])
        half = self._settings.n_fft // 2
        if not self._reflected and len(held) > half:
            held, self._reflected = torch.cat([_reflected(held, half), held]), True
        self._maximum, self._rest = self._over(held) if self._reflected else (self._maximum, held)

    def maximum(self) -> float | None:
        """Over all blocks with zeros after the last one; None where there was no block. Changes nothing."""
        if self._rest is None:
            return None
        half = self._settings.n_fft // 2
        held = self._rest if self._reflected else torch.cat([_reflected(self._rest, half), self._rest])
        return self._over(F.pad(held, (0, self._settings.n_fft)))[0]

    def _over(self, held: Tensor) -> tuple[float | None, Tensor]:
        """The maximum with the complete windows of ``held``, and the samples that later windows need."""
        n_fft, hop = self._settings.n_fft, self._settings.hop_length
        count = (len(held) - n_fft) // hop + 1
        if count <= 0:
            return self._maximum, held
        top = self._log_mel(held[: (count - 1) * hop + n_fft]).max().item()
        return max(top, self._maximum if self._maximum is not None else top), held[count * hop :].clone()


@dataclass
class StreamingLogMel:
    """Log-mel frames of one sound, segment by segment. ``maximum``: of a scan; None: each segment's is read back."""

    log_mel: LogMel
    maximum: float | None = None
    running: float = LIVE_MAXIMUM
    tail: Tensor | None = None  # the samples before the next segment that its first frames need

    def frames(self, samples: Tensor, ahead: Tensor) -> Tensor:
        """Normalized frames [feature_size, ceil(n / hop)] of the next samples [n]; ``ahead`` follows them.

        Every n but the last is a multiple of the hop. ``ahead`` is completed to ``lookahead`` by zeros.
        """
        settings = self.log_mel.settings
        n_fft, hop = settings.n_fft, settings.hop_length
        count = -(-len(samples) // hop)
        if count == 0:
            return torch.empty(settings.feature_size, 0, device=self.log_mel.device)
        following = torch.cat([samples, ahead])
        tail = _reflected(following, n_fft // 2) if self.tail is None else self.tail
        whole = torch.cat([tail, following])
        need = (count - 1) * hop + n_fft
        log = self.log_mel(F.pad(whole, (0, max(0, need - len(whole))))[:need])
        self.tail = torch.cat([tail, samples])[-(n_fft // 2) :].clone()
        return self._normalized(log)

    def _normalized(self, log: Tensor) -> Tensor:
        if self.maximum is None:
            self.running = max(self.running, log.max().item())
        top = self.running if self.maximum is None else self.maximum
        return normalized(log, top)

    def state(self) -> dict:
        """Numbers and tensors: ``StreamingLogMel(log_mel, **state)`` continues."""
        return {"maximum": self.maximum, "running": self.running, "tail": self.tail}


def _reflected(samples: Tensor, half: int) -> Tensor:
    """What a centred STFT sees before the first sample; zeros complete a very short sound."""
    return F.pad(samples, (0, max(0, half + 1 - len(samples))))[1 : half + 1].flip(0)


def normalized(log: Tensor, maximum: float | Tensor) -> Tensor:
    """What the audio tower takes of ``LogMel``'s frames, given the maximum over the whole sound."""
    return (torch.clamp(log, min=maximum - FLOOR_BELOW_MAXIMUM) + 4.0) / 4.0
