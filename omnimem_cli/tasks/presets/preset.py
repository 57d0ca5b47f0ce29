"""One preset file: YAML to questions, and where it is wrong, by line.

Knows YAML and the keys of a preset; knows no folder, no task and no model.
"""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.texts import TAG
from omnimem_cli.tasks.presets import answer_schema
from omnimem_cli.tasks.prompts import language_name

PRESET_KEYS = ("description", "variables", "questions", "alerts")
QUESTION_KEYS = ("id", "question", "schema")
BUILT_IN_VARIABLES = {"language": "the language that is spoken"}
"""Variables that every preset has, with their value where the user gives none."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_VARIABLE = re.compile(r"\{([A-Za-z_]\w*)\}")


@dataclass(frozen=True)
class Question:
    """One question; ``schema`` is a JSON Schema for its answer or None (an answer in words)."""

    id: str
    text: str
    schema: dict | None = None


@dataclass(frozen=True)
class Preset:
    """Named questions. ``variables`` maps each ``{name}`` in the texts to its default (None: it must be given).

    ``alerts``: what a live watch tells of, as tag and sentence.
    """

    name: str
    description: str
    questions: tuple[Question, ...]
    variables: Mapping[str, str | None]
    alerts: Mapping[str, str] = field(default_factory=dict)

    def filled(self, given: Mapping[str, str] | None = None, language: str | None = None) -> tuple[Question, ...]:
        """The questions with their variables filled in; one that is given blank counts as not given.

        ``language``: the one that answers are wanted in, for the variable of that name. Raises UsageError for an
        unknown or a missing one.
        """
        values = self._values(given or {}, language)
        return tuple(replace(question, text=_fill(question.text, values)) for question in self.questions)

    def filled_alerts(self, language: str | None = None) -> tuple[str, ...]:
        """The alerts as ``--alert`` takes them. Raises UsageError for a missing variable."""
        values = self._values({}, language)
        return tuple(f"{tag}: {_fill(sentence, values)}" for tag, sentence in self.alerts.items())

    def _values(self, given: Mapping[str, str], language: str | None) -> dict[str, str]:
        wished = {"language": language_name(language)} if language else {}
        defaults = {**BUILT_IN_VARIABLES, **wished, **self.variables}
        said = {name: value for name, value in given.items() if value.strip() or name not in defaults}
        values = defaults | said
        unknown = sorted(values.keys() - self.variables.keys() - BUILT_IN_VARIABLES.keys())
        if unknown:
            raise UsageError(f"The preset {self.name} has no variable {unknown[0]!r}.", self._variables_hint())
        missing = next((name for name, value in values.items() if value is None), None)
        if missing is not None:
            raise UsageError(f"The preset {self.name} needs the variable {missing!r}.", f"Add --var {missing}=...")
        return values

    def _variables_hint(self) -> str:
        names = sorted({*BUILT_IN_VARIABLES, *self.variables})
        return f"Its variables: {', '.join(names)}."


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: values[match[1]], text)


@dataclass(frozen=True)
class Problem:
    """What is wrong in a preset file; lines count from 1."""

    line: int
    message: str


def read_preset(text: str, name: str) -> tuple[Preset | None, list[Problem]]:
    """The preset in ``text`` and no problems; or None and every problem, by line."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return None, [_syntax(error)]
    except (ValueError, RecursionError) as error:  # a value such as 2026-99-99, or endless nesting
        return None, [Problem(1, f"a value cannot be read: {error}")]
    found = [Problem(_line(node, path), message) for path, message in _problems(content)]
    problems = sorted([*found, *_doubles(node, set())], key=lambda problem: problem.line)
    return (None, problems) if problems else (_preset(name, content), [])


def _preset(name: str, content: dict) -> Preset:
    questions = tuple(Question(q["id"], q["question"].strip(), q.get("schema")) for q in content["questions"])
    variables = {key: None if value is None else str(value) for key, value in _variables(content).items()}
    alerts = {tag: sentence.strip() for tag, sentence in (content.get("alerts") or {}).items()}
    return Preset(name, content["description"].strip(), questions, variables, alerts)


def _variables(content: dict) -> dict:
    return content.get("variables") or {}


