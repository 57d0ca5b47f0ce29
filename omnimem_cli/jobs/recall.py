"""From a memory file to a memory in hand: its facts are checked against the schema, its state against the model.

Knows memory files and how a session is opened; knows no batch. Nothing is decoded and no video is read.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnimem_cli.base.budget import parse_budget
from omnimem_cli.base.choices import DECODE, KV_BITS, STILLS
from omnimem_cli.base.errors import InputError, OutputError, UsageError, UserError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.settings import SHAPING, Settings
from omnimem_cli.jobs.inputs import Input
from omnimem_cli.jobs.model import LazyModel
from omnimem_cli.results.result import schema
from omnimem_cli.tasks.task import Task

if TYPE_CHECKING:  # a header is read long before the model brings torch
    from omnimem_cli.jobs.watched import Watched
    from omnimem_cli.models.adapter import Adapter


@cache
def _validator() -> Any:
    import jsonschema
    from referencing import Registry, Resource

    parts = Registry().with_resource("result-1.json", Resource.from_contents(schema()))
    return jsonschema.Draft202012Validator(schema("memory-1"), registry=parts)


def read_facts(path: str | Path) -> dict:
    """The header of a memory file, checked. Raises InputError."""
    from omnimem_cli.session.memory_file import read_header

    return _checked(path, read_header(path))


def is_memory_of(path: Path, digest: str | None, model: dict, settings: Settings) -> bool:
    """Whether ``path`` holds the memory of a watch of this content, by this model, with these settings."""
    try:
        facts = read_facts(path)
    except UserError:
        return False
    made_with = {name: facts["model"][name] for name in model}
    return (facts["facts"]["input"]["digest"], made_with, facts["settings"]) == (digest, model, settings.shaping)


def check_not_foreign_memory(path: Path, one: Input) -> None:
    """Raise OutputError where a file stands in the way of a memory that is not an earlier memory of the same input."""
    if not path.exists():
        return
    shown = readable_path(str(path))
    try:
        watched = read_facts(path)["facts"]["input"]["path"]
    except UserError as error:
        message = f"{shown} exists, and is no memory that this omnimem can read."
        raise OutputError(message, "Use --force to replace it, or -o.") from error
    if Path(watched).name != Path(readable_path(one.path)).name:
        raise OutputError(f"{shown} exists, and is the memory of {watched}.", "Use --force to replace it, or -o.")


def readable_facts(paths: Sequence[str]) -> dict[str, dict]:
    """The headers of memory files, by path. A file that cannot be read fails by itself when its turn comes."""
    found = {}
    for path in paths:
        with suppress(InputError):
            found[path] = read_facts(path)
    return found


def model_of(headers: dict[str, dict]) -> str:
    """The model that one or more memory files were made with. Raises UsageError where it is not one model."""
    named: dict[str, str] = {}
    for path, header in headers.items():
        named.setdefault(header["model"]["name"], path)
    if len(named) > 1:
        (one, first), (other, second), *_ = named.items()
        message = f"{readable_path(first)} was made with {one}, and {readable_path(second)} with {other}."
        raise UsageError(message, f"Ask them apart: the first ones with -m {one}.")
    return next(iter(named))


def recall(
    path: str | Path, adapter: "Adapter", model: dict, settings: Settings, task: Task | None = None
) -> "Watched":
    """The memory of a file, with the model that made it. ``model``: how `LazyModel.facts` names ``adapter``.

    A ``task`` gets what was written for it while the video was watched. Raises InputError for a file that cannot be
    used, UsageError for another model or other settings than the watch had.
    """
    from omnimem_cli.session.memory_file import damaged, read_memory_file
    from omnimem_cli.session.restore import FormError, restore

    header, state = read_memory_file(path)
    header = _checked(path, header)
    check_model(path, header["model"], model)
    watched_with = with_shaping(path, settings, header["settings"])
    try:
        watched = _opened(adapter, watched_with, header)
        restore(watched.session, state)
    except (FormError, TypeError, ValueError) as error:
        raise damaged(path, str(error).splitlines()[0][:200]) from error
    if task is not None:
        watched.bring_up(task)
    return watched


def check_memories(headers: dict[str, dict], model: LazyModel) -> None:
    """Raise UsageError, before any work, where a memory is not this model's or not of these settings."""
    for path, header in headers.items():
        check_model(path, header["model"], model.facts())
        with_shaping(path, model.settings, header["settings"])


