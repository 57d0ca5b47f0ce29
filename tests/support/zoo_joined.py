"""Joined recordings, broadcasts and playlists, one builder per trait.

Every builder takes a folder and returns the path it wrote.
"""

from pathlib import Path

from footage import AAC, H264, av, picture_file, run, sound_file
from zoo import written


def transport_stream(folder: Path) -> Path:
    return av(folder, "broadcast.ts")


def changed_size(folder: Path) -> Path:
    """A picture that changes its size half-way, as browsers record calls."""
    first = av(folder, "small.ts", video_s=3, audio_s=0)
    second = av(folder, "large.ts", video_s=3, audio_s=0, size=(320, 192), extra=("-output_ts_offset", 3))
    return joined(folder / "changed-size.ts", first, second)


def changed_size_interlaced(folder: Path) -> Path:
    """An interlaced picture that changes its size half-way, as on television."""
    woven = ("-vf", "setfield=tff", "-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-pix_fmt", "yuv420p")
    first = av(folder, "narrow.ts", video_s=3, audio_s=0, video=woven)
    larger = {"size": (320, 192), "extra": ("-output_ts_offset", 3)}
    second = av(folder, "wide.ts", video_s=3, audio_s=0, video=woven, **larger)
    return joined(folder / "changed-size-interlaced.ts", first, second)


def changed_channels(folder: Path) -> Path:
    """Stereo that becomes 5.1 half-way, as on television."""
    ac3 = ("-ar", 48_000, "-c:a", "ac3")
    first, second = folder / "stereo.ts", folder / "surround.ts"
    run("-i", sound_file(folder, 12), "-t", 4, "-ac", 2, *ac3, first)
    run("-ss", 4, "-t", 4, "-i", sound_file(folder, 12), "-ac", 6, *ac3, "-output_ts_offset", 4, second)
    return joined(folder / "changed-channels.ts", first, second)


def joined_recordings(folder: Path) -> Path:
    """One file written after another: the time stamps begin anew half-way."""
    one = av(folder, "one.ts")
    return joined(folder / "joined.ts", one, one)


def joined(target: Path, *parts: Path) -> Path:
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


LIVE_WEBM = ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus", "-ar", 48_000, "-live", 1)


def language_of_two(folder: Path) -> Path:
    """A broadcast's sound that is in two languages."""
    return av(folder, "dual.ts", audio=("-c:a", "mp2", "-metadata:s:a:0", "language=eng,fre"))


def two_programmes(folder: Path) -> Path:
    """A programme without sound first, one with both, and a smaller picture, second."""
    target = folder / "programmes.ts"
    pictures = ("-i", picture_file(folder, 150, 25, 320, 192), "-i", picture_file(folder, 150))
    marks = ("-program", "title=Barker:st=0", "-program", "title=Talk:st=1:st=2")
    maps = ("-map", "0:v", "-map", "1:v", "-map", "2:a")
    run(*pictures, "-i", sound_file(folder, 6), *maps, *H264, *AAC, *marks, target)
    return target


def variants(folder: Path) -> Path:
    """A playlist of two sizes of one film with one sound."""
    pictures = ("-map", "0:v", "-map", "0:v", "-map", "1:a", *H264, *AAC, "-s:v:0", "80x48", "-s:v:1", "160x96")
    split = ("-var_stream_map", "a:0,agroup:aud v:0,agroup:aud v:1,agroup:aud", "-master_pl_name", "master.m3u8")
    hls = ("-hls_playlist_type", "vod", "-f", "hls", folder / "variant%v.m3u8")
    run("-i", picture_file(folder, 150), "-i", sound_file(folder, 6), *pictures, *split, *hls)
    return folder / "master.m3u8"


def variants_listed(folder: Path, *rates: int) -> Path:
    """The same, the larger one first; ``rates``: what is stated of each."""
    variants(folder)
    group = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aud",NAME="one",DEFAULT=YES,URI="variant0.m3u8"'
    lines = ["#EXTM3U", group]
    for rate, size, name in zip(rates, ("160x96", "80x48"), ("variant2", "variant1"), strict=True):
        lines += [f'#EXT-X-STREAM-INF:BANDWIDTH={rate},RESOLUTION={size},AUDIO="aud"', f"{name}.m3u8"]
    return written(folder / "listed.m3u8", "\n".join([*lines, ""]).encode())


