"""A live watch is put together: source, session, summaries of periods, events; and goes on where a crash ended it.

Knows every part of the room and closes what it opens; watches nothing.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from omnimem_cli.base.console import console
from omnimem_cli.base.settings import Report
from omnimem_cli.jobs.watch_one import InputRun
from omnimem_cli.jobs.work import Job
from omnimem_cli.live.alert_events import AlertEvents
from omnimem_cli.live.alerts import OVERLAP_S, PERIOD_S, Alerts, check_context
from omnimem_cli.live.answers import LiveAnswers
from omnimem_cli.live.delivery import LOSSES, Delivery
from omnimem_cli.live.event_log import EventLog
from omnimem_cli.live.events import ATTENTION
from omnimem_cli.live.options import SUMMARY, LiveFlags
from omnimem_cli.live.periods import Periods
from omnimem_cli.live.prepare import LiveInput, prepare_live
from omnimem_cli.live.receivers import Command, Webhook
from omnimem_cli.live.socket import QuestionSocket
from omnimem_cli.live.teller import Teller
from omnimem_cli.live.watch import Listener, LiveWatch
from omnimem_cli.live.written_out import WrittenOut, WrittenSummary, WrittenTranscript
from omnimem_cli.media.live_clock import LiveClock
from omnimem_cli.media.live_source import LiveSource
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.tasks.notes import Note
from omnimem_cli.tasks.several import Several

if TYPE_CHECKING:
    from omnimem_cli.live.batch import LiveBatch

ALERTS_S = PERIOD_S + OVERLAP_S  # of the newest of the stream that alerts read whole


@contextmanager
def opened_watch(batch: "LiveBatch", job: Job, task: Several, adapter: Adapter, report: Report) -> Iterator[LiveWatch]:
    """The watch of one source, ready to begin or to go on. Raises UserError."""
    flags, settings, path = batch.flags, batch.work.settings, job.input.path
    with ExitStack() as stack:
        log, deliveries = EventLog(flags.events_file, flags.rotate), []
        stack.callback(_say_losses, log, deliveries)
        stack.callback(log.close)
        deliveries += [stack.enter_context(closing(each)) for each in _deliveries(flags)]
        log.subscribers += [delivery.put for delivery in deliveries]
        recent_s = max(task.recent_s, ALERTS_S if flags.rules else 0.0)
        live = prepare_live(path, settings, flags, adapter, recent_s)
        stack.callback(live.connection.close)
        run = InputRun(live.prepared, task, adapter, report)
        session = run.open_session()
        source = stack.enter_context(_source(live, path, batch))
        teller = Teller(log, source, session, path)
        written = written_out(batch, job, task)
        periods = task.tasks[SUMMARY] = Periods(settings, flags.every_s, written[SUMMARY], teller.summary)
        listeners: list[Listener] = [lambda _: _tell_losses(teller, deliveries)]
        if flags.ask_socket is not None:
            socket = stack.enter_context(closing(QuestionSocket(flags.ask_socket)))
            listeners.append(LiveAnswers(socket, settings, teller, periods.until_now))
        alerts = None
        if flags.rules:
            check_context(flags.context, session)
            alerts = Alerts(flags.rules, AlertEvents(teller), context=flags.context)
        checkpoint = batch.live_checkpoint(job, adapter)
        watch = LiveWatch(run, session, source, teller, periods, tuple(listeners), checkpoint, alerts)
        watch.begin(written.values())
        yield watch


def written_out(batch: "LiveBatch", job: Job, task: Several) -> dict[str, WrittenOut]:
    """The files of tasks that write on the way, by result; those in ``task`` write there from now on."""
    written = {}
    for key, part in task.parts.items():
        path, settings = batch.written_path(job, key), batch.work.settings
        if part.task == "transcribe":
            written[key] = WrittenOut(path)
            task.tasks[key] = WrittenTranscript(settings, written[key], **part.options)
        elif part.task == "summarize":
            written[key] = WrittenOut(path, Note)
            task.tasks[key] = WrittenSummary(settings, written[key], **part.options)
    return written


def _source(live: LiveInput, path: str, batch: "LiveBatch") -> LiveSource:
    form, options = live.prepared.plan.format, replace(live.options, waits=batch.waits)
    return LiveSource(path, form, live.connection, LiveClock(batch.now), options, **live.chosen)


def _deliveries(flags: LiveFlags) -> list[Delivery]:
    """Whoever gets each event."""
    receivers = [*map(Webhook, flags.webhook or ()), *map(Command, flags.command or ())]
    return [Delivery(receiver.name, receiver) for receiver in receivers]


def _tell_losses(teller: Teller, deliveries: list[Delivery]) -> None:
    for each in (teller.log, *deliveries):
        if news := each.news():
            teller.status(LOSSES, "Events were lost", news, level=ATTENTION)


def _say_losses(log: EventLog, deliveries: list[Delivery]) -> None:
    """What was lost at the end is told by no event any more."""
    for each in (log, *deliveries):
        if news := each.news():
            console.warn(news)
