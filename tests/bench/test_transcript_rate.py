"""How long a transcript takes: the seconds are those of the real task, and what a limit cut off is estimated."""

import json
import time

import pytest
from typer.testing import CliRunner

from omnimem_cli.app import app
from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.bench.tables import transcript_table
from omnimem_cli.bench.transcript_rate import bench_transcript
from omnimem_cli.session.session import Session

SMALL = Settings(max_pixels=56 * 56, budget=Budget(40), chunk=300, max_tokens=4)


def bench(adapter, minutes: float, limit_s: float | None = None) -> dict:
    return bench_transcript(adapter, minutes, limit_s, SMALL, lambda _: None)


@pytest.fixture
def slow_answers(monkeypatch):
    real = Session.ask
    monkeypatch.setattr(Session, "ask", lambda self, texts, **how: (time.sleep(0.2), real(self, texts, **how))[1])


def test_a_whole_transcript_is_measured_by_stage(tiny_adapter):
    result = bench(tiny_adapter, 1.0)
    assert not result["estimated"] and result["video_s"] == pytest.approx(60, abs=0.5)
    assert result["windows"] >= 2 and 0 < result["answer_tokens"] <= 4 * result["windows"]
    in_turn = sum(result[stage] for stage in ("scan_s", "prefill_s", "answer_s"))  # encoders may work beside them
    assert 0 < max(in_turn, result["encode_s"]) <= result["wall_s"] + 0.01 and result["whole_s"] == result["wall_s"]
    assert result["estimated_bytes"] > 0 and result["rss_peak_bytes"] > 0
    assert json.loads(json.dumps(result)) == result and "(measured)" in transcript_table(result)


def test_a_limit_ends_it_and_the_whole_is_estimated_from_what_was_done(tiny_adapter, slow_answers):
    result = bench(tiny_adapter, 2.0, limit_s=0.1)
    assert result["estimated"] and result["video_s"] < 100
    watching_s = result["wall_s"] - result["scan_s"]
    assert result["whole_s"] == pytest.approx(result["scan_s"] + watching_s * 120 / result["video_s"], rel=0.01)
    assert "(estimated)" in transcript_table(result)


def test_questions_asked_again_are_told_apart(tiny_adapter, slow_answers, monkeypatch):
    monkeypatch.setattr("omnimem_cli.tasks.retry.has_loop", lambda text: True)
    again = bench(tiny_adapter, 0.5)
    monkeypatch.setattr("omnimem_cli.tasks.retry.has_loop", lambda text: False)
    once = bench(tiny_adapter, 0.5)
    assert again["again_s"] > 0.2 and once["again_s"] == 0 and once["whole_without_again_s"] == once["whole_s"]
    assert again["whole_without_again_s"] == pytest.approx(again["whole_s"] - again["again_s"], abs=0.01)
    assert again["windows"] == once["windows"] and again["answer_tokens"] == once["answer_tokens"]


def test_the_command_prints_the_figures_and_refuses_a_video_without_length(tiny_folder):
    runner, command = (
        CliRunner(),
        ["bench", "transcript", "-m", str(tiny_folder), "--device", "cpu", "-q", "-f", "json"],
    )
    small = ["--budget", "40", "--max-pixels", "3136", "--max-tokens", "4", "--minutes", "0.2", "--random-weights"]
    told = runner.invoke(app, [*command, *small])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["minutes"] == 0.2
    assert isinstance(runner.invoke(app, [*command, "--minutes", "0"]).exception, UsageError)
