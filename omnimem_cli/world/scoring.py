"""How good an answer about a generated video is. Knows the answer forms of `questions.py`, no model."""

import re
from collections import Counter
from collections.abc import Sequence

from omnimem_cli.world.questions import Question
from omnimem_cli.world.slides import COLOURS, DIGITS, SAYS, SHAPES, TITLES
from omnimem_cli.world.words import WORDS

_SLIDE = re.compile(r"\b" + " ".join(f"({'|'.join(names)})" for names in SAYS.values()) + r"\b")
_SHOWN = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
_WHEN_TOLERANCE_S = 2


def parse_summary(text: str) -> tuple[list[str], list[str]]:
    """The slides ("red circle 3 plan") and the spoken words that a list answer names, in order."""
    slides = [" ".join(match) for match in _SLIDE.findall(text)]
    known = set(WORDS)
    return slides, [word for word in re.findall(r"[a-z]+", text.lower()) if word in known]


def slide_f1(said: Sequence[str], true: Sequence[str]) -> float:
    """F1 of two lists of slides, order aside: 1.0 when both are empty."""
    hits = sum((Counter(map(str, said)) & Counter(map(str, true))).values())
    return 2 * hits / (len(said) + len(true)) if said or true else 1.0


def word_error_rate(said: Sequence[str], true: Sequence[str]) -> float:
    """Insertions, deletions and substitutions over the number of true words (at least 1)."""
    row = list(range(len(true) + 1))
    for i, word in enumerate(said, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(true, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1] / max(1, len(true))


def score(question: Question, answer: str) -> float:
    """From 0 to 1: slide F1 for lists, 1 - word error rate for transcripts, else exact match (2 s off for times)."""
    if question.kind in ("summary", "note"):
        return slide_f1(parse_summary(answer)[0], parse_summary(question.answer)[0])
    if question.kind == "transcribe":
        return max(0.0, 1.0 - word_error_rate(answer.split(), question.answer.split()))
    if question.kind == "when":
        said, true = (re.match(r"\d+", text.strip()) for text in (answer, question.answer))
        return float(said is not None and abs(int(said[0]) - int(true[0])) <= _WHEN_TOLERANCE_S)
    return float(answer.strip().lower() == question.answer.strip().lower())


def is_right(question: Question, answer: str) -> bool:
    """Whether a short answer is right: as it is, or in a sentence that names nothing else of the kind in question."""
    if score(question, answer) == 1.0:
        return True
    named = _named(_choices(question.kind), answer) - _named(_choices(question.kind), question.text)
    return named == {question.answer}


def _choices(kind: str) -> tuple[str, ...]:
    """What a question of that kind may have for an answer; nothing where that is no name."""
    named = {"digit": DIGITS, "written": TITLES, "word_at": WORDS, "slide_at": _SHOWN}
    return named.get(kind, WORDS if kind.endswith("_word") else _SHOWN if kind.endswith("_slide") else ())


def _named(names: Sequence[str], text: str) -> set[str]:
    """Those that occur in a text as whole words."""
    words = f" {' '.join(re.findall(r'[a-z]+|[0-9]+', text.lower()))} "
    return {name for name in names if f" {name} " in words}
