"""What a shell offers for the value of an option or an argument.

Knows the words of the command line and the names in a folder. Every list is read where it is kept, when Tab is pressed;
none of them imports torch. A word may come with what it is, which zsh and fish show.
"""

import ast
import itertools
import os
import textwrap
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path

import typer

from omnimem_cli.base.choices import CHAPTERS_BY, MEMORY, SLIDE_STYLES, STYLES, VAD

Words = Iterable[str | tuple[str, str]]
"""Words to offer, each alone or with what it is."""

COMPLETING = "_OMNIMEM_COMPLETE"
"""The variable by which a shell asks what it may offer, and says which shell it is."""

LINE = 70
"""Characters of what a word is: Typer breaks longer lines, and fish takes the rest of one for another word."""

SPECIAL = frozenset(" \t\n'\"\\$`&|;<>()*?[]{}!#~^=:@")
"""Characters that bash takes for more than a part of a name."""

Offer = Callable[..., list]
"""What Typer calls; it leaves out the words that begin otherwise than what was typed."""


def one_of(words: Callable[[], Words]) -> Offer:
    """One of these words."""
    return lambda: list(words())


def some_of(words: Callable[[], Words]) -> Offer:
    """Some of these words, comma-separated, each once."""

    def offered(incomplete: str) -> list:
        before = incomplete[: incomplete.rfind(",") + 1]
        pairs = (word if isinstance(word, tuple) else (word, "") for word in words())
        return [(before + word, about) for word, about in pairs if word not in before.split(",")]

    return offered


def paths(suffixes: Callable[[], Iterable[str]]) -> Offer:
    """Files with one of these suffixes, and folders.

    A shell puts a space after a word that is the only one, so a folder that is comes with what it holds. bash would not
    quote a name that needs it: where one does, nothing is offered, and bash completes file names by itself.
    """

    def offered(incomplete: str) -> list[str]:
        found = list(_entries(incomplete, tuple(suffixes())))
        if len(found) == 1 and found[0].endswith("/"):
            found += _entries(found[0], tuple(suffixes()))
        in_bash = os.environ.get(COMPLETING) == "complete_bash"
        return [] if in_bash and any(SPECIAL & set(name.removeprefix("~")) for name in found) else found

    return offered


def _entries(typed: str, suffixes: tuple[str, ...]) -> Iterable[str]:
    """What begins as typed, in the folder that was typed, sorted; hidden names only where a dot was typed."""
    folder, begin = typed[: typed.rfind("/") + 1], typed[typed.rfind("/") + 1 :]
    try:
        entries = sorted(os.scandir(Path(folder or ".").expanduser()), key=lambda entry: entry.name)
    except (OSError, RuntimeError):  # no such folder, or no such user after ~
        return
    for entry in entries:
        if entry.name.startswith(begin) and (begin or not entry.name.startswith(".")):
            if entry.is_dir():
                yield f"{folder}{entry.name}/"
            elif entry.name.lower().endswith(suffixes):
                yield folder + entry.name


def media_suffixes() -> Iterable[str]:
    """Suffixes of what can be watched."""
    from omnimem_cli.jobs.inputs import MEDIA_SUFFIXES

    return MEDIA_SUFFIXES


def models() -> Words:
    """Names of models, with their size."""
    from omnimem_cli.models.catalogue import ROWS

    return [(row.name, f"{row.download_gb:g} GB" if row.download_gb else "built in") for row in ROWS]


def presets() -> Words:
    """Names of presets, with what they ask about."""
    from omnimem_cli.tasks.presets.library import list_presets

    return [(preset.name, textwrap.shorten(preset.description, LINE, placeholder=" …")) for preset in list_presets()]


def policies() -> Words:
    """Names of policies. Read from the text of their table: to import it would import torch."""
    text = (resources.files("omnimem_cli") / "memory" / "policies" / "__init__.py").read_text("utf-8")
    tables = [node for node in ast.parse(text).body if isinstance(node, ast.AnnAssign)]
    (names,) = [node.value.keys for node in tables if node.target.id == "POLICIES"]
    return [name.value for name in names]


def devices() -> Words:
    """The CPU, CUDA, and each NVIDIA device that the system shows."""
    there = itertools.takewhile(lambda number: Path(f"/dev/nvidia{number}").exists(), itertools.count())
    return ["auto", "cpu", "cuda", *(f"cuda:{number}" for number in there)]


def languages() -> Words:
    """Names of languages that have a code."""
    from omnimem_cli.tasks.prompts import LANGUAGES

    return sorted(LANGUAGES.values())


def benchmarks() -> Words:
    """Names of public benchmarks."""
    from omnimem_cli.bench.public.library import DATASETS

    return list(DATASETS)


def _formats(context: typer.Context, incomplete: str) -> list:
    """Formats of the command's results, some of them; of a command that prints, table or json."""
    from omnimem_cli.results.writers import FORMATS

    of_task = {**FORMATS, "demo": FORMATS["summarize"], "watch": dict.fromkeys(itertools.chain(*FORMATS.values()))}
    return some_of(lambda: of_task.get(context.info_name or "", ("table", "json")))(incomplete)


INPUTS = paths(lambda: {*media_suffixes(), f".{MEMORY}"})
VIDEOS = paths(media_suffixes)
MEMORIES = paths(lambda: [f".{MEMORY}"])
RESULTS = paths(lambda: [f".{MEMORY}", ".json"])
JSON = paths(lambda: [".json"])
FOLDERS = paths(lambda: [])
PRESETS = one_of(presets)
MODELS = one_of(models)
POLICIES = one_of(policies)

BY_SPEC: dict[str, Offer] = {
    "--model NAME": one_of(lambda: ["auto", *models()]),
    "--policy NAME[:KEY=VALUE]...": POLICIES,
    "--policies NAME[:KEY=VALUE]...,...": some_of(policies),
    "--reference POLICY": POLICIES,
    "--device DEVICE": one_of(devices),
    "--workers DEVICE,...": some_of(devices),
    "--preset NAME": PRESETS,
    "--style STYLE": one_of(lambda: STYLES),
    "--style NAME": one_of(lambda: SLIDE_STYLES),
    "--chapters-by RULE": one_of(lambda: CHAPTERS_BY),
    "--language NAME": one_of(languages),
    "--spoken-language NAME": one_of(languages),
    "--vad NAME": one_of(lambda: VAD),
    "--format FORMAT": _formats,
}
"""What is offered for an option, by its long flag and the word for its value."""

BY_METAVAR: dict[str, Offer] = {"FOLDER": FOLDERS, "DIR": FOLDERS}
"""What is offered for any other option, by the word for its value; else the shell completes names of files."""
