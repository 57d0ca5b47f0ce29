"""How fast a file's picture is decoded by the processor and by the GPU, and its log-mel made on host and device.

Prints one line of JSON: `python -m omnimem_cli.bench.media_rates SECONDS` of generated 1080p video. Where there is no
GPU, or ffmpeg cannot use its decoder, the processor's figures stand alone and ``why`` says so.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from omnimem_cli.bench.machine import timed
from omnimem_cli.media.decode import Source
from omnimem_cli.media.ffmpeg import ffmpeg_path
from omnimem_cli.media.gpu_decoder import with_gpu
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import Format, Media
from omnimem_cli.models.towers.mel import LogMel, MelSettings, StreamingLogMel

RATE = 30  # frames per second of the file
LAYOUT = Format(2.0, 1, 644, 364)
SEGMENTS, SAMPLES, AHEAD = 47, 32_000, 200  # of a chunk of 16,384 tokens; samples of each, and after it
TRIES = 3
HOST = torch.device("cpu")


def written(folder: Path, seconds: float) -> Path:
    """A file of a moving test picture, without sound."""
    path = folder / "clip.mp4"
    picture = ["-f", "lavfi", "-i", f"testsrc2=size=1920x1080:rate={RATE}", "-t", f"{seconds:g}"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
    subprocess.run([ffmpeg_path(), "-v", "error", "-y", *picture, *coded, path], check=True, stdin=subprocess.DEVNULL)
    return path


def decoded(media: Media) -> tuple[np.ndarray, float]:
    """The frames that a model sees, and the seconds that they took."""
    with Source(media, LAYOUT) as source:
        spent, frames = timed(HOST, lambda: np.concatenate([segment.frames for segment in source]))
    return frames, spent


def decoding(seconds: float) -> dict:
    """Frames of the file per second, by processor and GPU; the mean difference of their pixels, of 255."""
    with tempfile.TemporaryDirectory() as folder:
        media = probe(str(written(Path(folder), seconds)))
        frames, spent = decoded(media)
        found = {"processor_fps": round(RATE * seconds / spent, 1), "gpu_fps": None, "difference": None}
        tried = with_gpu(media, 0, 60.0)
        if tried.video.gpu is None:
            return found | {"why": tried.video.no_gpu}
        by_gpu, spent = decoded(tried)
        apart = float(np.abs(frames.astype(np.int16) - by_gpu).mean()) if frames.shape == by_gpu.shape else 255.0
        return found | {"why": "", "gpu_fps": round(RATE * seconds / spent, 1), "difference": round(apart, 4)}


def fastest(device: torch.device, work: Callable[[], object]) -> float:
    """Milliseconds of the fastest of some tries, after one that does not count."""
    spent = [timed(device, work)[0] for _ in range(TRIES + 1)]
    return round(1000 * min(spent[1:]), 3)


def log_mel_ms(device: torch.device) -> float:
    """Of a chunk's segments, one by one as in a watch."""
    log_mel, samples = LogMel(MelSettings()).on(device), torch.randn(SAMPLES) / 10
    mel = StreamingLogMel(log_mel, maximum=1.0)
    return fastest(device, lambda: [mel.frames(samples, samples[:AHEAD]) for _ in range(SEGMENTS)])


def main(seconds: float) -> None:
    """Print all figures."""
    mel = {"host_mel_ms": log_mel_ms(HOST)}
    mel["device_mel_ms"] = log_mel_ms(torch.device("cuda")) if torch.cuda.is_available() else None
    print(json.dumps({"seconds": seconds, **decoding(seconds), **mel}))


if __name__ == "__main__":
    main(float(sys.argv[1]))
