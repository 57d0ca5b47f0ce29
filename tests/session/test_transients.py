"""What a watch takes beside the weights: the bound before it begins, and the tensors that were really alive."""

import json
import shutil
from dataclasses import replace
from operator import length_hint
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from decoders import omni_decoder
from peak import Peak
from salmonn_tiny import FAMILIES, tiny_salmonn
from streams import frames_of, media_of, segments_of, sound_of
from tiny_qwen3 import tiny_qwen3_omni

from omnimem_cli.base.budget import Budget, parse_budget
from omnimem_cli.base.settings import ANSWER_TOKENS, Settings
from omnimem_cli.memory import forms
from omnimem_cli.memory.attention_by_time import Moments
from omnimem_cli.memory.detail import Detail
from omnimem_cli.memory.key_transform import KeyTransform
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.repositioning import KeepPositions
from omnimem_cli.memory.rotary import Rotary
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.table import Table
from omnimem_cli.memory.tokens import concat
from omnimem_cli.models.adapter import Plan, WatchOptions
from omnimem_cli.models.device import free_bytes
from omnimem_cli.models.dummy import random_adapter
from omnimem_cli.models.loader import load
from omnimem_cli.session import encoded_ahead
from omnimem_cli.session import transients as footprint
from omnimem_cli.session.footprint import footprint_of
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import size_memory
from omnimem_cli.session.transients import (
    QUESTION_TOKENS,
    QUESTIONS,
    ahead_bytes,
    asking_bytes,
    observed_bytes,
    question_bytes_in_flight,
    question_tokens_in_flight,
    requantized_bytes,
    transient_bytes,
    widths,
)
from omnimem_cli.tasks.notes import NOTE_TOKENS
from omnimem_cli.tasks.transcribe import WINDOW_TOKENS


def begun(adapter, seconds: float, width: int, height: int, recent_s: float = 0.0, **settings):
    """A session, the segments of its video, and the bytes that the tool estimates for it."""
    media, chosen = media_of(seconds, seconds, width, height), Settings(max_pixels=width * height, **settings)
    plan = adapter.plan(media, WatchOptions(max_pixels=chosen.max_pixels))
    fitted = size_memory(chosen, adapter, plan, media, recent_s)
    room = footprint_of(chosen, make_policy(chosen.policy), adapter, plan, media, recent_s)
    frames = frames_of(seconds, plan.format.fps, plan.format.width, plan.format.height)
    tail = fitted.question_tokens_in_flight
    stream = adapter.open(media, plan)
    session = Session(stream, fitted.memory(stream), fitted.chunk_tokens, question_tokens_in_flight=tail)
    return session, segments_of(plan.format, frames, sound_of(seconds)), room.peak_bytes_of_input(fitted.entries or 0)


def assert_estimated(adapter, seconds: float, width: int, height: int, policy: str):
    """Watch it; what was alive at once lies within what was estimated."""
    session, segments, _ = begun(adapter, seconds, width, height, budget=Budget(2000), policy=policy)
    with Peak() as peak:
        list(session.watch(segments))
    sizes, chunk = widths(adapter.model.config), session.memory.tokens_seen
    stride = {"omnimem": 8, "salience": 16}.get(policy, 1)
    estimated = transient_bytes(sizes, session.plan, chunk, 4, stride) + session.memory.peak_bytes
    assert estimated / 8 < peak.most <= estimated


@pytest.mark.parametrize("policy", ["omnimem", "omnimem:stride=1", "salience", "full"])
@pytest.mark.parametrize(("seconds", "width", "height"), [(20, 112, 84), (8, 448, 364)])
def test_no_more_is_alive_than_was_estimated(tiny_adapter, policy, seconds, width, height):
    assert_estimated(tiny_adapter, seconds, width, height, policy)


