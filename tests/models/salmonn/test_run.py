"""video-SALMONN 2+ from file to result: real media, bounded memory, every task."""

import footage
import jsonschema
import pytest
from salmonn_tiny import FAMILIES, load_tiny, tiny_salmonn
from watching import watch

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.results import result as results
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets.preset import Question
from omnimem_cli.tasks.summarize import Summarize
from omnimem_cli.tasks.transcribe import Transcribe


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return footage.av(tmp_path_factory.mktemp("clip"), video_s=40, audio_s=40)


@pytest.fixture(scope="module", params=FAMILIES)
def adapter(request, tmp_path_factory):
    return load_tiny(tiny_salmonn(tmp_path_factory.mktemp(request.param), request.param))


def watched(clip, adapter, task, **kw) -> dict:
    settings = Settings(**{"budget": Budget(120), "max_tokens": 6, "max_pixels": 6144} | kw)
    result = watch(clip, settings, task(settings), adapter)
    jsonschema.validate(result, results.schema())
    return result


def test_a_file_is_summarized_within_its_budget(clip, adapter):
    result = watched(clip, adapter, Summarize)
    memory = result["memory"]
    assert result["status"] == "done" and result["coverage"]["ratio"] == pytest.approx(1, abs=0.02)
    assert memory["seen"]["audio"] == 120
    assert memory["kept"]["visual"] + memory["kept"]["audio"] <= memory["budget_entries"] == 120


def test_a_file_is_transcribed_window_by_window(clip, adapter):
    assert watched(clip, adapter, Transcribe, budget=Budget(300))["transcript"]["segments"] is not None


def test_a_file_is_asked(clip, adapter):
    result = watched(clip, adapter, lambda settings: Ask(settings, [Question("what", "What is shown?")]))
    assert [answer["id"] for answer in result["answers"]] == ["what"]


def test_the_rule_of_positions_is_the_users_choice(clip, adapter, monkeypatch):
    opened, begin = [], type(adapter).open
    monkeypatch.setattr(
        type(adapter), "open", lambda self, media, plan: (opened.append(plan), begin(self, media, plan))[1]
    )
    for mrope in adapter.mrope:
        watched(clip, adapter, Summarize, mrope=mrope)
        assert {plan.mrope for plan in opened} == {mrope}
        opened.clear()


def test_a_family_with_one_rule_of_positions_refuses_another(clip, adapter, tiny_adapter):
    ruled = [one for one in (adapter, tiny_adapter) if one.mrope == ("released",)]
    assert len(ruled) == 1 + (adapter.row.family == "salmonn-qwen3-vl")
    for one in ruled:
        with pytest.raises(UsageError, match="one rule of positions"):
            watched(clip, one, Summarize, mrope="trained")


@pytest.mark.parametrize("off", ["no_audio", "no_video"])
def test_one_stream_alone_is_enough(clip, adapter, off):
    seen = watched(clip, adapter, Summarize, **{off: True})["memory"]["seen"]
    assert (seen["audio"] == 0, seen["visual"] == 0) == (off == "no_audio", off == "no_video")
