"""The watches of a benchmark shared by processes, and on a cluster: a dead worker costs the watch that it held."""

import os
from pathlib import Path

import pytest
from fake_worker import TextTask

from omnimem_cli.base.settings import Settings
from omnimem_cli.bench.public.dataset import Clip, Item
from omnimem_cli.bench.public.watches import ClipBatch, jobs_of
from omnimem_cli.jobs.outcomes import Outcome
from omnimem_cli.jobs.ray_cluster import by_ray
from omnimem_cli.jobs.work import Work
from omnimem_cli.jobs.workers import by_workers

ROOT = Path(__file__).parents[2]


def clip(folder: Path, name: str, text: str, span: tuple[float | None, float | None] = (None, None)) -> Clip:
    path = folder / f"{text}.mp4"
    path.write_text(text)
    items = (Item(name, "?", (), "A", ("kind",), {}),)
    return Clip(name, name, path, items, start_s=span[0], end_s=span[1])


def batch() -> ClipBatch:
    settings = Settings(formats=("json",), device="cpu")
    return ClipBatch(Work("ask", TextTask(), {}, settings, preset="fake"), identity={"name": "none"})


def statuses(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.key: outcome.status for outcome in outcomes}


def jobs(folder: Path, policies: tuple[str, ...] = ("uniform", "full")) -> list:
    """Two parts of one video, and a video whose watch kills its worker."""
    clips = [clip(folder, "a", "same"), clip(folder, "b", "same", (1.0, 2.0)), clip(folder, "c", "die")]
    return jobs_of(clips, policies, folder / "out")


ENDED = {
    **{f"{policy} {name}": "done" for policy in ("uniform", "full") for name in "ab"},
    **{f"{policy} c": "failed" for policy in ("uniform", "full")},
}


def test_workers_share_the_watches_of_all_policies_and_parts(tmp_path):
    outcomes = list(by_workers(batch(), jobs(tmp_path), ["cpu", "cpu"]))
    assert statuses(outcomes) == ENDED
    again = list(batch().outcomes(jobs(tmp_path, ("uniform",))[:2]))
    assert statuses(again) == {"uniform a": "skipped", "uniform b": "skipped"}
    assert all(outcome.result["process"] != os.getpid() for outcome in again)


@pytest.mark.slow
def test_a_cluster_shares_them_too(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests' / 'support'}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert statuses(list(by_ray(batch(), jobs(tmp_path), "local"))) == ENDED
