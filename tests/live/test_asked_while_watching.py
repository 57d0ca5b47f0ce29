"""Fifty questions to a live watch of nano: each answered soon, and the watch is that of a run without questions."""

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import pytest
from safetensors import safe_open

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs.inputs import Input
from omnimem_cli.jobs.work import Work
from omnimem_cli.live import answers as live_answers
from omnimem_cli.live import socket as live_socket
from omnimem_cli.live.batch import LiveBatch
from omnimem_cli.live.options import SUMMARY, LiveFlags
from omnimem_cli.live.socket import ask_live
from omnimem_cli.tasks.several import Part, Several
from omnimem_cli.world.mp4 import write_mp4
from omnimem_cli.world.video import make_video

from events import lines_of  # isort: skip

LENGTH_S = 120.0
CLIENTS, EACH = 10, 5


@dataclass
class Counted:
    """What happened to the questions: chunks that went by between question and answer, and what was answered."""

    chunks: int = 0
    waited: list[int] = field(default_factory=list)
    replies: list[dict] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("film") / "yard.mp4"
    write_mp4(make_video(70_001, 15, split="eval", duration_s=LENGTH_S), path)
    return path


def watched(folder: Path, film: Path, **flags) -> dict:
    """The result of a live watch of the film, which waits for nobody's clock: a local file loses nothing."""
    folder.mkdir(exist_ok=True)
    settings = Settings(model="nano", output=str(folder), formats=("json",), keep_memory=True, positions="retime")
    work = Work("watch", Several, {"parts": {SUMMARY: Part("summarize", {"style": "chapters"})}}, settings)
    options = LiveFlags(every_s=60.0, events=str(folder / "events.jsonl"), give_up_s=1.0, **flags)
    batch = LiveBatch(work, options, silent)
    (outcome,) = batch.outcomes(batch.assign_targets([Input(str(film), PurePath("yard.mp4"), stream=True)]))
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


@contextmanager
def silent(label: str):
    yield lambda progress: None


def entries(folder: Path) -> dict[str, bytes]:
    """Every tensor of the memory file."""
    (path,) = folder.glob("yard*.omnimem")
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).contiguous().view(-1).numpy().tobytes() for name in file.keys()}  # noqa: SIM118


def ask_again_and_again(place: Path, counted: Counted, stop: threading.Event) -> None:
    """Questions, one after the other; before the first chunk, and after the last, there is nobody to answer."""
    asked = [{"id": "q1", "question": "Which word is written on the last slide?", "schema": None}]
    done = 0
    while done < EACH and not stop.wait(0.02):
        try:
            counted.replies.append(ask_live(place, asked, limit_s=120))
            done += 1
        except InputError as error:
            if error.code not in ("live_away", "live_early"):
                counted.errors.append(error.code)


def summary_of(result):
    return result["results"]["summary"]


def test_fifty_questions_are_answered_within_a_chunk_and_change_nothing(tmp_path, film, monkeypatch):
    counted, stop, place = Counted(), threading.Event(), tmp_path / "s"
    count_chunks(monkeypatch, counted)
    clients = [threading.Thread(target=ask_again_and_again, args=[place, counted, stop]) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    asked = watched(tmp_path / "asked", film, ask_socket=place)
    stop.set()
    for client in clients:
        client.join(10)
    monkeypatch.undo()
    alone = watched(tmp_path / "alone", film)
    assert (len(counted.replies), counted.errors) == (CLIENTS * EACH, [])
    assert max(counted.waited) <= 1, "each is answered at the end of the chunk in which it came"
    assert {reply["answers"][0]["status"] for reply in counted.replies} <= {"answered", "not_in_video"}
    assert asked["coverage"] == alone["coverage"] and asked["coverage"]["ratio"] > 0.99
    assert entries(tmp_path / "asked") == entries(tmp_path / "alone")
    said = [{name: each[name] for name in ("summary", "coverage")} for each in map(summary_of, (asked, alone))]
    assert said[0] == said[1]
    told = lines_of(tmp_path / "asked" / "events.jsonl")
    assert sum(event["type"] == "answer" for event in told) == CLIENTS * EACH
    periods = [[(e["start_s"], e["end_s"], e["text"]) for e in lines if e["tag"] == "period"] for lines in (
        told, lines_of(tmp_path / "alone" / "events.jsonl"))]  # fmt: skip
    assert periods[0] == periods[1]


def count_chunks(monkeypatch, counted: Counted) -> None:
    """Note at each question how many chunks the watch has taken in, and at its answer how many more it is."""
    answer, parse = live_answers.LiveAnswers._answer, live_socket._request
    came: dict[int, int] = {}

    def request(line: bytes):
        made = parse(line)
        came[id(made)] = counted.chunks
        return made

    def answered(self, session, last_s, requests):
        counted.waited += [session.chunks_seen - came[id(each)] for each in requests if session.chunks_seen]
        answer(self, session, last_s, requests)

    call = live_answers.LiveAnswers.__call__

    def between(self, session):
        counted.chunks = session.chunks_seen
        call(self, session)

    monkeypatch.setattr(live_socket, "_request", request)
    monkeypatch.setattr(live_answers.LiveAnswers, "_answer", answered)
    monkeypatch.setattr(live_answers.LiveAnswers, "__call__", between)
