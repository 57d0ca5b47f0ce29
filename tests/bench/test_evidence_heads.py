"""Calibrating evidence: heads and least scores of known outcome, and whole runs with a tiny random model."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from omnimem_cli.base.console import console
from omnimem_cli.base.settings import Settings
from omnimem_cli.bench import evidence, evidence_heads
from omnimem_cli.bench.evidence_heads import Observed, best_threshold, calibrate_evidence, choose_rule, halves
from omnimem_cli.commands.calibrate import _evidence
from omnimem_cli.memory.attention_by_time import Moments
from omnimem_cli.session.plan_file import EvidenceRule
from omnimem_cli.session.session import Session

SMALL = Settings(max_pixels=56 * 56, av_ratio=0.1)
MOMENTS = Moments(0.0, 1.0, 20)
PAIRS = [(layer, head) for layer in range(2) for head in range(2)]


@pytest.fixture
def short_videos(monkeypatch):
    monkeypatch.setattr(evidence_heads, "EVENTS", 3)
    monkeypatch.setattr(evidence_heads, "FEWEST", 3)


@pytest.fixture
def all_right(monkeypatch):
    """Whatever is said counts as right."""
    for module in (evidence, evidence_heads):
        monkeypatch.setattr(module, "is_right", lambda question, text: True)


def observed(*heads: dict[int, float], event: tuple[float, float] | None = (4.0, 6.0)) -> Observed:
    """A question of two tokens that pay little everywhere, and an answer's token that pays moments by head."""
    paid = torch.full((3, len(heads), 2, MOMENTS.count), 0.01)
    for number, moments in enumerate(heads):
        for moment, share in moments.items():
            paid[2, number, 0, moment] += share
    where = None if event is None else SimpleNamespace(start_s=event[0], end_s=event[1])
    return Observed(paid.half(), 2, MOMENTS, where, 20.0)


def test_the_head_that_pays_the_event_is_chosen_and_no_head_that_adds_nothing():
    seen = [observed({9: 0.5}, {4: 0.5}, {4: 0.2, 12: 0.2}, {})] * 3
    assert choose_rule(seen, PAIRS).heads == ((0, 1),)


def test_a_head_is_added_where_another_one_fails():
    seen = [observed({}, {4: 0.5}, {15: 0.1}, {}), observed({4: 0.5}, {}, {15: 0.1}, {})]
    assert choose_rule(seen, PAIRS).heads == ((0, 0), (0, 1))


def test_the_least_score_lies_between_spans_that_point_right_and_those_of_what_is_not_there():
    right, absent = observed({4: 0.5}), observed({8: 0.1}, event=None)
    (best,), (other,) = (one.attention([0]).of_answer() for one in (right, absent))
    least = choose_rule([right, right, absent], PAIRS[:1]).least_score
    assert other["score"] < least < best["score"]


def test_the_threshold_makes_the_fewest_errors():
    assert best_threshold([0.4, 0.5, 0.6], [0.1, 0.2]) == 0.3
    assert best_threshold([0.2, 0.5, 0.6, 0.7], [0.1, 0.3]) == 0.15
    assert 0 < best_threshold([0.5], []) <= 0.5 and best_threshold([], []) == 0.0


@pytest.mark.parametrize("videos", [2, 3, 8])
def test_the_videos_that_are_measured_are_others_than_those_that_chose(videos):
    tuning, others = halves(videos)
    assert tuning and others and not set(tuning) & set(others)
    assert len(tuning) + len(others) == videos


def test_a_tiny_random_model_runs_through_and_is_measured_on_other_videos(
    tiny_adapter, short_videos, all_right, monkeypatch
):
    seen = {"chose": set(), "measured": set()}
    plain_observed, plain_checked = evidence_heads._observed, evidence_heads._checked
    monkeypatch.setattr(
        evidence_heads, "_observed", lambda video, *rest: seen["chose"].add(video.seed) or plain_observed(video, *rest)
    )
    monkeypatch.setattr(
        evidence_heads, "_checked", lambda video, *rest: seen["measured"].add(video.seed) or plain_checked(video, *rest)
    )
    found = calibrate_evidence(tiny_adapter, 2, SMALL, lambda progress: None)
    EvidenceRule.read(found, tiny_adapter)
    assert found["videos"] == 1 and found["questions"] >= 3
    assert 0 <= found["right"] <= 1 and 0 <= found["random"] <= 1
    assert [len(seeds) for seeds in seen.values()] == [1, 1] and not seen["chose"] & seen["measured"]


def test_heads_observed_apart_are_what_a_session_observes_of_each(tiny_adapter, short_videos, all_right):
    video, session, asked = evidence_heads._watched(tiny_adapter, 65_000, Settings(max_pixels=56 * 56, policy="full"))
    apart = list(evidence_heads._observed(video, session, asked))
    session.evidence_rule = EvidenceRule(((1, 0), (2, 3)), 0.0)
    texts = evidence_heads._texts(session, asked)
    answers = session.ask(texts, max_tokens=evidence_heads.MAX_TOKENS, evidence=True)
    kept = [a for q, a in zip(asked, answers, strict=True) if evidence.event_of(q, video)]
    assert len(kept) == len(apart) > 0
    heads = tiny_adapter.model.config.get_text_config().num_attention_heads
    for one, answer in zip(apart, kept, strict=True):
        together = one.attention([heads, 2 * heads + 3])
        torch.testing.assert_close(together.own, answer.attention.own, atol=2e-3, rtol=1e-2)
        torch.testing.assert_close(together.usual, answer.attention.usual, atol=2e-3, rtol=1e-2)


def test_a_model_that_answers_nothing_right_gets_no_rule_and_one_sentence(tiny_adapter, short_videos, monkeypatch):
    asked = Counter()
    plain = Session.ask

    def ask(self, texts, **how):
        asked["questions"] += len(texts)
        return plain(self, texts, **how)

    said = []
    monkeypatch.setattr(Session, "ask", ask)
    monkeypatch.setattr(console, "warn", said.append)
    assert _evidence(tiny_adapter, 2, SMALL, lambda progress: None) == {}
    assert asked["questions"] > 3 and len(said) == 1 and "no heads for evidence were chosen" in said[0]


def test_a_rule_that_could_not_be_measured_on_other_videos_is_none(tiny_adapter, short_videos, monkeypatch):
    monkeypatch.setattr(evidence_heads, "is_right", lambda question, text: True)  # of the half that chooses alone
    monkeypatch.setattr(evidence, "is_right", lambda question, text: False)
    assert calibrate_evidence(tiny_adapter, 2, SMALL, lambda progress: None) is None
