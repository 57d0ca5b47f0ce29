"""Subtitles of a file: every encoding and form that people have, found beside the video and inside it."""

from pathlib import Path

import footage
import pytest

from omnimem_cli.base.errors import InputError
from omnimem_cli.media.subtitle_tracks import Track, chosen, read_track, sidecars, streams
from omnimem_cli.media.subtitles import Line, decode_subtitles, read_lines, within

SRT = "1\n00:00:01,000 --> 00:00:03,000\n<i>Grüße</i> an\nalle.\n\n2\n00:00:05,500 --> 00:00:08,000\n42\n"
LINES = [Line(1.0, 3.0, "Grüße an alle."), Line(5.5, 8.0, "42")]
EVENTS = "[Script Info]\n[V4+ Styles]\nFormat: Name\n[Events]\nFormat: Layer, Start, End, Style, Text\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_is_read_in_the_encodings_and_line_ends_that_people_have(encoding: str, end: str):
    assert read_lines(decode_subtitles(SRT.replace("\n", end).encode(encoding))) == LINES


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r"])
def test_another_encoding_is_refused_rather_than_guessed(encoding: str):
    with pytest.raises(ValueError, match="encoding"):
        decode_subtitles(SRT.replace("Grüße", "Здравствуйте").replace("alle", "все").encode(encoding))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "WEBVTT\n\nNOTE no cue\n\nintro\n00:01.000 --> 00:02.000 align:start\n<v Ann>A &amp; b</v>\n\nSTYLE\n",
            ["A & b"],
        ),
        ("1\n00:00:02,000 --> 00:00:03,000\nb\n\n2\n00:00:01,000 --> 00:00:02,000\na\n", ["a", "b"]),
        ("1\n00:00:01,000 --> 00:00:02,000\n\n2\n00:00:03,000 --> 00:00:04,000\nb\n", ["b"]),
        ("1\n00:00:01,000 --> 00:00:02,000\na\n2\n00:00:03,000 --> 00:00:04,000\nb", ["a", "b"]),
        ("1\n00:00:01,000 --> 00:00:02,000\na\n\n2\n00:00:01,000 --> 00:00:03,000\nb\n", ["a b"]),
        ("00:00:01,000 --> 00:00:02,000\n{\\an8}2 < 3 <font color=red>{x}</font>", ["2 < 3 {x}"]),
        (EVENTS + "Dialogue: 0,0:00:01.00,0:00:02.50,Default,{\\i1}Yes{\\i0}, I\\Ndo\n", ["Yes, I do"]),
        (EVENTS + "Dialogue: 0,0:00:01.00,0:00:02.50,D,{\\p1}m 0 0\nDialogue: 0,0:00:03.00,0:00:04.00,D,b\n", ["b"]),
    ],
)
def test_tags_notes_and_marks_are_no_text_and_lines_are_in_order(text: str, expected: list[str]):
    lines = read_lines(text)
    assert [line.text for line in lines] == expected
    assert [line.start_s for line in lines] == sorted(line.start_s for line in lines)


def test_captions_that_roll_say_each_line_once():
    text = (
        "WEBVTT\n\n00:00.000 --> 00:02.000\n \nso<00:00.500><c> today</c>\n\n00:02.000 --> 00:02.010\nso today\n \n\n"
        "00:02.010 --> 00:04.000\nso today\nwe<00:03.000><c> look</c>\n"
    )
    assert [line.text for line in read_lines(text)] == ["so today", "we look"]


@pytest.mark.parametrize("text", ["", "budget 2027", "1\nsoon --> later\nx\n", "\x00\x01\x02"])
def test_what_holds_no_time_is_no_subtitle(text: str):
    with pytest.raises(ValueError, match="no line with a time"):
        read_lines(text)


def test_a_range_cuts_the_lines_at_its_bounds():
    assert within(LINES, 2.0, 6.0) == [Line(2.0, 3.0, "Grüße an alle."), Line(5.5, 6.0, "42")]
    assert within(LINES, 3.0, None) == LINES[1:]


def test_files_beside_a_video_are_those_of_its_name(tmp_path: Path):
    for name in (
        "a.mp4",
        "a.de.srt",
        "a.srt",
        "a.mp4.vtt",
        "a.en.forced.ASS",
        "a.chapters.vtt",
        "a.part2.srt",
        "ab.srt",
    ):
        (tmp_path / name).touch()
    found = {Path(track.file).name: track for track in sidecars(str(tmp_path / "a.mp4"))}
    assert list(found) == ["a.srt", "a.de.srt", "a.mp4.vtt", "a.en.forced.ASS"]
    forced = found["a.en.forced.ASS"]
    assert (forced.language, forced.format, forced.forced) == ("en", "ass", True)


def test_the_language_then_the_default_then_the_first_is_chosen():
    one, two = Track("subrip", "eng", stream=1), Track("subrip", "ger", stream=2, default=True)
    beside, pictures = Track("srt", None, file="a.srt"), Track("hdmv_pgs_subtitle", "fre", stream=3)
    forced = Track("subrip", "eng", stream=4, forced=True)
    assert chosen([one, two, pictures], None) == two
    assert chosen([pictures, forced, one], None) == one
    assert chosen([one, two, beside], None) == beside
    assert chosen([forced, one, two], "en") == one
    assert chosen([one, beside], "de") == beside
    assert chosen([one, two], "ja") is None
    assert chosen([pictures], None) == pictures


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "srt"), ("a.mp4", "mov_text"), ("b.mkv", "ass"), ("c.mkv", "webvtt")]
)
def test_a_stream_of_text_is_read_on_the_clock_of_the_file(tmp_path: Path, name: str, codec: str):
    (tmp_path / "s.srt").write_text(SRT)
    film = footage.av(tmp_path, "film.mkv", video_s=9, audio_s=9)
    tagged = ("-metadata:s:s:0", "language=ger", "-c:s", codec)
    sound = () if name.endswith("mkv") else ("-c:a", "aac", "-c:v", "mpeg4")
    copied = ("-c", "copy") if name.endswith("mkv") else ()
    footage.run("-i", film, "-i", tmp_path / "s.srt", "-map", 0, "-map", 1, *copied, *sound, *tagged, tmp_path / name)
    (track,) = streams(str(tmp_path / name), 60)
    assert (track.stream, track.language) == (1, "ger")
    assert read_track(str(tmp_path / name), track, 60) == LINES


@pytest.mark.parametrize(("content", "why"), [(b"budget", "no line with a time"), (b"\x81\xfe\xc7" * 9, "encoding")])
def test_a_file_that_is_none_is_one_sentence_with_the_next_step(tmp_path: Path, content: bytes, why: str):
    (tmp_path / "a.srt").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_track("a.mp4", Track("srt", None, file=str(tmp_path / "a.srt")), 60)
    assert caught.value.code == "subtitles" and why in caught.value.message and "--subtitles" in caught.value.hint
