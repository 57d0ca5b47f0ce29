"""What nano's training shows and asks of each token: positions, labels, lookups."""

import numpy as np
import pytest
import torch

from omnimem_cli.train.architecture import HIDDEN
from omnimem_cli.train.encoders import IGNORE
from omnimem_cli.train.layout import layout
from omnimem_cli.train.lookups import AFTER, Names
from omnimem_cli.train.packing import LABELS, Packer, Sample, Task, moment_labels
from omnimem_cli.train.render import Encoded
from omnimem_cli.train.tokenizer import build_tokenizer
from omnimem_cli.world.questions import ABSENT, question
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
    (row,), found = batch.lookup_rows[0].tolist(), batch.lookups[0][:, 0]
    assert found[:, 0][found.any(-1)].all() and found.sum() == found.any(-1).sum() >= 3
    assert (batch.reads[0][:, 1] == row).all() and len(batch.reads[0]) == len(packer.encode(ABSENT))


def test_a_list_ends_where_nothing_comes_after(packer):
    batch = packer.pack([_sample("transcribe")])
    after = batch.lookups[0][AFTER][batch.lookup_rows[0].argsort()]
    words = sum(1 for event in VIDEO.events if event.word)
    assert len(after) == words + 1, "what leads to the first word, then one row per word"
    assert after[-1, 0] and after[-1].sum() == 1
    assert not after[:-1, 0].any() and (after[:-1].sum(1) > 0).all()


def test_an_answer_reads_at_the_name_it_is_about(packer):
    batch = packer.pack([_sample("digit", "note")])
    ids, names = batch.ids[0].tolist(), Names(packer.tokenizer)
    completes = {name.column for name in names.find(ids)}
    digit, note = (sorted(r for _, r, _, n, _ in batch.answers.tolist() if n == number) for number in (0, 1))
    reads = dict(batch.reads[0].tolist())
    assert set(reads.values()) <= completes
    assert reads[digit[0]] == max(c for c in completes if c <= digit[0]), "the name in the question"
    assert set(note) - set(reads) == set(note[:3]), "nothing leads to the first slide's dash and name"
    assert all(
        reads[row] == max(c for c in completes if note[0] < c <= row) or row - reads[row] < 8 for row in note[3:]
    )


def test_labels_count_slides_and_words_and_tell_the_time():
    plan = layout(SECONDS)
    labels = moment_labels(VIDEO, plan, plan.positions[0])
    assert _label(labels, "slides_so_far").max() == len(VIDEO.events)
    words = _label(labels, "words_so_far")
    assert words.max() == len(VIDEO.words) and (words[~plan.is_sound] == IGNORE).all()
    seconds = 10 * _label(labels, "tens_of_seconds") + _label(labels, "ones_of_seconds")
    assert (seconds == plan.start_s.astype(int)).all()


def test_no_time_is_told_beyond_the_clocks_two_digits():
    plan = layout(SECONDS)
    labels = moment_labels(VIDEO, plan, plan.positions[0] + 1000)
    assert (_label(labels, "tens_of_seconds") == IGNORE).all()


def test_what_came_before_a_slide_is_the_slide_before_it():
    plan = layout(SECONDS)
    labels = moment_labels(VIDEO, plan, plan.positions[0])
    first, second = VIDEO.events[:2]
    during = lambda event: (plan.start_s >= event.start_s) & (plan.start_s + 0.5 < event.end_s)  # noqa: E731
    assert (_label(labels, "colour_before")[during(second)] == _label(labels, "colour")[during(first)][0]).all()
