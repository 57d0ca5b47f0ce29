"""What nano's training shows and asks of each token: positions, labels, lookups."""

import numpy as np
import pytest
import torch

from omnimem_cli.tasks.prompts import NOT_IN_VIDEO
from omnimem_cli.train.architecture import HIDDEN
from omnimem_cli.train.nano_tokenizer import build_tokenizer
from omnimem_cli.train.packing import Packer, Sample, Task
from omnimem_cli.train.render import Encoded
from omnimem_cli.train.targets.lookup_targets import AFTER, BEGINNING, HERE, WORD, Names
from omnimem_cli.train.targets.moment_labels import (
    CLOCK,
    CLOCK_S,
    COUNT_FIGURES,
    LABELS,
    SECOND_FIGURES,
    figures,
    moment_labels,
)
from omnimem_cli.train.token_order import layout
from omnimem_cli.train.tower_stage import IGNORE
from omnimem_cli.world.questions import question
from omnimem_cli.world.video import make_video

VIDEO = make_video(11, 5, "even")
SECONDS = round(VIDEO.duration_s)


@pytest.fixture(scope="module")
def packer():
    return Packer(build_tokenizer(), HIDDEN)


def _sample(*kinds, jumps=()):
    encoded = Encoded(VIDEO, torch.zeros(SECONDS, 4, HIDDEN), torch.zeros(SECONDS // 2, 20, HIDDEN))
    rng = np.random.default_rng(0)
    return Sample(encoded, "av", [Task(question(kind, VIDEO, rng), SECONDS) for kind in kinds], jumps)


def _columns(batch):
    """Row to the column of the name that it reads."""
    return {r: int(w[:, 1:].any(0).nonzero()[0, 0]) + 1 for r, w in _reads(batch)}


def _reads(batch):
    return zip(batch.reads.rows[0].tolist(), batch.reads.where[0].unbind(1), strict=True)


def _label(labels, name):
    return labels[:, LABELS.index(name)]


def test_a_leap_of_the_clock_moves_what_comes_after_it_and_no_patch(packer):
    here, there = (packer.pack([_sample("digit", jumps=jumps)]) for jumps in ((), ((4.0, 500), (6.0, 20))))
    moved = (there.positions - here.positions)[:, 0]
    media, starts = here.is_media[0], torch.from_numpy(layout(SECONDS).start_s)
    expected = 500 * (starts >= 4) + 20 * (starts >= 6)
    assert torch.equal(moved[0, media], expected), "every token after a leap is later by it"
    sound = torch.from_numpy(layout(SECONDS).is_sound)
    assert torch.equal(moved[1:, media], (expected * sound).expand(2, -1)), "rows and columns of a picture do not move"
    after = moved[:, media.nonzero()[-1, 0] + 1 :]
    assert (after == 520).all(), "the question is asked after all of them"


def test_what_is_not_there_is_told_by_the_first_token(packer):
    batch = packer.pack([_sample("absent")])
    (row,), found = batch.lookups.rows[0].tolist(), batch.lookups.where[0][:, 0]
    assert found[:, 0][found.any(-1)].all() and found.sum() == found.any(-1).sum() >= 3
    reads = batch.reads.where[0]
    assert reads.shape[1] == len(packer.encode(NOT_IN_VIDEO))
    assert reads[..., [0, row]].all() and reads.sum() == 2 * reads[..., 0].numel(), "any head may look at the name"


def test_a_list_ends_where_nothing_comes_after(packer):
    batch = packer.pack([_sample("transcribe")])
    after = batch.lookups.where[0][AFTER][batch.lookups.rows[0].argsort()]
    words = sum(1 for event in VIDEO.events if event.word)
    assert len(after) == words + 1, "what leads to the first word, then one row per word"
    assert after[-1, 0] and after[-1].sum() == 1
    assert not after[:-1, 0].any() and (after[:-1].sum(1) > 0).all()


def test_an_answer_reads_at_the_name_it_is_about(packer):
    batch = packer.pack([_sample("digit", "note")])
    ids, names = batch.ids[0].tolist(), Names(packer.tokenizer)
    completes = {name.column for name in names.find(ids)}
    digit, note = (sorted(r for _, r, _, n, _ in batch.answers.tolist() if n == number) for number in (0, 1))
    reads = _columns(batch)
    assert set(reads.values()) <= completes
    assert reads[digit[0]] == max(c for c in completes if c <= digit[0]), "the name in the question"
    assert set(note) - set(reads) == set(note[:3]), "nothing leads to the first slide's dash and name"
    assert all(
        reads[row] == max(c for c in completes if note[0] < c <= row) or row - reads[row] < 9 for row in note[3:]
    )


def test_each_head_reads_what_it_found(packer):
    batch = packer.pack([_sample("previous_slide")])
    column = set(_columns(batch).values()).pop()
    where = batch.reads.where[0]
    assert where[BEGINNING, :, column].all() and not where[BEGINNING, :, 0].any()
    others = [HERE, WORD, AFTER]
    assert where[others][..., 0].all() and not where[others][..., 1:].any(), "the others look at the first token"


def test_a_list_asks_for_the_digit_and_title_then_for_the_word_then_for_what_comes_next(packer):
    batch = packer.pack([_sample("summary")])
    heads = {}
    for row, where in _reads(batch):
        told = packer.tokenizer.decode([batch.ids[0, row + 1]]).strip()
        heads.setdefault(told, set()).update(where[:, 1:].any(-1).nonzero()[:, 0].tolist())
    event = next(e for e in VIDEO.events[1:] if e.word)
    assert heads[event.slide.digit] == {HERE} == heads[event.slide.title] and heads[event.word] == {WORD}
    assert heads[event.slide.shape] == {AFTER} and heads[","] == {WORD, AFTER} == heads["<|im_end|>"]


def test_each_figure_of_a_count_is_read_by_its_own_head_where_as_much_has_been(packer):
    for kind, heads, count in (("count_slides", (0, 1), len(VIDEO.events)), ("count_words", (2, 3), len(VIDEO.words))):
        batch = packer.pack([_sample(kind)])
        label = {"count_slides": "slides_so_far", "count_words": "words_so_far"}[kind]
        told = batch.labels[0, :, LABELS.index(label)] == count
        where = batch.counts.where[0]
        assert where.shape[1] == len(str(count)) + 1, "a row for every figure and one for the end"
        for figure, head in enumerate(heads[: where.shape[1]]):
            assert torch.equal(where[head, figure], told) and told.any()
            others = [other for other in range(4) if other != head]
            assert where[others, figure, 0].all() and where[others, figure].sum() == 3
        assert not len(batch.lookups.rows[0]) and not len(batch.reads.rows[0])


def test_labels_count_slides_and_words_and_tell_the_time():
    plan = layout(SECONDS)
    labels = moment_labels(VIDEO, plan, plan.positions[0])
    assert _label(labels, "slides_so_far").max() == len(VIDEO.events)
    words = _label(labels, "words_so_far")
    assert words.max() == len(VIDEO.words) and (words[~plan.is_sound] == IGNORE).all()
    hundreds, tens, ones = (_label(labels, place) for place in CLOCK)
    assert (100 * hundreds + 10 * tens + ones == plan.start_s.astype(int)).all()
    for label, numbers in (
        ("slides_so_far", COUNT_FIGURES["slides_so_far"]),
        ("words_so_far", COUNT_FIGURES["words_so_far"]),
    ):
        heard = _label(labels, label) != IGNORE
        written = np.stack([_label(labels, figure)[heard] for figure in numbers], 1)
        assert [_number(row) for row in written] == _label(labels, label)[heard].tolist()


def _number(figures):
    return int("".join(str(figure - 1) for figure in figures if figure))


def test_a_number_is_written_from_the_left():
    numbers = np.array([0, 7, 10, 99, 100, 199])
    written = np.stack(figures(numbers, 3), 1)
    assert [_number(row) for row in written] == numbers.tolist()
    assert written.tolist()[1] == [8, 0, 0] and written.tolist()[2] == [2, 1, 0]


def test_no_time_is_told_beyond_the_clocks_figures():
    plan = layout(SECONDS)
    labels = moment_labels(VIDEO, plan, plan.positions[0] + 10 * CLOCK_S)
    for label in (*CLOCK, *SECOND_FIGURES):
        assert (_label(labels, label) == IGNORE).all()


def test_what_came_before_a_slide_is_the_slide_before_it():
    plan = layout(SECONDS)
    labels = moment_labels(VIDEO, plan, plan.positions[0])
    first, second = VIDEO.events[:2]
    during = lambda event: (plan.start_s >= event.start_s) & (plan.start_s + 0.5 < event.end_s)  # noqa: E731
    assert (_label(labels, "colour_before")[during(second)] == _label(labels, "colour")[during(first)][0]).all()
