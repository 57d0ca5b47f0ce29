"""The long-stream benchmark: readings at lengths, where the time went, and how a policy ends early."""

import gc
import json
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from salmonn_tiny import FAMILIES, tiny_salmonn
from tiny_qwen3 import tiny_qwen3_omni
from typer.testing import CliRunner

from omnimem_cli.app import app
from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import DoesNotFitError, UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.bench import throughput
from omnimem_cli.bench.flops import attention_flops, encoder_flops, linear_flops
from omnimem_cli.bench.tables import throughput_table
from omnimem_cli.bench.throughput import CARRY, Lengths, bench_throughput
from omnimem_cli.bench.timing_clip import make_clip
from omnimem_cli.media.decode import Source
from omnimem_cli.media.decoder_thread import DecoderThread
from omnimem_cli.memory.memory import Memory
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.dummy import random_adapter
from omnimem_cli.models.loader import load
from omnimem_cli.models.qwen_omni.stream import QwenOmniStream
from omnimem_cli.session.sizing import size_memory

SMALL = Settings(max_pixels=56 * 56, budget=Budget(40), chunk=200)
STAGES = ["decode", "encode", "prefill", "scoring"]


@pytest.fixture(scope="module")
def adapter(tiny_folder):
    return load(str(tiny_folder), device="cpu")


@pytest.fixture(scope="module")
def clip(adapter):
    return make_clip(adapter, 8.0, WatchOptions(max_pixels=56 * 56))


@pytest.fixture
def same_clip(monkeypatch, clip):
    """One clip for all, as long as asked for; short answers."""
    monkeypatch.setattr(throughput, "ANSWER_TOKENS", 2)
    monkeypatch.setattr(throughput, "FIRST_TOKENS", 1)
    monkeypatch.setattr(throughput, "make_clip", lambda adapter, length_s, options: replace(clip, length_s=length_s))


def bench(adapter, policies: list[str], minutes: list[float], settings: Settings = SMALL, limit_s=None) -> dict:
    return bench_throughput(adapter, Lengths(policies, minutes, limit_s), settings, lambda _: None)


def test_a_clip_goes_on_as_long_as_asked_on_one_clock(clip):
    long = list(replace(clip, length_s=20.0))
    assert [s.start_s for s in long] == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert [s.last for s in long] == [False] * 9 + [True] and [s.index for s in long] == list(range(10))
    assert np.allclose(np.concatenate([s.frame_times for s in long]), np.arange(20))
    assert np.array_equal(long[4].frames, long[0].frames) and not np.array_equal(long[1].frames, long[0].frames)
    assert all(len(s.audio) == 32_000 and np.abs(s.audio).max() > 0.01 for s in long) and clip.decode_rate > 0


def test_a_policy_is_read_at_every_length(adapter, same_clip, clip):
    result = bench(adapter, ["omnimem", "full", CARRY], [0.2, 0.4])
    rows = result["rows"]
    assert [(r["policy"], r["minutes"]) for r in rows] == [
        (p, m) for p in ("omnimem", "full", CARRY) for m in (0.2, 0.4)
    ]
    for row in rows:
        assert list(row["shares"]) == STAGES and sum(row["shares"].values()) == pytest.approx(1, abs=1e-3)
        assert 60 * row["minutes"] <= row["video_s"] < 60 * row["minutes"] + 8 and row["first_token_s"] > 0
        assert row["rss_peak_bytes"] > 2**20
        decoded = row["decoded_watch"]
        assert max(decoded["decode_s"], decoded["model_s"]) <= decoded["wall_s"] and 0 <= decoded["hidden"] <= 1
        assert 10 <= decoded["video_s"] <= 24.5
        assert row["encoders"].keys() == {"in_turn_s", "ahead_s"} and min(row["encoders"].values()) > 0
    bounded, whole, carried = rows[1::2]
    assert bounded["tokens"] == whole["tokens"] > rows[0]["tokens"]
    assert bounded["bytes"] < whole["bytes"] and whole["shares"]["scoring"] < bounded["shares"]["scoring"]
    assert carried["entries"] == bounded["entries"] == 40 and result["stopped"] == []
    weights = sum(p.numel() * p.element_size() for p in adapter.model.parameters())
    fitted = size_memory(replace(SMALL, policy="omnimem"), adapter, clip.plan, replace(clip, length_s=24.0).media)
    assert bounded["estimated_bytes"] == weights + fitted.needed - fitted.ahead_bytes
    assert whole["estimated_bytes"] is carried["estimated_bytes"] is None and result["attention"] == "torch"
    assert json.loads(json.dumps(result)) == result and "carry" in throughput_table(result)


