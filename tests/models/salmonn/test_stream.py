"""Segment by segment is the same as the library's one forward pass over the whole video."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from salmonn_tiny import AUDIO_PAD, FAMILIES, VIDEO_PAD, a_media, load_tiny, streamed, tiny_salmonn, tiny_tokenizer
from torch import Tensor
from transformers import WhisperFeatureExtractor

from omnimem_cli.base.errors import UsageError
from omnimem_cli.media.segment import Segment
from omnimem_cli.memory.tokens import AUDIO, QUESTION, TEXT, VISUAL, concat
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.chat import ANSWER, SYSTEM, USER
from omnimem_cli.models.towers.patches import patch_rows

ROWS, COLUMNS, CELLS = 2, 3, 6
SECOND, SLICE = 16_000, 480_000
QUESTION_TEXT = "What is said?"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {family: tiny_salmonn(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture(scope="module")
def loaded(folders):
    return {family: load_tiny(folder) for family, folder in folders.items()}


@pytest.fixture
def adapters(loaded):
    yield loaded
    loaded["salmonn3"].timestamps = 256


class Clip:
    """Noise: ``video_s`` frames at 1 per second and ``audio_s`` seconds of sound (None: no such stream)."""

    def __init__(self, adapter, video_s: int | None, audio_s: float | None):
        rng = np.random.default_rng(0)
        self.width, self.height = COLUMNS * adapter.patches.cell, ROWS * adapter.patches.cell
        shape = (video_s or 0, self.height, self.width, 3)
        self.frames = rng.integers(0, 256, shape, dtype=np.uint8)
        self.audio = rng.standard_normal(round((audio_s or 0) * SECOND)).astype(np.float32)
        self.media = a_media(video_s, audio_s, self.width, self.height)
        self.seconds = max(video_s or 0, audio_s or 0)

    def segments(self, length: int = 30) -> list[Segment]:
        starts = range(0, int(np.ceil(self.seconds)), length)
        return [self._segment(i, start, length) for i, start in enumerate(starts)]

    def _segment(self, index: int, start: int, length: int) -> Segment:
        frames = self.frames[start : start + length]
        audio = self.audio[start * SECOND : (start + length) * SECOND]
        times = start + np.arange(len(frames), dtype=np.float64)
        return Segment(index, start, frames, times, audio, np.zeros(0, np.float32), start + length >= self.seconds)


def opened(adapter, clip: Clip, mrope: str = "released"):
    return adapter.open(clip.media, adapter.plan(clip.media, WatchOptions(mrope=mrope)))


def watch(stream, clip: Clip) -> list:
    return [stream.prefix, *(stream.encode([segment])[0] for segment in clip.segments())]


def prompt(family: str, clip: Clip, per_span: int) -> list[int]:
    """Ids of the whole prompt as the released data code writes it at one frame per second (4 sounds a step)."""
    steps, sounds = -(-len(clip.frames) // 2), -(-len(clip.audio) // SLICE) * 60
    text = SYSTEM + USER + ("<|vision_start|>" if family == "salmonn25" else "")
    for start in range(0, steps, per_span):
        count = min(per_span, steps - start)
        share = sounds if start + count == steps else min(sounds, 4 * count)
        sounds -= share
        media = "<|video_pad|>" * CELLS * count + "<|audio_pad|>" * share
        first = 2 * start
        middle = first if first + 1 == len(clip.frames) else first + 0.5
        stamp = f"<{middle:.1f} seconds><|vision_start|>"
        text += media if family == "salmonn25" else stamp + media + "<|vision_end|>"
    text += "<|audio_pad|>" * sounds + ("<|vision_end|>" if family == "salmonn25" else "")
    return tiny_tokenizer()(text + "\n" + QUESTION_TEXT + ANSWER)["input_ids"]


def generated_positions(ids: list[int], steps: int) -> Tensor:
    """The released Qwen2.5-VL inference rule, token by token."""
    places, at, count, left = [], 0, 0, steps * CELLS
    for token in ids:
        if token in (VIDEO_PAD, AUDIO_PAD) and left:
            start = places[-1 - count][0] + 1
            cell = count % CELLS
            places.append((start + 2 * (count // CELLS), start + cell // COLUMNS, start + cell % COLUMNS))
            count, left = count + 1, left - 1
            at = max(at, *places[-1]) if count > 1 else max(places[-1])
        else:
            at = at + 1 if places else 0
            places.append((at,) * 3)
    return torch.tensor(places).T


def block_positions(adapter, ids: list[int], clip: Clip) -> Tensor:
    """The library's own, audio pads being text."""
    kinds = torch.tensor([[2 if token == VIDEO_PAD else 0 for token in ids]])
    grid = torch.tensor([[-(-len(clip.frames) // 2), 2 * ROWS, 2 * COLUMNS]]) if len(clip.frames) else None
    return adapter.model.model.get_rope_index(torch.tensor([ids]), kinds, video_grid_thw=grid)[0][:, 0]


@torch.no_grad()
def whole_pass(adapter, ids: list[int], positions: Tensor, clip: Clip) -> Tensor:
    """Logits of the library's model on the whole prompt, the sound written over its pads."""
    embeds = adapter.embed(torch.tensor([ids]))
    if len(clip.audio):
        extract = WhisperFeatureExtractor(feature_size=16, sampling_rate=SECOND, chunk_length=30)
        parts = [clip.audio[i : i + SLICE] for i in range(0, len(clip.audio), SLICE)]
        mel = extract(parts, sampling_rate=SECOND, return_tensors="pt").input_features
        embeds[0, torch.tensor(ids) == AUDIO_PAD] = adapter.model.audio(mel).flatten(0, 1)
    seen = {}
    if len(clip.frames):
        frames = torch.from_numpy(np.concatenate([clip.frames, clip.frames[-1:]])[: len(clip.frames) // -2 * -2])
        grid = torch.tensor([[len(frames) // 2, 2 * ROWS, 2 * COLUMNS]])
        seen = {"pixel_values_videos": patch_rows(frames, adapter.patches).flatten(0, 1), "video_grid_thw": grid}
    return adapter.model(inputs_embeds=embeds, position_ids=positions[:, None], **seen).logits[0]


CLIPS = {
    "equal": (75, 75),
    "sound outlasts picture": (45, 100),
    "picture outlasts sound": (75, 20),
    "picture ends with a segment": (60, 75.5),
    "no sound": (75, None),
    "no picture": (None, 75),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("clip", CLIPS)
def test_streaming_equals_one_pass_over_the_whole_video(adapters, family, clip):
    adapter, clip = adapters[family], Clip(adapters[family], *CLIPS[clip])
    stream = opened(adapter, clip)
    pieces = [*watch(stream, clip), *stream.question([QUESTION_TEXT])]
    ids = prompt(family, clip, 1)
    if family == "salmonn25":
        positions = generated_positions(ids, -(-len(clip.frames) // 2))
    else:
        positions = block_positions(adapter, ids, clip)
    assert torch.equal(concat(pieces).positions, positions)
    logits, _ = streamed(adapter, pieces)
    torch.testing.assert_close(logits, whole_pass(adapter, ids, positions, clip), atol=1e-4, rtol=0)


def test_spans_that_cross_segments_are_the_released_ones(adapters):
    adapter = adapters["salmonn3"]
    adapter.timestamps = 10  # 38 steps: four a span, 15 a segment
    clip = Clip(adapter, 75, 75)
    stream = opened(adapter, clip)
    whole = concat([*watch(stream, clip), *stream.question([QUESTION_TEXT])])
    ids = torch.tensor(prompt("salmonn3", clip, 4))
    assert torch.equal(whole.kind == VISUAL, ids == VIDEO_PAD)
    text = (ids != VIDEO_PAD) & (ids != AUDIO_PAD)
    torch.testing.assert_close(whole.embeds[text], adapter.embed(ids[text]), atol=0, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_segments_together_are_the_same_as_one_by_one(adapters, family):
    adapter, clip = adapters[family], Clip(adapters[family], 75, 75)
    apart = watch(opened(adapter, clip), clip)[1:]
    for one, other in zip(apart, opened(adapter, clip).encode(clip.segments()), strict=True):
        torch.testing.assert_close(other.embeds, one.embeds, atol=1e-5, rtol=0)
        assert torch.equal(other.positions, one.positions)
        assert torch.equal(other.time, one.time)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resumed_stream_goes_on_as_if_never_stopped(folders, adapters, family):
    adapter, clip = adapters[family], Clip(adapters[family], 75, 75)
    adapter.timestamps = 10
    expected = watch(opened(adapter, clip), clip)[-1]
    stream, elsewhere = opened(adapter, clip), load_tiny(folders[family])
    stream.encode(clip.segments()[:-1])
    elsewhere.timestamps = 10
    other = opened(elsewhere, clip)
    other.load_state(stream.state())
    got = other.encode(clip.segments()[-1:])[0]
    torch.testing.assert_close(got.embeds, expected.embeds, atol=1e-5, rtol=0)
    assert torch.equal(got.positions, expected.positions)
    ours, theirs = stream.question([QUESTION_TEXT])[0], other.question([QUESTION_TEXT])[0]
    assert int(theirs.positions.max()) > int(ours.positions.max()), "only the other stream went on"


@pytest.mark.parametrize("family", FAMILIES)
def test_asking_in_the_middle_changes_nothing_and_hears_all(adapters, family):
    adapter, clip = adapters[family], Clip(adapters[family], 75, 75)
    adapter.timestamps = 10
    quiet = watch(opened(adapter, clip), clip)
    stream = opened(adapter, clip)
    pieces = [stream.prefix]
    for seconds, segment in zip((30, 60, 90), clip.segments(), strict=True):
        pieces += stream.encode([segment])
        first, again = stream.question([QUESTION_TEXT] * 2)
        torch.testing.assert_close(first.embeds, again.embeds, atol=1e-5, rtol=0)
        assert torch.equal(first.positions, again.positions)
        assert bool((first.kind == QUESTION).all())
        laid = sum(int((piece.kind == AUDIO).sum()) for piece in pieces)
        waiting = int((first.step >= 0).sum())
        assert laid + waiting == 2 * seconds
    assert torch.equal(concat(pieces).positions, concat(quiet).positions)


def test_media_text_stands_in_the_group_of_its_media(adapters):
    adapter = adapters["salmonn3"]
    clip = Clip(adapter, 75, 75)
    piece = watch(opened(adapter, clip), clip)[1]
    assert set(piece.kind.tolist()) == {TEXT, VISUAL, AUDIO}
    for group in range(15):
        held = piece.kind[piece.group == group]
        assert (int((held == VISUAL).sum()), int((held == AUDIO).sum())) == (CELLS, 4)
    assert all(feature[piece.kind != VISUAL].abs().max() == 0 for feature in piece.deepstack)


def later(segment: Segment, seconds: float) -> Segment:
    times = segment.frame_times + seconds
    return replace(segment, start_s=segment.start_s + seconds, frame_times=times)


def test_sound_and_picture_carry_the_clock_of_the_file(adapters):
    adapter = adapters["salmonn25"]
    clip = Clip(adapter, 75, 75)
    late = [later(segment, 100) for segment in clip.segments()]
    piece = opened(adapter, clip).encode(late)[1]
    assert piece.time[piece.kind == AUDIO].tolist() == [130 + slot / 2 for slot in range(60)]
    assert piece.time[piece.kind == VISUAL][::CELLS].tolist() == [130.5 + 2 * step for step in range(15)]


@pytest.mark.parametrize("resumed", [False, True])
def test_sound_behind_segments_that_were_left_out_carries_the_clock_of_the_file(adapters, resumed):
    adapter = adapters["salmonn25"]
    clip = Clip(adapter, 75, 75)
    before, behind, last = clip.segments()
    stream = opened(adapter, clip)
    pieces = stream.encode([before])
    if resumed:
        state, stream = stream.state(), opened(adapter, clip)
        stream.load_state(state)
    pieces += stream.encode([later(behind, 90), later(last, 150)])
    for piece, start_s in zip(pieces, (0, 120, 210), strict=True):
        heard = piece.time[piece.kind == AUDIO].tolist()
        assert heard == [start_s + slot / 2 for slot in range(60)]
        assert piece.time[piece.kind == VISUAL][0] == start_s + 0.5


def test_a_stream_of_unknown_length_takes_the_trained_positions(adapters):
    adapter = adapters["salmonn25"]
    clip = Clip(adapter, 60, 60)
    trained = concat(watch(opened(adapter, clip, "trained"), clip)).positions
    assert not torch.equal(concat(watch(opened(adapter, clip), clip)).positions, trained)
    clip.media = a_media(float("inf"), float("inf"), clip.width, clip.height)
    object.__setattr__(clip.media.video, "duration_s", None)
    assert torch.equal(concat(watch(opened(adapter, clip), clip)).positions, trained)


@pytest.mark.parametrize(("fps", "seconds", "frames"), [(1, 30, 30), (2, 30, 60), (0.5, 60, 30), (0.1, 60, 6)])
def test_segments_hold_whole_slices_and_whole_frame_pairs(adapters, fps, seconds, frames):
    plan = adapters["salmonn3"].plan(a_media(600, 600, 640, 360), WatchOptions(fps=fps))
    assert plan.format.segment_s == seconds
    assert plan.visual_tokens_per_segment == frames // 2 * (plan.format.width // 32) * (plan.format.height // 32)
    assert plan.audio_tokens_per_segment == 2 * seconds
    assert plan.tokens_per_segment > plan.visual_tokens_per_segment + plan.audio_tokens_per_segment


def test_an_impossible_frame_rate_names_the_nearest(adapters):
    with pytest.raises(UsageError) as caught:
        adapters["salmonn25"].plan(a_media(60, 60), WatchOptions(fps=0.71))
    assert caught.value.hint == "Use --fps 0.7."
    assert adapters["salmonn25"].plan(a_media(60, 60), WatchOptions(fps=0.7)).format.segment_s == 60


def test_a_frame_smaller_than_a_token_is_refused(adapters):
    with pytest.raises(UsageError, match="784 pixels"):
        adapters["salmonn25"].plan(a_media(60, 60), WatchOptions(max_pixels=100))


@pytest.mark.parametrize("mrope", ["trained", "released"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_second_look_begins_where_the_stream_was_at_its_time(adapters, family, mrope):
    """With a clock its tokens have the places of before; without one they begin near them."""
    if (family, mrope) == ("salmonn3", "trained"):
        pytest.skip("the family has one rule")
    adapter, clip = adapters[family], Clip(adapters[family], 90, 90)
    stream = opened(adapter, clip, mrope)
    before = watch(stream, clip)[2]
    again = stream.again(stream.plan, 30.0).encode(clip.segments()[1:2])[0]
    at = [int(chunk.positions[0, chunk.kind == VISUAL][0]) for chunk in (again, before)]
    if mrope == "trained":
        assert torch.equal(again.positions, before.positions)
    else:
        assert abs(at[0] - at[1]) <= 0.05 * int(stream.positions.next)
    heard = [chunk.time[chunk.kind == AUDIO].tolist() for chunk in (again, before)]
    assert heard[0] == heard[1]
    torch.testing.assert_close(
        again.embeds[again.kind == VISUAL], before.embeds[before.kind == VISUAL], atol=1e-5, rtol=0
    )
