"""What the benchmarks found, as tables for people. Knows their results, measures nothing."""

from omnimem_cli.bench.report import aligned, size

MINUTES_SHOWN = (1, 2, 5, 10, 20, 30, 60, 90, 120, 180)


def memory_table(result: dict) -> str:
    """Per policy the course over the minutes, then what was kept."""
    parts = [f"{r['policy']}\n{_course(r['minutes'])}" for r in result["policies"]]
    head = ("policy", "entries", "chunk", "memory", "of it side data", "peak in a chunk", "memory drift", "RAM drift")
    rows = [
        (
            r["policy"],
            str(r["budget_entries"] or "all"),
            str(r["chunk"]),
            size(r["bytes"]),
            size(r["side_bytes"]),
            size(r["peak_bytes"]),
            f"{r['bytes_drift']:.1%}",
            f"{r['rss_drift']:.1%}",
        )
        for r in result["policies"]
    ]
    note = "drift: the largest change from the tenth minute on"
    return "\n\n".join([*parts, aligned(head, rows) + "\n" + note])


def _course(minutes: list[dict]) -> str:
    shown = [m for m in minutes if m["minute"] in MINUTES_SHOWN or m is minutes[-1]]
    rows = [(str(m["minute"]), size(m["rss"]), size(m["bytes"]), size(m["side_bytes"])) for m in shown]
    return aligned(("minute", "host RAM", "memory", "of it side data"), rows)
