"""The engine's invariants on random decoders: what is kept, what is answered, what it costs."""

import copy

import pytest
import torch
from decoders import DECODERS, omni_decoder, question, stream
from library_cache import library_cache
from oracles import ask, eviction_masks, one_shot, tables_of
from peak import Peak

from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.tail import TAIL_STEP
from omnimem_cli.memory.tokens import AUDIO, PREFIX, TEXT, VISUAL


def watch(decoder, tokens, policy="full", entries=40, chunk=37, ratio=0.7, **kw):
    has_video, has_audio = (bool((tokens.kind == k).any()) for k in (VISUAL, AUDIO))
    budgets = even_budgets(len(decoder.layers), entries, ratio, has_video, has_audio)
    memory = Memory(decoder, make_policy(policy), budgets, dtype=torch.float32, **kw)
    history = []
    for start in range(0, len(tokens), chunk):
        memory.absorb(tokens.cut(start, min(start + chunk, len(tokens))))
        history.append(tables_of(memory))
    return memory, history


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("chunk", [1000, 64, 13])
def test_chunked_watching_equals_one_shot(family, chunk):
    decoder, tokens = DECODERS[family](), stream(8)
    expected = one_shot(decoder, tokens)
    memory, _ = watch(decoder, tokens, chunk=chunk)
    assert (ask(memory) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("policy", ["omnimem", "omnimem:neighbours=time", "omnimem:pool=one:score=code", "salience"])
@pytest.mark.parametrize("chunk", [37, 13])
@pytest.mark.parametrize("family", DECODERS)
def test_evicting_equals_masking(family, policy, chunk):
    decoder, tokens = DECODERS[family](), stream(9, text=True)
    memory, history = watch(decoder, tokens, policy, entries=40, chunk=chunk)
    masks = eviction_masks(history, chunk, len(tokens))
    with_masks, without = one_shot(decoder, tokens, masks), one_shot(decoder, tokens)
    assert (ask(memory) - with_masks).abs().max() < 1e-4
    assert (without - with_masks).abs().max() > 0.05, "the eviction must matter, or this test cannot fail"


SHAPES = {
    "audio-visual": dict(steps=9),
    "with text": dict(steps=9, text=True),
    "video only": dict(steps=9, slots=0),
    "audio only": dict(steps=9, patches=0),
    "static": dict(steps=9, static=True),
    "shorter than the budget": dict(steps=2),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chunk", [1000, 48, 17])
def test_no_kind_exceeds_its_budget(shape, chunk):
    decoder, tokens = omni_decoder(), stream(**SHAPES[shape])
    has_video, has_audio = (bool((tokens.kind == k).any()) for k in (VISUAL, AUDIO))
    budget = even_budgets(4, 40, 0.7, has_video, has_audio)[0]
    memory, _ = watch(decoder, tokens, "omnimem", 40, chunk)
    for store in memory.stores:
        kinds = store.table["kind"][0]
        assert int((kinds == VISUAL).sum()) == min(int((tokens.kind == VISUAL).sum()), budget.visual)
        assert int((kinds == AUDIO).sum()) == min(int((tokens.kind == AUDIO).sum()), budget.audio)
        assert int((kinds == PREFIX).sum()) == 5
        index = store.table["index"][0]
        assert bool((index[1:] > index[:-1]).all()), "kept entries stand in stream order, once each"


def test_text_goes_with_the_last_media_of_its_group():
    memory, _ = watch(omni_decoder(), stream(40, text=True), "omnimem", entries=12, chunk=50)
    for store in memory.stores:
        table = store.table
        text = set(table["group"][0][table["kind"][0] == TEXT].tolist())
        media = set(table["group"][0][(table["kind"][0] == VISUAL) | (table["kind"][0] == AUDIO)].tolist())
        assert text == media | {39}


def test_text_groups_are_thinned_when_they_are_many():
    tokens = stream(600, patches=1, slots=1, text=True)
    memory, _ = watch(omni_decoder(), tokens, "omnimem", entries=700, chunk=400)
    for store in memory.stores:
        text = store.table["group"][0][store.table["kind"][0] == TEXT].unique()
        assert 128 <= len(text) <= 256


def test_code_score_never_drops_text():
    memory, _ = watch(omni_decoder(), stream(40, text=True), "omnimem:score=code", entries=12, chunk=50)
    assert memory.counts()[TEXT] == 80


def test_asking_never_changes_the_memory():
    memory, _ = watch(omni_decoder(), stream(9), "omnimem")
    before = [copy.deepcopy(store.state()) for store in memory.stores]
    first = ask(memory)
    ask(memory, n=4, seed=3)
    ask(memory, window=(2.0, 5.0))
    assert torch.equal(ask(memory), first)
    for store, state in zip(memory.stores, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in store.state().items())


def test_a_batch_of_unequal_questions_equals_single_ones():
    memory, _ = watch(omni_decoder(), stream(9), "omnimem")
    singles = [ask(memory, n=n, seed=n)[-1] for n in (3, 7, 5)]
    rows = [question(n, seed=n) for n in (3, 7, 5)]
    embeds, positions, real = (
        torch.zeros(3, 7, 64),
        torch.zeros(3, 3, 7, dtype=torch.long),
        torch.zeros(3, 7).bool(),
    )
    for b, (e, p) in enumerate(rows):
        embeds[b, 7 - len(e) :], positions[:, b, 7 - len(e) :], real[b, 7 - len(e) :] = e, p, True
    out = memory.fork().forward(embeds, positions, real)[:, -1]
    assert (out - torch.stack(singles)).abs().max() < 1e-4


def test_a_step_at_a_time_equals_the_whole_question():
    memory, _ = watch(omni_decoder(), stream(9), "omnimem")
    tokens = 2 * TAIL_STEP + 3
    embeds, positions = question(tokens)
    fork = memory.fork()
    steps = [fork.forward(embeds[None, i : i + 1], positions[:, None, i : i + 1])[0, 0] for i in range(tokens)]
    assert (torch.stack(steps) - ask(memory, n=tokens)).abs().max() < 1e-4


def test_a_fork_of_an_older_memory_is_refused():
    memory, _ = watch(omni_decoder(), stream(3), "omnimem")
    fork = memory.fork()
    memory.absorb(stream(2).cut(5, 20))
    embeds, positions = question()
    with pytest.raises(AssertionError, match="moved on"):
        fork.forward(embeds[None], positions[:, None])


def test_a_window_reads_only_its_seconds():
    decoder, tokens = omni_decoder(), stream(9)
    memory, _ = watch(decoder, tokens)
    inside = (tokens.kind == PREFIX) | ((tokens.time >= 3) & (tokens.time < 6))
    total = len(tokens) + 7
    mask = torch.ones(total, total, dtype=torch.bool)
    mask[len(tokens) :, : len(tokens)] = inside
    expected = one_shot(decoder, tokens, [mask] * 4)
    assert (ask(memory, window=(3.0, 6.0)) - expected).abs().max() < 1e-4


def test_a_restored_memory_goes_on_as_if_unbroken():
    tokens = stream(12)
    whole, _ = watch(omni_decoder(), tokens, "omnimem", chunk=30)
    first, _ = watch(omni_decoder(), tokens.cut(0, 90), "omnimem", chunk=30)
    decoder = omni_decoder()
    second = Memory(decoder, make_policy("omnimem"), first.budgets, dtype=torch.float32)
    second.load_state(copy.deepcopy(first.state()))
    for start in range(90, len(tokens), 30):
        second.absorb(tokens.cut(start, min(start + 30, len(tokens))))
    assert torch.equal(ask(second), ask(whole))


def test_memory_does_not_grow_with_the_stream():
    decoder, sizes = omni_decoder(), []
    memory = Memory(decoder, make_policy("omnimem"), even_budgets(4, 64, 0.7, True, True), dtype=torch.float32)
    memory.absorb(stream(0))
    with Peak() as allocated:
        for i in range(40):
            memory.absorb(stream(8, seed=i).cut(5, 5 + 128))
            sizes.append((memory.nbytes, memory.peak_bytes, allocated.alive))
    assert len(set(sizes[2:])) == 1


def test_the_bytes_reported_are_the_bytes_held():
    memory, _ = watch(omni_decoder(), stream(9), "omnimem")
    tensors = [t for store in memory.stores for t in store.state().values()]
    assert memory.nbytes == sum(t.numel() * t.element_size() for t in tensors)


def test_the_library_cache_door_gives_the_same_hidden_states():
    decoder = omni_decoder()
    memory, _ = watch(decoder, stream(9), "omnimem")
    embeds, positions = question()
    cache = library_cache(memory)
    halves = [
        decoder(inputs_embeds=embeds[None, a:b], position_ids=positions[:, None, a:b], past_key_values=cache)
        for a, b in ((0, 4), (4, 7))
    ]
    out = torch.cat([half.last_hidden_state[0] for half in halves])
    assert (out - ask(memory)).abs().max() < 1e-4
