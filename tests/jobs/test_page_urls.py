"""The address of a page: its video is found, watched from a temporary file, and named by title and id."""

import functools
import http.server
import json
import tempfile
import threading
from pathlib import Path

import footage
import pytest
from fake_run import FakeRun, omnimem

from omnimem_cli.jobs import page_urls
from omnimem_cli.jobs.inputs import MEDIA_SUFFIXES
from omnimem_cli.jobs.page_urls import Page, find_page, opened

needs_yt_dlp = pytest.mark.skipif(not page_urls._has_yt_dlp(), reason="needs the extra url")
PAGE = '<html><head><title>{title}</title></head><body><video src="film.mp4"></video></body></html>'


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def site(tmp_path_factory):
    """The address of a small web site: a page with a film, the film without a suffix, a page without one."""
    folder = tmp_path_factory.mktemp("site")
    footage.av(folder, "film.mp4", video_s=2, audio_s=2)
    (folder / "page.html").write_text(PAGE.format(title="My talk: 1/2"))
    (folder / "empty.html").write_text("<html><body>nothing</body></html>")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@needs_yt_dlp
def test_a_page_is_watched_and_named_by_its_title_and_id(fake: FakeRun, site: str, scratch: Path):
    assert omnimem("summarize", f"{site}/page.html?token=SECRET123", "-f", "json") == 0
    assert fake.watched == ["media.mp4"]
    (file,) = Path().glob("*.json")
    assert file.name.startswith("My talk: 1_2") and file.name.endswith("].summary.json")
    facts = json.loads(file.read_text())["input"]
    assert facts["path"] == f"{site}/page.html?***" and facts["title"].startswith("My talk: 1/2")
    assert list(scratch.iterdir()) == [], "the temporary file goes away"
    assert "SECRET123" not in Path(".omnimem", file.name).read_text()


@needs_yt_dlp
def test_the_media_is_here_while_it_is_watched_and_gone_after_a_failure(site: str, scratch: Path):
    page = find_page(f"{site}/page.html", MEDIA_SUFFIXES)
    with pytest.raises(ZeroDivisionError), opened(page.address, page) as path:
        assert Path(path).stat().st_size > 1000 and scratch in Path(path).parents
        raise ZeroDivisionError
    assert list(scratch.iterdir()) == []


@needs_yt_dlp
def test_a_live_page_is_streamed_and_not_downloaded(site: str, scratch: Path):
    page = Page(f"{site}/page.html", "1", "Live", live=True)
    with opened(page.address, page) as path:
        assert path == f"{site}/film.mp4" and list(scratch.iterdir()) == []


@needs_yt_dlp
def test_a_page_without_media_fails_by_itself_with_the_reason(fake: FakeRun, site: str, monkeypatch, capsys):
    from omnimem_cli.base.errors import InputError
    from omnimem_cli.jobs.model import LazyModel

    def refuse(model, path, recent_s, media):
        raise InputError("It is not a media file.", code="not_media")

    monkeypatch.setattr(LazyModel, "prepare", refuse)
    assert omnimem("summarize", f"{site}/empty.html", "--report", "r.json") == 4
    error = json.loads(Path("r.json").read_text())["inputs"][0]["error"]
    assert error["code"] == "page" and "Unsupported URL" in error["message"]


@needs_yt_dlp
def test_a_media_file_is_no_page_with_or_without_a_suffix(site: str, tmp_path):
    assert find_page(f"{site}/film.mp4?x=1", MEDIA_SUFFIXES) is None
    assert find_page(f"{site}/film.mp4", frozenset()) is None
    assert find_page("rtsp://camera/", MEDIA_SUFFIXES) is None


@needs_yt_dlp
def test_errors_name_the_page_and_not_the_temporary_file(site: str, scratch: Path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert omnimem("summarize", f"{site}/page.html", "-m", "nano", "--audio-track", "7") == 4
    said = capsys.readouterr().err
    assert f"{site}/page.html has no audio track 7" in said and str(scratch) not in said


@needs_yt_dlp
def test_offline_asks_no_page(fake: FakeRun, site: str, monkeypatch, tmp_path):
    monkeypatch.setattr(page_urls, "_fetch", lambda *arguments: pytest.fail("a page was asked for"))
    assert omnimem("summarize", f"{site}/page.html", "--offline") == 0
    assert omnimem("doctor", f"{site}/page.html", "-m", "nano", "--offline") == 4


@needs_yt_dlp
def test_the_doctor_finds_the_video_of_a_page_as_a_run_does(site: str, scratch: Path, capsys):
    assert omnimem("doctor", f"{site}/page.html", "-m", "nano") == 0
    assert "0:02, 160x96 h264" in capsys.readouterr().out
    assert list(scratch.iterdir()) == []


def test_without_yt_dlp_the_error_says_how_to_install_it(monkeypatch, site: str, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(page_urls, "_has_yt_dlp", lambda: False)
    assert omnimem("summarize", f"{site}/page.html", "-m", "nano", "-o", "out") == 4
    said = capsys.readouterr().err
    assert "not a media file" in said and "pip install 'omnimem-cli[url]'" in said
