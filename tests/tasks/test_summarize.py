"""Summaries by style: which questions are put, about which window, and what is made of the answers."""

import pytest
from scripted import ScriptedSession, mute, sound, watch, watch_until

from omnimem_cli.base.settings import Settings
from omnimem_cli.session.answering import Answer
from omnimem_cli.tasks.notes import NOTE_TOKENS, OUTLINE_BYTES, TITLE_TOKENS
from omnimem_cli.tasks.prompts import NOTE, SUMMARY, TITLE
from omnimem_cli.tasks.summarize import Summarize

LOUD = 0.1


def told(text: str) -> str:
    """Answers that tell what was asked."""
    return {NOTE: "A note.", TITLE: "A title"}.get(text, "The whole.")


def run(style: str, seconds: float, reply=told, notes_s: float = 60.0, per_chunk: int = 5, **kw):
    session = ScriptedSession(reply)
    task = Summarize(Settings(), style=style, notes_s=notes_s, **kw)
    part = watch(task, session, sound(0.0, [(seconds, LOUD)]), per_chunk)
    return part["summary"], session.asked, task


def test_brief_asks_one_question_over_the_whole_memory_at_the_end():
    summary, asked, task = run("brief", 200.0)
    assert summary == {"text": "The whole.", "chapters": [], "paragraphs": [{"line": 0, "evidence": []}]}
    assert [(a.texts, a.held, a.at_s) for a in asked] == [([SUMMARY], None, 200.0)]
    assert task.warnings == []


def test_a_prompt_replaces_the_question():
    _, asked, _ = run("brief", 20.0, prompt="Who wins?")
    assert asked[0].texts == ["Who wins?"]


def test_wishes_follow_the_question():
    session = ScriptedSession(told)
    settings = Settings(language="de", glossary=("KV cache", "AVBA"), max_tokens=7)
    watch(Summarize(settings), session, sound(0.0, [(10.0, LOUD)]))
    assert session.asked[0].texts == [f"{SUMMARY} Names and terms that may occur: KV cache, AVBA. Answer in German."]
    assert session.asked[0].max_tokens == 7


def test_notes_are_taken_on_the_window_just_watched():
    _, asked, _ = run("detailed", 200.0)
    notes = [a for a in asked if a.texts == [NOTE]]
    assert [a.held for a in notes] == [[(0.0, 60.0)], [(60.0, 120.0)], [(120.0, 180.0)], [(180.0, 200.0)]]
    assert [a.at_s for a in notes] == [60.0, 120.0, 180.0, 200.0]


def test_notes_on_windows_that_may_wait_are_asked_for_as_one_batch():
    one_by_one, asked, _ = run("chapters", 230.0)
    session = ScriptedSession(told, may_hold=True)
    task = Summarize(Settings(), style="chapters", notes_s=60.0)
    assert watch(task, session, sound(0.0, [(230.0, LOUD)]), 5)["summary"] == one_by_one
    windows = [(0.0, 60.0), (60.0, 120.0), (120.0, 180.0), (180.0, 230.0)]
    assert [call.held for call in asked[:-1]] == [[window] * 2 for window in windows]
    waited, rest, last = session.asked
    assert waited.held == [window for window in windows[:3] for _ in (NOTE, TITLE)] and rest.held == [windows[3]] * 2
    assert waited.texts == [NOTE, TITLE] * 3 and last.held is None


def test_titles_have_a_limit_and_warnings_of_their_own():
    def endless(text: str) -> Answer:
        return Answer(told(text), 9, text != TITLE)

    _, asked, task = run("chapters", 120.0, endless)
    assert [call.max_tokens for call in asked[:-1]] == [[NOTE_TOKENS, TITLE_TOKENS]] * 2
    texts = [each["message"] for each in task.warnings]
    assert texts == [
        f"The title of {span} reached its token limit and may be incomplete." for span in ("0:00–1:00", "1:00–2:00")
    ]


def test_no_more_notes_wait_than_one_batch_holds():
    session = ScriptedSession(told, may_hold=True, questions=4)
    watch(Summarize(Settings(), style="chapters", notes_s=60.0), session, sound(0.0, [(400.0, LOUD)]), 5)
    assert [(len(call.texts), call.at_s) for call in session.asked] == [
        (4, 120),
        (4, 240),
        (4, 360),
        (2, 400),
        (1, 400),
    ]


def test_windows_that_one_chunk_completes_are_one_batch():
    _, asked, _ = run("detailed", 400.0, per_chunk=100)
    assert asked[0].held == [(0.0, 60.0), (60.0, 120.0), (120.0, 200.0)] and asked[0].at_s == 200.0


def test_notes_that_are_taken_late_are_one_batch():
    session, task = ScriptedSession(told, now_s=400.0), Summarize(Settings(), style="chapters", notes_s=60.0)
    session.holds = lambda *window: window != (60.0, 120.0)
    task.look_back(session)
    windows = [(0.0, 60.0), (60.0, 180.0), (180.0, 240.0), (240.0, 300.0), (300.0, 360.0)]
    (call,) = session.asked
    assert call.held == [window for window in windows for _ in (NOTE, TITLE)]
    assert [(note.start_s, note.end_s) for note in task.notes] == windows


def test_no_state_is_taken_of_notes_that_wait():
    session, task = ScriptedSession(told, may_hold=True), Summarize(Settings(), style="chapters", notes_s=60.0)
    watch_until(task, session, mute(0.0, 100.0))
    with pytest.raises(AssertionError):
        task.state()
    task.catch_up(session)
    assert [note["end_s"] for note in task.state()["notes"]] == [60.0]


