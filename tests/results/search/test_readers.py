"""What is read of the files below a folder: every part of a result, every format, nothing foreign."""

import json
import os
from pathlib import Path

import pytest
from scripted import result
from searching import MEETING, hits, search, texts, transcript, write

from omnimem_cli.results.codes import warning
from omnimem_cli.results.search import readers
from omnimem_cli.results.search.passages import markdown_blocks, passages_of
from omnimem_cli.results.writers import FORMATS, WRITERS

SUMMARY = {
    "text": "Intro of the talk.\n\n- **First** point about `trains`\n- second point\n\nA paragraph\nin two lines.",
    "chapters": [{"start_s": 60.0, "end_s": 3723.0, "title": "Ships & *boats*", "text": "About ships.\n\n- a list"}],
}
ANSWERS = [
    {"id": "q1", "question": "Who won?", "answer": "The red team.", "status": "answered", "data": None},
    {
        "id": "decisions",
        "question": "What was decided?",
        "answer": "[...]",
        "status": "answered",
        "data": [{"decision": "Buy", "owner": None}, {"decision": "Sell it", "owner": "Anna"}],
    },
]
SAMPLES = {
    "summarize": result("summarize", {"summary": SUMMARY}),
    "transcribe": transcript(*MEETING),
    "ask": result("ask", {"answers": ANSWERS}),
}
SAID = {
    "summarize": ["second point", "A paragraph in two lines.", "First point about trains", "About ships.", "a list"],
    "transcribe": ["Any questions?", "次の議題に移ります。", "งบประมาณปีหน้า"],
    "ask": ["The red team.", "Sell it", "Anna"],
}


def test_the_title_of_a_page_is_searched_too(tmp_path: Path):
    record = SAMPLES["ask"] | {"input": SAMPLES["ask"]["input"] | {"title": "A talk about volcanoes"}}
    for format in ("json", "md"):
        write(tmp_path / format / f"a.{format}", record, format)
        assert texts(tmp_path / format, "volcano") == ["A talk about volcanoes"]


def test_every_part_of_a_result_is_searched_with_its_times(tmp_path: Path):
    root = tmp_path / "lib"
    for task, record in SAMPLES.items():
        write(root / f"{task}.json", record)
    found = {
        query: (hits(root, query)[0].part, hits(root, query)[0].start_s)
        for query in ("lecture", "intro", "ships boats", '"a list"', "questions", '"who won"', "red", "anna")
    }
    assert found == {
        "lecture": ("title", None),
        "intro": ("summary", None),
        "ships boats": ("chapter", 60.0),
        '"a list"': ("chapter", 60.0),
        "questions": ("segment", 0.0),
        '"who won"': ("question", None),
        "red": ("answer", None),
        "anna": ("answer", None),
    }
    assert texts(root, "anna sell") == ["decision: Sell it; owner: Anna"]


WHOLE = [
    (task, name)
    for task, names in FORMATS.items()
    for name in names
    if name not in ("html", "chapters", "csv") and (task, name) != ("summarize", "vtt")
]


@pytest.mark.parametrize(("task", "format"), WHOLE)
def test_a_result_that_exists_in_one_format_only_is_found_in_it(tmp_path: Path, task: str, format: str):
    name = {"summarize": "a.summary", "transcribe": "a.transcript", "ask": "a.answers"}[task]
    root = tmp_path / "lib"
    write(root / f"{'a' if format in ('srt', 'vtt') else name}.{format}", SAMPLES[task], format)
    asked = [said for said in SAID[task] if format != "txt" or said not in ("Sell it", "Anna")]
    for said in asked:
        assert texts(root, f'"{said}"'), said
    if format == "txt":
        part = {"summarize": "summary", "transcribe": "segment", "ask": "answer"}[task]
        assert {hit.part for hit in hits(root, f'"{asked[0]}"')} == {part}
    timed = {hit.start_s for hit in hits(root, "次の議題")}
    if task == "transcribe" and format != "txt":
        assert len(timed) == 1 and 60.0 <= timed.pop() < 90.0
    assert search(root, "budget entries").total == 0, "the facts of a run are not what was said"


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_that_nothing_was_said_is_nothing_said(tmp_path: Path, format: str):
    write(tmp_path / "lib" / f"a.{format}", transcript(), format)
    found = search(tmp_path / "lib", "speech")
    assert (found.total, found.broken) == (0, {})


def test_a_title_of_chapters_is_found_once_as_a_chapter(tmp_path: Path):
    chapters = [{"start_s": 60.0, "end_s": 90.0, "title": "Ships of the line", "text": "About them."}]
    record = result("summarize", {"summary": {"text": "A talk.", "chapters": chapters}})
    write(tmp_path / "lib" / "a.chapters.vtt", record, "vtt")
    (hit,) = hits(tmp_path / "lib", "ships of the line")
    assert (hit.part, hit.start_s, hit.source) == ("chapter", 60.0, "a")
    write(tmp_path / "lib" / "a.summary.json", record, "json")
    (hit,) = hits(tmp_path / "lib", "ships of the line")
    assert hit.file.endswith("a.summary.json")


