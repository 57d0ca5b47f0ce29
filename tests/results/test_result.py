"""The result object: its schema, its codes, the coverage rule."""

import re
from pathlib import Path

import jsonschema
import pytest
from scripted import result

from omnimem_cli.base.errors import InputError, UserError
from omnimem_cli.base.sizes import format_share
from omnimem_cli.media.segment import AudioStream, Media, VideoStream
from omnimem_cli.results import result as results
from omnimem_cli.results.codes import ERROR_CODES, WARNING_CODES, warning
from omnimem_cli.results.coverage import coverage, coverage_warnings

PARTS = {
    "summarize": {"summary": {"text": "x", "chapters": [{"start_s": 0.0, "end_s": 2.0, "title": "t", "text": "y"}]}},
    "transcribe": {"transcript": {"language": None, "segments": [{"start_s": 0.0, "end_s": 2.0, "text": "y"}]}},
    "ask": {"answers": [{"id": "q1", "question": "?", "answer": "!", "status": "answered", "data": None}]},
}


def valid(record: dict) -> bool:
    return jsonschema.Draft202012Validator(results.schema()).is_valid(record)


def media(video_s=60.0, audio_s=60.0, video_start_s=0.0, audio_start_s=0.0) -> Media:
    video = VideoStream(0, "h264", 640, 360, 25.0, video_s, video_start_s) if video_s != 0 else None
    audio = AudioStream(1, "aac", 2, 48_000, audio_s, audio_start_s, "eng") if audio_s != 0 else None
    return Media("a.mp4", video, audio, (audio,) if audio else ())


def ratio(source: Media, video_s: float, audio_s: float, **span: float) -> float | None:
    return coverage(source, video_s, audio_s, **span)["ratio"]


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(results.schema())


@pytest.mark.parametrize("task", PARTS)
def test_a_finished_result_of_each_task_is_valid(task):
    assert valid(result(task, PARTS[task]))


@pytest.mark.parametrize("key", list(result()))
def test_no_key_of_a_finished_result_may_be_missing(key):
    record = result()
    del record[key]
    assert not valid(record)


@pytest.mark.parametrize("key", ["input", "model", "memory", "coverage", "timing"])
def test_parts_take_no_unknown_key_and_miss_none(key):
    record = result()
    record[key] = record[key] | {"extra": 1}
    assert not valid(record)
    record = result()
    record[key] = dict(list(record[key].items())[1:])
    assert not valid(record)


def test_a_result_holds_the_part_of_its_own_task_only():
    record = result("summarize", PARTS["summarize"])
    assert not valid(record | {"answers": []})
    assert not valid(record | {"task": "ask"})
    with pytest.raises(AssertionError):
        result("summarize", PARTS["ask"])


def test_a_failed_input_leaves_a_valid_record_with_its_error():
    error = InputError("a.mp4 is empty (0 bytes).", "Record it again.", code="empty")
    record = results.failed("summarize", error, input=results.bare_input("a.mp4"))
    assert valid(record)
    assert record["status"] == "failed"
    assert record["error"] == {"code": "empty", "message": "a.mp4 is empty (0 bytes).", "hint": "Record it again."}
    assert not valid(record | {"error": None})


def test_an_interruption_has_its_own_status():
    record = results.failed("ask", KeyboardInterrupt(), input=results.bare_input("a.mp4"), preset="meeting")
    assert valid(record)
    assert (record["status"], record["error"]["code"]) == ("interrupted", "interrupted")


def test_a_fault_of_our_own_is_unexpected_and_named():
    record = results.failed("ask", ZeroDivisionError("by zero"), input=results.bare_input("a.mp4"))
    assert valid(record)
    assert record["error"]["code"] == "unexpected"
    assert "ZeroDivisionError: by zero" in record["error"]["message"]


def test_a_done_result_carries_no_error_and_no_holes():
    assert not valid(result() | {"error": results.error_part(KeyboardInterrupt())})
    assert not valid(result() | {"memory": None})


def test_a_name_that_is_not_utf8_can_be_written():
    path = results.bare_input("caf\udce9.mp4")["path"]
    assert path == "caf\\xe9.mp4"
    assert path.encode("utf-8")


