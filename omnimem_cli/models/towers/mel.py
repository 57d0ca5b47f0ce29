"""Whisper's log-mel spectrogram, segment by segment, equal to the extractor on the whole sound.

Knows samples and mel frames; knows no tokens and no clock. Three things of the one-shot extractor reach
across a cut: the STFT window (the caller hands on half a window of lookahead, the tail is carried here), the
reflection at the very start, and the floor, which lies 8 below the maximum over the whole sound (log10 of
power). The maximum is learned by a first pass (``scan_audio``), else it runs along. Past the end of the sound there
are zeros, as where the extractor pads to its full length; its truncation to that length has no counterpart.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import WhisperFeatureExtractor

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
    """The extractor's filters and window: a spectrogram of whole windows, without state."""

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

    def __call__(self, samples: Tensor) -> Tensor:
        """log10 of the mel power of every whole window: float32 samples [..., n] -> [..., feature_size, windows]."""
        n_fft, hop = self.settings.n_fft, self.settings.hop_length
        spectrum = torch.stft(samples, n_fft, hop, window=self._window, center=False, return_complex=True)
        return torch.clamp(self._filters @ spectrum.abs() ** 2, min=1e-10).log10()


class StreamingLogMel:
    """Log-mel frames of consecutive pieces of sound. ``maximum``: None where nothing was listened to."""

    def __init__(self, settings: MelSettings):
        self.settings = settings
        self._log_mel = LogMel(settings)
        self.maximum: float | None = None
        self.running = LIVE_MAXIMUM
        self.tail: Tensor | None = None
        self._unheard: Tensor | None = None
        self._begun = False

    def scan_audio(self, samples: Tensor) -> None:
        """First pass over a sound: float32 [n], any n, the whole of it in order, then ``open``."""
        if self._unheard is None:
            self.maximum, self._begun = None, False
            self._unheard = torch.empty(0)
        held = torch.cat([self._unheard, samples])
        half = self.settings.n_fft // 2
        if not self._begun and len(held) > half:
            held = torch.cat([_reflected(held, half), held])
            self._begun = True
        self._unheard = self._hear(held) if self._begun else held

    def open(self) -> None:
        """A new stream begins. What was listened to since the last one serves it, zeros follow its end."""
        if self._unheard is not None:
            self.scan_audio(torch.zeros(self.settings.n_fft))
        elif self.tail is not None:
            self.maximum = None
        self._unheard, self.tail, self.running = None, None, LIVE_MAXIMUM

    def frames(self, samples: Tensor, ahead: Tensor) -> Tensor:
        """Normalized frames [feature_size, ceil(n / hop)] of the next samples [n]; ``ahead`` follows them.

        Every n but the last is a multiple of the hop. ``ahead`` is completed to ``lookahead`` by zeros.
        """
        n_fft, hop = self.settings.n_fft, self.settings.hop_length
        count = -(-len(samples) // hop)
        if count == 0:
            return torch.empty(self.settings.feature_size, 0)
        following = torch.cat([samples, ahead])
        tail = _reflected(following, n_fft // 2) if self.tail is None else self.tail
        whole = torch.cat([tail, following])
        need = (count - 1) * hop + n_fft
        log = self._log_mel(F.pad(whole, (0, max(0, need - len(whole))))[:need])
        self.tail = torch.cat([tail, samples])[-(n_fft // 2) :].clone()
        return self._normalized(log)

    def _normalized(self, log: Tensor) -> Tensor:
        if self.maximum is None:
            self.running = max(self.running, log.max().item())
        top = self.running if self.maximum is None else self.maximum
        return normalized(log, top)

    def _hear(self, held: Tensor) -> Tensor:
        """Take the maximum over the complete frames in ``held``; returns the samples still needed."""
        count = (len(held) - self.settings.n_fft) // self.settings.hop_length + 1
        if count <= 0:
            return held
        top = self._log_mel(held[: (count - 1) * self.settings.hop_length + self.settings.n_fft]).max().item()
        self.maximum = top if self.maximum is None else max(self.maximum, top)
        return held[count * self.settings.hop_length :].clone()

    def state(self) -> dict:
        """Numbers and tensors that resume the stream."""
        return {"maximum": self.maximum, "running": self.running, "tail": self.tail}

    def load_state(self, state: dict) -> None:
        """Continue where ``state`` was taken."""
        self.maximum, self.running, self.tail = state["maximum"], state["running"], state["tail"]


def _reflected(samples: Tensor, half: int) -> Tensor:
    """What a centred STFT sees before the first sample; zeros complete a very short sound."""
    return F.pad(samples, (0, max(0, half + 1 - len(samples))))[1 : half + 1].flip(0)


def normalized(log: Tensor, maximum: float | Tensor) -> Tensor:
    """What the audio tower takes of ``LogMel``'s frames, given the maximum over the whole sound."""
    return (torch.clamp(log, min=maximum - FLOOR_BELOW_MAXIMUM) + 4.0) / 4.0
