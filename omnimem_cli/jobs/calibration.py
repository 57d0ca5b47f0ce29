"""A calibration run: watch a few videos, note what each layer attends to, write the budgets that follow.

Knows files, sessions and the allocation; knows no command line. The plan holds everything that it came from.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.media.decode import Source
from omnimem_cli.memory.allocation import Allocation, Calibrating
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.audio_scan import open_scanned
from omnimem_cli.session.plan_file import PLAN_SCHEMA
from omnimem_cli.session.preflight import prepare
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import WatchConfig


def calibrate(
    paths: Sequence[str], settings: Settings, adapter: Adapter, allocation: Allocation, skip: int, report: Report
) -> dict:
    """The plan, ready to be written as JSON. Raises InputError for a file that cannot be watched or is too short."""
    policy = Calibrating(skip=skip)
    config = None
    for number, path in enumerate(paths):
        report(Progress(readable_path(path), number, len(paths)))
        config = _watch(path, settings, adapter, policy)
    signals = policy.signals()
    if not signals:
        raise InputError(
            f"No video is longer than {skip} chunks: there is nothing to calibrate from.",
            "Give longer videos, a smaller --budget or --chunk, or a smaller --skip.",
        )
    return {
        "schema": PLAN_SCHEMA,
        "model": {"name": adapter.name, "revision": adapter.revision, "layers": len(signals)},
        "budgets": [list(pair) for pair in allocation.budgets(signals, config.entries)],
        "settings": asdict(allocation)
        | {"entries": config.entries, "chunk": config.chunk_tokens, "skip": skip, "videos": len(paths)},
        "signals": [{kind: asdict(signal) for kind, signal in layer.items()} for layer in signals],
    }


def _watch(path: str, settings: Settings, adapter: Adapter, policy: Calibrating) -> WatchConfig:
    """One video through the model, as the tool watches it; returns the configuration of its memory."""
    policy.start()
    prepared = prepare(path, settings, adapter)
    media, plan, config = prepared.media, prepared.plan, replace(prepared.config, policy=policy)
    stream = open_scanned(adapter, media, plan)
    session = Session(stream, config.memory(stream), config.chunk_tokens)
    with Source(media, plan.format) as source:
        for _ in session.watch(source):
            pass
    return config