def test_detailed_is_composed_of_the_notes_with_times_of_the_clock():
    summary, asked, _ = run("detailed", 120.0)
    assert summary["text"] == "The whole.\n\n[0:00–1:00] A note.\n\n[1:00–2:00] A note."
    assert asked[-1].held is None
    assert asked[-1].texts[0].startswith(SUMMARY)
    assert "- 0:00–1:00 A note." in asked[-1].texts[0]


def test_a_video_of_one_window_is_asked_once_in_detail():
    summary, asked, _ = run("detailed", 60.0)
    assert summary["text"] == "The whole."
    assert [a.texts for a in asked] == [[SUMMARY]]


def test_a_short_video_is_one_chapter():
    summary, asked, _ = run("chapters", 40.0)
    chapter = {"start_s": 0.0, "end_s": 40.0, "title": "A title", "text": "A note.", "evidence": []}
    assert summary["chapters"] == [chapter | {"paragraphs": [{"line": 0, "evidence": []}]}]
    assert asked[0].texts == [NOTE, TITLE]
    assert asked[-1].texts == [SUMMARY]


def test_chapters_follow_each_other_without_gap_or_overlap():
    titles = iter(["One", "Two", "Three", "Four"])
    summary, _, _ = run("chapters", 230.0, lambda text: next(titles) if text == TITLE else told(text))
    chapters = summary["chapters"]
    assert [c["title"] for c in chapters] == ["One", "Two", "Three", "Four"]
    assert [(c["start_s"], c["end_s"]) for c in chapters] == [(0, 60), (60, 120), (120, 180), (180, 230)]


def test_neighbours_of_one_title_are_one_chapter():
    titles = iter(["Trains", "trains", "Ships"])
    summary, _, _ = run("chapters", 180.0, lambda text: next(titles) if text == TITLE else told(text))
    assert [(c["title"], c["end_s"]) for c in summary["chapters"]] == [("Trains", 120.0), ("Ships", 180.0)]
    assert summary["chapters"][0]["text"] == "A note.\n\nA note."


def test_a_short_rest_joins_the_last_chapter():
    summary, asked, _ = run("chapters", 130.0)
    assert asked[-2].held == [(60.0, 130.0)] * 2
    assert summary["chapters"][-1]["end_s"] == 130.0


@pytest.mark.parametrize("title", ['"Trains."', "# Trains\nand more", "**Trains**"])
def test_titles_are_one_line_without_marks(title):
    summary, _, _ = run("chapters", 40.0, lambda text: title if text == TITLE else told(text))
    assert summary["chapters"][0]["title"] == "Trains"


def test_times_the_model_wrote_are_not_believed():
    summary, _, _ = run("chapters", 40.0, lambda text: "From 5:00 to 9:99")
    assert (summary["chapters"][0]["start_s"], summary["chapters"][0]["end_s"]) == (0.0, 40.0)


def test_the_last_question_stays_bounded_however_many_notes():
    session = ScriptedSession(lambda text: " ".join(map(str, range(1000))))
    watch(Summarize(Settings(), style="detailed", notes_s=20.0), session, mute(0.0, 1000.0), 10)
    assert len(session.asked) == 51
    assert len(session.asked[-1].texts[0]) < OUTLINE_BYTES * 2


def test_a_range_keeps_the_clock_of_the_file():
    session = ScriptedSession(told)
    part = watch(Summarize(Settings(), style="chapters"), session, sound(600.0, [(30.0, LOUD)]))
    assert [(c["start_s"], c["end_s"]) for c in part["summary"]["chapters"]] == [(600.0, 630.0)]


def test_what_is_cut_empty_or_repeated_is_said():
    for reply, code in [
        (Answer("It begins", 768, False), "answer_cut"),
        (Answer("", 0, True), "answer_empty"),
        (Answer("and so on " * 100, 300, False), "repetition"),
    ]:
        _, _, task = run("brief", 10.0, [reply] * 2)
        assert [w["code"] for w in task.warnings] == [code]


def test_a_resumed_task_goes_on_where_it_was():
    segments = mute(0.0, 200.0)
    whole = watch(Summarize(Settings(), style="chapters", notes_s=60.0), ScriptedSession(told), segments, 5)
    first, session = Summarize(Settings(), style="chapters", notes_s=60.0), ScriptedSession(told)
    watch_until(first, session, segments[:50])
    first.catch_up(session)
    second = Summarize(Settings(), style="chapters", notes_s=60.0)
    second.load_state(first.state())
    assert watch(second, session, segments[50:], 5) == whole


@pytest.mark.parametrize("text", ["- one\n- two", "1. one\n2. two", "- only one", "One.\n\nTwo.", "| a |\n| - |"])
def test_a_list_in_a_detailed_summary_stands_whole_below_its_time(text):
    summary, _, _ = run("detailed", 120.0, reply=lambda asked: text if asked == NOTE else "The whole.")
    assert summary["text"] == f"The whole.\n\n[0:00–1:00]\n\n{text}\n\n[1:00–2:00]\n\n{text}"
    lines = summary["text"].split("\n")
    said = [lines[paragraph["line"]] for paragraph in summary["paragraphs"]]
    assert said == ["The whole.", *(2 * [line for line in text.split("\n") if line])]
