"""What the benchmarks found, as tables for people. Knows their results, measures nothing."""

from collections.abc import Sequence
from fractions import Fraction
from math import nan

from omnimem_cli.base.sizes import format_bytes
from omnimem_cli.bench.needle import THIRDS

MINUTES_SHOWN = (1, 2, 5, 10, 20, 30, 60, 90, 120, 180)
WIDTH = 120
"""Most columns of a table of many policies."""
_RATES = ("video_seconds_per_second", "tokens_per_second")
_STAGES = ("decode", "encoders", "prefill", "scoring")
_SIZES = {
    "bytes": "memory",
    "peak_bytes": "peak in a chunk",
    "device_peak_bytes": "allocator's peak",
    "device_reserved_bytes": "allocator's reserve",
    "rss_peak_bytes": "host RAM peak",
    "estimated_bytes": "estimated",
}


def memory_table(result: dict) -> str:
    """Per policy the course over the minutes, then what was kept."""
    parts = [f"{r['policy']}\n{_course(r['minutes'])}" for r in result["policies"]]
    head = ("policy", "entries", "chunk", "memory", "of it side data", "peak in a chunk", "memory drift", "RAM drift")
    rows = [
        (
            r["policy"],
            str(r["budget_entries"] or "all"),
            str(r["chunk"]),
            *_sizes(r, "bytes", "side_bytes", "peak_bytes"),
            f"{r['bytes_drift']:.1%}",
            f"{r['rss_drift']:.1%}",
        )
        for r in result["policies"]
    ]
    note = "drift: the largest change from the tenth minute on"
    return "\n\n".join([*parts, text_table(head, rows) + "\n" + note])


def live_table(result: dict) -> str:
    """Per run what it held and lost; then the alerts."""
    head = ("run", "seconds", "events", "torn", "RAM", "RAM drift", "memory drift", "handles", "threads", "coverage")
    rows = [
        (
            name,
            f"{r['seconds']:g}",
            str(r["events"]),
            str(r["torn"]),
            format_bytes(r["rss"]) if r["rss"] else "",
            f"{r['rss_drift']:.1%}",
            f"{r['memory_drift']:.1%}",
            " ".join(map(str, r["handles"])),
            " ".join(map(str, r["threads"])),
            f"{r['coverage']['ratio']:.1%}",
        )
        for name, r in ((name, result[name]) for name in ("scenes", "quiet", "fast"))
    ]
    a, fast = result["scenes"], result["fast"]["lost_s"]
    notes = [
        f"{result['hours']:g} hours, watched {result['times_real_time']:g} times faster than real time",
        f"{a['shown']} red squares: {a['found']} found, {a['in_time']} in time (the latest after {a['latest_s']:g} s), "
        f"{a['once']} once, {a['closed']} closed, {a['invented']} invented; without any: {result['quiet']['invented']}",
        f"{result['fast']['faster']:g} times faster than the model: {fast['thinned']:g} s thinned, "
        f"{fast['dropped']:g} s dropped",
        "drift: the largest change from the tenth minute on",
    ]
    return "\n".join([text_table(head, rows), *notes])


def _course(minutes: list[dict]) -> str:
    shown = [m for m in minutes if m["minute"] in MINUTES_SHOWN or m is minutes[-1]]
    rows = [(str(m["minute"]), *_sizes(m, "rss", "bytes", "side_bytes")) for m in shown]
    return text_table(("minute", "host RAM", "memory", "of it side data"), rows)


def needle_table(result: dict) -> str:
    """Accuracy, thirds, false answers and refusals by policy and budget; kinds of question at the smallest budget."""
    rows = result["rows"]
    budgets = sorted({row["budget"] for row in rows}, key=Fraction, reverse=True)
    found = {(row["policy"], row["budget"]): row for row in rows}
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    body = [
        (
            policy,
            *(_accuracy(found[policy, budget]) for budget in budgets),
            *_sizes(found[policy, budgets[-1]], "bytes"),
        )
        for policy in policies
    ]
    whole = text_table(("policy", *budgets, f"bytes at {budgets[-1]}"), body)
    false = text_table(("false answers / refusals", *budgets), [_false(p, found, budgets) for p in policies])
    others = [policy for policy in policies if policy != result["against"]]
    paired = text_table(
        (f"points over {result['against']}", *budgets), [_differences(p, found, budgets) for p in others]
    )
    notes = [f"{result['videos']} videos, {rows[0]['n']} questions; 95 % intervals; {result['seconds']:.0f} s"]
    if result["settings"]["focus_questions"]:
        notes.append("every watch was about its question: not to be compared with watches that were about nothing")
    notes += [f"{name} at {budget} held more than its budget" for name, budget in result["over"]]
    parts = [whole, *([paired] if others else []), _thirds(result, policies, budgets), false]
    return "\n\n".join([*parts, _by_kind(result, policies, budgets[-1]), "\n".join(notes)])