def _syntax(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return Problem(mark.line + 1 if mark else 1, f"this is not valid YAML: {problem}")


Found = Iterator[tuple[answer_schema.Path, str]]


def _problems(content: object) -> Found:
    if not isinstance(content, dict):
        yield (), f"a preset is a mapping with the keys {', '.join(PRESET_KEYS)}"
        return
    yield from _unknown_keys(content, PRESET_KEYS, ())
    yield from _text(content, "description", ())
    yield from _variable_problems(content.get("variables"))
    questions = content.get("questions")
    if not isinstance(questions, list) or not questions:
        yield _at(content, "questions"), "'questions' must be a list of at least one question"
        return
    declared = {*BUILT_IN_VARIABLES, *(_variables(content) if isinstance(_variables(content), dict) else ())}
    yield from _alert_problems(content.get("alerts"), declared)
    for i, question in enumerate(questions):
        yield from _question_problems(question, ("questions", i), declared)
    yield from _repeated_ids(questions)


def _question_problems(question: object, path: answer_schema.Path, declared: Collection[str]) -> Found:
    if not isinstance(question, dict):
        yield path, f"a question is a mapping with the keys {', '.join(QUESTION_KEYS)}"
        return
    yield from _unknown_keys(question, QUESTION_KEYS, path)
    yield from _text(question, "id", path)
    yield from _text(question, "question", path)
    if isinstance(question.get("id"), str) and not _ID.fullmatch(question["id"]):
        yield (*path, "id"), f"the id {question['id']!r} may hold letters, digits, - and _ only"
    for name in _VARIABLE.findall(str(question.get("question"))):
        if name not in declared:
            yield (*path, "question"), f"{{{name}}} is not declared under 'variables'"
    if "schema" in question:
        yield from _schema_problems(question["schema"], (*path, "schema"))


def _schema_problems(schema: object, path: answer_schema.Path) -> Found:
    if not isinstance(schema, dict):
        yield path, "'schema' must be a JSON Schema object"
        return
    for step, message in answer_schema.problems(schema):
        yield path + step, f"broken schema: {message}"


def _variable_problems(variables: object) -> Found:
    if variables is None:
        return
    if not isinstance(variables, dict):
        yield ("variables",), "'variables' must map names to default values"
        return
    for name, value in variables.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(f"{{{name}}}"):
            yield ("variables", name), f"the variable name {name!r} may hold letters, digits and _ only"
        if isinstance(value, list | dict):
            yield ("variables", name), f"the default of {name!r} must be text"


def _alert_problems(alerts: object, declared: Collection[str]) -> Found:
    if alerts is None:
        return
    if not isinstance(alerts, dict):
        yield ("alerts",), "'alerts' must map tags to sentences"
        return
    for tag, sentence in alerts.items():
        if not isinstance(tag, str) or not TAG.fullmatch(tag):
            yield ("alerts", tag), f"the tag {tag!r} may hold small letters, digits and _ only"
        if not isinstance(sentence, str) or not sentence.strip():
            yield ("alerts", tag), f"the alert {tag!r} must be a sentence"
        for name in _VARIABLE.findall(str(sentence)):
            if name not in declared:
                yield ("alerts", tag), f"{{{name}}} is not declared under 'variables'"


def _repeated_ids(questions: list) -> Found:
    seen = set()
    for i, question in enumerate(questions):
        name = question.get("id") if isinstance(question, dict) else None
        if isinstance(name, str) and name in seen:
            yield ("questions", i, "id"), f"the id {name!r} is taken by an earlier question"
        seen.add(name if isinstance(name, str) else None)


def _unknown_keys(content: dict, known: tuple[str, ...], path: answer_schema.Path) -> Found:
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            guess = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            yield (*path, key), f"unknown key {key!r}; {guess}"


def _text(content: dict, key: str, path: answer_schema.Path) -> Found:
    value = content.get(key)
    if not isinstance(value, str) or not value.strip():
        yield (*path, *_at(content, key)), f"{key!r} must be text" if key in content else f"{key!r} is missing"


def _at(content: dict, key: str) -> answer_schema.Path:
    return (key,) if key in content else ()


def _line(node: yaml.Node | None, path: answer_schema.Path) -> int:
    """Line of the key (or list item) that ``path`` leads to, as far as it can be followed."""
    line = 1 if node is None else node.start_mark.line + 1
    for step in path:
        mark, node = _child(node, step)
        if mark is None:
            break
        line = mark.line + 1
    return line


def _child(node: yaml.Node | None, step: str | int) -> tuple[Any, yaml.Node | None]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key.start_mark, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark, node.value[step]
    return None, None


def _doubles(node: yaml.Node | None, visited: set[int]) -> Iterator[Problem]:
    """Keys written twice in one mapping, of which YAML would keep the last without a word."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in visited:
        return
    visited.add(id(node))  # an anchor may be used in several places, even inside itself
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    seen: set[str] = set()
    for key, _ in pairs:
        if str(key.value) in seen:
            yield Problem(key.start_mark.line + 1, f"the key {key.value!r} is written a second time")
        seen.add(str(key.value))
    for child in [value for _, value in pairs] or node.value:
        yield from _doubles(child, visited)
