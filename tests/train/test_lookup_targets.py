"""Where a name in a text should look in the video."""

import numpy as np
import pytest

from omnimem_cli.train.nano_tokenizer import build_tokenizer
from omnimem_cli.train.targets.lookup_targets import AFTER, BEGINNING, FINDINGS, HERE, WORD, Name, Names, look_up
from omnimem_cli.train.targets.moment_labels import LABELS, SECOND_FIGURES, moment_labels
from omnimem_cli.train.token_order import layout
from omnimem_cli.train.tower_stage import IGNORE, slide_labels
from omnimem_cli.world.slides import COLOURS, SHAPES
from omnimem_cli.world.video import make_video
from omnimem_cli.world.words import WORDS

VIDEO = make_video(11, 5, "even")
PLAN = layout(round(VIDEO.duration_s))
LABELLED = moment_labels(VIDEO, PLAN, PLAN.positions[0])
ALL = np.ones(len(PLAN.index), bool)
MIDDLE = PLAN.start_s + np.where(PLAN.is_sound, 0.05, 0.5)


def _slide(event):
    return Name(0, *slide_labels(event.slide)[:2])


def _during(event):
    return (event.start_s <= MIDDLE) & (event.end_s > MIDDLE)


def _three(fit):
    """The first three events in a row that fit."""
    return next(three for three in zip(VIDEO.events, VIDEO.events[1:], VIDEO.events[2:], strict=False) if fit(three))


def _findings(lookup):
    return dict(zip(FINDINGS, lookup.findings.tolist(), strict=True))


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.mark.parametrize(("text", "count"), [("apple river", 2), ("What is on the red circle?", 1), ("a circle", 0)])
def test_names_are_found_with_and_without_a_space_in_front(tokenizer, text, count):
    ids = tokenizer.encode(text)
    assert len(Names(tokenizer).find(ids)) == count


def test_a_name_knows_itself(tokenizer):
    (slide,) = Names(tokenizer).find(tokenizer.encode(f" {list(COLOURS)[3]} {SHAPES[2]}"))
    (word,) = Names(tokenizer).find(tokenizer.encode(WORDS[7]))
    assert slide.labels(len(LABELS)).tolist()[:5] == [4, 3, IGNORE, IGNORE, IGNORE] and slide.column == 1
    assert word.labels(len(LABELS)).tolist()[:5] == [IGNORE, IGNORE, IGNORE, IGNORE, 8]


def test_a_slide_looks_at_itself_at_its_word_and_at_what_comes_after_it():
    spoken = next(e for e in VIDEO.events[:-1] if e.word)
    after = VIDEO.events[VIDEO.events.index(spoken) + 1]
    looked = look_up(_slide(spoken), LABELLED, ALL)
    assert looked.known.all()
    assert (looked.found[HERE] == _during(spoken)).all() and (looked.found[AFTER] == _during(after)).all()
    assert looked.found[WORD].any() and PLAN.is_sound[looked.found[WORD]].all()
    assert (MIDDLE[looked.found[WORD]] >= spoken.word_start_s + 0.2).all()
    assert (looked.found[BEGINNING] == _during(spoken) & (spoken.start_s + 1 > MIDDLE) & ~PLAN.is_sound).all()


def test_a_slide_whose_beginning_is_gone_looks_at_what_is_left_of_it():
    event = VIDEO.events[1]
    left = ~_during(event) | (event.start_s + 1 < MIDDLE)
    looked = look_up(_slide(event), LABELLED, left)
    assert (looked.found[BEGINNING] == _during(event) & left).all() and looked.found[BEGINNING].any()


def test_a_word_looks_where_it_is_said_and_at_the_next_one():
    first, second = [e for e in VIDEO.events if e.word][:2]
    looked = look_up(Name(0, word=WORDS.index(first.word) + 1), LABELLED, ALL)
    assert looked.found[WORD].any() and PLAN.is_sound[looked.found[WORD]].all()
    assert (_during(first) >= looked.found[HERE]).all()
    assert looked.found[AFTER].any() and (MIDDLE[looked.found[AFTER]] >= second.word_start_s).all()


def test_a_slide_should_know_what_it_found():
    before, spoken, after = _three(lambda events: events[1].word)
    findings = _findings(look_up(_slide(spoken), LABELLED, ALL))
    assert (findings[HERE, "digit"], findings[HERE, "title"]) == slide_labels(spoken.slide)[2:]
    assert findings[WORD, "word"] == WORDS.index(spoken.word) + 1
    assert (findings[AFTER, "colour"], findings[AFTER, "shape"]) == slide_labels(after.slide)[:2]
    assert (findings[BEGINNING, "colour_before"], findings[BEGINNING, "shape_before"]) == slide_labels(before.slide)[:2]
    figures = [findings[BEGINNING, figure] - 1 for figure in SECOND_FIGURES]
    assert "".join(str(figure) for figure in figures if figure >= 0) == str(int(spoken.start_s))


def test_a_word_should_know_its_slide_and_its_neighbours():
    before, spoken, after = _three(lambda events: all(event.word for event in events))
    findings = _findings(look_up(Name(0, word=WORDS.index(spoken.word) + 1), LABELLED, ALL))
    assert (findings[HERE, "colour"], findings[HERE, "shape"]) == slide_labels(spoken.slide)[:2]
    assert findings[AFTER, "word"] == WORDS.index(after.word) + 1
    assert findings[BEGINNING, "word_before"] == WORDS.index(before.word) + 1


def test_nothing_is_known_of_what_is_nowhere_and_no_second_either():
    event = VIDEO.events[0]
    findings = _findings(look_up(_slide(event), LABELLED, ~_during(event)))
    assert findings[HERE, "digit"] == 0 and findings[BEGINNING, SECOND_FIGURES[0]] == IGNORE


def test_what_is_not_in_view_is_not_found():
    event = VIDEO.events[0]
    looked = look_up(_slide(event), LABELLED, ~_during(event))
    assert looked.known.all() and not looked.found[[HERE, WORD, BEGINNING]].any() and looked.found[AFTER].any()


def test_sound_alone_tells_nothing_of_pictures():
    plan = layout(round(VIDEO.duration_s), "a")
    labels = moment_labels(VIDEO, plan, plan.positions[0])
    word = next(e.word for e in VIDEO.events if e.word)
    looked = look_up(Name(0, word=WORDS.index(word) + 1), labels, np.ones(len(plan.index), bool))
    assert looked.known.tolist() == [False, True, True, True]
