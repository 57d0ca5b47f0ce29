"""How fast answers are written: both ways write as many tokens over as many entries, and what fails costs one line."""

import json
import time

import pytest
import torch
from salmonn_tiny import FAMILIES, tiny_salmonn
from tiny_qwen3 import tiny_qwen3_omni
from typer.testing import CliRunner

from omnimem_cli.app import app
from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.bench import answer_rate
from omnimem_cli.bench.answer_rate import AS_WRITTEN, GRAPH, LIBRARY, Answers, bench_answers
from omnimem_cli.bench.device_idle import covered, idle_share
from omnimem_cli.bench.tables import answers_table
from omnimem_cli.memory.attention import NAME
from omnimem_cli.models.dummy import random_adapter
from omnimem_cli.session.answer_step import AnswerStep

SMALL = Settings(max_pixels=56 * 56, budget=Budget(40), chunk=200)
ANSWERS = Answers([1, 3], tokens=4, minutes=0.2)


@pytest.fixture(autouse=True)
def one_repeat(monkeypatch):
    monkeypatch.setattr(answer_rate, "REPEATS", 1)


def bench(adapter, answers: Answers = ANSWERS) -> dict:
    return bench_answers(adapter, answers, SMALL, lambda _: None)


def test_every_way_answers_every_number_of_questions(tiny_adapter):
    result = bench(tiny_adapter)
    assert [(r["way"], r["questions"]) for r in result["rows"]] == [
        (w, n) for w in (AS_WRITTEN, LIBRARY) for n in (1, 3)
    ]
    assert all(r["first_token_s"] > 0 for r in result["rows"])  # taken in a run of its own, so nothing to compare with
    for row in result["rows"]:
        assert row["tokens_per_second"] == pytest.approx(4 * row["questions"] / row["answer_s"], rel=0.01)
    assert result["entries"] >= 40 and result["graph_captured"] is None
    assert json.loads(json.dumps(result)) == result and "transformers" in answers_table(result)
    assert tiny_adapter.decoder.config._attn_implementation == NAME


def test_the_library_decodes_over_as_many_entries_as_the_memory_holds(tiny_adapter):
    seen = []

    def note(module, arguments, keywords):
        cache = keywords.get("past_key_values")
        if cache is not None:
            seen.append((keywords["inputs_embeds"].shape[:2], cache.get_seq_length()))

    tiny_adapter.decoder.register_forward_pre_hook(note, with_kwargs=True)
    result = bench(tiny_adapter, Answers([3], tokens=4, minutes=0.2))
    held = result["entries"]
    assert seen[:4] == [(torch.Size([3, 1]), held + step) for step in range(4)]


def test_time_in_a_step_is_in_the_engines_answers_alone(tiny_adapter, monkeypatch):
    real = AnswerStep.__call__
    monkeypatch.setattr(AnswerStep, "__call__", lambda self: (time.sleep(0.05), real(self))[1])
    ours, theirs = bench(tiny_adapter, Answers([1], tokens=4, minutes=0.2))["rows"]
    assert ours["step_s"] > 0.05 and (theirs["step_s"] or 0) < 0.05
    assert ours["answer_s"] > 3 * 0.05 and ours["first_token_s"] < 0.05


def test_what_fails_on_the_device_costs_no_other_way_its_figures(tiny_adapter, monkeypatch):
    def full(*arguments, **keywords):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB.\nmore")

    monkeypatch.setattr(tiny_adapter.model, "generate", full)
    result = bench(tiny_adapter)
    assert [r.get("why") for r in result["rows"]] == [None] * 2 + ["CUDA out of memory. Tried to allocate 80 GiB."] * 2
    assert "transformers, 3: CUDA out of memory" in answers_table(result)
    assert tiny_adapter.decoder.config._attn_implementation == NAME


@pytest.mark.parametrize("family", [*FAMILIES, "qwen3-omni"])
def test_every_family_is_timed(family, tmp_path):
    folder = tiny_salmonn(tmp_path, family) if family in FAMILIES else tiny_qwen3_omni(tmp_path)
    settings = Settings(max_pixels=56 * 56, budget=Budget(80), chunk=200)
    adapter = random_adapter(str(folder), device="cpu")
    rows = bench_answers(adapter, Answers([2], tokens=2, minutes=0.5), settings, lambda _: None)["rows"]
    assert [r["way"] for r in rows] == [AS_WRITTEN, LIBRARY] and not any("why" in r for r in rows)


def test_the_command_prints_the_figures_and_refuses_what_cannot_be_timed(tiny_folder):
    runner, small = CliRunner(), ["--budget", "40", "--max-pixels", "3136", "--chunk", "200", "--minutes", "0.1"]
    command = ["bench", "answers", "-m", str(tiny_folder), "--device", "cpu", "-q", "-f", "json"]
    told = runner.invoke(app, [*command, *small, "--questions", "2", "--tokens", "2", "--random-weights"])
    assert told.exit_code == 0, told.output
    assert {r["questions"] for r in json.loads(told.stdout)["rows"]} == {2}
    for wrong in (["--questions", "one"], ["--questions", "0"], ["--tokens", "1"], ["--minutes", "0"]):
        assert isinstance(runner.invoke(app, [*command, *wrong]).exception, UsageError)


def test_what_overlaps_is_covered_once():
    assert covered([]) == 0 and covered([(0, 2), (1, 3), (1, 2), (5, 6)]) == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_the_device_the_step_is_captured_and_a_sleep_is_idle():
    result = bench(random_adapter("nano", device="cuda"), Answers([1, 32], tokens=16, minutes=0.5))
    assert result["graph_captured"] and {r["way"] for r in result["rows"]} == {AS_WRITTEN, LIBRARY, GRAPH}
    a = torch.randn(4096, 4096, device="cuda")
    assert (
        idle_share(a.device, lambda: [a @ a for _ in range(50)]) < 0.5 < idle_share(a.device, lambda: time.sleep(0.2))
    )
