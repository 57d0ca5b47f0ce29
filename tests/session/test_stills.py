"""Pictures that show nothing new are left out of a watch: of the tokens, and of nothing else."""

from dataclasses import replace
from pathlib import Path

import footage
import numpy as np
import pytest
import torch
from fake_run import media, omnimem
from families import MAKERS
from kept import loaded, same_state, saved, watched
from peak import Peak
from streams import frames_of, media_of, segments_of, sound_of

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.media import segment, stills
from omnimem_cli.media.stills import Stills
from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.tokens import VISUAL, concat
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.loader import load
from omnimem_cli.models.standing_picture import StandingPicture
from omnimem_cli.session.preflight import planned
from omnimem_cli.session.session import MOST_CHUNKS, Session
from omnimem_cli.session.sizing import size_memory
from omnimem_cli.session.transients import standing_bytes, widths

SETTINGS = Settings(budget=Budget(90), max_tokens=4, fps=1, max_pixels=56 * 56, chunk=100, stills="skip")
FPS = 2


def standing(seconds_each: list[int]):
    """Makes frames of some height and width: noise that stands for so many seconds each."""

    def frames(height: int, width: int) -> np.ndarray:
        noise = np.random.default_rng(0)
        each = [noise.integers(0, 256, (1, height, width, 3), dtype=np.uint8).repeat(n * FPS, 0) for n in seconds_each]
        return np.concatenate(each)

    return frames


def moving(seconds: int):
    """Makes frames of some height and width: noise that changes with every frame."""
    return lambda height, width: frames_of(seconds, FPS, width, height)


def stream_of(adapter, frames, seconds: int, sound: bool = True):
    """A new stream, and its segments."""
    media, heard = media_of(seconds, seconds if sound else None), sound_of(seconds) if sound else None
    plan = adapter.plan(media, WatchOptions(fps=FPS, max_pixels=112 * 84))
    stream = adapter.open(media, plan)
    if sound:
        stream.scan_audio(torch.from_numpy(heard))
    return stream, segments_of(plan.format, frames(plan.format.height, plan.format.width), heard)


def opened(stream, stills: Stills | None, chunk: int = 100) -> Session:
    """A session that keeps every entry."""
    budgets = even_budgets(4, 120, 0.5, True, stream.plan.has_sound)
    memory = Memory(stream.adapter.decoder, make_policy("full"), budgets, dtype=torch.float32)
    return Session(stream, memory, chunk, stills=stills)


