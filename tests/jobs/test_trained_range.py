"""Past the model's trained positions: said when positions are kept, avoided when time is rescaled."""

from dataclasses import replace

import footage
import jsonschema
import pytest
from watching import watch

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.models.catalogue import ROWS, row
from omnimem_cli.results import result as results
from omnimem_cli.tasks.summarize import Summarize


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return footage.av(tmp_path_factory.mktemp("clip"), video_s=8, audio_s=8)


@pytest.mark.parametrize(
    ("positions", "trained", "told"),
    [("keep", 100, True), ("keep", 10_000, False), ("keep", None, False), ("retime", 100, False)],
)
def test_kept_positions_beyond_the_trained_range_are_a_warning(clip, tiny_adapter, positions, trained, told):
    tiny_adapter.row = replace(tiny_adapter.row, trained_positions=trained)
    settings = Settings(budget=Budget(60), max_tokens=4, fps=1, max_pixels=56 * 56, positions=positions, chunk=60)
    result = watch(clip, settings, Summarize(settings), tiny_adapter)
    jsonschema.validate(result, results.schema())
    assert ("positions_beyond" in {w["code"] for w in result["warnings"]}) == told


def test_the_omni_rows_know_what_they_were_trained_on():
    assert row("qwen2.5-omni-7b").trained_positions == row("qwen2.5-omni-3b").trained_positions == 32_768
    assert all(r.trained_positions for r in ROWS if r.family == "qwen3-omni")
