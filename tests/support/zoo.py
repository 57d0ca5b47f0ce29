"""Small media files, one builder per trait of media in the wild.

Every builder takes a folder and returns the path it wrote.
"""

import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from footage import AAC, H264, Run, av, copy, picture_file, run, sound_file, timed

from omnimem_cli.media.ffmpeg import ffmpeg_path


def no_audio(folder: Path) -> Path:
    return av(folder, "no-audio.mp4", audio_s=0)


def no_video(folder: Path) -> Path:
    return av(folder, "no-video.m4a", video_s=0)


TURNED = (0, -(1 << 16), 0, 1 << 16, 0, 0, 0, 0, 1 << 30)  # the matrix of a quarter turn (ISO/IEC 14496-12, 8.3.2)


def rotated(folder: Path) -> Path:
    """Filmed upright on a phone: stored lying, to be shown turned."""
    data = bytearray(av(folder, "lying.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", *TURNED)
    return written(folder / "rotated.mp4", bytes(data))


FLAC = ("-c:a", "flac")
"""For Matroska, where old versions of ffmpeg write what comes before the first sample of AAC as sound of its own."""

VFR: list[Run] = [(50, 0, 40), (20, 2000, 133), (50, 4660, 17)]
GAP: list[Run] = [(50, 0, 40), (50, 7000, 40)]
SLIDES: list[Run] = [(4, 0, 5000)]


def vfr(folder: Path) -> Path:
    return timed(folder, "vfr.mp4", VFR)


def pts_gap(folder: Path) -> Path:
    return timed(folder, "gap.mkv", GAP)


def slides(folder: Path) -> Path:
    """A frame every five seconds."""
    return timed(folder, "slides.mp4", SLIDES)


def negative_start(folder: Path) -> Path:
    vp8 = ("-c:v", "libvpx", "-deadline", "realtime", "-g", 50)
    plain = timed(folder, "positive.webm", [(150, 0, 40)], video=vp8)
    return copy(plain, folder / "negative.webm", "-output_ts_offset", -1, "-avoid_negative_ts", "disabled")


def audio_gap(folder: Path) -> Path:
    """Four seconds of sound, three of nothing, eight more of sound."""
    target = folder / "audio-gap.mka"
    clock = "asetnsamples=1000,asetpts='PTS+if(gte(N,64000),3/TB,0)'"
    run("-i", sound_file(folder, 12), "-af", clock, "-c:a", "pcm_s16le", target)
    return target


def late_audio(folder: Path) -> Path:
    return delayed(folder, "late-audio.mp4", audio_delay_s=2.5)


def late_start(folder: Path) -> Path:
    """A recording whose first time stamp is at 2.5 s."""
    target = folder / "late-start.mka"
    run("-i", sound_file(folder, 6), "-af", "asetpts=PTS+2.5/TB", "-c:a", "flac", target)
    return target


def late_video(folder: Path) -> Path:
    return delayed(folder, "late-video.mp4", video_delay_s=2.52)


def delayed(folder: Path, name: str, *, video_delay_s: float = 0.0, audio_delay_s: float = 0.0) -> Path:
    target = folder / name
    picture, sound = picture_file(folder, 150), sound_file(folder, 6)
    late = ("-itsoffset", video_delay_s, "-i", picture, "-itsoffset", audio_delay_s, "-i", sound)
    run(*late, "-map", "0:v", "-map", "1:a", "-fps_mode", "passthrough", *H264, *AAC, target)
    return target


def two_languages(folder: Path) -> Path:
    """Track 1 English, the default; track 2 Japanese, another sound."""
    target = folder / "two.mkv"
    marks = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=jpn")
    sounds = ("-i", sound_file(folder, 6), "-i", sound_file(folder, 6, seed=8))
    maps = ("-map", "0:v", "-map", "1:a", "-map", "2:a")
    run("-i", picture_file(folder, 150), *sounds, *maps, *H264, "-c:a", "flac", *marks, target)
    return target


def short_first_track(folder: Path) -> Path:
    """Two sounds, of which the first, the default, ends after 2 s."""
    sounds = ("-i", sound_file(folder, 2), "-i", sound_file(folder, 6))
    target = folder / "short-first.mkv"
    run("-i", picture_file(folder, 150), *sounds, "-map", 0, "-map", 1, "-map", 2, *H264, "-c:a", "flac", target)
    return target


def second_sound_without_decoder(folder: Path) -> Path:
    """A sound that is heard, and another in a codec that no ffmpeg knows."""
    plain, target = folder / "two-sounds.mp4", folder / "second-unknown.mp4"
    run("-i", sound_file(folder, 6), "-map", 0, "-map", 0, *AAC, plain)
    data = plain.read_bytes()
    return written(target, _unknown_codec(data, data.rindex(b"mp4a")))


def cover_art(folder: Path, name: str = "cover.mp3") -> Path:
    target = folder / name
    cover = ("-f", "lavfi", "-i", "color=red:s=64x64:d=0.04:r=25")
    marks = ("-map", 0, "-map", 1, "-c:v", "mjpeg", "-disposition:v", "attached_pic")
    run("-i", sound_file(folder, 6), *cover, *marks, target)
    return target


def interlaced(folder: Path) -> Path:
    target = folder / "interlaced.mpg"
    woven = ("-vf", "setfield=tff", "-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-pix_fmt", "yuv420p")
    run("-i", picture_file(folder, 150), *woven, target)
    return target


def ten_bit(folder: Path) -> Path:
    deep = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le")
    return av(folder, "ten-bit.mp4", video=deep)


def hdr(folder: Path) -> Path:
    marks = "log-level=error:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
    deep = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", marks, "-pix_fmt", "yuv420p10le")
    return av(folder, "hdr.mp4", video=deep)


def odd_size(folder: Path) -> Path:
    whole = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv444p")
    return av(folder, "odd.mkv", size=(157, 93), video=whole, audio=FLAC)


def anamorphic(folder: Path) -> Path:
    """Pixels a third wider than high."""
    return av(folder, "anamorphic.mp4", video=("-vf", "setsar=4/3", *H264))


def longer_sound(folder: Path) -> Path:
    return av(folder, "longer-sound.mp4", video_s=4, audio_s=9)


def shorter_sound(folder: Path) -> Path:
    return av(folder, "shorter-sound.mp4", video_s=9, audio_s=4)


def six_minute_sound(folder: Path) -> Path:
    return sound_file(folder, 360)


def one_frame(folder: Path) -> Path:
    return av(folder, "one-frame.mp4", video_s=0.04, audio_s=0.04)


def silent(folder: Path) -> Path:
    return av(folder, "silent.mp4", extra=("-af", "volume=0"))


def surround(folder: Path) -> Path:
    return av(folder, "surround.mkv", audio=("-ac", 6, "-c:a", "flac"))


def telephone(folder: Path) -> Path:
    """8 kHz A-law, as call recorders write it."""
    return av(folder, "telephone.wav", video_s=0, audio=("-ar", 8000, "-c:a", "pcm_alaw"))


def two_pictures(folder: Path) -> Path:
    """A slide camera first, the speaker's camera, larger and marked as the default, second."""
    target = folder / "two-pictures.mkv"
    pictures = ("-i", picture_file(folder, 150), "-i", picture_file(folder, 150, 25, 320, 192))
    run(*pictures, "-map", 0, "-map", 1, *H264, "-disposition:v:0", 0, "-disposition:v:1", "default", target)
    return target


def title_like_a_rotation(folder: Path) -> Path:
    return av(folder, "title.mkv", audio=FLAC, extra=("-metadata:s:v:0", "title=Lecture 3: rotation of 90 degrees"))


def long_subtitles(folder: Path) -> Path:
    """A film with a subtitle at ten hours."""
    text, target = folder / "long.srt", folder / "long-subtitles.mkv"
    text.write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n\n2\n10:00:00,000 --> 10:00:01,000\nby x\n")
    run("-i", av(folder, "film.mkv", audio=FLAC), "-i", text, "-map", 0, "-map", 1, "-c", "copy", "-c:s", "srt", target)
    return target


def hidden_end(folder: Path) -> Path:
    """A phone's trim: the edit list shows 2 s to 5 s of a file of 6 s."""
    data = bytearray(av(folder, "to-trim.mp4").read_bytes())
    begin = data.index(b"mvhd")
    scale = int.from_bytes(data[begin + 16 : begin + 20], "big")
    data[begin + 20 : begin + 24] = (3 * scale).to_bytes(4, "big")
    place = 0
    while (track := data.find(b"trak", place)) >= 0:
        header, media, edits = data.find(b"tkhd", track), data.find(b"mdhd", track), data.find(b"elst", track)
        own = int.from_bytes(data[media + 16 : media + 20], "big")
        first = int.from_bytes(data[edits + 16 : edits + 20], "big") + 2 * own
        data[header + 24 : header + 28] = (3 * scale).to_bytes(4, "big")
        data[edits + 12 : edits + 20] = (3 * scale).to_bytes(4, "big") + first.to_bytes(4, "big")
        place = track + 4
    return written(folder / "trimmed.mp4", bytes(data))


def sound_without_decoder(folder: Path, **kw: float) -> Path:
    """Sound in a codec that no ffmpeg knows, as phones record it."""
    data = av(folder, "phone-plain.mp4", **kw).read_bytes()
    return written(folder / "phone.mp4", _unknown_codec(data, data.index(b"mp4a", data.index(b"soun"))))


def _unknown_codec(data: bytes, place: int) -> bytes:
    """An MP4 file whose sound described at ``place`` is called another codec."""
    box = data.index(b"esds", place)
    return data[:place] + b"apac" + data[place + 4 : box] + b"dapa" + data[box + 4 :]


CENC = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "00" * 16, "-encryption_kid", "11" * 16)


