"""Made-up media for tests: frames and sound of any length, cut into segments as the decoder would."""

import numpy as np

from omnimem_cli.media.segment import AudioStream, Format, Media, Segment, VideoStream


def frames_of(seconds: float, fps: float, width: int, height: int, seed: int = 0) -> np.ndarray:
    """uint8 [n, height, width, 3], noise."""
    count = int(np.ceil(seconds * fps - 1e-9))
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def sound_of(seconds: float, rate: int = 16_000, seed: int = 1) -> np.ndarray:
    """float32 [samples]: noise that grows louder, so that the maximum lies at the end."""
    count = round(seconds * rate)
    noise = np.random.default_rng(seed).standard_normal(count)
    return (noise * np.linspace(1e-4, 0.3, max(count, 1))[:count]).astype(np.float32)


def media_of(video_s: float | None, audio_s: float | None, width: int = 112, height: int = 84) -> Media:
    """The probe's facts of such media; None: no such stream."""
    video = None if video_s is None else VideoStream(0, "h264", width, height, 30.0, video_s)
    audio = None if audio_s is None else AudioStream(1, "aac", 1, 16_000, audio_s)
    return Media("made-up.mp4", video, audio, () if audio is None else (audio,))


def segments_of(format_: Format, frames: np.ndarray | None, sound: np.ndarray | None) -> list[Segment]:
    """Frames [n, H, W, 3] and samples [n], either None, cut by ``format_`` into segments on one clock."""
    none = np.zeros((0, format_.height, format_.width, 3), np.uint8)
    frames = none if frames is None else frames
    sound = np.zeros(0, np.float32) if sound is None else sound
    per, samples = round(format_.fps * format_.segment_s), round(format_.sample_rate * format_.segment_s)
    count = max(-(-len(frames) // per), -(-len(sound) // samples), 1)
    ahead = np.concatenate([sound, np.zeros(samples + format_.lookahead, np.float32)])
    return [
        Segment(
            index=i,
            start_s=i * format_.segment_s,
            frames=frames[i * per : (i + 1) * per],
            frame_times=np.arange(i * per, min((i + 1) * per, len(frames))) / format_.fps,
            audio=sound[i * samples : (i + 1) * samples],
            audio_ahead=ahead[min((i + 1) * samples, len(sound)) :][: format_.lookahead],
            last=i == count - 1,
        )
        for i in range(count)
    ]