def _differences(policy: str, found: dict[tuple[str, str], dict], budgets: Sequence[str]) -> tuple[str, ...]:
    """Of the same questions, how much more is right, with its interval."""
    rows = [found[policy, budget] for budget in budgets]
    values = [[100 * row[f"difference{end}"] for end in ("", "_low", "_high")] for row in rows]
    return policy, *(f"{mean:+.1f} ({low:+.0f} to {high:+.0f})" for mean, low, high in values)


def _false(policy: str, found: dict[tuple[str, str], dict], budgets: Sequence[str]) -> tuple[str, ...]:
    """Of absent things the share that was answered, of present ones the share that was called absent."""
    rows = [found[policy, budget] for budget in budgets]
    return policy, *(f"{row['false_answers']:.1%} / {row['false_refusals']:.1%}" for row in rows)


def _thirds(result: dict, policies: Sequence[str], budgets: Sequence[str]) -> str:
    """Accuracy by where in the video the answer is, per cent."""
    found = {(row["policy"], row["budget"], row["kind"]): 100 * row["accuracy"] for row in result["by_kind"]}

    def cell(policy: str, budget: str) -> str:
        return " / ".join(f"{found.get((policy, budget, third), nan):.0f}" for third in THIRDS)

    body = [(policy, *(cell(policy, budget) for budget in budgets)) for policy in policies]
    return text_table((f"{' / '.join(THIRDS)} third, %", *budgets), body)


def _by_kind(result: dict, policies: Sequence[str], budget: str) -> str:
    """Accuracy by kind of question; tables side by side would be too wide, so they follow each other."""
    rows = {(row["kind"], row["policy"]): row for row in result["by_kind"] if row["budget"] == budget}
    counts = {kind: str(rows[kind, policies[0]]["n"]) for kind, _ in rows if kind not in THIRDS}
    shares = {policy: [f"{rows[kind, policy]['accuracy']:.0%}" for kind in counts] for policy in policies}
    tables = (
        text_table(
            (f"at {budget}", "n", *some), list(zip(counts, counts.values(), *map(shares.get, some), strict=True))
        )
        for some in _rows_within(policies, WIDTH - len("previous_slide   100"))
    )
    return "\n\n".join(tables)


def _rows_within(names: Sequence[str], width: int) -> list[list[str]]:
    """The names in their order, in as few rows as fit into so many columns with two blanks before each."""
    rows, left = [], 0
    for name in names:
        left -= 2 + len(name)
        if not rows or left < 0:
            rows.append([])
            left = width - 2 - len(name)
        rows[-1].append(name)
    return rows


def _accuracy(row: dict) -> str:
    return f"{row['accuracy']:.1%} ({row['low']:.0%}-{row['high']:.0%})"


def recall_table(result: dict) -> str:
    """One line per range of events; then short questions by kind."""
    rows = result["rows"]
    head = ("events", "slide list F1", "word error rate", "short questions", "absent: said so", "falsely", "coverage")
    body = [
        (
            _range(row),
            f"{row['slide_f1']:.3f}",
            f"{row['word_error_rate']:.3f}",
            f"{_accuracy(row['short'])} of {row['short']['n']}",
            f"{row['said_absent']:.1%}",
            f"{row['falsely_absent']:.1%}",
            f"{row['coverage']:.3f}",
        )
        for row in rows
    ]
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["by_kind"]))
    by_kind = [(kind, *(_share(row, kind) for row in rows)) for kind in kinds]
    note = f"{result['videos']} files per row; 95 % intervals; {result['seconds']:.0f} s"
    return "\n\n".join([text_table(head, body), text_table(("kind", *map(_range, rows)), by_kind), note])


def _range(row: dict) -> str:
    least, most = row["events"]
    return str(least) if least == most else f"{least} to {most}"


def _share(row: dict, kind: str) -> str:
    found = row["by_kind"].get(kind)
    return f"{found['accuracy']:.0%} of {found['n']}" if found else "-"