@pytest.mark.parametrize("format", ["json", "md"])
def test_what_summary_and_chapters_both_say_is_one_hit_with_its_time(tmp_path: Path, format: str):
    chapters = [{"start_s": 60.0, "end_s": 90.0, "title": "", "text": "- About ships."}]
    record = result("summarize", {"summary": {"text": "- About trains.\n- About ships.", "chapters": chapters}})
    write(tmp_path / "lib" / f"a.summary.{format}", record, format)
    assert [hit.start_s for hit in hits(tmp_path / "lib", "about ships")] == [60.0]
    assert [hit.start_s for hit in hits(tmp_path / "lib", "about trains")] == [None]


def test_times_of_markdown_are_those_of_its_headings(tmp_path: Path):
    write(tmp_path / "lib" / "a.summary.md", SAMPLES["summarize"], "md")
    (hit,) = hits(tmp_path / "lib", "about ships")
    assert (hit.part, hit.start_s, hit.end_s, hit.source) == ("chapter", 60.0, 3723.0, "lecture.mp4")


def test_a_sentence_that_is_cut_into_cues_is_found_whole(tmp_path: Path):
    long = "We agreed that the budget for the coming year stays where it was, whatever the others have said about it."
    for format in ("srt", "vtt"):
        root = tmp_path / format / "lib"
        write(root / f"a.{format}", transcript((3600.0, 3630.0, long), (3630.0, 3632.0, "Next.")), format)
        assert [(hit.text, hit.start_s) for hit in hits(root, "budget others")] == [(long, 3600.0)]


@pytest.mark.parametrize("format", ["md", "srt", "vtt"])
def test_files_with_the_line_ends_of_windows_and_a_byte_order_mark_are_read(tmp_path: Path, format: str):
    (tmp_path / "lib").mkdir()
    text = WRITERS[format](transcript(*MEETING)).replace("\n", "\r\n")
    (tmp_path / "lib" / f"a.{format}").write_bytes(text.encode("utf-8-sig"))
    assert [int(hit.start_s) for hit in hits(tmp_path / "lib", '"any questions"')] in ([0], [6], [17], [18], [19], [20])


def test_cues_without_the_end_of_a_sentence_are_joined_for_half_a_minute_at_most(tmp_path: Path):
    cues = transcript(*((n * 6.0, n * 6.0 + 6, f"red and green {n}") for n in range(7)))
    write(tmp_path / "lib" / "a.vtt", cues, "vtt")
    assert sorted((hit.start_s, hit.end_s) for hit in hits(tmp_path / "lib", "red")) == [(0, 30), (30, 42)]


def test_of_markdown_only_what_was_said_is_searched(tmp_path: Path):
    root = tmp_path / "lib"
    silent = transcript() | {"warnings": [warning("no_sound", "There was nothing to hear.")]}
    write(root / "a.transcript.md", silent, "md")
    empty = ANSWERS[0] | {"answer": ""}
    write(root / "b.answers.md", result("ask", {"answers": [empty, ANSWERS[1], ANSWERS[1] | {"data": []}]}), "md")
    for query in ('"no speech was found"', '"no answer"', '"none"', '"nothing to hear"', "---", "facts", "|"):
        assert search(root, query).total == 0, query
    assert search(root, "lecture").total == 2 and texts(root, "anna") == ["Sell it; Anna"]


@pytest.mark.parametrize("format", ["md", "vtt", "srt"])
def test_characters_that_a_format_escapes_are_read_as_they_were(tmp_path: Path, format: str):
    said = "R&D says 3 < 4 and a_b is [5] * 6."
    write(tmp_path / "lib" / f"a.{format}", transcript((0.0, 1.0, said)), format)
    assert texts(tmp_path / "lib", "says") == [said]


def test_files_of_one_result_side_by_side_give_one_hit_from_the_best(tmp_path: Path):
    root = tmp_path / "lib"
    record = transcript(*MEETING)
    for file in ("m.transcript.md", "m.srt", "m.vtt", "m.transcript.txt", "m.transcript.json"):
        write(root / file, record, file.rpartition(".")[2])
    shown = []
    for gone in ("m.transcript.json", "m.transcript.md", "m.vtt", "m.srt", "m.transcript.txt"):
        (hit,) = hits(root, "budget 2027")
        shown.append(Path(hit.file).name)
        (root / gone).unlink()
    assert shown == ["m.transcript.json", "m.transcript.md", "m.vtt", "m.srt", "m.transcript.txt"]
    assert hits(root, "budget 2027") == []


def test_json_lines_are_as_many_results_as_lines(tmp_path: Path):
    failed = {"schema": "omnimem/result/1", "status": "failed", "input": {"path": "gone.mp4"}}
    rows = [transcript(*MEETING), failed, SAMPLES["ask"]]
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert texts(tmp_path / "lib", "red team") == ["The red team."]
    assert texts(tmp_path / "lib", "gone.mp4") == ["gone.mp4"]


