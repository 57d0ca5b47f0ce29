"""Importance and redundancy against their definitions, written out in full."""

import pytest
import torch
from decoders import WIDTH, omni_decoder, stream

from omnimem_cli.memory import redundancy as redundancy_of
from omnimem_cli.memory.attention import attend
from omnimem_cli.memory.attention_kernels import best_kernel, merge, reference_kernel
from omnimem_cli.memory.importance import column_sums, head_averaged_sums, running_mean, sampled_rows, seeing_share
from omnimem_cli.memory.policies.policy import LayerView
from omnimem_cli.memory.redundancy import (
    ROWS,
    HiddenSketch,
    NeighbourCosines,
    NeighbourCosinesInTime,
    adjacent_cosines,
    time_order,
    twin_cosines,
)
from omnimem_cli.memory.selection import top
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.table import Table, table_of
from omnimem_cli.memory.tokens import VISUAL


def heads(m=1500, n=70, h=4, g=2, d=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(1, x, y, d, generator=generator) for x, y in ((h, n), (g, m + n), (g, m + n)))
    return q, k, v, m


def softmax_weights(q, k, m, scaling):
    """[H, n, m + n], the definition."""
    n = q.shape[2]
    scores = q[0] @ k[0].repeat_interleave(q.shape[1] // k.shape[1], 0).transpose(-1, -2) * scaling
    later = torch.arange(m + n) > m + torch.arange(n)[:, None]
    return scores.masked_fill(later, -torch.inf).softmax(-1)


def two_parts(q, k, v, m, scaling=0.25):
    return merge(
        [
            attend(q, k[:, :, :m], v[:, :, :m], scaling, False),
            attend(q, k[:, :, m:], v[:, :, m:], scaling, True),
        ]
    )


def test_memory_and_chunk_merge_to_one_attention():
    q, k, v, m = heads()
    out, lse = two_parts(q, k, v, m)
    weights = softmax_weights(q, k, m, 0.25)
    assert (out[0] - weights @ v[0].repeat_interleave(2, 0)).abs().max() < 1e-5
    assert (lse[0] - torch.log((weights / weights).nan_to_num(0).sum(-1))).isfinite().all()


def test_the_fast_kernel_was_found_and_agrees_with_the_portable_one():
    q, k, v, _ = heads(m=0, n=200, g=4)
    kernel = best_kernel(torch.device("cpu"), torch.float32, 16)
    assert kernel is not reference_kernel
    for causal in (False, True):
        for ours, reference in zip(kernel(q, k, v, 0.3, causal), reference_kernel(q, k, v, 0.3, causal), strict=True):
            assert (ours - reference).abs().max() < 1e-5


@pytest.mark.parametrize("m", [0, 5, 1500])
def test_blockwise_importance_equals_naive(m):
    q, k, v, m = heads(m=m)
    _, lse = two_parts(q, k, v, m)
    ours = column_sums(q, lse, k[:, :, :m], k[:, :, m:], 0.25)
    naive = softmax_weights(q, k, m, 0.25).sum(1).mean(0)
    assert (ours - naive).abs().max() < 1e-5
    assert abs(float(ours.sum()) - 70) < 1e-3, "importance sums to the number of queries"


def test_importance_from_every_nth_query_counts_those_queries():
    q, k, v, m = heads()
    _, lse = two_parts(q, k, v, m)
    ours = column_sums(q, lse, k[:, :, :m], k[:, :, m:], 0.25, stride=8)
    rows = sampled_rows(70, 8, "cpu")
    naive = softmax_weights(q, k, m, 0.25)[:, rows].sum(1).mean(0) * 70 / len(rows)
    assert rows[-1] == 69 and (ours - naive).abs().max() < 1e-5


@pytest.mark.parametrize("stride", [1, 8, 200])
def test_the_share_of_queries_that_see_a_key_is_counted_of_those_looked_at(stride):
    rows = sampled_rows(70, stride, "cpu")
    naive = torch.tensor([float((rows >= key).float().mean()) for key in range(70)])
    ours = seeing_share(70, stride, "cpu")
    assert (
        torch.allclose(ours, naive)
        and float(ours[0]) == 1.0
        and float(ours[-1]) == pytest.approx(1 / len(rows), rel=1e-5)
    )


@pytest.mark.parametrize("stride", [1, 8])
def test_importance_per_query_is_a_mean_over_the_queries_that_see_the_key(stride):
    q, k, v, m = heads()
    _, lse = two_parts(q, k, v, m)
    store = Store(2, 16, torch.float32, "cpu")
    store.append(k[:, :, :m], v[:, :, :m], Table({"index": torch.arange(m)[None]}))
    view = LayerView(0, store, k[:, :, m:], v[:, :, m:], q, lse, None, None, None, 0.25, {}, {})
    rows = sampled_rows(70, stride, "cpu")
    weights = softmax_weights(q, k, m, 0.25)[:, rows].mean(0)  # [r, m + n]
    seen = torch.arange(m + 70) <= m + rows[:, None]
    naive = weights.sum(0) / seen.sum(0)
    assert (view.importance_per_query(stride) - naive).abs().max() < 1e-6


def test_head_averaged_importance_is_a_softmax_of_mean_logits():
    q, k, _, m = heads()
    logits = (q[0] @ k[0].repeat_interleave(2, 0).transpose(-1, -2) * 0.25).mean(0)
    later = torch.arange(m + 70) > m + torch.arange(70)[:, None]
    naive = logits.masked_fill(later, -torch.inf).softmax(-1).sum(0)
    ours = head_averaged_sums(q, k[:, :, :m], k[:, :, m:], 0.25)
    assert (ours - naive).abs().max() < 1e-5


def test_the_engine_hands_out_importance_that_sums_to_the_queries():
    from omnimem_cli.memory.budget import even_budgets
    from omnimem_cli.memory.memory import Memory
    from omnimem_cli.memory.policies import Full

    sums = []

    class Spy(Full):
        def on_layer(self, view):
            sums.append((float(view.importance().sum()), float(view.importance(heads="averaged").sum())))
            return super().on_layer(view)

    tokens = stream(9)
    memory = Memory(omni_decoder(), Spy(), even_budgets(4, 40, 1.0, True, True), dtype=torch.float32)
    for start in range(0, len(tokens), 30):
        memory.absorb(tokens.cut(start, start + 30))
    counts = [min(30, len(tokens) - s) for s in range(0, len(tokens), 30) for _ in range(4)]
    for (exact, averaged), n in zip(sums, counts, strict=True):
        assert abs(exact - n) < 1e-3 and abs(averaged - n) < 1e-3


def test_old_entries_average_and_new_ones_start_whole():
    received, stored = torch.tensor([[2.0, 4.0, 6.0]]), torch.tensor([[4.0, 0.0]])
    assert running_mean(received, stored).tolist() == [[3.0, 2.0, 6.0]]


def hidden_states(n, seed=0):
    return torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed))


