"""Results as files: every format, names, subtitles that players accept."""

import json
import re
from itertools import pairwise

import jsonschema
import pytest
from scripted import result

from omnimem_cli.base.sizes import format_bytes
from omnimem_cli.base.timecode import format_clock, format_timestamp
from omnimem_cli.results.codes import warning
from omnimem_cli.results.prose import said
from omnimem_cli.results.result import PARTS, schema
from omnimem_cli.results.writers import FORMATS, WRITERS, offered
from omnimem_cli.results.writers.chapters import youtube_objection
from omnimem_cli.results.writers.cues import cues
from omnimem_cli.results.writers.json import write_json_line

CHAPTERS = [
    {"start_s": 0.0, "end_s": 180.0, "title": "Trains", "text": "About trains."},
    {"start_s": 180.0, "end_s": 3723.0, "title": "", "text": "About ships."},
]


def transcript(*segments: tuple[float, float, str]) -> dict:
    rows = [{"start_s": start, "end_s": end, "text": text} for start, end, text in segments]
    return result("transcribe", {"transcript": {"language": None, "segments": rows}})


def answers(data: object, answer: str = "raw", name: str = "decisions", status: str = "answered") -> dict:
    row = {"id": name, "question": "What was decided?", "answer": answer, "status": status, "data": data}
    return result("ask", {"answers": [row]})


SAMPLES = {
    "summarize": result("summarize", {"summary": {"text": "A talk.", "chapters": CHAPTERS}}),
    "transcribe": transcript((0.5, 2.0, "Hello."), (2.0, 4.0, "Good bye.")),
    "ask": answers([{"decision": "Buy", "owner": None}]),
}
ENDS = {
    "not_in_video": "Not in the video.",
    "cut": "Cut at the token limit.",
    "invalid": "Cut at the token limit before it could fit its schema.",
    "empty": "No answer.",
}
CASES = [(task, name) for task, names in FORMATS.items() for name in names]


@pytest.mark.parametrize(("task", "name"), CASES)
def test_every_offered_format_writes_text_that_ends_with_one_newline(task, name):
    text = WRITERS[name](SAMPLES[task])
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_every_task_has_formats_and_every_format_a_writer():
    assert set(FORMATS) == set(PARTS) - {"watch"}  # which has those of its tasks
    assert {name for names in FORMATS.values() for name in names} == set(WRITERS)


@pytest.mark.parametrize("name", ["md", "txt", "html"])
def test_how_an_answer_ended_is_said_in_plain_words(name):
    for status, note in ENDS.items():
        text = WRITERS[name](answers(None, "" if status == "empty" else "The begi", status=status))
        assert note in text and ("The begi" in text) == (status in ("cut", "invalid"))
        assert not any(other in text for other in set(ENDS.values()) - {note})
    assert not any(note in WRITERS[name](answers(["Buy"])) for note in ENDS.values())


@pytest.mark.parametrize("name", ["md", "html"])
def test_a_second_look_says_where_and_what_it_changed(name):
    spans = [{"start_s": 10.0, "end_s": 14.0}, {"start_s": 30.0, "end_s": 33.0}]
    before = {"answer": "Sell", "status": "answered", "data": None}
    record = answers(None, "Buy")
    looked = record["answers"][0]
    looked["look"] = {"spans": spans, "before": before, "changed": True}
    text = WRITERS[name](record)
    assert "Looked again at 0:10–0:14, 0:30–0:33; before: Sell" in text
    looked["look"]["changed"] = False
    assert "the answer is the same" in WRITERS[name](record) and "Sell" not in WRITERS[name](record)
    looked["look"]["spans"] = []
    assert "Looked again" not in WRITERS[name](record)


def test_json_is_the_result_itself():
    record = result("summarize", {"summary": {"text": "naïve 列車", "chapters": []}})
    text = WRITERS["json"](record)
    assert json.loads(text) == record
    assert "列車" in text
    assert write_json_line(record).count("\n") == 1


