"""The timing benchmark: shares are shares, and what a policy spends deciding is seen."""

import json
import time

import pytest

from omnimem_cli.base.settings import Settings
from omnimem_cli.bench.speed import Speed, bench_speed
from omnimem_cli.bench.tables import speed_table
from omnimem_cli.memory.policies import OmniMem

SMALL = Settings(max_pixels=56 * 56, av_ratio=0.1)
SPEED = Speed(["omnimem", "full"], "1/4", events=2, repeats=1, seed=60_000)


def test_time_spent_deciding_is_scoring_and_part_of_the_watch(tiny_adapter, monkeypatch):
    calls, real = [], OmniMem.on_layer

    def slow(self, view):
        calls.append(view.layer)
        time.sleep(0.02)
        return real(self, view)

    monkeypatch.setattr(OmniMem, "on_layer", slow)
    result = bench_speed(tiny_adapter, SPEED, SMALL, lambda _: None)
    bounded, full = result["rows"]
    assert 0.02 * len(calls) <= bounded["scoring_s"] < bounded["prefill_s"] < bounded["watch_s"]
    assert bounded["scoring_of_watch"] < bounded["scoring_of_prefill"] < 1
    assert full["scoring_s"] < bounded["scoring_s"] and full["watch_to_full"] == 1.0
    assert bounded["watch_to_full"] == pytest.approx(bounded["watch_s"] / full["watch_s"], abs=0.05)
    assert result["entries"] == result["tokens"] // 4 and bounded["side_bytes"] < bounded["bytes"] < full["bytes"]
    assert json.loads(json.dumps(result)) == result and "omnimem" in speed_table(result)
