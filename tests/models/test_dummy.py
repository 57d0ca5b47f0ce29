"""Models of a published shape with random weights: the shape is right, and the engine runs on them."""

import shutil
from pathlib import Path

import pytest
import torch
from salmonn_tiny import FAMILIES, tiny_salmonn
from streams import frames_of, media_of, segments_of, sound_of
from tiny_qwen3 import tiny_qwen3_omni
from torch import nn

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import DoesNotFitError, MissingError, UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.models import dummy as blank
from omnimem_cli.models import loader
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.catalogue import ROWS
from omnimem_cli.models.device import WHOLE
from omnimem_cli.models.dummy import GEOMETRY, random_adapter
from omnimem_cli.models.families import family_of
from omnimem_cli.models.folder import read_checkpoint
from omnimem_cli.models.loader import load
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import size_memory

GB = 10**9
LISTED = [row for row in ROWS if row.hub_id]


@pytest.mark.parametrize(("dtype", "free"), [("float32", 18 * GB), ("bfloat16", 9 * GB), ("int8", 9 * GB)])
def test_a_shape_that_does_not_fit_is_refused_before_it_is_drawn(monkeypatch, dtype, free):
    def draw(*arguments):
        raise AssertionError("drawn all the same")

    monkeypatch.setattr(blank, "build_without_weights", draw)
    monkeypatch.setattr(loader, "free_bytes", lambda device: free)
    with pytest.raises(DoesNotFitError, match="omni-3b take"):
        random_adapter("qwen2.5-omni-3b", device="cpu", dtype=dtype)
    monkeypatch.setattr(loader, "free_bytes", lambda device: 2 * free)
    with pytest.raises(AssertionError, match="drawn"):
        random_adapter("qwen2.5-omni-3b", device="cpu", dtype=dtype)


def on_meta(name: str) -> torch.nn.Module:
    """The model of a shipped shape, without a single weight."""
    checkpoint = read_checkpoint(GEOMETRY / name)
    kind = family_of(checkpoint).model_class
    with torch.device("meta"):
        return kind(blank.config_of(kind, checkpoint))


@pytest.mark.parametrize("row", LISTED, ids=lambda row: row.name)
def test_a_shipped_shape_is_what_the_catalogue_says(row):
    model = on_meta(row.name)
    text = model.config.text_config
    assert family_of(read_checkpoint(GEOMETRY / row.name)).name == row.family
    assert (text.num_hidden_layers, text.num_key_value_heads) == (row.layers, row.kv_heads)
    assert (getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads) == row.head_dim
    model.tie_weights()
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters / 1e9 == pytest.approx(row.params_b, rel=0.01)
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    small = sum(m.weight.numel() for name, m in linear.items() if not set(name.split(".")) & set(WHOLE))
    assert small / parameters == pytest.approx(row.quantizable, abs=0.01)


@pytest.fixture(params=["omni", "omni-full", "qwen3-omni", *FAMILIES])
def folder(request, tmp_path, tiny_folder, tiny_full_folder):
    """A tiny checkpoint of every family, its weights taken away."""
    kind = request.param
    if kind in FAMILIES:
        made = tiny_salmonn(tmp_path / "m", kind)
    elif kind == "qwen3-omni":
        made = tiny_qwen3_omni(tmp_path / "m")
    else:
        made = Path(shutil.copytree(tiny_folder if kind == "omni" else tiny_full_folder, tmp_path / "m"))
    for weights in made.glob("*.safetensors"):
        weights.unlink()
    return made


def test_a_folder_without_weights_is_drawn_and_watches(folder):
    adapter = random_adapter(str(folder), device="cpu")
    media = media_of(30, 30, 112, 84)
    plan = adapter.plan(media, WatchOptions(max_pixels=112 * 84))
    settings = Settings(budget=Budget(40), max_pixels=112 * 84)
    fitted = size_memory(settings, adapter, plan, media)
    stream = adapter.open(media, plan)
    session = Session(stream, fitted.memory(stream), fitted.chunk_tokens)
    frames = frames_of(30, plan.format.fps, plan.format.width, plan.format.height)
    list(session.watch(segments_of(plan.format, frames, sound_of(30))))
    assert session.memory.tokens_seen > 100 and session.ask(["What?"], max_tokens=2)[0].tokens >= 0


def test_a_shape_without_weights_estimates_as_the_model_does(folder):
    settings, media = Settings(budget=Budget(40), max_pixels=112 * 84), media_of(30, 30, 112, 84)
    found = []
    for device in ("cpu", "meta"):
        adapter = random_adapter(str(folder), device=device, dtype="float32")
        plan = adapter.plan(media, WatchOptions(max_pixels=112 * 84))
        found.append((plan, size_memory(settings, adapter, plan, media, free=2**40), len(adapter.prefix_ids(plan))))
        if device == "cpu":
            assert len(adapter.open(media, plan).prefix) == found[0][2]
    assert found[0] == found[1]


def test_a_shape_without_weights_has_the_tensors_of_the_model_in_their_types(folder):
    drawn, shape = (random_adapter(str(folder), device=device, dtype="bfloat16").model for device in ("cpu", "meta"))
    both = [[*model.named_parameters(), *model.named_buffers()] for model in (drawn, shape)]
    for (name, one), (other_name, other) in zip(*both, strict=True):
        assert (name, one.shape, one.dtype) == (other_name, other.shape, other.dtype)
        assert other.device.type == "meta"
    assert shape.config._attn_implementation == drawn.config._attn_implementation and not shape.training


def test_weights_are_drawn_in_the_type_asked_for_and_buffers_are_the_librarys(tiny_folder):
    build_without_weights, loaded = (
        make(str(tiny_folder), device="cpu", dtype="bfloat16").model for make in (random_adapter, load)
    )
    assert build_without_weights.dtype == torch.bfloat16
    for (name, one), (_, other) in zip(build_without_weights.named_buffers(), loaded.named_buffers(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0, msg=name)
    spread = [p.float().std().item() for p in build_without_weights.parameters() if p.dim() > 1]
    assert min(spread) > 0.0 and all(torch.isfinite(p).all() for p in build_without_weights.parameters())


def test_no_weight_is_for_training(folder, tiny_folder):
    build_without_weights, loaded = random_adapter(str(folder), device="cpu"), load(str(tiny_folder), device="cpu")
    assert not any(p.requires_grad for made in (build_without_weights, loaded) for p in made.model.parameters())


def test_a_wrong_name_and_a_folder_of_another_kind_are_named(tmp_path):
    with pytest.raises(UsageError):
        random_adapter("qwen9")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(MissingError):
        random_adapter(str(tmp_path))
