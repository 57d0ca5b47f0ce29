"""Stage 1 of nano's training: the vision and the audio tower, each alone, on single moments of the world.

Linear heads on every output token name what is seen (colour, shape, digit, title) or heard (the word so far in this
window); the heads are thrown away. A tower that already says what there is lets the text model learn from its
first step.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnimem_cli.media.segment import SAMPLE_RATE
from omnimem_cli.models.towers.audio import AudioTower
from omnimem_cli.models.towers.mel import LogMel, normalized
from omnimem_cli.models.towers.patches import patch_rows
from omnimem_cli.models.towers.vision import VisionTower
from omnimem_cli.train.architecture import GRID, MEL, PATCHES
from omnimem_cli.train.optimiser import Optimiser
from omnimem_cli.world.slides import SAYS, Look, Slide, draw
from omnimem_cli.world.words import WORDS, recording, takes

NOTHING = 0
IGNORE = -100
WINDOW = 2 * SAMPLE_RATE
VISION_BATCH, AUDIO_BATCH = 96, 48
SLIDE_LABELS, _NAMES = tuple(SAYS), tuple(SAYS.values())
MARGIN = MEL.lookahead
"""Samples before and after a window of sound that its first and last mel frames need."""
_EXPOSURE = ((0.93, 1.04), (-6, 6))


def slide_labels(slide: Slide | None) -> tuple[int, ...]:
    """Class numbers of `SLIDE_LABELS`; 0 where there is no slide."""
    if slide is None:
        return (NOTHING,) * len(_NAMES)
    values = (getattr(slide, label) for label in SLIDE_LABELS)
    return tuple(names.index(value) + 1 for names, value in zip(_NAMES, values, strict=True))


def random_slide(rng: np.random.Generator) -> Slide | None:
    """Any slide, or None (an empty screen) once in twelve."""
    if rng.random() < 1 / 12:
        return None
    return Slide(*(names[rng.integers(len(names))] for names in _NAMES))


def augment_pictures(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """What a video codec and scaling leave of clean pictures: [n, 3, size, size] -> [n, 3, 56, 56], 0 to 255."""
    x = pictures.float()
    if x.shape[-1] != 56:
        x = F.interpolate(x, size=(56, 56), mode="bicubic" if rng.random() < 0.5 else "area")
    some = lambda share: torch.from_numpy((rng.random((len(x), 1, 1, 1)) < share).astype(np.float32))  # noqa: E731
    luma = x.mean(1, keepdim=True)
    chroma = x - luma
    x = luma + chroma + some(0.5) * (_soften(chroma) - chroma)
    x = x + 0.5 * some(0.3) * (_soften(x) - x)
    gain, lift = (torch.from_numpy(rng.uniform(*r, (len(x), 1, 1, 1)).astype(np.float32)) for r in _EXPOSURE)
    noise = torch.from_numpy(rng.standard_normal(x.shape, np.float32)) * 7 * some(1.0 - rng.random())
    return (x * gain + lift + noise).clamp(0, 255).round()


def _soften(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)


def pair_rows(pictures: list[np.ndarray], rng: np.random.Generator) -> Tensor:
    """What the vision tower takes of frame pairs: pictures [size, size, 3], twice as many as pairs, through the camera
    of `augment_pictures` -> patch rows [pairs, 16, 1176]."""
    frames = augment_pictures(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), rng)
    return patch_rows(frames.permute(0, 2, 3, 1), PATCHES)


def frame_pairs(slides: list[tuple[Slide | None, Slide | None]], rng: np.random.Generator) -> Tensor:
    """Patch rows [n, 16, 1176] of pairs of frames half a second apart, of (slide before, slide now)."""
    size, pictures = int(rng.choice((56, 84), p=(0.7, 0.3))), []
    for before, now in slides:
        second = draw(now, Look.random(rng), size)
        pictures += [second if before is now else draw(before, Look.random(rng), size), second]
    return pair_rows(pictures, rng)


def random_changes(count: int, rng: np.random.Generator) -> list[tuple[Slide | None, Slide | None]]:
    """(slide before, slide now); a seventh of them differ."""
    slides = [(random_slide(rng), random_slide(rng)) for _ in range(count)]
    return [(before if rng.random() < 1 / 7 else now, now) for before, now in slides]


def vision_batch(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Patch rows [batch, 16, 1176] and labels [batch, 4] of the later frame."""
    slides = random_changes(VISION_BATCH, rng)
    labels = torch.tensor([slide_labels(now) for _, now in slides])
    return frame_pairs(slides, rng), labels


def utterance(word: str, rng: np.random.Generator, split: str = "train") -> np.ndarray:
    """A recording of `word`, a little slower or faster than recorded, at a random level: float32 [samples]."""
    wave = recording(word, split, int(rng.integers(takes(word, split))))
    speed = rng.uniform(0.92, 1.09)
    at = np.arange(0, len(wave) - 1, speed)
    return (np.interp(at, np.arange(len(wave)), wave) * 10 ** rng.uniform(-0.9, -0.15)).astype(np.float32)


def mix(wave: np.ndarray, part: np.ndarray, at: int) -> None:
    """Add `part` to `wave` from sample `at` on, in place; what lies outside is cut."""
    begin, end = max(at, 0), min(at + len(part), len(wave))
    if begin < end:
        wave[begin:end] += part[begin - at : end - at]


