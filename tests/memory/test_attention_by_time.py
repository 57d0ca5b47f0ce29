"""Attention by time: every kept entry's share goes to its own moment and kind, whatever the store's form."""

import pytest
import torch

from omnimem_cli.memory.attention_by_time import AT_ONCE, MOST_MOMENTS, AttentionByTime, Moments
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.table import Table
from omnimem_cli.memory.tokens import AUDIO, PREFIX, TEXT, VISUAL

HEADS, GROUPS, DIM, ENTRIES = 4, 2, 8, 40


def store_of(rows: int) -> Store:
    """Entries of 10 seconds; where KV heads differ, the second one's come in reverse order of time."""
    generator = torch.Generator().manual_seed(rows)
    store = Store(GROUPS, DIM, torch.float32, "cpu", rows)
    keys, values = torch.randn(2, 1, GROUPS, ENTRIES, DIM, generator=generator)
    time = torch.linspace(0, 9.9, ENTRIES)
    kind = torch.tensor([PREFIX, TEXT, VISUAL, AUDIO], dtype=torch.uint8).repeat(ENTRIES // 4)
    columns = {"index": torch.arange(ENTRIES, dtype=torch.int32), "kind": kind, "time": time}
    store.append(keys, values, Table({n: torch.stack([c, c.flip(0)][:rows]) for n, c in columns.items()}))
    return store


def questions(store: Store, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    q = torch.randn(2, HEADS, tokens, DIM, generator=torch.Generator().manual_seed(1))
    return q, store.attend(q, 0.5)[1]


def expected(store: Store, q: torch.Tensor, heads: list[int], moments: Moments) -> torch.Tensor:
    """Entry by entry, in plain loops over the softmax."""
    keys, _ = store.gather(torch.arange(ENTRIES))
    paid = torch.zeros(*q.shape[:1], q.shape[2], 2, moments.count)
    for head in heads:
        group = head * GROUPS // HEADS
        weights = (q[:, head] @ keys[0, group].T * 0.5).softmax(-1)
        for entry in range(ENTRIES):
            kind, time = (store.table[name][group % store.rows, entry] for name in ("kind", "time"))
            if kind in (VISUAL, AUDIO):
                moment = int((time - moments.start_s) // moments.step_s)
                paid[:, :, int(kind == AUDIO), min(max(moment, 0), moments.count - 1)] += weights[:, :, entry]
    return paid / len(heads)


@pytest.mark.parametrize("rows", [1, GROUPS], ids=["heads keep the same", "heads keep their own"])
@pytest.mark.parametrize("heads", [[0], [1, 2], [0, 1, 2, 3]], ids=str)
def test_every_token_pays_each_moment_its_entries_weights(rows, heads):
    store, moments = store_of(rows), Moments(2.0, 1.5, 5)
    q, lse = questions(store, 3)
    observed = AttentionByTime([(7, head) for head in heads], moments)
    observed(6, q, lse, store, 0.5)  # a layer that does not count
    observed(7, q, lse, store, 0.5)
    torch.testing.assert_close(observed.tokens().float(), expected(store, q, heads, moments), atol=1e-3, rtol=1e-3)


def test_stores_of_single_heads_give_what_their_store_gives():
    store, moments = store_of(GROUPS), Moments(0.0, 1.0, 10)
    q, lse = questions(store, 3)
    apart = store.marked(torch.ones(GROUPS, ENTRIES, dtype=torch.bool))
    paid = [
        each.attention_by_time(q[:, [0, 3]], lse[:, [0, 3]], [0, 3], HEADS, 0.5, moments) for each in (store, apart)
    ]
    torch.testing.assert_close(*paid)


def test_tokens_come_in_order_however_many_come_at_once():
    store, moments = store_of(1), Moments(0.0, 1.0, 10)
    q, lse = questions(store, 2 * AT_ONCE + 5)
    whole, single = (AttentionByTime([(0, 1), (3, 2)], moments) for _ in range(2))
    for layer in (0, 3):
        whole(layer, q, lse, store, 0.5)
    for token in range(q.shape[2]):
        for layer in (0, 3):
            single(layer, q[:, :, token : token + 1], lse[:, :, token : token + 1], store, 0.5)
        single.took(1)
    for observed in (whole, single):
        paid = observed.tokens().float()
        torch.testing.assert_close(paid, expected(store, q, [1, 2], moments), atol=1e-3, rtol=1e-3)


def test_moments_are_bounded_and_cover_the_video():
    for end_s in (0.5, 7.0, 5000.0, 1e6):
        moments = Moments.of(3.0, 3.0 + end_s)
        assert 1 <= moments.count <= MOST_MOMENTS
        assert moments.count * moments.step_s >= end_s
