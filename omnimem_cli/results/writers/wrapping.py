"""A text as blocks of lines that a subtitle may show. Knows characters and their widths; knows no time.

Two lines of 42 characters, broken where a sentence or a clause ends, follow the timed-text guides of broadcasters.
Widths are cells of a terminal: a letter takes one, a Chinese character two.
"""

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from rich.cells import cell_len

LINE = 42  # cells
LINES = 2
SHORTEST = LINE * LINES / 3  # cells: slower speech has no shorter blocks
LEAST_FILLED = 1 / 3  # of a block: a sentence that ends earlier is no reason to end it
WORTH = 12  # cells by which lines may differ more, so that a clause ends the first

_QUOTES = "\"'”’»)\\]」』）"
_NO_END = "".join(
    rf"(?<!\b{word})" for word in ("Mr", "Mrs", "Ms", "Dr", "Prof", "St", "[A-Z]")
)  # a dot belongs to these
_SENTENCE_END = re.compile(rf"{_NO_END}[.!?…。！？｡][{_QUOTES}]*$").search
_CLAUSE_END = re.compile(rf"[,;:.!?…–—、，；：。！？｡､][{_QUOTES}]*$").search
_CJK = (
    "\u3005-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"  # written without spaces
)
_FIRST = "「『（【〈《“(\\["  # no line ends with these
_LATER = (
    "、。，．・：；？！…」』）】〉》”)\\],.:;!?%ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ"  # and none begins with these
)
_PIECE = re.compile(rf"[{_FIRST}]*(?:[{_CJK}]|[^{_CJK}{_FIRST}{_LATER}]+)?[{_LATER}]*")


def blocks_of(text: str, most: float = LINE * LINES) -> list[list[str]]:
    """The text as blocks of at most two lines, and of about ``most`` cells; white space is folded."""
    units, blocks = list(_units(text)), []
    while units:
        end = _block_end(units, max(min(most, LINE * LINES), SHORTEST))
        blocks.append(_lines(units[:end]))
        units = units[end:]
    return blocks


def _units(text: str) -> Iterator[str]:
    """What a line may end with: words with the space behind them, and characters of scripts without spaces."""
    for word in text.split():
        pieces = _PIECE.findall(word) if re.search(f"[{_CJK}]", word) else [word]
        *others, last = [part for piece in pieces if piece for part in _short(piece)]
        yield from (*others, last + " ")


def _short(piece: str) -> Iterator[str]:
    """A piece that is longer than a line, cut between characters."""
    while cell_len(piece) > LINE:
        end = next(i for i in range(len(piece), 0, -1) if cell_len(piece[:i]) <= LINE)
        yield piece[:end]
        piece = piece[end:]
    yield piece


def _width(units: Sequence[str]) -> int:
    return cell_len("".join(units).rstrip())


def _block_end(units: Sequence[str], most: float) -> int:
    """How many units the first block takes: up to a sentence's end, else a clause's, else a fair share of words."""
    widths = list(accumulate(map(cell_len, units)))
    last = min(_fitting(units), max(1, bisect_right(widths, most + 1)))  # the space at the end takes no room
    if last == len(units):
        return last
    filled = range(bisect_left(widths, most * LEAST_FILLED) + 1, last + 1)
    for ends in (_SENTENCE_END, _CLAUSE_END):
        found = [i for i in filled if ends(units[i - 1].rstrip())]
        if found:
            return found[-1]
    share = widths[-1] / math.ceil(widths[-1] / most)
    return min(last, bisect_left(widths, share) + 1)


def _fitting(units: Sequence[str]) -> int:
    """How many units fit into one block."""
    begin = end = 0
    for _ in range(LINES):
        while end < len(units) and _width(units[begin : end + 1]) <= LINE:
            end += 1
        begin = end
    return end


def _lines(units: Sequence[str]) -> list[str]:
    """The units of a block as one line, or as two of about equal width."""
    if _width(units) <= LINE:
        return ["".join(units).rstrip()]
    fitting = [i for i in range(1, len(units)) if max(_width(units[:i]), _width(units[i:])) <= LINE]
    end = min(fitting, key=lambda i: _imbalance(units, i))
    return ["".join(part).rstrip() for part in (units[:end], units[end:])]


def _imbalance(units: Sequence[str], end: int) -> int:
    return abs(_width(units[:end]) - _width(units[end:])) - WORTH * bool(_CLAUSE_END(units[end - 1].rstrip()))
