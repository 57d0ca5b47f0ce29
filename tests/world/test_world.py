"""The generated world: scripts, pictures, sound, questions, scores."""

import itertools

import numpy as np
import pytest
import torch

from omnimem_cli.media.segment import SAMPLE_RATE
from omnimem_cli.tasks.prompts import NOT_IN_VIDEO
from omnimem_cli.train.nano_tokenizer import build_tokenizer
from omnimem_cli.world import words
from omnimem_cli.world.questions import KINDS, WORDINGS, View, question, questions, window
from omnimem_cli.world.scoring import is_right, parse_summary, score, slide_f1, word_error_rate
from omnimem_cli.world.slides import COLOURS, DIGITS, SHAPES, TITLES, Look, Slide, draw
from omnimem_cli.world.video import make_video
from omnimem_cli.world.words import WORDS


def test_the_same_seed_makes_the_same_video_and_another_seed_another():
    assert make_video(1, 5) == make_video(1, 5)
    assert make_video(1, 5).slides != make_video(2, 5).slides


def test_the_bank_holds_every_word_in_voices_that_training_and_evaluation_do_not_share():
    assert len(set(WORDS)) == len(WORDS) >= 64
    assert not set(words.TRAIN_VOICES) & set(words.EVAL_VOICES)
    for word in WORDS:
        assert words.takes(word, "train") == 2 * len(words.TRAIN_VOICES)
        assert words.takes(word, "eval") == 2 * len(words.EVAL_VOICES)
    assert words.BANK.stat().st_size <= 4 * 2**20


def test_a_recording_sounds_from_its_first_to_its_last_sample():
    wave = words.recording("elephant", "eval", 0)
    assert 0.3 < len(wave) / SAMPLE_RATE < 0.9
    assert np.abs(wave[:800]).max() > 0.05 and np.abs(wave[-1600:]).max() > 0.02


def test_a_stretch_of_sound_equals_the_same_stretch_of_the_whole():
    video = make_video(3, 4)
    whole = video.sound()
    assert len(whole) == video.duration_s * SAMPLE_RATE
    assert torch.equal(video.sound(1.3, 5.7), whole[round(1.3 * SAMPLE_RATE) : round(5.7 * SAMPLE_RATE)])


def test_segments_cover_the_video_once():
    video = make_video(4, 5)
    pieces = list(video.segments(2.0, 2.0))
    assert [start for start, _, _ in pieces] == list(np.arange(0, video.duration_s, 2.0))
    assert torch.equal(torch.cat([sound for _, _, sound in pieces]), video.sound())
    assert torch.equal(torch.cat([frames for _, frames, _ in pieces]), video.frames(2.0))


@pytest.mark.parametrize("duration_s", [600.0, 3600.0])
def test_a_long_video_has_about_the_length_asked_for(duration_s):
    video = make_video(5, 40, duration_s=duration_s)
    assert len(video.events) == 40
    assert abs(video.duration_s - duration_s) < 0.05 * duration_s


def test_slides_of_a_lecture_are_shown_for_20_to_120_s():
    lengths = [e.end_s - e.start_s for seed in range(20) for e in make_video(seed, 6, "lecture").events]
    assert min(lengths) < 30 and max(lengths) > 90
    assert all(19.5 <= length <= 120.5 for length in lengths)


def test_events_follow_each_other_and_words_lie_inside_their_slides():
    for seed in range(20):
        events = make_video(seed, 12).events
        assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(events))
        assert all(e.start_s < e.word_start_s < e.word_end_s < e.end_s for e in events if e.word)
        assert len({(e.slide.colour, e.slide.shape) for e in events}) == len(events)


def test_every_colour_shape_digit_and_title_changes_the_picture():
    look = Look.random(np.random.default_rng(0))
    slides = [Slide(c, "star", "3", "plan") for c in COLOURS]
    slides += [Slide("red", s, "3", "plan") for s in SHAPES if s != "star"]
    slides += [Slide("red", "star", d, "plan") for d in DIGITS if d != "3"]
    slides += [Slide("red", "star", "3", t) for t in TITLES if t != "plan"]
    pictures = [draw(slide, look, 56) for slide in slides]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    assert all(picture.shape == (56, 56, 3) and picture.dtype == np.uint8 for picture in pictures)


def test_no_title_is_cut_off():
    rng = np.random.default_rng(0)
    for title in TITLES * 4:
        look = Look.random(rng)
        slide = Slide("blue", "diamond", "8", title)
        paper, full = draw(None, look, 112).astype(int), draw(slide, look, 112).astype(int)
        inked = np.abs(full - paper).sum(-1) > 60
        assert not inked[:, [0, -1]].any() and not inked[-1].any(), "the edges stay paper"


