"""Numbers that are not finite, in a decoder's layers or in what a policy ranks by: no policy keeps them, or starves."""

import pytest
import torch
from decoders import stream
from oracles import ask, cuts, decoder, memory_of

from omnimem_cli.memory.policies import POLICIES, make_policy
from omnimem_cli.memory.policies.policy import LayerView
from omnimem_cli.memory.proxy_query import ProxyQuery
from omnimem_cli.memory.selection import WHOLE_STEP, top
from omnimem_cli.memory.tokens import AUDIO, VISUAL

BAD_LAYER = 1
VARIANTS = ("omnimem:score=code:heads=averaged", "infinipot-v:grid=true", "hermes:align=token:summary=no")
EACH = [*POLICIES, *VARIANTS]
BOUNDED = [policy for policy in EACH if make_policy(policy).bounded]
MEASURES = ("importance", "last_queries_importance", "key_norms", "value_norms")
"""What a policy that decides by layer ranks by."""


def assert_full(memory, policy):
    """Every contest has as many entries as it has places, in every head."""
    pool = make_policy(policy).pool
    for store, budget in zip(memory.stores, memory.budgets, strict=True):
        for kinds in store.table["kind"]:
            visual, audio = int((kinds == VISUAL).sum()), int((kinds == AUDIO).sum())
            if pool == "one":
                assert visual + audio == budget.total
            else:
                assert (visual, audio) == (budget.visual, budget.audio)


def kept(store) -> set[int]:
    """Places in the stream of what a store holds, merged entries aside."""
    table = store.table
    return set(table["index"][(table["patch"] != WHOLE_STEP) | (table["kind"] < VISUAL)].tolist())


@pytest.fixture
def spoil(monkeypatch):
    """spoil(memory, chunk, where, value): absorb the chunk while layer BAD_LAYER gets ``value`` at places ``where``."""

    def absorb(memory, chunk, where, value):
        def put(_module, args, kwargs):
            hidden = (args[0] if args else kwargs["hidden_states"]).clone()
            if hidden.shape[1] == len(chunk):  # not a proxy query's
                hidden[:, where] = value
            return (hidden, *args[1:]), kwargs if args else kwargs | {"hidden_states": hidden}

        hook = decoder().layers[BAD_LAYER].register_forward_pre_hook(put, with_kwargs=True)
        try:
            memory.absorb(chunk)
        finally:
            hook.remove()

    return absorb


def numbers(memory):
    return [store.state()[name] for store in memory.stores for name in ("key", "value")]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("policy", EACH)
def test_an_entry_that_is_not_finite_in_a_layer_is_not_kept_there_and_costs_no_other_its_place(policy, value, spoil):
    tokens = stream(12, text=True)
    memory, chunks = memory_of(policy, tokens, 40), list(cuts(tokens, (60,)))
    bad, seen = torch.tensor([3, 20, 21, 59]), 0
    for i, chunk in enumerate(chunks):
        if i == 1:
            spoil(memory, chunk, bad, value)
            gone = set((seen + bad).tolist())
        else:
            memory.absorb(chunk)
        seen += len(chunk)
        assert all(held.isfinite().all() for held in numbers(memory))
        if policy in BOUNDED and i:
            assert_full(memory, policy)
    assert not any(gone & kept(store) for store in memory.stores[BAD_LAYER:])
    assert ask(memory).isfinite().all()
    assert memory.dropped == len(bad)


@pytest.mark.parametrize("policy", EACH)
def test_a_chunk_that_is_not_finite_in_a_layer_leaves_there_what_was_held(policy, spoil):
    tokens = stream(9)
    memory, chunks = memory_of(policy, tokens, 40), list(cuts(tokens, (60,)))
    memory.absorb(chunks[0])
    before = [store.table["index"].clone() for store in memory.stores]
    spoil(memory, chunks[1], torch.arange(len(chunks[1])), torch.nan)
    for held, store in list(zip(before, memory.stores, strict=True))[BAD_LAYER:]:
        assert torch.equal(held, store.table["index"])
    memory.absorb(chunks[2])
    assert all(held.isfinite().all() for held in numbers(memory))
    assert ask(memory).isfinite().all()


@pytest.mark.parametrize("policy", BOUNDED)
def test_an_entry_whose_score_is_nan_is_not_kept_and_costs_no_other_its_place(policy, monkeypatch):
    tokens = stream(12)
    memory, chunks = memory_of(policy, tokens, 40), list(cuts(tokens, (60,)))
    memory.absorb(chunks[0])
    bad, seen = [-50, -30, -29, -3], sum(map(len, chunks[:2]))
    scored = []

    def spoil_result(of, name):
        measure = getattr(of, name)

        def spoiled(*args, **more):
            received = measure(*args, **more)
            for one in received if isinstance(received, list) else [received]:
                one[..., bad] = torch.nan
            scored.append(name)
            return received

        monkeypatch.setattr(of, name, spoiled)

    for name in MEASURES:
        spoil_result(LayerView, name)
    spoil_result(ProxyQuery, "attention")
    memory.absorb(chunks[1])
    assert_full(memory, policy)
    assert all(held.isfinite().all() for held in numbers(memory))
    if scored:
        assert not any(kept(store) & {seen + place for place in bad} for store in memory.stores)


def test_heads_that_have_unequally_many_finite_scores_keep_equally_many_entries():
    scores, candidates = torch.arange(12.0).reshape(2, 6), torch.ones(2, 6, dtype=torch.bool)
    scores[0, 1:4] = torch.nan
    chosen = top(scores, candidates, 4)
    assert chosen.sum(1).tolist() == [3, 3] and not bool((chosen & scores.isnan()).any())
    assert chosen[1].tolist() == [False, False, False, True, True, True]
