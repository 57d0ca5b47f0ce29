"""Invented turns and loops are cut, and nothing else is."""

import time

import pytest

from omnimem_cli.tasks.reply import clean_reply, cut_at_stop, has_loop, runs_in_a_loop, without_loops

PASSAGE = "The train leaves the station at nine and comes back in the evening with the same people on board."


@pytest.mark.parametrize(
    "tail", ["\nHuman: and then?", "<|im_start|>user", "\nUser: hm", "<|im_end|>", "\nAssistant: well\nHuman: x"]
)
def test_invented_turns_are_cut(tail):
    assert cut_at_stop("A talk." + tail) == "A talk."


def test_a_human_inside_a_sentence_stays():
    assert cut_at_stop("The Human: a study.") == "The Human: a study."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It ends. " + "over " * 30, "It ends. over"),
        ("Start. " + "and so on, " * 20, "Start. and so on,"),
        (f"{PASSAGE} " * 3, PASSAGE),
        (
            "Before. " + "round and round " * 10 + "After that it went on.",
            "Before. round and round After that it went on.",
        ),
        ("我们继续" * 12, "我们继续"),
        ("A " * 20 + "then " + "b c " * 15, "A then b c"),
        (f"{PASSAGE} " * 5 + "The train leaves the", PASSAGE),
    ],
)
def test_loops_stand_once(text, expected):
    assert without_loops(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No, no, no, no! Stop.",
        f"{PASSAGE} {PASSAGE}",
        "we want it now, " * 3 + "they said.",
        "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily, life is but a dream.",
        "| a | b |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "- one\n- two\n- three\n- four\n- five\n- six\n- seven",
        "Slide 1: red. Slide 2: blue. Slide 3: green. Slide 4: grey. Slide 5: white.",
        "哈哈哈,今天天气很好。",
        "  two\n\nparagraphs  ".strip(),
    ],
)
def test_what_is_no_loop_stays_as_it_is(text):
    assert without_loops(text) == text


def test_white_space_between_paragraphs_survives_a_cut():
    assert without_loops("First.\n\nSecond.\n" + "x " * 20) == "First.\n\nSecond.\nx"


def test_a_loop_is_flagged_and_its_token_limit_is_not():
    reply = clean_reply("on and on " * 60, False, "The summary")
    assert reply.text == "on and on"
    assert [w["code"] for w in reply.warnings] == ["repetition"]
    assert reply.warnings[0]["message"].startswith("The summary ")


def test_an_answer_that_ran_into_an_invented_turn_is_not_incomplete():
    assert clean_reply("A talk.\nHuman: why", False, "x").warnings == []
    assert [w["code"] for w in clean_reply("A talk", False, "x").warnings] == ["answer_cut"]


def test_a_long_answer_is_read_at_once():
    text = " ".join(map(str, range(3000)))
    began = time.process_time()
    assert without_loops(text) == text
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("unit", "fewest"),
    [("on ", 24), ("round and round ", 9), (f"{PASSAGE} ", 7), ("我们继续", 8), ("- a red door\n- a green one\n", 8)],
)
def test_an_answer_that_is_being_written_runs_in_a_loop_after_twice_what_makes_one(unit, fewest):
    for begin in ("", "开始很好。" if unit > "~" else "It began well, with other words. "):
        assert [runs_in_a_loop(begin + unit * times) for times in (fewest - 2, fewest + 1)] == [False, True]
        assert runs_in_a_loop(begin + unit * (fewest + 1) + unit[: len(unit) // 2]), "whatever it stands at"
        assert not runs_in_a_loop(
            begin + unit * (fewest + 1) + ("然后就结束了。" if unit > "~" else "and then it went on.")
        )
        assert has_loop(begin + unit * (fewest + 1))


@pytest.mark.parametrize(
    "text", ["", "No", "No, no, no, no, no! ", "| --- " * 60, "1 2 3 4 5 6 7 8 " * 3, "la la la " * 5]
)
def test_what_may_still_end_by_itself_does_not_run_in_a_loop(text):
    assert not runs_in_a_loop(text)


def test_looking_for_a_loop_in_a_long_answer_takes_no_time_to_speak_of():
    text = "the " + " ".join(f"the {n}" for n in range(1500))
    began = time.process_time()
    assert not runs_in_a_loop(text)
    assert time.process_time() - began < 0.1