def test_questions_are_the_same_for_a_seed_and_answered_within_the_video():
    video = make_video(6, 6)
    asked = questions(video, 1, tuple(KINDS), 2)
    assert asked == questions(video, 1, tuple(KINDS), 2)
    assert {q.kind for q in asked} == set(KINDS)
    for q in asked:
        assert q.text and q.answer
        assert q.evidence is None or 0 <= q.evidence[0] < q.evidence[1] <= video.duration_s


def test_the_evidence_of_a_word_is_where_it_is_said():
    video = make_video(7, 6)
    q = question("word_at", video, np.random.default_rng(0))
    event = next(e for e in video.events if e.word == q.answer)
    assert event.word_start_s < q.evidence[0] < event.word_end_s <= q.evidence[1] <= event.end_s


def test_a_window_never_cuts_a_word_and_its_transcript_holds_only_its_words():
    for seed in range(20):
        video = make_video(seed, 8)
        view = window(video, 5.0, 17.0)
        for e in video.events:
            if e.word:
                assert e.word_end_s <= view.start_s or e.word_start_s >= view.start_s
        said = question("transcribe", video, np.random.default_rng(0), view).answer
        inside = [e.word for e in video.events if e.word and view.start_s < e.word_start_s < view.end_s]
        assert said == (" ".join(inside) or "(no speech)")


def test_a_video_without_sound_has_no_words_in_its_list():
    video = make_video(8, 5)
    text = question("summary", video, np.random.default_rng(0), View(0, video.duration_s, True, False)).answer
    assert parse_summary(text) == ([str(s) for s in video.slides], [])


def test_the_list_answer_reads_back_as_slides_and_words():
    video = make_video(9, 9)
    text = question("summary", video, np.random.default_rng(0)).answer
    assert parse_summary(text) == ([str(s) for s in video.slides], video.words)


def test_a_slide_that_begins_in_the_last_second_of_a_view_is_part_of_it():
    video = next(v for v in map(make_video, range(50)) if any(e.start_s % 1 == 0.5 for e in v.events[1:]))
    late = next(e for e in video.events[1:] if e.start_s % 1 == 0.5)
    before = video.events.index(late)
    for end_s, count in ((late.start_s, before + 1), (late.start_s - 0.5, before)):
        q = question("count_slides", video, np.random.default_rng(0), View(0, end_s))
        assert q.answer == str(count), "the token of that second shows it already"


def test_absent_things_are_absent():
    rng, video = np.random.default_rng(0), make_video(10, 6)
    names = [f"{s.colour} {s.shape}" for s in video.slides] + video.words
    for _ in range(40):
        q = question("absent", video, rng)
        assert q.answer == NOT_IN_VIDEO and not any(name in q.text for name in names)


def test_scores_know_right_from_wrong():
    video = make_video(11, 5)
    for q in questions(video, 0, tuple(KINDS)):
        assert score(q, q.answer) == 1.0
        assert score(q, "nonsense") == 0.0
    assert slide_f1(["a", "b"], ["b", "c"]) == 0.5
    assert word_error_rate(["a", "x", "c", "d"], ["a", "b", "c"]) == pytest.approx(2 / 3)
    assert word_error_rate([], []) == 0.0


@pytest.mark.parametrize(
    ("kind", "said", "right"),
    [
        ("digit", "The digit is {}.", True),
        ("digit", "It is 3 or {}.", False),
        ("digit", "It is 1{}.", False),
        ("written", 'The word "{}" is written below it.', True),
        ("written", "It says something.", False),
        ("word_at", "You hear {}!", True),
        ("next_slide", "After the {known} comes the {}, I think.", True),
        ("next_slide", "The {known}.", False),
        ("first_slide", "First there is a {}.", True),
        ("count_slides", "There are {} slides.", False),
        ("absent", "Something.", False),
    ],
)
def test_an_answer_in_a_sentence_is_right_where_it_names_nothing_else_of_its_kind(kind, said, right):
    rng = np.random.default_rng(4)
    asked = next(q for q in (question(kind, make_video(seed, 6), rng) for seed in range(99)) if q and q.answer != "3")
    assert is_right(asked, asked.answer)
    assert is_right(asked, said.format(asked.answer, known=" ".join(asked.names))) is right


def test_every_name_is_one_token_and_answers_are_the_sum_of_their_parts():
    tokenizer = build_tokenizer()
    for name in (*WORDS, *COLOURS, *SHAPES, *TITLES):
        assert len(tokenizer.encode(name)) == len(tokenizer.encode(f" {name}")) == 1
    for q in questions(make_video(12, 8), 0, tuple(KINDS)):
        parts = [token for part in q.parts for token in tokenizer.encode(part.text)]
        assert tokenizer.encode(q.answer) == parts
    for text in (*(t for texts in WORDINGS.values() for t in texts), "Grüße, 世界 🙂"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