def test_markdown_shows_summary_chapters_and_facts():
    text = WRITERS["md"](SAMPLES["summarize"])
    assert text.startswith("# lecture.mp4\n\nA talk.\n")
    assert "## 0:00–3:00 Trains\n\nAbout trains.\n" in text
    assert "## 3:00–1:02:03 Untitled" in text
    assert "| Watched | 99.1 % (picture 1:01, sound 1:01) |" in text
    assert "budget 512 entries, 3.0 MiB at the end, 6.0 MiB at most" in text
    assert "400 visual, 112 audio, 12 text entries (mean over 6 layers)" in text


def test_markdown_says_what_was_wrong():
    record = result(warnings=[warning("repetition", "The summary repeated itself.")])
    assert "## Warnings\n\n- The summary repeated itself.\n" in WRITERS["md"](record)
    assert "Warnings" not in WRITERS["md"](result())


def test_markdown_copes_with_unknown_facts():
    record = result()
    record["input"] |= {"duration_s": None, "video": None, "start_s": 5.0}
    record["coverage"] |= {"duration_s": None, "ratio": None}
    record["memory"] |= {"budget_entries": None, "split": None}
    record["timing"] |= {"video_seconds_per_second": None}
    text = WRITERS["md"](record)
    assert "from 0:05 to the end, no picture" in text
    assert "(coverage unknown)" in text
    assert "budget no bound" in text


def test_markdown_makes_a_table_of_like_objects():
    text = WRITERS["md"](answers([{"decision": "Buy | sell", "owner": None}, {"decision": "Go", "owner": "Ann"}]))
    assert "## Decisions\n" in text
    assert "| Decision | Owner |\n| --- | --- |\n| Buy \\| sell | – |\n| Go | Ann |" in text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"needed": True, "why": "smoke"}, "- **Needed**: yes\n- **Why**: smoke"),
        (["a", "b"], "- a\n- b"),
        ([], "*None.*"),
        (7, "7"),
        ({"sides": ["A", "B"], "score": {"a": 1}}, "**Sides**\n\n- A\n- B"),
        ([{"a": [1, 2], "b": {"c": False}}], "| 1, 2 | C: no |"),
    ],
)
def test_markdown_renders_any_data(data, expected):
    assert expected in WRITERS["md"](answers(data))


def test_markdown_of_plain_questions_is_headed_by_the_question():
    text = WRITERS["md"](answers(None, answer="To buy.", name="q1"))
    assert "## What was decided?\n\nTo buy.\n" in text


def test_markdown_is_headed_by_the_title_of_a_page_or_an_address_without_its_query():
    def heading(path: str, **more) -> str:
        facts = SAMPLES["summarize"]["input"] | {"path": path} | more
        return WRITERS["md"](SAMPLES["summarize"] | {"input": facts}).splitlines()[0]

    assert heading("https://host/watch?***", title="My talk") == "# My talk"
    assert heading("https://host/day%201.mp4?***", title=None) == "# day 1.mp4"
    assert heading("talks/what?.mp4") == "# what?.mp4"


def test_names_cannot_break_markdown():
    record = result(input=result()["input"] | {"path": "a/*b*_[c]#1.mp4"})
    assert WRITERS["md"](record).startswith("# \\*b\\*\\_\\[c\\]\\#1.mp4\n")


def test_an_empty_transcript_is_a_valid_file_in_every_format():
    empty = transcript()
    silent = "00:00:00{0}000 --> 00:00:02{0}000\n[No speech was found.]\n"
    assert WRITERS["srt"](empty) == "1\n" + silent.format(",")
    assert WRITERS["vtt"](empty) == "WEBVTT\n\n" + silent.format(".")
    assert WRITERS["txt"](empty) == ""
    assert "No speech" in WRITERS["md"](empty)


def test_srt_numbers_its_cues_and_parts_them_by_blank_lines():
    expected = "1\n00:00:00,500 --> 00:00:02,000\nHello.\n\n2\n00:00:02,000 --> 00:00:04,000\nGood bye.\n"
    assert WRITERS["srt"](SAMPLES["transcribe"]) == expected


