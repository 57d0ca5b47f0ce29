"""Figures of public benchmarks as tables for people. Knows their results, measures nothing."""

from collections.abc import Sequence

from omnimem_cli.base.sizes import format_bytes
from omnimem_cli.bench.tables import text_table

MOST_NAMED = 10  # of missing videos


def run_table(result: dict) -> str:
    """Policies; comparisons of two; accuracy by task and length; what the figures belong to."""
    rows = result["rows"]
    head = ("policy", "accuracy", "95 %", "of answered", "no letter", "failed", "missing")
    parts = [text_table(head, [_policy(row) for row in rows])]
    head = ("policy", "watches", "coverage", "mean", "memory", "peak", "tokens", "seconds")
    parts.append(text_table(head, [_watches(row) for row in rows]))
    if result["comparisons"]:
        head = ("difference", "points", "95 %", "first only", "second only", "McNemar p")
        parts.append(text_table(head, [_comparison(one) for one in result["comparisons"]]))
    parts += [_groups(rows, "by_task", "task"), _groups(rows, "by_length", "length")]
    return "\n\n".join([*parts, _context(result)])


def check_table(result: dict) -> str:
    """What is there, what is not, and what a run would take."""
    facts = [
        ("videos", str(result["videos"])),
        ("watches", str(result["watches"])),
        ("questions", str(result["questions"])),
        ("clips present", str(result["present"])),
        ("missing", str(len(result["missing"]))),
        ("unreadable", str(len(result["unreadable"]))),
        ("hours of video", f"{result['hours']:g}"),
        ("tokens", f"{result['tokens']:,}"),
        ("GPU hours, estimate", f"{result['gpu_hours_estimate']:g}"),
        ("decoding hours here, estimate", f"{result['decoding_hours_estimate']:g}"),
    ]
    faults = [f"missing: {path}" for path in result["missing"]]
    faults += [f"unreadable: {why}" for why in result["unreadable"].values()]
    more = [f"and {len(faults) - MOST_NAMED} more; all of them are in the JSON"] if len(faults) > MOST_NAMED else []
    notes = [
        f"{result['model']}; estimates: twice the arithmetic of the language model's",
        "linear layers, 300 TFLOP/s",
    ]
    return "\n".join([text_table(("benchmark", result["name"]), facts), *faults[:MOST_NAMED], *more, *notes])


def _policy(row: dict) -> tuple[str, ...]:
    counts = (str(row[name]) for name in ("no_letter", "failed", "missing"))
    return row["policy"], _percent(row["accuracy"]), _between(row), _percent(row["answered_accuracy"]), *counts


def _watches(row: dict) -> tuple[str, ...]:
    sizes = ("-" if row[name] is None else format_bytes(row[name]) for name in ("bytes", "peak_bytes"))
    shares = (_percent(row[name]) for name in ("coverage_least", "coverage_mean"))
    return row["policy"], str(row["watched"]), *shares, *sizes, f"{row['tokens']:,}", f"{row['seconds']:g}"


def _comparison(one: dict) -> tuple[str, ...]:
    return (
        " - ".join(one["policies"]),
        f"{100 * one['difference']:+.1f}",
        f"{100 * one['low']:+.1f} to {100 * one['high']:+.1f}",
        str(one["only_first_right"]),
        str(one["only_second_right"]),
        f"{one['mcnemar_p']:.3g}",
    )


def _groups(rows: Sequence[dict], key: str, title: str) -> str:
    """Accuracy of every policy by group."""
    shares = {name: [_percent(row[key][name]["accuracy"]) for row in rows] for name in rows[0][key]}
    body = [(name, str(rows[0][key][name]["n"]), *each) for name, each in shares.items()]
    return text_table((title, "n", *(row["policy"] for row in rows)), body)


def _context(result: dict) -> str:
    how = result["how"]
    sound = "with sound" if how["sound"] else "without sound"
    shown = "subtitles in the prompts" if how["subtitles"] else "no subtitles"
    watched = f"{how['fps']:g} frames/s of at most {how['max_pixels']:,} pixels, {sound}, {shown}"
    counts = f"{result['rows'][0]['n']} questions, {result['rows'][0]['videos']} videos"
    note = "no letter, failed and missing count as wrong\nintervals take videos as the sample; coverage: least, mean"
    kept = f"{how['model']}, budget {how['budget']}, entries of {how['kv_bits']} bits"
    return "\n".join([counts, kept, watched, _rules(how), note])


def _rules(how: dict) -> str:
    return f"prompt: {how['prompt']}\nanswers taken by: {how['extractor']}"


def _between(row: dict) -> str:
    return f"{100 * row['low']:.0f}-{100 * row['high']:.0f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