def speed_table(result: dict) -> str:
    """Seconds and shares by policy."""
    head = (
        "policy",
        "watch",
        "to full",
        "encode",
        "prefill",
        "scoring",
        "of watch",
        "of prefill",
        "answers",
        "tokens/s",
    )
    rows = [
        (
            row["policy"],
            f"{row['watch_s']:.3f} s",
            f"{row['watch_to_full']:.2f}" if row["watch_to_full"] else "",
            *(f"{row[name]:.3f} s" for name in ("encode_s", "prefill_s", "scoring_s")),
            *(f"{row[name]:.1%}" for name in ("scoring_of_watch", "scoring_of_prefill")),
            f"{row['answer_s']:.3f} s",
            str(row["tokens_per_second"]),
        )
        for row in result["rows"]
    ]
    sizes = [(r["policy"], *_sizes(r, "bytes", "side_bytes", "peak_bytes")) for r in result["rows"]]
    settings = f"{result['tokens']} tokens, {result['entries']} entries per layer, chunks of {result['chunk']} tokens"
    kept = text_table(("policy", "memory", "of it side data", "peak in a chunk"), sizes)
    return "\n\n".join([text_table(head, rows), kept, f"{settings}; prefill contains scoring"])


def overlap_table(result: dict) -> str:
    """The share of the reference's entries that each setting keeps too."""
    rows = [(r["policy"], f"{r['overlap']:.1%}", f"{r['least']:.1%}", format_bytes(r["bytes"])) for r in result["rows"]]
    note = f"of what {result['reference']} keeps, after {result['chunks']} chunks or more, {result['videos']} videos"
    return text_table(("policy", "keeps too", "least", "memory"), rows) + "\n\n" + note


def throughput_table(result: dict) -> str:
    """Rates by policy and length, then where the time and the memory went, then what ended early."""
    rows = result["rows"]
    rates = [(*_named(r), *(f"{r[name]:g}" for name in _RATES), f"{r['of_matmul']:.1%}") for r in rows]
    shares = [(*_named(r), *(f"{share:.1%}" for share in r["shares"].values()), _idle(r), _ahead(r)) for r in rows]
    sizes = [(*_named(r), *(format_bytes(r[name]) if r[name] else "" for name in _SIZES if name in r)) for r in rows]
    parts = [
        text_table(("policy", "minutes", "video s/s", "tokens/s", "of matmul rate"), rates),
        text_table(("policy", "minutes", *_STAGES, "device idle", "encoded ahead"), shares),
        text_table(("policy", "minutes", *(_SIZES[name] for name in _SIZES if name in rows[0])), sizes) if rows else "",
        text_table(("policy", "minutes", "first token", "tokens/s of 1", "of 32"), [_answering(r) for r in rows]),
        text_table(("from a file", "video s/s", "decoding", "model", "both", "hidden"), _from_files(rows)),
    ]
    ended = [f"{s['policy']} stopped after {s['at_s']:g} s of video: {s['why']}" for s in result["stopped"]]
    place = f"{result['model']} with random weights, {result['dtype']}, {result['device_name']}"
    rate = f"matmul {result['matmul_flops'] / 1e12:.3g} TFLOP/s; decoding {result['decode_rate']:g} video s/s"
    return "\n\n".join([*(part for part in parts if part), "\n".join([*ended, place, rate])])


def _idle(row: dict) -> str:
    return "" if row["device_idle"] is None else f"{row['device_idle']:.1%}"


def _ahead(row: dict) -> str:
    return "" if row["encoders"] is None else f"{row['encoders']['ahead_s'] / row['encoders']['in_turn_s']:.0%}"


def _named(row: dict) -> tuple[str, str]:
    return row["policy"], f"{row['minutes']:g}"


def _answering(row: dict) -> tuple[str, ...]:
    rates = (f"{row[f'answer_tokens_per_second_{count}']:g}" for count in (1, 32))
    return (*_named(row), f"{row['first_token_s']:.3f} s", *rates)


def _from_files(rows: Sequence[dict]) -> list[tuple[str, ...]]:
    """One line per policy: a watch that decodes on the way."""
    found = {row["policy"]: row["decoded_watch"] for row in rows}
    stages = ("decode_s", "model_s", "wall_s")
    return [
        (policy, f"{d['video_s'] / d['wall_s']:.3g}", *(f"{d[stage]:.2f} s" for stage in stages), f"{d['hidden']:.0%}")
        for policy, d in found.items()
    ]


def answers_table(result: dict) -> str:
    """One line per way and number of questions."""
    head = ("steps", "questions", "first token", "answer", "tokens/s", "one step")
    body = [(row["way"], str(row["questions"]), *_answer_times(row)) for row in result["rows"]]
    context = f"answers of {result['tokens']} tokens over {result['entries']} entries per layer"
    failed = [f"{row['way']}, {row['questions']}: {row['why']}" for row in result["rows"] if "why" in row]
    if result["graph_captured"] is False:
        failed.append("the step could not be captured as a CUDA graph")
    place = f"{result['model']}, {result['dtype']}, {result['device_name']}"
    return "\n\n".join([text_table(head, body), "\n".join([*failed, context, place])])


