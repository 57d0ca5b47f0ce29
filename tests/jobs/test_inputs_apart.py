"""No state of one input reaches the next: what follows an input that broke off anywhere is as if it were the first."""

from collections.abc import Callable

import footage
import pytest
import torch
import watching
from salmonn_tiny import tiny_salmonn

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import InputError
from omnimem_cli.base.settings import Settings
from omnimem_cli.memory.memory import Memory
from omnimem_cli.models.loader import load
from omnimem_cli.session import audio_scan, preflight
from omnimem_cli.session.session import Session
from omnimem_cli.tasks.summarize import Summarize

STAGES = ("probe", "audio scan", "open", "first chunk", "later chunk", "answering")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A loud input that breaks off, and a soft one that follows it."""
    folder = tmp_path_factory.mktemp("clips")
    loud = footage.av(folder, "loud.mp4", video_s=34, audio_s=34)
    return loud, footage.av(folder, "soft.mp4", video_s=5, audio_s=5, extra=("-af", "volume=0.01"))


@pytest.fixture(scope="module", params=["qwen2.5-omni", "video-salmonn"])
def folder(request, tiny_folder, tmp_path_factory):
    if request.param == "qwen2.5-omni":
        return tiny_folder
    return tiny_salmonn(tmp_path_factory.mktemp("salmonn"), "salmonn25")


def watch(path, adapter) -> dict:
    settings = Settings(budget=Budget(120), max_tokens=6, fps=1, max_pixels=84 * 56, chunk=120)
    return watching.watch(path, settings, Summarize(settings), adapter)


def raises_at(call: Callable, count: int) -> Callable:
    """``call``, which breaks off the input instead of being done the ``count``-th time."""
    calls = iter(range(1, 1_000_000))

    def broken(*arguments, **options):
        if next(calls) == count:
            raise InputError("The input broke off.")
        return call(*arguments, **options)

    return broken


def break_at(stage: str, adapter, patch: pytest.MonkeyPatch) -> None:
    owner, name, count = {
        "probe": (preflight, "probe", 1),
        "audio scan": (audio_scan, "sound_blocks", 1),
        "open": (type(adapter), "open", 1),
        "first chunk": (Memory, "absorb", 1),
        "later chunk": (Memory, "absorb", 2),
        "answering": (Session, "ask", 1),
    }[stage]
    whole = getattr(owner, name)
    if stage != "audio scan":
        return patch.setattr(owner, name, raises_at(whole, count))

    def broken_off(*arguments, **options):
        yield next(iter(whole(*arguments, **options)))
        raise InputError("The sound broke off.")

    return patch.setattr(owner, name, broken_off)


def watched_tokens(path, adapter, patch: pytest.MonkeyPatch) -> tuple[torch.Tensor, str]:
    """Embeddings of everything that entered the memory, and the summary."""
    seen, absorb = [], Memory.absorb
    patch.setattr(Memory, "absorb", lambda self, piece: (seen.append(piece.embeds.clone()), absorb(self, piece))[1])
    summary = watch(path, adapter)["summary"]["text"]
    return torch.cat(seen), summary


@pytest.mark.parametrize("stage", STAGES)
def test_an_input_after_one_that_broke_off_is_as_if_it_were_the_first(stage, clips, folder, monkeypatch):
    loud, soft = clips
    adapter = load(str(folder), device="cpu")
    if stage == "audio scan" and not adapter.needs_audio_scan:
        pytest.skip("this family hears a sound once")
    with monkeypatch.context() as patch:
        break_at(stage, adapter, patch)
        with pytest.raises(InputError):
            watch(loud, adapter)
    with monkeypatch.context() as patch:
        tokens, summary = watched_tokens(soft, adapter, patch)
    with monkeypatch.context() as patch:
        alone, summary_alone = watched_tokens(soft, load(str(folder), device="cpu"), patch)
    assert torch.equal(tokens, alone) and summary == summary_alone
