"""The type of weights that nobody asked for: one function, and all that is computed from it."""

import json
from dataclasses import replace

import footage
import pytest
import torch
from fake_run import omnimem
from kept import logits, watched
from salmonn_tiny import tiny_salmonn
from tiny import tiny_omni
from tiny_qwen3 import tiny_qwen3_omni

from omnimem_cli.base.settings import Settings
from omnimem_cli.models import device as devices
from omnimem_cli.models import loader
from omnimem_cli.models.catalogue import row
from omnimem_cli.models.device import dtype_name
from omnimem_cli.models.dummy import random_adapter
from omnimem_cli.models.loader import fitting, load, locate, recommended
from omnimem_cli.session.preflight import outline_of_folder, outline_of_row

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
GB = 10**9
asks_the_processor = devices.bfloat16_is_faster


@pytest.fixture(params=[True, False], ids=["faster", "no faster"])
def usual(request, monkeypatch) -> str:
    """The type on a processor that is faster with bfloat16, and on one that is not."""
    monkeypatch.setattr(devices, "bfloat16_is_faster", lambda: request.param)
    return "bfloat16" if request.param else "float32"


def test_weights_are_of_the_type_that_the_processor_multiplies_fastest(usual, tiny_folder):
    assert dtype_name(None, CPU, "auto") == usual
    for make in (load, random_adapter):
        adapter = make(str(tiny_folder), device="cpu")
        assert (str(adapter.dtype), adapter.weights_dtype) == (f"torch.{usual}", usual)


def test_a_type_that_is_asked_for_is_taken_whatever_the_processor(usual, tiny_folder):
    for dtype in ("float32", "bfloat16"):
        assert load(str(tiny_folder), device="cpu", dtype=dtype).weights_dtype == dtype
        assert dtype_name(dtype, CPU, "float32") == dtype


def test_nano_is_the_same_on_every_processor(usual):
    assert load("nano", device="cpu").weights_dtype == "float32"
    assert random_adapter("nano", device="cpu").weights_dtype == "float32"
    assert outline_of_folder(locate("nano"), Settings(model="nano", device="cpu")).placement.weights == "float32"


def test_other_devices_do_not_ask_the_processor(usual):
    assert dtype_name(None, CUDA, "auto") == dtype_name(None, CUDA, row("nano").cpu_dtype) == "bfloat16"
    assert dtype_name(None, torch.device("meta"), "auto") == "float32"


def test_estimates_are_of_the_type_that_is_loaded(usual, tiny_folder, monkeypatch):
    monkeypatch.setattr(loader, "free_bytes", lambda device: 100 * GB)
    settings = Settings(model=str(tiny_folder), device="cpu")
    adapter, shape = load(settings.model, device="cpu"), outline_of_folder(locate(settings.model), settings)
    assert shape.weights == sum(p.nbytes for p in adapter.model.parameters())
    assert shape.adapter.dtype == adapter.dtype
    known = row("qwen2.5-omni-3b")
    listed = outline_of_row(known, replace(settings, model=known.name))
    assert (listed.weights, listed.placement.weights) == (int(known.weights_gb(usual) * GB), usual)


def test_what_fits_is_what_fits_in_the_type_that_is_loaded(usual, monkeypatch):
    monkeypatch.setattr(loader, "total_memory", lambda device: 25 * GB)
    assert row("nano") in fitting(CPU, None)
    assert (row("qwen2.5-omni-7b") in fitting(CPU, None)) == (usual == "bfloat16")
    assert recommended(CPU, None).name == {"bfloat16": "qwen2.5-omni-7b", "float32": "qwen2.5-omni-3b"}[usual]


def test_the_doctor_names_the_type_and_counts_entries_in_it(usual, capsys):
    omnimem("doctor", "-m", "qwen2.5-omni-3b", "--device", "cpu", "--budget", "1k", "-f", "json")
    found = {finding["about"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert found["fits"]["dtype"] == usual
    assert found["budget"]["bytes"] == 1024 * row("qwen2.5-omni-3b").entry_bytes(usual)


@pytest.mark.parametrize(
    ("kernels", "whole_s", "half_s", "faster"),
    [(True, 8.0, 2.0, True), (True, 8.0, 7.0, False), (True, 8.0, 16.0, False), (False, 8.0, 2.0, False)],
)
def test_the_processor_is_asked_by_the_time_it_takes(kernels, whole_s, half_s, faster, monkeypatch):
    seconds = {torch.float32: whole_s, torch.bfloat16: half_s}
    monkeypatch.setattr(devices, "has_bfloat16", lambda: kernels)
    monkeypatch.setattr(devices, "linear_seconds", seconds.get)
    assert asks_the_processor.__wrapped__() == faster


def test_without_kernels_of_the_library_there_is_no_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not devices.has_bfloat16()


FAMILIES = {
    "qwen2.5-omni": tiny_omni,
    "qwen3-omni": tiny_qwen3_omni,
    "salmonn25": lambda folder: tiny_salmonn(folder, "salmonn25"),
    "salmonn3": lambda folder: tiny_salmonn(folder, "salmonn3"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_in_bfloat16_nearly_as_in_float32(family, tmp_path):
    folder, clip = str(FAMILIES[family](tmp_path / "model")), footage.av(tmp_path, video_s=4, audio_s=4)
    settings = Settings(device="cpu", policy="full", max_pixels=112 * 84)
    whole, half = (
        logits(watched(clip, settings, load(folder, device="cpu", dtype=dtype))) for dtype in ("float32", "bfloat16")
    )
    assert (half - whole).norm() < 0.06 * whole.norm()  # the library's own two differ by 4 % in the first
