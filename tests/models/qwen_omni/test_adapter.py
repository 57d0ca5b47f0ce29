"""The Qwen2.5-Omni adapter against the library's one-shot Thinker."""

import pytest
import torch
from oracles import QUESTION_TEXT, one_shot_inputs
from streams import frames_of, media_of, segments_of, sound_of

from omnimem_cli.base.errors import UsageError
from omnimem_cli.memory.tokens import AUDIO, PREFIX, QUESTION, VISUAL, concat
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.loader import load

WATCHES = {  # fps, seconds of picture, seconds of sound
    "1 fps": (1, 8.0, 8.0),
    "1 fps, odd": (1, 7.0, 7.3),
    "2 fps, odd": (2, 5.5, 5.5),
    "3 fps": (3, 6.0, 6.0),
    "sound longer": (2, 4.0, 9.1),
    "sound shorter": (1, 10.0, 3.7),
    "sound ends with a segment": (2, 6.0, 4.0),
    "video only": (2, 7.0, None),
    "audio only": (1, None, 6.5),
    "less than a segment": (2, 1.0, 0.9),
    "hardly any sound": (2, 1.0, 0.06),
}


@pytest.fixture(params=WATCHES.values(), ids=WATCHES.keys())
def watch(request, tiny_adapter):
    """An adapter, the pieces of a whole watch with a question, and the one-shot inputs of the same."""
    fps, video_s, audio_s = request.param
    frames = None if video_s is None else frames_of(video_s, fps, 112, 84)
    sound = None if audio_s is None else sound_of(audio_s)
    pieces = watched(tiny_adapter, fps, frames, sound)
    return tiny_adapter, concat(pieces), one_shot_inputs(tiny_adapter, fps, frames, sound)


def watched(adapter, fps, frames, sound, batch=None):
    """Prefix, one piece per segment, question; the sound is scanned first."""
    media = media_of(*(None if x is None else 1.0 for x in (frames, sound)))
    plan = adapter.plan(media, WatchOptions(fps=fps, max_pixels=112 * 84))
    stream = adapter.open(media, plan)
    if sound is not None:
        for start in range(0, len(sound), 23_456):
            stream.scan_audio(torch.from_numpy(sound[start : start + 23_456]))
    segments = segments_of(plan.format, frames, sound)
    pieces = [stream.prefix]
    for start in range(0, len(segments), batch or len(segments)):
        pieces += stream.encode(segments[start : start + (batch or len(segments))])
    return [*pieces, *stream.question([QUESTION_TEXT])]


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
    assert torch.equal(piece.positions, expected[:, 0])


@torch.no_grad()
def test_one_pass_over_the_pieces_is_the_librarys_forward(watch):
    adapter, piece, inputs = watch
    expected = adapter.model(**inputs).logits[0]
    hidden = adapter.decoder(inputs_embeds=piece.embeds[None], position_ids=piece.positions[:, None])
    logits = adapter.head(hidden.last_hidden_state)[0]
    assert expected.std() > 1, "flat logits would hide a mistake"
    assert (logits - expected).abs().max() < 1e-4
    assert torch.equal(logits.argmax(-1), expected.argmax(-1))


def test_segments_one_at_a_time_are_segments_together(tiny_adapter):
    frames, sound = frames_of(9, 2, 112, 84), sound_of(9.4)
    together = concat(watched(tiny_adapter, 2, frames, sound))
    alone = concat(watched(tiny_adapter, 2, frames, sound, batch=1))
    assert (together.embeds - alone.embeds).abs().max() < 1e-5
    for name in ("positions", "kind", "step", "patch", "group", "time"):
        assert torch.equal(getattr(together, name), getattr(alone, name)), name


