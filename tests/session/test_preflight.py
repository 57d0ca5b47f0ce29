"""Whether a run fits is said before a weight is read, in the words of what would be said after."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import footage
import pytest
from fake_run import lines, omnimem
from streams import media_of

from omnimem_cli.base.budget import Budget, parse_budget
from omnimem_cli.base.errors import DoesNotFitError, MissingError
from omnimem_cli.base.settings import Settings
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.models import dummy as blank
from omnimem_cli.models import loader
from omnimem_cli.models.catalogue import row
from omnimem_cli.models.folder import read_checkpoint
from omnimem_cli.models.loader import load, load_local, locate
from omnimem_cli.session import sizing as fitting
from omnimem_cli.session import transients as footprint
from omnimem_cli.session.footprint import footprint_of
from omnimem_cli.session.preflight import outline_of_folder, outline_of_row, planned, probed
from omnimem_cli.session.sizing import size_memory

DEFAULT = Settings(device="cpu", budget=Budget(400), fps=1, max_pixels=112 * 84, max_tokens=64)
MEDIA = media_of(120, 120)


@pytest.mark.parametrize(
    "change",
    [
        {"budget": Budget(30)},
        {"budget": parse_budget("2MiB")},
        {"budget": parse_budget("auto")},
        {"policy": "hermes"},
        {"policy": "full"},
        {"positions": "lazy"},
        {"chunk": 100},
        {"fps": 3},
        {"max_pixels": 56 * 56},
        {"start_s": 110.0},
        {"end_s": 8.0},
        {"max_tokens": 8},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_a_shape_says_before_loading_what_the_model_says_after(tiny_folder, monkeypatch, change):
    monkeypatch.setattr(footprint, "QUESTION_TOKENS", 16)  # beside a model as small as this, long ones outweigh all
    monkeypatch.setattr(loader, "free_bytes", lambda device: 2**28)
    settings = replace(DEFAULT, model=str(tiny_folder), **change)
    shape = outline_of_folder(locate(settings.model), settings)
    adapter = load(settings.model, device="cpu", dtype=settings.dtype)
    assert shape.weights == sum(p.nbytes for p in adapter.model.parameters())
    plan, watched = planned(settings, adapter, MEDIA), MEDIA.within(settings.start_s, settings.end_s)
    assert shape.size_memory(settings, MEDIA) == size_memory(
        settings, adapter, plan, watched, free=2**28 - shape.weights
    )
    usual = outline_of_folder(locate(str(tiny_folder)), DEFAULT).size_memory(DEFAULT, MEDIA)
    assert shape.size_memory(settings, MEDIA).needed != usual.needed, "or it could be forgotten"


def test_a_folder_without_a_tokenizer_is_refused_before_loading_too(tiny_folder, tmp_path):
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(MissingError, match="holds no tokenizer"):
        outline_of_folder(locate(str(folder)), replace(DEFAULT, model=str(folder)))


def test_one_entry_is_enough_for_one_stream_and_said_to_be_too_few_for_two(tiny_folder):
    settings = replace(DEFAULT, model=str(tiny_folder), budget=Budget(1))
    shape = outline_of_folder(locate(settings.model), settings)
    assert shape.size_memory(settings, media_of(None, 120)).entries == 1
    with pytest.raises(DoesNotFitError, match="1 entry cannot hold picture and sound"):
        shape.size_memory(settings, MEDIA)


@pytest.fixture
def on_a_small_machine(monkeypatch, tmp_path, tiny_folder):
    """Runs the command line where so many bytes are free beside the tiny model; counts how often that is loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(footprint, "QUESTION_TOKENS", 16)
    checkpoint, loads = read_checkpoint(tiny_folder), []

    def loading(*arguments, **more):
        loads.append(1)
        return load_local(*arguments, **more)

    def run(left: int, *arguments: str) -> tuple[int, int]:
        loads.clear()
        monkeypatch.setattr(loader, "free_bytes", lambda device: 4 * checkpoint.values + left)
        monkeypatch.setattr(fitting, "free_bytes", lambda device: left)
        monkeypatch.setattr(loader, "load_local", loading)
        common = ("-m", str(tiny_folder), "--device", "cpu", "--max-tokens", "4", "--max-pixels", str(112 * 84))
        return omnimem(*arguments, *common), len(loads)

    return run


def test_a_run_that_does_not_fit_is_6_before_a_weight_is_read_in_the_words_of_the_later_check(
    on_a_small_machine, tiny_folder, capsys
):
    clip = footage.av(Path(), "clip.mp4", video_s=21, audio_s=21)
    code, loads = on_a_small_machine(5 * 2**20, "summarize", str(clip), "--budget", "8k", "-o", "-")
    shown = capsys.readouterr()
    assert (code, loads) == (6, 0) and "does not fit" in shown.err
    (record,) = lines(shown.out)
    settings = Settings(budget=parse_budget("8k"), max_tokens=4, max_pixels=112 * 84)
    adapter, media = load(str(tiny_folder), device="cpu"), probed(str(clip), settings)
    plan = planned(settings, adapter, media)
    with pytest.raises(DoesNotFitError) as later:
        size_memory(settings, adapter, plan, media)
    assert record["error"] == {"code": "does_not_fit", "message": later.value.message, "hint": later.value.hint}
    fits = later.value.hint.split("--budget ")[1].split()[0]
    assert on_a_small_machine(5 * 2**20, "summarize", str(clip), "--budget", fits, "-o", "-") == (0, 1)


