"""Stretches that are encoded once more: read whole with the memory, which they do not change."""

import pytest
import torch
from decoders import omni_decoder, question, stream
from oracles import cuts, prompts

from omnimem_cli.base.choices import POSITIONS
from omnimem_cli.base.packing import packed
from omnimem_cli.memory.attention_by_time import AttentionByTime, Moments
from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.detail import Detail
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import POLICIES, make_policy
from omnimem_cli.memory.repositioning import make_position_map


def watched(tokens, policy="omnimem", positions="keep", chunk=37, kv_bits=16) -> Memory:
    decoder = omni_decoder()
    budgets = even_budgets(len(decoder.layers), 40, 0.7, True, True)
    position_map = make_position_map(positions, decoder, 64)
    form = {"dtype": torch.float32, "kv_bits": kv_bits}
    memory = Memory(decoder, make_policy(policy), budgets, **form, position_map=position_map, prompts=prompts)
    for piece in cuts(tokens, (chunk,)):
        memory.absorb(piece)
    return memory


def part(tokens, start_s, end_s):
    return tokens.take(((tokens.time >= start_s) & (tokens.time < end_s) & (tokens.kind != 0)).nonzero()[:, 0])


def ask(fork, rows=1, observer=None):
    embeds, positions = question()
    return fork.forward(embeds.expand(rows, -1, -1), positions[:, None].expand(-1, rows, -1), observer=observer)


def scramble_values(memory, since_s):
    """Give the media entries from a time on each other's values."""
    state = memory.state()
    for store, tensors in zip(memory.stores, state["layers"], strict=True):
        late = store.table.within(since_s, 9.0)
        for name in store.forms:
            for head in range(2 if name.startswith("value") else 0):
                own = late[head % store.rows].nonzero()[:, 0]
                tensors[name][head, own] = tensors[name][head, own.flip(0)]
    memory.load_state(state)


def plain(memory) -> dict:
    tensors: dict = {}
    numbers = packed({k: v for k, v in memory.state().items() if k != "peak_bytes"}, tensors)
    return {"numbers": numbers} | {name: tensor.clone() for name, tensor in tensors.items()}


def test_a_stretch_is_read_as_if_it_had_entered_a_memory_that_evicts_nothing():
    tokens = stream(9)
    cut = int((tokens.time < 6.0).sum())
    before, after = tokens.take(torch.arange(cut)), tokens.take(torch.arange(cut, len(tokens)))
    memory, whole = watched(before, "full", chunk=cut), watched(tokens, "full", chunk=cut)
    detail = Detail(memory)
    detail.absorb("end", after, (6.0, 9.0))
    memory.next_position = whole.next_position  # where the question comes
    assert (ask(detail.fork([["end"]])) - ask(whole.fork())).abs().max() < 1e-4
    assert (ask(detail.fork([[]])) - ask(whole.fork())).abs().max() > 0.01


@pytest.mark.parametrize("policy", POLICIES)
def test_a_look_at_everything_is_read_as_a_memory_that_evicts_nothing(policy):
    tokens = stream(9)
    memory, whole = watched(tokens, policy), watched(tokens, "full")
    detail = Detail(memory)
    detail.absorb("all", part(tokens, 0.0, 9.0), (0.0, 9.0))
    assert (ask(detail.fork([["all"]])) - ask(whole.fork())).abs().max() < 1e-4
    if policy != "full":
        assert (ask(memory.fork()) - ask(whole.fork())).abs().max() > 0.01


@pytest.mark.parametrize("kv_bits", [16, 4])
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("policy", POLICIES)
def test_what_the_memory_holds_of_a_stretch_and_after_it_is_not_seen_twice(policy, positions, kv_bits):
    """The memory before 3 s is read, and the two stretches; neither reads what comes after it."""
    tokens = stream(9)
    memory = watched(tokens, policy, positions, kv_bits=kv_bits)
    said = []
    for since_s in (9.0, 5.0, 0.0):
        scramble_values(memory, since_s)
        detail = Detail(memory)
        for name, span in {"a": (3.0, 5.0), "b": (5.0, 9.0)}.items():
            detail.absorb(name, part(tokens, *span), span)
        said.append((ask(detail.fork([["a", "b"]])), ask(memory.fork())))
    (looked, plain), (after, plain_after), (before, _) = said
    assert torch.equal(after, looked) and (plain_after - plain).abs().max() > 0.01
    assert (before - looked).abs().max() > 0.01 or not memory.holds(0.0, 3.0)


