"""Picture and sound from one ffmpeg, for input that cannot be read twice or whose time stamps jump back.

Knows the command with both outputs; knows no segments. ffmpeg puts both streams on one clock that begins at 0:
live input states no time at which it began, and joined recordings begin anew with each part.
"""

import ffmpeg

from omnimem_cli.media.ffmpeg import LEVELS, Process, command, open_pipe, source
from omnimem_cli.media.picture import FrameReader, frame_rate, frames_until, picture_output
from omnimem_cli.media.segment import Format, Media
from omnimem_cli.media.sound import SampleReader, sound_length, sound_output


def open_single_process(
    media: Media, layout: Format, start_s: float, end_s: float | None, *, first: int = 0, stall_s: float = 60.0
) -> tuple[FrameReader | None, SampleReader | None]:
    """Start decoding both chosen streams, the picture at frame ``first`` of the range [start_s, end_s).

    There is no seeking: what comes before ``start_s`` is decoded and dropped. A stream that was not chosen has no
    reader (None). Both readers share one process. Raises MissingError when ffmpeg cannot be started.
    """
    # reinit_filter: a picture that changes its size must not restart the clock.
    node = source(media.path, **{"reinit_filter:v": 0, **media.opening})
    outputs, pipes = [], []
    if media.audio is not None:
        outputs.append(sound_output(node[media.audio.specifier], media.audio, start_s))
    if media.video is not None:
        origin_s = start_s + float(first / frame_rate(layout.fps))
        if media.audio is not None:
            pipes.append(open_pipe())
        name = f"pipe:{pipes[0][1]}" if pipes else "pipe:"
        outputs.append(picture_output(node[media.video.specifier], media.video, layout, origin_s, name))
    args = command(ffmpeg.merge_outputs(*outputs), level=LEVELS)
    process = Process(args, media.path, stall_s=stall_s, also=pipes, levels=True)
    picture = sound = None
    if media.video is not None:
        limit = frames_until(media.video, frame_rate(layout.fps), start_s, end_s)
        picture = FrameReader(process, layout, None if limit is None else limit - first, output=len(pipes))
    if media.audio is not None:
        sound = SampleReader(process, media.audio, sound_length(media, start_s, end_s))
    return picture, sound
