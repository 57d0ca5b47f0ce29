"""Watches whose memories are kept, and what a loaded memory is compared by."""

from pathlib import Path

import torch

from omnimem_cli.base.packing import packed
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs.recall import recall
from omnimem_cli.jobs.records import digest_file
from omnimem_cli.jobs.watch_one import watch_one
from omnimem_cli.jobs.watched import Watched
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.preflight import prepare
from omnimem_cli.tasks.several import Part, Several

MODEL = {"name": "tiny", "revision": "1", "hub_id": None, "config": None}


def watched(
    path: Path,
    settings: Settings,
    adapter: Adapter,
    parts: dict[str, Part] | None = None,
    before: Watched | None = None,
) -> Watched:
    """An input, watched to its end, with these tasks on the way."""
    task = Several(settings, parts or {})
    prepared = prepare(str(path), settings, adapter, task.recent_s)
    return watch_one(prepared, task, adapter, lambda progress: None, digest=digest_file(str(path)), before=before)


def saved(one: Watched, path: Path) -> Path:
    """Its memory file."""
    one.save(path, MODEL)
    return path


def loaded(path: Path, adapter: Adapter, settings: Settings | None = None) -> Watched:
    """The memory of a file."""
    return recall(path, adapter, MODEL, settings or Settings(max_tokens=4))


@torch.no_grad()
def logits(one: Watched, text: str = "What is shown?") -> torch.Tensor:
    """Logits of every token of a question over the memory, fp32 [n, V]."""
    (question,) = one.session.stream.question([text])
    hidden = one.session.memory.fork().forward(question.embeds[None], question.positions[:, None])
    return one.session.adapter.head(hidden[0])


def same_state(one: Watched, other: Watched) -> bool:
    """Whether two sessions hold the same numbers, bit for bit."""
    ours: dict[str, torch.Tensor] = {}
    theirs: dict[str, torch.Tensor] = {}
    plain = packed(one.session.state(), ours) == packed(other.session.state(), theirs)
    return plain and ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