def test_vtt_has_its_header_and_dots():
    assert WRITERS["vtt"](SAMPLES["transcribe"]).startswith("WEBVTT\n\n00:00:00.500 --> 00:00:02.000\nHello.\n\n")


def test_markup_in_subtitles_is_escaped():
    record = transcript((0.0, 2.0, "a --> b & <i>"))
    assert WRITERS["vtt"](record).count("-->") == 1
    assert "a --&gt; b &amp; &lt;i&gt;" in WRITERS["vtt"](record)
    assert WRITERS["srt"](record).count("-->") == 1


def test_cues_are_short_in_order_and_never_negative():
    words = "word " * 200
    record = transcript((-0.3, 29.9, words), (29.5, 29.6, words), (29.6, 29.6, "end"), (40.0, 41.0, "later"))
    made = cues(record)
    assert all(len(line) <= 42 for cue in made for line in cue.text.split("\n"))
    assert all(cue.text.count("\n") <= 1 for cue in made)
    assert made[0].start_s == 0.0
    assert all(cue.start_s < cue.end_s for cue in made)
    assert all(before.end_s <= after.start_s for before, after in pairwise(made))
    stamps = re.findall(r"\d\d:\d\d:\d\d,\d{3}", WRITERS["srt"](record))
    assert stamps == sorted(stamps)
    assert " ".join(cue.text.replace("\n", " ") for cue in made).split() == (words * 2 + "end later").split()


def test_long_segments_fill_their_own_time():
    made = cues(transcript((10.0, 40.0, "word " * 60)))
    assert (made[0].start_s, made[-1].end_s) == (10.0, 40.0)


def test_subtitles_need_a_transcript_and_chapter_lines_a_summary_with_chapters():
    assert [task for task in FORMATS if "srt" in offered(task, {})] == ["transcribe"]
    assert not {"chapters", "vtt"} & set(offered("summarize", {"style": "brief"}))
    assert {"chapters", "vtt"} < set(offered("summarize", {"style": "chapters"}))


def chaptered(*starts: float, end_s: float = 4000.0, title: str = "Ships") -> dict:
    spans = pairwise([*starts, end_s])
    rows = [{"start_s": start, "end_s": end, "title": title, "text": "About it."} for start, end in spans]
    return result("summarize", {"summary": {"text": "A talk.", "chapters": rows}})


def test_chapter_lines_are_what_youtube_reads():
    record = chaptered(0.02, 180.9, 3723.0, title="Ships  &\ntrains")
    assert WRITERS["chapters"](record) == "0:00 Ships & trains\n3:00 Ships & trains\n1:02:03 Ships & trains\n"
    assert youtube_objection(record) is None


def test_a_chapter_without_a_title_has_its_number():
    assert WRITERS["chapters"](chaptered(0.0, 60.0, title="")) == "0:00 Chapter 1\n1:00 Chapter 2\n"


@pytest.mark.parametrize(
    ("starts", "said"),
    [
        ((0.0, 60.0), "at least 3 of them, not 2"),
        ((5.0, 60.0, 120.0), "the first begins at 0:05"),
        ((0.0, 60.0, 69.5), "one is shorter than 10 s"),
        ((0.0, 60.0, 3995.0), "one is shorter than 10 s"),
    ],
)
def test_what_youtube_would_refuse_is_said_and_nothing_is_made_up(starts, said):
    record = chaptered(*starts)
    assert said in youtube_objection(record)
    assert WRITERS["chapters"](record).count("\n") == len(starts)


def test_chapters_of_webvtt_are_cues_with_a_title():
    text = WRITERS["vtt"](chaptered(0.0, 180.0, title="A <b> --> c"))
    first = "WEBVTT\n\n00:00:00.000 --> 00:03:00.000\nA &lt;b&gt; --&gt; c\n\n"
    assert text.startswith(first + "00:03:00.000 --> 01:06:40.000\n")


def test_clocks_and_stamps():
    assert (format_clock(75.9), format_clock(3723), format_clock(-1)) == ("1:15", "1:02:03", "0:00")
    assert (format_timestamp(3723.0456), format_timestamp(-1.0), format_timestamp(59.9996, ",")) == (
        "01:02:03.046",
        "00:00:00.000",
        "00:01:00,000",
    )


