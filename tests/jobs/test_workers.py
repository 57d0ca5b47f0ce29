"""One process per device: the work is shared, a worker that dies costs one input, a stop stops all."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_worker import text_batch

from omnimem_cli.base.errors import MissingError
from omnimem_cli.base.process import Interrupted, stop_signals
from omnimem_cli.jobs import workers
from omnimem_cli.jobs.inputs import find_inputs
from omnimem_cli.jobs.outcomes import Outcome, exit_code
from omnimem_cli.jobs.workers import by_workers


@pytest.fixture
def shared(tmp_path: Path) -> Callable[..., list[Outcome]]:
    """Runs inputs of these texts on two workers; fills and returns the list of outcomes."""

    def run(texts: list[str], outcomes: list[Outcome]) -> list[Outcome]:
        for number, text in enumerate(texts):
            (tmp_path / f"{number}.mp4").write_text(text)
        batch = text_batch()
        jobs = batch.assign_targets(find_inputs([str(tmp_path / f"{n}.mp4") for n in range(len(texts))]))
        for outcome in by_workers(batch, jobs, ["cpu", "cpu"]):
            outcomes.append(outcome)
        return outcomes

    return run


def by_name(outcomes: list[Outcome]) -> dict[str, Outcome]:
    return {Path(outcome.path).stem: outcome for outcome in outcomes}


def test_two_workers_share_the_work_and_a_failure_or_a_death_costs_one_input(shared, tmp_path):
    ended = by_name(shared(["a", "fail", "die", "b", "c", "d"], []))
    assert {name: o.status for name, o in ended.items()} == {
        "0": "done",
        "1": "failed",
        "2": "failed",
        "3": "done",
        "4": "done",
        "5": "done",
    }
    assert ended["1"].error.code == "not_media"
    assert "SIGKILL" in ended["2"].error.message
    processes = {o.result["process"] for o in ended.values() if o.status == "done"}
    assert len(processes) >= 2 and os.getpid() not in processes
    assert len(list(tmp_path.glob("*.summary.json"))) == 4
    assert list((tmp_path / ".omnimem").glob("*.lock")) in ([], [tmp_path / ".omnimem" / "2.summary.lock"])


def test_what_does_not_fit_before_a_worker_loads_its_model_costs_one_input(shared):
    ended = shared(["large", "a", "b", "large", "c"], [])
    assert {name: o.status for name, o in by_name(ended).items() if o.status != "done"} == {
        "0": "failed",
        "3": "failed",
    }
    assert exit_code(ended, strict=False) == 6


def test_what_a_worker_misses_on_the_machine_ends_the_run(shared):
    outcomes: list[Outcome] = []
    with pytest.raises(MissingError):
        shared(["gone", "a", "b", "c", "d", "e"], outcomes)
    assert [o.status for o in outcomes].count("failed") == 1 and len(outcomes) < 6


def test_a_worker_that_ends_the_run_says_so_once(tmp_path, capfd):
    (tmp_path / "a.mp4").write_text("gone")
    batch = text_batch()
    (job,) = batch.assign_targets(find_inputs([str(tmp_path / "a.mp4")]))
    worker = workers._start(batch, "cpu", 1)
    worker.pipe.send(job)
    while not isinstance(said := worker.pipe.recv(), Outcome):
        pass
    worker.process.join(60)
    assert isinstance(said.error, MissingError) and worker.process.exitcode == 0
    assert "Traceback" not in capfd.readouterr().err


def test_an_interrupt_stops_every_worker_and_records_what_it_held(shared, tmp_path):
    def interrupt_when_both_have_begun() -> None:
        while len(list(tmp_path.glob("*.begun"))) < 2:
            time.sleep(0.1)
        for worker in multiprocessing.active_children():  # a terminal interrupts all of them, the workers first or not
            os.kill(worker.pid, signal.SIGINT)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    outcomes: list[Outcome] = []
    threading.Thread(target=interrupt_when_both_have_begun, daemon=True).start()
    with pytest.raises(Interrupted), stop_signals(signal.SIGINT):
        shared(["wait", "wait", "a"], outcomes)
    assert [o.status for o in outcomes] == ["interrupted", "interrupted"]
