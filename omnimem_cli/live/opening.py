"""A live watch is put together: source, session, summaries of periods, events; and goes on where a crash ended it.

Knows every part of the room and closes what it opens; watches nothing.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from omnimem_cli.base.settings import Report
from omnimem_cli.jobs.watch_one import InputRun
from omnimem_cli.jobs.work import Job
from omnimem_cli.live.event_log import EventLog
from omnimem_cli.live.options import SUMMARY
from omnimem_cli.live.periods import Periods
from omnimem_cli.live.prepare import LiveInput, prepare_live
from omnimem_cli.live.teller import Teller
from omnimem_cli.live.watch import LiveWatch
from omnimem_cli.live.written_out import NotesFile
from omnimem_cli.media.live_clock import LiveClock
from omnimem_cli.media.live_source import LiveSource
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.tasks.several import Several

if TYPE_CHECKING:
    from omnimem_cli.live.batch import LiveBatch


@contextmanager
def opened_watch(batch: "LiveBatch", job: Job, task: Several, adapter: Adapter, report: Report) -> Iterator[LiveWatch]:
    """The watch of one source, ready to begin or to go on. Raises UserError."""
    flags, path = batch.flags, job.input.path
    with ExitStack() as stack:
        log = EventLog(flags.events_file)
        stack.callback(log.close)
        live = prepare_live(path, batch.work.settings, flags, adapter, task.recent_s)
        stack.callback(live.connection.close)
        run = InputRun(live.prepared, task, adapter, report)
        session = run.open_session()
        source = stack.enter_context(_source(live, path))
        teller = Teller(log, source, session, path)
        notes = NotesFile(batch.notes_path(job))
        periods = Periods(batch.work.settings, flags.every_s, notes, teller.summary)
        task.tasks[SUMMARY] = periods
        watch = LiveWatch(run, session, source, teller, periods, checkpoint=batch.live_checkpoint(job, adapter))
        watch.begin(notes)
        yield watch


def _source(live: LiveInput, path: str) -> LiveSource:
    form = live.prepared.plan.format
    return LiveSource(path, form, live.connection, LiveClock(), live.options, **live.chosen)
