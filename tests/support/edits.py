"""Random edits of media files whose true seconds of picture and sound follow from how they were made.

A clip is made once per container; an edit copies its packets or its bytes. ``Edited.lost_s`` is what the file promises,
by its clock, its stated length or its bytes, and nobody can watch.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import footage

SECONDS, FPS = 20, 25  # of every clip; it has a key frame every second
VIDEO = ("-c:v", "libx264", "-preset", "ultrafast", "-g", FPS, "-bf", 2, "-pix_fmt", "yuv420p")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", 8, "-g", FPS)
MPEG2 = ("-c:v", "mpeg2video", "-g", FPS, "-bf", 2)
MPEG4 = ("-c:v", "mpeg4", "-g", FPS)
CLIPS: dict[str, dict] = {
    "mp4": {"video": VIDEO},
    "mov": {"video": VIDEO},
    "mkv": {"video": VIDEO},
    "flv": {"video": VIDEO},
    "ts": {"video": VIDEO},
    "webm": {"video": VP8, "audio": ("-c:a", "libopus"), "rate": 48_000},
    "mpg": {"video": MPEG2, "audio": ("-c:a", "mp2")},
    "avi": {"video": MPEG4, "audio": ("-c:a", "libmp3lame")},
    "ogg": {"video_s": 0, "audio": ("-c:a", "libvorbis")},
    "opus": {"video_s": 0, "audio": ("-c:a", "libopus"), "rate": 48_000},
    "mka": {"video_s": 0},
    "m4a": {"video_s": 0},
    "mp3": {"video_s": 0, "audio": ("-c:a", "libmp3lame")},
    "aac": {"video_s": 0},
    "wav": {"video_s": 0, "audio": ("-c:a", "pcm_s16le")},
    "flac": {"video_s": 0, "audio": ("-c:a", "flac")},
}
"""Arguments of ``footage.av`` by suffix."""
CLOCKED = ("mp4", "mov", "mkv", "flv", "ts", "webm", "mpg", "mka", "m4a", "ogg", "opus")
"""Containers that keep the time of every packet."""
BOTH = ("mp4", "mov", "mkv", "flv", "ts", "webm", "mpg")
"""Those with picture and sound."""
JOINABLE = ("ts", "mpg", "avi", "mp3", "aac", "ogg", "opus")
"""Containers of which one file may follow another."""
STATED = ("mp4", "mov", "mkv", "webm", "flv", "avi", "wav", "mka", "m4a", "mp3", "flac")
"""Containers that state their length before the packets end."""


@dataclass
class Edited:
    """A file, its true seconds of picture and sound, and the seconds that it promises and does not hold."""

    path: Path
    video_s: float
    audio_s: float
    lost_s: float = 0.0
    story: str = ""
    shown_s: float = SECONDS  # in which any stream has packets, at most


@dataclass
class Editor:
    """Makes clips and edits in ``folder``. ``random``: decides what an edit is like."""

    folder: Path
    random: random.Random
    made: int = field(default=0)

    def clip(self, suffix: str) -> Path:
        path = self.folder / f"clip.{suffix}"
        if not path.exists():
            options = {"video_s": SECONDS, "audio_s": SECONDS} | CLIPS[suffix]
            footage.av(self.folder, path.name, **options)
        return path

    def length_s(self, suffix: str) -> tuple[float, float]:
        """True seconds of picture and sound of the clip."""
        return float(CLIPS[suffix].get("video_s", SECONDS)), float(SECONDS)

    def target(self, suffix: str) -> Path:
        self.made += 1
        return self.folder / f"edit-{self.made}.{suffix}"

    def any(self) -> Edited:
        """A random edit of a random container that it makes sense for."""
        kind = self.random.choice(list(EDITS))
        suffix = self.random.choice(EDITS[kind])
        edited = kind(self, suffix)
        edited.story = f"{kind.__name__} {suffix}: {edited.story}"
        return edited


def remux(
    source: Path,
    target: Path,
    keeps: Callable[[str, float], bool] = lambda kind, time_s: True,
    shift_s: Callable[[str, float], float] = lambda kind, time_s: 0.0,
) -> None:
    """Copy packets. ``keeps``: which, by kind ("video", "audio") and seconds; ``shift_s``: by how much later."""
    with av.open(str(source)) as reading, av.open(str(target), "w") as writing:
        outputs = {stream.index: writing.add_stream_from_template(stream) for stream in reading.streams}
        origin_s = (reading.start_time or 0) / av.time_base
        for packet in reading.demux():
            if packet.dts is None:
                continue
            kind, base = packet.stream.type, packet.time_base
            time_s = float((packet.dts if packet.pts is None else packet.pts) * base) - origin_s
            if keeps(kind, time_s + 1e-6):
                ticks = round(shift_s(kind, time_s + 1e-6) / base)
                packet.dts += ticks
                packet.pts = None if packet.pts is None else packet.pts + ticks
                packet.stream = outputs[packet.stream_index]
                writing.mux(packet)


def hole(editor: Editor, suffix: str) -> Edited:
    """No packet of any stream for some seconds, which the clock goes on to count."""
    begin, length = editor.random.randrange(2, 9), editor.random.choice((3, 4, 5, 7))
    target = editor.target(suffix)
    remux(editor.clip(suffix), target, lambda kind, time_s: not begin <= time_s < begin + length)
    video_s, audio_s = editor.length_s(suffix)
    return Edited(
        target,
        max(0.0, video_s - length),
        audio_s - length,
        length,
        f"{begin} s to {begin + length} s",
        SECONDS - length,
    )


def drop(editor: Editor, suffix: str) -> Edited:
    """No packet of one stream for some seconds."""
    begin, length = editor.random.randrange(2, 9), editor.random.choice((3, 4, 6, 9))
    lost = editor.random.choice(("video", "audio"))
    target = editor.target(suffix)
    remux(editor.clip(suffix), target, lambda kind, time_s: kind != lost or not begin <= time_s < begin + length)
    video_s, audio_s = editor.length_s(suffix)
    seconds = {"video": video_s, "audio": audio_s}
    seconds[lost] -= length
    return Edited(target, *seconds.values(), length, f"{lost} {begin} s to {begin + length} s")


def cut(editor: Editor, suffix: str) -> Edited:
    """Head and tail are cut off, as an editor would: nothing says that there was more."""
    begin, end = editor.random.randrange(0, 7), editor.random.randrange(12, 21)
    target = editor.target(suffix)
    remux(editor.clip(suffix), target, lambda kind, time_s: begin <= time_s < end, lambda kind, time_s: -float(begin))
    length = float(end - begin)
    return Edited(target, length if editor.length_s(suffix)[0] else 0.0, length, 0.0, f"{begin} s to {end} s")


def shift(editor: Editor, suffix: str) -> Edited:
    """One stream is late."""
    late, by = editor.random.choice(("video", "audio")), editor.random.choice((0.5, 2.0, 4.0, 11.0))
    target = editor.target(suffix)
    remux(editor.clip(suffix), target, shift_s=lambda kind, time_s: by if kind == late else 0.0)
    return Edited(target, *editor.length_s(suffix), 0.0, f"{late} by {by} s", SECONDS + by)


def jump(editor: Editor, suffix: str) -> Edited:
    """The clock of all streams jumps ahead: a recording was paused."""
    at, by = editor.random.randrange(4, 15), editor.random.choice((12.0, 40.0, 300.0))
    target = editor.target(suffix)
    remux(editor.clip(suffix), target, shift_s=lambda kind, time_s: by if time_s >= at else 0.0)
    return Edited(target, *editor.length_s(suffix), by, f"at {at} s by {by} s")


def join(editor: Editor, suffix: str) -> Edited:
    """One file written after another of its kind."""
    one, target = editor.clip(suffix), editor.target(suffix)
    target.write_bytes(one.read_bytes() * 2)
    video_s, audio_s = editor.length_s(suffix)
    return Edited(target, 2 * video_s, 2 * audio_s, shown_s=2 * SECONDS)


def append(editor: Editor, suffix: str) -> Edited:
    """A file that nobody reads behind another."""
    one, target = editor.clip(suffix), editor.target(suffix)
    other = editor.clip(editor.random.choice((suffix if suffix != "avi" else "mov", "mkv", "mp4", "flv", "wav")))
    target.write_bytes(one.read_bytes() + other.read_bytes())
    return Edited(target, *editor.length_s(suffix), SECONDS, f"{other.suffix} behind it")


def truncate(editor: Editor, suffix: str) -> Edited:
    """The last bytes are missing."""
    share, target = editor.random.uniform(0.3, 0.9), editor.target(suffix)
    source = _index_first(editor, suffix)
    data = source.read_bytes()
    size = int(len(data) * share)
    target.write_bytes(data[:size])
    ends = _ends_before(source, size)
    lost_s = SECONDS - min(ends.values()) if suffix in STATED else 0.0
    return Edited(target, ends.get("video", 0.0), ends.get("audio", 0.0), lost_s, f"to {share:.0%}")


def _index_first(editor: Editor, suffix: str) -> Path:
    """The clip; of MP4 a copy that can be read when its end is missing."""
    source = editor.clip(suffix)
    if suffix not in ("mp4", "mov", "m4a"):
        return source
    first = editor.folder / f"clip-first.{suffix}"
    return first if first.exists() else footage.copy(source, first, "-movflags", "+faststart")


def _ends_before(source: Path, size: int) -> dict[str, float]:
    """Seconds of each kind whose packets lie in the first ``size`` bytes."""
    ends: dict[str, float] = {}
    if source.suffix in (".ogg", ".opus"):
        size = source.read_bytes()[:size].rindex(b"OggS")  # packets can be read when their page is whole
    with av.open(str(source)) as container:
        origin_s = (container.start_time or 0) / av.time_base
        places: dict[int, int] = {}  # of the last packet of each stream: those that follow in one piece have none
        for packet in container.demux():
            places[packet.stream_index] = place = packet.pos or places.get(packet.stream_index, 0)
            if packet.pts is not None and place + packet.size <= size:
                end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base) - origin_s
                kind = packet.stream.type
                ends[kind] = max(ends.get(kind, 0.0), end_s)
    return ends


EDITS: dict[Callable[[Editor, str], Edited], tuple[str, ...]] = {
    hole: CLOCKED,
    drop: BOTH,
    cut: (*CLOCKED, "avi", "mp3", "aac", "wav"),
    shift: BOTH,
    jump: tuple(suffix for suffix in CLOCKED if suffix != "mpg"),  # its muxer knows no jumps
    join: JOINABLE,
    append: ("mp4", "mov", "mkv", "webm", "flv", "m4a", "mka", "avi", "wav"),
    truncate: tuple(CLIPS),
}
"""Edits and the suffixes of the clips that they are made of."""
