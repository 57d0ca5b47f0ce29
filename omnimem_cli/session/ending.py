"""A short way to the end of a grammar of JSON, from any place in it.

llguidance says what may come next and not how far the end is, so this looks for what closes: marks of JSON first,
then characters behind which such a mark may come. What it finds is short, not always the shortest.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from llguidance import LLMatcher, LLTokenizer

IN_STRING, OUTSIDE = (b'"',), (b"}", b"]", b",", b"null", b'"', b"[")
"""What leads to the end soonest, in this order, inside a string and outside of one."""
CHARACTERS = bytes(range(32, 127))
MARKS = bytes(c for c in CHARACTERS if not chr(c).isalnum())  # what parts a date, an address or a name
_ESCAPED = re.compile(rb"\\.", re.DOTALL)


def short_ending(matcher: LLMatcher, vocabulary: LLTokenizer, written: list[int], room: int) -> list[int] | None:
    """Tokens that end the text ``written``, which the matcher has taken; it takes them too.

    None where there are more than ``room``, or none were found.
    """
    way: list[int] = []
    while not matcher.is_accepting():
        step = _next_step(matcher, vocabulary, [*written, *way])
        way += step
        if len(way) > room or not matcher.consume_tokens(step):
            return None
    return way


def _next_step(matcher: LLMatcher, vocabulary: LLTokenizer, written: list[int]) -> list[int]:
    if forced := matcher.compute_ff_bytes():
        return _tokens(vocabulary, forced)
    closing = [_tokens(vocabulary, text) for text in (IN_STRING if _in_string(vocabulary, written) else OUTSIDE)]
    return (
        next((step for step in closing if _fits(matcher, step)), None)
        or next((way for way in _detours(matcher, vocabulary) if any(_fits(matcher, way + c) for c in closing)), None)
        or [int(_allowed(matcher).argmax())]
    )


def _in_string(vocabulary: LLTokenizer, written: list[int]) -> bool:
    return _ESCAPED.sub(b"", vocabulary.decode_bytes(written)).count(b'"') % 2 == 1


def _detours(matcher: LLMatcher, vocabulary: LLTokenizer) -> Iterator[list[int]]:
    """One character that may come next, or a mark and one more."""
    allowed = _allowed(matcher)
    first = [token for token in _characters(vocabulary, CHARACTERS) if allowed[token]]
    yield from ([token] for token in first)
    marks = set(_characters(vocabulary, MARKS))
    yield from ([mark, last] for mark in first if mark in marks for last in _characters(vocabulary, b"aA0"))


def _allowed(matcher: LLMatcher) -> np.ndarray:
    return np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")


def _fits(matcher: LLMatcher, tokens: list[int]) -> bool:
    return matcher.validate_tokens(tokens) == len(tokens)


@lru_cache
def _characters(vocabulary: LLTokenizer, characters: bytes) -> list[int]:
    """The token of each character."""
    return [_tokens(vocabulary, bytes([character]))[0] for character in characters]


@lru_cache(1024)
def _tokens(vocabulary: LLTokenizer, text: bytes) -> list[int]:
    return vocabulary.tokenize_bytes(text)
