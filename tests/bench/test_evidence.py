"""The evidence benchmark: its bookkeeping is right whatever the model says and attends to."""

from dataclasses import replace

import pytest

from omnimem_cli.base.errors import DoesNotFitError
from omnimem_cli.base.settings import Settings
from omnimem_cli.bench.evidence import LINE, EvidenceBench, bench_evidence, event_of
from omnimem_cli.bench.needle import asked_about
from omnimem_cli.bench.replay import encode
from omnimem_cli.bench.tables import evidence_table
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.session.answering import Answer
from omnimem_cli.session.session import Session
from omnimem_cli.tasks.prompts import SUMMARY
from omnimem_cli.world.video import make_video

SMALL = Settings(max_pixels=56 * 56, av_ratio=0.1)
BENCH = EvidenceBench(["1", "1/4"], videos=1, seed=60_000, events=6, policy="omnimem")
VIDEO = make_video(60_000, 6, "skew", split="eval")


class Pointed(Answer):
    """An answer whose evidence is given."""

    where = None

    @property
    def evidence(self) -> list[dict]:
        return [] if self.where is None else [span(*self.where)]

    def evidence_of(self, start: int, end: int) -> list[dict]:
        return self.evidence


def span(start_s: float, end_s: float) -> dict:
    return {"start_s": start_s, "end_s": end_s, "kind": "visual", "score": 0.5}


@pytest.fixture
def asked(tiny_adapter):
    return asked_about(encode(tiny_adapter, VIDEO, WatchOptions(max_pixels=56 * 56)))


def run(tiny_adapter, monkeypatch, asked, where, bench=BENCH):
    """Every question is answered right; ``where(event)`` is what its evidence says."""
    known = {question.text: question for question in asked}

    def reply(text: str) -> Answer:
        event = event_of(known[text], VIDEO) if text in known else VIDEO.events[0]
        told = known[text].answer if text in known else f"- {VIDEO.events[0].slide}"
        answer = Pointed(told, 1, True)
        object.__setattr__(answer, "where", event and where(event))
        return answer

    monkeypatch.setattr(Session, "ask", lambda self, texts, **how: [reply(text) for text in texts])
    return bench_evidence(tiny_adapter, bench, SMALL, lambda _: None)


def test_evidence_that_overlaps_the_event_is_right_under_every_budget(tiny_adapter, monkeypatch, asked):
    result = run(tiny_adapter, monkeypatch, asked, lambda event: (event.end_s - 0.5, event.end_s + 1.0))
    assert [row["budget"] for row in result["rows"]] == ["1", "1/4"]
    for row in result["rows"]:
        assert (row["right"], row["given"], row["span_s"]) == (1.0, 1.0, 1.5) and 0 < row["random"] < 0.5
        assert row["n"] == sum(found["n"] for kind, found in row["by_kind"].items() if kind != LINE)
        assert row["by_kind"][LINE]["n"] == 1
        assert row["absent"] == {"n": sum(question.kind == "absent" for question in asked), "given": 0.0}
    assert "100.0%" in evidence_table(result)


def test_evidence_beside_the_event_or_none_at_all_is_wrong(tiny_adapter, monkeypatch, asked):
    for where, given in ((lambda event: (event.end_s, event.end_s + 1.0), 1.0), (lambda event: None, 0.0)):
        rows = run(tiny_adapter, monkeypatch, asked, where)["rows"]
        assert [(row["right"], row["given"]) for row in rows] == [(0.0, given)] * 2


def test_the_whole_video_as_evidence_is_right_by_chance_too(tiny_adapter, monkeypatch, asked):
    (row, _) = run(tiny_adapter, monkeypatch, asked, lambda event: (0.0, VIDEO.duration_s))["rows"]
    assert row["random"] == 1.0


def test_the_event_of_an_answer_shows_or_says_it(asked):
    for question in asked:
        event = event_of(question, VIDEO)
        if question.kind == "absent":
            assert event is None
        elif question.kind in ("digit", "written"):
            assert question.answer in str(event.slide)
        elif question.kind.endswith("_word") or question.kind == "word_at":
            assert event.word == question.answer


def test_a_budget_without_room_is_an_error(tiny_adapter):
    with pytest.raises(DoesNotFitError):
        bench_evidence(tiny_adapter, replace(BENCH, budgets=["1/1000"]), SMALL, lambda _: None)


def test_the_summary_is_asked_with_evidence(tiny_adapter, monkeypatch, asked):
    calls = []
    plain = Session.ask
    monkeypatch.setattr(
        Session, "ask", lambda self, texts, **how: calls.append((texts, how)) or plain(self, texts, **how)
    )
    bench_evidence(tiny_adapter, replace(BENCH, budgets=["1"]), SMALL, lambda _: None)
    assert [texts for texts, how in calls if how["evidence"]][1] == [SUMMARY]
