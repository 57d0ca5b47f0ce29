"""Notes that are taken in batches are those that are taken one by one, whatever else was watched in between."""

from dataclasses import replace
from pathlib import Path

import footage
import pytest
from watching import watch

import omnimem_cli
from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.models.loader import load_local, locate
from omnimem_cli.session import footprint
from omnimem_cli.session.session import Session
from omnimem_cli.tasks import summarize
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
        patched.setattr(summarize, "NOTE_TOKENS", 24)
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