def test_broken_files_are_named_and_foreign_ones_counted_and_the_rest_is_found(root: Path):
    good = (root / "meeting.transcript.json").read_text("utf-8")
    (root / "cut.json").write_text(good[:-40])
    (root / "shape.json").write_text('{"schema": "omnimem/result/1", "input": []}')
    (root / "time.json").write_text(good.replace("60.0", "NaN"))
    (root / "later.json").write_text(good.replace("omnimem/result/1", "omnimem/result/9"))
    (root / "deep.json").write_text('{"schema": "omnimem/result/1", "x": ' + "[" * 100_000)
    (root / "digits.json").write_text('{"schema": "omnimem/result/1", "x": ' + "1" * 5000 + "}")
    (root / "bytes.srt").write_bytes(b"1\n00:00:01,000 --> 00:00:02,000\nf\xe4llt\n")
    for foreign in ("latin.md", "latin.html", "latin.txt", "latin.json"):
        (root / foreign).write_bytes(b"f\xe4llt")
    (root / "package.json").write_text("{}")
    (root / "quoted.md").write_text("Like this: budget 2027\n" + WRITERS["md"](transcript(*MEETING)))
    (root / "large.json").write_bytes(b"omnimem/result/" + bytes(readers.MOST_BYTES))
    (root / "README.md").write_text("# budget 2027")
    (root / "notes.txt").write_text("budget 2027")
    (root / "noise.srt").write_text("budget 2027")
    os.mkfifo(root / "pipe.json")
    for foreign in (10, 0):
        found = search(root, "budget 2027")
        assert len(found.matches) == 1 and found.foreign == foreign, "only what is new is counted"
        broken = {Path(file).name: problem for file, problem in found.broken.items()}
        assert set(broken) == {
            "cut.json",
            "shape.json",
            "time.json",
            "later.json",
            "deep.json",
            "digits.json",
            "bytes.srt",
        }
        assert (
            broken["cut.json"] == broken["digits.json"] == "it is not valid JSON"
            and "omnimem/result/9" in broken["later.json"]
        )


def test_a_broken_file_gives_way_to_the_next_format(root: Path):
    write(root / "meeting.transcript.md", transcript(*MEETING), "md")
    (root / "meeting.transcript.json").write_text('{"schema": "omnimem/result/1"')
    (hit,) = hits(root, "budget 2027")
    assert hit.file.endswith("meeting.transcript.md")
    assert [Path(file).name for file in search(root, "budget 2027").broken] == ["meeting.transcript.json"]


def test_secrets_of_addresses_are_neither_shown_nor_kept(tmp_path: Path):
    root = tmp_path / "lib"
    record = transcript((0.0, 1.0, "See https://anna:hunter2@example.com/a?token=t0ps3cret now"))
    record["input"]["path"] = "rtsp://admin:hunter2@camera/1?key=t0ps3cret"
    write(root / "a.json", record)
    assert search(root, "hunter2").total == search(root, "t0ps3cret").total == 0
    (title, said) = sorted(hits(root, "admin") + hits(root, "anna"), key=lambda hit: hit.part, reverse=True)
    assert title.text == title.source == "rtsp://admin:***@camera/1?***"
    assert said.text == "See https://anna:***@example.com/a?*** now"
    kept = b"".join(path.read_bytes() for path in (tmp_path / "cache").iterdir())
    assert b"example" in kept and b"hunter2" not in kept and b"t0ps3cret" not in kept


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path):
    (tmp_path / "lib").mkdir()
    said = transcript((0.0, 1.0, "red \x1b[31m alarm\x07\u2028 \ud800 end"))
    (tmp_path / "lib" / "a.json").write_text(json.dumps(said))
    assert texts(tmp_path / "lib", "alarm") == ["red [31m alarm end"]


def test_paragraphs_and_list_items_are_blocks_without_their_marks():
    assert markdown_blocks("# Head\ntext\n\n1. one\n2) two\n* `x` __y__\n  more\n\n> quote") == [
        "Head text",
        "one",
        "two",
        "x y more",
        "quote",
    ]
    assert passages_of(result("summarize", {"summary": {"text": "", "chapters": []}}))[0].part == "title"


def test_an_item_of_data_that_says_when_is_found_with_its_times():
    when = {"start_s": 61.0, "end_s": 63.5, "source": "evidence"}
    data = [{"at": when, "who": "Ann"}, {"at": None, "who": "Bo"}]
    row = {"id": "q1", "question": "Who?", "answer": "raw", "status": "answered", "data": data}
    found = [one for one in passages_of(result("ask", {"answers": [row]})) if one.part == "answer"]
    assert [(one.text, one.start_s, one.end_s) for one in found] == [("who: Ann", 61.0, 63.5), ("who: Bo", None, None)]