def _answer_times(row: dict) -> tuple[str, ...]:
    if "why" in row:
        return ("", "", "", "")
    step = "" if row["step_s"] is None else f"{1000 * row['step_s']:.2f} ms"
    return f"{row['first_token_s']:.3f} s", f"{row['answer_s']:.3f} s", f"{row['tokens_per_second']:g}", step


def transcript_table(result: dict) -> str:
    """Seconds by stage, then of the whole."""
    stages = ("scan_s", "encode_s", "prefill_s", "answer_s", "again_s", "wall_s")
    head = ("video", "scan", "encoders", "prefill", "answers", "of it again", "wall")
    times = text_table(head, [(f"{result['video_s']:g} s", *(f"{result[stage]:.2f} s" for stage in stages))])
    how = "estimated" if result["estimated"] else "measured"
    whole = f"{result['minutes']:g} minutes take {result['whole_s']:.1f} s ({how})"
    again = f"{result['whole_without_again_s']:.1f} s if no answer repeated itself"
    place = f"{result['model']}, {result['dtype']}, {result['device_name']}"
    return f"{times}\n\n{whole}, {again}; {result['windows']} windows, {result['answer_tokens']} tokens\n{place}"


def _sizes(row: dict, *names: str) -> tuple[str, ...]:
    return tuple(format_bytes(row[name]) for name in names)


def evidence_table(result: dict) -> str:
    """One line per budget, then one per kind of question."""
    head = (
        "budget",
        "first span right",
        "random span",
        "right answers",
        "with evidence",
        "seconds",
        "absent, with evidence",
    )
    body = [
        (
            row["budget"],
            f"{row['right']:.1%} ({row['low']:.0%}-{row['high']:.0%})",
            f"{row['random']:.1%}",
            str(row["n"]),
            f"{row['given']:.1%}",
            f"{row['span_s']:.1f}",
            f"{row['absent']['given']:.0%} of {row['absent']['n']}",
        )
        for row in result["rows"]
    ]
    kinds = list(dict.fromkeys(kind for row in result["rows"] for kind in row["by_kind"]))
    by_kind = [(kind, *(_share_right(row, kind) for row in result["rows"])) for kind in kinds]
    budgets = [row["budget"] for row in result["rows"]]
    note = (
        f"{result['videos']} videos; 95 % intervals; lines of summaries are in no other row; {result['seconds']:.0f} s"
    )
    return "\n\n".join([text_table(head, body), text_table(("kind", *budgets), by_kind), note])


def _share_right(row: dict, kind: str) -> str:
    found = row["by_kind"].get(kind)
    return f"{found['right']:.0%} of {found['n']}" if found else "-"


def text_bits_table(result: dict) -> str:
    """One line per number of bits."""
    rows = [(str(r["bits"]), f"{r['perplexity']:.3f}", f"{r['found']} of {r['needles']}") for r in result["rows"]]
    note = f"{result['model']}, {result['windows']} windows of {result['tokens']} tokens"
    return text_table(("bits", "perplexity", "hidden numbers found"), rows) + "\n\n" + note


def topics_table(result: dict) -> str:
    """One line per rule by which chapters end."""
    head = ("chapters by", "chapters", "median", "mean", "within 5 s")
    rows = [
        (r["by"], f"{r['chapters']:.1f}", f"{r['median_s']:.1f} s", f"{r['mean_s']:.1f} s", f"{r['near']:.0%}")
        for r in result["rows"]
    ]
    note = (
        f"from each of {result['changes']} changes of topic in {result['videos']} videos to the nearest chapter's end"
    )
    return f"{text_table(head, rows)}\n\n{note}\nchapters of about {result['chapter_s']:g} s, {result['model']}"


def tune_table(result: dict) -> str:
    """One line per budget, then the recommendation."""
    head = ("budget", "same answers", "agreement", "memory", "peak", "prefill", "answers")
    body = [
        (
            row["budget"],
            f"{row['same']} of {result['questions']}",
            f"{row['agreement']:.2f}",
            *_sizes(row, "bytes", "peak_bytes"),
            f"{row['prefill_s']:g} s",
            f"{row['answer_s']:g} s",
        )
        for row in result["rows"]
    ]
    once = f"{result['seconds_of_video']:g} s of video watched once in {result['watch_s']:g} s for all budgets"
    advice = f"recommended: --budget {result['recommended']}, the smallest that agrees by {result['enough']:g} or more"
    about = f"agreement: F1 of words with the answers under {result['compared_with']}"
    notes = [once, about, "nobody knows whether these are right", advice]
    return "\n\n".join([text_table(head, body), "\n".join(notes)])


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in plain text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [_line(cells, widths) for cells in (head, *rows)]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        f"{cell:<{w}}" if i == 0 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()
