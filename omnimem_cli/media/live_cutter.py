"""Cuts frames and samples with stream times into segments, as they come.

Knows the format of segments, decoded frames and samples; knows no connection, no clock and no queue. What does not come
is replaced: sound by silence, a picture by the last one, or black where there was none. Segments of which nothing
came at all are left out.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from omnimem_cli.media.picture import ROUNDING_S, frame_rate
from omnimem_cli.media.segment import Format, Segment

JITTER_S = 0.1  # stamps of sound that stray less from the samples' own count
LATE_S = 2.0  # how much one stream may lag behind the other
HELD_S = 2.0  # how long a frame is shown before the picture counts as missing


@dataclass(frozen=True)
class Cut:
    """A segment, and how many of its seconds of picture and of sound really came."""

    segment: Segment
    picture_s: float
    sound_s: float


class LiveCutter:
    """``picture`` and ``sound``: whether there are such streams. ``index``: of the next segment, on the stream's clock.

    ``newest_s``: the stream time up to which anything came.
    """

    def __init__(self, form: Format, *, picture: bool, sound: bool, begin_s: float = 0.0):
        self.form = form
        self._has_picture, self._has_sound = picture, sound
        self._rate = frame_rate(form.fps) if picture else Fraction(0)
        self._scale = VideoReformatter()
        self._black = np.zeros((form.height, form.width, 3), np.uint8)
        self._turned = 0  # degrees clockwise, of what is shown
        self._shown: tuple[float, np.ndarray | av.VideoFrame] = (-math.inf, self._black)
        self.newest_s = begin_s
        self._begin(math.floor(begin_s / form.segment_s + 1e-9))

    def picture(self, time_s: float, frame: av.VideoFrame, clockwise: int = 0) -> list[Cut]:
        """Take a frame that is shown from ``time_s`` on, turned so many degrees; returns the segments that are whole
        now."""
        found = self._reach(time_s)
        if time_s < self._shown[0]:
            return found
        first = self._shown[0] == -math.inf
        if not first:
            self._show_until(time_s)
        self._shown, self._turned = (time_s, frame), clockwise
        if first:
            self._show_until(time_s)
        return found + self._whole()

    def sound(self, time_s: float, samples: np.ndarray) -> list[Cut]:
        """Take samples, float32 [n] at the form's rate; returns the segments that are whole now."""
        end_s = time_s + len(samples) / self.form.sample_rate
        found = self._reach(time_s)
        self.newest_s = max(self.newest_s, end_s)
        place, end = round(time_s * self.form.sample_rate), self._sound_end
        missing = place - end if abs(place - end) > JITTER_S * self.form.sample_rate or not self._placed else 0
        if missing > 0:
            self._add_silence(missing)
        samples = samples[-missing:] if missing < 0 else samples
        if len(samples):
            self._pieces.append(samples)
            self._sound_end += len(samples)
            self._placed = True
        return found + self._whole()

    def rest(self) -> list[Cut]:
        """What is left where nothing more comes: the last segment is as long as what came of it."""
        found: list[Cut] = []
        while self.newest_s >= (self.index + 1) * self.form.segment_s:
            found += self._filled()
        end_s = self.newest_s
        if end_s <= self.index * self.form.segment_s + ROUNDING_S:
            return found
        if self._has_picture:
            self._show_until(end_s)
        wanted = min(self._samples_before(self.index + 1), round(end_s * self.form.sample_rate))
        if self._has_sound and self._sound_end < wanted:
            self._add_silence(wanted - self._sound_end)
        return [*found, self._cut(end_s)]

    def _reach(self, time_s: float) -> list[Cut]:
        """Note a time; behind a hole of all streams, end the segment before it and begin the one behind it."""
        before_s, self.newest_s = self.newest_s, max(self.newest_s, time_s)
        behind = math.floor(time_s / self.form.segment_s + 1e-9)
        if behind <= self.index or time_s - before_s < min(self.form.segment_s, LATE_S):
            return []
        cut = self._filled() if before_s > self.index * self.form.segment_s + ROUNDING_S else []
        if behind > self.index:
            self._begin(behind)
        return cut

    def _whole(self) -> list[Cut]:
        """The segments of which nothing more is to come, or that have waited long enough."""
        found: list[Cut] = []
        while True:
            ends = (self.index + 1) * self.form.segment_s
            samples = self._samples_before(self.index + 1) + self.form.lookahead
            seen = not self._has_picture or self._frames_end >= self._frames_before(self.index + 1)
            heard = not self._has_sound or self._sound_end >= samples
            if not (seen and heard) and self.newest_s < ends + LATE_S:
                return found
            found += self._filled()

    def _filled(self) -> list[Cut]:
        """The segment in hand, with what is missing replaced."""
        if self._has_picture:
            self._show_until((self.index + 1) * self.form.segment_s)
        if self._has_sound:
            self._add_silence(max(0, self._samples_before(self.index + 1) - self._sound_end))
        return [self._cut()]

    def _show_until(self, time_s: float) -> None:
        """Frames of the grid before ``time_s`` show what is on screen."""
        while (at_s := float(self._frames_end / self._rate)) < time_s - ROUNDING_S:
            since_s = at_s - self._shown[0]
            self._frames.append((self._pixels(), min(1 / self.form.fps, max(0.0, HELD_S - since_s))))
            self._frames_end += 1

    def _pixels(self) -> np.ndarray:
        since_s, frame = self._shown
        if isinstance(frame, av.VideoFrame):
            width, height = self.form.width, self.form.height
            width, height = (height, width) if self._turned % 180 == 90 else (width, height)
            frame = self._scale.reformat(frame, width, height, format="rgb24", interpolation="BICUBIC").to_ndarray()
            if self._turned % 90 == 0:  # ffmpeg turns other angles neither
                frame = np.ascontiguousarray(np.rot90(frame, -self._turned // 90))
            self._shown = (since_s, frame)
        return frame

    def _add_silence(self, samples: int) -> None:
        if samples > 0:
            self._pieces.append(np.zeros(samples, np.float32))
            self._sound_end += samples
            self._silence += samples

    def _cut(self, end_s: float = math.inf) -> Cut:
        """The segment in hand, whose picture is shown until ``end_s`` at most; the next one begins with the frames and
        samples that are already there."""
        form, index = self.form, self.index
        first, count = self._frames_before(index), self._frames_before(index + 1) - self._frames_before(index)
        shown, later = self._frames[:count], self._frames[count:]
        sound = np.concatenate([*self._pieces, np.zeros(0, np.float32)])
        size = min(len(sound), self._samples_before(index + 1) - self._samples_before(index))
        rest, ahead = sound[size:], np.zeros(form.lookahead, np.float32)
        ahead[: min(len(rest), form.lookahead)] = rest[: form.lookahead]
        pixels = [frame for frame, _ in shown]
        frames = np.stack(pixels) if pixels else np.zeros((0, form.height, form.width, 3), np.uint8)
        times = (first + np.arange(len(frames))) / (form.fps or 1)
        segment = Segment(index, index * form.segment_s, frames, times, sound[:size], ahead)
        heard_s = max(0, size - self._silence) / form.sample_rate
        seen_s = min(sum(came_s for _, came_s in shown), end_s - segment.start_s)
        cut = Cut(segment, seen_s, heard_s if self._has_sound else 0.0)
        placed = self._placed
        self._begin(index + 1)
        self._frames, self._frames_end = later, self._frames_end + len(later)
        self._pieces, self._sound_end, self._placed = [rest], self._sound_end + len(rest), placed
        return cut

    def _begin(self, index: int) -> None:
        self.index = index
        self._frames: list[tuple[np.ndarray, float]] = []  # each with the seconds of it that came
        self._frames_end = self._frames_before(index)
        self._pieces: list[np.ndarray] = []
        self._sound_end = self._samples_before(index)
        self._silence = 0
        self._placed = False  # whether the samples follow each other: jitter counts for nothing then

    def _frames_before(self, index: int) -> int:
        return math.ceil(index * Fraction(self.form.segment_s) * self._rate)

    def _samples_before(self, index: int) -> int:
        return round(index * self.form.segment_s * self.form.sample_rate)
