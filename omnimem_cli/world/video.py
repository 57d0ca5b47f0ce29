"""A generated video: a script of events and how each moment of it looks and sounds.

An event is a slide on screen for a while and, mostly, one spoken word (or a tone) during it. Between events the
screen may be empty. Any stretch of the video is rendered alone, in memory that depends on the stretch only, and
always the same for the same seed. Does not know questions, files or models.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch

from omnimem_cli.base.choices import SLIDE_STYLES
from omnimem_cli.media.segment import SAMPLE_RATE
from omnimem_cli.world.slides import COLOURS, DIGITS, SHAPES, TITLES, Look, Slide, draw
from omnimem_cli.world.words import WORDS, recording, takes

FRAME_SIZE = 56
_LECTURE_S = (20.0, 120.0)  # how long its slides are shown, each length of the same likelihood in logarithms
_TONES_HZ = (330.0, 660.0, 990.0)
_GRID_S = 0.5
_MAX_WORD_S = 0.9


@dataclass(frozen=True)
class Event:
    """One slide and what is heard during it. Times are seconds from the start of the video."""

    start_s: float
    end_s: float
    slide: Slide
    look: Look
    word: str | None = None
    word_start_s: float = 0.0
    word_end_s: float = 0.0
    take: int = 0
    gain: float = 0.3
    tone_hz: float | None = None


@dataclass(frozen=True)
class Video:
    """A script and the means to render it."""

    seed: int
    split: str
    duration_s: float
    events: tuple[Event, ...]
    noise: float
    paper: Look

    @property
    def slides(self) -> list[Slide]:
        """The slides in order of appearance."""
        return [event.slide for event in self.events]

    @property
    def words(self) -> list[str]:
        """The spoken words in order."""
        return [event.word for event in self.events if event.word]

    def event_at(self, time_s: float) -> Event | None:
        """The event on screen at `time_s`, None where the screen is empty."""
        for event in self.events:
            if event.start_s <= time_s < event.end_s:
                return event
        return None

    def picture(self, time_s: float, size: int = FRAME_SIZE) -> np.ndarray:
        """The clean picture at `time_s`: uint8 [size, size, 3]."""
        event = self.event_at(time_s)
        return draw(event.slide, event.look, size) if event else draw(None, self.paper, size)

    def frames(self, fps: float = 2.0, start_s: float = 0.0, end_s: float | None = None) -> torch.Tensor:
        """The frames at start_s, start_s + 1/fps, ...: uint8 [n, 3, 56, 56]; n even when the stretch allows."""
        count = round(((self.duration_s if end_s is None else end_s) - start_s) * fps)
        pictures = [self.picture(start_s + i / fps) for i in range(count)]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)

    def sound(self, start_s: float = 0.0, end_s: float | None = None) -> torch.Tensor:
        """The sound of a stretch: float32 [samples] at 16 kHz, between -1 and 1."""
        first = round(start_s * SAMPLE_RATE)
        last = round((self.duration_s if end_s is None else end_s) * SAMPLE_RATE)
        wave = self._noise(first, last)
        for event in self.events:
            if event.end_s * SAMPLE_RATE > first and event.start_s * SAMPLE_RATE < last:
                self._add_voice(wave, event, first)
                self._add_tone(wave, event, first)
        return torch.from_numpy(wave.clip(-1, 1))

    def segments(self, fps: float = 2.0, segment_s: float = 2.0) -> Iterator[tuple[float, torch.Tensor, torch.Tensor]]:
        """(start_s, frames, sound) of consecutive segments, rendered one at a time."""
        start_s = 0.0
        while start_s < self.duration_s:
            end_s = min(start_s + segment_s, self.duration_s)
            yield start_s, self.frames(fps, start_s, end_s), self.sound(start_s, end_s)
            start_s = end_s

    def as_dict(self) -> dict:
        """The script in plain values that JSON holds exactly; `from_dict` reads it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, script: dict) -> "Video":
        """The video of a script from `as_dict`, straight or through JSON."""
        events = tuple(
            Event(**{**event, "slide": Slide(**event["slide"]), "look": _look(event["look"])})
            for event in script["events"]
        )
        return cls(**{**script, "events": events, "paper": _look(script["paper"])})

    def _noise(self, first: int, last: int) -> np.ndarray:
        """The noise floor, drawn second by second so that any stretch of it is the same."""
        seconds = range(first // SAMPLE_RATE, -(-last // SAMPLE_RATE))
        blocks = [np.random.default_rng((self.seed, s)).standard_normal(SAMPLE_RATE, np.float32) for s in seconds]
        offset = first - seconds.start * SAMPLE_RATE
        return self.noise * np.concatenate([*blocks, np.zeros(0, np.float32)])[offset : offset + last - first]

    def _add_voice(self, wave: np.ndarray, event: Event, first: int) -> None:
        if event.word:
            voice = event.gain * recording(event.word, self.split, event.take)
            _add(wave, voice, round(event.word_start_s * SAMPLE_RATE) - first)

    @staticmethod
    def _add_tone(wave: np.ndarray, event: Event, first: int) -> None:
        if event.tone_hz:
            at = np.arange(int(0.6 * SAMPLE_RATE)) / SAMPLE_RATE
            tone = event.gain * np.sin(2 * np.pi * event.tone_hz * at) * np.minimum(1, 40 * np.minimum(at, at[::-1]))
            _add(wave, tone.astype(np.float32), round((event.start_s + 0.2) * SAMPLE_RATE) - first)


def _look(values: dict) -> Look:
    """JSON has no tuples."""
    return Look(**{**values, "paper": tuple(values["paper"]), "tint": tuple(values["tint"])})


def _add(wave: np.ndarray, part: np.ndarray, at: int) -> None:
    begin, end = max(at, 0), min(at + len(part), len(wave))
    if begin < end:
        wave[begin:end] += part[begin - at : end - at]


def make_video(
    seed: int, events: int = 6, style: str = "skew", split: str = "train", duration_s: float | None = None
) -> Video:
    """A random video with `events` events, the same for the same arguments.

    style: "even" (slides of 2 to 4 s), "skew" (most 2 s, some static for 8 to 24 s) or "lecture" (20 to 120 s).
    split: whose voices speak, "train" or "eval". duration_s: stretch pauses and slides to about this length.
    Colour and shape together name a slide and do not repeat within 48 events, words not within 64.
    """
    if style not in SLIDE_STYLES:
        raise ValueError(f"unknown style {style!r}, expected one of {SLIDE_STYLES}")
    rng = np.random.default_rng((seed, events, SLIDE_STYLES.index(style)))
    lengths, gaps = _timing(rng, events, style, duration_s)
    slides, words = _slides(rng, events), _endless(rng, WORDS)
    script, time_s = [], gaps[0]
    for length, gap, slide in zip(lengths, gaps[1:], slides, strict=True):
        script.append(_event(rng, time_s, length, slide, next(words), split))
        time_s += length + gap
    end_s = max(2.0, 2 * float(np.ceil(time_s / 2)))
    return Video(seed, split, end_s, tuple(script), float(10 ** rng.uniform(-3.2, -2.1)), Look.random(rng))


def _timing(rng: np.random.Generator, events: int, style: str, duration_s: float | None) -> tuple[list, list]:
    """Lengths of the events and of the gaps around them, in seconds, on a grid of half a second."""
    lengths = rng.uniform(2, 4, events)
    if style == "skew":
        luck = rng.random(events)
        lengths = np.where(luck < 0.6, rng.uniform(2, 2.6, events), lengths)
        lengths = np.where(luck > 0.85, rng.uniform(8, 24, events), lengths)
    if style == "lecture":
        lengths = np.exp(rng.uniform(*np.log(_LECTURE_S), events))
    gaps = np.where(rng.random(events + 1) < 0.3, rng.uniform(0.5, 4, events + 1), 0)
    if duration_s is not None:
        spare = max(0.0, duration_s - lengths.sum())
        gaps = rng.pareto(1.2, events + 1)
        share = rng.random(events) * gaps[1:]
        lengths, gaps = lengths + spare * share / gaps.sum(), spare * (gaps - np.append(0, share)) / gaps.sum()
    snap = lambda seconds: [float(s) for s in np.round(seconds / _GRID_S) * _GRID_S]  # noqa: E731
    return snap(lengths), snap(gaps)


def _endless(rng: np.random.Generator, items: tuple | list) -> Iterator:
    while True:
        for i in rng.permutation(len(items)):
            yield items[i]


def _slides(rng: np.random.Generator, events: int) -> list[Slide]:
    kinds = _endless(rng, [(colour, shape) for colour in COLOURS for shape in SHAPES])
    said = lambda: (DIGITS[rng.integers(len(DIGITS))], TITLES[rng.integers(len(TITLES))])  # noqa: E731
    return [Slide(*next(kinds), *said()) for _ in range(events)]


def _event(rng: np.random.Generator, start_s: float, length_s: float, slide: Slide, word: str, split: str) -> Event:
    common = {"start_s": start_s, "end_s": start_s + length_s, "slide": slide, "look": Look.random(rng)}
    common["gain"] = float(10 ** rng.uniform(-0.9, -0.2))
    luck = rng.random()
    if luck < 0.1:
        return Event(**common, tone_hz=float(rng.choice(_TONES_HZ)))
    if luck < 0.2:
        return Event(**common)
    take = int(rng.integers(takes(word, split)))
    spoken_s = len(recording(word, split, take)) / SAMPLE_RATE
    latest = max(0.2, min(length_s, 6.0) - _MAX_WORD_S)
    word_start_s = start_s + float(rng.uniform(0.1, latest))
    return Event(**common, word=word, word_start_s=word_start_s, word_end_s=word_start_s + spoken_s, take=take)
