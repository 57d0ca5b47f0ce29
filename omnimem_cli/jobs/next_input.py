"""The next input of a batch, read while the model works on the one before: its digest, its streams and its sound.

Knows inputs, what stands of them, media and a loaded model; watches nothing and writes nothing. What goes wrong here
is met again, and said, in the input's own turn.
"""

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from omnimem_cli.jobs import records
from omnimem_cli.jobs.files import checkpoint_of
from omnimem_cli.jobs.kept_memory import find_memory
from omnimem_cli.jobs.work import Job, Work

if TYPE_CHECKING:
    import torch

    from omnimem_cli.media.segment import Media
    from omnimem_cli.models.adapter import Adapter
    from omnimem_cli.session.sound_pass import SoundPass


def worth_reading(job: Job, work: Work) -> bool:
    """Whether a job's input may be read beside the watch of another: a file of which nothing stands yet."""
    one = job.input
    if one.file is None or one.pipe or one.live or one.is_memory or work.settings.subtitles is not None:
        return False
    target = job.target
    if target is None or work.settings.force:
        return True
    return not checkpoint_of(target.folder, target.name).exists() and records.recorded_owner(target) is None


def idle_cores(device: "torch.device") -> int:
    """Cores of this process that a model on ``device`` leaves to others: a GPU needs one to be told what to do."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, cores - (torch.get_num_threads() if device.type == "cpu" else 1))


class NextInput:
    """Reads in a thread of its own, from the beginning on; ``stop`` ends it. One program decodes for it, sound alone.

    ``task``: the job's, which hears the sound. ``media`` and ``heard`` are there after ``wait``: None where the job's
    own turn has to find them.
    """

    def __init__(self, job: Job, work: Work, adapter: "Adapter", model: dict):
        self.job, self.task = job, work.make_task()
        self.media: Media | None = None
        self.heard: SoundPass | None = None
        self._work, self._adapter, self._model = work, adapter, model
        self._content: records.Content | None = None
        self._digested, self._stopped = threading.Event(), False
        self._pass: SoundPass | None = None
        self._thread = threading.Thread(target=self._run, name="next input", daemon=True)
        self._thread.start()

    def content(self) -> records.Content | None:
        """What is in the input; waits for it. None where it could not be read, or is another one by now."""
        self._digested.wait()
        same = self._content is not None and records.looks_same(self.job.input, self._content)
        return self._content if same else None

    @property
    def done(self) -> bool:
        """Whether ``wait`` would not."""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Until all is read that will be."""
        self._thread.join()

    def stop(self) -> None:
        """Read no more. A digest that has begun goes on; nobody waits for it."""
        self._stopped = True
        if self._pass is not None:
            self._pass.stop()
            self._thread.join()

    def _run(self) -> None:
        with suppress(Exception):
            try:
                self._content = records.read_input(self.job.input)
            finally:
                self._digested.set()
            if not self._remembered():
                self._listen()

    def _remembered(self) -> bool:
        """Whether a memory will answer, so that nothing is watched."""
        settings, digest = self._work.settings, self._content.digest
        return self._work.name == "ask" and find_memory(self.job, digest, self._model, settings) is not None

    def _listen(self) -> None:
        from omnimem_cli.session.preflight import probed
        from omnimem_cli.session.sound_pass import sound_pass

        settings, listen = self._work.settings, self.task.scan_audio if self.task.needs_audio_scan else None
        media = probed(self.job.input.file, settings)
        heard = self._pass = sound_pass(settings, media, self._adapter, listen)
        if self._stopped:
            return
        if heard is not None:
            with heard:
                pass
        if not self._stopped:
            self.media, self.heard = media, heard
