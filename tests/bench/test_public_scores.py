"""Figures of public benchmarks: what counts as wrong, how sure they are, how two policies compare."""

import pytest

from omnimem_cli.bench.public.dataset import Answered, Item, length_class
from omnimem_cli.bench.public.scores import accuracy, comparisons, mcnemar


def answer(policy: str, video: str, name: str, status: str) -> Answered:
    item = Item(name, "?", (), "A", ("kind",), {})
    return Answered(item, video, policy, status, "< 2 min")


def of(policy: str, statuses: dict[str, str]) -> list[Answered]:
    """One video per key, one letter per question: r, w, n (no letter), f (failed), m (missing)."""
    words = dict(r="right", w="wrong", n="no_letter", f="failed", m="missing")
    return [answer(policy, v, f"{v}{i}", words[s]) for v, each in statuses.items() for i, s in enumerate(each)]


def test_whatever_was_not_answered_is_wrong_and_stands_beside():
    found = accuracy(of("x", {"a": "rrw", "b": "rn", "c": "f", "d": "mm"}))
    assert (found["accuracy"], found["answered_accuracy"]) == (3 / 8, 3 / 4)
    assert [found[key] for key in ("n", "videos", "right", "wrong", "no_letter", "failed", "missing")] == [
        8,
        4,
        3,
        1,
        1,
        1,
        2,
    ]


def test_where_nothing_was_answered_there_is_no_share_of_answers():
    found = accuracy(of("x", {"a": "mm"}))
    assert (found["accuracy"], found["answered_accuracy"]) == (0.0, None)


def test_questions_that_share_a_videos_luck_make_the_interval_wider():
    alike = accuracy(of("x", {"a": "rrrr", "b": "wwww", "c": "rrrr", "d": "wwww"}))
    apart = accuracy(of("x", {v: "rwrw" for v in "abcd"}))
    assert alike["accuracy"] == apart["accuracy"] == 0.5
    assert alike["high"] - alike["low"] > 1.5 * (apart["high"] - apart["low"])


def test_mcnemar_is_the_sign_test_of_what_only_one_has_right():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == mcnemar(0, 5) == pytest.approx(2 / 2**5)
    assert mcnemar(4, 1) == pytest.approx(2 * (5 + 1) / 2**5)


def test_two_policies_are_compared_question_by_question():
    answers = of("x", {"a": "rr", "b": "rw", "c": "rr"}) + of("y", {"a": "rw", "b": "wr", "c": "ff"})
    (compared,) = comparisons(answers)
    assert compared["policies"] == ["x", "y"] and compared["difference"] == pytest.approx((4 - 1) / 6, abs=1e-4)
    assert (compared["only_first_right"], compared["only_second_right"]) == (4, 1)
    assert compared["low"] <= compared["difference"] <= compared["high"]
    assert comparisons(answers[:6] + answers[:5:-1]) == [compared], "in whatever order the answers come"


def test_lengths_have_classes():
    assert [length_class(s) for s in (None, 0, 119.9, 120, 1799, 3599, 7200)] == [
        "unknown", "< 2 min", "< 2 min", "2-10 min", "10-30 min", "30-60 min", "> 60 min",
    ]  # fmt: skip