def unit_of(hidden):
    return torch.nn.functional.normalize(hidden, dim=-1)


def test_redundancy_is_the_mean_cosine_to_both_neighbours_and_ends_count_one():
    unit, table = unit_of(hidden_states(30)), table_of(stream(2).cut(0, 30), 0, 1)
    pairs = NeighbourCosines(unit, unit, table["index"][0], None)
    s = pairs.redundancy(pairs.cosines())
    dots = (unit[:-1] * unit[1:]).sum(-1)
    assert (s[1:-1] - (dots[:-1] + dots[1:]) / 2).abs().max() < 1e-6
    assert abs(float(s[0] - (1 + dots[0]) / 2)) < 1e-6 and abs(float(s[-1] - (1 + dots[-1]) / 2)) < 1e-6


def test_neighbours_in_time_are_the_same_patch_one_step_away():
    tokens = stream(4)
    table = table_of(tokens, 0, 1)
    order, counts = time_order(table)
    kind, patch, step = (table[name][0] for name in ("kind", "patch", "step"))
    pairs = [(int(a), int(b)) for a, b, c in zip(order, order[1:], counts, strict=False) if c]
    media = [(a, b) for a, b in pairs if kind[a] >= 2]
    assert media and all(kind[a] == kind[b] and patch[a] == patch[b] and step[b] == step[a] + 1 for a, b in media)


