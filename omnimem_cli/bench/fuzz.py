"""Damaged media through probe and decode, case after case, in one process or several.

Knows media; knows no model. Every input must end in segments or in one typed error, in bounded time and memory;
anything else is counted as a crash or a hang and its file is kept.
"""

import os
import resource
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.process import resident_bytes
from omnimem_cli.base.settings import Progress, Report
from omnimem_cli.bench.damage import make_seeds, mutated
from omnimem_cli.media.decode import Source
from omnimem_cli.media.ffmpeg import waited_s
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import Format

LAYOUT = Format(segment_s=2.0, fps=2, width=32, height=32, lookahead=200)
SEGMENTS = 30  # a damaged time stamp may promise hours: so many are watched, the rest is left
STALL_S = 20.0
HANG_S = 120.0
CRASH, HANG = "crash", "hang"


@dataclass(frozen=True)
class Case:
    """How one damaged file ended: "watched", "watched with warnings", the code of an error, CRASH or HANG.

    ``grown_mib``: resident memory of the process that read it, since it began; ``ffmpeg_mib``: that of the largest
    ffmpeg so far (at least this process's own, which every child inherits for a moment).
    """

    number: int
    end: str
    reason: str = ""
    grown_mib: float = 0.0
    ffmpeg_mib: float = 0.0


@dataclass
class Outcome:
    """What became of all cases; memory is that of the largest process."""

    cases: int = 0
    seconds: float = 0.0
    workers: int = 1
    peak_mib: float = 0.0
    ffmpeg_peak_mib: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)

    def add(self, case: Case) -> None:
        """Count one more."""
        self.cases += 1
        self.peak_mib = max(self.peak_mib, case.grown_mib)
        self.ffmpeg_peak_mib = max(self.ffmpeg_peak_mib, case.ffmpeg_mib)
        if case.end == CRASH:
            self.crashes.append(case.reason)
        elif case.end == HANG:
            self.hangs.append(case.reason)
        else:
            self.outcomes[case.end] += 1

    def as_dict(self) -> dict:
        """Plain values, outcomes by falling count."""
        return asdict(self) | {"outcomes": dict(self.outcomes.most_common())}


@dataclass(frozen=True)
class Slice:
    """The cases ``first``, ``first + step``, ... below ``cases``, until ``end_s`` on the monotonic clock.

    The damage of a case depends on ``seed`` and its number alone.
    """

    folder: Path
    originals: Mapping[str, bytes]
    seed: int
    first: int
    step: int
    cases: int | None
    end_s: float | None

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        late = self.end_s is not None and time.monotonic() >= self.end_s
        return late or (self.cases is not None and self.first >= self.cases)

    @property
    def path(self) -> Path:
        """Where the first case is written."""
        return self.folder / f"case-{self.first}{Path(self._name).suffix}"

    @property
    def _name(self) -> str:
        return sorted(self.originals)[self.first % len(self.originals)]

    def rest(self) -> "Slice":
        """All but the first case."""
        return replace(self, first=self.first + self.step)

    def run(self) -> Iterator[Case]:
        """Watch every case; the files of crashes and hangs stay."""
        left, resident = self, resident_mib()
        while not left.over:
            chance = np.random.default_rng([left.seed, left.first])
            left.path.write_bytes(mutated(left.originals[left._name], chance))
            end, reason = _end_of(left.path)
            if end not in (CRASH, HANG):
                left.path.unlink()
            yield Case(left.first, end, reason, resident_mib() - resident, _ffmpeg_mib())
            left = left.rest()


def fuzz(
    folder: Path,
    *,
    cases: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    workers: int = 1,
    report: Report = lambda progress: None,
) -> Outcome:
    """Run ``cases`` damaged files, or as many as fit in ``seconds``, in ``folder``; the same seed, the same files.

    ``workers``: processes that share the cases. Raises MissingError where ffmpeg cannot write the whole files.
    """
    outcome, begun = Outcome(workers=workers), time.monotonic()
    originals, end_s = make_seeds(folder), None if seconds is None else begun + seconds
    slices = [Slice(folder, originals, seed, first, workers, cases, end_s) for first in range(workers)]
    for case in slices[0].run() if workers == 1 else _by_workers(slices):
        outcome.add(case)
        outcome.seconds = time.monotonic() - begun
        report(_progress(outcome, cases, seconds))
    return outcome