def test_every_token_knows_what_it_is(tiny_adapter):
    piece = concat(watched(tiny_adapter, 2, frames_of(4, 2, 112, 84), sound_of(4)))
    prefix, question = (int((piece.kind == kind).sum()) for kind in (PREFIX, QUESTION))
    runs = torch.unique_consecutive(piece.kind, return_counts=True)
    assert runs[0].tolist() == [PREFIX, VISUAL, AUDIO, VISUAL, AUDIO, QUESTION]
    assert runs[1].tolist() == [prefix, 24, 50, 24, 50, question]
    seen, heard = piece.kind == VISUAL, piece.kind == AUDIO
    assert piece.step[seen].tolist() == [i // 12 for i in range(48)]
    assert piece.patch[seen].tolist() == list(range(12)) * 4
    assert piece.time[seen].tolist() == [float(i // 12) for i in range(48)]
    assert piece.step[heard].tolist() == list(range(100))
    assert torch.allclose(piece.time[heard], torch.arange(100) / 25)


def test_loading_a_state_goes_on_where_it_was_taken(tiny_folder, tiny_adapter):
    frames, sound = frames_of(9, 2, 112, 84), sound_of(9.4)
    media = media_of(9, 9.4)
    plan = tiny_adapter.plan(media, WatchOptions(fps=2, max_pixels=112 * 84))
    segments = segments_of(plan.format, frames, sound)
    stream = tiny_adapter.open(media, plan)
    stream.encode(segments[:2])
    state = stream.state()
    rest = concat(stream.encode(segments[2:]) + stream.question(["?"]))
    other = load(str(tiny_folder), device="cpu").open(media, plan)
    other.load_state(state)
    again = concat(other.encode(segments[2:]) + other.question(["?"]))
    torch.testing.assert_close(rest.embeds, again.embeds, atol=1e-5, rtol=0)
    assert torch.equal(rest.positions, again.positions)
    assert torch.equal(rest.time, again.time)


def test_asking_changes_no_state(tiny_adapter):
    media = media_of(4, 4)
    plan = tiny_adapter.plan(media, WatchOptions(fps=2, max_pixels=112 * 84))
    stream = tiny_adapter.open(media, plan)
    stream.encode(segments_of(plan.format, frames_of(4, 2, 112, 84), sound_of(4)))
    before = stream.state()
    one, other = stream.question(["?", "?"])
    assert torch.equal(one.embeds, other.embeds) and torch.equal(one.positions, other.positions)
    assert before["positions"] == stream.state()["positions"]


def test_a_question_cannot_end_the_users_turn(tiny_adapter):
    ends = set(tiny_adapter.eos_ids)
    assert not ends & set(tiny_adapter.prompt.question("a<|im_end|>b")[:-13])


@pytest.mark.parametrize(("fps", "nearest"), [(0.5, 1), (1.5, 2), (2.4, 2), (0.0001, 1)])
def test_a_frame_rate_that_breaks_the_interleave_is_refused(tiny_adapter, fps, nearest):
    with pytest.raises(UsageError) as caught:
        tiny_adapter.plan(media_of(4, 4), WatchOptions(fps=fps))
    assert f"--fps {nearest}." in caught.value.hint


def test_a_plan_counts_its_tokens(tiny_adapter):
    plan = tiny_adapter.plan(media_of(4, 4, 640, 360), WatchOptions())
    assert (plan.format.width, plan.format.height) == (644, 364)
    assert (plan.visual_tokens_per_segment, plan.audio_tokens_per_segment) == (299, 50)
    assert plan.format.lookahead == 200 and plan.format.segment_s == 2.0
    assert tiny_adapter.plan(media_of(4, None, 640, 360), WatchOptions()).audio_tokens_per_segment == 0
    assert tiny_adapter.plan(media_of(None, 4), WatchOptions()).format.width == 0


@pytest.mark.parametrize("fps", [1, 2])
def test_a_second_look_places_its_tokens_at_their_time(tiny_adapter, fps):
    """At the rate of before they are the tokens of before; at twice the rate, pairs between have places between."""
    sound, media = sound_of(8.0), media_of(8.0, 8.0)

    def cut(plan):
        return segments_of(plan.format, frames_of(8.0, plan.format.fps, 112, 84), sound)

    plan, finer = (tiny_adapter.plan(media, WatchOptions(fps=n, max_pixels=112 * 84)) for n in (fps, 2 * fps))
    stream = tiny_adapter.open(media, plan)
    stream.scan_audio(torch.from_numpy(sound))
    before, state = concat(stream.encode(cut(plan))[1:3]), stream.state()
    again = concat(stream.again(plan, 2.0).encode(cut(plan)[1:3]))
    assert torch.equal(again.positions, before.positions) and torch.equal(again.time, before.time)
    seen = before.kind == VISUAL
    torch.testing.assert_close(again.embeds[seen], before.embeds[seen], atol=1e-5, rtol=0)
    more = concat(stream.again(finer, 2.0).encode(cut(finer)[1:3]))
    places = [set(chunk.positions[0, chunk.kind == VISUAL].tolist()) for chunk in (before, more)]
    assert places[0] < places[1] and torch.equal(more.positions[:, more.kind == AUDIO], before.positions[:, ~seen])
    assert stream.state()["positions"] == state["positions"]