def test_redundancy_in_time_is_in_the_order_of_the_entries():
    unit, table = unit_of(hidden_states(30)), table_of(stream(2).cut(0, 30), 0, 1)
    pairs = NeighbourCosinesInTime(unit, unit, table["index"][0], None, *time_order(table))
    s = pairs.redundancy(pairs.cosines())
    visual = (table["kind"][0] == VISUAL).nonzero()[:, 0]
    first, again = visual[0], visual[table["patch"][0][visual] == table["patch"][0][visual[0]]][1]
    assert abs(float(s[first] - (1 + unit[first] @ unit[again]) / 2)) < 1e-6, "one neighbour, the other counts 1"
    before, after = torch.ones(30), torch.ones(30)
    for left, right, counts in zip(pairs.order[:-1], pairs.order[1:], pairs.counts, strict=True):
        if counts:
            before[right] = after[left] = unit[left] @ unit[right]
    assert torch.allclose(s, (before + after) / 2, atol=1e-6)


@pytest.mark.parametrize("carry", [HiddenSketch(8, "int8"), HiddenSketch(0)])
def test_a_kept_pair_carries_its_exact_cosine_and_a_new_pair_uses_vectors(carry):
    tokens, unit = stream(3), unit_of(hidden_states(20))
    table = table_of(tokens.cut(0, 20), 0, 1)
    pairs = NeighbourCosines(unit, carry.compact(unit), table["index"][0], None)
    cosine, neighbour_index = pairs.remember(pairs.cosines())
    kept, fresh = torch.tensor([[0, 1, 2, 7, 8]]), unit_of(hidden_states(4, seed=1))
    engine = table.take(kept)
    table["cosine"], table["neighbour_index"] = cosine[None], neighbour_index[None]
    both = engine.extend(table_of(tokens.cut(20, 24), 20, 1))
    vectors = torch.cat([pairs.vectors[kept[0]], carry.compact(fresh)])
    later = NeighbourCosines(fresh, vectors, both["index"][0], table.take(kept))
    again = later.cosines()
    in_list, all_count = torch.arange(len(vectors)), torch.ones(len(vectors) - 1, dtype=torch.bool)
    long = NeighbourCosinesInTime(**vars(later), order=in_list, counts=all_count)
    assert torch.allclose(again, long.cosines(), atol=1e-6), "as with any order of neighbours, here the list's own"
    for ours, theirs in zip(later.remember(again), long.remember(again), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(later.redundancy(again), long.redundancy(again))
    assert torch.allclose(again[[0, 1, 3]], (unit[:-1] * unit[1:]).sum(-1)[[0, 1, 7]], atol=1e-6), "both stayed: exact"
    assert torch.allclose(again[5:], (fresh[:-1] * fresh[1:]).sum(-1), atol=1e-6), "inside the chunk: exact"
    exact = torch.stack([unit[2] @ unit[7], unit[8] @ fresh[0]])
    apart = (again[[2, 4]] - exact).abs()
    assert (apart < 1e-5).all() if carry.dims == 0 else (apart > 1e-4).all(), "pairs made by eviction use vectors"


def test_ties_fall_to_the_earlier_entry_and_nan_is_never_kept():
    everyone = torch.ones(1, 6, dtype=torch.bool)
    assert top(torch.ones(1, 6), everyone, 3).tolist() == [[True] * 3 + [False] * 3]
    scores = torch.tensor([[torch.nan, 1.0, torch.nan, 2.0, 0.0, 1.0]])
    for k in (5, 6):
        assert top(scores, everyone, k).tolist() == [[False, True, False, True, True, True]]


def test_identical_neighbours_score_zero_never_nan():
    from omnimem_cli.memory.policies.omnimem import OmniMem

    redundant = torch.tensor([[1.0, 1.0 + 1e-6, 0.5]])
    for score in ("paper", "code"):
        psi = OmniMem(score=score).combine(torch.tensor([[0.0, 3.0, 2.0]]), redundant)
        assert psi.isfinite().all() and psi[0, 0] == psi[0, 1] == 0 < psi[0, 2]


@pytest.mark.parametrize("type_", [torch.int8, torch.bfloat16, torch.float32])
def test_the_cosine_of_a_row_to_the_next_is_that_of_torch_and_zero_beside_a_zero(type_):
    rows = (40 * torch.randn(30, 8, generator=torch.Generator().manual_seed(0))).clamp(-127, 127).to(type_)
    rows[[4, 5, 9]] = 0
    naive = torch.nn.functional.cosine_similarity(rows[:-1].float(), rows[1:].float(), dim=-1)
    ours = adjacent_cosines(rows)
    assert torch.allclose(ours, naive, rtol=0, atol=1e-6)
    assert ours[[3, 4, 5, 8, 9]].tolist() == [0.0] * 5 and ours[0] != 0


def naive_twin_cosines(vectors, kinds, scores):
    """Every pair at once: a twin is of the same kind, and scores more, or as much and comes before."""
    place = torch.arange(len(scores))
    level = scores.nan_to_num(nan=-torch.inf)
    better = (level > level[:, None]) | ((level == level[:, None]) & (place < place[:, None]))
    twins = better & (kinds == kinds[:, None])
    return torch.where(twins, vectors @ vectors.T, 0.0).amax(1).clamp(min=0)


@pytest.mark.parametrize("surplus", [0, 5])
@pytest.mark.parametrize("count", [1, 3, 40, 3 * ROWS["cpu"], 10 * ROWS["cpu"] + 50])
def test_a_twin_is_the_most_alike_of_its_kind_that_scores_more(count, surplus):
    generator = torch.Generator().manual_seed(count)
    vectors = torch.nn.functional.normalize(torch.randn(count, 8, generator=generator), dim=-1)
    kinds = torch.randint(0, 4, (count,), generator=generator).to(torch.uint8)
    scores = torch.randint(0, max(count // 3, 1), (count,), generator=generator) / 7  # many are equal
    scores[count // 2 + 1 :: 17] = torch.nan
    most = {kind: int((kinds == kind).sum()) + surplus for kind in range(4)}
    ours = twin_cosines(vectors, kinds, scores, most)
    assert torch.allclose(ours, naive_twin_cosines(vectors, kinds, scores), rtol=0, atol=1e-5)


@pytest.mark.parametrize("by_int8", [True, False])
def test_twins_of_int8_vectors_are_those_of_their_numbers(by_int8, monkeypatch):
    monkeypatch.setattr(redundancy_of, "_multiplies_int8", lambda device: by_int8)
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randint(-127, 128, (3 * ROWS["cpu"] + 9, 64), generator=generator, dtype=torch.int8)
    vectors[5] = 0
    vectors[11::3] //= 9
    kinds, scores = torch.arange(len(vectors)) % 2, torch.rand(len(vectors), generator=generator)
    most = {0: len(vectors), 1: len(vectors)}
    ours, theirs = (twin_cosines(each, kinds, scores, most) for each in (vectors, vectors.double()))
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-6) and float(ours.max()) > 0.3


def test_of_two_that_are_the_same_the_better_has_no_twin():
    vectors = torch.eye(40)
    vectors[30] = vectors[3]
    for scores in (torch.linspace(1, 0, 40), torch.ones(40)):
        ours = twin_cosines(vectors, torch.zeros(40, dtype=torch.uint8), scores, {0: 40})
        assert float(ours[30]) == pytest.approx(1.0) and float(ours.sum()) == pytest.approx(1.0)


def test_an_entry_that_is_no_number_is_nobodys_twin():
    vectors, scores = torch.randn(9, 8, generator=torch.Generator().manual_seed(1)), torch.linspace(1, 0, 9)
    vectors[4] = scores[4] = torch.nan
    others = torch.arange(9) != 4
    assert twin_cosines(vectors, torch.zeros(9, dtype=torch.uint8), scores, {0: 9})[others].isfinite().all()
