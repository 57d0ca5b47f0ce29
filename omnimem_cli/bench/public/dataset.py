"""The form that all public benchmarks have in common: questions with options, put to one watch of a video.

Knows questions, files and letters; reads nothing, watches nothing, and knows no dataset by name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LETTERS = "ABCDEFGH"
BUCKETS_S = ((120, "< 2 min"), (600, "2-10 min"), (1800, "10-30 min"), (3600, "30-60 min"), (float("inf"), "> 60 min"))
"""Classes of length, for datasets that state none."""


@dataclass(frozen=True)
class Item:
    """One question. ``prompt``: what the model is asked, whole; ``options``: their texts without letters, as shown
    (empty where the dataset has them in the question); ``answer``: the right letter; ``tasks``: its types;
    ``fields``: the dataset's own, for its own file of answers."""

    id: str
    prompt: str
    options: tuple[str, ...]
    answer: str
    tasks: tuple[str, ...]
    fields: dict = field(compare=False, repr=False)


@dataclass(frozen=True)
class Clip:
    """What one watch sees, with all questions about it. ``video``: whose luck the questions share; ``length``: the
    dataset's own class of length, None where it states none; ``start_s``, ``end_s``: the part that is watched."""

    name: str
    video: str
    path: Path
    items: tuple[Item, ...]
    length: str | None = None
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Answered:
    """What became of one question under one policy.

    ``status``: right, wrong, no_letter, failed (its video was not watched) or missing (there is no such video);
    ``text``: what the model wrote; ``letter``: what the dataset's rule took from it; ``length``: class of length.
    """

    item: Item
    video: str
    policy: str
    status: str
    length: str
    text: str | None = None
    letter: str | None = None
    error: str | None = None

    @property
    def right(self) -> bool:
        """Whether it counts as right; whatever was not answered is wrong."""
        return self.status == "right"


@dataclass(frozen=True)
class Dataset:
    """One benchmark.

    ``read(folder, fps)``: its clips; ``fps``: frames per second whose subtitles go into the prompts, None for none;
    raises InputError. ``extract(text, options)``: the letter of an answer by the dataset's official rule, None where
    that finds none. ``submission(answered)``: name and text of its own file of answers, of one policy.
    ``prompt_id``, ``extractor_id``: what figures name. ``max_tokens``: of an answer. ``source``: where to get it.
    ``has_subtitles``: its authors publish them.
    """

    name: str
    read: Callable[[Path, float | None], list[Clip]]
    extract: Callable[[str, Sequence[str]], str | None]
    submission: Callable[[Sequence[Answered]], tuple[str, str]]
    prompt_id: str
    extractor_id: str
    source: str
    max_tokens: int = 16
    has_subtitles: bool = False


def length_class(seconds: float | None) -> str:
    """The class of a length; "unknown" for None."""
    return "unknown" if seconds is None else next(name for most, name in BUCKETS_S if seconds < most)


def with_letters(options: Sequence[str], between: str = ". ") -> str:
    """Options, one per line, each with its letter."""
    return "\n".join(f"{letter}{between}{text}" for letter, text in zip(LETTERS, options, strict=False))


def without_letter(option: str) -> str:
    """``A. text`` and ``A.text`` to ``text``."""
    letter, mark, text = option.partition(".")
    return text.strip() if mark and letter.strip() in LETTERS else option.strip()
