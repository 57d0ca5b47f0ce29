"""The long watch at small scale: its memory stands still, and the benchmark would see it if it did not."""

import json
from dataclasses import replace

import pytest

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.bench.memory import bench_memory, drift, resident_bytes
from omnimem_cli.bench.tables import memory_table

SMALL = Settings(max_pixels=56 * 56, seed=60_000)


def test_the_memory_stands_still_from_its_budget_on_and_full_grows(tiny_adapter):
    told = []
    result = bench_memory(tiny_adapter, ["omnimem", "full"], 0.1, replace(SMALL, budget=Budget(100)), told.append)
    bounded, full = result["policies"]
    assert [m["minute"] for m in bounded["minutes"]] == [1, 2, 3, 4, 5, 6] == [p.done_s // 60 for p in told[:6]]
    assert len({m["bytes"] for m in bounded["minutes"]}) == 1, "a full memory neither grows nor shrinks"
    assert full["minutes"][5]["bytes"] > 5 * full["minutes"][0]["bytes"]
    assert bounded["peak_bytes"] > bounded["bytes"] > bounded["side_bytes"] > 0
    assert bounded["tokens"] == full["tokens"]


def test_the_figures_are_json_and_the_table_shows_every_policy(tiny_adapter):
    result = bench_memory(tiny_adapter, ["omnimem"], 0.02, replace(SMALL, budget=Budget(64)), lambda _: None)
    assert json.loads(json.dumps(result)) == result
    assert "omnimem" in memory_table(result) and "drift" in memory_table(result)


def test_drift_is_the_largest_change_from_the_first_reading():
    assert drift([100, 101, 97, 100]) == pytest.approx(0.03)
    assert drift([]) == 0.0


@pytest.mark.slow
def test_half_an_hour_takes_no_more_host_memory_than_ten_minutes(tiny_adapter):
    (run,) = bench_memory(tiny_adapter, ["omnimem"], 0.5, replace(SMALL, budget=Budget(256)), lambda _: None)[
        "policies"
    ]
    assert run["bytes_drift"] == 0.0 and run["rss_drift"] <= 0.02
    assert resident_bytes() > 2**27
