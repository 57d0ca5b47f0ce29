"""The work of a run: one task with its settings, to be done on every input. Knows no batch and no process."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from omnimem_cli import __version__
from omnimem_cli.base.choices import DECODE, KV_BITS, NOTES, STILLS
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs.inputs import Input
from omnimem_cli.jobs.records import digest_file
from omnimem_cli.jobs.targets import Target
from omnimem_cli.results.writers import offered
from omnimem_cli.tasks.task import Task

# What may differ between two runs without making their results differ.
_INDIFFERENT = ("formats", "output", "keep_memory", "force", "strict", "timeout_s", "offline", "device", "hwaccel")
_IN_THE_MODEL = ("model", "adapter")  # identified by content


@dataclass(frozen=True)
class Work:
    """What is done with every input. ``make(settings, **options)`` is the task; ``options`` tell work apart too."""

    name: str
    make: Callable[..., Any]
    options: dict[str, Any]
    settings: Settings
    preset: str | None = None

    @property
    def formats(self) -> tuple[str, ...]:
        """Of all files but the memory: those of the one result, or ``summary.md`` and so on of several."""
        named = self.settings.formats
        if self.name != "watch":
            return named
        return tuple(
            f"{key}.{f}"
            for key, part in self.options["parts"].items()
            for f in named
            if f in offered(part.task, part.options)
        )

    @property
    def table(self) -> Path | None:
        """The one file for the answers about all inputs, where one was named."""
        output = Path(self.settings.output or "")
        one = self.name == "ask" and self.formats == ("csv",) and output.suffix == ".csv" and not output.is_dir()
        return output if one else None

    def result_in(self, result: dict, format: str) -> tuple[dict, str]:
        """The one of several results that is written in ``format``, and that format without its word."""
        key, _, plain = format.rpartition(".")
        return (result["results"][key] if key else result), plain

    def make_task(self) -> Task:
        """A new task, for one input."""
        return self.make(self.settings, **self.options)

    def identity(self, model: dict[str, str]) -> dict:
        """Everything that the result depends on besides the input, as plain values. ``model``: of `LazyModel`."""
        settings = {k: v for k, v in asdict(self.settings).items() if k not in (*_INDIFFERENT, *_IN_THE_MODEL)}
        settings["glossary"] = list(self.settings.glossary)
        if not self.settings.temperature:
            del settings["seed"], settings["top_p"]  # nothing is drawn
        if self.settings.subtitles is None:
            del settings["subtitles"]  # as before there were any
        if self.settings.kv_bits == KV_BITS[0]:
            del settings["kv_bits"]  # as before keys and values were quantized
        if self.settings.stills == STILLS[0]:
            del settings["stills"]  # as before pictures were skipped
        if self.settings.decode == DECODE[0]:
            del settings["decode"]  # as before key frames could be decoded alone
        if self.settings.focus:
            settings["focus"] = list(self.settings.focus)
        else:
            del settings["focus"]  # as before a watch could be about something
        if self.settings.notes == NOTES[0]:
            del settings["notes"]  # as before there were any
        if not self.settings.look_again:
            del settings["look_again"], settings["look_span_s"]
        if self.settings.plan:
            settings["plan"] = digest_file(self.settings.plan)
        return {"task": self.name, "model": model, "settings": settings, "options": _plain(self.options)}

    @property
    def made_with(self) -> dict:
        """What a reader needs to make the same result again, the model and the input aside: for the result."""
        made = self.identity({})
        return {"omnimem": __version__, "settings": made["settings"], "options": made["options"]}


@dataclass(frozen=True)
class Job:
    """One input and its files. ``target`` is None where the result goes to stdout, ``memory`` where none is kept."""

    input: Input
    target: Target | None
    memory: Path | None = None


def label(job: Job, number: int, total: int) -> str:
    """What progress calls a job: ``[2/10] lecture.mp4``."""
    name = readable_path(job.input.relative.name)
    return f"[{number}/{total}] {name}" if total > 1 else name


def completed(result: dict, one: Input, made_with: dict) -> dict:
    """A result, and each that it holds, with the names of its input and with what made it."""
    whole = result | {"input": result["input"] | names_of(one), "made_with": made_with}
    inner = {key: completed(each, one, made_with) for key, each in result.get("results", {}).items()}
    return whole | {"results": inner} if inner else whole


def names_of(one: Input) -> dict:
    """What a result calls its input, whatever file was watched for it."""
    return {"path": readable_path(one.path), "title": one.page.title if one.page else None}


def _plain(value: Any) -> Any:
    """Options of a task as JSON keeps them."""
    if is_dataclass(value):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