def test_a_chunk_that_is_encoded_beside_another_is_estimated(tiny_adapter, monkeypatch):
    here = SimpleNamespace(Thread=lambda target, name: SimpleNamespace(start=target, join=lambda: None))
    monkeypatch.setattr(encoded_ahead, "threading", here)  # the tensors of another thread are not counted

    def most(ready):
        session, segments, _ = begun(tiny_adapter, 20, 448, 364, budget=Budget(200), chunk=600)
        rest = iter(segments)
        with Peak() as peak:
            list(session.watch(rest, (lambda: length_hint(rest)) if ready else None))
        return session, peak.most

    (session, plain), (_, ahead) = most(False), most(True)
    sizes, chunk = widths(tiny_adapter.model.config), session.segments_per_chunk * session.plan.tokens_per_segment
    assert session.chunks_seen > 1
    assert plain < ahead <= plain + ahead_bytes(sizes, session.plan, chunk, 4)


@pytest.mark.parametrize("rows", [1, 4], ids=["heads keep the same", "heads keep their own"])
@pytest.mark.parametrize("kv_bits", [8, 4])
def test_quantizing_and_reading_a_layer_are_estimated(monkeypatch, kv_bits, rows):
    monkeypatch.setattr(forms, "AT_ONCE", {})  # as on a GPU, where most is dequantized at once
    monkeypatch.setattr(footprint, "READ_BYTES", 0)
    sizes, count, decoder = SimpleNamespace(keys=4 * 16, layers=1), 3000, omni_decoder()
    way = KeyTransform(0, KeepPositions(), Rotary(decoder), torch.ones(4, 1, 16))
    store = Store(4, 16, torch.bfloat16, "cpu", rows, kv_bits, way)
    keys, positions = torch.randn(1, 4, count, 16).bfloat16(), torch.zeros(rows, count, 3, dtype=torch.int32)
    table, every = Table({"index": positions[..., 0], "position": positions}), torch.arange(count).expand(rows, -1)
    with Peak() as quantizing:
        store.admit(every, keys, keys, table)
    query = torch.randn(1, 4, 1, 16).bfloat16()
    store.attend(query, 0.25)  # kernels are chosen
    with Peak() as reading:
        store.attend(query, 0.25)
    for peak, estimated in (
        (quantizing, requantized_bytes(sizes, 2, 0, count) + store.nbytes),
        (reading, requantized_bytes(sizes, 2, count, 0)),
    ):
        assert estimated / 3 < peak.most <= estimated


def test_what_a_fork_holds_dequantized_is_estimated(tiny_adapter, monkeypatch):
    monkeypatch.setattr(footprint, "QUESTION_TOKENS", 15)
    monkeypatch.setattr(footprint, "QUESTIONS", 1)
    session, segments, needed = begun(
        tiny_adapter, 120, 56, 56, budget=Budget(3000), chunk=50, max_tokens=2, policy="sliding-window", kv_bits=4
    )
    list(session.watch(segments))
    held, kept = session.memory.nbytes, sum(map(len, session.memory.stores))
    with Peak() as peak:
        session.ask(["x"], max_tokens=2)
    assert kept * 2 * 2 * 16 * 4 < peak.most <= needed - held, "all layers are dequantized for the second token"


def test_what_a_second_look_copies_of_the_memory_is_estimated(tiny_adapter, monkeypatch):
    monkeypatch.setattr(footprint, "QUESTION_TOKENS", 15)
    monkeypatch.setattr(footprint, "QUESTIONS", 1)
    session, segments, needed = begun(
        tiny_adapter, 120, 56, 56, budget=Budget(3000), chunk=50, max_tokens=2, policy="sliding-window", look_again=True
    )
    list(session.watch(segments))
    held, kept = session.memory.nbytes, sum(map(len, session.memory.stores))
    with Peak() as peak:
        session.ask(["x"], max_tokens=2, detail=(Detail(session.memory), [[]]))
    assert kept * 2 * 2 * 16 * 4 < peak.most <= needed - held, "all layers are copied for the second token"


def tiny_folder_of(family: str, path: Path) -> Path:
    return tiny_salmonn(path, family) if family in FAMILIES else tiny_qwen3_omni(path)


