"""What nano should look up at each name it reads: where in the video it is, where its word is, and what comes next.

A law for every name in a question or an answer, whatever is asked: the token that completes a slide's name ("circle"
of "red circle") or is a word attends, one head each, to the tokens of that slide or word, to the word said meanwhile,
to what comes right after, and to the beginning (to any of it where the beginning is gone). What is not there is the
first token's. And the name should know what it found there: what the slide says and the word, what comes after, what
came before, the second in its spelling. So a name learns from every sentence that holds it, and an answer has only to
read what was found at its name.

Knows labels of moments and ids of names, not how samples are packed.
"""

from dataclasses import dataclass

import numpy as np
from transformers import Qwen2Tokenizer

from omnimem_cli.train.nano_tokenizer import one_token
from omnimem_cli.train.targets.moment_labels import BEFORE, LABELS, SECOND_FIGURES
from omnimem_cli.train.tower_stage import IGNORE, SLIDE_LABELS
from omnimem_cli.world.slides import COLOURS, SHAPES
from omnimem_cli.world.words import WORDS

HEADS = 4
HERE, WORD, AFTER, BEGINNING = range(HEADS)
FINDINGS = (
    *((HERE, label) for label in SLIDE_LABELS),
    (WORD, "word"),
    *((AFTER, label) for label in ("colour", "shape", "word")),
    *((BEGINNING, label) for label in (*BEFORE, *SECOND_FIGURES)),
)
"""What a name should know: the head that finds it, and the label of the first token found that tells it."""


@dataclass(frozen=True)
class Name:
    """A name in a text: the column of its last token and the class numbers of colour and shape, or of a word."""

    column: int
    colour: int = 0
    shape: int = 0
    word: int = 0

    def labels(self, count: int) -> np.ndarray:
        """What the token should know: class numbers [count], IGNORE where it tells nothing."""
        known = np.full(count, IGNORE)
        if self.word:
            known[LABELS.index("word")] = self.word
        else:
            known[[LABELS.index("colour"), LABELS.index("shape")]] = self.colour, self.shape
        return known


class Names:
    """Finds names among token ids, with and without a space in front."""

    def __init__(self, tokenizer: Qwen2Tokenizer):
        self.colours, self.shapes, self.words = (
            {one_token(tokenizer, space + name): number for number, name in enumerate(names, 1) for space in ("", " ")}
            for names in (COLOURS, SHAPES, WORDS)
        )

    def find(self, ids: list[int]) -> list[Name]:
        """The names in order."""
        found = []
        for column, token in enumerate(ids):
            if token in self.words:
                found.append(Name(column, word=self.words[token]))
            elif token in self.shapes and column and ids[column - 1] in self.colours:
                found.append(Name(column, self.colours[ids[column - 1]], self.shapes[token]))
        return found


@dataclass(frozen=True)
class Lookup:
    """Where each head should look among media tokens, bool [HEADS, tokens]; for which heads that is known; findings."""

    found: np.ndarray
    known: np.ndarray
    findings: np.ndarray

    def columns(self, media_at: int) -> np.ndarray:
        """Where to look among a sample's columns, of which the media's begin at `media_at`: bool [HEADS, columns].

        What is found nowhere is the first column's; a head of which nothing is known has none.
        """
        where = np.pad(self.found & self.known[:, None], [(0, 0), (media_at, 0)])
        where[:, 0] = self.known & ~self.found.any(1)
        return where


def look_up(name: Name, labels: np.ndarray, seen: np.ndarray) -> Lookup:
    """What a name should look up.

    labels: [tokens, labels] of moments. seen: bool [tokens], what the question may look at.
    """
    of = dict(zip(LABELS, labels.T, strict=True))
    if name.word:
        here = of["word"] == name.word
        found = np.stack([here & (of["colour"] > 0), here, of["word_before"] == name.word, here])
        known = np.array([bool((of["colour"] != IGNORE).any()), True, True, True])
    else:
        here = (of["colour"] == name.colour) & (of["shape"] == name.shape)
        after = (of["colour_before"] == name.colour) & (of["shape_before"] == name.shape)
        begins = here & (of["slide_begins"] > 0)
        found = np.stack([here, here & (of["word"] > 0), after, begins if (begins & seen).any() else here])
        known = np.ones(HEADS, bool)
    found &= seen
    findings = [_finding(of[label][found[head]], label) if known[head] else IGNORE for head, label in FINDINGS]
    return Lookup(found, known, np.array(findings))


def _finding(values: np.ndarray, label: str) -> int:
    """The first value that is known; nothing (0) is known of what is nowhere, but not when it is."""
    known = values[values != IGNORE]
    if len(known):
        return int(known[0])
    return IGNORE if len(values) or label in SECOND_FIGURES else 0
