"""Evidence in texts for people: the times where its spans begin, after each line. Knows result objects only."""

from omnimem_cli.base.timecode import format_clock, format_span

NO_LINE_OF_TEXT = ("#", "|", "```", "---")
"""How lines begin to which nothing can be added: headings, tables, code, rules."""


def times(evidence: list[dict]) -> str:
    """``[12:40] [3:05]``, the best first, each once; empty without evidence."""
    return " ".join(dict.fromkeys(f"[{format_clock(span['start_s'])}]" for span in evidence))


def with_times(text: str, paragraphs: list[dict]) -> str:
    """A text with the times of its ``paragraphs``, {line, evidence}, at the end of their lines."""
    lines = text.split("\n")
    for paragraph in paragraphs:
        line, found = lines[paragraph["line"]], times(paragraph["evidence"])
        if found and not line.lstrip().startswith(NO_LINE_OF_TEXT):
            lines[paragraph["line"]] = f"{line.rstrip()} {found}"
    return "\n".join(lines)


def part_with_times(part: dict) -> str:
    """The text of a summary or chapter with its times."""
    return with_times(part["text"], part.get("paragraphs", []))


def answer_with_times(answer: dict) -> str:
    """The text of an answer with its times, after one line in that line, after several below them."""
    text, found = answer["answer"], times(answer.get("evidence", []))
    gap = "\n\n" if "\n" in text else " "
    return f"{text}{gap}{found}" if text and found else text


def look_note(answer: dict) -> str:
    """What a second look looked at, and what was said before if that was something else; empty without a look."""
    look = answer.get("look")
    if look is None or not look["spans"]:
        return ""
    spans = ", ".join(format_span(span["start_s"], span["end_s"]) for span in look["spans"])
    before = f"; before: {look['before']['answer']}" if look["changed"] else ", the answer is the same"
    return f"Looked again at {spans}{before}"


def item_times(answer: dict) -> dict[str, str]:
    """The times of the items of arrays in an answer's data, by JSON Pointer."""
    return {pointer: times(evidence) for pointer, evidence in answer.get("item_evidence", {}).items()}


def is_time(value: object) -> bool:
    """Whether a value in an answer's data is the ``at`` of a timed object."""
    return isinstance(value, dict) and value.keys() == {"start_s", "end_s", "source"}


def span_text(time: dict) -> str:
    """``12:40–12:52`` of an ``at``."""
    return format_span(time["start_s"], time["end_s"])


def has_time(value: object) -> bool:
    """Whether a value in an answer's data is an object that says when: its evidence need not be named again."""
    return isinstance(value, dict) and is_time(value.get("at"))


def without_no_time(value: dict) -> dict:
    """An object of an answer's data without an ``at`` that says nothing: nothing tells when it was."""
    return {key: each for key, each in value.items() if (key, each) != ("at", None)}


def inside(pointer: str, key: str | int) -> str:
    """The JSON Pointer of a value inside the one at ``pointer``."""
    return f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