def encrypted(folder: Path) -> Path:
    return copy(av(folder, "to-encrypt.mp4"), folder / "encrypted.mp4", *CENC)


def webm(folder: Path) -> Path:
    return av(
        folder, "call.webm", video=("-c:v", "libvpx", "-deadline", "realtime"), audio=("-c:a", "libopus"), rate=48_000
    )


def avi(folder: Path) -> Path:
    return av(folder, "old.avi", video=("-c:v", "mpeg4"), audio=("-c:a", "libmp3lame"))


def gif(folder: Path) -> Path:
    return av(folder, "screen.gif", audio_s=0, video=("-c:v", "gif"))


def live_recorded(folder: Path) -> Path:
    """Written to a pipe: no duration and no index anywhere."""
    target = folder / "live.mkv"
    plain = av(folder, "plain-live.mkv", audio=FLAC)
    target.write_bytes(_piped("-i", plain, "-map", 0, "-c", "copy", "-f", "matroska", "-live", 1))
    return target


def fragmented(folder: Path) -> Path:
    return av(folder, "fragmented.mp4", extra=("-movflags", "+frag_keyframe+empty_moov"))


def _piped(*args: object) -> bytes:
    quiet = [ffmpeg_path(), "-hide_banner", "-nostdin", "-v", "error"]
    command = [*quiet, *(str(arg) for arg in args), "pipe:"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout


def cut(source: Path, target: Path, share: float) -> Path:
    """The first part of a file."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def truncated_mp4(folder: Path) -> Path:
    """Cut before its index: nothing can be read."""
    return cut(av(folder, "whole.mp4"), folder / "truncated.mp4", 0.6)


def truncated_faststart(folder: Path) -> Path:
    """Cut behind its index: a part can be read."""
    whole = av(folder, "whole-fast.mp4", extra=("-movflags", "+faststart"))
    return cut(whole, folder / "truncated-fast.mp4", 0.6)


def truncated_mkv(folder: Path) -> Path:
    return cut(av(folder, "whole.mkv"), folder / "truncated.mkv", 0.6)


def being_written(folder: Path) -> Path:
    """A fragmented recording that still goes on: it ends within a fragment."""
    return cut(fragmented(folder), folder / "being-written.mp4", 0.8)


def damaged(folder: Path) -> Path:
    """A whole index, and noise in place of some packets of the picture."""
    data = bytearray(av(folder, "to-damage.mp4", audio_s=0).read_bytes())
    begin, end = data.index(b"mdat"), data.index(b"moov")
    begin, end = begin + (end - begin) // 2, end - (end - begin) // 4
    data[begin:end] = np.random.default_rng(1).bytes(end - begin)
    return written(folder / "damaged.mp4", bytes(data))


def written(target: Path, data: bytes) -> Path:
    target.write_bytes(data)
    return target


def empty(folder: Path) -> Path:
    return written(folder / "empty.mp4", b"")


def text(folder: Path) -> Path:
    return written(folder / "notes.mp4", b"Not a film, but the minutes of a meeting.\n" * 100)


def random_bytes(folder: Path) -> Path:
    return written(folder / "random.mp4", np.random.default_rng(0).bytes(50_000))


def subtitles(folder: Path) -> Path:
    return written(folder / "subtitles.mp4", b"1\n00:00:01,000 --> 00:00:02,000\nHello\n")


def missing(folder: Path) -> Path:
    return folder / "missing.mp4"


def directory(folder: Path) -> Path:
    target = folder / "directory.mp4"
    target.mkdir(exist_ok=True)
    return target


def named(name: str | bytes) -> Callable[[Path], Path]:
    """A builder of an ordinary file under an awkward name."""
    return lambda folder: av(folder, os.fsdecode(name))


non_ascii_name = named("Vorlesung – Größen 講義.mp4")
dash_name = named("-y.mp4")
non_utf8_name = named(b"caf\xe9.mp4")
colon_name = named("http:notes 12:30 %d.mp4")
newline_name = named("two\nlines 'and' \"quotes\".mp4")
