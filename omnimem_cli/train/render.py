"""Turns scripts of generated videos into tower embeddings for the text model, many videos at once.

A slide that does not change is drawn and encoded once; windows of sound without any event share a few encodings. The
towers are frozen here. Pictures pass through the simulated camera, sound through simulated codec noise.
"""

import json
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from omnimem_cli.media.segment import SAMPLE_RATE
from omnimem_cli.models.towers.audio import AudioTower
from omnimem_cli.models.towers.mel import normalized
from omnimem_cli.models.towers.vision import VisionTower, towers_of
from omnimem_cli.train.architecture import GRID
from omnimem_cli.train.tower_stage import MARGIN, mel_frames, pair_rows
from omnimem_cli.world.slides import draw
from omnimem_cli.world.video import FRAME_SIZE, Video

QUIET_WINDOWS = 3
WINDOW = 2 * SAMPLE_RATE


@dataclass(frozen=True)
class Encoded:
    """A video as the text model meets it: visual [seconds, 4, hidden], sound [windows, 20, hidden]."""

    video: Video
    visual: Tensor
    sound: Tensor

    def state(self) -> dict:
        """Text and tensors that `from_state` reads; no object that only pickle could restore."""
        return {"script": json.dumps(self.video.as_dict()), "visual": self.visual, "sound": self.sound}

    @classmethod
    def from_state(cls, state: dict) -> "Encoded":
        """Undo `state`."""
        return cls(Video.from_dict(json.loads(state["script"])), state["visual"], state["sound"])


@torch.no_grad()
def encode(model: torch.nn.Module, videos: list[Video], rng: np.random.Generator) -> list[Encoded]:
    """Encode `videos`, whose durations are whole numbers of 2-s windows."""
    visual = _see_all(towers_of(model).visual, videos, rng)
    sound = _hear_all(towers_of(model).audio_tower, videos, rng)
    return [Encoded(*item) for item in zip(videos, visual, sound, strict=True)]


def _see_all(tower: torch.nn.Module, videos: list[Video], rng: np.random.Generator) -> list[Tensor]:
    pictures, picked = [], []
    for video in videos:
        known: dict[tuple[int, int], int] = {}
        order = []
        for second in range(round(video.duration_s)):
            pair = tuple(_event_index(video, second + half) for half in (0.0, 0.5))
            if pair not in known:
                known[pair] = len(pictures) // 2
                pictures += [_picture(video, index) for index in pair]
            order.append(known[pair])
        picked.append(torch.tensor(order))
    tokens = VisionTower(tower)(pair_rows(pictures, rng), GRID, GRID)
    flicker = [0.03 * tokens.std() * torch.from_numpy(rng.standard_normal((len(p), 4, 1), np.float32)) for p in picked]
    return [tokens[p] * (1 + f) for p, f in zip(picked, flicker, strict=True)]


def _event_index(video: Video, time_s: float) -> int:
    event = video.event_at(time_s)
    return -1 if event is None else video.events.index(event)


def _picture(video: Video, index: int) -> np.ndarray:
    if index < 0:
        return draw(None, video.paper, FRAME_SIZE)
    return draw(video.events[index].slide, video.events[index].look, FRAME_SIZE)


def _hear_all(tower: torch.nn.Module, videos: list[Video], rng: np.random.Generator) -> list[Tensor]:
    windows, picked = [], []
    for video in videos:
        count = round(video.duration_s) // 2
        loud = _loud(video, count)
        quiet = np.flatnonzero(~loud)
        chosen = np.concatenate([np.flatnonzero(loud), rng.permutation(quiet)[:QUIET_WINDOWS]])
        place = np.zeros(count, int)
        if len(quiet):
            place[quiet] = chosen[loud.sum() + rng.integers(min(len(quiet), QUIET_WINDOWS), size=len(quiet))]
        place[chosen] = chosen
        row = np.zeros(count, int)
        row[chosen] = len(windows) + np.arange(len(chosen))
        windows += list(_mel_windows(video, chosen, rng))
        picked.append(torch.from_numpy(row[place]))
    tokens = torch.stack(AudioTower(tower)(windows))
    return [tokens[p] for p in picked]


def _mel_windows(video: Video, chosen: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Some windows of the video's sound: [windows, 64, 80]."""
    spec = mel_frames(torch.stack([_wave(video, int(window)) for window in chosen]))
    codec = torch.from_numpy(rng.standard_normal(spec.shape, np.float32)) * rng.uniform(0, 0.12)
    return normalized(spec + codec, spec.max())


def _wave(video: Video, window: int) -> Tensor:
    """A window's samples with MARGIN true ones on either side, at the file's ends their reflection."""
    begin, end, last = window * WINDOW - MARGIN, (window + 1) * WINDOW + MARGIN, round(video.duration_s * SAMPLE_RATE)
    wave = video.sound(max(begin, 0) / SAMPLE_RATE, min(end, last) / SAMPLE_RATE)
    return torch.nn.functional.pad(wave[None, None], (max(-begin, 0), max(end - last, 0)), mode="reflect")[0, 0]


def _loud(video: Video, windows: int) -> np.ndarray:
    """Which 2-s windows hold a word or a tone."""
    loud = np.zeros(windows, bool)
    for event in video.events:
        spans = [(event.word_start_s, event.word_end_s)] if event.word else []
        spans += [(event.start_s + 0.2, event.start_s + 0.8)] if event.tone_hz else []
        for start_s, end_s in spans:
            loud[int(start_s // 2) : int(end_s // 2) + 1] = True
    return loud
