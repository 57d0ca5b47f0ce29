"""Watching and asking through a real (tiny, random) Thinker, against the library's own one-shot pass."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from library_cache import library_cache
from oracles import QUESTION_TEXT, one_shot_inputs
from sessions import session_of
from streams import frames_of, media_of, segments_of, sound_of
from transformers import RepetitionPenaltyLogitsProcessor

from omnimem_cli.memory import fork
from omnimem_cli.memory.attention import attend_masked
from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.tokens import AUDIO, VISUAL, text_chunk
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.loader import load
from omnimem_cli.session.choice import Choice, Penalties, Sampling
from omnimem_cli.session.plan_file import EvidenceRule
from omnimem_cli.session.session import Session

WATCHES = {  # fps, seconds of picture, seconds of sound
    "1 fps": (1, 8.0, 8.0),
    "2 fps, odd": (2, 5.5, 5.5),
    "sound longer": (2, 4.0, 9.1),
    "sound shorter": (1, 10.0, 3.7),
    "video only": (2, 7.0, None),
    "audio only": (1, None, 6.5),
    "six minutes of sound": (1, 2.0, 361.0),
}


@pytest.mark.parametrize("shape", WATCHES)
def test_a_full_session_writes_what_the_librarys_generate_writes(tiny_folder, shape):
    fps, video_s, audio_s = WATCHES[shape]
    library, adapter = load(str(tiny_folder), device="cpu"), load(str(tiny_folder), device="cpu")
    session, moments, media = session_of(adapter, video_s, audio_s, fps, chunk=80)
    assert len(moments) > 1
    inputs = one_shot_inputs(library, fps, *media)
    count = 24 if shape != "six minutes of sound" else 8
    with torch.no_grad():
        out = library.model.generate(**inputs, max_new_tokens=count, do_sample=False)
    expected = out[0, inputs["input_ids"].shape[1] :].tolist()
    (answer,) = session.ask([QUESTION_TEXT], max_tokens=count)
    ended = [t for t in expected if t not in adapter.eos_ids]
    assert answer.text == adapter.decode(ended).strip() and answer.tokens == len(ended)


def test_an_own_loop_equals_generate_on_the_same_bounded_memory(tiny_adapter):
    session, _, _ = session_of(tiny_adapter, 9.0, 9.0, policy="omnimem", entries=60)
    (piece,) = session.stream.question([QUESTION_TEXT])
    ids = tiny_adapter.prompt.closing(True, True) + tiny_adapter.prompt.question(QUESTION_TEXT)
    model, seen = tiny_adapter.model, session.memory.tokens_seen
    out = model.generate(
        input_ids=torch.tensor([ids]),
        position_ids=piece.positions[:, None],
        attention_mask=torch.ones(1, seen + len(piece), dtype=torch.long),
        past_key_values=library_cache(session.memory),
        max_new_tokens=20,
        do_sample=False,
    )
    (answer,) = session.ask([QUESTION_TEXT], max_tokens=20)
    ended = [t for t in out[0, len(ids) :].tolist() if t not in tiny_adapter.eos_ids]
    assert len(ended) > 5 and answer.text == tiny_adapter.decode(ended).strip()


def test_questions_in_one_batch_are_answered_as_alone(tiny_adapter):
    session, _, _ = session_of(tiny_adapter, 9.0, 9.0, policy="omnimem", entries=60)
    texts = ["Why?", "What is said at the very end of the recording?", "Who?"]
    together = session.ask(texts, max_tokens=16)
    assert together == [session.ask([text], max_tokens=16)[0] for text in texts]


def test_a_drawn_answer_does_not_depend_on_the_questions_of_its_batch(tiny_adapter):
    session, _, _ = session_of(tiny_adapter, 9.0, 9.0, policy="omnimem", entries=60)
    session.sampling = Sampling(temperature=1.0, seed=5)
    texts = ["Why?", "Who is it, then?", "Who?"]
    together = session.ask(texts, max_tokens=12)
    assert together == [session.ask([text], max_tokens=12)[0] for text in texts]
    session.sampling = Sampling(temperature=1.0, seed=6)
    assert session.ask(texts, max_tokens=12) != together


def test_the_same_question_twice_has_the_same_answer(tiny_adapter):
    session, _, _ = session_of(tiny_adapter, 5.0, 5.0, policy="omnimem", entries=60)
    first = session.ask(["What?"], max_tokens=12)
    session.ask(["And then?", "Where?"], max_tokens=5, held=session.hold(["And then?", "Where?"], (0.0, 2.0)))
    assert session.ask(["What?"], max_tokens=12) == first


def test_asking_midway_does_not_change_the_end(tiny_folder):
    answers = []
    for interrupt in (False, True):
        adapter = load(str(tiny_folder), device="cpu")
        frames, sound, media = frames_of(9, 2, 112, 84), sound_of(9.0), media_of(9.0, 9.0)
        plan = adapter.plan(media, WatchOptions(fps=2, max_pixels=112 * 84))
        stream = adapter.open(media, plan)
        stream.scan_audio(torch.from_numpy(sound))
        memory = Memory(
            adapter.decoder, make_policy("omnimem"), even_budgets(4, 60, 0.5, True, True), dtype=torch.float32
        )
        session = Session(stream, memory, 80)
        for _ in session.watch(segments_of(plan.format, frames, sound)):
            if interrupt:
                session.ask(["So far?"], max_tokens=3)
        answers.append(session.ask(["What?"], max_tokens=12))
    assert answers[0] == answers[1]


def test_coverage_counts_what_entered_the_model(tiny_adapter):
    session, moments, _ = session_of(tiny_adapter, 9.0, 7.5)
    assert session.coverage() == {"video_s": 9.0, "audio_s": 7.5, "still_s": None}
    assert moments[-1].last and moments[-1].end_s == 9.0


def test_dropped_segments_lower_the_coverage(tiny_adapter):
    media = media_of(10.0, 10.0)
    plan = tiny_adapter.plan(media, WatchOptions(fps=2, max_pixels=112 * 84))
    segments = segments_of(plan.format, frames_of(10.0, 2, 112, 84), sound_of(10.0))
    memory = Memory(tiny_adapter.decoder, make_policy("full"), even_budgets(4, 9, 1, True, True), dtype=torch.float32)
    session = Session(tiny_adapter.open(media, plan), memory, 100)
    for _ in session.watch([s for s in segments if s.index != 2]):
        pass
    assert session.coverage() == {"video_s": 8.0, "audio_s": 8.0, "still_s": None}


def test_a_chunk_takes_whole_segments_as_many_as_fit(tiny_adapter):
    session, moments, _ = session_of(tiny_adapter, 12.0, 12.0, chunk=160)
    assert session.plan.tokens_per_segment == 74 and session.segments_per_chunk == 2
    assert [m.end_s for m in moments] == [4.0, 8.0, 12.0]
    session, moments, _ = session_of(tiny_adapter, 12.0, 12.0, chunk=10)
    assert len(moments) == 6, "at least one segment"


def test_sampling_follows_its_seed(tiny_adapter):
    def sampled(seed):
        session, _, _ = session_of(tiny_adapter, 4.0, 4.0, sampling=Sampling(1.5, top_p=0.95, seed=seed))
        return session.ask(["What?"], max_tokens=24)

    assert sampled(1) == sampled(1) != sampled(2)


def test_a_penalty_keeps_an_answer_from_repeating_itself(tiny_adapter):
    session, _, _ = session_of(tiny_adapter, 4.0, 4.0)
    written = []
    decode, tiny_adapter.decode = tiny_adapter.decode, lambda ids: written.append(list(ids)) or decode(ids)
    session.ask(["What?"], max_tokens=40)
    session.ask(["What?"], max_tokens=40, penalty=1e9)
    plain, penalised = written
    assert len(set(plain)) < len(plain) and len(set(penalised)) == len(penalised)


def test_the_penalty_is_the_librarys():
    logits, written = torch.randn(2, 50), [[3, 3, 7, 49], []]
    theirs = RepetitionPenaltyLogitsProcessor(1.2)(torch.tensor([written[0]]), logits[:1].clone())
    choice = Choice(logits, Sampling(), Penalties(written=1.2), bound=False)
    for token in written[0]:
        choice.note(torch.tensor([token, 0]))
    ours = choice._permitted(logits)
    torch.testing.assert_close(ours[:1], theirs, atol=1e-6, rtol=0)
    assert torch.equal(ours[1, 1:], logits[1, 1:])


def test_a_checkpoints_own_penalty_is_that_of_generate(tiny_folder, tmp_path):
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(settings | {"repetition_penalty": 6.0}))
    library, adapter = load(str(folder), device="cpu"), load(str(folder), device="cpu")
    session, _, media = session_of(adapter, 5.0, 5.0, 2, chunk=80)
    inputs = one_shot_inputs(library, 2, *media)
    with torch.no_grad():
        out = library.model.generate(**inputs, max_new_tokens=32, do_sample=False, repetition_penalty=6.0)
    expected = [t for t in out[0, inputs["input_ids"].shape[1] :].tolist() if t not in adapter.eos_ids]
    (answer,) = session.ask([QUESTION_TEXT], max_tokens=32)
    assert adapter.penalty == 6.0 and answer.text == adapter.decode(expected).strip()
    adapter.penalty = 1.0
    assert session.ask([QUESTION_TEXT], max_tokens=32)[0].text != answer.text


def test_a_stop_text_ends_an_answer(tiny_adapter):
    session, _, _ = session_of(tiny_adapter, 4.0, 4.0)
    (whole,) = session.ask(["What?"], max_tokens=24)
    assert len(whole.text) > 8
    stop = whole.text[4:7]
    (cut,) = session.ask(["What?"], max_tokens=24, stop=[stop])
    assert cut.finished and cut.tokens < 24 and cut.text == whole.text[: whole.text.find(stop)].strip()


def test_a_restored_session_goes_on_as_if_unbroken(tiny_folder):
    def begin(adapter):
        plan = adapter.plan(media, WatchOptions(fps=2, max_pixels=112 * 84))
        memory = Memory(
            adapter.decoder, make_policy("omnimem"), even_budgets(4, 60, 0.5, True, True), dtype=torch.float32
        )
        return Session(adapter.open(media, plan), memory, 80)

    frames, sound, media = frames_of(11, 2, 112, 84), sound_of(11.0), media_of(11.0, 11.0)
    whole = begin(load(str(tiny_folder), device="cpu"))
    whole.stream.scan_audio(torch.from_numpy(sound))
    segments, states = segments_of(whole.plan.format, frames, sound), []
    for _ in whole.watch(segments):
        states.append(whole.state())
    again = begin(load(str(tiny_folder), device="cpu"))
    again.load_state(states[2])
    for _ in again.watch(segments[3:]):
        pass
    assert again.coverage() == whole.coverage()
    assert again.ask(["What?"], max_tokens=16) == whole.ask(["What?"], max_tokens=16)


def test_kinds_stay_within_their_budgets(tiny_adapter):
    session, _, _ = session_of(tiny_adapter, 30.0, 30.0, policy="omnimem", entries=60)
    counts = session.memory.counts()
    assert counts[VISUAL] == 20 and counts[AUDIO] == 40


def test_padding_is_not_coverage(tiny_adapter):
    media = media_of(8.0, 8.0)
    late = replace(media, audio=replace(media.audio, start_s=3.0, duration_s=5.0))  # its first 3 s are filled up
    plan = tiny_adapter.plan(late, WatchOptions(fps=2, max_pixels=112 * 84))
    memory = Memory(tiny_adapter.decoder, make_policy("full"), even_budgets(4, 9, 1, True, True), dtype=torch.float32)
    session = Session(tiny_adapter.open(late, plan), memory, 100)
    for _ in session.watch(segments_of(plan.format, frames_of(8.0, 2, 112, 84), sound_of(8.0))):
        pass
    assert session.coverage() == {"video_s": 8.0, "audio_s": 5.0, "still_s": None}


@pytest.mark.parametrize(
    ("bound", "value", "most"),
    [("questions", 3, 3), ("question_tokens_in_flight", 120, 2), ("question_tokens_in_flight", 1, 1)],
)
def test_questions_in_several_batches_are_answered_as_in_one(tiny_adapter, bound, value, most):
    asked = [QUESTION_TEXT, "Why?", "", "Who speaks, and of what?", QUESTION_TEXT[::-1], "When?", "Why?"]
    session, _, _ = session_of(tiny_adapter, 4.0, 4.0, questions=7)
    together, rows = session.ask(asked, max_tokens=12), []
    setattr(session, bound, value)

    def fork():
        made = memory_fork()
        forward = made.forward
        made.forward = lambda embeds, *more: rows.append(len(embeds)) or forward(embeds, *more)
        return made

    memory_fork = session.memory.fork
    session.memory.fork = fork
    assert session.ask(asked, max_tokens=12) == together
    assert max(rows) == most


@pytest.mark.parametrize(("asked", "masked"), [(["Why?"], 0), (["Why?", "When"], 0), (["Why?", "When?"], 4)])
def test_only_questions_of_unequal_length_are_read_with_a_mask(tiny_adapter, monkeypatch, asked, masked):
    session, _, _ = session_of(tiny_adapter, 4.0, 4.0)
    calls = []
    monkeypatch.setattr(fork, "attend_masked", lambda *of: calls.append(of) or attend_masked(*of))
    session.ask(asked, max_tokens=2)
    assert len(calls) == masked


def test_each_stage_waits_for_the_gpu_before_its_time_ends(monkeypatch):
    events = []

    def done(name):
        return lambda *_: events.append(name) or [text_chunk(torch.zeros(1, 2), 0, VISUAL)]

    device = SimpleNamespace(type="cuda")
    plan = SimpleNamespace(tokens_per_segment=1, format=SimpleNamespace(fps=1.0, sample_rate=1, segment_s=1.0))
    media = SimpleNamespace(video=None, audio=None)
    stream = SimpleNamespace(adapter=SimpleNamespace(device=device), plan=plan, media=media)
    stream.prefix, stream.encode = done("prefix")()[0], done("encoded")
    given = SimpleNamespace(synchronize=lambda: events.append("waited"))  # not all that other streams have
    monkeypatch.setattr(torch.cuda, "current_stream", lambda where: given)
    events.clear()
    session = Session(stream, SimpleNamespace(seen={AUDIO: 0}, absorb=done("absorbed")), 1)
    segment = SimpleNamespace(frame_times=[0.0], audio=[1], start_s=0.0, last=True)
    assert len(list(session.watch([segment]))) == 1
    assert events == ["encoded", "waited", "absorbed", "waited"]


@pytest.mark.parametrize("policy", ["full", "omnimem", "snapkv"])
@pytest.mark.parametrize("window", [None, (2.0, 9.0)])
def test_observing_evidence_changes_no_answer_and_lies_within_what_was_read(tiny_adapter, policy, window):
    session, _, _ = session_of(tiny_adapter, 9.0, 9.0, policy=policy, entries=60)
    session.evidence_rule = EvidenceRule(((1, 0), (3, 2)), 0.0)
    texts = ["Who?", "What is this?"]
    held = None if window is None else session.hold(texts, window)
    plain = session.ask(texts, max_tokens=6, held=held)
    observed = session.ask(texts, max_tokens=6, held=held, evidence=True)
    assert observed == plain and all(answer.evidence == [] for answer in plain)
    first_s, last_s = window or (0.0, 9.0)
    for answer in observed:
        assert 1 <= len(answer.evidence) <= 3
        assert all(first_s <= span["start_s"] < span["end_s"] <= last_s for span in answer.evidence)


def test_evidence_does_not_depend_on_the_questions_of_the_batch(tiny_adapter):
    session, _, _ = session_of(tiny_adapter, 9.0, 9.0, policy="omnimem", entries=60)
    (alone,) = session.ask(["Who?"], max_tokens=6, evidence=True)
    together = session.ask(["What is this and what was that?", "Who?"], max_tokens=6, evidence=True)[1]
    assert len(alone.attention.own) == alone.tokens - 1  # the last one was never read
    torch.testing.assert_close(alone.attention.own, together.attention.own, atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(alone.attention.usual, together.attention.usual, atol=1e-3, rtol=1e-2)


def test_confidence_is_how_likely_the_model_took_its_own_tokens_to_be(tiny_folder):
    library, adapter = load(str(tiny_folder), device="cpu"), load(str(tiny_folder), device="cpu")
    session, _, media = session_of(adapter, 4.0, 4.0)
    inputs = one_shot_inputs(library, 2, *media)
    out = library.model.generate(
        **inputs, max_new_tokens=6, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    logs = torch.stack(out.logits)[:, 0].float().log_softmax(-1).amax(-1)
    (answer,) = session.ask([QUESTION_TEXT], max_tokens=6)
    assert answer.confidence == pytest.approx(float(logs.mean().exp()), rel=1e-3)


def test_a_preface_is_read_and_is_no_part_of_the_question_for_its_evidence(tiny_adapter, monkeypatch):
    import omnimem_cli.session.session as module

    session, _, _ = session_of(tiny_adapter, 8.0, 8.0)
    seen, attention_of = [], module.attention_of
    monkeypatch.setattr(module, "attention_of", lambda *own: seen.append(own[1]) or attention_of(*own))
    texts = ["What?", "Who is there?"]
    apart = session.ask(texts, max_tokens=6, preface="Some notes.", evidence=True)
    joined = session.ask([f"Some notes.\n\n{text}" for text in texts], max_tokens=6, evidence=True)
    assert [a.text for a in apart] == [a.text for a in joined]
    assert seen[:2] == [len(question) for question in session.stream.question(texts)] < seen[2:]
    assert all(torch.equal(a.attention.own, b.attention.own) for a, b in zip(apart, joined, strict=True))


def test_questions_with_a_long_preface_are_read_in_smaller_batches(tiny_adapter, monkeypatch):
    import omnimem_cli.session.session as module

    session, _, _ = session_of(tiny_adapter, 4.0, 4.0)
    rows, loop = [], module.AnswerLoop
    monkeypatch.setattr(module, "AnswerLoop", lambda *own: rows.append(len(own[2])) or loop(*own))
    monkeypatch.setattr(module, "LONG_QUESTIONS", 2 * len(session.stream.question(["Notes.\n\nWhat?"])[0]))
    session.ask(["What?"] * 5, max_tokens=2)
    session.ask(["What?"] * 5, max_tokens=2, preface="Notes.")
    assert rows == [5, 2, 2, 1]


def test_a_video_is_as_many_budgets_long_as_its_tokens_are_entries(tiny_adapter):
    session, _, _ = session_of(tiny_adapter, 8.0, 8.0, policy="omnimem", entries=40)
    form = session.plan.format
    assert session.budgets_in(form.segment_s) == session.plan.tokens_per_segment / 40
    assert session_of(tiny_adapter, 4.0, 4.0)[0].budgets_in(1e6) == 0.0