def test_what_fits_gets_its_turn_after_what_does_not_and_the_model_is_loaded_once(on_a_small_machine, capsys):
    long = footage.av(Path(), "long.mp4", video_s=40, audio_s=40)
    short = [footage.av(Path(), name, video_s=3, audio_s=3) for name in ("short.mp4", "other.mp4")]
    Path("text.mp4").write_text("no media")
    files = [str(long), "text.mp4", *map(str, short), str(long)]
    code, loads = on_a_small_machine(4 * 2**20, "summarize", *files, "--budget", "8k", "--report", "report.json")
    assert (code, loads) == (6, 1)
    ended = [one["error"] and one["error"]["code"] for one in json.loads(Path("report.json").read_text())["inputs"]]
    assert ended[0] == "does_not_fit" and ended[1] not in (None, "does_not_fit") and ended[2:4] == [None, None]


@pytest.mark.parametrize(("name", "code"), [("gone.mp4", 4), ("text.mp4", 4)])
def test_an_input_that_cannot_be_watched_keeps_its_code_and_costs_no_loading(on_a_small_machine, name, code):
    Path("text.mp4").write_text("no media")
    assert on_a_small_machine(0, "summarize", name) == (code, 0)


def test_weights_alone_that_exceed_what_is_free_are_6_and_named(on_a_small_machine, capsys):
    footage.av(Path(), "clip.mp4")
    assert on_a_small_machine(-1, "summarize", "clip.mp4") == (6, 0)
    assert "The weights of thinker take" in capsys.readouterr().err


def test_doctor_says_what_the_run_says(on_a_small_machine, capsys):
    footage.av(Path(), "clip.mp4", video_s=21, audio_s=21)
    said = []
    for command in ("summarize", "doctor"):
        for left, code in ((5 * 2**20, 6), (2**30, 0)):
            assert on_a_small_machine(left, command, "clip.mp4", "--budget", "8k")[0] == code
            shown = capsys.readouterr()
            said.append(shown.out + shown.err)
    refused = said[0].split("error: clip.mp4: ")[1].splitlines()[0]
    assert refused in said[2] and "it fits" in said[3]


def test_a_model_that_is_not_here_is_estimated_by_its_published_shape(monkeypatch):
    monkeypatch.setattr(loader, "free_bytes", lambda device: 2**36)
    settings = Settings(device="cpu", dtype="bfloat16")
    shape = outline_of_row(row("qwen2.5-omni-3b"), settings)
    assert shape.weights == pytest.approx(9.4e9, rel=0.01) and shape.adapter.name == "qwen2.5-omni-3b"
    small = shape.size_memory(settings, media_of(3600, 3600, 640, 360))
    large = shape.size_memory(replace(settings, budget=parse_budget("16k")), media_of(3600, 3600, 640, 360))
    assert small.entries == 8192 and 2**30 < small.needed < large.needed < 2**34
    assert shape.adapter.model.device.type == "meta"


def needed(tiny_folder, seconds: float | None, **settings) -> int:
    chosen = replace(DEFAULT, **settings)
    adapter = blank.random_adapter(str(tiny_folder), device="meta")
    media = media_of(seconds or 10, seconds or 10)
    if seconds is None:
        media = replace(media, video=replace(media.video, duration_s=None), audio=replace(media.audio, duration_s=None))
    room = footprint_of(chosen, make_policy(chosen.policy), adapter, planned(chosen, adapter, media), media)
    return room.peak_bytes_of_input(chosen.budget.entries)


def test_a_chunk_below_a_segment_and_a_stream_without_end_are_estimated_in_full(tiny_folder):
    assert needed(tiny_folder, 600, chunk=1) == needed(tiny_folder, 600, chunk=62) < needed(tiny_folder, 600, chunk=999)
    assert needed(tiny_folder, None, chunk=100) == needed(tiny_folder, 600, chunk=100)


def test_a_policy_that_evicts_nothing_is_estimated_with_all_of_the_video(tiny_folder):
    short, long = (needed(tiny_folder, seconds, policy="full") for seconds in (60, 6000))
    bounded = [needed(tiny_folder, seconds) for seconds in (60, 6000)]
    assert bounded[0] < bounded[1] < bounded[0] + 2**25, "evidence has more moments"
    assert long > bounded[1] and short > bounded[0]
    adapter = blank.random_adapter(str(tiny_folder), device="meta", dtype="float32")
    settings = replace(DEFAULT, policy="full")
    with pytest.raises(DoesNotFitError) as error:
        size_memory(
            settings, adapter, planned(settings, adapter, media_of(6000, 6000)), media_of(6000, 6000), free=2**27
        )
    assert "--policy that evicts" in error.value.hint