def test_input_facts_name_the_chosen_track_by_its_number():
    first, second = AudioStream(1, "aac", 2, 48_000, 9.0), AudioStream(4, "ac3", 6, 48_000, 9.0, 0.0, "jpn")
    facts = results.input_facts(Media("a.mkv", None, second, (first, second)), end_s=5.0)
    assert facts["audio"] == {"tracks": 2, "chosen": 2, "language": "jpn"}
    assert (facts["video"], facts["start_s"], facts["end_s"]) == (None, None, 5.0)
    assert valid(result(input=facts))


def test_coverage_is_the_least_over_the_streams():
    assert ratio(media(), 60.0, 60.0) == 1.0
    assert ratio(media(), 60.0, 30.0) == 0.5
    assert ratio(media(), 15.0, 60.0) == 0.25


def test_coverage_ignores_a_stream_that_is_absent():
    assert ratio(media(audio_s=0), 60.0, 0.0) == 1.0
    assert ratio(media(video_s=0), 0.0, 30.0) == 0.5


def test_each_stream_is_held_against_its_own_length():
    assert ratio(media(audio_s=20.0), 60.0, 20.0) == 1.0
    assert ratio(media(audio_s=20.0), 60.0, 10.0) == 0.5


def test_coverage_counts_the_range_asked_for():
    assert ratio(media(), 10.0, 10.0, start_s=20.0, end_s=30.0) == 1.0
    assert ratio(media(), 5.0, 10.0, start_s=20.0, end_s=30.0) == 0.5
    assert coverage(media(), 10.0, 10.0, start_s=20.0, end_s=90.0)["duration_s"] == 40.0


def test_a_stream_outside_of_the_range_does_not_count():
    assert ratio(media(audio_s=15.0), 10.0, 0.0, start_s=20.0, end_s=30.0) == 1.0
    assert ratio(media(audio_s=30.0, audio_start_s=40.0), 10.0, 0.0, start_s=20.0, end_s=30.0) == 1.0


def test_coverage_is_unknown_where_a_length_is_unknown():
    live = media(video_s=None)
    assert ratio(live, 60.0, 60.0) is None
    part = coverage(live, 60.0, 60.0)
    assert [w["code"] for w in coverage_warnings(part)] == ["duration_unknown"]
    assert ratio(live, 30.0, 60.0, end_s=60.0) == 0.5


def test_coverage_never_rounds_up_to_whole():
    assert ratio(media(), 59.999, 60.0) == 0.9999


def test_low_coverage_warns_and_degrades():
    low = {"duration_s": 60.0, "video_s": 30.0, "audio_s": 60.0, "ratio": 0.5}
    record = result(coverage=low)
    assert [w["code"] for w in record["warnings"]] == ["coverage_low"]
    assert results.degraded(record)
    assert not results.degraded(result(warnings=[warning("repetition", "x")]))


def test_the_codes_of_the_schema_are_those_of_the_tables():
    defs = results.schema()["$defs"]
    assert defs["error"]["properties"]["code"]["enum"] == list(ERROR_CODES)
    assert defs["warning"]["properties"]["code"]["enum"] == list(WARNING_CODES)


def test_every_code_in_the_source_is_listed():
    package = Path(results.__file__).parents[1]
    source = "\n".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    errors = set(re.findall(r"\bcode=\"(\w+)\"", source)) | {c.code for c in [UserError, *UserError.__subclasses__()]}
    warnings = set(re.findall(r"\"code\": \"(\w+)\"", source)) | set(re.findall(r"\bwarning\(\"(\w+)\"", source))
    assert errors <= set(ERROR_CODES)
    assert warnings <= set(WARNING_CODES)


def test_a_video_past_the_trained_positions_is_told_and_how_to_stay_within():
    assert results.position_warnings(32_768, 32_768, 1310.0) == []
    assert results.position_warnings(90_000, None, 3600.0) == []
    (told,) = results.position_warnings(90_000, 32_768, 3600.0)
    assert told["code"] == "positions_beyond" and "--positions lazy" in told["message"]
    assert "21:51" in told["message"] or "21:50" in told["message"]


def test_a_share_reads_the_same_on_the_screen_in_a_warning_and_in_a_result():
    part = {"ratio": 0.3889, "duration_s": 60.0}
    assert coverage_warnings(part)[0]["message"] == "Only 38.8 % of a stream of the input entered the model."
    assert (format_share(0.3889), format_share(1.0), format_share(0.99999)) == ("38.8 %", "100.0 %", "99.9 %")
