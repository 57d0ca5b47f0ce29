"""The work of a run: one task with its settings, to be done on every input. Knows no batch and no process."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from omnimem_cli.base.errors import DoesNotFitError
from omnimem_cli.base.settings import Progress, Settings
from omnimem_cli.jobs import records
from omnimem_cli.jobs.inputs import Input
from omnimem_cli.jobs.model import LazyModel
from omnimem_cli.jobs.targets import Target
from omnimem_cli.results.result import readable_path
from omnimem_cli.results.writers import get_writer

if TYPE_CHECKING:
    from omnimem_cli.models.adapter import Adapter


SMALLER = "Use a smaller --budget, --chunk or --max-pixels; `omnimem doctor INPUT` says what fits."


# What may differ between two runs without making their results differ.
_INDIFFERENT = ("formats", "output", "force", "strict", "timeout_s", "offline", "device", "model")


@dataclass(frozen=True)
class Work:
    """What is asked of every input. ``options`` makes the task together with ``settings``, and tells work apart."""

    name: str
    make: Callable[..., Any]
    options: dict[str, Any]
    settings: Settings
    preset: str | None = None

    def model(self) -> LazyModel:
        """The model, not loaded yet."""
        return LazyModel(self.settings)

    def watch(self, path: str, adapter: "Adapter", report: Callable[[Progress], None], **more: Any) -> dict:
        """The result of one input, by a new task; ``more`` is what `run.watch_one` takes.

        Raises DoesNotFitError where memory runs out all the same: a device is shared, and room is an estimate.
        """
        from omnimem_cli.jobs import watch_one as run
        from omnimem_cli.models.loading import out_of_memory_reason

        task = self.make(self.settings, **self.options)
        try:
            return run.watch_one(path, self.settings, task, adapter, report, preset=self.preset, **more)
        except Exception as error:
            said = out_of_memory_reason(error)
            if said is None:
                raise
        # Outside of the handler: the next input needs what the traceback's frames hold.
        raise DoesNotFitError(f"{readable_path(path)} took more memory than there is ({said}).", SMALLER)

    def identity(self, model: dict[str, str]) -> dict:
        """Everything that the result depends on beside the input, as plain values."""
        settings = {k: v for k, v in asdict(self.settings).items() if k not in _INDIFFERENT}
        settings["glossary"] = list(self.settings.glossary)
        if self.settings.plan:
            settings["plan"] = records.digest_file(self.settings.plan)
        return {"task": self.name, "model": model, "settings": settings, "options": repr(sorted(self.options.items()))}


@dataclass(frozen=True)
class Job:
    """One input on its way. ``target`` is None where the result goes to stdout."""

    input: Input
    target: Target | None


def label(job: Job, number: int, total: int) -> str:
    """What progress calls a job: ``[2/10] lecture.mp4``."""
    name = readable_path(job.input.relative.name)
    return f"[{number}/{total}] {name}" if total > 1 else name


def encode(result: dict, format: str) -> bytes:
    """A result as the bytes of a file."""
    return get_writer(format)(result).encode("utf-8", "backslashreplace")
