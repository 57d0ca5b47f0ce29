"""Accuracy against budget as an SVG: one line per policy, its interval as a bar. Knows rows, draws text.

Written by hand so that no plotting library is needed.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import log2
from xml.sax.saxutils import escape

MARK = "<!-- omnimem bench needle -->"
WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 40, 56
COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6000", "#444444",
)  # fmt: skip
DASHES = ("", "6 3", "2 2")
LABEL_GAP = 15.0


def needle_svg(rows: Sequence[dict], title: str) -> str:
    """The plot of all rows of one kind."""
    budgets = sorted({Fraction(row["budget"]) for row in rows})
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    axes = _Axes(budgets, min(row["low"] for row in rows))
    lines = [_axis(axes, title)]
    ends = []
    for number, policy in enumerate(policies):
        own = sorted((row for row in rows if row["policy"] == policy), key=lambda row: Fraction(row["budget"]))
        lines.append(_line(axes, own, number, len(policies)))
        ends.append((axes.y(own[-1]["accuracy"]), number, policy))
    lines += _labels(ends)
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    style = 'font-family="sans-serif" font-size="12" fill="#222"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{MARK}'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *lines, "</svg>", ""])


class _Axes:
    """Pixels of a budget (logarithmic) and of an accuracy (from the lowest tenth shown to 1)."""

    def __init__(self, budgets: list[Fraction], least: float):
        self.budgets = budgets
        self.least = max(0.0, int(least * 10) / 10)
        self._first, self._last = log2(budgets[0]) - 0.15, log2(budgets[-1]) + 0.15

    def x(self, budget: Fraction) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (log2(budget) - self._first) / (self._last - self._first)

    def y(self, accuracy: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - accuracy) / (1 - self.least)


def _axis(axes: _Axes, title: str) -> str:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [_text(LEFT, 22, title, "start", 'font-size="14"')]
    for tenth in range(round(axes.least * 10), 11):
        y = axes.y(tenth / 10)
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e3e3"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{tenth * 10} %", "end"))
    for budget in axes.budgets:
        parts.append(_text(axes.x(budget), bottom + 20, str(budget), "middle"))
    parts.append(_text((LEFT + right) / 2, HEIGHT - 14, "bytes retained, as a share of the full memory", "middle"))
    parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}" stroke="#222"/>')
    return "\n".join(parts)


def _line(axes: _Axes, rows: Sequence[dict], number: int, count: int) -> str:
    """Points, line and intervals of one policy, set a little aside so that intervals do not cover each other."""
    colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
    aside = (number - (count - 1) / 2) * 3
    points = [(axes.x(Fraction(row["budget"])) + aside, row) for row in rows]
    drawn = " ".join(f"{x:.1f},{axes.y(row['accuracy']):.1f}" for x, row in points)
    parts = [f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>']
    for x, row in points:
        low, high, y = (axes.y(row[name]) for name in ("low", "high", "accuracy"))
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}" opacity="0.5"/>'
        )
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
    return "\n".join(parts)


def _labels(ends: list[tuple[float, int, str]]) -> list[str]:
    """Names at the right ends of the lines, pushed apart where they would cover each other."""
    parts, free = [], TOP
    for y, number, policy in sorted(ends):
        place = max(y, free)
        free = place + LABEL_GAP
        colour = COLOURS[number % len(COLOURS)]
        parts.append(_text(WIDTH - RIGHT + 12, place + 4, policy, "start", f'fill="{colour}"'))
    return parts


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'
