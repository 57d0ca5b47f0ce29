"""Evidence: spans of video from what the tokens of an answer attended to, beyond what the question's usually do."""

import torch

from omnimem_cli.memory.attention_by_time import Moments
from omnimem_cli.session.evidence import attention_of

MOMENTS = Moments(100.0, 2.0, 20)


def paid(*moments: tuple[int, float], kind: int = 0, everywhere: float = 0.01) -> torch.Tensor:
    """What one token pays: [kinds, moments]."""
    token = torch.full((2, MOMENTS.count), everywhere)
    for moment, share in moments:
        token[kind, moment] += share
    return token


def evidence_of(question: list[torch.Tensor], answer: list[torch.Tensor], least_score: float = 0.1):
    tokens = torch.stack([*question, *answer])
    ends = [4 * (n + 1) for n in range(len(answer))]  # every token is four characters long
    return attention_of(tokens, len(question), MOMENTS, least_score, lambda: ends)


def spans(found: list[dict]) -> list[tuple[float, float, str]]:
    return [(span["start_s"], span["end_s"], span["kind"]) for span in found]


PLAIN = [paid(), paid(), paid()]


def test_a_span_holds_the_moments_that_an_answer_attended_to():
    found = evidence_of(PLAIN, [paid(), paid((4, 0.5), (5, 0.4), kind=1)]).of_answer()
    assert spans(found) == [(108.0, 112.0, "audio")]
    assert 0 < found[0]["score"] < 1


def test_what_every_token_of_the_question_attends_to_is_no_evidence():
    usual = [paid((2, 0.6))] * 3
    assert spans(evidence_of(usual, [paid((2, 0.6), (9, 0.4))]).of_answer()) == [(118.0, 120.0, "visual")]
    assert evidence_of(usual, [paid((2, 0.6))]).of_answer() == []


def test_what_a_token_of_the_question_found_counts_where_the_answer_has_nothing_of_its_own():
    asked = [*PLAIN, paid((6, 0.8))]
    assert spans(evidence_of(asked, [paid()]).of_answer()) == [(112.0, 114.0, "visual")]
    own_first = evidence_of(asked, [paid((1, 0.8))]).of_answer()
    assert spans(own_first) == [(102.0, 104.0, "visual"), (112.0, 114.0, "visual")]


def test_the_best_three_spans_are_given_the_best_first():
    answer = [paid((place, share)) for place, share in ((1, 0.5), (5, 0.7), (9, 0.6), (13, 0.4))]
    found = evidence_of(PLAIN, answer).of_answer()
    assert [span["start_s"] for span in found] == [110.0, 118.0, 102.0]
    assert [span["score"] for span in found] == sorted((span["score"] for span in found), reverse=True)


def test_below_the_threshold_there_is_no_evidence():
    answer = [paid((4, 0.1))]
    (span,) = evidence_of(PLAIN, answer, 0.0).of_answer()
    assert evidence_of(PLAIN, answer, span["score"]).of_answer() == [span]
    assert evidence_of(PLAIN, answer, span["score"] + 0.001).of_answer() == []


def test_a_moment_between_two_does_not_part_a_span():
    assert spans(evidence_of(PLAIN, [paid((4, 0.5), (6, 0.5))]).of_answer()) == [(108.0, 114.0, "visual")]
    assert len(evidence_of(PLAIN, [paid((4, 0.5), (7, 0.5))]).of_answer()) == 2


def test_a_part_of_the_answer_has_evidence_from_its_own_tokens():
    attention = evidence_of([*PLAIN, paid((15, 0.9))], [paid((3, 0.5)), paid((8, 0.5)), paid((12, 0.5))])
    assert spans(attention.of_text(0, 4)) == [(106.0, 108.0, "visual")]
    assert spans(attention.of_text(5, 7)) == [(116.0, 118.0, "visual")]
    assert {start for start, _, _ in spans(attention.of_text(3, 5))} == {106.0, 116.0}
    assert attention.of_text(12, 12) == []


def test_an_answer_without_tokens_or_a_memory_without_media_has_no_evidence():
    assert evidence_of(PLAIN, []).of_answer() == []
    nothing = torch.zeros(2, MOMENTS.count)
    assert evidence_of([nothing], [nothing], 0.0).of_answer() == []