def locked_playlist(folder: Path) -> Path:
    """An encrypted playlist with its key and its segments beside it."""
    key, info, target = folder / "locked.key", folder / "locked.info", folder / "locked.m3u8"
    key.write_bytes(bytes(range(16)))
    info.write_text(f"locked.key\n{key}\n")
    hls = ("-hls_key_info_file", info, "-hls_playlist_type", "vod", "-f", "hls")
    run("-i", av(folder, "to-lock.mp4"), "-c", "copy", *hls, target)
    return target


def discontinuity(folder: Path) -> Path:
    """A playlist of two recordings, each on its own clock."""
    av(folder, "before.ts"), av(folder, "after.ts")
    head = "#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:7", "#EXTINF:6,", "before.ts"
    lines = *head, "#EXT-X-DISCONTINUITY", "#EXTINF:6,", "after.ts", "#EXT-X-ENDLIST", ""
    return written(folder / "discontinuity.m3u8", "\n".join(lines).encode())


def clock_falls(folder: Path) -> Path:
    """Joined recordings, of which the first began at 100 s: its clock falls by more than the demuxer corrects."""
    first = av(folder, "later.ts", extra=("-output_ts_offset", 100))
    return joined(folder / "falls.ts", first, av(folder, "earlier.ts"))


def clock_jumps_ahead(folder: Path) -> Path:
    """Joined recordings of which the second began 680 s after the first had ended."""
    later = av(folder, "much-later.ts", extra=("-output_ts_offset", 686))
    return joined(folder / "ahead.ts", av(folder, "soon.ts"), later)


def late_sound_in_a_stream(folder: Path) -> Path:
    """A transport stream whose sound begins after what a first look reads."""
    steady = ("-b:v", "8M", "-minrate", "8M", "-maxrate", "8M", "-bufsize", "1M", "-x264-params", "nal-hrd=cbr")
    late = ("-itsoffset", 8, "-i", sound_file(folder, 6), "-map", "0:v", "-map", "1:a")
    target = folder / "late-sound.ts"
    run("-i", picture_file(folder, 350), *late, *H264, *steady, *AAC, target)
    return target


def sound_in_a_later_table(folder: Path) -> Path:
    """A transport stream of pictures alone, followed by one that has sound: its tables name the sound half-way."""
    alone = av(folder, "alone.ts", audio_s=0)
    return joined(folder / "later-table.ts", alone, av(folder, "with-sound.ts", extra=("-output_ts_offset", 6)))


def changed_rate(folder: Path) -> Path:
    """Raw AAC whose sample rate changes half-way."""
    first = av(folder, "low.aac", video_s=0, rate=16_000)
    return joined(
        folder / "rates.aac", first, av(folder, "high.aac", video_s=0, rate=16_000, audio=("-ar", 44_100, *AAC))
    )


def flv_after_flv(folder: Path) -> Path:
    one = av(folder, "one.flv", extra=("-b:v", "800k"))
    return joined(folder / "two.flv", one, one)


def flv_clock_begins_anew(folder: Path) -> Path:
    """FLV whose time stamps fall to 0 half-way, as an encoder writes it that lost its connection."""
    one = av(folder, "one.flv", extra=("-b:v", "800k"))
    return written(folder / "anew.flv", one.read_bytes() + one.read_bytes()[13:])  # without a second header


def ogg_of_two_rates(folder: Path) -> Path:
    """Ogg whose second part has another sample rate, which ffmpeg does not follow."""
    rates = (("low.ogg", 22_050), ("high.ogg", 44_100))
    parts = (av(folder, name, video_s=0, audio=("-c:a", "libvorbis", "-ar", rate)) for name, rate in rates)
    return joined(folder / "two-rates.ogg", *parts)


def webm_after_webm(folder: Path) -> Path:
    one = av(folder, "live-one.webm", extra=LIVE_WEBM, rate=48_000)
    return joined(folder / "live-two.webm", one, one)


def mp4_after_mp4(folder: Path) -> Path:
    one = av(folder, "single.mp4")
    return joined(folder / "double.mp4", one, one)


def playlist(folder: Path) -> Path:
    """A playlist that reaches out to the network."""
    lines = "#EXTM3U", "#EXT-X-TARGETDURATION:9", "#EXTINF:9,", "http://127.0.0.1:9/a.ts", "#EXT-X-ENDLIST", ""
    return written(folder / "reaching.m3u8", "\n".join(lines).encode())


def local_playlist(folder: Path) -> Path:
    """A playlist of files beside it."""
    transport_stream(folder)
    lines = "#EXTM3U", "#EXT-X-TARGETDURATION:9", "#EXTINF:6,", "broadcast.ts", "#EXT-X-ENDLIST", ""
    return written(folder / "local.m3u8", "\n".join(lines).encode())
