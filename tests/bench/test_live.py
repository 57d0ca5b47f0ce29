"""The live benchmark at small scale: its figures are there, and it would see a torn event or an invented alert."""

import json

import pytest

from omnimem_cli.base.settings import Settings
from omnimem_cli.bench.live import Reading, Told, _alerts, _read, bench_live
from omnimem_cli.bench.tables import live_table


def alert(id: str, start_s: float, end_s: float, state: str) -> dict:
    return {"type": "alert", "id": id, "start_s": start_s, "end_s": end_s, "state": state, "tag": "square"}


def test_alerts_are_set_against_the_scenes():
    events = [alert("a", 90, 120, "open"), alert("a", 90, 120, "closed"), alert("b", 200, 230, "open")]
    found = _alerts(Told(events, 0, [Reading(1, 0.0, 1, 1, 1)], {}, 1.0), [(100.0, 110.0), (400.0, 410.0)])
    assert (found["found"], found["once"], found["closed"], found["invented"]) == (1, 1, 1, 1)
    assert found["latest_s"] == 20.0


def test_a_torn_event_is_counted(tmp_path):
    (tmp_path / "events").write_bytes(b'{"schema": "omni')
    assert _read(tmp_path / "events") == ([], 1)


@pytest.mark.slow
def test_six_minutes_of_stream_lose_nothing_and_find_the_square():
    result = bench_live(Settings(model="nano", device="cpu", seed=60_000), 0.1, lambda progress: None)
    assert json.loads(json.dumps(result)) == result
    assert result["scenes"]["found"] == result["scenes"]["once"] == result["scenes"]["closed"] == 1
    assert result["scenes"]["torn"] == result["scenes"]["invented"] == result["quiet"]["invented"] == 0
    assert result["scenes"]["coverage"]["ratio"] > 0.98 > result["fast"]["coverage"]["ratio"]
    assert "red squares" in live_table(result)
