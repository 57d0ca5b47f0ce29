"""The audio tower of both families: Whisper encoder, window Q-Former, projection to the language model's width.

Knows waveforms, log-mel and features; knows no text, no positions and no checkpoint layout. Every 30 s slice is
encoded alone: the log-mel floor, the convolutions' padding and the position table all start anew with it, so that
slice by slice and all at once are the same numbers.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Blip2QFormerConfig, Blip2QFormerModel, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from omnimem_cli.media.segment import SAMPLE_RATE
from omnimem_cli.models.towers.mel import LogMel, MelSettings, normalized

SLICE_S = 30
SLICE_SAMPLES = SLICE_S * SAMPLE_RATE
WINDOW_S = 0.5
TOKENS_PER_SLICE = round(SLICE_S / WINDOW_S)  # one query per window: 60
TOKENS_PER_S = 1 / WINDOW_S


@cache
def _spectrogram(bins: int, device: torch.device) -> LogMel:
    return LogMel(MelSettings(feature_size=bins, sampling_rate=SAMPLE_RATE)).on(device)


def slices(audio: np.ndarray) -> list[np.ndarray]:
    """Consecutive 30 s slices of float32 [samples], the last one may be shorter; none of no samples."""
    return [audio[i : i + SLICE_SAMPLES] for i in range(0, len(audio), SLICE_SAMPLES)]


def log_mel(audio: list[np.ndarray], bins: int, device: torch.device) -> Tensor:
    """Slices of at most 30 s to float32 [slices, bins, 3000], each padded with silence, each with its own floor."""
    assert all(0 < len(a) <= SLICE_SAMPLES for a in audio), "a slice holds up to 30 s of sound"
    spectrogram = _spectrogram(bins, device)
    half = spectrogram.settings.n_fft // 2

    def row(samples: np.ndarray) -> Tensor:
        whole = F.pad(torch.from_numpy(samples), (0, SLICE_SAMPLES - len(samples)))
        log = spectrogram(F.pad(whole[None], (half, half), mode="reflect"))[0, :, :-1]  # the last window is not used
        return normalized(log, log.max())

    return torch.stack([row(samples) for samples in audio])


class AudioTower(nn.Module):
    """Log-mel [slices, bins, 3000] to [slices, 60, D]: 25 Whisper frames without overlap per audio token.

    ``config`` is the checkpoint's ``audio_config`` dict, ``width`` the language model's D.
    """

    def __init__(self, config: dict, width: int):
        super().__init__()
        assert unsupported_reason(config) is None, unsupported_reason(config)
        whisper, qformer = _whisper_config(config), _qformer_config(config["qformer_config"])
        self.bins = whisper.num_mel_bins
        self.encoder = WhisperEncoder(whisper)
        self.q_tokens = nn.Parameter(torch.zeros(1, 1, qformer.hidden_size))
        self.qformer = Blip2QFormerModel(qformer)
        self.audio_proj = nn.Linear(qformer.hidden_size, width)

    def forward(self, mel: Tensor) -> Tensor:
        """Features [slices, 60, D] in the tower's dtype."""
        frames = self.encoder(mel.to(self.audio_proj.weight)).last_hidden_state  # [slices, 1500, d_model]
        count = len(frames) * TOKENS_PER_SLICE
        windows = frames.reshape(count, -1, frames.shape[-1])  # [slices * 60, 25, d_model]
        query = self.q_tokens.expand(count, -1, -1)
        out = self.qformer(query_embeds=query, encoder_hidden_states=windows).last_hidden_state
        return self.audio_proj(out).view(len(frames), TOKENS_PER_SLICE, -1)


def unsupported_reason(config: Any) -> str | None:
    """Why no tower can be built from an ``audio_config``, None where one can.

    A saved config leaves out what equals its class's default; what no class has a default for must be there.
    """
    q = config.get("qformer_config") if isinstance(config, dict) else None
    if not isinstance(q, dict):
        return "without a qformer_config"
    if any(config.get(name) != WINDOW_S for name in ("second_per_window", "second_stride")):
        return f"whose windows are not {WINDOW_S:g} s without overlap (second_per_window, second_stride)"
    if q.get("query_length") != 1:
        return "with another query_length than 1"
    absent = [name for name in ("encoder_width", "cross_attention_freq") if name not in q]
    return f"whose qformer_config lacks {absent[0]}" if absent else None


def _whisper_config(config: dict) -> WhisperConfig:
    own = ("qformer_config", "second_per_window", "second_stride", "model_type", "num_hidden_layers")
    return WhisperConfig(**{k: v for k, v in config.items() if k not in own})


def _qformer_config(config: dict) -> Blip2QFormerConfig:
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    same = (*sizes, "hidden_act", "layer_norm_eps")
    return Blip2QFormerConfig(
        **{k: config[k] for k in same if k in config},  # its defaults are BERT's, which the release derives from
        encoder_hidden_size=config["encoder_width"],
        cross_attention_frequency=config["cross_attention_freq"],
        use_qformer_text_input=False,
    )
