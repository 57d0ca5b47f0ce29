"""A query: terms that must all match. Knows the text of the query and of a passage; knows no database.

Any text is a query: nothing in it is an operator, apart from double quotes around a phrase.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from omnimem_cli.base.errors import UsageError
from omnimem_cli.results.search.folding import clean, fold, has_words, is_spaceless, words

MOST_TERMS = 64
LEAST_PREFIX = 3  # letters of a word that also finds longer words: "ai" must not find "air"
_TERM = re.compile(r'"([^"]*)"|([^\s"]+)')
_QUOTES = str.maketrans("“”„‟«»", '""""""')


@dataclass(frozen=True)
class Term:
    """A word or a quoted phrase, in the form of `fold`."""

    text: str
    quoted: bool = False

    @property
    def kind(self) -> str:
        """How it is found: ``words``; ``trigram``, or ``short`` below three characters, inside text without spaces;
        ``symbol`` where it holds no letter and no digit."""
        if is_spaceless(self.text):
            return "trigram" if len(self.text) >= 3 else "short"
        return "words" if has_words(self.text) else "symbol"

    @property
    def tokens(self) -> list[str]:
        """Its words: ``e-mail`` are two, which must follow each other."""
        return words(self.text).split()

    @property
    def prefix(self) -> bool:
        """Whether it also finds longer words that begin with it."""
        return not self.quoted and len(self.tokens[-1]) >= LEAST_PREFIX

    @property
    def expression(self) -> str:
        """What FTS5 matches. Whole words also count by themselves, so that they are worth more than longer ones."""
        if self.kind != "words":
            return '"{}"'.format(self.text.replace('"', '""'))
        phrase = f'"{" ".join(self.tokens)}"'
        return f"({phrase} OR {phrase} *)" if self.prefix else phrase

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        if self.kind != "words":
            return re.compile(re.escape(self.text))
        end = "[^ ]*" if self.prefix else "(?![^ ])"
        return re.compile("(?<![^ ])" + " +".join(map(re.escape, self.tokens)) + end)

    def spans(self, folded: str) -> list[tuple[int, int]]:
        """Where it is in a folded text: (begin, end) of each match."""
        text = words(folded) if self.kind == "words" else folded
        return [match.span() for match in self._pattern.finditer(text)]


def parse_query(text: str) -> tuple[Term, ...]:
    """The terms of a query, each once. Raises UsageError where there are none, or more than MOST_TERMS."""
    found = _TERM.findall(clean(text.translate(_QUOTES)))
    terms = dict.fromkeys(Term(fold(quoted or word).strip(), bool(quoted)) for quoted, word in found)
    terms.pop(Term(""), None)
    terms.pop(Term("", True), None)
    if not terms:
        raise UsageError("There is nothing to search for.", 'Name some words: omnimem search "budget 2027"')
    if len(terms) > MOST_TERMS:
        raise UsageError(f"The query has {len(terms)} words.", f"Search for {MOST_TERMS} at most.")
    return tuple(terms)
