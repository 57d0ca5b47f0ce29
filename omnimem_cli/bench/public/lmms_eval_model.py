"""omnimem as a model of lmms-eval (0.7.3): one watch of a video, with its sound, for all questions about it.

Knows lmms-eval's requests, watches and answers; scores nothing. Only lmms-eval imports it, as an entry point of the
group ``lmms_eval.models``: lmms-eval is no dependency, and whoever runs another model of it loads no omnimem engine.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import MissingError, UsageError
from omnimem_cli.base.flags import Flag, flag_of, from_typed
from omnimem_cli.base.settings import ANSWER_TOKENS, SHAPING, Settings
from omnimem_cli.bench.public.videomme import SUBTITLES

if TYPE_CHECKING:
    from omnimem_cli.jobs.watched import Watched

MANIFEST = ModelManifest("omnimem", chat_class_path=f"{__name__}.OmniMem")
OF_THE_TASK = ("start_s", "end_s")
TAKEN = ("model", "adapter", "device", "dtype", "offline", *(name for name in SHAPING if name not in OF_THE_TASK))
"""Settings that ``--model_args`` may hold, under the names of their flags."""
FAILED = ("raise", "wrong")


class FailedError(Exception):
    """Some questions have no answer because their videos could not be watched."""


@dataclass(frozen=True)
class View:
    """What is watched: a file, or a part of it in seconds."""

    path: str
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Asked:
    """One request. ``prompt``: all its texts; ``stop``: texts that end an answer."""

    view: View
    prompt: str
    max_tokens: int
    stop: tuple[str, ...]


class OmniMem(lmms):
    """``failed``: "raise", when every video has been tried, or "wrong": their questions are answered with nothing.

    ``typed``: settings. Batches are omnimem's own affair. Raises UsageError and MissingError.
    """

    is_simple = False

    def __init__(self, batch_size: Any = None, max_batch_size: Any = None, failed: str = FAILED[0], **typed: Any):
        super().__init__()
        if failed not in FAILED:
            raise UsageError(f"failed={failed} is unknown.", f"Choose from {', '.join(FAILED)}.")
        from omnimem_cli.jobs.model import LazyModel

        self.settings, self.counts_failed = settings_of(typed), failed == "wrong"
        model = LazyModel(self.settings)
        model.check_name()
        self.adapter = model.load()

    def generate_until(self, requests: Sequence[Any]) -> Iterator[str]:
        """The answers, in order, each as soon as it is there, so that ``--use_cache`` keeps it.

        A request about a video that was watched for an earlier one is answered with that. Raises UsageError before
        the first watch for what omnimem does not do, and FailedError in place of the last answer.
        """
        asked = [self._read(*request.args) for request in requests]
        groups: dict[View, list[int]] = defaultdict(list)
        for number, one in enumerate(asked):
            groups[one.view].append(number)
        return self._answers(asked, groups)

    def _answers(self, asked: Sequence[Asked], groups: dict[View, list[int]]) -> Iterator[str]:
        answers: dict[int, str | None] = {}
        for number, one in enumerate(asked):
            if number not in answers:
                numbers = groups[one.view]
                answers |= dict(zip(numbers, self._answered([asked[i] for i in numbers]), strict=True))
            if number == len(asked) - 1:  # whoever takes so many answers asks for no more
                self._tell([asked[i].view.path for i, answer in sorted(answers.items()) if answer is None], len(asked))
            yield answers[number] or ""

    def _answered(self, asked: Sequence[Asked]) -> Sequence[str | None]:
        """The answers to all questions about one view; None where it could not be watched."""
        try:
            return self._watch_and_ask(asked)
        except MissingError:
            raise  # what the machine lacks, it lacks for every video
        except Exception as error:
            console.error(error, asked[0].view.path)
            return [None] * len(asked)

    def _watch_and_ask(self, asked: Sequence[Asked]) -> list[str]:
        from omnimem_cli.models.loading import memory_errors

        path = asked[0].view.path
        with memory_errors(path):
            session = self.watch(asked[0].view).session
            answers: dict[Asked, str] = {}
            for tokens, stop in dict.fromkeys((one.max_tokens, one.stop) for one in asked):
                alike = [one for one in dict.fromkeys(asked) if (one.max_tokens, one.stop) == (tokens, stop)]
                said = session.ask([one.prompt for one in alike], max_tokens=tokens, stop=stop)
                answers |= dict(zip(alike, (answer.text for answer in said), strict=True))
        return [answers[one] for one in asked]

    def watch(self, view: View) -> "Watched":
        """Watch a view to its end. Raises UserError."""
        from omnimem_cli.jobs.watch_one import watch_one
        from omnimem_cli.session.preflight import prepare
        from omnimem_cli.tasks.several import Several

        settings = replace(self.settings, start_s=view.start_s, end_s=view.end_s)
        with console.progress(view.path) as report:
            watched = watch_one(prepare(view.path, settings, self.adapter), Several(settings, {}), self.adapter, report)
        for note in watched.facts["warnings"]:
            console.warn(f"{view.path}: {note['message']}")
        return watched

    def _read(self, context: str, messages_of: Any, wishes: dict, number: Any, task: str, split: str) -> Asked:
        messages = messages_of(self.task_dict[task][split][number])
        content = [part for message in messages for part in message["content"]]
        media = [part for part in content if part["type"] != "text"]
        if len(media) != 1 or media[0]["type"] != "video" or not isinstance(media[0]["url"], str):
            raise UsageError(f"{task} does not ask about one video file.", "Choose tasks that do.")
        prompt = "\n".join(part["text"] for part in content if part["type"] == "text")
        if SUBTITLES in prompt:
            raise UsageError(f"{task} puts subtitles into its prompts.", "videomme does not.")
        if (wishes.get("temperature") or 0) > 0 or (wishes.get("num_beams") or 1) > 1:
            raise UsageError(f"{task} wants answers that are drawn or searched for.", "--gen_kwargs temperature=0")
        view = View(media[0]["url"], media[0].get("start_time"), media[0].get("end_time"))
        return Asked(view, prompt, wishes.get("max_new_tokens") or ANSWER_TOKENS, _texts(wishes.get("until")))

    def _tell(self, failed: Sequence[str], asked: int) -> None:
        """Say how many questions have no answer. Raises FailedError unless they count as wrong."""
        if not failed:
            return
        text = f"{len(failed)} of {asked} questions have no answer: {', '.join(dict.fromkeys(failed))}."
        if not self.counts_failed:
            raise FailedError(f"{text} See above; failed=wrong in --model_args counts them as wrong.")
        console.warn(f"{text} They count as wrong.")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not offered."""
        raise UsageError("omnimem answers no questions that depend on its answers.", "Choose other tasks.")

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Not offered."""
        raise UsageError("omnimem writes answers and rates none.", "Choose tasks of the type generate_until.")


def settings_of(typed: dict[str, Any]) -> Settings:
    """Settings from values of ``--model_args``, where whatever looks like a number is one. Raises UserError."""
    flags: dict[str, Flag] = {
        flag.name: flag for one in fields(Settings) if one.name in TAKEN and (flag := flag_of(one))
    }
    unknown = sorted(typed.keys() - flags.keys())
    if unknown:
        raise UsageError(f"{unknown[0]}= is no setting of a watch.", f"Choose from {', '.join(flags)}.")
    return from_typed(Settings, {name: str(value) if flags[name].text else value for name, value in typed.items()})


def _texts(until: str | Sequence[str] | None) -> tuple[str, ...]:
    return tuple(text for text in ([until] if isinstance(until, str) else until or ()) if text)
