"""The drawings of a page as numbers: places are shares of the width in percent, heights are pixels.

Knows a result object; knows no HTML. SVG takes percentages, so that one drawing fits every width.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from omnimem_cli.base.timecode import format_clock, format_span

DENSITY_PX = 64  # height of the tallest bar of one kind
LAYERS_PX = 120
TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400)
MOST_STEPS = 5  # between ticks: six labels fit 360 pixels
JOINED = 0.002  # speech apart by less of the range is drawn as one


@dataclass(frozen=True)
class Bar:
    """A rectangle from ``x`` with ``width`` (percent) and ``height`` (pixels); what it covers, and what it says."""

    x: float
    width: float
    height: float = 0.0
    start_s: float = 0.0
    end_s: float = 0.0
    text: str = ""


@dataclass(frozen=True)
class Span:
    """The range of video time that a page is about."""

    start_s: float
    end_s: float

    def place(self, time_s: float) -> float:
        """Percent of the width, within 0 and 100."""
        share = (time_s - self.start_s) / max(self.end_s - self.start_s, 1e-9)
        return round(100 * min(max(share, 0.0), 1.0), 3)

    def bar(self, start_s: float, end_s: float, height: float = 0.0, text: str = "") -> Bar:
        """The bar of a part of the range."""
        x = self.place(start_s)
        return Bar(x, round(self.place(end_s) - x, 3), round(height, 2), start_s, end_s, text)

    def ticks(self) -> list[tuple[float, str]]:
        """Place and label of whole times, in at most MOST_STEPS steps."""
        length = self.end_s - self.start_s
        step = next((s for s in TICKS_S if length / s <= MOST_STEPS), math.ceil(length / MOST_STEPS))
        first = math.ceil(self.start_s / step)
        times = (number * step for number in range(first, math.floor(self.end_s / step) + 1))
        return [(self.place(time_s), format_clock(time_s)) for time_s in times]


def span_of(result: dict) -> Span:
    """The watched range: of the input's facts, else as far as times are known. At least one second."""
    facts, watched = result["input"], (result["coverage"] or {}).get("duration_s")
    start_s = facts["start_s"] or 0.0
    ends = [start_s + 1.0, *(item["end_s"] for item in (*chapters_of(result), *segments_of(result)))]
    spread = (result["memory"] or {}).get("distribution")
    if watched is not None:
        ends.append(start_s + watched)
    elif spread is not None:
        ends.append(spread["start_s"] + spread["step_s"] * len(spread["over_time"]["text"]))
    return Span(start_s, max(ends))


def chapters_of(result: dict) -> list[dict]:
    """The chapters of a summary; none of another result."""
    return result.get("summary", {}).get("chapters", [])


def segments_of(result: dict) -> list[dict]:
    """The segments of a transcript; none of another result."""
    return result.get("transcript", {}).get("segments", [])


def chapter_bars(result: dict, span: Span) -> list[Bar]:
    """One bar per chapter, with its title."""
    return [span.bar(c["start_s"], c["end_s"], text=c["title"] or "Untitled") for c in chapters_of(result)]


def speech_bars(result: dict, span: Span) -> list[Bar]:
    """Where something is said; neighbours are joined."""
    gap_s, joined = JOINED * (span.end_s - span.start_s), []
    for segment in sorted(segments_of(result), key=lambda s: s["start_s"]):
        if joined and segment["start_s"] - joined[-1][1] <= gap_s:
            joined[-1][1] = max(joined[-1][1], segment["end_s"])
        else:
            joined.append([segment["start_s"], segment["end_s"]])
    return [span.bar(start_s, end_s) for start_s, end_s in joined]


@dataclass(frozen=True)
class Density:
    """Kept entries over time: bars by kind, the tallest of each kind in entries, and one bar per step that says all."""

    step_s: float
    bars: dict[str, list[Bar]]
    most: dict[str, float]
    steps: list[Bar]


def density(result: dict, span: Span) -> Density | None:
    """None where the result does not say where its kept entries lie, or nothing is kept."""
    spread = (result["memory"] or {}).get("distribution")
    if spread is None:
        return None
    kinds = {kind: spread["over_time"][kind] for kind in ("visual", "audio") if any(spread["over_time"][kind])}
    most = {kind: max(counts) for kind, counts in kinds.items()}
    bars = {
        kind: [
            span.bar(start_s, end_s, DENSITY_PX * count / most[kind])
            for (start_s, end_s), count in zip(_steps(spread, len(counts)), counts, strict=True)
        ]
        for kind, counts in kinds.items()
    }
    return Density(spread["step_s"], bars, most, list(_labelled_steps(spread, span))) if kinds else None


def _steps(spread: dict, count: int) -> Iterator[tuple[float, float]]:
    first, step = spread["start_s"], spread["step_s"]
    return ((first + i * step, first + (i + 1) * step) for i in range(count))


def _labelled_steps(spread: dict, span: Span) -> Iterator[Bar]:
    over_time = spread["over_time"]
    rows = zip(over_time["visual"], over_time["audio"], over_time["text"], strict=True)
    for (start_s, end_s), counts in zip(_steps(spread, len(over_time["text"])), rows, strict=True):
        end_s = min(end_s, span.end_s)
        yield span.bar(start_s, end_s, text=f"{format_span(start_s, end_s)}: {entries(counts)}")


def entries(counts: Sequence[float]) -> str:
    """``12 visual, 30.5 audio entries kept``: only kinds that there are."""
    parts = [
        f"{number(count)} {kind}" for count, kind in zip(counts, ("visual", "audio", "text"), strict=True) if count
    ]
    return f"{', '.join(parts) or 'no'} entries kept"


def number(count: float) -> str:
    """At most one digit after the point: ``1,024``, ``30.5``."""
    return f"{count:,.1f}".removesuffix(".0")


@dataclass(frozen=True)
class Layer:
    """One column: kept entries, and the budget where there is one; heights in pixels."""

    number: int
    x: float
    width: float
    visual: float
    audio: float
    budget: int | None
    visual_px: float
    audio_px: float
    budget_px: float | None


def layers(result: dict) -> list[Layer]:
    """One column per layer; none where the result does not say what its layers keep."""
    spread = (result["memory"] or {}).get("distribution")
    if spread is None or not spread["by_layer"]["visual"]:
        return []
    kept = list(zip(spread["by_layer"]["visual"], spread["by_layer"]["audio"], strict=True))
    budgets = _budgets(spread, len(kept))
    most = max((max(v + a, budget or 0) for (v, a), budget in zip(kept, budgets, strict=True)), default=0) or 1
    scale, step = LAYERS_PX / most, 100 / len(kept)
    return [
        Layer(
            i,
            round((i + 0.1) * step, 3),
            round(0.8 * step, 3),
            visual,
            audio,
            budget,
            round(visual * scale, 2),
            round(audio * scale, 2),
            None if budget is None else round(budget * scale, 2),
        )
        for i, ((visual, audio), budget) in enumerate(zip(kept, budgets, strict=True))
    ]


def _budgets(spread: dict, count: int) -> list[int | None]:
    budgets = spread["budget_by_layer"]
    if budgets is None:
        return [None] * count
    return [visual + audio for visual, audio in zip(budgets["visual"], budgets["audio"], strict=True)]
