"""Where results stand: no two inputs ever share a name, and names are stable from run to run."""

import os
from pathlib import Path

import pytest
from fake_run import FakeRun, media, omnimem

from omnimem_cli.base.errors import UsageError
from omnimem_cli.jobs.files import name_bytes
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


def test_chapters_are_never_taken_for_subtitles():
    media("film.mkv")
    assert names("film.mkv", formats=("vtt",)) == ["film.chapters.vtt"]
    assert names("film.mkv", formats=("chapters.vtt",)) == ["film.chapters.vtt"]
    assert names("film.mkv", formats=("transcript.vtt",)) == ["film.vtt"]
    assert names("film.mkv", formats=("chapters",)) == ["film.chapters"]


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


LONG = ("a" * 246 + ".mp4", "a" * 245 + "b.mp4", "\u00e9" * 123 + ".mp4", os.fsdecode(b"\xe9" * 250 + b".mp4"))


@pytest.mark.parametrize("name", LONG)
def test_a_name_as_long_as_the_disk_allows_gives_a_result_that_the_next_run_finds(fake: FakeRun, name: str):
    media("b.mp4", name)
    assert omnimem("summarize", name, "b.mp4") == 0
    (result,) = [p for p in Path().glob("*.md") if p.name != "b.summary.md"]
    assert result.name.startswith(name[:90]) and result.name.endswith(".summary.md")
    assert omnimem("summarize", name, "b.mp4") == 0
    assert omnimem("summarize", "-n", name, "b.mp4") == 0
    assert fake.watched == [name, "b.mp4"], "both are done"


def test_two_long_names_that_are_cut_alike_are_two_names():
    media(*LONG[:2])
    first, second = names(*LONG[:2])
    assert first != second and len(first) == len(second) < 255
    assert names(*LONG[:2]) == [first, second]


@pytest.mark.parametrize("task", [("transcribe", "-f", "srt,vtt,md"), ("ask", "--preset", "mine")])
def test_every_task_and_preset_leaves_room_for_the_input_in_a_name(fake: FakeRun, task: tuple[str, ...]):
    preset = Path("p" * 240 + ".yaml")
    preset.write_text("description: d\nquestions:\n  - {id: a, question: what}\n")
    media(LONG[0])
    assert omnimem(*[str(preset.absolute()) if word == "mine" else word for word in task], LONG[0]) == 0


def test_a_result_file_may_be_named_as_long_as_the_disk_allows(fake: FakeRun):
    media("a.mp4")
    name = "n" * 252 + ".md"
    assert omnimem("summarize", "a.mp4", "-o", name) == 0
    assert Path(name).is_file()


def test_a_report_may_be_named_as_long_as_the_disk_allows(fake: FakeRun):
    media("a.mp4")
    assert omnimem("summarize", "a.mp4", "--report", "r" * 250 + ".json") == 0


def test_a_disk_that_allows_shorter_names_gets_shorter_names(monkeypatch: pytest.MonkeyPatch):
    name_bytes.cache_clear()
    monkeypatch.setattr(os, "pathconf", lambda path, name: 143)  # as on eCryptfs
    media("c" * 130 + ".mp4")
    (name,) = names("c" * 130 + ".mp4")
    name_bytes.cache_clear()
    assert len(name.removesuffix(".md") + ".checkpoint") == 143
