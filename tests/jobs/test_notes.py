"""Notes that are taken in batches are those that are taken one by one, whatever else was watched in between."""

from dataclasses import replace
from pathlib import Path

import footage
import pytest
from kept import MODEL
from watching import watch

import omnimem_cli
from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs import recall
from omnimem_cli.jobs.watch_one import watch_one
from omnimem_cli.jobs.work import Work
from omnimem_cli.models.loader import load_local, locate
from omnimem_cli.session import footprint
from omnimem_cli.session.preflight import prepare
from omnimem_cli.session.session import Session
from omnimem_cli.tasks import notes as notes_module
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets.preset import Question
from omnimem_cli.tasks.summarize import Summarize

DEMO = Path(omnimem_cli.__file__).parent / "world" / "demo.mp4"
SETTINGS = Settings(budget=Budget(120), max_tokens=8, fps=1, max_pixels=112 * 84, chunk=100)


def notes(path, adapter, settings, style, patch, memories) -> tuple[dict, list[int]]:
    """The result, and the rows of every batch but the last."""
    batches, ask = [], Session.ask

    def counted(session, texts, **how):
        batches.append(len(texts))
        return ask(session, texts, **how)

    with patch.context() as patched:
        patched.setattr(footprint, "HELD_MEMORIES", memories)
        patched.setattr(notes_module, "NOTE_TOKENS", 24)
        patched.setattr(Session, "ask", counted)
        result = watch(path, settings, Summarize(settings, style=style, notes_s=4.0), adapter)
    return {key: value for key, value in result.items() if key != "timing"}, batches[:-1]


@pytest.mark.parametrize("style", ["chapters", "detailed"])
@pytest.mark.parametrize("model", ["nano", "tiny"])
def test_notes_in_batches_are_those_taken_one_by_one(model, style, tiny_adapter, tmp_path, monkeypatch):
    if model == "nano":
        settings = replace(SETTINGS, budget=Budget(64), max_pixels=None, end_s=24.0)
        path, adapter = DEMO, load_local(locate("nano"), device="cpu")
    else:
        settings, path, adapter = SETTINGS, footage.av(tmp_path, video_s=24, audio_s=24), tiny_adapter
    one_by_one, single = notes(path, adapter, settings, style, monkeypatch, 0)
    together, batches = notes(path, adapter, settings, style, monkeypatch, 8)
    assert together == one_by_one
    assert len(batches) < len(single) and max(batches) > max(single)


def asked(path, adapter, settings, file=None) -> dict:
    """The result of a question over notes of 4 s, from a watch, or from the memory in a ``file`` of one."""
    task = Ask(settings, [Question("q1", "What is shown?")], notes_s=4.0)
    if file is not None:
        return kept(path, settings, task, adapter, file)
    return {key: value for key, value in watch(path, settings, task, adapter).items() if key != "timing"}


def kept(path, settings, task, adapter, file) -> dict:
    """The result of the same task on the memory that a watch with it left in a file."""
    watch_one(prepare(str(path), settings, adapter, 0.0), task, adapter, lambda progress: None).save(file, MODEL)
    again = Ask(settings, task.questions, notes_s=4.0)
    return recall.recall(file, adapter, MODEL, settings, again).result(again)


def test_notes_leave_the_memory_as_it_is_and_are_kept_with_it(tiny_adapter, tmp_path, monkeypatch):
    monkeypatch.setattr(notes_module, "NOTE_TOKENS", 12)
    path = footage.av(tmp_path, video_s=24, audio_s=24)
    off = asked(path, tiny_adapter, replace(SETTINGS, notes="off"))
    on = asked(path, tiny_adapter, replace(SETTINGS, notes="on"))
    assert asked(path, tiny_adapter, SETTINGS) == off, "short for its budget: nothing is different"
    assert len(on["notes"]) == 6 and "notes" not in off
    unlike = {key for key in off if on[key] != off[key]}
    assert unlike <= {"answers", "notes", "warnings", "memory"}
    assert {**on["memory"], "peak_bytes": 0} == {**off["memory"], "peak_bytes": 0}
    again = asked(path, tiny_adapter, replace(SETTINGS, notes="on"), tmp_path / "a.omnimem")
    assert (again["notes"], again["answers"]) == (on["notes"], on["answers"])


def test_the_identity_of_work_says_whether_notes_are_read_unless_that_is_left_to_the_video():
    def identity(notes: str) -> dict:
        return Work("ask", Ask, {"questions": ()}, replace(SETTINGS, notes=notes)).identity({})["settings"]

    assert "notes" not in identity("auto")
    assert (identity("on")["notes"], identity("off")["notes"]) == ("on", "off")
