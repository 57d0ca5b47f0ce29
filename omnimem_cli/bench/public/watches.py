"""One watch per clip and policy, with all questions about it.

They are jobs of a batch, so that checkpoints, records, workers and clusters are those of every other run.

Knows clips, policies and jobs; scores nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from omnimem_cli.base.settings import Settings
from omnimem_cli.bench.public.choices import Choices
from omnimem_cli.bench.public.dataset import Clip, Dataset
from omnimem_cli.bench.variants import with_variant
from omnimem_cli.jobs.batch import Batch
from omnimem_cli.jobs.inputs import Input
from omnimem_cli.jobs.outcomes import Outcome
from omnimem_cli.jobs.targets import Target
from omnimem_cli.jobs.work import Job, Work
from omnimem_cli.tasks.presets.preset import Question

WATCHES = "watches"
"""The folder of the results of watches, one folder per policy."""


@dataclass(frozen=True)
class ClipJob(Job):
    """One clip under one policy; ``span``: the part that is watched, (start, end) in seconds."""

    policy: str = ""
    questions: tuple[Question, ...] = ()
    span: tuple[float | None, float | None] = (None, None)

    @property
    def key(self) -> str:
        """Names the job: several may have one input."""
        return f"{self.policy} {self.target.name}"

    def settings(self, shared: Settings) -> Settings:
        """Those of the run, with what is this job's own."""
        start_s, end_s = self.span
        return replace(with_variant(shared, self.policy), start_s=start_s, end_s=end_s)


class Watching(Batch):
    """A batch that watches whatever memories earlier runs kept: a benchmark's seconds are those of its own watches."""

    def _kept(self, *_: Any) -> None:
        return None


class ClipBatch(Batch):
    """A batch whose jobs have their own questions, range and policy. ``identity``: that of the model alone."""

    @property
    def identity(self) -> dict:
        """Name and revision of the model. Raises MissingError."""
        if self._identity is None:
            self._identity = self.model.identify()
        return self._identity

    def do_one(self, job: ClipJob, label: str) -> Outcome:
        """As a batch does that has this job's work alone."""
        work = replace(self.work, options={"questions": job.questions}, settings=job.settings(self.work.settings))
        one = Watching(work, self.progress, work.identity(self.identity))
        one.model, self.model.settings = self.model, work.settings
        return replace(one.do_one(job, label), key=job.key)

    def failure(self, job: ClipJob, error: BaseException) -> Outcome:
        """As a batch's, with the key of the job."""
        return replace(super().failure(job, error), key=job.key)


def batch_of(dataset: Dataset, settings: Settings) -> ClipBatch:
    """The batch of a benchmark; its answers have as many tokens as the dataset says, unless the settings do."""
    settings = replace(settings, formats=("json",), max_tokens=settings.max_tokens or dataset.max_tokens)
    return ClipBatch(Work("ask", Choices, {}, settings, preset=dataset.name))


def jobs_of(clips: Sequence[Clip], policies: Sequence[str], out: Path) -> list[ClipJob]:
    """Every clip under every policy; one clip's policies follow each other, so that a part of a run compares them."""
    return [_job(clip, policy, out) for clip in clips for policy in policies]


def _job(clip: Clip, policy: str, out: Path) -> ClipJob:
    folder = out / WATCHES / re.sub(r"[^\w.=-]", "-", policy)
    one = Input(str(clip.path), PurePath(f"{clip.name} [{policy}]"))
    questions = tuple(Question(item.id, item.prompt) for item in clip.items)
    target = Target(folder, clip.name, {"json": f"{clip.name}.json"})
    return ClipJob(one, target, None, policy, questions, (clip.start_s, clip.end_s))
