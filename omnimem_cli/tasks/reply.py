"""What a model wrote, freed of invented turns and of loops. Knows text only."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from omnimem_cli.results.codes import warning
from omnimem_cli.tasks.prompts import NOT_IN_VIDEO, STOPS

_ABSENT = re.compile(rf"\W*{NOT_IN_VIDEO.rstrip('.')}\s*([.!\"'*]|$)", re.IGNORECASE)

MAX_PERIOD = 200  # units; a longer passage that repeats does so beyond any answer's token limit


@dataclass(frozen=True)
class Reply:
    """An answer as it may be shown, and what there is to say about it."""

    text: str
    warnings: list[dict]


def clean_reply(text: str, finished: bool, what: str, tokens: int = 0) -> Reply:
    """Cleans what a model wrote in so many ``tokens``; ``finished``: it ended by itself; ``what`` begins a warning's
    sentence."""
    ended = cut_at_stop(text)
    cut = without_loops(ended)
    if cut != ended:
        return Reply(cut, [warning("repetition", f"{what} repeated itself; the repeats were cut.")])
    if not cut and tokens:
        message = f"{what} has {tokens} tokens and no text: the files of the model may not belong together."
        return Reply(cut, [warning("no_text", message)])
    if not cut:
        return Reply(cut, [warning("answer_empty", f"{what} is empty: the model gave no answer.")])
    if not finished and ended == text.strip():
        return Reply(cut, [warning("answer_cut", f"{what} reached its token limit and may be incomplete.")])
    return Reply(cut, [])


def says_absent(text: str) -> bool:
    """Whether an answer begins with the sentence that the prompts want where the video holds no answer."""
    return _ABSENT.match(text) is not None


def cut_at_stop(text: str, stops: Sequence[str] = STOPS) -> str:
    """The text before the first of ``stops``, stripped."""
    ends = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    return text[: min(ends, default=len(text))].strip()


def has_loop(text: str) -> bool:
    """Whether something in the text, before any invented turn, repeats on end."""
    ended = cut_at_stop(text)
    return without_loops(ended) != ended


def runs_in_a_loop(text: str) -> bool:
    """Whether a text that is still being written ends in what has repeated on end for twice as long as makes a loop.

    Its last unit, which may go on, does not count.
    """
    keys = _keys(_units(text)[:-1])
    periods = [] if not len(keys) else (len(keys) - 1 - np.flatnonzero(keys[:-1] == keys[-1])).tolist()
    for period in (each for each in periods if each <= MAX_PERIOD):
        same = keys[period:] == keys[:-period]
        lasting = len(same) if same.all() else int(np.argmin(same[::-1]))
        if lasting >= 2 * _needed(period) + period and _speaks(keys[-period:]):
            return True
    return False


def without_loops(text: str) -> str:
    """The text with each passage that repeats on end kept once.

    A passage counts as a loop from its fourth time on end (from the third when it is 16 units or longer) and
    from 12 units in all, so that "no, no, no" stays. Units are words; characters where nothing parts words.
    """
    units = _units(text)
    while (loop := _loop(units)) is not None:
        first, stop = loop
        del units[first:stop]
    return "".join(units).strip()


def _units(text: str) -> list[str]:
    """Words with the white space after them; single characters where spaces are rare (Chinese, Japanese)."""
    words = [word for word in _split(text) if word]
    return words if len(words) * 12 >= len(text) else list(text)


def _split(text: str) -> list[str]:
    """``"a b\\nc"`` -> ``["a ", "b\\n", "c"]``."""
    runs = ["".join(run) for _, run in groupby(text, str.isspace)]
    if runs and runs[0].isspace():
        runs[:2] = ["".join(runs[:2])]
    return ["".join(runs[i : i + 2]) for i in range(0, len(runs), 2)]


def _loop(units: list[str]) -> tuple[int, int] | None:
    """Bounds of the repeats of the first loop (what it repeats comes before them); None without one."""
    keys = _keys(units)
    for period in range(1, min(MAX_PERIOD, len(keys) // 3) + 1):
        for first, stop in _runs(keys[period:] == keys[:-period]):
            if stop - first >= _needed(period) and _speaks(keys[first : first + period]):
                return first + period, stop + period
    return None


def _keys(units: list[str]) -> np.ndarray:
    """What is compared of each unit."""
    return np.array([unit.strip().casefold() for unit in units])


def _needed(period: int) -> int:
    """How many units in a row equal the one a period before, in a loop."""
    times = 3 if period >= 16 else 4
    return max(times * period, 12) - period


def _runs(flags: np.ndarray) -> Iterable[tuple[int, int]]:
    """[first, stop) of each run of True."""
    return np.flatnonzero(np.diff(flags, prepend=False, append=False)).reshape(-1, 2).tolist()


def _speaks(keys: np.ndarray) -> bool:
    """Rules and table frames repeat by nature; only words and numbers make a loop."""
    return any(char.isalnum() for key in keys for char in key)
