"""Which moments are looked at again, how much at once, and when it is enough."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
import torch
from sessions import session_of
from streams import media_of, segments_of

from omnimem_cli.base.settings import Settings
from omnimem_cli.memory.attention_by_time import Moments
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.catalogue import ROWS
from omnimem_cli.session.answering import Answer
from omnimem_cli.session.evidence import AnswerAttention
from omnimem_cli.session.look import MOST_S, SecondLook, look_plan, most_seconds

SEGMENT_S = 2.0


def answer(at: list[int], *, seconds: int = 100, score: float = 0.9) -> Answer:
    """An answer whose tokens paid most to the seconds ``at``, the first most; ``score``: of its evidence there."""
    usual = torch.full((2, seconds), 1.0 / seconds)
    own = torch.zeros(1, 2, seconds)
    for rank, second in enumerate(at):
        own[0, 0, second] = (score / (1 - score)) * 0.9**rank
    attention = AnswerAttention(own + usual, torch.zeros_like(usual), usual, Moments.of(0.0, seconds), 0.1, list)
    return Answer("said", 1, True, attention)


@dataclass
class Read:
    """Segments as a file would give them, without picture and sound."""

    runs: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, first: int, count: int):
        self.runs.append((first, count))
        return [SimpleNamespace(index=i, start_s=i * SEGMENT_S) for i in range(first, first + count)]


def looking(most_s: float = 60.0, chunk_tokens: int = 1000, end_s: float = 100.0, read: Read | None = None):
    """A second look over a session that encodes nothing; stretches are noted."""
    plan = SimpleNamespace(format=SimpleNamespace(segment_s=SEGMENT_S), tokens_per_segment=10)
    session = SimpleNamespace(start_s=0.0, end_s=end_s)
    look = SecondLook(session, plan, most_s, 0.0, read or Read(), chunk_tokens)
    look._detail = lambda stretches: stretches
    return look


class Asking:
    """Replies in turn, for every row the same; notes the rows and what each read."""

    def __init__(self, *replies: Answer):
        self.replies, self.rounds = list(replies), []

    def __call__(self, rows, detail, stretches):
        self.rounds.append((list(rows), list(stretches)))
        reply = self.replies[min(len(self.rounds), len(self.replies)) - 1]
        return [reply for _ in rows]


END = (96.0, 100.0)  # of the video, which every look holds


def segments_in(stretches) -> set[int]:
    return {index for first, last in stretches for index in range(first, last + 1)}


def test_the_strongest_moments_come_first_and_the_rest_only_where_they_show_nothing():
    found, nothing = answer([40]), answer([40, *range(0, 30, 3)], score=0.2)
    asking = Asking(found)
    (looked,) = looking().again([answer([40, 80])], asking)
    assert looked.spans == [(38.0, 42.0), (78.0, 82.0), END] and len(asking.rounds) == 1
    asking = Asking(nothing, found)
    (looked,) = looking().again([nothing], asking)
    assert len(asking.rounds) == 2 and looked.answer is found
    first, second = (sum(last - start + 1 for start, last in stretches[0]) for _, stretches in asking.rounds)
    assert first <= 0.2 * 30 + 2 < second <= 30, "a fifth and the end, then all that is allowed"


@pytest.mark.parametrize("most_s", [8.0, 20.0, 60.0])
def test_no_question_looks_at_more_than_it_may(most_s):
    asking = Asking(answer([1], score=0.2))
    (looked,) = looking(most_s).again([answer(list(range(0, 100, 5)))], asking)
    assert 0 < sum(end_s - start_s for start_s, end_s in looked.spans) <= most_s


def test_no_more_is_held_at_once_than_a_chunk():
    asking = Asking(answer([1], score=0.2))
    answers = [answer(list(range(at, 100, 9))) for at in range(8)]
    looking(chunk_tokens=120).again(answers, asking)
    for _, stretches in asking.rounds:
        held = {stretch for runs in stretches for stretch in runs}
        assert sum(last - first + 1 for first, last in held) * 10 <= 120
    assert {row for rows, _ in asking.rounds for row in rows} == set(range(8))


def test_questions_that_share_a_span_share_the_look():
    asking = Asking(answer([40]))
    looking().again([answer([40])] * 3, asking)
    assert asking.rounds == [([0, 1, 2], [[(19, 20), (46, 49)]] * 3)]


def test_an_answer_that_the_model_is_not_sure_of_is_not_the_last_word():
    guessed, sure = replace(answer([40]), confidence=0.3), answer([40])
    asking = Asking(guessed, sure)
    (looked,) = looking().again([answer([40, *range(0, 30, 3)])], asking)
    assert len(asking.rounds) == 2 and looked.answer is sure


def test_the_second_round_looks_where_the_answer_after_the_first_points():
    asking = Asking(answer([80, 40], score=0.2))
    looking().again([answer([40])], asking)
    (first,), (second,) = (stretches for _, stretches in asking.rounds)
    assert first == [(19, 20), (46, 49)] and {19, 20, 39, 40} <= segments_in(second)


def test_every_look_holds_the_end_of_the_video_as_far_as_allowed():
    asking = Asking(answer([40]))
    looking(most_s=10.0).again([answer([40])], asking)
    assert segments_in(asking.rounds[0][1][0]) == {19, 20, 48, 49}
    looking(most_s=6.0).again([answer([40])], asking)
    assert segments_in(asking.rounds[-1][1][0]) == {19, 20, 49}


def test_what_the_second_round_has_left_goes_to_the_end_of_the_video():
    asking = Asking(answer([40], score=0.2))
    looking(most_s=20.0).again([answer([40])], asking)
    assert segments_in(asking.rounds[1][1][0]) == {19, 20, *range(42, 50)}


def test_an_answer_that_paid_nothing_beyond_the_usual_is_not_looked_at():
    asking = Asking(answer([40]))
    (looked,) = looking().again([answer([])], asking)
    assert looked.spans == [] and not asking.rounds


def test_nothing_is_looked_at_beyond_the_end():
    asking = Asking(answer([98], score=0.2))
    (looked,) = looking(end_s=99.0).again([answer([98])], asking)
    assert looked.spans[-1] == (40.0, 99.0), "the half minute at the end, and no second more"


def test_neighbouring_stretches_are_decoded_in_one_go():
    read = Read()
    look = looking(read=read)
    assert sorted(look._decoded({3, 4, 9, 20})) == [3, 4, 9, 20]
    assert read.runs == [(3, 7), (20, 1)]


def test_a_minute_of_a_long_video_and_less_of_a_short_one():
    plan = SimpleNamespace(format=SimpleNamespace(segment_s=2.0), tokens_per_segment=100)
    finer = SimpleNamespace(format=SimpleNamespace(segment_s=2.0), tokens_per_segment=400)
    assert most_seconds(3600.0, plan, finer) == MOST_S
    assert most_seconds(40.0, plan, plan) == 30.0
    assert most_seconds(40.0, plan, finer) == 7.5


def test_a_look_at_everything_answers_as_a_memory_of_the_whole_video_does(tiny_adapter):
    whole, _, (frames, sound) = session_of(tiny_adapter, 12.0, 12.0, policy="full", chunk=1000)
    session, *_ = session_of(tiny_adapter, 12.0, 12.0, policy="omnimem", entries=20)
    cut = segments_of(whole.plan.format, frames, sound)
    look = SecondLook(session, whole.plan, 12.0, 0.0, lambda first, count: cut[first : first + count], 10_000)
    texts, asked = ["What is shown?", "Why?"], []
    how = {"max_tokens": 8, "evidence": True}
    first = session.ask(texts, **how)
    everything = [replace(a, attention=answer(list(range(12)), seconds=12, score=0.1).attention) for a in first]

    def again(rows, *detail):
        asked.append(detail[1])
        return session.ask([texts[row] for row in rows], detail=detail, **how)

    looked = look.again(everything, again)
    assert asked[-1] == [[(0, 5)]] * 2 and all(one.spans == [(0.0, 12.0)] for one in looked)
    expected = [a.text for a in whole.ask(texts, max_tokens=8)]
    assert [one.answer.text for one in looked] == expected != [a.text for a in first]


@pytest.mark.parametrize("row", [row for row in ROWS if row.hub_id], ids=lambda row: row.name)
def test_the_form_of_a_look_has_more_frames_or_pixels(row, tiny_adapter):
    tiny_adapter.row = row
    media = media_of(10.0, 10.0, 640, 360)
    watch = tiny_adapter.plan(media, WatchOptions())
    look = look_plan(media, Settings(), tiny_adapter)
    assert (
        look.visual_tokens_per_segment / look.format.segment_s
        > watch.visual_tokens_per_segment / watch.format.segment_s
    )
