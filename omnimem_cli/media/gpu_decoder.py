"""The GPU's decoder, by ffmpeg's ``-hwaccel cuda``: tried on the file itself, and given up in words.

Knows how ffmpeg is asked for it and how it says that it took it; knows no filter, no model and no segment. Frames come
to the host as they are decoded: all filters are the processor's, so that the pixels are the same.
"""

import math
import os
import re
from collections.abc import Callable
from dataclasses import replace

from omnimem_cli.base.errors import InputError
from omnimem_cli.media.ffmpeg import Process, command, ffmpeg_path, source
from omnimem_cli.media.segment import Media, VideoStream

ON_THE_GPU = re.compile(r"Video: wrapped_avframe, cuda\b")
"""What ffmpeg says of an output whose frames stay where the GPU decoded them; of those of the processor, `yuv420p`."""
TAIL_LINES = 400  # whatever a file says about itself comes first
REFERENCES, OTHERS = {"hevc": 16 + 1, "av1": 8 * 2, "vp9": 8, "vp8": 3}, 16 + 16
"""Surfaces that ffmpeg asks NVDEC for, by codec, at most: ``nvdec_*_frame_params`` in its libavcodec. H.264 has up to
16 references and as many pictures that wait for their turn; what is older than both has fewer."""
BESIDES, MOST_THREADS = 2 + 8, 16
"""More of them: for filters and for a queue of the program (``ff_nvdec_frame_params``, ``extra_hw_frames`` in
ffmpeg_dec.c), and one per thread of the decoder: as many as there are cores and one more, up to 16."""
COPIES = 2  # each surface may be there twice: as decoded, and as it is handed on
BLOCK = 64  # pixels on a side of the largest block that is decoded whole


def gpu_options(video: VideoStream) -> dict[str, object]:
    """Input options of ffmpeg: none where the processor decodes."""
    return {} if video.gpu is None else {"hwaccel": "cuda", "hwaccel_device": video.gpu}


def with_gpu(media: Media, gpu: int, stall_s: float) -> Media:
    """The input with its picture to be decoded by CUDA device number ``gpu``.

    It stays as it is where there is no picture, and where that cannot be had: ``video.no_gpu`` then says why.
    """
    video = media.video
    if video is None:
        return media
    reason = _reason(media, replace(video, gpu=gpu), stall_s)
    return replace(media, video=replace(video, no_gpu=reason) if reason else replace(video, gpu=gpu))


def _reason(media: Media, video: VideoStream, stall_s: float) -> str:
    """Why the processor decodes all the same; empty: the GPU has decoded the first frame."""
    if media.origin_s is None:
        return "the input is live, or holds recordings that were joined"
    if video.key_step_s is not None:
        return "key frames alone are decoded one by one"
    options = {"noautorotate": None, "hwaccel_output_format": "cuda"} | gpu_options(video) | media.opening
    node = source(media.path, **options)[video.specifier]
    trial = node.output("-", f="null", **{"frames:v": 1})
    code, lines = _said(command(trial, "info"), media.path, stall_s)
    if code == 0 and any(map(ON_THE_GPU.search, lines)):
        return ""
    _, faults = _said(command(trial), media.path, stall_s)
    return _first(faults) or f"it cannot decode {video.codec} of this kind"


def without_gpu(media: Media, reason: str) -> Media:
    """The input with its picture to be decoded by the processor, and why."""
    return replace(media, video=replace(media.video, gpu=None, no_gpu=reason))


def decoder_bytes(video: VideoStream | None) -> int:
    """The most device memory that the pictures of the GPU's decoder take; 0 where the processor decodes.

    What its process takes before the first one is not in it: that depends on the driver.
    """
    if video is None or video.gpu is None:
        return 0
    threads = min((os.cpu_count() or 1) + 1, MOST_THREADS)
    surfaces = COPIES * (REFERENCES.get(video.codec, OTHERS) + BESIDES + threads)
    width, height = (math.ceil(side / BLOCK) * BLOCK for side in video.stored or (video.width, video.height))
    return math.ceil(surfaces * width * height * video.pixel_bytes)


def gpu_fault(gpu: int = 0) -> str:
    """Why ffmpeg cannot use CUDA device number ``gpu``; empty where it can. Raises MissingError without ffmpeg."""
    nothing = ["-f", "lavfi", "-i", "color=s=64x64", "-frames:v", "1", "-f", "null", "-"]
    args = ["-hide_banner", "-nostdin", "-nostats", "-v", "error", "-init_hw_device", f"cuda=gpu:{gpu}"]
    code, faults = _said([ffmpeg_path(), *args, *nothing], "ffmpeg")
    return "" if code == 0 else _first(faults) or "ffmpeg does not know it"


def _said(args: list[str], subject: str, stall_s: float = 60.0) -> tuple[int, list[str]]:
    """The exit status of a command, and the lines that it wrote."""
    with Process(args, subject, stall_s=stall_s, tail_lines=TAIL_LINES) as process:
        try:
            return process.finish(), process.tail.splitlines()
        except InputError as error:  # it stalled
            return 1, [error.message]


def _first(faults: list[str]) -> str:
    """The first error, which names the cause; the others say what came of it."""
    return f"ffmpeg says: {faults[0].rstrip('.')}" if faults else ""


class GpuPictures:
    """What a `FrameReader` reads: frames of the GPU's decoder; of the processor's where not even the first one comes.

    A GPU that could decode when it was tried may have no memory left once the model is loaded. ``start``: starts
    ffmpeg, with the GPU's decoder or without. ``refused``: why the processor decodes, else empty. One thread reads; any
    thread may ``kill``.
    """

    def __init__(self, start: Callable[[bool], Process]):
        self.refused = ""
        self._start, self._process = start, start(True)
        self._killed = self._begun = False
        self.subject = self._process.subject

    @property
    def errors(self) -> int:
        """Lines that ffmpeg wrote to stderr."""
        return self._process.errors

    @property
    def tail(self) -> str:
        """The last of them."""
        return self._process.tail

    def read(self, size: int, output: int = 0) -> bytes:
        """The next bytes of an output, fewer than ``size`` only at its end. Raises InputError on a stall."""
        taken = self._process.read(size, output)
        if not self._begun and len(taken) < size and not self._killed:
            taken = self._read_by_processor(size, output)
        self._begun = True
        return taken

    def _read_by_processor(self, size: int, output: int) -> bytes:
        self._process.finish()
        reason = _first(self._process.tail.splitlines()) or "it delivered nothing"
        self._process.close()
        self._process = self._start(False)
        if self._killed:
            self._process.kill()
        taken = self._process.read(size, output)
        if len(taken) == size:
            self.refused = reason
        return taken

    def clear_errors(self) -> None:
        """Forget the errors so far."""
        self._process.clear_errors()

    def kill(self) -> None:
        """End now; a reader in another thread then sees the end."""
        self._killed = True
        self._process.kill()

    def close(self) -> None:
        """End and reap the process. Harmless when called again."""
        self.kill()
        self._process.close()
