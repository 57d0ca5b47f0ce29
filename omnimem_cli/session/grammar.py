"""A grammar that binds one answer: which tokens may come next, and how the answer ends before its token limit.

Knows tokens and llguidance; knows no schema and no model.
"""

from collections.abc import Sequence

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from omnimem_cli.session.ending import short_ending

WATCHED = 512
"""Tokens before the limit from which on an ending is kept at hand. Few values need more to be ended."""
LOOKED_AGAIN = 16  # tokens after a search that found no ending in the room that was left


def bound_answers(vocabulary: LLTokenizer, grammars: Sequence[str | None]) -> "list[BoundAnswer | None]":
    """One new answer per grammar."""
    return [None if grammar is None else BoundAnswer(vocabulary, grammar) for grammar in grammars]


class BoundAnswer:
    """One answer on its way through a grammar. ``cut``: its own tokens would not have ended before the limit."""

    def __init__(self, vocabulary: LLTokenizer, grammar: str):
        self.vocabulary, self.matcher = vocabulary, LLMatcher(vocabulary, grammar, log_level=0)
        self.written: list[int] = []
        self.ending: list[int] | None = None  # of what is written; None: unknown
        self.watched_from = WATCHED  # tokens left from which on an ending is looked for
        self.cut = False

    @property
    def complete(self) -> bool:
        """Whether nothing but an end may follow."""
        return self.matcher.is_stopped()

    def allowed(self) -> np.ndarray:
        """Which tokens may come next, bool [V]; an end of the answer where the grammar has one."""
        packed = np.frombuffer(self.matcher.compute_bitmask(), np.uint8)
        return np.unpackbits(packed, count=self.vocabulary.vocab_size, bitorder="little").view(bool)

    def write(self, token: int, left: int) -> int:
        """Write a token that is allowed and return it, with room for ``left`` more.

        Where the answer could not end in that room, the next token of its short ending is written instead.
        """
        if left < self.watched_from:
            token = self._in_time(token, left)
        self.matcher.consume_token(token)
        self.written.append(token)
        return token

    def _in_time(self, token: int, left: int) -> int:
        after = self._known_ending(token, left)
        if after is None:
            after = self._ending([token], left)
        if after is None:
            before = self._ending([], left + 1) if self.ending is None else self.ending
            if before:
                self.cut, token, after = True, before[0], before[1:]
        self.ending = after
        self.watched_from = left - LOOKED_AGAIN if after is None else WATCHED
        return token

    def _known_ending(self, token: int, left: int) -> list[int] | None:
        """Most tokens change nothing about the ending at hand, or are its first: no other is looked for then."""
        for known in () if self.ending is None else (self.ending, self.ending[1:]):
            way = [token, *known, self.vocabulary.eos_token]
            if len(known) <= left and self.matcher.validate_tokens(way) == len(way):
                return known
        return None

    def _ending(self, ahead: list[int], room: int) -> list[int] | None:
        matcher = self.matcher.deep_copy()
        matcher.consume_tokens(ahead)
        return short_ending(matcher, self.vocabulary, [*self.written, *ahead], room)
