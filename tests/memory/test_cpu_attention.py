"""On a CPU queries take the way that is clearly faster, and each way gives what attention in float32 gives."""

from functools import partial

import pytest
import torch
from half_precision import assert_like, random_parts

from omnimem_cli.memory import cpu_attention as cpu
from omnimem_cli.memory.attention_kernels import reference_biased, reference_kernel

FEW, MANY = "in_products", "in_tiles"
given = partial(random_parts, heads=6)


@pytest.mark.parametrize("size", [1.0, 6.0])
@pytest.mark.parametrize(("queries", "keys"), [(1, 130), (5, 24), (3, 1)])
def test_products_give_what_float32_gives(queries, keys, size):
    q, k, v = given(queries, keys, size)
    ours = cpu.in_products(q, k, v, 0.3)
    assert ours[0].dtype == torch.bfloat16 and ours[1].dtype == torch.float32
    assert_like(ours, reference_kernel(q.float(), k.float(), v.float(), 0.3, False))


def test_products_of_entries_in_buffers_with_room_for_more_are_the_same(monkeypatch):
    q, k, v = given(4, 130)
    ours = cpu.in_products(q, k[:, :, :100], v[:, :, :100], 0.3)
    whole = cpu.in_products(q, k[:, :, :100].contiguous(), v[:, :, :100].contiguous(), 0.3)
    assert_like(ours, (whole[0].float(), whole[1]))
    batches, at_once = [], cpu._at_once
    monkeypatch.setattr(cpu, "_at_once", lambda q, k, *more: (batches.append(k.shape[1]), at_once(q, k, *more))[1])
    cpu.in_products(q, k[:, :, :100], v[:, :, :100], 0.3)
    cpu.in_products(q, k, v, 0.3)
    assert batches == [1, 1, 1, 3]  # groups, of which a batch would be copied


@pytest.mark.parametrize("hidden", [0.0, 40.0])
def test_a_bias_weighs_keys_and_hides_them_from_products(hidden):
    q, k, v = (x[:, :3] for x in given(4, 130))
    k[0, :, :50, 0], q[..., 0] = hidden, hidden  # hidden keys have by far the largest scores
    bias = torch.linspace(0, 5, 130).expand(2, 1, 1, 130).clone()
    bias[0, ..., :50], bias[1, ..., ::2] = -torch.inf, -torch.inf
    ours = cpu.in_products(q, k, v, 0.3, bias.bfloat16())
    assert_like(ours, reference_biased(q.float(), k.float(), v.float(), 0.3, bias.bfloat16()))


@pytest.mark.parametrize(("dtype", "ours_s", "taken"), [
    (torch.bfloat16, 1.0, True), (torch.bfloat16, 1.6, False), (torch.float32, 1.0, False),
])  # fmt: skip
@pytest.mark.parametrize("way", [FEW, MANY])
def test_a_way_is_taken_where_it_clearly_takes_less(way, dtype, ours_s, taken, monkeypatch):
    monkeypatch.setattr(cpu, "least_seconds", lambda torchs, ours: [2.0, ours_s])
    assert cpu._prefers.__wrapped__(getattr(cpu, way), 8, 64, dtype, 16) == taken


@pytest.mark.parametrize("way", [FEW, MANY])
def test_a_way_that_gives_other_numbers_is_not_taken(way, monkeypatch):
    right = getattr(cpu, way)
    monkeypatch.setattr(cpu, "least_seconds", lambda torchs, ours: [2.0, 1.0])
    assert not cpu._prefers.__wrapped__(lambda *of: (right(*of)[0], right(*of)[1] + 0.1), 8, 64, torch.bfloat16, 16)


@pytest.fixture
def taken(monkeypatch):
    """The ways that attention takes where each is faster than torch's, in order."""
    ways = []

    def noted(way):
        right = getattr(cpu, way)
        return lambda *of, **more: (ways.append(way), right(*of, **more))[1]

    monkeypatch.setattr(cpu, "_prefers", lambda *_: True)
    for way in (FEW, MANY, "_torchs"):
        monkeypatch.setattr(cpu, way, noted(way))
    for name, value in {"QUERIES": 32, "PRODUCTS": 6 * 4 * 40 * 16, "SCORES": 6 * 8 * 40}.items():
        monkeypatch.setattr(cpu, name, value)
    return ways


@pytest.mark.parametrize("biased", [False, True])
def test_the_way_follows_from_how_much_there_is(biased, taken):
    for queries in (1, 2, 4, 5, 31, 32):  # of two rows
        q, k, v = given(queries, 40)
        bias = torch.zeros(2, 1, 1, 40).bfloat16()
        ours = cpu.attend_biased(q, *grouped(q, k, v), 0.3, bias) if biased else cpu.attend(q, k, v, 0.3, False)
        assert_like(ours, reference_kernel(q.float(), k.float(), v.float(), 0.3, False))
    assert taken == ["_torchs", FEW, FEW, "_torchs", "_torchs", MANY]


def grouped(q, k, v):
    """As `attention.attend_biased` gives them: a key per query head."""
    return (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))


def test_queries_that_see_only_what_was_before_take_tiles_or_torchs_way(taken):
    for queries in (12, 32):
        q, k, v = given(queries, queries)
        ours = cpu.attend(q, k, v, 0.3, True)
        assert_like(ours, reference_kernel(q.float(), k.float(), v.float(), 0.3, True))
    assert taken == ["_torchs", MANY]
