"""Attention in tiles of bfloat16 gives what attention in float32 gives, within what bfloat16 holds."""

from functools import partial

import pytest
import torch
from half_precision import assert_like, random_parts

from omnimem_cli.memory import cpu_tiles as cpu
from omnimem_cli.memory.attention_kernels import reference_biased, reference_kernel

given = partial(random_parts, heads=3)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Several blocks of queries, of heads and of keys."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(cpu, "ROWS", 32)
    monkeypatch.setattr(cpu, "KEYS", 24)


@pytest.fixture
def raised(monkeypatch):
    """One item for each time that a block raises its level."""
    times, raise_level = [], cpu._Block._raise_level
    monkeypatch.setattr(cpu._Block, "_raise_level", lambda *of: (times.append(1), raise_level(*of))[1])
    return times


@pytest.mark.parametrize("heads", [3, 6])
@pytest.mark.parametrize(("queries", "keys"), [(100, 130), (7, 24), (33, 1), (64, 48)])
def test_tiles_add_up_to_the_whole(queries, keys, heads):
    q, k, v = given(queries, keys, heads=heads)
    ours = cpu.in_tiles(q, k, v, 0.3)
    assert ours[0].dtype == torch.bfloat16 and ours[1].dtype == torch.float32
    assert_like(ours, reference_kernel(q.float(), k.float(), v.float(), 0.3, False))


@pytest.mark.parametrize("heads", [3, 6, 12])
@pytest.mark.parametrize("count", [1, 31, 100])
def test_a_query_sees_nothing_after_itself(count, heads):
    q, k, v = given(count, count, heads=heads)
    ours = cpu.in_tiles(q, k, v, 0.3, causal=True)
    assert_like(ours, reference_kernel(q.float(), k.float(), v.float(), 0.3, True))


@pytest.mark.parametrize("causal", [False, True])
def test_large_scores_are_as_fine_as_small_ones(causal):
    q, k, v = given(100, 100, size=6.0)
    rising = torch.linspace(-1, 1, 100)[:, None] * 10
    k = (k.float() + rising).bfloat16()  # every tile holds scores above those before
    reference = reference_kernel(q.float(), k.float(), v.float(), 0.3, causal)
    assert reference[1].abs().max() > 100
    assert_like(cpu.in_tiles(q, k, v, 0.3, causal=causal), reference)


def test_scores_far_below_zero_do_not_vanish():
    q, k, v = given(40, 60)
    k[..., 0], q[..., 0] = -40.0, 40.0
    ours = cpu.in_tiles(q, k, v, 0.3)
    assert_like(ours, reference_kernel(q.float(), k.float(), v.float(), 0.3, False))
    assert ours[1].max() < -400


def test_a_bias_weighs_keys_and_hides_them():
    q, k, v = given(100, 130)
    bias = torch.linspace(0, 5, 130).expand(2, 1, 1, 130).clone()
    bias[0, ..., :50], bias[1, ..., ::2] = -torch.inf, -torch.inf  # of the first row two whole tiles
    ours = cpu.in_tiles(q, k, v, 0.3, bias=bias.bfloat16())
    assert_like(ours, reference_biased(q.float(), k.float(), v.float(), 0.3, bias.bfloat16()))


def test_keys_far_below_those_that_are_hidden_do_not_vanish():
    q, k, v = given(40, 60)
    k[..., 0], q[..., 0] = -40.0, 40.0
    bias = torch.zeros(2, 1, 1, 60).bfloat16()
    bias[1, ..., :30] = -torch.inf  # of the second row the whole first tile
    ours = cpu.in_tiles(q, k, v, 0.3, bias=bias)
    assert_like(ours, reference_biased(q.float(), k.float(), v.float(), 0.3, bias))
    assert ours[0].isfinite().all()


def test_a_level_that_is_far_too_low_is_raised(raised):
    q, k, v = given(40, 100)
    k[..., 30:, 0], q[..., 0] = 8.0, 4.0  # from the second tile on scores are some 14 above those of the first
    assert_like(cpu.in_tiles(q, k, v, 0.3), reference_kernel(q.float(), k.float(), v.float(), 0.3, False))
    assert len(raised) == 6 * 2  # of every block: the first tile, and the second


def test_keys_that_weigh_the_same_raise_no_level_again(raised):
    q, k, v = given(40, 100, size=0.0)
    cpu.in_tiles(q, k, v, 0.3)
    assert len(raised) == 6


def test_queries_in_the_layout_of_a_decoder_give_the_same():
    q, k, v = given(100, 130, heads=6)
    turned = q.transpose(1, 2).contiguous().transpose(1, 2)  # [B, n, H, d] in memory
    for one, other in zip(cpu.in_tiles(turned, k, v, 0.3), cpu.in_tiles(q, k, v, 0.3), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("threads", [1, 2, 96])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("groups", "heads", "queries"), [(1, 1, 100_000), (4, 7, 16_384), (28, 1, 16_384), (1, 1, 40)])
def test_a_tile_has_so_many_scores_per_thread_however_many_there_are(
    groups, heads, queries, causal, threads, monkeypatch
):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    at_once, places = cpu._tile(groups, heads, queries, causal)
    assert 1 <= at_once <= groups and 1 <= places <= queries
    assert at_once * heads * places <= threads * cpu.ROWS and (not causal or places <= cpu.KEYS)
