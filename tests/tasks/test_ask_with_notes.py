"""Questions over notes as well as over the final memory: when notes are taken, what is read, what is recorded."""

import jsonschema
import pytest
from scripted import ScriptedSession, mute, result, watch, watch_until

from omnimem_cli.base.settings import Settings
from omnimem_cli.results.result import schema
from omnimem_cli.results.writers import WRITERS
from omnimem_cli.session.answering import Answer
from omnimem_cli.tasks import notes as notes_module
from omnimem_cli.tasks.ask import LONG, Ask
from omnimem_cli.tasks.notes import OUTLINE_BYTES, Note, outline, window_of
from omnimem_cli.tasks.presets.preset import Question
from omnimem_cli.tasks.prompts import NOTE, OUTLINE

WHO = [Question("q1", "Who?")]
LIST = {"type": "array", "items": {"type": "object", "timed": True, "properties": {"event": {"type": "string"}}}}


def told(text: str) -> str:
    return "A red van arrives." if text == NOTE else "Ann."


def run(seconds: float, *, notes: str = "auto", questions=WHO, reply=told, length_s="own", **session):
    own = {"world": None, "rate": 0.1, "duration_s": seconds if length_s == "own" else length_s} | session
    session, task = ScriptedSession(reply, **own), Ask(Settings(notes=notes), questions)
    return watch(task, session, mute(0.0, seconds), 5), session.asked, task


def test_a_long_video_is_asked_about_over_its_notes_and_the_memory():
    part, asked, _ = run(400.0)
    assert [a.held for a in asked] == [[(0.0, 180.0)], [(180.0, 360.0)], None] or asked[-1].held is None
    assert asked[-1].texts[0].startswith("Who?") and asked[-1].preface.startswith(f"{OUTLINE}\n- 0:00–3:00 A red van")
    assert [(n["start_s"], n["end_s"]) for n in part["notes"]] == [(0.0, 180.0), (180.0, 400.0)]
    assert all(a.preface == "" for a in asked[:-1]) and asked[-1].at_s == 400.0


def test_a_video_that_is_short_for_its_budget_is_asked_as_if_there_were_no_notes():
    assert run(LONG / 0.1)[1] == run(LONG / 0.1, notes="off")[1] != run(LONG / 0.1 + 2)[1]
    assert "notes" not in run(100.0)[0]


def test_off_is_off_and_on_is_on_whatever_the_length():
    part, asked, _ = run(4000.0, notes="off")
    assert (len(asked), asked[0].preface, list(part)) == (1, "", ["answers"])
    part, asked, _ = run(20.0, notes="on", rate=0.0)
    assert asked[-1].preface == f"{OUTLINE}\n- 0:00–0:20 A red van arrives." and len(part["notes"]) == 1


def test_live_input_takes_notes_and_reads_them_only_if_it_became_long():
    part, asked, _ = run(200.0, length_s=None)
    assert len(asked) == 2 and asked[-1].preface == "" and "notes" not in part
    assert len(run(800.0, length_s=None)[0]["notes"]) == 5


def test_a_model_of_a_generated_world_reads_notes_only_when_told_to():
    assert "notes" not in run(4000.0, world="omnimem world")[0]
    assert "notes" in run(400.0, world="omnimem world", notes="on")[0]


def test_the_text_of_notes_is_bounded_in_every_script():
    for text in ("word " * 4000, "会議では予算の話がありました。" * 900, "слово " * 4000):
        for count in (1, 10, 300):
            made = outline([Note(0.0, 1.0, "", text)] * count)
            assert OUTLINE_BYTES / 2 < len(made.encode()) < OUTLINE_BYTES + 30 * count + 100


def test_an_item_without_evidence_has_the_window_of_the_note_that_says_it():
    notes = iter(["A red van arrives.", "A dog barks at the gate.", "A red bus leaves."])
    items = '[{"event": "A dog barks"}, {"event": "a van"}, {"event": "snow"}, {"event": "red"}]'
    part, _, _ = run(
        540.0,
        questions=[Question("events", "Which?", LIST)],
        reply=lambda text: next(notes) if text == NOTE else items,
    )
    times = [item["at"] and (item["at"]["start_s"], item["at"]["source"]) for item in part["answers"][0]["data"]]
    assert times == [(180.0, "notes"), (0.0, "notes"), None, None]


def test_a_word_that_every_note_has_says_nothing():
    notes = [Note(0.0, 1.0, "", "the van"), Note(1.0, 2.0, "", "the dog")]
    assert (
        window_of("the", notes) is window_of("snow", notes) is None
        and window_of("the dog", notes) is notes[1]
        and window_of("", []) is None
    )


@pytest.mark.parametrize("chunks", [1, 40, 79])
def test_a_watch_that_goes_on_has_the_notes_of_one_that_was_never_stopped(chunks):
    segments, own = mute(0.0, 800.0), {"world": None, "rate": 0.1, "duration_s": 800.0}
    first, session = Ask(Settings(), WHO), ScriptedSession(told, **own)
    watch_until(first, session, segments[: 5 * chunks])
    first.catch_up(session)
    second = Ask(Settings(), WHO)
    second.load_state(first.state())
    assert watch(second, ScriptedSession(told, **own), segments[5 * chunks :], 5) == run(800.0)[0]


def test_results_hold_the_notes_and_say_that_there_are_some():
    made = result("ask", run(400.0)[0])
    jsonschema.Draft202012Validator(schema()).validate(made)
    assert "| Notes | 2, taken on the way and read with each question |" in WRITERS["md"](made)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(result() | {"notes": made["notes"]})


def test_a_note_that_was_cut_is_warned_of_like_an_answer():
    _, _, task = run(400.0, reply=lambda text: Answer("It", 320, text != NOTE))
    assert {note["code"] for note in task.warnings} == {"answer_cut"}


def test_the_notes_of_an_endless_watch_stay_within_a_bound(monkeypatch):
    monkeypatch.setattr(notes_module, "MOST_NOTES", 4)
    part, asked, _ = run(4000.0, length_s=None)
    assert len(part["notes"]) <= 5 and part["notes"][0]["start_s"] == 0.0 and part["notes"][-1]["end_s"] == 4000.0
    windows = [window for call in asked[:-1] for window in call.held]
    assert [end for _, end in windows[:-1]] == [start for start, _ in windows[1:]], "nothing is left unwatched"
