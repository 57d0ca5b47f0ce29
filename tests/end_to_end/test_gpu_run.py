"""From file to result on a CUDA device: every family, every policy, and what a result says of the device's memory.

Run with ``pytest -m gpu``.
"""

import footage
import pytest
import torch
from salmonn_tiny import FAMILIES, tiny_salmonn
from tiny import tiny_omni
from tiny_qwen3 import tiny_qwen3_omni
from watching import watch

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.memory.policies import POLICIES
from omnimem_cli.models.loader import load
from omnimem_cli.tasks.summarize import Summarize

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

BUILD = {"qwen2.5-omni": tiny_omni, "qwen3-omni": tiny_qwen3_omni}
BUILD |= {family: lambda path, family=family: tiny_salmonn(path, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return {seconds: footage.av(folder, f"{seconds}.mp4", video_s=seconds, audio_s=seconds) for seconds in (8, 64)}


def memory_of(clip, adapter, **kw) -> dict:
    settings = Settings(**{"budget": Budget(120), "max_tokens": 4, "max_pixels": 128 * 96, "chunk": 300} | kw)
    result = watch(clip, settings, Summarize(settings), adapter)
    assert result["status"] == "done" and result["coverage"]["ratio"] > 0.97
    return result["memory"]


@pytest.mark.parametrize("family", BUILD)
def test_every_family_takes_in_on_the_device_what_it_takes_in_on_the_cpu(family, clips, tmp_path):
    folder = BUILD[family](tmp_path / family)
    there, here = (memory_of(clips[64], load(str(folder), device=device)) for device in ("cuda", "cpu"))
    assert there["seen"] == here["seen"] and there["split"] == here["split"]
    assert there["kept"]["visual"] + there["kept"]["audio"] == 120
    assert there["device_peak_bytes"] > there["peak_bytes"] and here["device_peak_bytes"] is None


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_runs_on_the_device_within_its_budget(policy, clips):
    memory = memory_of(clips[64], load("nano", device="cuda"), policy=policy)
    kept = memory["kept"]["visual"] + memory["kept"]["audio"]
    assert kept == (120 if memory["budget_entries"] else memory["seen"]["visual"] + memory["seen"]["audio"])


def test_a_result_tells_the_peak_of_its_own_input(clips):
    adapter = load("nano", device="cuda")
    long, short = (memory_of(clips[seconds], adapter, budget=Budget(4000), chunk=8000) for seconds in (64, 8))
    assert short["device_peak_bytes"] < long["device_peak_bytes"]


@pytest.mark.parametrize("positions", ["keep", "lazy", "eager", "retime"])
def test_every_rule_of_positions_runs_on_the_device(positions, clips):
    assert memory_of(clips[64], load("nano", device="cuda"), positions=positions)["positions"] == positions
