"""Pages as files: beside the input with -f html, and of a result's JSON with `omnimem report`."""

import json
import re
import shutil
from pathlib import Path

import pytest
from fake_run import FakeRun, media, omnimem
from reported import lecture
from scripted import result

from omnimem_cli.jobs import standing
from omnimem_cli.media.thumbnails import Thumbnail
from omnimem_cli.results.report import charts
from omnimem_cli.results.result import bare_input, failed

CLIP = Path(charts.__file__).parents[2] / "world" / "demo.mp4"


def source_of(page: str) -> str | None:
    found = re.search(r'<(?:video|audio)[^>]* src="(.*?)"', page)
    return found and found[1]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["summarize"], "a b.summary.html"),
        (["transcribe"], "a b.transcript.html"),
        (["ask", "-Q", "Why?"], "a b.answers.html"),
        (["ask", "--preset", "meeting"], "a b.meeting.html"),
    ],
)
def test_every_task_writes_a_page_that_plays_the_video_beside_it(fake: FakeRun, arguments, name):
    media("a b.mp4")
    assert omnimem(*arguments, "a b.mp4", "-f", "html") == 0
    page = Path(name).read_text("utf-8")
    assert page.startswith("<!doctype html>") and source_of(page) == "a%20b.mp4"


def test_a_page_is_what_its_name_asks_for(fake: FakeRun):
    media("talks/a.mp4")
    assert omnimem("summarize", "talks/a.mp4", "-o", "page.html") == 0
    assert source_of(Path("page.html").read_text("utf-8")) == "talks/a.mp4"


def test_a_page_in_another_folder_finds_the_video(fake: FakeRun):
    media("talks/a.mp4")
    assert omnimem("summarize", "talks/", "-r", "-f", "md,html", "-o", "out/pages") == 0
    assert source_of(Path("out/pages/a.summary.html").read_text("utf-8")) == "../../talks/a.mp4"
    assert Path("out/pages/a.summary.md").exists()


def test_a_page_on_stdout_finds_the_video_from_the_working_directory(fake: FakeRun, capfdbinary):
    media("talks/a.mp4")
    assert omnimem("summarize", "talks/a.mp4", "-f", "html", "-o", "-") == 0
    assert source_of(capfdbinary.readouterr().out.decode()) == "talks/a.mp4"


def test_a_page_of_an_address_shows_no_video(fake: FakeRun):
    assert omnimem("summarize", "https://host/a.mp4", "-f", "html") == 0
    assert source_of(Path("a.summary.html").read_text("utf-8")) is None


def test_a_page_has_pictures_of_the_watched_range(fake: FakeRun, monkeypatch):
    asked = []

    def pictures(path, times, *, track):
        asked.extend([path, track, *times])
        return [Thumbnail(2.0, b"\xff\xd8")]

    monkeypatch.setattr("omnimem_cli.jobs.report.thumbnails", pictures)
    media("a.mp4")
    facts = result()["input"] | {"path": "a.mp4", "start_s": 10.0, "end_s": 42.0}
    facts["video"] = facts["video"] | {"tracks": 3, "chosen": 2}
    fake.on["a.mp4"] = lambda: result(input=facts, coverage=result()["coverage"] | {"duration_s": 32.0})
    assert omnimem("summarize", "a.mp4", "-f", "html") == 0
    assert asked == ["a.mp4", 2, *(11.0 + 2 * i for i in range(16))]
    assert "data:image/jpeg;base64,/9g=" in Path("a.summary.html").read_text("utf-8")


def test_finished_work_is_skipped_without_making_a_page(fake: FakeRun, monkeypatch):
    media("a.mp4")
    assert omnimem("summarize", "a.mp4", "-f", "html,md") == 0
    before = Path("a.summary.html").read_bytes()
    monkeypatch.setattr(standing, "page_of", lambda *arguments: pytest.fail("a page was made"))
    assert omnimem("summarize", "a.mp4", "-f", "html,md") == 0
    Path("a.summary.md").unlink()
    assert omnimem("summarize", "a.mp4", "-f", "html,md") == 0
    assert Path("a.summary.md").exists() and Path("a.summary.html").read_bytes() == before
    assert fake.watched == ["a.mp4"]


def test_a_page_that_is_missing_is_written_again_and_one_that_was_edited_is_kept(fake: FakeRun):
    media("a.mp4")
    page = Path("a.summary.html")
    assert omnimem("summarize", "a.mp4", "-f", "html") == 0
    before = page.read_bytes()
    page.unlink()
    assert omnimem("summarize", "a.mp4", "-f", "html") == 0
    assert page.read_bytes() == before
    page.write_text("mine")
    assert omnimem("summarize", "a.mp4", "-f", "html") == 0
    assert page.read_text() == "mine" and fake.watched == ["a.mp4"]


