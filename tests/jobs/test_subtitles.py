"""`--subtitles` on the command line: which ones, what the result says of them, and when finished work is redone."""

import json
import shutil
from pathlib import Path

import footage
import jsonschema
import pytest
from fake_run import FakeRun, omnimem

from omnimem_cli.results.result import schema

SRT = "1\n00:00:01,000 --> 00:00:03,000\nHello there.\n\n2\n00:00:04,000 --> 00:00:05,000\nBye.\n"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return footage.av(tmp_path_factory.mktemp("film"), "film.mkv", video_s=6, audio_s=6)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, film: Path) -> FakeRun:
    """An empty folder with a film and its subtitles."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(film, "film.mkv")
    Path("film.srt").write_text(SRT)
    return FakeRun(monkeypatch)


def transcribe(*more: str) -> dict:
    assert omnimem("transcribe", "film.mkv", "-f", "json", *more) == 0
    made = json.loads(Path("film.transcript.json").read_text())
    jsonschema.Draft202012Validator(schema()).validate(made)
    return made


def test_subtitles_become_the_transcript_without_a_watch(fake: FakeRun):
    made = transcribe("--subtitles", "use")
    assert fake.watched == []
    assert [segment["text"] for segment in made["transcript"]["segments"]] == ["Hello there.", "Bye."]
    facts = {"role": "transcript", "file": "film.srt", "stream": None, "language": None, "format": "srt"}
    assert made["transcript"]["subtitles"] == facts
    assert made["model"] is made["memory"] is made["coverage"] is None


@pytest.mark.parametrize("format", ["md", "html", "txt", "vtt"])
def test_every_format_of_it_is_written_and_says_where_the_words_come_from(fake: FakeRun, format: str):
    assert omnimem("transcribe", "film.mkv", "-f", format, "--subtitles", "use", "-o", "out") == 0
    (file,) = [path for path in Path("out").iterdir() if path.is_file()]
    text = file.read_text()
    assert "Hello there." in text
    assert ("film.srt (no language, srt) are the transcript" in text) == (format in ("md", "html"))


def test_a_range_takes_its_lines_only(fake: FakeRun):
    segments = transcribe("--subtitles", "use", "--start", "2", "--end", "4")["transcript"]["segments"]
    assert segments == [{"start_s": 2.0, "end_s": 3.0, "text": "Hello there."}]


def test_finished_work_is_redone_when_the_subtitles_change_and_only_then(fake: FakeRun, capsys):
    transcribe("--subtitles", "use")
    transcribe("--subtitles", "use")
    assert "skipped, done before" in capsys.readouterr().err
    Path("film.srt").write_text(SRT.replace("Bye", "Good bye"))
    assert transcribe("--subtitles", "use")["transcript"]["segments"][1]["text"] == "Good bye."
    transcribe()
    assert fake.watched == ["film.mkv"]


def test_work_of_before_there_was_the_option_is_still_done(fake: FakeRun):
    transcribe()
    record = json.loads(Path(".omnimem/film.transcript.json").read_text())
    assert "subtitles" not in record["work"] and "subtitles" not in record["work"]["settings"]


def test_subtitles_that_omnimem_wrote_are_no_source(fake: FakeRun):
    Path("film.srt").unlink()
    assert omnimem("transcribe", "film.mkv", "-f", "srt") == 0
    transcribe("--subtitles", "use")
    assert fake.watched == ["film.mkv", "film.mkv"]


def test_subtitles_of_the_user_are_never_replaced_by_their_own_transcript(fake: FakeRun, capsys):
    assert omnimem("transcribe", "film.mkv", "-f", "srt", "--subtitles", "use") == 8
    assert Path("film.srt").read_text() == SRT


def test_a_folder_gives_videos_and_no_subtitle_files(fake: FakeRun, tmp_path: Path):
    assert omnimem("transcribe", str(tmp_path), "-r", "-f", "json", "--subtitles", "use") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"film.mkv", "film.srt", "film.transcript.json", ".omnimem"}


def test_unreadable_subtitles_cost_their_video_only(fake: FakeRun, film: Path, capsys):
    shutil.copy(film, "other.mkv")
    Path("other.srt").write_text("budget")
    assert omnimem("transcribe", "film.mkv", "other.mkv", "--subtitles", "use", "-f", "json") == 3
    assert "other.srt cannot be read as subtitles" in capsys.readouterr().err


def test_a_kept_memory_holds_the_subtitles_that_were_used(monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    footage.av(tmp_path, "talk.mp4", video_s=4, audio_s=4)
    Path("talk.srt").write_text(SRT)
    nano = ("-m", "nano", "--device", "cpu", "-q", "-f", "json")
    assert omnimem("watch", "talk.mp4", "--with", "transcript", "--subtitles", "use", *nano) == 0
    before = json.loads(Path("talk.transcript.json").read_text())["transcript"]
    assert before["segments"][0]["text"] == "Hello there." and before["subtitles"]["file"] == "talk.srt"
    Path("talk.mp4").unlink()
    assert omnimem("transcribe", "talk.omnimem", "--subtitles", "use", *nano, "-o", "out") == 0
    assert json.loads(Path("out/talk.transcript.json").read_text())["transcript"] == before
    assert omnimem("transcribe", "talk.omnimem", *nano, "-o", "other") == 4
