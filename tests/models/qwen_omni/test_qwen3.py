"""The Qwen3-Omni adapter against the library's one-shot Thinker."""

import pytest
import torch
from library import library_mel, library_rows
from streams import frames_of, media_of, segments_of, sound_of
from tiny_qwen3 import tiny_qwen3_omni

from omnimem_cli.base.errors import UsageError
from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.chunk_pass import deepstack_arguments
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.tokens import AUDIO, QUESTION, VISUAL, concat
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.loader import load

QUESTION_TEXT = "What is shown?"
WATCHES = {  # fps, seconds of picture, seconds of sound
    "1 fps": (1, 16.0, 16.0),
    "1 fps, odd": (1, 11.0, 11.3),
    "2 fps": (2, 9.0, 9.55),
    "half a frame per second": (0.5, 16.0, 16.0),
    "sound longer": (2, 4.0, 17.1),
    "sound shorter": (1, 20.0, 3.7),
    "sound ends between two pairs": (1, 8.0, 2.6),
    "video only": (2, 9.0, None),
    "audio only": (1, None, 9.5),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_qwen3_omni(tmp_path_factory.mktemp("qwen3") / "thinker")


@pytest.fixture
def adapter(folder):
    return load(str(folder), device="cpu")


@pytest.fixture(params=WATCHES.values(), ids=WATCHES.keys())
def watch(request, adapter):
    """An adapter, the pieces of a whole watch with a question, and the one-shot inputs of the same."""
    fps, video_s, audio_s = request.param
    frames = None if video_s is None else frames_of(video_s, fps, 128, 96)
    sound = None if audio_s is None else sound_of(audio_s)
    return adapter, concat(watched(adapter, fps, frames, sound)), one_shot_inputs(adapter, fps, frames, sound)


def watched(adapter, fps, frames, sound, batch=None):
    media = media_of(*(None if x is None else 1.0 for x in (frames, sound)), 128, 96)
    plan = adapter.plan(media, WatchOptions(fps=fps, max_pixels=128 * 96))
    stream = adapter.open(media, plan)
    if sound is not None:
        stream.scan_audio(torch.from_numpy(sound))
    segments = segments_of(plan.format, frames, sound)
    pieces = [stream.prefix]
    for start in range(0, len(segments), batch or len(segments)):
        pieces += stream.encode(segments[start : start + (batch or len(segments))])
    return [*pieces, *stream.question([QUESTION_TEXT])]


def one_shot_inputs(adapter, fps, frames, sound) -> dict:
    inputs, seen, heard = {}, [], []
    if frames is not None:
        grid, rows = library_rows(frames, patch=16, image_mean=[0.5] * 3, image_std=[0.5] * 3)
        inputs |= {
            "video_grid_thw": grid,
            "pixel_values_videos": rows,
            "video_second_per_grid": torch.tensor([2 / fps]),
        }
        cells = int(grid[0, 1:].prod()) // 4
        seen = [(k * 2 / fps * 13, 0, "<|video_pad|>") for k in range(int(grid[0, 0])) for _ in range(cells)]
    if sound is not None:
        mel, mask = library_mel(sound)
        inputs |= {"input_features": mel, "feature_attention_mask": mask}
        heard = [(n, 1, "<|audio_pad|>") for n in range(adapter.tokens_of(int(mask.sum())))]
    layout = "".join(token for *_, token in sorted(seen + heard))
    layout = f"<|audio_start|>{layout}<|audio_end|>" if heard else layout
    layout = f"<|vision_start|>{layout}<|vision_end|>" if seen else layout
    text = "<|im_start|>user\n" + layout + QUESTION_TEXT + "<|im_end|>\n<|im_start|>assistant\n"
    ids = torch.tensor([adapter.tokenizer(text).input_ids])
    return inputs | {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "use_audio_in_video": bool(seen and heard),
    }


def test_the_frame_rate_is_that_of_the_published_numbers_and_falls_on_whole_positions(adapter):
    plan = adapter.plan(media_of(20, 20, 128, 96), WatchOptions())
    assert plan.format.fps == 2.0 and plan.format.segment_s * plan.format.fps / 2 == 8
    stream = adapter.open(media_of(20, 20, 128, 96), plan)
    assert stream.positions.visual(3, 1, 1)[0].diff().tolist() == [13, 13], "a pair a second, 13 positions a second"


def test_there_is_no_system_turn(adapter):
    plan = adapter.plan(media_of(20, 20, 128, 96), WatchOptions())
    text = adapter.tokenizer.decode(adapter.prefix_ids(plan))
    assert text == "<|im_start|>user\n<|vision_start|><|audio_start|>"


def test_positions_are_the_librarys(watch):
    adapter, piece, inputs = watch
    frames = inputs.get("feature_attention_mask")
    expected, _ = adapter.model.get_rope_index(
        inputs["input_ids"],
        None,
        inputs.get("video_grid_thw"),
        inputs["attention_mask"],
        inputs["use_audio_in_video"],
        None if frames is None else frames.sum(-1),
        inputs.get("video_second_per_grid"),
    )
    assert torch.equal(piece.positions.to(expected.dtype), expected[:, 0])


@torch.no_grad()
def test_one_pass_over_the_pieces_is_the_librarys_forward(watch):
    adapter, piece, inputs = watch
    expected = adapter.model(**inputs).logits[0]
    hidden = adapter.decoder(
        inputs_embeds=piece.embeds[None], position_ids=piece.positions[:, None], **deepstack_arguments(piece)
    )
    logits = adapter.head(hidden.last_hidden_state)[0]
    assert expected.std() > 1, "flat logits would hide a mistake"
    assert (logits - expected).abs().max() < 1e-4
    assert torch.equal(logits.argmax(-1), expected.argmax(-1))


@torch.no_grad()
@pytest.mark.parametrize("chunk", [64, 13])
def test_watching_chunk_by_chunk_into_a_memory_is_the_librarys_forward(watch, chunk):
    adapter, piece, inputs = watch
    expected = adapter.model(**inputs).logits[0]
    seen = int((piece.kind != QUESTION).sum())
    budgets = even_budgets(len(adapter.decoder.layers), 1_000, 0.7, True, True)
    memory = Memory(adapter.decoder, make_policy("full"), budgets, dtype=torch.float32)
    for start in range(0, seen, chunk):
        memory.absorb(piece.cut(start, min(start + chunk, seen)))
    asked = piece.cut(seen, len(piece))
    logits = adapter.head(memory.fork().forward(asked.embeds[None], asked.positions[:, None])[0])
    assert memory.tokens_seen == seen > 64 and len(asked) > 10
    assert (logits - expected[seen:]).abs().max() < 1e-4


def test_segments_one_at_a_time_are_segments_together(adapter):
    frames, sound = frames_of(19, 2, 128, 96), sound_of(25.4)
    together = concat(watched(adapter, 2, frames, sound))
    alone = concat(watched(adapter, 2, frames, sound, batch=1))
    assert (together.embeds - alone.embeds).abs().max() < 1e-5
    for one, other in zip(together.deepstack, alone.deepstack, strict=True):
        assert (one - other).abs().max() < 1e-5
    for name in ("positions", "kind", "step", "patch", "group", "time"):
        assert torch.equal(getattr(together, name), getattr(alone, name)), name


def test_deepstack_features_lie_on_the_picture_alone(adapter):
    piece = concat(watched(adapter, 1, frames_of(8, 1, 128, 96), sound_of(8)))
    seen = piece.kind == VISUAL
    assert len(piece.deepstack) == 2 and int(seen.sum()) == 48 and int((piece.kind == AUDIO).sum()) == 104
    for features in piece.deepstack:
        assert features[seen].abs().sum() > 0 and features[~seen].abs().sum() == 0


def test_a_stream_goes_on_from_its_state(folder, adapter):
    frames, sound = frames_of(24, 1, 128, 96), sound_of(24)
    media = media_of(24, 24, 128, 96)
    plan = adapter.plan(media, WatchOptions(max_pixels=128 * 96))
    segments = segments_of(plan.format, frames, sound)
    stream = adapter.open(media, plan)
    stream.encode(segments[:2])
    state = stream.state()
    rest = concat(stream.encode(segments[2:]) + stream.question(["?"]))
    other = load(str(folder), device="cpu").open(media, plan)
    other.load_state(state)
    again = concat(other.encode(segments[2:]) + other.question(["?"]))
    torch.testing.assert_close(rest.embeds, again.embeds, atol=1e-5, rtol=0)
    assert torch.equal(rest.positions, again.positions)


@pytest.mark.parametrize(("fps", "nearest"), [(3, 3.25), (0.1, 0.25), (1.4, 1)])
def test_a_frame_rate_between_positions_is_refused(adapter, fps, nearest):
    with pytest.raises(UsageError) as caught:
        adapter.plan(media_of(8, 8), WatchOptions(fps=fps))
    assert f"--fps {nearest:g}." in caught.value.hint


def test_the_hubs_layout_holds_the_same_weights(folder, tmp_path):
    whole = load(str(tiny_qwen3_omni(tmp_path, layout="full")), device="cpu")
    alone = load(str(folder), device="cpu")
    for name, weight in alone.model.state_dict().items():
        assert torch.equal(weight, whole.model.state_dict()[name]), name
