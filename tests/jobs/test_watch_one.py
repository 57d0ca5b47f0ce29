"""One input from file to result, with a tiny random model on real media files."""

import gc
import json
import threading
import time
from dataclasses import replace

import footage
import jsonschema
import pytest
import torch
from served import Camera, Server
from watching import watch

from omnimem_cli.base.budget import Budget, parse_budget
from omnimem_cli.base.errors import DoesNotFitError, InputError, UsageError
from omnimem_cli.base.process import limits
from omnimem_cli.base.settings import ANSWER_TOKENS, Settings
from omnimem_cli.jobs import watch_one
from omnimem_cli.jobs.batch import Batch
from omnimem_cli.jobs.inputs import find_inputs
from omnimem_cli.jobs.work import Work
from omnimem_cli.media.decode import Source
from omnimem_cli.media.probe import probe
from omnimem_cli.memory.tokens import AUDIO
from omnimem_cli.models.loader import load
from omnimem_cli.models.qwen_omni.stream import QwenOmniStream
from omnimem_cli.results import result as results
from omnimem_cli.session import preflight
from omnimem_cli.session import sizing as fitting
from omnimem_cli.session import transients as footprint
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets.preset import Question
from omnimem_cli.tasks.summarize import Summarize
from omnimem_cli.tasks.transcribe import Transcribe


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return footage.av(tmp_path_factory.mktemp("clip"), video_s=21, audio_s=21)


def summarize(path, adapter, report=lambda progress: None, **kw):
    settings = Settings(**{"budget": Budget(120), "max_tokens": 8, "fps": 1, "max_pixels": 112 * 84} | kw)
    return watch(path, settings, Summarize(settings), adapter, report)


def test_a_real_file_becomes_a_valid_result(clip, tiny_adapter):
    result = summarize(clip, tiny_adapter)
    jsonschema.validate(result, results.schema())
    assert result["status"] == "done" and result["coverage"]["ratio"] >= 0.98
    memory = result["memory"]
    assert memory["kept"]["visual"] + memory["kept"]["audio"] <= memory["budget_entries"] == 120
    assert memory["seen"]["audio"] == 21 * 25 and memory["bytes"] <= memory["peak_bytes"]


def test_sound_that_never_enters_the_model_is_an_alarm(clip, tiny_adapter, monkeypatch):
    encode = QwenOmniStream.encode
    monkeypatch.setattr(
        QwenOmniStream, "encode", lambda *args: [chunk.take(chunk.kind != AUDIO) for chunk in encode(*args)]
    )
    result = summarize(clip, tiny_adapter, chunk=40)
    (alarm,) = (note for note in result["warnings"] if note["code"] == "sound_not_entered")
    assert "0:00–0:2" in alarm["message"] and results.degraded(result)
    monkeypatch.undo()
    assert not results.degraded(summarize(clip, tiny_adapter, chunk=40))


def test_a_chunk_is_reported_from_inside_and_answers_by_their_tokens(clip, tiny_adapter, monkeypatch):
    monkeypatch.setattr(watch_one, "REPORT_EVERY_S", 0.0)
    told = []
    summarize(clip, tiny_adapter, report=told.append, chunk=10_000)  # all of it is one chunk
    watched = [progress.done_s for progress in told if progress.stage == "watching"]
    assert watched[0] == 0.0 and watched[-1] >= 20 and watched == sorted(watched)
    assert sum(0 < done_s < 20 for done_s in watched) >= 5, "decoding is told segment by segment"
    answering = [progress for progress in told if progress.stage == "answering"]
    assert (answering[0].tokens, answering[0].questions) == (0, 0)
    assert answering[-1].questions == 1 and 1 <= answering[-1].tokens <= 8


def test_the_same_run_twice_gives_the_same_text(clip, tiny_adapter):
    assert summarize(clip, tiny_adapter)["summary"] == summarize(clip, tiny_adapter)["summary"]


def test_a_second_input_does_not_hear_the_first(clip, tiny_folder, tmp_path, monkeypatch):
    quiet = footage.av(tmp_path, extra=("-af", "volume=0.01"))
    alone = load(str(tiny_folder), device="cpu")
    after = load(str(tiny_folder), device="cpu")
    summarize(clip, after)
    heard, encode = [], QwenOmniStream.encode
    monkeypatch.setattr(
        QwenOmniStream, "encode", lambda self, segments: heard.append(encode(self, segments)) or heard[-1]
    )
    for adapter in (alone, after):
        summarize(quiet, adapter)
    half = len(heard) // 2
    for one, other in zip(heard[:half], heard[half:], strict=True):
        # Two models in memory: not every processor multiplies the same weights at another address to the same bits.
        assert all(torch.allclose(a.embeds, b.embeds, atol=1e-5) for a, b in zip(one, other, strict=True))


