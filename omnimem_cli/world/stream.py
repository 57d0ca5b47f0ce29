"""Generated videos as the media room hands on files: the probe's facts, and segments.

Knows the world, segments and the two protocols of a model. What a decoder would add (codec noise, its own time) is
not there.
"""

from collections.abc import Iterator

import numpy as np
import torch

from omnimem_cli.media.segment import SAMPLE_RATE, AudioStream, Format, Media, Segment, VideoStream
from omnimem_cli.models.adapter import Adapter, Stream, WatchOptions
from omnimem_cli.world.video import Video

PICTURE_SIZE = 448
SCAN_BLOCK_S = 30.0


def facts_of(video: Video) -> Media:
    """What probing a file of this video would find."""
    picture = VideoStream(0, "generated", PICTURE_SIZE, PICTURE_SIZE, 25.0, video.duration_s)
    sound = AudioStream(1, "generated", 1, SAMPLE_RATE, video.duration_s)
    return Media(f"generated-{video.seed}", picture, sound, (sound,))


def segments_of(video: Video, form: Format) -> Iterator[Segment]:
    """The video cut by ``form``, rendered one segment at a time."""
    assert form.width == form.height, "generated pictures are square"
    count = max(1, int(np.ceil(video.duration_s / form.segment_s - 1e-9)))
    for i in range(count):
        start_s = i * form.segment_s
        yield _segment(video, form, i, start_s, min(start_s + form.segment_s, video.duration_s), i == count - 1)


def open_video(adapter: Adapter, video: Video, options: WatchOptions) -> Stream:
    """A stream of the video whose sound has been scanned, as the tool does with a file."""
    media = facts_of(video)
    stream = adapter.open(media, adapter.plan(media, options))
    for start_s in np.arange(0.0, video.duration_s, SCAN_BLOCK_S):
        stream.scan_audio(video.sound(float(start_s), min(float(start_s) + SCAN_BLOCK_S, video.duration_s)))
    return stream


def _segment(video: Video, form: Format, index: int, start_s: float, end_s: float, last: bool) -> Segment:
    times = start_s + np.arange(round((end_s - start_s) * form.fps)) / form.fps if form.fps else np.zeros(0)
    pictures = [video.picture(time_s, form.width) for time_s in times]
    empty = np.zeros((0, form.height, form.width, 3), np.uint8)
    return Segment(
        index=index,
        start_s=start_s,
        frames=np.stack(pictures) if pictures else empty,
        frame_times=times,
        audio=video.sound(start_s, end_s).numpy(),
        audio_ahead=_ahead(video, end_s, form),
        last=last,
    )


def _ahead(video: Video, from_s: float, form: Format) -> np.ndarray:
    """``lookahead`` samples after ``from_s``, zeros past the end."""
    until_s = min(from_s + form.lookahead / form.sample_rate, video.duration_s)
    heard = video.sound(from_s, until_s) if until_s > from_s else torch.zeros(0)
    return np.pad(heard.numpy(), (0, form.lookahead - len(heard)))