def same_layer(one: Session, other: Session) -> bool:
    """Whether the deepest layers hold the same numbers, bit for bit."""
    ours, theirs = (session.memory.state()["layers"][3] for session in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("family", MAKERS)
def test_what_the_picture_that_stands_takes_lies_within_its_estimate(family, tmp_path, monkeypatch):
    adapter = load(str(MAKERS[family](tmp_path / "model")), device="cpu")
    films = moving(30), standing([20, 2, 8])
    stream, segments = stream_of(adapter, lambda *size: np.concatenate([film(*size) for film in films]), 60)
    fed, most = StandingPicture.fed, []

    def measured(own, segment, seen):
        with Peak() as peak:
            own.newest = own.newest.clone()
            tokens = fed(own, segment, seen)
        most.append(peak.most - tokens.nbytes)
        return tokens

    monkeypatch.setattr(StandingPicture, "fed", measured)
    stream.encode(list(Stills().left_out(segments)))
    estimated = standing_bytes(widths(adapter.model.config), stream.plan, 4)
    assert 0 < stream.standing.newest.nbytes < max(most) <= estimated < 2 * max(most)


def test_it_is_a_part_of_what_a_watch_takes(tiny_adapter):
    media = media_of(60, 60)
    plan = planned(SETTINGS, tiny_adapter, media)
    plain, skipping = (size_memory(replace(SETTINGS, stills=s), tiny_adapter, plan, media) for s in ("watch", "skip"))
    standing = standing_bytes(widths(tiny_adapter.model.config), plan, 4)
    assert skipping.needed - (plain.needed - plain.ahead_bytes) == standing > 0


def test_a_chunk_that_brings_more_tokens_than_it_should_has_room_for_no_more(tiny_adapter):
    stream, segments = stream_of(tiny_adapter, moving(6), 6)
    session = opened(stream, Stills(), chunk=stream.plan.tokens_per_segment - 1)
    assert [len(seen) for _, seen in session.watch(segments)] == [1, 1, 1]


@pytest.mark.parametrize("family", MAKERS)
def test_all_other_tokens_are_those_of_the_whole_watch(family, tmp_path):
    adapter = load(str(MAKERS[family](tmp_path / "model")), device="cpu")
    cutter, frames = Stills(), standing([20, 2, 26])
    stream, segments = stream_of(adapter, frames, 48)
    whole = concat(stream.encode(segments))
    cut_stream, _ = stream_of(adapter, frames, 48)
    cut = list(cutter.left_out(segments))
    seen = whole.kind == VISUAL
    cells = int(whole.patch[seen].max()) + 1
    fed = torch.from_numpy(np.concatenate([one.tokens_fed(cells) for one in cut]))
    kept = torch.ones(len(whole), dtype=torch.bool)
    kept[seen] = fed.flatten()
    expected, got = whole.take(kept), concat([chunk for one in cut for chunk in cut_stream.encode([one])])
    assert len({one.tokens_fed(cells).sum() for one in cut}) > 1 and 0 < int(fed.sum()) < fed.numel() / 2
    for name in ("positions", "kind", "step", "patch", "group", "time"):
        assert torch.equal(getattr(got, name), getattr(expected, name)), name
    torch.testing.assert_close(got.embeds, expected.embeds)
    for one, other in zip(got.deepstack or [], expected.deepstack or [], strict=True):
        torch.testing.assert_close(one, other)
    (asked,), (asked_whole,) = cut_stream.question(["Why?"]), stream.question(["Why?"])
    assert torch.equal(asked.positions, asked_whole.positions), "as if nothing was left out"


def test_a_watch_of_what_moves_is_the_same_bit_for_bit(tiny_adapter):
    sessions = []
    for leaving_out in (Stills(), None):
        stream, segments = stream_of(tiny_adapter, moving(20), 20)
        sessions.append(opened(stream, leaving_out))
        assert len(list(sessions[-1].watch(segments))) == 10
    assert same_layer(*sessions)
    assert sessions[0].coverage() == sessions[1].coverage() | {"still_s": 0.0}


def test_chunks_span_more_time_where_pictures_are_left_out_and_hold_no_more_tokens(tiny_adapter):
    tokens = []
    for leaving_out in (Stills(), None):
        stream, segments = stream_of(tiny_adapter, standing([60]), 60)
        session = opened(stream, leaving_out, chunk=600)
        tokens.append([])
        for _ in session.watch(segments):
            tokens[-1].append(session.memory.tokens_seen)
        assert session.end_s == 60.0
    assert len(tokens[0]) < len(tokens[1])
    assert max(np.diff(tokens[0])) <= 600


def test_a_chunk_without_any_token_of_its_own_ends_all_the_same(tiny_adapter, monkeypatch):
    for module in (segment, stills):
        monkeypatch.setattr(module, "PARTS", 1_000_000)  # most of which are none
    stream, segments = stream_of(tiny_adapter, standing([200]), 200, sound=False)
    session = opened(stream, Stills())
    ends = [end.end_s for end, _ in session.watch(segments)]
    assert ends[0] == MOST_CHUNKS * session.segments_per_chunk * stream.plan.format.segment_s and ends[-1] == 200.0
    assert session.ask(["Why?"], max_tokens=2)


@pytest.mark.parametrize("live", [False, True])
def test_a_file_is_looked_at_a_segment_ahead_and_a_live_stream_waits_for_none(live, tiny_adapter):
    stream, segments = stream_of(tiny_adapter, standing([60]), 60)
    if live:
        known = (stream.media.video, stream.media.audio)
        video, audio = (replace(each, duration_s=None) for each in known)
        stream.media = replace(stream.media, video=video, audio=audio)
    source = iter(segments)
    _, taken = next(opened(stream, Stills()).watch(source))
    assert len(segments) - len(list(source)) == len(taken) + (not live)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """30 s with sound: 25 s of one picture, 5 s of moving ones."""
    folder = tmp_path_factory.mktemp("clip")
    moving = footage.av(folder, video_s=5, audio_s=5)
    target = folder / "lecture.mp4"
    still = ["-vf", "tpad=start_duration=25:start_mode=clone", "-af", "adelay=25000:all=1"]
    footage.run("-i", moving, *still, "-c:v", "libx264", "-g", "50", "-c:a", "aac", target)
    return target


def test_a_memory_file_holds_what_the_model_has_been_shown(clip, tiny_adapter, tmp_path):
    one = watched(clip, SETTINGS, tiny_adapter)
    again = loaded(saved(one, tmp_path / "a.omnimem"), tiny_adapter)
    assert same_state(one, again) and again.session.stills.count == one.session.stills.count == 20
    assert np.array_equal(again.session.stills.shown, one.session.stills.shown)
    assert torch.equal(again.session.stream.standing.newest, one.session.stream.standing.newest)


def test_a_watch_in_two_parts_leaves_out_what_an_unbroken_one_does(tiny_adapter):
    (stream, segments), (first, _), (second, _) = (stream_of(tiny_adapter, standing([70, 50]), 120) for _ in range(3))
    whole, before, after = (opened(each, Stills()) for each in (stream, first, second))
    ends = [end.end_s for end, _ in whole.watch(segments)]
    cut = round(ends[1] / stream.plan.format.segment_s)
    assert len(list(before.watch(segments[:cut]))) == 2
    after.load_state(before.state())
    assert len(list(after.watch(segments[cut:]))) == len(ends) - 2
    assert same_layer(after, whole) and after.coverage() == whole.coverage()


def test_a_result_says_how_much_was_skipped_and_covers_it(clip, tiny_adapter):
    skipped, whole = (
        watched(clip, replace(SETTINGS, stills=stills), tiny_adapter).facts["coverage"] for stills in ("skip", "watch")
    )
    assert skipped["still_s"] == 20.0 and whole["still_s"] is None
    assert skipped["video_s"] == whole["video_s"] and skipped["ratio"] == whole["ratio"]


def test_skipping_is_work_of_its_own_and_the_default_is_what_it_was(fake):
    media("a.mp4")
    for typed in ([], ["--stills", "skip"], ["--stills", "skip"], ["--stills", "watch"]):
        assert omnimem("summarize", "a.mp4", "-o", "out", *typed) == 0
    assert [settings.stills for settings in fake.settings] == ["watch", "skip", "watch"]