def test_bytes_hold_at_every_moment(clip, tiny_adapter):
    result = summarize(clip, tiny_adapter, budget=parse_budget("700KiB"))
    assert result["memory"]["budget_bytes"] == 700 * 1024
    assert 0.4 * 700 * 1024 < result["memory"]["peak_bytes"] <= 700 * 1024


def test_a_budget_below_the_prefix_does_not_fit_and_names_what_would(clip, tiny_adapter):
    with pytest.raises(DoesNotFitError) as error:
        summarize(clip, tiny_adapter, budget=parse_budget("20KiB"))
    least = error.value.hint.split("--budget ")[1].rstrip(".")
    assert summarize(clip, tiny_adapter, budget=parse_budget(least))["status"] == "done"


def bytes_in_tensors():
    gc.collect()
    storages = [one.untyped_storage() for one in gc.get_objects() if type(one) in (torch.Tensor, torch.nn.Parameter)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def test_after_ten_files_the_memory_is_what_it_was_after_one(clip, tiny_folder, monkeypatch):
    monkeypatch.setattr("omnimem_cli.jobs.batch.idle_cores", lambda device: 0)  # nothing of the next one is held
    settings = Settings(model=str(tiny_folder), budget=Budget(120), max_tokens=4, fps=1, max_pixels=112 * 84, end_s=6.0)
    batch = Batch(Work("summarize", Summarize, {}, replace(settings, device="cpu", output="-")))
    held, peaks = [], []
    for outcome in batch.outcomes(batch.assign_targets(find_inputs([str(clip)])) * 10):
        peaks.append(outcome.result["memory"]["peak_bytes"])
        held.append(bytes_in_tensors())
    assert len(set(peaks)) == 1 and peaks[0] > 0
    assert held[9] == held[0] > 0


def test_progress_tells_stages_and_seconds(clip, tiny_adapter):
    told = []
    summarize(clip, tiny_adapter, report=told.append)
    assert [p.stage for p in told if p.done_s == 0 or p is told[-1]]
    assert {p.stage for p in told} == {"listening", "watching", "answering"}
    watched = [p.done_s for p in told if p.stage == "watching"]
    assert watched == sorted(watched) and abs(watched[-1] - 21) < 0.2 and told[0].total_s >= 21


def test_a_time_limit_ends_one_input(clip, tiny_adapter):
    with pytest.raises(InputError) as error, limits(1.5):
        summarize(clip, tiny_adapter, report=lambda progress: time.sleep(0.6), timeout_s=1.5)
    assert error.value.code == "timeout"


@pytest.mark.parametrize("no_audio", [True, False])  # both passes over the file
def test_a_stalled_source_is_given_up_within_the_time_limit(no_audio, clip, tiny_adapter, tmp_path, monkeypatch):
    footage.copy(clip, tmp_path / "fast.mp4", "-movflags", "+faststart")
    data = (tmp_path / "fast.mp4").read_bytes()
    server = Server(data, stop_at=len(data) // 2)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    media = probe(str(clip), no_audio=no_audio)
    monkeypatch.setattr(preflight, "probe", lambda path, **options: replace(media, path=server.url))
    begun = time.monotonic()
    with pytest.raises(InputError) as error:
        summarize(clip, tiny_adapter, timeout_s=2.0, no_audio=no_audio)
    spent_s = time.monotonic() - begun
    server.released.set()
    server.shutdown()
    server.server_close()
    assert error.value.code in ("stalled", "timeout") and spent_s < 50  # without a limit a source may stall for 60 s


def test_live_input_that_falls_silent_gives_its_result(tiny_adapter, tmp_path):
    camera = Camera(footage.av(tmp_path, "camera.ts", video_s=10, audio_s=10).read_bytes())
    threading.Thread(target=camera.serve_forever, daemon=True).start()
    settings = Settings(budget=Budget(120), max_tokens=4, fps=1, max_pixels=56 * 56, chunk=100, timeout_s=3.0)
    result = watch(camera.url, settings, Transcribe(settings), tiny_adapter)
    camera.released.set()
    camera.shutdown()
    camera.server_close()
    assert result["status"] == "done" and result["coverage"]["video_s"] > 2
    (note,) = [note for note in result["warnings"] if note["code"] == "live_stopped"]
    assert "no data" in note["message"]
    reached_s = result["transcript"]["segments"][-1]["end_s"]
    assert reached_s == pytest.approx(result["coverage"]["audio_s"], abs=0.5), "the last window is closed"


def test_a_long_time_limit_does_not_make_a_stall_longer(clip, tiny_adapter, monkeypatch):
    stalls = []
    monkeypatch.setattr(preflight, "probe", lambda path, **options: stalls.append(options["timeout_s"]) or probe(path))
    monkeypatch.setattr(
        watch_one, "Source", lambda media, layout, **options: stalls.append(options["stall_s"]) or Source(media, layout)
    )
    for limit_s in (None, 3600.0):
        summarize(clip, tiny_adapter, timeout_s=limit_s)
    assert stalls == [60.0] * 4


def test_only_the_range_is_watched(clip, tiny_adapter):
    result = summarize(clip, tiny_adapter, start_s=4.0, end_s=10.0)
    assert result["coverage"]["duration_s"] == 6.0 and result["coverage"]["ratio"] >= 0.98
    assert result["memory"]["seen"]["audio"] == 150
    with pytest.raises(InputError):
        summarize(clip, tiny_adapter, start_s=100.0)


@pytest.mark.parametrize("switch", ["no_audio", "no_video"])
def test_a_stream_that_is_switched_off_gives_its_budget_to_the_other(clip, tiny_adapter, switch):
    memory = summarize(clip, tiny_adapter, budget=Budget(60), policy="omnimem", **{switch: True})["memory"]
    other = "visual" if switch == "no_audio" else "audio"
    assert memory["split"][other] == 60 and memory["kept"][other] == 60


@pytest.mark.parametrize(("policy", "shares"), [("salience", False), ("salience:pool=split", True), ("full", False)])
def test_a_budget_has_shares_only_where_the_policy_divides_it(clip, tiny_adapter, policy, shares):
    split = summarize(clip, tiny_adapter, budget=Budget(60), policy=policy, end_s=6.0)["memory"]["split"]
    assert (sum(split.values()) == 60) if shares else split is None


def test_a_truncated_file_is_done_with_its_true_coverage(tiny_adapter, tmp_path):
    whole = footage.av(tmp_path, video_s=20, audio_s=20, extra=("-movflags", "+faststart"))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = summarize(cut, tiny_adapter)
    assert result["status"] == "done"
    assert result["coverage"]["ratio"] < 0.9
    assert {"coverage_low"} <= {w["code"] for w in result["warnings"]}


def test_transcribe_asks_windows_while_they_are_whole(clip, tiny_adapter):
    settings = Settings(budget=Budget(800), max_tokens=6, fps=1, max_pixels=112 * 84, av_ratio=0.3)
    result = watch(clip, settings, Transcribe(settings), tiny_adapter)
    jsonschema.validate(result, results.schema())
    segments = result["transcript"]["segments"]
    assert segments and all(0 <= s["start_s"] < s["end_s"] <= 21.1 for s in segments)


def test_many_questions_are_answered_in_one_batch(clip, tiny_adapter):
    settings = Settings(budget=Budget(120), max_tokens=6, fps=1, max_pixels=112 * 84)
    task = Ask(settings, [Question("1", "What is shown?"), Question("2", "What is said?")])
    result = watch(clip, settings, task, tiny_adapter)
    assert [a["question"] for a in result["answers"]] == ["What is shown?", "What is said?"]


def test_a_plan_for_other_layers_is_refused(clip, tiny_adapter, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"model": {"name": tiny_adapter.name}, "budgets": [[1, 2], [3, 4]]}))
    with pytest.raises(UsageError, match="2 layers"):
        summarize(clip, tiny_adapter, plan=str(plan))


