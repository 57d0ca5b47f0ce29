"""The answers that a result file holds from earlier runs: which of them stay, and what is left to ask.

Knows records and questions; watches nothing and writes nothing. Answers of a preset do not stay: its file holds what
was asked last. Plain questions of a watch are those of an ask: both write the same files.
"""

from collections.abc import Mapping
from dataclasses import fields, replace

from omnimem_cli.base.flags import flag_of
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs.records import Content, Record, read_record, writer_of
from omnimem_cli.jobs.targets import Target
from omnimem_cli.jobs.work import Work
from omnimem_cli.results.codes import OF_ANSWERS
from omnimem_cli.results.writers import FORMATS
from omnimem_cli.tasks.presets.library import as_questions
from omnimem_cli.tasks.presets.preset import Question


def of_ask(work: Mapping) -> dict | None:
    """The identity of an ask, or of the plain questions of a watch as if an ask had put them; None without any."""
    if work.get("task") != "watch":
        return {**work} if work.get("task") == "ask" else None
    part = work["options"]["parts"].get("answers")
    return part and {**work, "task": "ask", "options": part["options"]}


def recorded(target: Target) -> Record | None:
    """The record of the answers in a target's files: its own, or that of the other command that wrote them."""
    files = [target.path(format) for format in target.formats if "." not in format or format.startswith("answers.")]
    found = [read_record(target), *map(writer_of, files)]
    records = [record for record in found if record is not None and of_ask(record.work) is not None]
    return next(map(_record_of_ask, records), None)


def covers(record: Record, identity: Mapping, preset: str | None) -> bool:
    """Whether the recorded work is the work of this identity; without a preset, it may have answered more."""
    if preset is not None or not _without_preset(record):
        return record.work == identity
    return _all_but_questions(record.work) == _all_but_questions(identity) and not _unasked(identity, record.work)


def stay(record: Record, content: Content, identity: Mapping, preset: str | None) -> bool:
    """Whether the recorded answers stay when more is asked."""
    return preset is None and _without_preset(record) and not _difference(record, content, identity)


def still_to_ask(work: Work, record: Record) -> Work:
    """The questions that the record has no answer to, with ids that it does not use; all, where it answers all."""
    ids = {answer["question"]: answer["id"] for answer in record.result["answers"]}
    texts = [question.text for question in work.options["questions"]]
    new = as_questions([text for text in texts if text not in ids], ids.values())
    return replace(work, options={"questions": new or tuple(Question(ids[text], text) for text in texts)})


def joined(earlier: dict, new: dict) -> dict:
    """A result with earlier answers and the warnings about them; all else is that of the ``new`` one."""
    by_id = {answer["id"]: answer for result in (earlier, new) for answer in result["answers"]}
    kept = [note for note in earlier["warnings"] if note["code"] in OF_ANSWERS and note not in new["warnings"]]
    return new | {"answers": list(by_id.values()), "warnings": [*new["warnings"], *kept]}


def joined_identity(identity: Mapping, result: dict) -> dict:
    """The identity of work that asked all questions of a result, which has no preset."""
    asked = [{"id": a["id"], "text": a["question"], "schema": None} for a in result["answers"]]
    return {**identity, "options": {"questions": asked}}


def with_files_of(target: Target, record: Record) -> Target:
    """The target with the files of other formats that show the recorded answers: all are to show the same."""
    names = {format: f"{target.name}.{format}" for format in FORMATS["ask"]}
    shown = {format: name for format, name in names.items() if record.standing(target.folder / name) is not None}
    return replace(target, files=target.files | shown)


def replaced(record: Record, content: Content, identity: Mapping) -> str:
    """What to say of recorded answers that the new ones replace; empty where there are none."""
    why = _difference(record, content, identity)
    count = len(record.result["answers"] if why else _unasked(record.work, identity))
    if not count:
        return ""
    answers = "1 earlier answer was" if count == 1 else f"{count} earlier answers were"
    return f"{answers} {why or 'to other questions'} and will be replaced; use -o to keep both."


def _record_of_ask(record: Record) -> Record:
    result = record.result["results"]["answers"] if record.work["task"] == "watch" else record.result
    return replace(record, work=of_ask(record.work), result=result)


def _without_preset(record: Record) -> bool:
    return record.work.get("task") == "ask" and record.result["preset"] is None


def _all_but_questions(work: Mapping) -> dict:
    return {key: value for key, value in work.items() if key != "options"}


def _unasked(work: Mapping, other: Mapping) -> list[dict]:
    """The questions of one identity that another one does not ask; the ids are no part of a question."""
    first, second = (
        [{"text": q["text"], "schema": q["schema"]} for q in each["options"]["questions"]] for each in (work, other)
    )
    return [question for question in first if question not in second]


def _difference(record: Record, content: Content, identity: Mapping) -> str:
    """What recorded answers rest on that the new ones will not; empty where that is all the same."""
    if content.digest is None or content.digest != record.content.digest:
        return "about other content"
    if record.work["model"] != identity["model"]:
        return "by another model"
    before, now = record.work["settings"], identity["settings"]
    flags = {one.name: flag_of(one).flags[-1] for one in fields(Settings) if flag_of(one)}
    other = [flags.get(name, name) for name in {**before, **now} if before.get(name) != now.get(name)]
    other += [] if record.work.get("subtitles") == identity.get("subtitles") else ["--subtitles"]
    return f"made with other settings ({', '.join(dict.fromkeys(other))})" if other else ""
