"""Attention mass: a survivor is attended to as what it stands for was."""

import pytest
import torch
from decoders import stream
from oracles import cuts, memory_of, watched

from omnimem_cli.memory.mass import BIAS, MOST, inherited, most_counted
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.table import Table, table_of
from omnimem_cli.memory.tokens import AUDIO, PREFIX, TEXT, VISUAL

WHOLE = "omnimem:mass=1"
COUNTED = ["salience", WHOLE, "omnimem:mass=0.5:pool=one"]


def table(kinds, bias=None):
    count = len(kinds)
    columns = {"index": torch.arange(count, dtype=torch.int32), "kind": torch.tensor(kinds, dtype=torch.uint8)}
    columns[BIAS] = torch.zeros(count) if bias is None else torch.tensor(bias)
    return Table({name: column[None] for name, column in columns.items()})


def counts_of(kinds, stays, counts=None, exponent=1.0):
    before = None if counts is None else [exponent * float(torch.tensor(float(n)).log()) for n in counts]
    after = inherited(table(kinds, before), torch.tensor([stays], dtype=torch.bool), exponent, MOST)[0]
    return [round(n, 4) for n in (after / exponent).exp().tolist()]


def test_what_goes_is_counted_by_the_nearest_survivor_of_its_kind():
    kinds = [PREFIX, VISUAL, VISUAL, AUDIO, VISUAL, AUDIO, VISUAL, VISUAL]
    counts = counts_of(kinds, [0, 1, 0, 0, 0, 1, 0, 1])
    assert counts[1] == 3, "the next one, and one that is as near to the last"
    assert counts[5] == 2 and counts[7] == 2 and counts[0] == 1


def test_of_two_equally_near_survivors_the_earlier_counts():
    assert counts_of([AUDIO] * 3, [1, 0, 1]) == [2, 1, 1]


def test_a_survivor_that_goes_later_leaves_all_that_it_stood_for():
    assert counts_of([AUDIO] * 3, [0, 0, 1], counts=[5, 1, 2])[2] == 8
    assert counts_of([AUDIO] * 3, [0, 0, 1], counts=[5, 1, 2], exponent=0.4)[2] == 8


def test_more_than_sixteen_count_as_sixteen():
    assert counts_of([AUDIO] * 3, [0, 0, 1], counts=[9, 9, 2])[2] == MOST == 16


def test_all_entries_together_count_for_no_more_than_a_model_was_trained_on():
    assert [most_counted(places, 1550) for places in (50, 155, 1550, 8000)] == [16, 10, 1, 1]
    assert most_counted(50, None) == 16
    piece = stream(12)
    memory = memory_of("salience", piece, entries=40)
    memory.trained = 80
    for chunk in cuts(piece, (37,)):
        memory.absorb(chunk)
    for store in memory.stores:
        assert float((store.table[BIAS] / memory.policy.mass).exp().max()) == pytest.approx(2, rel=1e-4)


def test_what_has_no_survivor_of_its_kind_is_lost_and_text_is_never_counted():
    assert counts_of([PREFIX, VISUAL, TEXT, AUDIO], [0, 0, 0, 1]) == [1, 1, 1, 1]


@pytest.mark.parametrize("policy", COUNTED)
def test_all_that_was_ever_seen_is_counted_once(policy):
    piece = stream(5)
    memory = watched(policy, piece, entries=60)
    exponent = memory.policy.mass
    for store in memory.stores:
        assert len(store) < len(piece), "something was evicted"
        kinds, counts = store.table["kind"][0], (store.table[BIAS][0] / exponent).exp()
        assert float(counts.max()) < MOST
        for kind in (VISUAL, AUDIO):
            assert float(counts[kinds == kind].sum()) == pytest.approx(int((piece.kind == kind).sum()), rel=1e-4)
        assert float(store.table[BIAS][0][kinds <= TEXT].abs().max()) == 0


def test_one_entry_is_attended_to_like_the_many_equal_ones_it_stands_for():
    torch.manual_seed(0)
    piece, rows = stream(12), torch.tensor([[0, 1, 4]])
    full, few = (Store(2, 16, torch.float32, "cpu") for _ in range(2))
    k, v = torch.randn(2, 1, 2, 6, 16)
    k[:, :, 2:5], v[:, :, 2:5] = k[:, :, 4:5], v[:, :, 4:5]
    all_of_it = table_of(piece.cut(0, 6), 0, 1)
    full.append(k[:, :, :5], v[:, :, :5], all_of_it.take(torch.arange(5)[None]))
    few.append(k[:, :, rows[0]], v[:, :, rows[0]], all_of_it.take(rows))
    few.table[BIAS] = torch.tensor([[1.0, 1.0, 3.0]]).log()
    q = torch.randn(2, 4, 3, 16)
    for whole, counted in zip(full.attend(q, 0.25), few.attend(q, 0.25), strict=True):
        assert torch.allclose(whole, counted, atol=1e-5)


@pytest.mark.parametrize("kv_bits", [16, 8])
def test_attention_by_time_and_weights_share_the_bias(kv_bits):
    memory = watched("salience", stream(12), kv_bits=kv_bits)
    store = memory.stores[1]
    q = torch.randn(1, 4, 3, store.gather(torch.arange(1))[0].shape[3])
    _, lse = store.attend(q, 0.25)
    real = torch.ones(1, 3, dtype=torch.bool)
    assert float(store.weights(q, lse, 0.25, real, "sum").sum()) == pytest.approx(q.shape[1] * 3, rel=1e-4)


def test_a_memory_of_before_goes_on_with_entries_that_stand_for_one_each():
    first, second = stream(9).cut(0, 90), stream(9).cut(90, 149)
    memory = watched("salience:mass=0", first)
    memory.policy.mass = 0.4
    memory.absorb(second)
    for store in memory.stores:
        assert 0 < float((store.table[BIAS][0] / 0.4).exp().sum()) <= MOST * len(store)