def add_noise(wave: np.ndarray, rng: np.random.Generator) -> None:
    """Add a noise floor, and now and then a tone, in place."""
    wave += rng.standard_normal(len(wave), np.float32) * 10 ** rng.uniform(-3.5, -2.0)
    if rng.random() < 0.12:
        start, length = rng.integers(len(wave)), int(0.6 * SAMPLE_RATE)
        tone = np.sin(2 * np.pi * rng.uniform(200, 1200) / SAMPLE_RATE * np.arange(length))
        part = wave[start : start + length]
        part += (10 ** rng.uniform(-0.9, -0.2) * tone[: len(part)]).astype(np.float32)


def window_labels(spans: list[tuple[int, int, int]]) -> list[int]:
    """Per 0.1-s token of a 2-s window the word heard so far. spans: (word class, first sample, last sample).

    A word of which less than 40 % lies inside the window is nobody's business: its tokens are ignored.
    """
    labels = [NOTHING] * 20
    for word, first, last in sorted(spans, key=lambda span: span[1]):
        inside = min(last, WINDOW) - max(first, 0)
        start = max(first, 0) * 10 // SAMPLE_RATE
        if inside > 0:
            value = word if inside >= 0.4 * (last - first) else IGNORE
            labels[start:] = [value] * (20 - start)
    return labels


def sound_window(rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """Two seconds (plus margins) holding no, one or two words, often cut by the window's ends, and their labels."""
    wave = np.zeros(WINDOW + 2 * MARGIN, np.float32)
    count = rng.choice(3, p=(0.12, 0.63, 0.25))
    starts = {0: [], 1: [rng.uniform(-0.5, 1.9)], 2: [rng.uniform(-0.5, 0.5), rng.uniform(1.0, 1.9)]}[count]
    spans = []
    for start in starts:
        word = int(rng.integers(len(WORDS)))
        voice, first = utterance(WORDS[word], rng), int(start * SAMPLE_RATE)
        mix(wave, voice, first + MARGIN)
        spans.append((word + 1, first, first + len(voice)))
    add_noise(wave, rng)
    return wave, window_labels(spans)


_LOG_MEL = LogMel(MEL)


def mel_frames(padded: Tensor) -> Tensor:
    """log10 mel power, not yet normalized: [batch, samples + 2 * MARGIN] -> [batch, 64, samples / 400].

    `padded` holds MARGIN true samples (at a file's ends: the reflection) on either side.
    """
    return _LOG_MEL(padded)[..., :-1]


def heard(waves: Tensor, rng: np.random.Generator) -> Tensor:
    """Mel windows [batch, 64, 80] of waves with margins, as if each came from a file with other, louder words."""
    spec = mel_frames(waves)
    own = spec.amax((1, 2), keepdim=True)
    louder = torch.from_numpy(rng.uniform(1.0, 3.2, len(own)).astype(np.float32)).view(-1, 1, 1)
    codec = torch.from_numpy(rng.standard_normal(spec.shape, np.float32)) * rng.uniform(0, 0.15)
    return normalized(spec + codec, torch.maximum(own, louder))


def audio_batch(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mel [batch, 64, 80] and labels [batch, 20]."""
    waves, labels = zip(*(sound_window(rng) for _ in range(AUDIO_BATCH)), strict=True)
    return heard(torch.from_numpy(np.stack(waves)), rng), torch.tensor(labels)


def train_vision(tower: nn.Module, steps: int, seed: int, log: Callable[[dict], None]) -> None:
    """Train the vision tower in place."""
    classes = [len(names) + 1 for names in _NAMES]
    heads, see = nn.Linear(tower.config.out_hidden_size, sum(classes)), VisionTower(tower)

    def loss(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict]:
        logits = heads(see(batch[0], GRID, GRID)).split(classes, -1)
        targets = batch[1][:, None].expand(-1, 4, -1)
        losses = [F.cross_entropy(x.flatten(0, 1), targets[..., i].flatten()) for i, x in enumerate(logits)]
        right = [(x.argmax(-1) == targets[..., i]).float().mean() for i, x in enumerate(logits)]
        return sum(losses), dict(zip(SLIDE_LABELS, right, strict=True))

    _train(tower, heads, loss, _batches(vision_batch, seed), steps, "vision", log)


def train_audio(tower: nn.Module, steps: int, seed: int, log: Callable[[dict], None]) -> None:
    """Train the audio tower in place."""
    head, hear = nn.Linear(tower.config.output_dim, len(WORDS) + 1), AudioTower(tower)

    def loss(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict]:
        logits = head(torch.stack(hear(list(batch[0]))))
        spoken = batch[1] > NOTHING
        right = (logits.argmax(-1) == batch[1])[spoken].float().mean()
        return F.cross_entropy(logits.flatten(0, 1), batch[1].flatten(), ignore_index=IGNORE), {"word": right}

    _train(tower, head, loss, _batches(audio_batch, seed), steps, "audio", log)


def _batches(make: Callable, seed: int) -> Iterator:
    step = 0
    while True:
        yield make(np.random.default_rng((seed, step)))
        step += 1


def _train(
    tower: nn.Module, head: nn.Module, loss: Callable, batches: Iterator, steps: int, stage: str, log: Callable
) -> None:
    optimiser = Optimiser([tower, head], steps, muon_lr=0.02, adam_lr=2e-3, decay=0.6)
    began = time.monotonic()
    for step in range(steps):
        value, right = loss(next(batches))
        optimiser.step(value, step)
        if step % 50 == 0 or step == steps - 1:
            figures = {name: round(float(x), 4) for name, x in right.items()}
            log({"stage": stage, "step": step, "seconds": round(time.monotonic() - began), **figures})
