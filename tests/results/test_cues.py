"""Subtitle cues: what a viewer can read in the time, whatever the language."""

import random
from itertools import pairwise

import pytest
from rich.cells import cell_len

from omnimem_cli.results.writers.cues import Cue, cues
from omnimem_cli.results.writers.wrapping import blocks_of

ALPHABETS = {
    "latin": "abcdefghi    ,.!?",
    "accents": "éèüñ   e\u0301o\u0308.,",
    "chinese": "今天我们讨论预算、，。？",
    "japanese": "これはテストッー「」。、ABC 12",
    "korean": "안녕하세요 반갑습니다. ",
    "thai": "สวัสดีครับวันนี้เราจะ ",
    "arabic": "مرحبا بكم في ، . ",
    "emoji": "👨\u200d👩\u200d👧👍🏽❤\ufe0f ok ",
    "odd": "\u200b\u00ad\u2028\x07<>&->- x",
}


def transcript(*segments: tuple[float, float, str]) -> dict:
    return {"transcript": {"segments": [{"start_s": a, "end_s": b, "text": text} for a, b, text in segments]}}


def bare(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("name", ALPHABETS)
@pytest.mark.parametrize("seed", range(40))
def test_cues_are_short_lasting_and_inside_their_segments_in_any_language(name, seed):
    draw = random.Random(seed)
    segments, now = [], draw.uniform(0, 5)
    for _ in range(3):
        text = "".join(draw.choices(ALPHABETS[name], k=draw.choice((1, 5, 60, 400))))
        end = now + draw.choice((0.05, 0.4, 3.0, 30.0))
        segments.append((round(now, 3), round(end, 3), text))
        now = end + draw.choice((0.0, 2.0))
    made = cues(transcript(*segments))
    assert all(before.end_s <= after.start_s for before, after in pairwise(made))
    assert bare("".join(cue.text for cue in made)) == bare("".join(text for *_, text in segments))
    for start, end, _ in segments:
        inside = [cue for cue in made if start <= cue.start_s < end]
        assert all(cue.end_s <= end for cue in inside)
        enough = end - start >= len(inside)
        assert all(cue.end_s - cue.start_s >= (0.999 if enough else 0.001) for cue in inside)
    for cue in made:
        lines = cue.text.split("\n")
        assert len(lines) <= 2
        assert all(cell_len(line) <= 42 for line in lines)
        assert cue.end_s - cue.start_s <= 7.0005


def test_cues_end_with_sentences_then_clauses_then_words():
    text = (
        "So the first thing that we have to do is look at the budget. It was approved last year, in March, by the "
        "whole committee, and nobody at all has ever looked at it since then, as far as anybody here remembers"
    )
    assert blocks_of(text) == [
        ["So the first thing that we have", "to do is look at the budget."],
        ["It was approved last year,", "in March, by the whole committee,"],
        ["and nobody at all has ever", "looked at it since then,"],
        ["as far as anybody here remembers"],
    ]


def test_a_title_ends_no_sentence():
    text = "Nobody has looked at it since then, said Dr. Miller, who will not be here today, in a letter of March."
    assert [lines[-1].endswith("Dr.") for lines in blocks_of(text)] == [False, False]


def test_no_line_of_chinese_or_japanese_begins_with_a_mark():
    text = "今天我们来讨论一下明年的预算问题。「首先」，委员会在三月份批准了这个方案。" * 4
    lines = [line for block in blocks_of(text) for line in block]
    assert not [line for line in lines if line[0] in "。，」"]
    assert not [line for line in lines if line[-1] == "「"]


def test_a_letter_keeps_its_marks_at_the_end_of_a_line():
    lines = [line for block in blocks_of("e\u0301" * 100) for line in block]
    assert {line[:2] for line in lines} == {"e\u0301"}


def test_slow_speech_has_shorter_cues_so_that_something_is_always_shown():
    made = cues(transcript((0.0, 30.0, "It was approved last year. " * 6)))
    assert made[-1].end_s == 30.0
    assert all(before.end_s == after.start_s for before, after in pairwise(made))


def test_a_segment_ends_where_the_next_one_begins():
    made = cues(transcript((0.0, 6.0, "one"), (4.0, 8.0, "two")))
    assert made == [Cue(0.0, 4.0, "one"), Cue(4.0, 8.0, "two")]
