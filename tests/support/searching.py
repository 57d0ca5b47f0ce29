"""A small library of results to search: what the tests of search have in common."""

from pathlib import Path

from scripted import result

from omnimem_cli.results.search.hits import Hit, make_hit
from omnimem_cli.results.search.index import Findings, search_folder
from omnimem_cli.results.search.query import parse_query
from omnimem_cli.results.writers import WRITERS

MEETING = [
    (0.0, 30.0, "Good morning. The budget for 2027 is ten million. Any questions?"),
    (30.0, 60.0, "The Budgets of 2026 were smaller; a café in Łódź costs more."),
    (60.0, 90.0, "2027年の予算は十億円です。次の議題に移ります。"),
    (90.0, 120.0, "งบประมาณปีหน้า 서울에서 만나요"),
]


def transcript(*segments: tuple[float, float, str]) -> dict:
    rows = [{"start_s": start, "end_s": end, "text": text} for start, end, text in segments]
    return result("transcribe", {"transcript": {"language": None, "segments": rows}})


def write(path: Path, record: dict, format: str = "json") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(WRITERS[format](record), "utf-8")


def search(root: Path, query: str, limit: int | None = None) -> Findings:
    return search_folder(str(root), parse_query(query), limit, root.parent / "cache")


def hits(root: Path, query: str) -> list[Hit]:
    return [make_hit(match, parse_query(query)) for match in search(root, query).matches]


def texts(root: Path, query: str) -> list[str]:
    return [hit.text for hit in hits(root, query)]


def marked(hit: Hit) -> list[str]:
    return [hit.text[begin:end] for begin, end in hit.matches]
