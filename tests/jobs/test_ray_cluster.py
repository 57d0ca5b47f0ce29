"""The same work on a real Ray cluster of this machine."""

from pathlib import Path

import pytest
from fake_worker import text_batch

from omnimem_cli.base.errors import MissingError
from omnimem_cli.jobs.inputs import find_inputs
from omnimem_cli.jobs.ray_cluster import by_ray


@pytest.mark.slow
def test_ray_does_every_input_and_a_failure_or_a_death_costs_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))
    monkeypatch.chdir(tmp_path)
    for number, text in enumerate(["a", "fail", "die", "b"]):
        Path(f"{number}.mp4").write_text(text)
    batch = text_batch(device="cpu")
    jobs = batch.assign_targets(find_inputs([f"{n}.mp4" for n in range(4)]))
    ended = {outcome.path: outcome for outcome in by_ray(batch, jobs, "local")}
    assert {path: o.status for path, o in ended.items()} == {
        "0.mp4": "done",
        "1.mp4": "failed",
        "2.mp4": "failed",
        "3.mp4": "done",
    }
    assert ended["1.mp4"].error.code == "not_media"
    assert "Ray worker was lost" in ended["2.mp4"].error.message
    assert {p.name for p in Path().glob("*.json")} == {"0.summary.json", "3.summary.json"}


def test_without_ray_the_next_step_is_told(monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingError) as caught:
        list(by_ray(text_batch(), [], "auto"))
    assert "omnimem-cli[ray]" in caught.value.hint
