"""Hits: the sentence of a passage that matches, and where in it. Knows passages and terms; knows no database."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from omnimem_cli.base.paths import readable_path
from omnimem_cli.results.search.folding import fold, origins
from omnimem_cli.results.search.index import Match
from omnimem_cli.results.search.query import Term

SCHEMA = "omnimem/hit/1"
_SENTENCE = re.compile(r".+?(?:[.!?…]+[\"')\]»”’]*(?= |$)|[。！？]+[」』）]*|$)")

Span = tuple[int, int]


@dataclass(frozen=True)
class Hit:
    """What is shown of one match: ``text`` is a sentence, ``matches`` are the (begin, end) of what matches in it."""

    file: str
    source: str
    part: str
    start_s: float | None
    end_s: float | None
    text: str
    matches: tuple[Span, ...]
    score: float

    def as_dict(self) -> dict:
        """The object of `-f json`; its shape is ``results/schema/hit-1.json``."""
        return {"schema": SCHEMA} | asdict(self) | {"file": readable_path(self.file)}


def make_hit(match: Match, terms: Sequence[Term]) -> Hit:
    """The hit of a match: of its sentences the first of those with most terms."""
    passage = match.passage
    by_term = [_original_spans(passage.text, term) for term in terms]
    begin, end = _best_sentence(passage.text, by_term)
    spans = [
        (max(first, begin) - begin, min(last, end) - begin)
        for spans in by_term
        for first, last in spans
        if first < end and last > begin
    ]
    where = (passage.part, passage.start_s, passage.end_s)
    return Hit(match.file, match.source, *where, passage.text[begin:end], _merged(spans), match.score)


def _original_spans(text: str, term: Term) -> list[Span]:
    """Where a term is in ``text``; folding may change the length of a text."""
    index = origins(text)
    return [(index[begin], index[end - 1] + 1) for begin, end in term.spans(fold(text))]


def _best_sentence(text: str, by_term: Sequence[Sequence[Span]]) -> Span:
    sentences = [_trimmed(text, match.span()) for match in _SENTENCE.finditer(text)]
    starts = [begin for begin, _ in sentences]
    terms_in = [0] * len(sentences)
    for spans in by_term:
        for number in {bisect_right(starts, begin) - 1 for begin, _ in spans}:
            terms_in[number] += 1
    return sentences[terms_in.index(max(terms_in))]


def _trimmed(text: str, span: Span) -> Span:
    begin, end = span
    said = text[begin:end]
    return begin + len(said) - len(said.lstrip()), end - (len(said) - len(said.rstrip()))


def _merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    """In order, those that overlap joined."""
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return tuple(merged)