@pytest.mark.parametrize("kv_bits", [16, 4])
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("policy", POLICIES)
def test_looking_again_changes_nothing_in_the_memory(policy, positions, kv_bits):
    tokens = stream(9)
    memory = watched(tokens, policy, positions, kv_bits=kv_bits)
    before, said = plain(memory), ask(memory.fork())
    detail = Detail(memory)
    detail.absorb("early", part(tokens, 2.0, 4.0), (2.0, 4.0))
    read = (ask(detail.fork([["early"]])) - said).abs().max() > 0.01
    assert read or (policy, kv_bits) == ("full", 16), "it must be read, or this test cannot fail"
    after = plain(memory)
    assert before.keys() == after.keys() and before.pop("numbers") == after.pop("numbers")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(ask(memory.fork()), said)


def test_rows_read_the_stretches_of_their_own():
    tokens = stream(9)
    memory = watched(tokens)
    detail = Detail(memory)
    for name, span in {"a": (1.0, 2.0), "b": (3.0, 5.0), "c": (4.0, 6.0)}.items():
        detail.absorb(name, part(tokens, *span), span)
    rows = [["a"], [], ["a", "b"], ["c"]]
    singles = torch.cat([ask(detail.fork([row])) for row in rows])
    assert (ask(detail.fork(rows), 4) - singles).abs().max() < 1e-4
    assert (singles[0] - singles[1]).abs().max() > 0.01 and (singles[0] - singles[2]).abs().max() > 0.01


def test_a_stretch_is_the_same_whatever_else_is_looked_at():
    tokens = stream(9)
    memory = watched(tokens)
    alone, second = Detail(memory), Detail(memory)
    second.absorb("before", part(tokens, 0.0, 3.0), (0.0, 3.0))
    for detail in (alone, second):
        detail.absorb("it", part(tokens, 3.0, 5.0), (3.0, 5.0))
    assert torch.equal(ask(alone.fork([["it"]])), ask(second.fork([["it"]])))


def test_attention_by_time_counts_memory_and_stretches():
    """Without a memory of media, all that falls on moments falls on the stretch's own seconds."""
    tokens = stream(9)
    memory = watched(tokens.take((tokens.kind == 0).nonzero()[:, 0]), "full")
    memory.next_position = 200
    detail = Detail(memory)
    detail.absorb("it", part(tokens, 3.0, 5.0), (3.0, 5.0))
    observed = AttentionByTime([(0, 0), (1, 1)], Moments.of(0.0, 9.0))
    ask(detail.fork([["it"], []]), 2, observed)
    paid = observed.tokens().sum((1, 2))
    assert bool((paid[0, 3:5] > 0).all()) and float(paid[0].sum() - paid[0, 3:5].sum()) == 0.0
    assert float(paid[1].sum()) == 0.0


def test_bytes_of_stretches_count_in_the_peak():
    tokens = stream(9)
    memory = watched(tokens)
    before, detail = memory.nbytes, Detail(memory)
    detail.absorb("it", part(tokens, 0.0, 9.0), (0.0, 9.0))
    assert detail.nbytes > 0 and memory.nbytes == before
    assert memory.peak_bytes >= before + detail.nbytes


def test_a_memory_that_moved_on_is_not_looked_at():
    tokens = stream(9)
    memory = watched(tokens)
    detail = Detail(memory)
    memory.absorb(part(tokens, 8.0, 9.0))
    with pytest.raises(AssertionError, match="moved on"):
        detail.absorb("it", part(tokens, 0.0, 1.0), (0.0, 1.0))


def test_a_token_that_is_not_finite_in_a_layer_reaches_no_question():
    tokens = stream(9)
    memory = watched(tokens)
    piece, layer = part(tokens, 2.0, 4.0), memory.decoder.layers[1]

    def spoil(_module, args, kwargs):
        hidden = (args[0] if args else kwargs["hidden_states"]).clone()
        hidden[:, 3] = float("nan")
        return (hidden, *args[1:]), kwargs if args else kwargs | {"hidden_states": hidden}

    detail, hook = Detail(memory), layer.register_forward_pre_hook(spoil, with_kwargs=True)
    try:
        detail.absorb("look", piece, (2.0, 4.0))
    finally:
        hook.remove()
    assert bool(ask(detail.fork([["look"]])).isfinite().all())
    kept = [len(store) for store in detail._stretches["look"]]
    assert kept[0] == len(piece) and set(kept[1:]) == {len(piece) - 1}