def test_another_result_has_another_page(fake: FakeRun):
    media("a.mp4")
    assert omnimem("summarize", "a.mp4", "-f", "html", "--budget", "600") == 0
    before = Path("a.summary.html").read_bytes()
    assert omnimem("summarize", "a.mp4", "-f", "html", "--budget", "700") == 0
    assert Path("a.summary.html").read_bytes() != before


def written(made: dict, name: str = "a.summary.json") -> Path:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(json.dumps(made), "utf-8")
    return Path(name)


def watched(path: str = "a.mp4", digest: str | None = None) -> dict:
    """The result of one task, as its JSON file holds it."""
    made = lecture()
    own = {key: value for key, value in made.items() if key not in ("transcript", "answers")}
    return own | {"input": made["input"] | {"path": path, "digest": digest}}


def test_a_page_of_a_result_stands_beside_it_and_finds_its_video(fake: FakeRun, capsys):
    media("out/a.mp4")
    written(watched("elsewhere/a.mp4"), "out/a.summary.json")
    assert omnimem("report", "out/a.summary.json") == 0
    assert capsys.readouterr().out == "out/a.summary.html\n"
    assert source_of(Path("out/a.summary.html").read_text("utf-8")) == "a.mp4"


def test_the_file_that_was_watched_is_taken_where_it_was_and_no_other(fake: FakeRun):
    from omnimem_cli.jobs.records import digest_file

    media("talks/a.mp4", "out/a.mp4")
    written(watched("talks/a.mp4", digest_file("talks/a.mp4")), "out/a.summary.json")
    assert omnimem("report", "out/a.summary.json") == 0
    assert source_of(Path("out/a.summary.html").read_text("utf-8")) == "../talks/a.mp4"
    Path("talks/a.mp4").unlink()
    assert omnimem("report", "out/a.summary.json") == 0
    assert source_of(Path("out/a.summary.html").read_text("utf-8")) is None


def test_a_named_video_is_shown_and_a_wrong_one_is_said(fake: FakeRun, capsys):
    media("b.mp4")
    written(watched(digest="sha256:0"))
    assert omnimem("report", "a.summary.json", "b.mp4", "-o", "page.html") == 0
    assert "b.mp4 is not the file that was watched" in capsys.readouterr().err
    assert source_of(Path("page.html").read_text("utf-8")) == "b.mp4"
    assert omnimem("report", "a.summary.json", "c.mp4") == 4
    assert "c.mp4 is no file" in capsys.readouterr().err


def test_a_page_may_go_to_stdout(fake: FakeRun, capfdbinary):
    written(watched())
    assert omnimem("report", "a.summary.json", "-o", "-") == 0
    assert capfdbinary.readouterr().out.startswith(b"<!doctype html>")
    assert not Path("a.summary.html").exists()


def test_only_a_page_of_omnimem_is_replaced(fake: FakeRun, capsys):
    written(watched())
    for _ in range(2):
        assert omnimem("report", "a.summary.json") == 0
    Path("a.summary.html").write_text("mine")
    assert omnimem("report", "a.summary.json") == 8
    assert "is no page of omnimem" in capsys.readouterr().err
    assert omnimem("report", "a.summary.json", "--force") == 0
    assert Path("a.summary.html").read_text("utf-8").startswith("<!doctype html>")
    Path("folder.html").mkdir()
    assert omnimem("report", "a.summary.json", "-o", "folder.html") == 8


UNEVEN = watched()
UNEVEN["memory"] = json.loads(json.dumps(UNEVEN["memory"]))
UNEVEN["memory"]["distribution"]["over_time"]["audio"].pop()
DAMAGED = {
    "no JSON": b"# notes",
    "no UTF-8": b"\xff\xfe\x00",
    "a list": b"[]",
    "another object": b'{"schema": "omnimem/report/1"}',
    "infinite": json.dumps(watched()).replace("61.5", "1e999").encode(),
    "no number": json.dumps(watched()).replace("61.5", "NaN").encode(),
    "deep": b"[" * 100_000,
    "uneven": json.dumps(UNEVEN).encode(),
    "failed": json.dumps(failed("ask", ValueError("no"), input=bare_input("a.mp4"))).encode(),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_no_finished_result_is_4_in_one_sentence(fake: FakeRun, name, capsys):
    Path("a.json").write_bytes(DAMAGED[name])
    assert omnimem("report", "a.json") == 4
    said = capsys.readouterr().err
    assert said.startswith("error: a.json is ") and "unexpected" not in said
    assert not Path("a.html").exists()


def test_a_result_that_is_missing_is_4(fake: FakeRun, capsys):
    assert omnimem("report", "a.json") == 4
    assert "a.json does not exist." in capsys.readouterr().err


def test_pictures_are_made_of_a_real_video(fake: FakeRun):
    shutil.copy(CLIP, "demo.mp4")
    written(watched("demo.mp4"), "demo.summary.json")
    assert omnimem("report", "demo.summary.json") == 0
    page = Path("demo.summary.html").read_text("utf-8")
    assert 10 <= page.count("data:image/jpeg;base64,/9j/") <= 16
    assert len(page) < 200_000