def test_a_length_of_no_whole_number_of_segments_is_read_at_the_last_one(adapter, same_clip):
    rows = bench(adapter, ["full"], [0.07, 0.08])["rows"]
    assert [(r["minutes"], r["video_s"]) for r in rows] == [(0.07, 4.0), (0.08, 4.0)]
    assert rows[0]["encoders"] is None  # it is shorter than a chunk


@pytest.mark.parametrize(
    ("make", "family"), [(load, FAMILIES[0]), *((random_adapter, f) for f in (*FAMILIES, "qwen3-omni"))]
)
def test_every_family_is_read(tmp_path, monkeypatch, family, make):
    monkeypatch.setattr(throughput, "ANSWER_TOKENS", 2)
    monkeypatch.setattr(throughput, "FIRST_TOKENS", 1)
    folder = tiny_salmonn(tmp_path, family) if family in FAMILIES else tiny_qwen3_omni(tmp_path)
    result = bench(make(str(folder), device="cpu"), ["omnimem", CARRY], [0.5], replace(SMALL, budget=Budget(80)))
    assert [r["policy"] for r in result["rows"]] == ["omnimem", CARRY] and result["stopped"] == []
    for row in result["rows"]:
        assert row["video_s"] >= 20 and row["flops"] > 0 and row["shares"]["encode"] > 0


class TakingTurns(Source):
    """Decodes all of its input before it hands out the first segment."""

    def __iter__(self):
        yield from list(iter(super().__next__, None))


def test_decoding_and_model_that_take_turns_are_told_as_not_hidden(adapter, same_clip, monkeypatch):
    encode, segment = QwenOmniStream.encode, DecoderThread._segment
    monkeypatch.setattr(QwenOmniStream, "encode", lambda self, s: (time.sleep(0.1 * len(s)), encode(self, s))[1])
    monkeypatch.setattr(DecoderThread, "_segment", lambda *args: (time.sleep(0.1), segment(*args))[1])
    hidden = []
    for source in (Source, TakingTurns):
        monkeypatch.setattr("omnimem_cli.bench.decoded_watch.Source", source)
        hidden.append(bench(adapter, ["full"], [0.4])["rows"][0]["decoded_watch"]["hidden"])
    assert hidden[1] < 0.1 < 0.3 < hidden[0]


def test_time_in_an_encoder_is_the_encoders(adapter, same_clip, monkeypatch):
    real = QwenOmniStream.encode
    monkeypatch.setattr(QwenOmniStream, "encode", lambda self, s: (time.sleep(0.05 * len(s)), real(self, s))[1])
    (row,) = bench(adapter, ["full"], [0.2])["rows"]
    assert row["watched_s"] > 0.3 and row["shares"]["encode"] > row["shares"]["prefill"]


def test_work_is_the_same_however_it_is_cut(adapter, same_clip, clip):
    done = []
    for chunk in (60, 1000):
        (row,) = bench(adapter, ["full"], [0.2], replace(SMALL, chunk=chunk))["rows"]
        done.append(row["flops"])
    stream = adapter.open(clip.media, clip.plan)
    n, segments = row["tokens"], 6
    whole = segments * encoder_flops(lambda: stream.encode(clip.segments[:1]))
    whole += n * linear_flops(adapter.decoder) + attention_flops(adapter.decoder, n, [0] * 4)
    assert done == pytest.approx([whole, whole])


