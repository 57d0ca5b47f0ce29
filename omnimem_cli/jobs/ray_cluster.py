"""The same list of jobs on a Ray cluster: one actor per GPU, or per machine where there is none.

Knows jobs, outcomes and Ray; scheduling, retries of machines and transport are Ray's. Every machine must have omnimem
installed and see inputs and output folder under the same absolute paths.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import MissingError, UsageError, UserError
from omnimem_cli.base.process import Interrupted
from omnimem_cli.jobs.batch import Batch
from omnimem_cli.jobs.outcomes import Outcome
from omnimem_cli.jobs.work import Job, Work


class Remote:
    """What runs in an actor: a batch of its own, whose model stays loaded from job to job."""

    def __init__(self, kind: type[Batch], work: Work, identity: dict):
        self.batch = kind(work, identity=identity)
        console.configure(quiet=True)

    def run(self, job: Job) -> Outcome:
        """One job, with an error that any process can read."""
        try:
            (outcome,) = self.batch.outcomes([job])
        except (MissingError, UsageError) as error:
            outcome = self.batch.failure(job, error)
        return outcome.picklable()


def by_ray(batch: Batch, jobs: Sequence[Job], address: str) -> Iterator[Outcome]:
    """Outcomes as they come, in whatever order. Raises MissingError (no Ray, no cluster) and what a worker met."""
    ray = _connect(address)
    waiting, running = list(jobs)[::-1], {}
    try:
        idle = [_actor(ray, batch) for _ in range(min(_places(ray, batch), len(jobs)))]
        while waiting or running:
            while idle and waiting:
                actor, job = idle.pop(), waiting.pop()
                running[actor.run.remote(_absolute(job))] = actor, job
            done, _ = ray.wait(list(running), timeout=1.0)
            for reference in done:
                actor, job = running.pop(reference)
                outcome = _outcome(ray, reference, batch, job)
                idle.append(actor if outcome.error is None or outcome.result is not None else _actor(ray, batch))
                yield outcome
                if isinstance(outcome.error, MissingError | UsageError):
                    raise outcome.error
    except Interrupted as stopped:
        yield from [batch.failure(job, stopped) for _, job in running.values()]
        raise
    finally:
        ray.shutdown()


def _connect(address: str) -> Any:
    """Ray, on the cluster at ``address``; ``auto``: the one that is running here, else a new one on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingError("--ray needs Ray, which is not installed.", "pip install 'omnimem-cli[ray]'") from error
    try:
        ray.init(None if address == "auto" else address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError) as error:
        raise MissingError(f"There is no Ray cluster at {address}.", "Start one: ray start --head") from error
    return ray


def _places(ray: Any, batch: Batch) -> int:
    gpus = int(ray.cluster_resources().get("GPU", 0))
    return gpus if gpus and batch.work.settings.device != "cpu" else len(ray.nodes())


def _actor(ray: Any, batch: Batch) -> Any:
    on_gpu = batch.work.settings.device != "cpu" and ray.cluster_resources().get("GPU", 0)
    resources = {"num_gpus": 1} if on_gpu else {"num_cpus": 1}
    return ray.remote(**resources)(Remote).remote(type(batch), batch.work, batch.identity)


def _absolute(job: Job) -> Job:
    """The job as another machine finds it."""
    one = job.input if job.input.stream else replace(job.input, path=str(Path(job.input.path).absolute()))
    target = job.target and replace(job.target, folder=job.target.folder.absolute())
    return replace(job, input=one, target=target, memory=job.memory and job.memory.absolute())


def _outcome(ray: Any, reference: Any, batch: Batch, job: Job) -> Outcome:
    """What came back; an actor that died is a failure of the job it held."""
    try:
        return replace(ray.get(reference), path=job.input.path)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        lost = UserError(f"The Ray worker was lost: {reason}", "Look into the cluster's log; run again to go on.")
        return replace(batch.failure(job, lost), result=None)
