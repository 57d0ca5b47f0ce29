"""Stage 3 of nano's training: what is asked over bounded memories, and how the weights learn from it."""

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.bench.needle import full_bytes, watched
from omnimem_cli.bench.replay import encode
from omnimem_cli.media.stills import Stills
from omnimem_cli.memory.fork import left_padded
from omnimem_cli.memory.gradient import GradientFork, constant
from omnimem_cli.memory.tokens import concat
from omnimem_cli.models.loader import load
from omnimem_cli.session.sizing import watch_options
from omnimem_cli.train import budget_stage
from omnimem_cli.train.bounded_watch import (
    ENTRIES,
    EncodedVideo,
    Script,
    draw_questions,
    draw_watch,
    draw_window,
    is_held,
    with_share,
)
from omnimem_cli.train.budget_stage import BudgetStage, rate, weighted
from omnimem_cli.train.curriculum import EVALUATION_SEEDS
from omnimem_cli.world.questions import NOWHERE, questions

SCRIPT = Script("short", 5, 6, "skew", None, False)
SMALL = Settings(policy="salience", kv_bits=8, chunk=140, budget=Budget(60))


@pytest.fixture(scope="module")
def nano():
    return load("nano", device="cpu")


@pytest.fixture(scope="module")
def encoded(nano):
    return EncodedVideo(SCRIPT, nano)


@pytest.fixture
def quick(monkeypatch):
    """A stage that watches two short videos and draws no other."""
    monkeypatch.setattr(budget_stage, "POOL", 2)
    monkeypatch.setattr(budget_stage, "WATCHES", 1)
    monkeypatch.setattr(budget_stage, "KINDS_OF_VIDEO", {"short": 1.0})
    monkeypatch.setattr(Script, "draw", classmethod(lambda cls, kind, rng: replace(SCRIPT, seed=int(rng.integers(9)))))


def _stage():
    return BudgetStage(load("nano", device="cpu"), 4, 0, lambda record: None)


def _equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_video_is_held_as_a_watch_of_the_tool_holds_it(nano, encoded):
    ours = encoded.watched(SMALL)
    theirs = watched(encode(nano, SCRIPT.video(), watch_options(SMALL)), SMALL).memory
    _hold_the_same(ours, theirs)


def test_a_lecture_brings_the_tokens_that_the_tool_feeds_where_parts_stand_for_a_picture(nano):
    script = Script("lecture", 5, 2, "lecture", None, True)
    encoded = EncodedVideo(script, nano)
    ours, whole = concat(encoded.chunks), encode(nano, script.video(), watch_options(SMALL))
    theirs = concat(whole.stream.encode(list(Stills().left_out(whole.segments))))
    assert len(ours) == len(theirs) < 0.9 * encoded.tokens
    assert all(torch.equal(getattr(ours, name), getattr(theirs, name)) for name in ("positions", "kind", "time"))
    assert torch.allclose(ours.embeds, theirs.embeds, atol=1e-4)


def _hold_the_same(ours, theirs):
    for here, there in zip(ours.stores, theirs.stores, strict=True):
        assert torch.equal(here.table["index"], there.table["index"])
        assert all(torch.equal(a, b) for a, b in zip(here.listed()[:2], there.listed()[:2], strict=True))


@pytest.mark.parametrize("kv_bits", [16, 4])
def test_a_share_is_one_of_the_bytes_of_the_whole_video(nano, encoded, kv_bits):
    settings = with_share(Settings(policy="salience", chunk=140, kv_bits=kv_bits), 1 / 8, encoded)
    whole = full_bytes(encode(nano, SCRIPT.video(), watch_options(settings)), settings)
    assert 0.9 * whole / 8 < encoded.watched(settings).nbytes <= 1.02 * whole / 8


def test_nothing_is_asked_of_which_no_layer_holds_an_entry(encoded):
    memory = encoded.watched(replace(SMALL, policy="sliding-window", budget=Budget(60)))
    times = torch.cat([store.table["time"][0, store.table["kind"][0] > 1] for store in memory.stores])
    asked = draw_questions(encoded, memory, np.random.default_rng(0))
    known = [q for q in asked if q.kind != "absent"]
    assert len(known) < len(asked) and all(is_held(q, memory) for q in asked)
    for evidence in (each for q in known for part in q.parts for each in part.evidence if each != NOWHERE):
        assert bool(((times >= evidence.start_s - 1) & (times < evidence.end_s)).any())
    everything = questions(encoded.video, 1, ("word_at", "slide_at", "digit"), 3)
    assert any(not is_held(q, memory) for q in everything), "the beginning is gone"