def test_auto_takes_what_is_free_and_no_more_than_was_ever_measured(clip, tiny_adapter, monkeypatch):
    monkeypatch.setattr(footprint, "QUESTION_TOKENS", 16)  # beside a model as small as this, long ones outweigh all
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 2**40)
    assert summarize(clip, tiny_adapter, budget=parse_budget("auto"))["memory"]["budget_entries"] == 32 * 1024
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 16 * 2**20)
    memory = summarize(clip, tiny_adapter, budget=parse_budget("auto"))["memory"]
    assert 20 < memory["budget_entries"] < 1000


def test_a_session_asks_no_more_at_once_than_was_estimated(clip, tiny_adapter):
    class Seen(Summarize):
        def on_chunk(self, session, chunk_end, segments):
            self.session = session

    settings = Settings(budget=Budget(120), max_tokens=4, fps=1, max_pixels=112 * 84)
    task = Seen(settings)
    watch(clip, settings, task, tiny_adapter)
    assert (
        task.session.question_tokens_in_flight
        == footprint.question_tokens_in_flight(4)
        != footprint.question_tokens_in_flight(ANSWER_TOKENS)
    )


def test_a_memory_that_does_not_fit_the_device_is_refused_before_the_watch(clip, tiny_adapter, monkeypatch):
    monkeypatch.setattr(footprint, "QUESTION_TOKENS", 16)  # beside a model as small as this, long ones outweigh all
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 6 * 2**20)
    with pytest.raises(DoesNotFitError) as error:
        summarize(clip, tiny_adapter, budget=parse_budget("8k"))
    fits = error.value.hint.split("--budget ")[1].split()[0]
    assert summarize(clip, tiny_adapter, budget=parse_budget(fits))["memory"]["peak_bytes"] <= 6 * 2**20