def test_bytes_are_written_in_binary_units_up_to_gibibytes():
    counts = (0, 1023, 1536, 12.5 * 2**20, 3 * 2**40)
    assert [format_bytes(count) for count in counts] == ["0 B", "1023 B", "1.5 KiB", "12.5 MiB", "3072.0 GiB"]


def spans(*starts: float) -> list[dict]:
    return [{"start_s": start, "end_s": start + 2.0, "kind": "visual", "score": 0.5} for start in starts]


def test_markdown_gives_the_times_of_evidence_at_the_end_of_each_line():
    text = "# Trains\nThey run. \n\n| a table |\nThey stop."
    evidence = [spans(1.0), spans(760.9, 59.0), spans(2.0), []]
    lines = [{"line": line, "evidence": found} for line, found in zip((0, 1, 3, 4), evidence, strict=True)]
    part = {"text": text, "chapters": [], "paragraphs": lines}
    assert "# Trains\nThey run. [12:40] [0:59]\n\n| a table |\nThey stop.\n" in WRITERS["md"](
        result("summarize", {"summary": part})
    )


def test_markdown_gives_the_times_of_answers_and_of_the_items_in_their_data():
    def shown(data: object, items: dict, answer: str = "raw") -> str:
        made = answers(data, answer)
        made["answers"][0] |= {"evidence": spans(5.0), "item_evidence": items}
        return WRITERS["md"](made)

    assert "raw [0:05]\n" in shown(None, {})
    assert "one\ntwo\n\n[0:05]\n" in shown(None, {}, "one\ntwo")
    table = "| Who | Evidence |\n| --- | --- |\n| Ann |  |\n| Bo | [1:01] |\n"
    assert table in shown([{"who": "Ann"}, {"who": "Bo"}], {"/1": spans(61.0)})
    assert "- Ann [1:01]\n- Bo\n" in shown({"a/b": ["Ann", "Bo"]}, {"/a~1b/0": spans(61.0)})
    assert "- **Who**: Ann\n\n[0:05]\n" in shown({"who": "Ann"}, {})


def test_every_format_says_when_an_item_is_and_no_second_time_beside_it():
    when = {"start_s": 61.0, "end_s": 63.5, "source": "evidence"}
    made = answers([{"at": when, "who": "Ann"}, {"at": None, "who": "Bo"}])
    made["answers"][0] |= {"evidence": spans(5.0), "item_evidence": {"/0": spans(61.0, 7.0)}}
    assert "| At | Who |\n| --- | --- |\n| 1:01–1:03 | Ann |\n| – | Bo |\n" in WRITERS["md"](made)
    assert "- At: 1:01–1:03; Who: Ann\n- Who: Bo\n" in WRITERS["txt"](made)
    assert said(made["answers"][0], timed=True) == "- At: 1:01–1:03; Who: Ann\n- Who: Bo"
    page = WRITERS["html"](made)
    assert 'data-time="61.0">1:01–1:03</button>' in page and "[0:07]" not in page
    alone = answers({"at": when, "place": {"at": when, "name": "Rome"}})
    assert "- **At**: 1:01–1:03\n\n**Place**\n\n- **At**: 1:01–1:03\n" in WRITERS["md"](alone)
    jsonschema.validate(when, {"$ref": "#/$defs/at", "$defs": schema()["$defs"]})


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ([{"decision": "Buy", "owner": None}, {"decision": "Sell"}], "- Decision: Buy; Owner: –\n- Decision: Sell"),
        (["Ann", "Bo"], "- Ann\n- Bo"),
        ({"when": "Monday", "who_came": ["Ann", "Bo"]}, "When: Monday\nWho came:\n  - Ann\n  - Bo"),
        ({"plan": {"done": True, "by": []}}, "Plan:\n  Done: yes\n  By: –"),
        ([], "None."),
        (3.5, "3.5"),
    ],
)
def test_plain_text_has_data_as_prose(data, shown):
    assert WRITERS["txt"](answers(data)) == f"Decisions\n{shown}\n"
