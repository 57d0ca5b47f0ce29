"""What a result rests on, as label and value for people: input, coverage, model, memory, time."""

import re
from urllib.parse import unquote

from omnimem_cli.base.paths import hide_secrets
from omnimem_cli.base.sizes import format_bytes, format_share
from omnimem_cli.base.timecode import format_clock

STATUS_NOTES = {
    "answered": "",
    "not_in_video": "Not in the video.",
    "cut": "Cut at the token limit.",
    "invalid": "Cut at the token limit before it could fit its schema.",
    "empty": "No answer.",
}
"""How an answer ended, in words for a reader; nothing where it simply ended."""


def title_of(facts: dict) -> str:
    """The title of a web page, else the last part of the path, or of an address without its query and its secrets."""
    path = hide_secrets(facts["path"])
    if "://" in path:
        path = unquote(re.split(r"[?#;]", path, maxsplit=1)[0])
    return facts.get("title") or path.rstrip("/").rsplit("/", 1)[-1]


def fact_rows(result: dict) -> list[tuple[str, str]]:
    """Rows of the facts table; what is unknown says so."""
    model, memory, timing = result["model"], result["memory"], result["timing"]
    rows = [("Input", _input(result["input"]))]
    if subtitles := result.get("transcript", {}).get("subtitles"):
        rows.append(("Subtitles", _subtitles(subtitles)))
    if model is None:
        return [*rows, ("Watched", "nothing: no model was asked")]
    rows.append(("Watched", _coverage(result["coverage"])))
    rows.append(("Model", f"{model['name']} ({model['dtype']}, {model['device']})"))
    rows += [("Memory", _memory(memory)), ("Seen", _counts(memory["seen"])), ("Kept", _kept(memory))]
    if notes := result.get("notes"):
        rows.append(("Notes", f"{len(notes)}, taken on the way and read with each question"))
    rows.append(("Time", _timing(timing)))
    if made := result.get("made_with"):
        day = timing.get("ended_at", "").partition("T")[0]
        rows.append(("Made with", f"omnimem {made['omnimem']}" + (f", {day}" if day else "")))
    return rows


def _input(facts: dict) -> str:
    parts = [] if facts["duration_s"] is None else [format_clock(facts["duration_s"])]
    if facts["start_s"] is not None or facts["end_s"] is not None:
        end = "the end" if facts["end_s"] is None else format_clock(facts["end_s"])
        parts.append(f"from {format_clock(facts['start_s'] or 0.0)} to {end}")
    video, audio = facts["video"], facts["audio"]
    parts.append(f"picture {video['width']} x {video['height']}" if video else "no picture")
    if video and "key_step_s" in video:
        parts.append(f"of it key frames alone, at most {video['key_step_s']:.1f} s apart")
    parts.append(_sound(audio) if audio else "no sound")
    return ", ".join(parts)


def _sound(audio: dict) -> str:
    text = "sound" if audio["tracks"] == 1 else f"sound track {audio['chosen']} of {audio['tracks']}"
    return f"{text} ({audio['language']})" if audio["language"] else text


def _subtitles(part: dict) -> str:
    role = "are the transcript" if part["role"] == "transcript" else "were a hint to the model"
    name = part["file"] or f"stream {part['stream']}"
    return f"{name} ({part['language'] or 'no language'}, {part['format']}) {role}"


def _coverage(part: dict) -> str:
    still_s = part.get("still_s")
    still = f", of which {format_clock(still_s)} still and skipped" if still_s else ""
    seconds = f"picture {format_clock(part['video_s'])}{still}, sound {format_clock(part['audio_s'])}"
    return f"{seconds} (coverage unknown)" if part["ratio"] is None else f"{format_share(part['ratio'])} ({seconds})"


def _memory(memory: dict) -> str:
    bounds = [] if memory["budget_entries"] is None else [f"{memory['budget_entries']:,.0f} entries"]
    bounds += [] if memory["budget_bytes"] is None else [format_bytes(memory["budget_bytes"])]
    budget = " / ".join(bounds) or "no bound"
    held = f"{format_bytes(memory['bytes'])} at the end, {format_bytes(memory['peak_bytes'])} at most"
    return f"{memory['policy']}, budget {budget}, {held}"


def _counts(counts: dict) -> str:
    return f"{counts['visual']:,.0f} visual, {counts['audio']:,.0f} audio, {counts['text']:,.0f} text entries"


def _kept(memory: dict) -> str:
    return f"{_counts(memory['kept'])} (mean over {memory['layers']} layers)"


def _timing(timing: dict) -> str:
    speed = timing["video_seconds_per_second"]
    return f"{timing['wall_s']:.1f} s" + ("" if speed is None else f" ({speed:.1f} x real time)")
