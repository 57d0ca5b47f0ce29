"""Plain text: what the task found and nothing else, for pipes. Knows the result object only."""

from omnimem_cli.base.timecode import format_span
from omnimem_cli.results.prose import heading, note, said


def write_txt(result: dict) -> str:
    """The summary with its chapters, the words of a transcript, or questions with answers; maybe empty."""
    blocks = _BODIES[result["task"]](result)
    return "\n\n".join(block.strip() for block in blocks if block.strip()) + "\n" * any(blocks)


def _summary(result: dict) -> list[str]:
    blocks = [result["summary"]["text"]]
    for chapter in result["summary"]["chapters"]:
        head = f"{format_span(chapter['start_s'], chapter['end_s'])} {chapter['title']}".strip()
        blocks.append(f"{head}\n{chapter['text']}")
    return blocks


def _transcript(result: dict) -> list[str]:
    return ["\n".join(segment["text"] for segment in result["transcript"]["segments"])]


def _answers(result: dict) -> list[str]:
    return ["\n".join(filter(None, (heading(a), said(a), note(a)))) for a in result["answers"]]


_BODIES = {"summarize": _summary, "transcribe": _transcript, "ask": _answers}
