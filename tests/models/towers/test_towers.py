"""Batched encoders against the library's own, window by window and pair by pair."""

import weakref
from copy import deepcopy

import pytest
import torch
from salmonn_tiny import tiny_salmonn
from tiny import tiny_omni
from tiny_qwen3 import tiny_qwen3_omni

from omnimem_cli.bench.flops import encoder_flops
from omnimem_cli.models.loader import load
from omnimem_cli.models.towers import vision as towers_vision
from omnimem_cli.models.towers.audio import AudioTower
from omnimem_cli.models.towers.deep_vision import DeepVisionTower
from omnimem_cli.models.towers.vision import PAIRS_AT_ONCE, VisionTower, towers_of

VISION = {  # how a tiny model is made, and the batched form of its vision tower
    "qwen2.5-omni": (tiny_omni, VisionTower),
    "qwen3-omni": (tiny_qwen3_omni, DeepVisionTower),
    "salmonn25": (lambda folder: tiny_salmonn(folder, "salmonn25"), VisionTower),
    "salmonn3": (lambda folder: tiny_salmonn(folder, "salmonn3"), DeepVisionTower),
}
GRIDS = [(26, 46), (6, 8), (4, 4), (8, 8), (2, 30), (10, 2), (2, 2)]


@pytest.fixture(scope="module", params=VISION)
def vision(request, tmp_path_factory):
    """The library's vision tower of a family, and the class of its batched form."""
    make, batched = VISION[request.param]
    model = load(str(make(tmp_path_factory.mktemp("towers") / request.param)), device="cpu").model
    return towers_of(model).visual, batched


def rows_of(tower, pairs, height, width, seed=0):
    values = tower.patch_embed.proj.weight[0].numel()
    return torch.randn(pairs, height * width, values, generator=torch.Generator().manual_seed(seed))


def library_sees(tower, rows, height, width):
    """The library's embeddings [pairs, cells, D], deepstack features behind them."""
    seen = tower(rows.flatten(0, 1), grid_thw=torch.tensor([[len(rows), height, width]]))
    layers = [seen.pooler_output, *(getattr(seen, "deepstack_features", None) or [])]
    return torch.cat(layers, dim=-1).unflatten(0, (len(rows), -1))


def assert_same(seen, expected):
    assert expected.std() > 0.1 and seen.shape == expected.shape
    assert (seen - expected).abs().max() < 5e-6 * expected.abs().max()


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), GRIDS)
@pytest.mark.parametrize("pairs", [1, 3])
def test_frame_pairs_in_one_batch_are_the_librarys(vision, height, width, pairs):
    tower, batched = vision
    rows = rows_of(tower, pairs, height, width)
    assert_same(batched(tower)(rows, height, width), library_sees(tower, rows, height, width))


@torch.no_grad()
def test_a_long_chunk_goes_through_in_parts(vision):
    tower, batched = vision
    rows, passes = rows_of(tower, 130, 4, 6), []
    expected = library_sees(tower, rows, 4, 6)
    hook = tower.blocks[0].norm1.register_forward_hook(lambda _module, args, _out: passes.append(len(args[0])))
    seen = batched(tower)(rows, 4, 6)
    hook.remove()
    assert passes == [PAIRS_AT_ONCE, PAIRS_AT_ONCE, 2]
    assert_same(seen, expected)


@torch.no_grad()
def test_a_cpu_takes_no_more_pairs_at_once_than_its_caches_hold(vision, monkeypatch):
    tower, batched = vision
    rows, passes = rows_of(tower, 5, 4, 6), []
    monkeypatch.setattr(towers_vision, "CPU_VALUES_AT_ONCE", 2 * 4 * 6 * len(tower.blocks[0].norm1.weight) + 1)
    hook = tower.blocks[0].norm1.register_forward_hook(lambda _module, args, _out: passes.append(len(args[0])))
    seen = batched(tower)(rows, 4, 6)
    hook.remove()
    assert passes == [2, 2, 1]
    assert_same(seen, library_sees(tower, rows, 4, 6))
    monkeypatch.setattr(towers_vision, "CPU_VALUES_AT_ONCE", 1)
    assert towers_vision.pairs_at_once(torch.device("cpu"), 2) == 1
    assert towers_vision.pairs_at_once(torch.device("cuda"), 2) == PAIRS_AT_ONCE


@torch.no_grad()
def test_in_bfloat16_a_tower_is_as_close_to_float32_as_the_librarys(vision):
    tower, batched = vision
    rows = rows_of(tower, 3, 10, 14)
    exact, half = library_sees(tower, rows, 10, 14), deepcopy(tower).bfloat16()
    ours, theirs = (
        (seen.float() - exact).norm() / exact.norm()
        for seen in (batched(half)(rows.bfloat16(), 10, 14), library_sees(half, rows.bfloat16(), 10, 14))
    )
    assert 1e-3 < ours < 1.2 * theirs


@torch.no_grad()
def test_a_grid_is_laid_out_once_and_forgotten_with_the_next(vision, monkeypatch):
    tower, batched = vision
    made, make = [], batched.layout

    def remember(*arguments):
        layout = make(*arguments)
        made.append(weakref.ref(layout))
        return layout

    monkeypatch.setattr(batched, "layout", staticmethod(remember))
    ours = batched(tower)
    for (height, width), layouts in (((4, 6), 1), ((4, 6), 1), ((6, 4), 2), ((4, 6), 3)):
        rows = rows_of(tower, 2, height, width, seed=layouts)
        assert_same(ours(rows, height, width), library_sees(tower, rows, height, width))
        assert len(made) == layouts and [layout() is not None for layout in made] == [False] * (layouts - 1) + [True]


@torch.no_grad()
def test_a_tower_reads_no_value_back_and_stays_on_its_device(vision):
    tower, batched = vision
    ours = batched(deepcopy(tower).to("meta"))
    seen = ours(rows_of(tower, 3, 10, 14).to("meta"), 10, 14)
    assert seen.device.type == "meta" and seen.shape[:2] == (3, 35)


@torch.no_grad()
def test_a_towers_work_is_counted_like_the_librarys(vision):
    tower, batched = vision
    tower, rows = deepcopy(tower).requires_grad_(False), rows_of(tower, 3, 10, 14)
    ours = encoder_flops(lambda: batched(tower)(rows, 10, 14))
    assert ours == encoder_flops(lambda: library_sees(tower, rows, 10, 14)) > 1e6


@torch.no_grad()
@pytest.mark.parametrize("lengths", [[200], [200] * 5, [200, 130], [400, 7], [1], [2, 200, 0, 3], [199, 198, 200]])
def test_sound_windows_in_one_batch_are_the_librarys(tiny_adapter, lengths):
    tower = towers_of(tiny_adapter.model).audio_tower
    generator = torch.Generator().manual_seed(0)
    mels = [torch.randn(128, n, generator=generator) for n in lengths]
    heard = AudioTower(tower)(mels)
    for mel, tokens in zip(mels, heard, strict=True):
        if mel.shape[1] < 3:  # too short for a token; the library cannot encode it alone
            assert tokens.shape == (0, 64)
            continue
        expected = tower(mel, feature_lens=torch.tensor([mel.shape[1]])).last_hidden_state
        assert expected.std() > 0.1
        assert (tokens - expected).abs().max() < 1e-5
