"""How a rule is asked about windows of a stream, and what the answers say.

Knows questions and answers; knows no alert and not when a window is due.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from omnimem_cli.live.alert_rules import Rule
from omnimem_cli.tasks.presets import answer_schema
from omnimem_cli.tasks.prompts import NOTE, STOPS
from omnimem_cli.tasks.reply import says_absent
from omnimem_cli.world.slides import COLOURS, SHAPES
from omnimem_cli.world.words import WORDS

if TYPE_CHECKING:
    from omnimem_cli.session.session import Session, Window

    Asked = tuple[Window, Rule]

ANSWER_TOKENS = 96
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"enum": ["yes", "no"]}, "reason": {"type": "string", "minLength": 1, "maxLength": 200}},
    "required": ["answer", "reason"],
    "additionalProperties": False,
}
"""What a verdict looks like: yes or no comes first, and one sentence says why."""
STRETCH_S, STRETCH_OVERLAP_S = 20.0, 5.0
"""Of a window that is described. nano repeats itself where it has more than some seven slides to list."""
_NAMES = frozenset((*COLOURS, *SHAPES, *WORDS))


@dataclass(frozen=True)
class Verdict:
    """What was said of a window [start_s, end_s): ``yes`` is None where there was no valid answer."""

    start_s: float
    end_s: float
    yes: bool | None
    reason: str = ""


def verdicts(session: "Session", asked: "Sequence[Asked]", context: str = "") -> list[Verdict]:
    """One verdict per window and rule, asked together. ``context``: what is normal."""
    if session.adapter.row.world is not None:
        return _found_and_described(session, asked)
    texts = [question_of(rule, context) for _, rule in asked]
    answers = _ask(session, texts, [window for window, _ in asked], answer_schema.grammar(SCHEMA))
    return [Verdict(*window, *verdict_of(text)) for (window, _), text in zip(asked, answers, strict=True)]


def question_of(rule: Rule, context: str = "") -> str:
    """What is asked about a window."""
    normal = f"What is normal here: {context}\n" if context else ""
    return (
        f"{normal}Does the following happen in this part of the video: {rule.sentence}? "
        'Answer yes or no, then give the reason in one sentence, as JSON: {"answer": "yes" or "no", "reason": "..."}'
    )


def verdict_of(text: str) -> tuple[bool | None, str]:
    """Yes or no, and the reason; (None, "") where the text is no valid answer."""
    try:
        said = answer_schema.value(text)
        return {"yes": True, "no": False}[said["answer"]], " ".join(said["reason"].split())
    except (ValueError, TypeError, KeyError, AttributeError):
        return None, ""


def _found_and_described(session: "Session", asked: "Sequence[Asked]") -> list[Verdict]:
    """Of a model of a generated world, which knows no yes and no: the sentence itself is put as a question.

    Yes, where it has an answer and what the sentence names stands together in a line of the window's description: the
    model answers for a thing that resembles the one that was named, and describes it as what it is (bench/LOG.md).
    """
    windows = [window for window, _ in asked]
    answers = _ask(session, [rule.sentence for _, rule in asked], windows)
    answered = {window for window, text in zip(windows, answers, strict=True) if not says_absent(text)}
    lines = _described(session, sorted(answered))
    return [
        Verdict(*window, not says_absent(text) and names(rule.sentence, lines[window]), text)
        for (window, rule), text in zip(asked, answers, strict=True)
    ]


def names(sentence: str, lines: Sequence[str]) -> bool:
    """Whether one of the lines of a description has all that a sentence about the generated world names."""
    named = _NAMES.intersection(re.findall(r"\w+", sentence.lower()))
    return any(named.issubset(re.findall(r"\w+", line)) for line in lines) or not named


def _described(session: "Session", windows: "Sequence[Window]") -> "dict[Window, list[str]]":
    """What the model lists of each window, stretch by stretch."""
    stretches = {window: _stretches(*window) for window in windows}
    every = list(chain.from_iterable(stretches.values()))
    notes = iter(_ask(session, [NOTE] * len(every), every))
    return {window: [line for _ in parts for line in next(notes).splitlines()] for window, parts in stretches.items()}


def _stretches(start_s: float, end_s: float) -> "list[Window]":
    """Stretches of ``STRETCH_S`` that overlap, of which the last ends with the window."""
    found = [(start_s, min(start_s + STRETCH_S, end_s))]
    while found[-1][1] < end_s:
        start_s += STRETCH_S - STRETCH_OVERLAP_S
        found.append((start_s, min(start_s + STRETCH_S, end_s)))
    return found


def _ask(
    session: "Session", texts: Sequence[str], windows: "Sequence[Window]", grammar: str | None = None
) -> list[str]:
    """The texts of the answers, each about its window alone of what came last."""
    if not texts:
        return []
    bound = [grammar] * len(texts)
    answers = session.ask(texts, max_tokens=ANSWER_TOKENS, whole=list(windows), stop=STOPS, grammars=bound)
    return [answer.text for answer in answers]
