import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from streams import frames_of, segments_of

from omnimem_cli.media.decode import Source
from omnimem_cli.media.ffmpeg import ffmpeg_path
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import AGAIN, NOTHING, PARTS, WHOLE, Format, Segment
from omnimem_cli.media.stills import Stills, alike

FORM = Format(2.0, 2.0, 112, 84)
WIDTH, HEIGHT = 1280, 720
SHOWN_THEN_LEFT_OUT = [True] * 3 + [False] * 2  # five pairs of one picture


def cut(segments: Iterable[Segment]) -> list[Segment]:
    """The segments, without what is left out."""
    return list(Stills().left_out(segments))


def shown(segments: Iterable[Segment]) -> list[bool]:
    """Which frame pairs are not left out."""
    return [bool(pair) for one in cut(segments) for pair in one.pairs_held]


def fed(frames: np.ndarray, form: Format = FORM) -> list[bool]:
    """Which pairs of these frames are not left out."""
    return shown(segments_of(form, frames, None))


def slide(seed: int = 0) -> np.ndarray:
    return np.kron(
        np.random.default_rng(seed).integers(0, 256, (21, 28, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8)
    )


def test_a_pair_that_shows_what_was_shown_is_left_out():
    assert fed(np.stack([slide()] * 10 + [slide(1)] * 10)) == [*SHOWN_THEN_LEFT_OUT, *SHOWN_THEN_LEFT_OUT]


def test_a_pair_that_holds_a_change_is_followed_by_one_that_is_shown():
    assert fed(np.stack([slide()] * 9 + [slide(1)] * 11)) == [True] * 3 + [False, True] + SHOWN_THEN_LEFT_OUT


@pytest.mark.parametrize("cells", [4, 12, 299])
def test_a_picture_that_stands_brings_each_of_its_tokens_once_in_eight_pairs(cells):
    tokens = np.concatenate([one.tokens_fed(cells) for one in cut(segments_of(FORM, np.stack([slide()] * 80), None))])
    assert tokens[:3].all() and len(tokens) == 40
    for first in range(3, 39 - PARTS + 1):
        assert (tokens[first : first + PARTS].sum(0) == 1).all()
    assert set(tokens[3:-1].sum(1)) <= {cells // PARTS, cells // PARTS + 1}, "about as many with every pair"


def test_before_another_picture_and_at_the_end_the_one_that_stood_comes_whole_once_more_without_its_frames():
    alone = cut(segments_of(FORM, np.stack([slide()] * 10), None))
    assert [one.fed.tolist() for one in alone] == [[WHOLE] * 2, [WHOLE, 4], [AGAIN]]
    both = cut(segments_of(FORM, np.stack([slide()] * 10 + [slide(1)] * 12), None))
    pairs = [pair for one in both for pair in one.fed]
    assert pairs == [WHOLE] * 3 + [4, AGAIN] + [WHOLE] * 3 + [4, 5, AGAIN]
    assert sum(len(one.frames) for one in both) == 12 and both[2].tokens_fed(12)[0].all()
    moving = cut(segments_of(FORM, frames_of(10, 2, 112, 84), None))
    assert all((one.fed == WHOLE).all() for one in moving)


def test_of_a_live_picture_that_was_thinned_already_only_what_came_is_compared():
    (whole,) = segments_of(replace(FORM, segment_s=8.0), np.stack([slide()] * 16), None)
    pairs = np.array([WHOLE, NOTHING] * 4)
    thinned = replace(whole, frames=whole.frames[:8], fed=pairs, last=False)
    (one,) = cut([thinned])
    assert one.fed.tolist() == [WHOLE, NOTHING, WHOLE, NOTHING, WHOLE, NOTHING, 4, NOTHING] and len(one.frames) == 6
    assert not one.tokens_fed(12)[1::2].any()


def test_what_moves_is_always_shown():
    assert all(fed(frames_of(10, 2, 112, 84)))


def test_an_odd_last_frame_is_compared_alone():
    assert fed(np.stack([slide()] * 9)) == SHOWN_THEN_LEFT_OUT
    changed = np.stack([slide()] * 8 + [slide(1)])
    assert fed(changed) == [True, True, True, False, True]
    last = cut(segments_of(FORM, changed, None))[-1]
    assert (len(last.frames), len(last.frame_times)) == (1, 1)


def test_frames_that_stay_and_their_times_are_unchanged():
    whole = segments_of(FORM, np.stack([slide()] * 10 + [slide(1)] * 2), None)
    stills = Stills()
    for one, rest in zip(whole, stills.left_out(whole), strict=True):
        assert np.array_equal(rest.frames, one.frames[rest.pairs_held.repeat(2)])
        assert rest.frame_times is one.frame_times
    assert stills.count == 4


def test_a_slow_fade_adds_up_until_it_is_shown():
    levels = np.repeat(np.arange(0, 40, 0.25), 2)  # an eighth of a level per frame
    pairs = fed(np.stack([np.full((84, 112, 3), 100 + level, np.uint8) for level in levels]))
    assert pairs[0] and 5 * 3 <= sum(pairs) < len(pairs) / 2


def test_a_change_at_the_border_counts_where_the_side_is_no_multiple():
    black = np.zeros((86, 114, 3), np.uint8)
    corner = black.copy()
    corner[84:, 112:] = 255
    assert not alike(black, corner) and alike(black, black)


def test_a_segment_without_picture_passes():
    (sound,) = segments_of(FORM, None, np.zeros(32_000, np.float32))
    assert cut([sound]) == [sound]


def lecture(extra=None) -> bytes:
    """A slide of text in 1280 x 720, with what ``extra`` draws over it."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), (245, 245, 240))
    draw = ImageDraw.Draw(picture)
    for line in range(6):
        draw.text(
            (90, 60 + 90 * line), f"- point {line} of the plan for the year", (30, 30, 40), ImageFont.load_default(36)
        )
    if extra:
        extra(draw)
    return picture.tobytes()


def pointer(draw: ImageDraw.ImageDraw) -> None:
    shape = [(0, 0), (0, 17), (4, 13), (7, 19), (9, 18), (6, 12), (12, 12)]
    draw.polygon([(900 + x, 400 + y) for x, y in shape], (255, 255, 255), (0, 0, 0))


def grey_line(draw: ImageDraw.ImageDraw) -> None:
    draw.text((90, 640), "one more line in light grey", (205, 205, 200), ImageFont.load_default(32))


def page_number(draw: ImageDraw.ImageDraw) -> None:
    draw.text((1180, 690), "12", (90, 90, 90), ImageFont.load_default(18))


def subtitle(draw: ImageDraw.ImageDraw) -> None:
    white, black = (255, 255, 255), (0, 0, 0)
    draw.text((400, 650), "and so we begin", white, ImageFont.load_default(30), stroke_width=2, stroke_fill=black)


def film(path: Path, pictures: list[bytes], crf: int) -> Path:
    """Each picture for 5 s at 5 frames per second, in H.264 with a key frame per second."""
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", "5", "-i", "-"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", str(crf), "-g", "5", "-pix_fmt", "yuv420p", str(path)]
    frames = b"".join(picture * 25 for picture in pictures)
    subprocess.run([ffmpeg_path(), "-v", "error", *raw, *coded], input=frames, check=True)
    return path


@pytest.mark.parametrize("crf", [23, 35])
@pytest.mark.parametrize("extra", [pointer, grey_line, page_number, subtitle])
def test_a_small_change_in_a_real_file_is_shown_and_nothing_else(extra, crf, tmp_path):
    media = probe(str(film(tmp_path / "lecture.mp4", [lecture(), lecture(extra)], crf)))
    with Source(media, replace(FORM, width=644, height=364)) as source:
        assert shown(source) == [*SHOWN_THEN_LEFT_OUT, *SHOWN_THEN_LEFT_OUT]
