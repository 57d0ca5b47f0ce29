"""Where results stand: no two inputs ever share a name, and names are stable from run to run."""

import os
from pathlib import Path

import pytest
from fake_run import FakeRun, media, omnimem

from omnimem_cli.base.errors import UsageError
from omnimem_cli.jobs.inputs import find_inputs
from omnimem_cli.jobs.targets import Target, name_targets


def nobody(target: Target) -> None:
    return None


def names(*typed: str, output: str | None = None, formats: tuple[str, ...] = ("md",)) -> list[str]:
    inputs = find_inputs(typed, recursive=True)
    return [str(t.path(formats[0])) for t in name_targets(inputs, "summary", formats, output, nobody)]


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_result_stands_beside_its_input():
    media("rec/lecture.mp4")
    assert names("rec/lecture.mp4") == ["rec/lecture.summary.md"]


def test_subtitles_have_the_name_that_players_look_for():
    media("film.mkv")
    assert names("film.mkv", formats=("srt",)) == ["film.srt"]


def test_only_a_media_suffix_is_dropped():
    media("talk.v2.mp4")
    Path("talk.v2").write_bytes(b"x")
    assert names("talk.v2.mp4") == ["talk.v2.summary.md"]
    assert names("talk.v2") == ["talk.v2.summary.md"]


def test_two_files_of_one_stem_keep_their_suffixes_however_many_were_asked_for():
    media("a.mp4", "a.mkv")
    assert names("a.mp4", "a.mkv") == ["a.mp4.summary.md", "a.mkv.summary.md"]
    assert names("a.mp4") == ["a.mp4.summary.md"]


def test_a_tree_is_mirrored_below_the_output_folder():
    media("rec/day1/a.mp4", "rec/b.mp4")
    assert names("rec", output="out") == ["out/b.summary.md", "out/day1/a.summary.md"]


def test_files_of_one_name_from_several_folders_keep_the_folders_that_part_them():
    media("x/day1/talk.mp4", "x/day2/talk.mp4", "x/other.mp4")
    found = names("x/day1/talk.mp4", "x/day2/talk.mp4", "x/other.mp4", output="out")
    assert found == ["out/day1/talk.summary.md", "out/day2/talk.summary.md", "out/other.summary.md"]


def test_two_trees_with_the_same_places_do_not_meet():
    media("one/a.mp4", "two/a.mp4")
    assert names("one", "two", output="out") == ["out/one/a.summary.md", "out/two/a.summary.md"]


def test_an_output_with_a_result_suffix_is_a_file_of_one_input():
    media("a.mp4", "b.mp4")
    assert names("a.mp4", output="notes/a.md") == ["notes/a.md"]
    with pytest.raises(UsageError, match="2 inputs"):
        names("a.mp4", "b.mp4", output="notes.md")
    with pytest.raises(UsageError, match=r"\.json"):
        names("a.mp4", output="notes.md", formats=("json",))


def test_a_later_input_never_takes_the_place_of_an_earlier_one(fake: FakeRun):
    media("day1/talk.mp4", "day2/talk.mp4", "day3/talk.mp4")
    for day in ("day1", "day2", "day3"):
        assert omnimem("summarize", f"{day}/talk.mp4", "-o", "out") == 0
    assert len(list(Path("out").glob("*.md"))) == 3
    assert "talk.mp4 under" in Path("out/talk.summary.md").read_text()
    for day in ("day1", "day2", "day3"):
        omnimem("summarize", f"{day}/talk.mp4", "-o", "out")
    assert len(fake.watched) == 3, "each keeps its place, so nothing is done again"


def test_a_twin_that_appears_later_does_not_rename_what_is_done(fake: FakeRun):
    media("a.mp4")
    omnimem("summarize", "a.mp4")
    media("a.mkv")
    omnimem("summarize", "a.mp4", "a.mkv")
    assert fake.watched == ["a.mp4", "a.mkv"]
    assert {p.name for p in Path().glob("*.md")} == {"a.summary.md", "a.mkv.summary.md"}


def test_a_moved_tree_is_still_done(fake: FakeRun):
    media("old/rec/a.mp4")
    omnimem("summarize", "old/rec", "-r")
    Path("old").rename("new")
    omnimem("summarize", "new/rec", "-r")
    assert fake.watched == ["a.mp4"]


def test_names_that_begin_with_a_dash_or_are_no_utf8_work(fake: FakeRun, capsysbinary):
    odd = os.fsdecode(b"caf\xe9.mp4")
    media("-dash.mp4", odd)
    assert omnimem("summarize", "--", "-dash.mp4", odd) == 0
    assert capsysbinary.readouterr().out.splitlines() == [b"-dash.summary.md", b"caf\xe9.summary.md"]
    assert Path(os.fsdecode(b"caf\xe9.summary.md")).read_text(encoding="utf-8")
