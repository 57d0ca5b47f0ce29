"""Write the tables that the README files take from the code, and the manual page: `python .ci/tables.py`.

Knows the catalogue, the sizing of a watch, the codes, the result's schema and the commands.
Each table is between a comment
``<!-- table NAME -->`` and ``<!-- end NAME -->``; `tests/test_readme.py` fails where one is out of date.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from man_page import man_page
from reference import example_config, sections, table, variables

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import EXIT_CODES, DoesNotFitError, UserError
from omnimem_cli.base.settings import Settings
from omnimem_cli.media.segment import AudioStream, Media, VideoStream
from omnimem_cli.models.catalogue import GB, ROWS, Row
from omnimem_cli.results.codes import DEGRADING, ERROR_CODES, WARNING_CODES
from omnimem_cli.results.result import schema

ROOT = Path(__file__).parents[1]
MAN_PAGE = ROOT / "omnimem_cli" / "commands" / "omnimem.1"
LENGTH_S = 3 * 3600.0  # longer than any chunk or memory here: more would change nothing
DTYPES = ("bfloat16", "int8", "int4")  # the widest that fits comes first
DEVICES_GB = (8, 12, 24, 48, 80)
NOT_RUN = "computed, not yet run on a GPU"


def write() -> None:
    """Bring every README and the manual page up to date."""
    for name, tables in documents().items():
        path = ROOT / name
        path.write_text(filled(path.read_text("utf-8"), tables), "utf-8")
    MAN_PAGE.write_text(man_page(), "utf-8")


def documents() -> dict[str, dict[str, str]]:
    """The generated tables of each file, by name."""
    head = ("field", "type", "meaning")
    fields = {"fields": table(head, fields_of("result-1")), "hit-fields": table(head, fields_of("hit-1"))}
    fields |= {"event-fields": table(head, fields_of("event-1"))}
    codes = {"exit-codes": exit_codes(), "error-codes": error_codes(), "warning-codes": warning_codes()}
    return {
        "README.md": {"models": models(), "hardware": hardware()},
        "omnimem_cli/results/README.md": {**codes, **fields},
        "omnimem_cli/commands/README.md": {"variables": variables(), "keys": example_config(), "commands": sections()},
    }


def filled(text: str, tables: dict[str, str]) -> str:
    """The text with each table between its marks."""
    for name, content in tables.items():
        begin, end = f"<!-- table {name} -->", f"<!-- end {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        assert len(pattern.findall(text)) == 1, f"the marks of the table {name} are not there once"
        text = pattern.sub(lambda _, new=f"{begin}\n{content}\n{end}": new, text)
    return text


# What a model takes


@cache
def watch_gb(row: Row, dtype: str) -> float:
    """10^9 bytes of weights and of a watch with the row's default budget, at the worst moment."""
    needed, _ = _sized(row, Budget(row.budget), 10**15)
    return row.weights_gb(dtype) + needed / GB


@cache
def largest_budget(row: Row, dtype: str, device_gb: float) -> int:
    """Entries of `--budget auto` on a device of so many 10^9 bytes with nothing else on it; 0 where none fit."""
    free = int((device_gb - row.weights_gb(dtype)) * GB)
    try:
        return _sized(row, Budget(auto=True), free)[1] if free > 0 else 0
    except DoesNotFitError:
        return 0


def _sized(row: Row, budget: Budget, free: int) -> tuple[int, int]:
    """(Bytes at the worst moment, entries) of a watch of 640x360 video with sound, weights aside."""
    from omnimem_cli.session.preflight import planned
    from omnimem_cli.session.sizing import size_memory

    settings = Settings(budget=budget)
    adapter = _without_weights(row)
    config = size_memory(settings, adapter, planned(settings, adapter, _media()), _media(), free=free)
    return config.needed, config.entries


@cache
def _without_weights(row: Row):
    import torch

    from omnimem_cli.models.dummy import build_without_weights, published_config

    return build_without_weights(row, published_config(row), torch.device("meta"), "bfloat16")


def _media() -> Media:
    sound = AudioStream(1, "aac", 2, 48_000, LENGTH_S)
    return Media("video.mp4", VideoStream(0, "h264", 640, 360, 30.0, LENGTH_S), sound, (sound,))


