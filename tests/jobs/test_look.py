"""The video of a second look: read again where it is at hand, and told where it is not."""

import shutil
from dataclasses import replace
from pathlib import Path

import footage
import jsonschema
import numpy as np
import pytest
from kept import loaded, saved, watched

from omnimem_cli.base.budget import Budget, parse_budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs.look import give_look
from omnimem_cli.media.decode import Source
from omnimem_cli.media.probe import probe
from omnimem_cli.models.catalogue import row
from omnimem_cli.results.result import schema
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets.preset import Question

SETTINGS = Settings(budget=Budget(60), max_tokens=4, fps=1, max_pixels=56 * 56, chunk=200, look_again=True)
ASKED = [Question("q1", "What is shown?"), Question("q2", "Who speaks?")]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return footage.av(tmp_path, video_s=20, audio_s=20)


def answers_of(one, settings=SETTINGS) -> dict:
    result = one.result(Ask(settings, ASKED))
    jsonschema.validate(result, schema())
    return result


@pytest.mark.parametrize("detail", [1.0, 2.0])
@pytest.mark.parametrize("positions", ["keep", "retime"])
def test_a_watched_file_is_looked_at_again(detail, positions, clip, tiny_adapter):
    tiny_adapter.row = replace(row("qwen2.5-omni-3b"), look_detail=detail)
    one = watched(clip, replace(SETTINGS, positions=positions), tiny_adapter)
    give_look(one)
    result = answers_of(one)
    looks = [answer["look"] for answer in result["answers"]]
    assert all(look["spans"] and look["spans"][-1]["end_s"] <= 20.0 for look in looks) and not one.facts["warnings"]
    assert result["memory"]["peak_bytes"] > one.session.memory.nbytes


def test_the_range_that_was_watched_is_the_range_that_is_looked_at(clip, tiny_adapter):
    settings = replace(SETTINGS, start_s=6.0, end_s=14.0)
    one = watched(clip, settings, tiny_adapter)
    give_look(one)
    for answer in answers_of(one, settings)["answers"]:
        spans = answer["look"]["spans"]
        assert spans and all(6.0 <= span["start_s"] < span["end_s"] <= 14.0 for span in spans)


def test_a_memory_finds_its_video_beside_it_or_says_that_it_is_gone(clip, tiny_adapter, tmp_path):
    one = watched(clip, SETTINGS, tiny_adapter)
    path = saved(one, tmp_path / "a.omnimem")
    elsewhere = tmp_path / "moved"
    elsewhere.mkdir()
    for file in (path, clip):
        shutil.move(str(file), elsewhere)
    moved = elsewhere / path.name
    again = loaded(moved, tiny_adapter)
    give_look(again, str(moved))
    assert answers_of(again)["answers"][0]["look"]["spans"]
    (elsewhere / clip.name).unlink()
    alone = loaded(moved, tiny_adapter)
    give_look(alone, str(moved))
    result = answers_of(alone)
    assert "look" not in result["answers"][0] and [w["code"] for w in result["warnings"]][:1] == ["not_looked"]


def test_another_video_of_the_same_name_is_not_looked_at(clip, tiny_adapter, tmp_path):
    one = watched(clip, SETTINGS, tiny_adapter)
    path = saved(one, tmp_path / "a.omnimem")
    with clip.open("ab") as file:
        file.write(b"more")
    again = loaded(path, tiny_adapter)
    give_look(again, str(path))
    assert again.session.look is None
    assert "is not the video that was watched" in again.facts["warnings"][-1]["message"]


def test_a_video_that_vanishes_before_the_look_costs_no_answer(clip, tiny_adapter):
    one = watched(clip, SETTINGS, tiny_adapter)
    give_look(one)
    clip.unlink()
    result = answers_of(one)
    assert [w["code"] for w in result["warnings"]][:1] == ["not_looked"] and len(result["answers"]) == 2


@pytest.mark.parametrize("size", ["1MiB", "400KiB"])
def test_a_budget_in_bytes_holds_memory_and_look(size, clip, tiny_adapter):
    tiny_adapter.row = row("qwen2.5-omni-3b")
    settings = replace(SETTINGS, budget=parse_budget(size), chunk=None)
    one = watched(clip, settings, tiny_adapter)
    give_look(one)
    result = answers_of(one, settings)
    assert result["answers"][0]["look"]["spans"]
    assert result["memory"]["peak_bytes"] <= settings.budget.bytes


def test_what_is_looked_at_is_what_was_watched(clip, tiny_adapter):
    """Segments that are read again show the same frames and hold the same sound, at the same time."""
    tiny_adapter.row = replace(row("qwen2.5-omni-3b"), look_detail=1.0)
    one = watched(clip, replace(SETTINGS, start_s=3.0), tiny_adapter)
    give_look(one)
    with Source(probe(str(clip)), one.session.plan.format, start_s=3.0) as source:
        before = list(source)
    for again, first in zip(one.session.look._read(4, 2), before[4:6], strict=True):
        assert (again.index, again.start_s) == (first.index, first.start_s)
        assert np.array_equal(again.frames, first.frames) and np.array_equal(again.frame_times, first.frame_times)
        assert np.corrcoef(again.audio, first.audio)[0, 1] > 0.99  # a decoder's first samples are its own