def _progress(outcome: Outcome, cases: int | None, seconds: float | None) -> Progress:
    total_s = outcome.seconds * cases / outcome.cases if cases else seconds
    stage = f"{outcome.cases} files, {len(outcome.crashes)} crashes, {len(outcome.hangs)} hangs:"
    return Progress(stage, outcome.seconds, total_s)


def _by_workers(slices: Sequence[Slice]) -> Iterator[Case]:
    """One process per slice. One that dies has crashed on the case it held; another process takes the rest."""
    workers = dict(_start(part) for part in slices)
    try:
        while workers:
            for pipe in wait(list(workers)):
                process, part = workers[pipe]
                try:
                    yield pipe.recv()
                    workers[pipe] = process, part.rest()
                except EOFError:
                    del workers[pipe]
                    process.join()
                    if process.exitcode:
                        yield Case(part.first, CRASH, f"{part.path}: the process ended with {process.exitcode}")
                        workers |= [] if part.rest().over else [_start(part.rest())]
    finally:
        for process, _ in workers.values():
            process.terminate()
            process.join()


def _start(part: Slice) -> tuple[Connection, tuple[Any, Slice]]:
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, part), daemon=True)
    process.start()
    theirs.close()
    return ours, (process, part)


def _work(pipe: Connection, part: Slice) -> None:
    """The body of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends its workers
    with suppress(BrokenPipeError):
        for case in part.run():
            pipe.send(case)


def _end_of(path: Path) -> tuple[str, str]:
    """Watch one file in a thread of its own, so that a hang is noticed; how it ended, and what to tell of it."""
    result: list[str | Exception] = []
    others = set(_children())
    thread = threading.Thread(target=lambda: result.append(_watch(path)), daemon=True)
    thread.start()
    if not _ends(thread, HANG_S):
        for child in set(_children()) - others:
            os.kill(child, signal.SIGKILL)
        return HANG, str(path)
    return (CRASH, f"{path}: {result[0]!r}") if isinstance(result[0], Exception) else (result[0], "")


def _ends(thread: threading.Thread, limit_s: float) -> bool:
    """Whether the thread ends in time. What its ffmpegs wait for a busy processor does not count."""
    spent_s, waited = 0.0, 0.0
    while thread.is_alive() and spent_s < limit_s:
        begun = time.monotonic()
        thread.join(min(1.0, limit_s))
        before, waited = waited, max(map(waited_s, _children()), default=0.0)
        spent_s += max(0.0, time.monotonic() - begun - max(0.0, waited - before))
    return not thread.is_alive()


def _children() -> list[int]:
    """Process ids of this process's children; none where the system does not tell."""
    pids = []
    for task in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            pids += map(int, task.read_text().split())
    return pids


def _watch(path: Path) -> str | Exception:
    try:
        media = probe(str(path), timeout_s=STALL_S)
        with Source(media, LAYOUT, stall_s=STALL_S) as source:
            for _ in _first(source, SEGMENTS):
                pass
    except InputError as error:
        return error.code
    except Exception as error:  # the very thing looked for
        return error
    return "watched with warnings" if source.warnings else "watched"


def _first(source: Source, count: int) -> Iterator[None]:
    for index, segment in enumerate(source):
        assert len(segment.frames) == len(segment.frame_times) and np.isfinite(segment.audio).all()
        yield
        if index + 1 == count:
            return


def resident_mib() -> float:
    """Resident memory of this process; 0 where the system does not tell."""
    return resident_bytes() / 2**20


def _ffmpeg_mib() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


@contextmanager
def kept_folder(keep: str | None) -> Iterator[Path]:
    """The folder to work in: the user's, or one that vanishes."""
    if keep is not None:
        Path(keep).mkdir(parents=True, exist_ok=True)
        yield Path(keep)
        return
    with tempfile.TemporaryDirectory(prefix="omnimem-fuzz-") as folder:
        yield Path(folder)


def fuzz_table(result: dict) -> str:
    """Counts per outcome, and every crash and hang, as lines of text. result: `Outcome.as_dict`."""
    crashes, hangs = result["crashes"], result["hangs"]
    rows = [*result["outcomes"].items(), ("crashes", len(crashes)), ("hangs", len(hangs))]
    size = f"host RAM +{result['peak_mib']:.0f} MiB, largest ffmpeg {result['ffmpeg_peak_mib']:.0f} MiB"
    head = f"{result['cases']} damaged files in {result['seconds']:.0f} s, {size}"
    return "\n".join([head, *(f"{count:8d}  {name}" for name, count in rows), *crashes, *hangs])
