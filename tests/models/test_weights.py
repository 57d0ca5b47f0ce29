"""The weights of a model on a device: whether they fit, and in which type they are held."""

import importlib.util

import pytest
import torch

from omnimem_cli.base.errors import DoesNotFitError, MissingError, UsageError
from omnimem_cli.models import loader
from omnimem_cli.models.device import find_device, quantization
from omnimem_cli.models.loader import load
from omnimem_cli.models.qwen_omni import load as thinker


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(MissingError):
        find_device("cuda:77")
    with pytest.raises(UsageError):
        find_device("toaster")


def test_weights_that_exceed_what_is_free_are_not_read(tiny_full_folder, monkeypatch):
    held = sum(p.numel() for p in load(str(tiny_full_folder), device="cpu").model.parameters())
    monkeypatch.setattr(loader, "free_bytes", lambda device: 4 * held - 1)
    with pytest.raises(DoesNotFitError, match="as float32; cpu has") as raised:
        load(str(tiny_full_folder), device="cpu")
    assert "omnimem doctor" in raised.value.hint
    load(str(tiny_full_folder), device="cpu", dtype="bfloat16")


@pytest.mark.parametrize("words", ["DefaultCPUAllocator: can't allocate memory", "CUDA error: out of memory"])
def test_memory_that_runs_out_while_a_thinker_is_loaded_is_6_whatever_class_the_error_has(
    tiny_folder, monkeypatch, words
):
    def full(*args, **more):
        raise RuntimeError(f"[enforce fail at alloc_cpu.cpp:127] {words}: you tried to allocate 9 bytes.")

    monkeypatch.setattr(thinker.FAMILIES[0].model_class, "from_pretrained", full)
    with pytest.raises(DoesNotFitError, match="do not fit on cpu"):
        load(str(tiny_folder), device="cpu")


@pytest.mark.parametrize(("dtype", "kind"), [("int8", "Linear8bitLt"), ("int4", "Linear4bit")])
def test_quantized_weights_are_those_of_the_language_model_alone(tiny_folder, dtype, kind):
    pytest.importorskip("bitsandbytes")
    adapter = load(str(tiny_folder), device="cpu", dtype=dtype)
    assert adapter.weights_dtype == dtype and adapter.dtype == torch.bfloat16
    inside = [name for name, part in adapter.model.named_modules() if type(part).__name__ == kind]
    assert inside and not any(part in name for name in inside for part in ("visual", "audio", "lm_head"))


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_quantized_layers_say_nothing_and_bear_activations_beyond_float16(tiny_folder, dtype, capfd, caplog):
    pytest.importorskip("bitsandbytes")
    layer = load(str(tiny_folder), device="cpu", dtype=dtype).decoder.layers[0].self_attn.q_proj
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    x[1] *= 1e5
    capfd.readouterr(), caplog.clear()
    out = layer(x).float()
    assert (capfd.readouterr().err, caplog.records) == ("", [])
    expected = load(str(tiny_folder), device="cpu").decoder.layers[0].self_attn.q_proj(x.float())
    assert ((out - expected).norm(dim=1) < 0.2 * expected.norm(dim=1)).all()


def test_quantized_weights_without_the_extra_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    with pytest.raises(MissingError) as raised:
        quantization("int4")
    assert 'pip install "omnimem-cli[quant]"' in raised.value.hint
    assert quantization("bfloat16") is None