def test_a_window_is_read_as_the_tool_reads_one(nano, encoded):
    rng, kinds = np.random.default_rng(3), set()
    for _ in range(6):
        memory, stores, asked = draw_window(encoded, rng)
        view = asked[0].view
        tokens = encoded.stream.question([question.text for question in asked])
        for question, text in zip(asked, tokens, strict=True):
            theirs = memory.fork_copies([memory.copy_window(view.start_s, view.end_s)])
            ours = GradientFork(memory, constant(stores)).forward(*left_padded([text]))
            assert (ours - theirs.forward(*left_padded([text]))).abs().max() < 1e-3
            kinds.add(question.kind)
            assert question.view == view and all(
                view.start_s - 1 <= each.start_s and each.end_s <= view.end_s + 2
                for part in question.parts
                for each in part.evidence
                if each != NOWHERE
            )
    assert {"transcribe", "note"} <= kinds


def test_videos_are_of_no_seed_that_is_evaluated_on_and_memories_stay_within_trained_positions():
    rng = np.random.default_rng(0)
    scripts = [Script.draw("long", rng) for _ in range(200)]
    assert max(script.seed for script in scripts) < EVALUATION_SEEDS
    for script in scripts:
        settings = draw_watch(_tokens_only(script, 9_000), rng)
        assert settings.budget.entries <= ENTRIES[1] < 1_550 and settings.positions in ("lazy", "eager")


def test_lectures_are_kept_whole_or_to_an_eighth_or_a_sixteenth(encoded):
    rng = np.random.default_rng(0)
    scripts = [Script.draw("lecture", rng) for _ in range(100)]
    assert {script.skips_stills for script in scripts} == {True, False} and {s.style for s in scripts} == {"lecture"}
    drawn = [draw_watch(_like(encoded, script), rng) for script in scripts]
    bounded = [settings for settings in drawn if settings.policy != "full"]
    assert 0 < len(bounded) < len(drawn) and all(settings.positions == "keep" for settings in drawn)
    shares = [_share_of(settings, encoded) for settings in bounded]
    assert all(min(abs(share - each) for each in (1 / 8, 1 / 16)) < 0.01 for share in shares)


def _share_of(settings, encoded):
    """Of the bytes of the whole video that the budget's entries take."""
    prompt, whole = len(encoded.stream.prefix), with_share(settings, 1.0, encoded).budget.entries
    return (settings.budget.entries + prompt) / (whole + prompt)


def _like(encoded, script):
    other = copy(encoded)
    other.script = script
    return other


def _tokens_only(script, tokens):
    encoded = object.__new__(EncodedVideo)
    encoded.script, encoded.tokens = script, tokens
    return encoded


def test_answers_are_learned(quick, monkeypatch):
    monkeypatch.setattr(budget_stage, "draw_watch", lambda encoded, rng: SMALL)
    monkeypatch.setattr(budget_stage, "WINDOW_SHARE", 0.0)
    monkeypatch.setattr(budget_stage, "WARM_UP", 1)
    monkeypatch.setattr(Script, "draw", classmethod(lambda cls, kind, rng: SCRIPT))
    stage, losses = _stage(), []
    for stage.step in (0, 0, 0, 0, 0, 0):  # the same questions each time
        losses.append(stage._train_step())
    assert losses[-1] < 0.7 * losses[0]


def test_a_training_that_is_resumed_ends_as_one_that_is_not(quick):
    whole, half, rest = _stage(), _stage(), _stage()
    whole.run(lambda stage: None)
    for half.step in range(2):
        half._train_step()
    rest.load_state({**half.state(), "counters": (2, 1.0)})
    rest.run(lambda stage: None)
    assert _equal(rest.learned, whole.learned) and _equal(rest.mean, whole.mean)
    assert rest.seconds > 1.0


def test_towers_and_everything_but_the_text_model_stay(quick):
    stage = _stage()
    before = {name: p.clone() for name, p in stage.adapter.model.named_parameters()}
    stage._train_step()
    moved = {name for name, p in stage.adapter.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved and moved <= set(stage.named)
    assert not any("tower" in name or "visual" in name for name in stage.named)


def test_the_rate_warms_up_stays_and_falls_to_nothing():
    rates = [rate(step, 1000) for step in range(1001)]
    assert rates[0] == pytest.approx(1 / 20) and rates[20] == rates[299] == 1.0
    assert rates[650] == pytest.approx(0.5, abs=0.01) and rates[1000] == pytest.approx(0, abs=1e-9)


def test_what_is_absent_counts_more_and_long_answers_less_for_each_token():
    video = SCRIPT.video()
    asked = questions(video, 0, ("digit", "absent"))
    losses = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])
    assert float(weighted(losses, asked, [1, 4])) == pytest.approx(1 / (1 + 4 * 1.5 / 2))