def check_model(path: str | Path, made_with: dict, model: dict) -> None:
    """Raise UsageError where a file's memory is not this model's."""
    same = ("name", "revision", "config", "adapter")
    if [made_with.get(name) for name in same] == [model.get(name) for name in same]:
        return
    shown = readable_path(str(path))
    made, here = (f"{m['name']} (revision {m['revision']})" for m in (made_with, model))
    if made_with.get("adapter") != model.get("adapter"):
        made, here = (f"adapter {m['adapter']}" if "adapter" in m else "no adapter" for m in (made_with, model))
        raise UsageError(f"{shown} was watched with {made}, not with {here}.", "Give the same --adapter, or none.")
    if made_with["name"] != model["name"]:
        raise UsageError(f"{shown} is a memory of {made}, not of {here}.", f"Use -m {made_with['name']}.")
    hub = f", or pull {made_with['hub_id']} at that revision" if made_with["hub_id"] else ""
    hint = f"Use -m with the folder that holds that revision{hub}."
    raise UsageError(f"{shown} is a memory of {made}; the one here is revision {model['revision']}.", hint)


def with_shaping(path: str | Path, settings: Settings, shaping: dict) -> Settings:
    """The settings with which a memory was watched. Raises UsageError where others were asked for."""
    defaults, typed = Settings().shaping, settings.shaping
    for name in SHAPING:
        if typed[name] not in (defaults[name], shaping[name]):
            flag = next(f.metadata["flag"].flags[-1] for f in fields(Settings) if f.name == name)
            shown = readable_path(str(path))
            raise UsageError(f"{shown} was watched with another {flag}.", f"Drop {flag}, or watch the video again.")
    budget = None if shaping["budget"] is None else parse_budget(shaping["budget"])
    return replace(settings, **shaping | {"budget": budget, "plan": None, "focus": tuple(shaping["focus"])})


def _checked(path: str | Path, header: dict) -> dict:
    import jsonschema

    from omnimem_cli.session.memory_file import damaged

    facts = {name: value for name, value in header.items() if name not in ("state", "checksums")}
    try:
        _validator().validate(facts)
    except (jsonschema.ValidationError, RecursionError) as error:
        where = "/".join(map(str, getattr(error, "absolute_path", ()))) or "its header"
        raise damaged(path, f"{where} is not what it should be") from error
    older = {"kv_bits": KV_BITS[0], "stills": STILLS[0], "decode": DECODE[0], "focus": []}  # of before they were there
    return facts | {"settings": older | facts["settings"]}


def _opened(adapter: "Adapter", settings: Settings, header: dict) -> "Watched":
    """A session like the one that was saved, still empty."""
    from omnimem_cli.jobs.watched import Watched, media_of
    from omnimem_cli.media.segment import Format
    from omnimem_cli.memory.budget import LayerBudget
    from omnimem_cli.memory.policies import make_policy
    from omnimem_cli.models.adapter import Plan
    from omnimem_cli.session.choice import Sampling
    from omnimem_cli.session.plan_file import EvidenceRule
    from omnimem_cli.session.session import Session
    from omnimem_cli.session.sizing import new_memory, stills_of
    from omnimem_cli.session.transients import question_tokens_in_flight

    opening = header["opening"]
    budgets = [LayerBudget(*pair) for pair in opening["budgets"]]
    if len(budgets) != len(adapter.decoder.layers):
        raise TypeError("its budgets are those of other layers")
    rule = opening.get("evidence_rule")  # not in older files
    plan = Plan(**opening["plan"] | {"format": Format(**opening["plan"]["format"])})
    stream = adapter.open(media_of(opening["media"]), plan)
    session = Session(
        stream,
        new_memory(stream, make_policy(settings.policy), budgets, settings.positions, settings.kv_bits, settings.focus),
        opening["chunk_tokens"],
        sampling=Sampling(settings.temperature, settings.top_p, settings.seed),
        question_tokens_in_flight=question_tokens_in_flight(settings.answer_tokens),
        evidence_rule=rule and EvidenceRule.read(rule, adapter),
        stills=stills_of(settings, plan),
    )
    facts = {name: value for name, value in header["facts"].items() if name != "timing"}
    facts["input"] = facts["input"] | {"watched": facts["input"].get("watched", facts["input"]["path"])}
    return Watched(session, settings, facts, header["taken"], watched_here=False)