def models() -> str:
    """The catalogue, with what a watch takes."""
    head = ("`-m`", "parameters", "download", "memory, bfloat16", "memory, int4", "tokens/s", "licence")
    return table(head, (_model_cells(row) for row in ROWS))


def _model_cells(row: Row) -> tuple[str, ...]:
    small = row.params_b < 0.1
    return (
        f"`{row.name}`",
        f"{row.params_b * 1000:.0f} M" if small else f"{row.params_b:.1f} B",
        f"{row.download_gb:g} GB" if row.download_gb else "built in",
        f"{watch_gb(row, 'bfloat16'):.1f} GB",
        f"{watch_gb(row, 'int4'):.1f} GB",
        f"{row.visual_rate + row.audio_rate:g}",
        row.licence,
    )


def hardware() -> str:
    """For each size of GPU the largest Qwen-Omni model that it runs."""
    head = ("GPU memory", "model", "`--dtype`", "largest budget, entries", "run on a GPU")
    return table(head, (_device_cells(size) for size in DEVICES_GB))


def _device_cells(size: int) -> tuple[str, ...]:
    rows = sorted((row for row in ROWS if row.hub_id and "omni" in row.family), key=lambda row: -row.params_b)
    fits = ((row, dtype) for row in rows for dtype in DTYPES if watch_gb(row, dtype) <= size)
    row, dtype = next(fits, None) or _with_fewer_entries(rows, size)
    entries = largest_budget(row, dtype, size)
    note = f" (less than the default of {row.budget:,})" if entries < row.budget else ""
    return f"{size} GB", f"`{row.name}`", dtype, f"{entries:,}{note}", NOT_RUN


def _with_fewer_entries(rows: Sequence[Row], size: int) -> tuple[Row, str]:
    """The first row that fits with less than its default budget, in the type that holds most entries."""
    row = next(row for row in rows if largest_budget(row, DTYPES[-1], size))
    return row, max(DTYPES, key=lambda dtype: largest_budget(row, dtype, size))


# What a result holds


def exit_codes() -> str:
    """Process status, its meaning, and the `error.code` that no narrower word replaces."""
    general = {kind.exit_code: kind.code for kind in (UserError, *UserError.__subclasses__())}
    rows = (
        (str(code), meaning, f"`{general[code]}`" if code in general else "") for code, meaning in EXIT_CODES.items()
    )
    return table(("exit code", "meaning", "general `error.code`"), rows)


def error_codes() -> str:
    """Words of `error.code`."""
    return table(("`error.code`", "meaning"), ((f"`{word}`", meaning) for word, meaning in ERROR_CODES.items()))


def warning_codes() -> str:
    """Words of `warnings[].code`."""
    rows = ((f"`{word}`", meaning, "7" if word in DEGRADING else "") for word, meaning in WARNING_CODES.items())
    return table(("`warnings[].code`", "meaning", "with `--strict`"), rows)


def fields_of(name: str) -> list[tuple[str, str, str]]:
    """(Path, type, meaning) of every field of a schema, in its order."""
    return [(f"`{path}`", kind, meaning) for path, kind, meaning in _fields(schema(name), "")]


def _fields(node: dict, prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in node.get("properties", {}).items():
        path = f"{prefix}{name}"
        inner, nullable = _resolved(field)
        kind = _kind(inner) + (" or null" if nullable else "")
        yield path, kind, field.get("description", inner.get("description", ""))
        deeper = _resolved(inner["items"])[0] if "items" in inner else inner
        yield from _fields(deeper, f"{path}[]." if "items" in inner else f"{path}.")


def _resolved(field: dict) -> tuple[dict, bool]:
    """What a reference or an alternative to null stands for, and whether null is allowed."""
    options = field.get("anyOf", [field])
    chosen = next(option for option in options if option.get("type") != "null")
    if "$ref" in chosen:
        chosen = schema()["$defs"][chosen["$ref"].rsplit("/", 1)[-1]]
    return chosen, len(options) > 1


def _kind(field: dict) -> str:
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        words = ["null" if word is None else f"`{word}`" for word in field["enum"]]
        return "word" if len(words) > 5 else ", ".join(words)
    kind = field.get("type", "any")
    return kind if isinstance(kind, str) else " or ".join(kind)


if __name__ == "__main__":
    write()
