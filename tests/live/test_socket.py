"""The socket of a watch: for its owner alone, one answer per request, and nobody waits for ever."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from omnimem_cli.base.errors import InputError, OutputError
from omnimem_cli.live.socket import QuestionSocket, ask_live

ASKED = [{"id": "q1", "question": "What happened?", "schema": None}]


@pytest.fixture
def place(tmp_path):
    return tmp_path / "ask"


class Watch(threading.Thread):
    """Answers requests one by one, as a watch does between its chunks."""

    def __init__(self, listening: QuestionSocket, chunk_s: float = 0.02):
        super().__init__(daemon=True)
        self.listening, self.chunk_s, self.answered, self.over = listening, chunk_s, [], threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(self.chunk_s):
            while (request := self.listening.next_request()) is not None:
                self.answered.append(request)
                request.reply({"answers": [{**q, "answer": q["question"].upper()} for q in request.questions]})


def raw(place: Path, data: bytes) -> dict:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(place))
        connection.sendall(data)
        return json.loads(connection.makefile().readline())


def test_a_question_is_answered_by_the_watch(place):
    listening = QuestionSocket(place)
    watch = Watch(listening)
    assert ask_live(place, ASKED, 3600.0, limit_s=5)["answers"][0]["answer"] == "WHAT HAPPENED?"
    assert (watch.answered[0].last_s, watch.answered[0].summary) == (3600.0, False)
    ask_live(place, [], summary=True, limit_s=5)
    assert watch.answered[1].summary
    watch.over.set()
    listening.close()


def test_only_the_owner_may_use_the_socket(place):
    before = os.umask(0o027)
    try:
        listening = QuestionSocket(place)
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert os.umask(before) == 0o027, "the mask of the process is as it was"
    finally:
        os.umask(before)
    listening.close()
    assert not place.exists()


def test_a_socket_that_a_killed_watch_left_is_replaced(place):
    code = f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({str(place)!r}); s.listen()"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert place.exists()
    listening = QuestionSocket(place)
    Watch(listening)
    assert ask_live(place, ASKED, limit_s=5)["answers"]
    listening.close()


def test_a_second_watch_may_not_take_the_socket(place):
    listening = QuestionSocket(place)
    with pytest.raises(OutputError, match="Another watch"):
        QuestionSocket(place)
    Watch(listening)
    assert ask_live(place, ASKED, limit_s=5)["answers"]
    listening.close()


def test_a_file_is_never_replaced_by_a_socket(place):
    place.write_text("notes")
    with pytest.raises(OutputError, match="no socket"):
        QuestionSocket(place)
    assert place.read_text() == "notes"


def test_a_path_that_no_socket_can_have_is_a_typed_error(tmp_path):
    with pytest.raises(OutputError, match="cannot be a socket"):
        QuestionSocket(tmp_path / ("long" * 50))


def test_many_at_once_wait_and_one_too_many_is_told_so(place):
    listening, replies = QuestionSocket(place, waiting=4), []
    threads = [threading.Thread(target=lambda: replies.append(outcome(place))) for _ in range(10)]
    for thread in threads:
        thread.start()
    while len(replies) < 6:
        time.sleep(0.01)
    watch = Watch(listening)
    for thread in threads:
        thread.join(10)
    assert sorted(replies) == ["answered"] * 4 + ["live_busy"] * 6
    watch.over.set()
    listening.close()


def outcome(place: Path, limit_s: float = 10) -> str:
    try:
        ask_live(place, ASKED, limit_s=limit_s)
    except InputError as error:
        return error.code
    return "answered"


def test_a_client_waits_no_longer_than_its_limit_and_its_question_is_dropped(place):
    listening = QuestionSocket(place)
    began = time.monotonic()
    assert outcome(place, limit_s=0.3) == "timeout"
    assert time.monotonic() - began < 1
    time.sleep(0.6)
    assert listening.next_request() is None
    listening.close()


def test_no_watch_is_a_typed_error(place):
    assert outcome(place) == "live_away"
    place.write_text("")
    assert outcome(place) == "live_away"


def test_who_waits_is_told_that_the_watch_has_ended(place):
    listening, replies = QuestionSocket(place), []
    thread = threading.Thread(target=lambda: replies.append(outcome(place)))
    thread.start()
    time.sleep(0.3)
    listening.close()
    thread.join(5)
    assert replies == ["live_away"]


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"[]\n",
        b"{}\n",
        b'{"questions": []}\n',
        b'{"questions": [{"id": "a"}]}\n',
        b'{"questions": [{"id": "a", "question": " "}]}\n',
        b'{"questions": [{"id": "a", "question": "x"}, {"id": "a", "question": "y"}]}\n',
        b'{"questions": [{"id": "a", "question": "x"}], "last_s": -1}\n',
        b'{"questions": [{"id": "a", "question": "x"}], "last_s": NaN}\n',
        b'{"questions": [{"id": "a", "question": "x", "schema": 7}]}\n',
        b'{"questions": [{"id": "a", "question": "x"}], "summary": "yes"}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n",
    ],
)
def test_what_is_no_request_is_refused_and_the_next_one_answered(place, line):
    listening = QuestionSocket(place)
    Watch(listening)
    assert raw(place, line)["error"]["code"] == "live_request"
    assert outcome(place) == "answered"
    listening.close()


def test_a_line_without_an_end_is_not_held(place):
    listening = QuestionSocket(place)
    assert raw(place, b"x" * (2**20 + 1))["error"]["code"] == "live_request"
    listening.close()


def test_clients_leave_no_threads_and_no_descriptors_behind(place):
    listening = QuestionSocket(place)
    watch = Watch(listening)
    outcome(place)
    time.sleep(0.1)
    before = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(40):
        assert outcome(place) == "answered"
    time.sleep(0.3)
    after = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    assert all(now <= then for now, then in zip(after, before, strict=True))
    watch.over.set()
    listening.close()
