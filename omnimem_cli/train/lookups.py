"""What nano should look up at each name it reads: where in the video it is, where its word is, and what comes next.

A law for every name in a question or an answer, whatever is asked: the token that completes a slide's name ("circle"
of "red circle") or is a word attends, one head each, to the tokens of that slide or word, to the word said meanwhile,
to what comes right after, and to the beginning. What is not there is the first token's. So a name learns from every
sentence it stands in, and an answer has only to read what was found at its name.

Knows labels of moments and ids of names, not how samples are packed.
"""

from dataclasses import dataclass

import numpy as np
from transformers import Qwen2Tokenizer

from omnimem_cli.train.encoders import IGNORE
from omnimem_cli.train.tokenizer import one_token
from omnimem_cli.world.slides import COLOURS, SHAPES
from omnimem_cli.world.words import WORDS

HEADS = 4
HERE, WORD, AFTER, BEGINNING = range(HEADS)


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
            known[3] = self.word
        else:
            known[:2] = self.colour, self.shape
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


def look_up(name: Name, labels: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each head should look among media tokens: bool [HEADS, tokens], and for which heads that is known.

    labels: [tokens, labels] of moments. seen: bool [tokens], what the question may look at.
    """
    colour, shape, _, word, colour_before, shape_before, word_before, *_, begins = labels.T
    if name.word:
        here = word == name.word
        found = np.stack([here & (colour > 0), here, word_before == name.word, here])
        known = np.array([bool((colour != IGNORE).any()), True, True, False])
    else:
        here = (colour == name.colour) & (shape == name.shape)
        after = (colour_before == name.colour) & (shape_before == name.shape)
        found = np.stack([here, here & (word > 0), after, here & (begins > 0)])
        known = np.ones(HEADS, bool)
    return found & seen, known
