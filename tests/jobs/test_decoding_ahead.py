"""Decoding and model work at the same time: the decoder's queue holds what the model takes next."""

import time
from dataclasses import replace
from types import SimpleNamespace

import footage
import numpy as np
import pytest
import torch
from watching import watch

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs import watch_one
from omnimem_cli.media.decode import AHEAD_BYTES, Source, segments_ahead
from omnimem_cli.media.decoder_thread import DecoderThread
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import AudioStream, Format, Media, Segment
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.tokens import AUDIO
from omnimem_cli.session.footprint import footprint_of
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import watch_options
from omnimem_cli.tasks.summarize import Summarize

CHUNKS, SEGMENTS, EACH_S = 6, 20, 0.01  # a segment takes as long to decode as it takes the model
FORM = Format(segment_s=2.0, fps=1, width=0, height=0)


class ScriptedDecoder(DecoderThread):
    """Makes a silent segment of every ``EACH_S`` seconds, which it sleeps."""

    def _open(self):
        return None, None

    def _segment(self, index, picture, sound, ahead):
        time.sleep(EACH_S)
        size = 100 if index < CHUNKS * SEGMENTS else 0
        frames = np.zeros((0, 0, 0, 3), np.uint8)
        return Segment(index, 2.0 * index, frames, np.zeros(0), np.zeros(size, np.float32), ahead), ahead


class ScriptedMemory:
    """Absorbs a chunk in as many seconds as its segments took to decode."""

    def __init__(self):
        self.seen = {AUDIO: 0}

    def absorb(self, segments):
        time.sleep(EACH_S * len(segments))
        self.seen[AUDIO] += len(segments)


def scripted_session(monkeypatch) -> Session:
    """A session whose tokens are its segments."""
    monkeypatch.setattr("omnimem_cli.session.session.concat", lambda parts: [part for part in parts if part])
    monkeypatch.setattr("omnimem_cli.session.session.sums_of", len)
    plan = SimpleNamespace(tokens_per_segment=1, format=FORM)
    adapter = SimpleNamespace(device=torch.device("cpu"))
    stream = SimpleNamespace(adapter=adapter, media=media(), plan=plan, prefix=None, encode=list)
    return Session(stream, ScriptedMemory(), chunk_tokens=SEGMENTS)


def media() -> Media:
    return Media("scripted", None, AudioStream(0, "aac", 1, 16_000, 2.0 * CHUNKS * SEGMENTS))


def share_of_the_sum(monkeypatch) -> float:
    """The wall time of a watch whose decoding and model work take equally long, by the sum of both."""
    session = scripted_session(monkeypatch)
    began = time.monotonic()
    with Source(media(), FORM, queue=segments_ahead(FORM, session.segments_per_chunk)) as source:
        chunks = [len(segments) for _, segments in session.watch(source)]
    wall_s, model_s = time.monotonic() - began, session.stage_times.prefill_s
    assert chunks == [SEGMENTS] * CHUNKS
    assert min(source.busy_s, model_s) >= EACH_S * SEGMENTS * CHUNKS
    assert source.decode_s < source.busy_s  # what was waited for is less than what was done
    return wall_s / (source.busy_s + model_s)


def test_equal_halves_of_decoding_and_model_work_take_at_most_65_in_100_of_their_sum(monkeypatch):
    monkeypatch.setattr("omnimem_cli.media.decode.DecoderThread", ScriptedDecoder)
    # On a busy machine one of the halves may sleep longer; no watch that takes turns comes near the bound in any try.
    assert any(share_of_the_sum(monkeypatch) <= 0.65 for _ in range(4))


def test_the_queue_holds_two_chunks_and_no_more_bytes_than_its_bound():
    small, large = Format(2.0, 1, 80, 48), Format(2.0, 8, 3840, 2160)
    assert segments_ahead(small, 47) == 94 and segments_ahead(small, 1) == 3
    assert small.segment_bytes == 2 * 80 * 48 * 3 + 4 * 32_000
    assert segments_ahead(large, 47) == 3  # one is read, one waits and one is made, however large they are
    middle = Format(2.0, 1, 1280, 720)
    assert AHEAD_BYTES - middle.segment_bytes < segments_ahead(middle, 470) * middle.segment_bytes <= AHEAD_BYTES


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return footage.av(tmp_path_factory.mktemp("clip"), video_s=9, audio_s=9)


def test_a_watch_decodes_as_far_ahead_as_its_chunks_reach(clip, tiny_adapter, monkeypatch):
    ahead = []

    def remembered(media, form, *, queue, **options):
        ahead.append(queue)
        return Source(media, form, queue=queue, **options)

    monkeypatch.setattr(watch_one, "Source", remembered)
    settings = Settings(budget=Budget(120), max_tokens=4, fps=1, max_pixels=112 * 84, chunk=240)
    tokens = watch(clip, settings, Summarize(settings), tiny_adapter)["memory"]["chunk"]
    assert ahead[0] > 3 and tokens % (ahead[0] // 2) == 0


def test_what_is_decoded_ahead_counts_where_the_model_runs_in_the_hosts_memory(clip, tiny_adapter, monkeypatch):
    settings = Settings(fps=1, max_pixels=112 * 84, chunk=20_000)  # encoding it takes more than answering does
    file = probe(str(clip))
    file = replace(file, audio=replace(file.audio, duration_s=None))  # as long as one likes
    plan = tiny_adapter.plan(file, watch_options(settings))
    whole = footprint_of(settings, make_policy("omnimem"), tiny_adapter, plan, file).needed(120)
    monkeypatch.setattr("omnimem_cli.session.footprint.segments_ahead", lambda form, segments: 0)
    without = footprint_of(settings, make_policy("omnimem"), tiny_adapter, plan, file).needed(120)
    segments = 20_000 // plan.tokens_per_segment
    assert whole - without == segments_ahead(plan.format, segments) * plan.format.segment_bytes