def test_a_limit_and_a_full_device_end_a_policy_with_a_plain_line(adapter, same_clip, monkeypatch):
    limited = bench(adapter, ["omnimem"], [0.1, 50], limit_s=0.0)
    assert [r["minutes"] for r in limited["rows"]] == [0.1]
    assert "stopped after" in throughput_table(limited) and "limit" in limited["stopped"][0]["why"]
    monkeypatch.setattr(throughput, "free_bytes", lambda device: 1000)
    filled = bench(adapter, ["full", "omnimem"], [0.1, 0.4])
    assert [(r["policy"], r["minutes"]) for r in filled["rows"]] == [("full", 0.1), ("omnimem", 0.1), ("omnimem", 0.4)]
    assert [s["policy"] for s in filled["stopped"]] == ["full"] and "no room" in filled["stopped"][0]["why"]


def test_a_policy_that_does_not_fit_costs_no_other_its_readings(adapter, same_clip, monkeypatch):
    def fit_all_but_full(settings, *rest):
        if settings.policy == "full":
            raise DoesNotFitError("It takes 90.0 GiB.")
        return size_memory(settings, *rest)

    monkeypatch.setattr(throughput, "size_memory", fit_all_but_full)
    result = bench(adapter, ["omnimem", "full", CARRY], [0.1])
    assert [r["policy"] for r in result["rows"]] == ["omnimem", CARRY]
    assert result["stopped"] == [{"policy": "full", "at_s": 0.0, "why": "It takes 90.0 GiB."}]
    assert "full stopped after 0 s of video: It takes 90.0 GiB." in throughput_table(result)


def test_no_policys_memory_stands_beside_the_next_ones(adapter, same_clip, monkeypatch):
    made, standing = [], []

    def fit_and_look(*arguments):
        standing.append(sum(memory() is not None for memory in made))
        return size_memory(*arguments)

    def remember(memory, *arguments, **options):
        made.append(weakref.ref(memory))
        begin(memory, *arguments, **options)

    begin = Memory.__init__
    monkeypatch.setattr(throughput, "size_memory", fit_and_look)
    monkeypatch.setattr(Memory, "__init__", remember)
    gc.disable()
    try:
        bench(adapter, ["full", "omnimem", CARRY], [0.1])
    finally:
        gc.enable()
    assert standing == [0] * 15


def test_the_command_needs_no_weights_and_refuses_a_wrong_length(tiny_folder, same_clip):
    app_main = ["bench", "speed", "-m", str(tiny_folder), "--random-weights", "--device", "cpu", "--chunk", "200", "-q"]
    small = ["--budget", "40", "--max-pixels", "3136", "--policies", "carry", "--minutes", "0.1"]
    runner = CliRunner()
    told = runner.invoke(app, [*app_main, *small, "-f", "json"])
    assert told.exit_code == 0, told.output
    assert [r["policy"] for r in json.loads(told.stdout)["rows"]] == ["carry"]
    small[small.index("--policies") : small.index("--minutes")] = []
    told = runner.invoke(app, [*app_main, *small, "-f", "json"])
    assert [r["policy"] for r in json.loads(told.stdout)["rows"]] == ["omnimem", "full", "carry"]
    for wrong in (["--minutes", "long"], ["--policies", "nonsense"]):
        assert isinstance(runner.invoke(app, [*app_main, *wrong]).exception, UsageError)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_published_shape_runs_on_the_device_and_the_allocators_peak_is_told():
    adapter = random_adapter("qwen2.5-omni-3b", device="cuda")
    result = bench_throughput(adapter, Lengths(["omnimem", CARRY], [2, 4]), Settings(), lambda _: None)
    for row in result["rows"]:
        assert row["device_peak_bytes"] > 2 * 4.5e9 and 0.02 < row["of_matmul"] < 1.0
    assert all(r["device_peak_bytes"] <= r["estimated_bytes"] for r in result["rows"] if r["policy"] == "omnimem")