@pytest.mark.parametrize("family", ["qwen3-omni", *FAMILIES])
def test_features_for_several_layers_are_estimated(tmp_path, family):
    adapter = load(str(tiny_folder_of(family, tmp_path)), device="cpu")
    assert_estimated(adapter, 150, 64, 64, "omnimem:stride=1")


def test_the_rows_that_many_experts_gather_are_estimated(tmp_path):
    folder = tiny_qwen3_omni(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"num_experts": 16, "num_experts_per_tok": 8}
    (folder / "config.json").write_text(json.dumps(config))
    adapter = random_adapter(str(folder), device="cpu")
    session, segments, _ = begun(adapter, 40, 64, 64, budget=Budget(2000), policy="omnimem:stride=64")
    chunk = concat([session.stream.prefix, *session.stream.encode(segments)])
    silent = Plan(replace(session.plan.format, fps=0), 1, 0, 0)
    with Peak() as peak:
        session.memory.absorb(chunk)
    estimated = transient_bytes(widths(adapter.model.config), silent, len(chunk), 4, 64) + session.memory.peak_bytes
    assert estimated / 2 < peak.most <= estimated


@pytest.mark.parametrize("family", ["qwen2.5-omni", "qwen3-omni", *FAMILIES])
def test_a_wide_vision_tower_is_estimated(tmp_path, tiny_folder, family):
    folder = tmp_path / "wide"
    shutil.copytree(tiny_folder if family == "qwen2.5-omni" else tiny_folder_of(family, tmp_path / "tiny"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"] |= {"hidden_size": 320, "intermediate_size": 1024}
    (folder / "config.json").write_text(json.dumps(config))
    adapter = random_adapter(str(folder), device="cpu")
    assert_estimated(adapter, 24, 448, 364, "omnimem")


@pytest.mark.parametrize(("question", "answer", "count"), [("", 96, 32), ("x" * 185, 1, 20)], ids=["answers", "texts"])
def test_asking_takes_no_more_than_was_estimated_however_many_questions(
    tiny_adapter, monkeypatch, question, answer, count
):
    monkeypatch.setattr(footprint, "QUESTION_TOKENS", 15 + len(question))  # one per letter, beside the marks
    monkeypatch.setattr(footprint, "ROWS", 15 + len(question))
    tiny_adapter.eos_ids = ()  # every answer is as long as it may be
    session, segments, needed = begun(tiny_adapter, 4, 56, 56, budget=Budget(20), chunk=50, max_tokens=answer)
    list(session.watch(segments))
    assert len(session.stream.question([question])[0]) == footprint.QUESTION_TOKENS
    with Peak() as peak:
        shorter = question[1:]  # so that the batch is padded
        answers = session.ask([shorter, *[question] * (count - 1)], max_tokens=answer, evidence=True)
    assert [a.tokens for a in answers] == [answer] * count
    sizes = widths(tiny_adapter.model.config)
    tail = question_bytes_in_flight(sizes, 4, session.question_tokens_in_flight)
    observed = observed_bytes(sizes, Moments.of(0.0, 4.0), 4, session.question_tokens_in_flight)
    asked = asking_bytes(sizes, 4, session.question_tokens_in_flight)
    assert 0.6 * needed < peak.most <= min(needed, tail + asked + observed)
    assert answer == 1 or needed - tail < peak.most, "the tail must matter, or it could be forgotten"


def test_windows_that_are_read_whole_are_estimated(tiny_adapter, monkeypatch):
    monkeypatch.setattr(footprint, "QUESTION_TOKENS", 15)
    monkeypatch.setattr(footprint, "ROWS", 15)
    session, segments, needed = begun(tiny_adapter, 120, 56, 56, 30.0, budget=Budget(400), chunk=2000, max_tokens=1)
    session.memory.hold_recent(30.0)
    with Peak() as peak:
        for chunk_end, _ in session.watch(segments):
            ends = range(int(chunk_end.end_s) - 30, int(chunk_end.end_s), 10)
            session.ask(["x"] * 3, max_tokens=1, whole=[(end, end + 10.0) for end in ends])
    assert 0.4 * needed < peak.most <= needed
    *_, without = begun(tiny_adapter, 120, 56, 56, budget=Budget(400), chunk=2000, max_tokens=1)
    assert needed - without > session.memory.recent.nbytes


@pytest.mark.parametrize(("asked", "copied"), [(256, True), (15, False)])
def test_what_rows_read_alone_is_copied_where_questions_took_as_much(tiny_adapter, monkeypatch, asked, copied):
    for name in ("QUESTION_TOKENS", "ROWS"):
        monkeypatch.setattr(footprint, name, asked)
    session, segments, _ = begun(tiny_adapter, 60, 56, 56, budget=Budget(200), chunk=500)
    session.question_tokens_in_flight = QUESTIONS * 32
    list(session.watch(segments))
    held = [question for _ in range(16) for question in session.hold(["x"], (0.0, 60.0))]
    sizes, tokens, peaks = widths(tiny_adapter.model.config), session.question_tokens_in_flight, []
    estimated = question_bytes_in_flight(sizes, 4, tokens) + asking_bytes(sizes, 4, tokens)
    for most in (footprint.ROW_BYTES, 0):
        monkeypatch.setattr(footprint, "ROW_BYTES", most)
        with Peak() as peak:
            session.ask(["x"] * 16, max_tokens=2, held=held)
        peaks.append(peak.most)
    assert max(peaks) <= estimated and (peaks[0] > peaks[1]) == copied


def test_one_long_question_takes_no_more_than_a_full_batch(tiny_adapter):
    session, segments, needed = begun(tiny_adapter, 4, 56, 56, budget=Budget(20), chunk=50)
    list(session.watch(segments))
    question = "x" * (QUESTIONS * QUESTION_TOKENS - 15)
    assert len(session.stream.question([question])[0]) == QUESTIONS * QUESTION_TOKENS
    with Peak() as peak:
        session.ask([question], max_tokens=2)
    assert 0.4 * needed < peak.most <= needed


def test_longer_answers_are_estimated_up_to_a_full_batch_of_usual_ones():
    usual = question_tokens_in_flight(ANSWER_TOKENS)
    assert usual == QUESTIONS * (QUESTION_TOKENS + ANSWER_TOKENS)
    assert question_tokens_in_flight(64) == QUESTIONS * (QUESTION_TOKENS + 64) < usual
    assert question_tokens_in_flight(4_000) == usual, "fewer are asked at once"
    assert question_tokens_in_flight(50_016) == QUESTION_TOKENS + 50_016
    assert max(NOTE_TOKENS, WINDOW_TOKENS) <= ANSWER_TOKENS


def test_a_watch_with_longer_answers_needs_more_room(tiny_adapter):
    short, usual = (begun(tiny_adapter, 4, 56, 56, budget=Budget(20), max_tokens=n)[2] for n in (64, None))
    sizes = widths(tiny_adapter.model.config)
    tails = [question_tokens_in_flight(n) for n in (64, ANSWER_TOKENS)]
    moments = Moments.of(0.0, 4.0)
    more = [
        question_bytes_in_flight(sizes, 4, tail)
        + asking_bytes(sizes, 4, tail)
        + observed_bytes(sizes, moments, 4, tail)
        for tail in tails
    ]
    assert usual - short == more[1] - more[0] > 2**23


def test_free_memory_is_what_can_be_had():
    free = free_bytes(torch.device("cpu"))
    assert 2**27 < free < 2**50


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("budget", ["1k", "8k"])
def test_the_allocators_peak_stays_below_what_was_estimated(budget):
    adapter = random_adapter("qwen2.5-omni-3b", device="cuda")
    session, segments, needed = begun(adapter, 240, 640, 360, budget=parse_budget(budget))
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    list(session.watch(segments))
    session.ask(["What is shown?"] * 16, max_tokens=64)
    taken = torch.cuda.max_memory_allocated() - before
    assert taken <= needed
