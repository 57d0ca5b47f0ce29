"""One process per device over the same list of jobs.

Knows jobs, outcomes and processes; what a job is, is the batch's affair. The parent hands a job to whichever worker
is idle and hears of progress and outcomes over one pipe per worker, so a worker that dies costs the job it held and
no other: another takes its place.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import MissingError, UsageError, UserError
from omnimem_cli.base.process import DEFERRED_S, Interrupted, stop_signals
from omnimem_cli.base.progress import Row
from omnimem_cli.base.settings import Progress
from omnimem_cli.jobs.batch import Batch
from omnimem_cli.jobs.outcomes import Outcome
from omnimem_cli.jobs.work import Job, Work, label

LAST_WORDS_S = DEFERRED_S + 10.0  # what a worker gets to save its watch and to record that it was interrupted


@dataclass
class Worker:
    """A process, the pipe to it and the job it holds."""

    device: str
    process: Any
    pipe: Connection
    job: Job | None = None
    progress: Row | None = None


def by_workers(batch: Batch, jobs: Sequence[Job], devices: Sequence[str]) -> Iterator[Outcome]:
    """Outcomes as they come, in whatever order. Raises MissingError or UsageError of a worker, and Interrupted."""
    waiting = list(enumerate(jobs, 1))[::-1]
    workers = [_start(batch, device, len(devices)) for device in devices[: len(jobs)]]
    try:
        while waiting or any(worker.job for worker in workers):
            for worker in workers:
                if worker.job is None and waiting:
                    _give(worker, *waiting.pop(), len(jobs))
            for place, worker in enumerate(workers):
                yield from _listen(worker, batch)
                if worker.process.exitcode is not None:
                    workers[place] = _start(batch, worker.device, len(devices))
            wait([worker.pipe for worker in workers], timeout=0.5)
    except Interrupted:
        yield from _stop(workers, batch)
        raise
    finally:
        for worker in workers:
            worker.pipe.close()
            worker.process.terminate()
            worker.process.join(LAST_WORDS_S)
            worker.process.kill()


def _start(batch: Batch, device: str, workers: int) -> Worker:
    """A new process; it loads the model when its first job comes."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    threads = max(1, (os.cpu_count() or 1) // workers)
    work = replace(batch.work, settings=replace(batch.work.settings, device=device))
    arguments = (theirs, type(batch), work, batch.identity)
    process = context.Process(
        target=_work, args=(*arguments, os.getpid(), threads, console.quiet, console.debug), daemon=True
    )
    process.start()
    theirs.close()
    return Worker(device, process, ours)


def _give(worker: Worker, number: int, job: Job, total: int) -> None:
    worker.job = job
    worker.progress = console.row(label(job, number, total))
    with suppress(BrokenPipeError):  # it has died; _listen finds out
        worker.pipe.send(job)


def _listen(worker: Worker, batch: Batch) -> Iterator[Outcome]:
    """Everything the worker has said. A dead worker's job is a failed one."""
    try:
        while worker.pipe.poll():
            said = worker.pipe.recv()
            if isinstance(said, Progress):
                worker.progress(said)
                continue
            worker.job = None
            worker.progress.close()
            yield said
            if isinstance(said.error, MissingError | UsageError):
                raise said.error
    except (EOFError, ConnectionResetError):
        worker.process.join()
    if worker.process.exitcode is not None and worker.job is not None:
        job, worker.job = worker.job, None
        worker.progress.close()
        yield batch.failure(job, _death(worker))


def _death(worker: Worker) -> UserError:
    code = worker.process.exitcode
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    return UserError(f"The worker on {worker.device} ended {how}.", "It may have run out of memory: use fewer workers.")


def _stop(workers: Sequence[Worker], batch: Batch) -> Iterator[Outcome]:
    """Interrupt every worker at work and hear its last words; what live input gave until now is answered first."""
    for worker in workers:
        worker.process.terminate()
    until = time.monotonic() + LAST_WORDS_S
    for worker in workers:
        while worker.job is not None and (worker.job.input.stream or time.monotonic() < until):
            wait([worker.pipe, worker.process.sentinel], timeout=0.5)
            yield from _listen(worker, batch)


def _work(
    pipe: Connection,
    kind: type[Batch],
    work: Work,
    identity: dict,
    parent: int,
    threads: int,
    quiet: bool,
    debug: bool,
) -> None:
    """The body of a worker process: jobs in, progress and outcomes out, until the pipe closes. ``kind``: of batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which says what to do
    if work.settings.device == "cpu":
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    console.configure(quiet=quiet, debug=debug)
    batch = kind(work, _progress_to(pipe, parent), identity)
    heard = (MissingError, UsageError)  # the parent has them as the error of an outcome, and ends the run
    with suppress(EOFError, BrokenPipeError, Interrupted, *heard), stop_signals(signal.SIGTERM):
        while True:
            job = pipe.recv()
            for outcome in batch.outcomes([job]):
                pipe.send(outcome.picklable())


def _progress_to(pipe: Connection, parent: int) -> Callable:
    """Progress that goes to the parent, and ends the work when there is none any more."""

    def send(report: Progress) -> None:
        if os.getppid() != parent:
            raise Interrupted(signal.SIGTERM)
        pipe.send(report)

    @contextmanager
    def progress(label: str) -> Iterator[Callable[[Progress], None]]:
        yield send

    return progress
