"""Questions to a live watch: all that wait are answered at once, each as of the last chunk, and told as events."""

import signal
import threading
import time
from types import SimpleNamespace

import pytest
from events import moment
from scripted import ScriptedSession

from omnimem_cli.base.process import Interrupted, deferred_stop, limits, stop_signals
from omnimem_cli.base.settings import Settings
from omnimem_cli.live import answers as live_answers
from omnimem_cli.live.answers import LiveAnswers
from omnimem_cli.live.periods import Told
from omnimem_cli.live.socket import Request


class Teller:
    """Keeps what was told."""

    def __init__(self):
        self.told = []
        self.source = SimpleNamespace(clock=SimpleNamespace(at=lambda stream_s: moment(stream_s).at))

    def event(self, *what, **more):
        self.told.append((what, more))

    def coverage(self) -> dict:
        return {"ratio": 1.0}


class Watch:
    """A watch of a scripted session, whose memory holds 10 minutes."""

    def __init__(self, reply=lambda text: text.upper(), empty=()):
        self.session = ScriptedSession(reply, now_s=600.0, chunks_seen=60, empty=empty)
        self.teller, self.waiting = Teller(), []
        socket = SimpleNamespace(next_request=lambda: self.waiting.pop(0) if self.waiting else None)
        until_now = lambda session: Told("until_now", 0.0, session.end_s, "Until now", "All quiet.", [])  # noqa: E731
        self.answers = LiveAnswers(socket, Settings(), self.teller, until_now)

    def asked(self, *requests: Request) -> list[dict]:
        """The replies to requests that wait."""
        self.waiting += requests
        self.answers(self.session)
        return [request.wait(bool) for request in requests]


def request(*texts: str, **more) -> Request:
    return Request([{"id": f"q{i}", "question": text, "schema": None} for i, text in enumerate(texts, 1)], **more)


def said(reply: dict) -> list[tuple[str, str]]:
    return [(answer["id"], answer["answer"]) for answer in reply["answers"]]


def test_all_that_wait_are_answered_in_one_batch_each_with_its_own():
    watch = Watch()
    replies = watch.asked(request("who?", "what?"), request("when?"), request("why?"))
    assert [said(reply) for reply in replies] == [
        [("q1", "WHO?"), ("q2", "WHAT?")],
        [("q1", "WHEN?")],
        [("q1", "WHY?")],
    ]
    assert len(watch.session.asked) == 1


def test_an_answer_says_as_of_when_it_is():
    (reply,) = Watch().asked(request("who?"))
    assert (reply["as_of"], reply["as_of_s"]) == ("2026-11-29T14:10:00+01:00", 600.0)
    assert reply["coverage"] == {"ratio": 1.0}


def test_a_question_about_the_last_minutes_reads_their_entries_alone():
    watch = Watch()
    watch.asked(request("who?", last_s=120.0), request("what?"), request("where?", last_s=120.0))
    windows = {tuple(asked.texts): asked.held for asked in watch.session.asked}
    assert windows == {("who?", "where?"): [(480.0, 601.0)] * 2, ("what?",): None}


def test_every_answer_is_an_event():
    watch = Watch()
    watch.asked(request("who?", last_s=60.0))
    ((what, more),) = watch.teller.told
    assert what == ("answer", 540.0, 600.0, "who?")
    assert (more["text"], more["tag"], more["data"]) == ("WHO?", "q1", {"status": "answered", "data": None})


def test_a_summary_until_now_is_one_more_answer():
    watch = Watch()
    alone, with_question = watch.asked(request(summary=True), request("who?", summary=True))
    assert said(alone) == [("summary", "All quiet.")]
    assert said(with_question) == [("q1", "WHO?"), ("summary", "All quiet.")]


@pytest.mark.parametrize(("empty", "last_s"), [([(0, 601)], None), ([(500, 601)], 60.0)])
def test_what_the_memory_does_not_hold_is_not_answered(empty, last_s):
    (reply,) = Watch(empty=empty).asked(request("who?", last_s=last_s))
    assert reply["error"]["code"] == "live_early"


def test_one_broken_request_does_not_cost_the_others():
    watch = Watch()
    broken = Request([{"id": "q1", "question": "x", "schema": {"type": "object", "not": {}}}])
    first, second = watch.asked(broken, request("who?"))
    assert first["error"]["code"] == "live_request"
    assert said(second) == [("q1", "WHO?")]


def test_data_fits_the_schema_of_its_question():
    watch = Watch(reply=lambda text: '{"n": 3}')
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    (reply,) = watch.asked(Request([{"id": "count", "question": "How many?", "schema": schema}]))
    assert reply["answers"][0]["data"] == {"n": 3}


def test_a_signal_waits_for_answers_no_longer_than_its_limit(monkeypatch):
    bounded = live_answers.bounded_stop
    monkeypatch.setattr(live_answers, "bounded_stop", lambda: bounded(0.5))
    watch, asked = Watch(lambda text: time.sleep(60) or "late"), request("who?")
    with stop_signals(signal.SIGTERM), limits(None), deferred_stop(1e9) as stop:
        began = time.monotonic()
        threading.Timer(0.3, signal.raise_signal, [signal.SIGTERM]).start()
        (reply,) = watch.asked(asked)
        assert time.monotonic() - began < 5.0
        assert reply["error"]["code"] == "live_away"
        assert isinstance(stop.error, Interrupted), "the watch ends itself"
        (reply,) = watch.asked(request("where?"))  # what comes after the signal has its limit too
        assert reply["error"]["code"] == "live_away"


def test_answers_that_are_ready_in_time_go_out_after_a_signal(monkeypatch):
    watch = Watch(lambda text: signal.raise_signal(signal.SIGTERM) or "in time")
    with stop_signals(signal.SIGTERM), limits(None), deferred_stop(1e9) as stop:
        (reply,) = watch.asked(request("who?"))
        assert said(reply) == [("q1", "in time")] and stop.error is not None
