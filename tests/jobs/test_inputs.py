"""From what was typed to inputs: folders, globs, lists, streams, odd names."""

import os
from pathlib import Path

import pytest
from fake_run import media

from omnimem_cli.base.errors import UsageError
from omnimem_cli.jobs.inputs import find_inputs, read_list


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def paths(*typed: str, **options) -> list[str]:
    return [one.path for one in find_inputs(typed, **options)]


def test_a_folder_needs_recursive():
    media("rec/a.mp4")
    with pytest.raises(UsageError, match="folder"):
        paths("rec")
    assert paths("rec", recursive=True) == ["rec/a.mp4"]


def test_a_folder_gives_known_media_in_order_and_nothing_hidden():
    media("rec/b.MKV", "rec/a/z.mp3", "rec/notes.txt", "rec/.cache/x.mp4", "rec/.hidden.mp4")
    assert paths("rec", recursive=True) == ["rec/b.MKV", "rec/a/z.mp3"]


def test_include_and_exclude_narrow_a_folder():
    media("rec/a.mp4", "rec/b.mp4", "rec/c.bin", "rec/raw/d.mp4")
    assert paths("rec", recursive=True, exclude=["b*", "raw/*"]) == ["rec/a.mp4"]
    assert paths("rec", recursive=True, include=["*.bin"]) == ["rec/c.bin"]


def test_a_quoted_glob_is_expanded_and_brackets_in_a_real_name_are_not():
    media("a1.mp4", "a2.mp4", "b[1].mp4")
    assert paths("a*.mp4") == ["a1.mp4", "a2.mp4"]
    assert paths("b[1].mp4") == ["b[1].mp4"]


def test_what_is_missing_is_still_an_input():
    assert paths("gone.mp4", "none*.mp4") == ["gone.mp4", "none*.mp4"]


def test_each_file_is_taken_once():
    media("rec/a.mp4")
    Path("link.mp4").symlink_to("rec/a.mp4")
    assert paths("rec/a.mp4", "./rec/a.mp4", "link.mp4", "rec", recursive=True) == ["rec/a.mp4"]


def test_a_url_and_a_device_are_streams():
    url, device = find_inputs(["https://host/talks/day%201.mp4?key=1", "v4l2:/dev/video0"])
    assert url.stream and url.relative.name == "day 1.mp4"
    assert device.stream


def test_a_list_is_split_at_lines_or_nulls_and_keeps_every_byte(tmp_path: Path):
    (tmp_path / "lines").write_bytes(b"a.mp4\nb c.mp4\r\n\n\xff.mp4\n")
    (tmp_path / "nulls").write_bytes(b"a.mp4\0new\nline.mp4\0")
    assert read_list("lines") == ["a.mp4", "b c.mp4", os.fsdecode(b"\xff.mp4")]
    assert read_list("nulls", null=True) == ["a.mp4", "new\nline.mp4"]


def test_a_list_that_cannot_be_read_is_a_usage_error():
    with pytest.raises(UsageError, match="files-from"):
        read_list("gone")


def test_a_list_with_a_mark_or_in_utf_16_is_read(tmp_path: Path):
    text = "caf\u00e9.mp4\r\nb.mp4\r\n"
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "list").write_bytes(text.encode(encoding))
        assert read_list("list") == ["caf\u00e9.mp4", "b.mp4"]


def test_a_list_of_nulls_without_0_is_a_usage_error(tmp_path: Path):
    (tmp_path / "list").write_bytes(b"a.mp4\0b.mp4\0")
    with pytest.raises(UsageError, match="NUL"):
        read_list("list")


def test_it_is_said_how_many_files_of_a_folder_were_left_out(capsys):
    media("rec/a.mp4", "rec/b.mod", "rec/c.mod", "rec/d.AU", "rec/.hidden.mod", "rec/a.summary.md", "rec/x/e.mod")
    assert paths("rec", recursive=True, exclude=["x/*"]) == ["rec/a.mp4"]
    assert "3 other files were left out (.mod, .au)" in capsys.readouterr().err
    paths("rec", recursive=True, include=["*.mp4"])
    assert capsys.readouterr().err == "", "who says what to take knows what is left"


def test_suffixes_of_cameras_and_recorders_are_media():
    names = [
        f"rec/{n}{s}" for n, s in enumerate((".3g2", ".w64", ".m2t", ".wv", ".insv", ".mk3d", ".qt", ".LRV", ".360"))
    ]
    media(*names)
    assert paths("rec", recursive=True) == names


@pytest.mark.parametrize("typed", ["x" * 300 + ".mp4", "closed/" + "y" * 300, "z" * 300 + "*"])
def test_a_name_that_no_file_can_have_is_an_input_that_fails_by_itself(typed: str):
    assert paths(typed) == [typed]


def test_a_camera_names_its_result_without_its_password():
    (camera,) = find_inputs(["rtsp://admin:hunter2@10.0.0.7:554"])
    assert camera.relative.name == "10.0.0.7:554"


def test_an_address_that_is_none_is_an_input_that_fails_by_itself():
    assert paths("http://[::1/a.mp4", "http://host/b.mp4") == ["http://[::1/a.mp4", "http://host/b.mp4"]
