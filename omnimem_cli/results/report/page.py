"""The page: a result, and what there is of its video, through the template.

Knows a result object and what to show of it; reads no video. Every text is escaped by the template engine; only the
style and the script, which come with the package, are not. The page may fetch nothing: its policy allows its own style
and script by their digests, pictures that it holds, and a local video.
"""

import base64
import hashlib
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from omnimem_cli import __version__
from omnimem_cli.base.sizes import format_share
from omnimem_cli.base.timecode import format_clock, format_span
from omnimem_cli.results.evidence import (
    answer_with_times,
    has_time,
    inside,
    is_time,
    item_times,
    look_note,
    part_with_times,
    span_text,
    times,
)
from omnimem_cli.results.facts import STATUS_NOTES, fact_rows, title_of
from omnimem_cli.results.report import charts
from omnimem_cli.results.report.footage import Footage, data_uri
from omnimem_cli.results.report.texts import blocks, pieces

TITLES = {"summarize": "Summary", "transcribe": "Transcript", "ask": "Answers", "watch": "Memory"}
GENERATOR = "omnimem"
"""What the page says it was made by; `is_report` looks for it."""


def write_html(result: dict, footage: Footage | None = None) -> str:
    """The page of a finished result, which may hold a summary, a transcript and answers at once.

    Parts that it does not hold are left out.
    """
    span = charts.span_of(result)
    style, script = _own("page.css"), _own("page.js")
    page = _template().render(
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        generator=f"{GENERATOR} {__version__}",
        result=result,
        name=title_of(result["input"]),
        title=result["preset"] or TITLES[result["task"]],
        span=span,
        facts=fact_rows(result),
        status_notes=STATUS_NOTES,
        chapters=charts.chapter_bars(result, span),
        speech=charts.speech_bars(result, span),
        density=charts.density(result, span),
        layers=charts.layers(result),
        chart_px={"density": charts.DENSITY_PX, "layers": charts.LAYERS_PX},
        footage=footage,
    )
    return page.strip() + "\n"


def is_report(beginning: bytes) -> bool:
    """Whether a file that begins so is a page of omnimem."""
    return f'<meta name="generator" content="{GENERATOR} '.encode() in beginning


@cache
def _own(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """The page's Content-Security-Policy."""
    allowed = {
        "default-src": "'none'",
        "style-src": _digest(style),
        "script-src": _digest(script),
        "img-src": "data:",
        "media-src": "'self' file:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{directive} {source}" for directive, source in allowed.items())


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _template():
    environment = Environment(
        loader=PackageLoader(__package__, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clock": format_clock,
        "percent": format_share,
        "blocks": blocks,
        "pieces": pieces,
        "number": charts.number,
        "data_uri": data_uri,
        "part_with_times": part_with_times,
        "answer_with_times": answer_with_times,
        "item_times": item_times,
        "look_note": look_note,
        "times": times,
        "inside": inside,
        "timed": _timed,
        "is_time": is_time,
        "span_text": span_text,
        "label": _label,
        "columns": _columns,
    }
    environment.globals["format_span"] = format_span
    return environment.get_template("page.html.jinja")


def _label(key: str) -> str:
    """``action_items`` as ``Action items``, ``start_s`` as ``Start``: seconds are shown as a time."""
    return key.removesuffix("_s").replace("_", " ").capitalize()


def _columns(rows: list) -> list[str]:
    """The keys of a list of like objects, in order; empty for any other list."""
    alike = all(isinstance(row, dict) for row in rows)
    return list(dict.fromkeys(key for row in rows for key in row)) if alike else []


def _timed(rows: list, found: dict[str, str], pointer: str) -> list[str]:
    """The times of every row of the list at ``pointer``; empty where no row has one, or a row says when itself."""
    each = [found.get(inside(pointer, number), "") for number in range(len(rows))]
    return each if any(each) and not any(map(has_time, rows)) else []
