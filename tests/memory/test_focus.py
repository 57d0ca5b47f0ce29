"""A focus raises what its texts attend to, and changes nothing else."""

import pytest
import torch
from decoders import DECODERS, stream
from oracles import EVERY, ask, cuts, decoder, memory_of, prompts, watched

from omnimem_cli.memory.budget import LayerBudget, even_budgets
from omnimem_cli.memory.focus import FocusedMemory
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.repositioning import make_position_map
from omnimem_cli.memory.selection import keep_media, raised
from omnimem_cli.memory.table import Table
from omnimem_cli.memory.tokens import AUDIO, VISUAL

TEXTS = ("budget", "the decisions")


def focused(policy="omnimem", texts=TEXTS, entries=40, own=decoder, asked=prompts, **more) -> FocusedMemory:
    budgets = even_budgets(4, entries, 0.7, True, True)
    return FocusedMemory(texts, own(), make_policy(policy), budgets, dtype=torch.float32, prompts=asked, **more)


def absorbed(memory: Memory, tokens, sizes=EVERY) -> Memory:
    for chunk in cuts(tokens, sizes):
        memory.absorb(chunk)
    return memory


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("family", DECODERS)
def test_with_room_for_all_a_focus_changes_no_entry(family, text):
    tokens, own = stream(4, text=text), DECODERS[family]()
    budgets = even_budgets(4, 1000, 0.7, True, True)
    plain = absorbed(Memory(own, make_policy("omnimem"), budgets, dtype=torch.float32), tokens)
    about = absorbed(focused(entries=1000, own=lambda: own), tokens)
    assert about.tokens_seen == plain.tokens_seen and about.next_position == plain.next_position
    for one, other in zip(plain.stores, about.stores, strict=True):
        assert torch.equal(one.table["index"], other.table["index"])
        assert all((one.state()[part] - other.state()[part]).abs().max() < 1e-4 for part in ("key", "value"))
    assert (ask(plain) - ask(about)).abs().max() < 1e-3


@pytest.mark.parametrize("kv_bits", [16, 4])
def test_the_focus_is_read_as_a_question_asked_over_memory_and_chunk_would(kv_bits):
    """What each layer is told equals the attention of a proxy query of the same texts over the chunk's end."""
    tokens, told = stream(6), []
    memory = focused(entries=1000, kv_bits=kv_bits)
    decide = memory.policy.on_layer
    memory.policy.on_layer = lambda view: told.append(view.focus) or decide(view)
    *first, last = cuts(tokens, EVERY)
    for chunk in first:
        memory.absorb(chunk)
    told.clear()
    memory.absorb(last)
    expected = memory.proxy_query.attention(TEXTS)
    limit = 1e-4 if kv_bits == 16 else 2e-2  # the chunk is quantized when it is asked about afterwards
    assert all((one - other).abs().max() < limit for one, other in zip(told, expected, strict=True))


@pytest.mark.parametrize("positions", ["lazy", "eager", "retime"])
def test_a_focus_holds_under_every_rule_of_positions(positions):
    memory = focused(position_map=make_position_map(positions, decoder(), 60))
    absorbed(memory, stream(12))
    assert ask(memory).isfinite().all()
    assert all(len(store) == 45 for store in memory.stores)


@pytest.mark.parametrize("policy", ["omnimem", "omnimem:score=code", "omnimem:pool=one", "salience"])
def test_a_focus_keeps_more_of_what_its_texts_attend_to(policy):
    tokens = stream(12)
    plain, about = watched(policy, tokens), absorbed(focused(policy), tokens)
    whole, gained = watched("full", tokens), []
    for layer, (one, other) in enumerate(zip(plain.stores, about.stores, strict=True)):
        paid = whole.proxy_query.attention(TEXTS)[layer].sum(0)
        gained.append(float(paid[other.table["index"][0].long()].sum() / paid[one.table["index"][0].long()].sum()))
    assert sum(gained) / len(gained) > 1.05


def test_a_scripted_focus_keeps_its_entry_against_one_that_scores_more():
    kind = torch.tensor([[VISUAL] * 4 + [AUDIO] * 4])
    table, budget = Table({"index": torch.arange(8)[None], "kind": kind}), LayerBudget(2, 1)
    scores = torch.tensor([[0.9, 0.8, 0.5, 0.6, 0.4, 0.3, 0.2, 0.1]])
    about_one, about_all = torch.zeros(8), torch.full((8,), 0.1)
    about_one[2], about_one[7], about_all[7] = 0.5, 0.1, torch.nan
    focus = torch.stack([about_one, about_all])
    assert keep_media(table, scores, budget, "split").nonzero()[:, 1].tolist() == [0, 1, 4]
    assert keep_media(table, scores, budget, "split", focus).nonzero()[:, 1].tolist() == [0, 2, 4]
    visual = kind == VISUAL
    assert raised(scores, visual, focus)[0, :4].tolist() == pytest.approx([0.9, 0.8, 0.5 * 4, 0.6])


def test_a_focused_memory_goes_on_from_its_state_bit_for_bit():
    chunks = list(cuts(stream(9), EVERY))
    whole, first, second = focused(), focused(), focused()
    for chunk in chunks:
        whole.absorb(chunk)
    for chunk in chunks[:2]:
        first.absorb(chunk)
    second.load_state(first.state())
    for chunk in chunks[2:]:
        second.absorb(chunk)
    for one, other in zip(whole.state()["layers"], second.state()["layers"], strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_policy_that_ranks_by_other_things_takes_no_focus():
    with pytest.raises(AssertionError, match="attend"):
        focused("uniform")
    assert memory_of("uniform", stream(2), 40).policy.takes_focus is False
