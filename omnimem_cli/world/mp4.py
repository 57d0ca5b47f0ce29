"""Writes a generated video as a real H.264/AAC mp4 that says so, and its true script as JSON where wanted.

Any length: pictures and sound are rendered segment by segment.
"""

import json
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

from omnimem_cli.media.ffmpeg import ffmpeg_path
from omnimem_cli.media.segment import SAMPLE_RATE
from omnimem_cli.models.catalogue import row
from omnimem_cli.world.video import Video

PICTURE_SIZE = 448
FILE_FPS = 10


def write_mp4(video: Video, path: Path, size: int = PICTURE_SIZE) -> None:
    """Encode `video` to `path`: H.264 yuv420p (crf 28) at 10 frames a second, AAC 64 kbit/s.

    Raises subprocess.CalledProcessError where ffmpeg fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.wav"
        _write_wav(video, sound)
        process = subprocess.Popen(_command(sound, Path(path), size), stdin=subprocess.PIPE)
        assert process.stdin is not None, "Popen was given a pipe"
        with process.stdin as pipe:
            _write_pictures(video, pipe, size)
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, process.args)


def write_script(video: Video, path: Path) -> None:
    """Write what happens in `video` as JSON: its duration and its events with times, slides and words."""
    events = [
        {
            "start_s": event.start_s,
            "end_s": event.end_s,
            "slide": str(event.slide),
            "word": event.word,
            "word_start_s": round(event.word_start_s, 3) if event.word else None,
            "word_end_s": round(event.word_end_s, 3) if event.word else None,
        }
        for event in video.events
    ]
    script = {"seed": video.seed, "split": video.split, "duration_s": video.duration_s, "events": events}
    path.write_text(json.dumps(script, indent=1) + "\n")


def _command(sound: Path, path: Path, size: int) -> list[str]:
    command = [ffmpeg_path(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size}x{size}"]
    command += ["-r", str(FILE_FPS), "-i", "-", "-i", str(sound)]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "28", "-pix_fmt", "yuv420p", "-threads", "1"]
    command += ["-c:a", "aac", "-b:a", "64k", "-movflags", "+faststart", "-fflags", "+bitexact"]
    command += ["-metadata", f"comment={row('nano').world}", str(path)]
    return command


def _write_wav(video: Video, path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        for start_s, end_s in _stretches(video):
            samples = video.sound(start_s, end_s).numpy()
            file.writeframes((samples * 32767).round().astype(np.int16).tobytes())


def _write_pictures(video: Video, pipe, size: int) -> None:
    """Every frame of the file; a slide that does not change is drawn once."""
    shown, data = None, b""
    for frame in range(round(video.duration_s * FILE_FPS)):
        event = video.event_at(frame / FILE_FPS)
        key = id(event)
        if key != shown:
            shown, data = key, video.picture(frame / FILE_FPS, size).tobytes()
        pipe.write(data)


def _stretches(video: Video, seconds: float = 60.0):
    starts = np.arange(0.0, video.duration_s, seconds)
    return [(float(start), min(float(start) + seconds, video.duration_s)) for start in starts]
