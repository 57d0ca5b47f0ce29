"""What the figures of each part of `.ci/gpu` say: one line per finding, with its goal.

Knows what `omnimem bench` and pytest print; runs nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Finding:
    """One line of the table. ``met``: whether the goal is reached; None where there is none."""

    what: str
    goal: str
    figure: str
    met: bool | None = None

    def only(self, has_goal: bool) -> "Finding":
        """The same figure, without its goal where there is none."""
        return self if has_goal else replace(self, goal="-", met=None)


def figure(what: str, value: str) -> Finding:
    """A line without a goal."""
    return Finding(what, "-", value)


def count_tests(text: str) -> dict:
    """pytest's last line, such as "2 failed, 31 passed, 1 skipped in 40.1s", as numbers."""
    last = text.strip().splitlines()[-1]
    return {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}


def of_tests(counts: dict) -> Iterator[Finding]:
    """Tests passed, failed and skipped."""
    said = ", ".join(f"{number} {word}" for word, number in counts.items())
    yield Finding("GPU tests", "all pass", said, "passed" in counts and not {"failed", "error"} & set(counts))


def of_speed(result: dict) -> Iterator[Finding]:
    """Rate, peak and idle share of each watch. The released code's way (carry) is there to be compared with."""
    for row in result["rows"]:
        what, rate = f"{result['model']}, {row['policy']}", row["video_seconds_per_second"]
        said = f"{rate:g}, {row['of_matmul']:.0%} of the matmul rate"
        yield Finding(f"{what}: video-s/s", ">= 120", said, rate >= 120).only(row["policy"] != "carry")
        yield _peak(what, row)
        idle, file = row["device_idle"], row["decoded_watch"]
        yield figure(f"{what}: GPU idle", "not measured" if idle is None else f"{idle:.0%}")
        if encoders := row["encoders"]:
            ratio = encoders["ahead_s"] / encoders["in_turn_s"]
            yield figure(f"{what}: encoded ahead, time in that of turns", f"{ratio:.2f}")
        yield figure(f"{what}: from a file, video-s/s", f"{file['video_s'] / file['wall_s']:.3g}")
    yield from _ended_early(result)


def of_answers(result: dict) -> Iterator[Finding]:
    """Rates by way and number of questions, and what many questions cost more than one. Goals are the engine's own."""
    ones = {row["way"]: row["answer_s"] for row in result["rows"] if row["questions"] == 1 and "why" not in row}
    for row in result["rows"]:
        yield from _of_answer(row, ones.get(row["way"]))
    if (captured := result["graph_captured"]) is not None:
        yield Finding("step captured as a CUDA graph", "yes", "yes" if captured else "no", captured)


def _of_answer(row: dict, one_s: float | None) -> Iterator[Finding]:
    """``one_s``: seconds of the answer to one question, the same way."""
    count, ours = row["questions"], row["way"] != "transformers"
    what = f"{row['way']}, {count} at once"
    if "why" in row:
        yield Finding(what, "runs", row["why"], False)
        return
    rate = count / row["step_s"] if row["step_s"] else row["tokens_per_second"]
    said = f"{rate:.4g}; {row['tokens_per_second']:g} of a whole answer"
    yield Finding(f"{what}: tokens/s", ">= 150", said, rate >= 150).only(ours and count == 1)
    if count > 1 and one_s:
        ratio = row["answer_s"] / one_s
        yield Finding(f"{what}: time, in those of 1", "<= 2", f"{ratio:.2f}", ratio <= 2).only(ours)


def of_memory(result: dict) -> Iterator[Finding]:
    """Of the last row: its peak holds the answers that came after the first."""
    for row in result["rows"][-1:]:
        yield _peak(f"{result['model']}, {row['entries']} entries, answers included", row)
    yield from _ended_early(result)


def of_transcript(result: dict) -> Iterator[Finding]:
    """Seconds of an hour's transcript. Random weights repeat themselves more often than trained ones."""
    hour, plain = (result[name] * 60 / result["minutes"] for name in ("whole_s", "whole_without_again_s"))
    whole = result["minutes"] >= 60 and not result["estimated"]
    how = "measured" if whole else f"estimated from {result['video_s']:g} s of video"
    said = f"{plain:.1f} s; {hour:.1f} s with repetitive answers asked again ({how})"
    yield Finding("transcript of an hour", "<= 60 s", said, plain <= 60)
    yield _peak("transcript", result)


def of_media(result: dict) -> Iterator[Finding]:
    """Decoding by processor and GPU, and the log-mel of a chunk on host and device."""
    said, gpu = f"processor {result['processor_fps']:g}", result["gpu_fps"]
    what = "decoding 1080p: frames/s"
    if gpu is None:
        yield Finding(what, "the GPU's more", f"{said}; GPU none ({result['why']})", False)
    else:
        yield Finding(what, "the GPU's more", f"{said}; GPU {gpu:g}", gpu > result["processor_fps"])
        apart = result["difference"]
        yield Finding("decoding by the GPU: mean difference of pixels", "<= 0.5 of 255", f"{apart:g}", apart <= 0.5)
    host, device = result["host_mel_ms"], result["device_mel_ms"]
    yield figure("log-mel of a chunk: ms", f"host {host:g}; device {'none' if device is None else f'{device:g}'}")


def _ended_early(result: dict) -> Iterator[Finding]:
    for ended in result["stopped"]:
        what = f"{result['model']}, {ended['policy']}: ended early"
        yield Finding(what, "no", f"after {ended['at_s']:g} s of video: {ended['why']}", False)


def _peak(what: str, row: dict) -> Finding:
    """The allocator's peak; without CUDA the process's, which no goal is set for."""
    on_gpu = "device_peak_bytes" in row
    peak, estimate = row["device_peak_bytes" if on_gpu else "rss_peak_bytes"], row["estimated_bytes"]
    size = f"{peak / 2**30:.2f} GiB"
    if not estimate:  # of what the tool itself would not run
        return figure(f"{what}: peak", size)
    ratio = peak / estimate
    what = f"{what}: peak / estimate"
    return Finding(what, "within 2 %", f"{ratio:.3f} ({size})", 0.98 <= ratio <= 1.02).only(on_gpu)
