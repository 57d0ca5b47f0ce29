"""Gradients of a last chunk and of questions, against the library's own pass over the same tokens."""

import copy

import pytest
import torch
from decoders import DECODERS, question, stream
from oracles import ask, cuts, eviction_masks, memory_of, plain_pass, tables_of, watched

from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.gradient import GradientFork, GradientPass, constant
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import POLICIES, make_policy
from omnimem_cli.memory.repositioning import make_position_map

CHUNK = 48


def trained(decoder):
    """The weights that a LoRA changes, by name."""
    named = decoder.named_parameters()
    return {name: p for name, p in named if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))}


def with_gradients(decoder):
    decoder.requires_grad_(False)
    for weight in trained(decoder).values():
        weight.requires_grad_(True)
    return decoder


def watch_last_with_gradients(decoder, tokens, policy, entries=40, chunk=CHUNK):
    """The memory, its last pass, and the tables of all layers after each chunk."""
    budgets = even_budgets(len(decoder.layers), entries, 0.7, True, True)
    memory, history = Memory(decoder, make_policy(policy), budgets, dtype=torch.float32), []
    for start in range(0, len(tokens), chunk):
        is_last = start + chunk >= len(tokens)
        last = memory.absorb(tokens.cut(start, min(start + chunk, len(tokens))), GradientPass if is_last else None)
        history.append(tables_of(memory))
    return memory, last, history


def answered(memory, last):
    embeds, positions = question(7)
    return GradientFork(memory, last.kept).forward(embeds[None], positions[:, None])[0]


def gradients(decoder, hidden):
    """Of a number that every hidden state [n, D] decides."""
    weights = torch.linspace(-1, 1, hidden.numel()).view(hidden.shape)
    (hidden * weights).sum().backward()
    return {name: p.grad.clone() for name, p in trained(decoder).items()}


def plain(decoder, tokens, masks, first):
    """Hidden states and gradients of the library's pass; none of them through keys and values before ``first``."""
    stock = with_gradients(copy.deepcopy(decoder))

    def cut(_module, _args, out):
        return torch.cat([out[:, :first].detach(), out[:, first:]], dim=1)

    for layer in stock.layers:
        for projection in (layer.self_attn.k_proj, layer.self_attn.v_proj):
            projection.register_forward_hook(cut)
    hidden = plain_pass(stock, tokens, masks)
    return hidden, gradients(stock, hidden)


def assert_close(ours, theirs):
    for name, expected in theirs.items():
        error = (ours[name] - expected).abs().max() / expected.abs().max().clamp(min=1e-6)
        assert error < 1e-3, f"{name}: {float(error):.2g}"


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("chunk", [1000, CHUNK])
def test_gradients_equal_a_plain_run_where_nothing_is_evicted(family, chunk):
    decoder, tokens = with_gradients(DECODERS[family]()), stream(8)
    hidden, expected = plain(decoder, tokens, None, first=(len(tokens) - 1) // chunk * chunk)
    memory, last, _ = watch_last_with_gradients(decoder, tokens, "full", chunk=chunk)
    ours = answered(memory, last)
    assert (ours - hidden).abs().max() < 1e-4
    assert_close(gradients(decoder, ours), expected)


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("policy", ["omnimem", "uniform", "salience"])
def test_gradients_equal_a_masked_run_where_entries_are_evicted(family, policy):
    decoder, tokens = with_gradients(DECODERS[family]()), stream(8)
    memory, last, history = watch_last_with_gradients(decoder, tokens, policy)
    masks = eviction_masks(history, CHUNK, len(tokens))
    hidden, expected = plain(decoder, tokens, masks, first=(len(tokens) - 1) // CHUNK * CHUNK)
    ours = answered(memory, last)
    assert (ours - hidden).abs().max() < 1e-4
    assert_close(gradients(decoder, ours), expected)


@pytest.mark.parametrize("kv_bits", [16, 8])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_pass_with_gradients_leaves_the_memory_that_any_pass_leaves(policy, kv_bits):
    memory = memory_of(policy, stream(12), 40, kv_bits)
    for chunk in cuts(stream(12), (61,)):
        last = memory.absorb(chunk, GradientPass)
    other = watched(policy, stream(12), (61,), kv_bits=kv_bits)
    near = 1e-4 if kv_bits == 16 else 5e-3  # a number between two codes may be rounded to either
    for here, there in zip(memory.stores, other.stores, strict=True):
        assert torch.equal(here.table["index"], there.table["index"])
    assert (ask(memory) - ask(other)).abs().max() < near
    assert (answered(memory, last) - ask(memory)).abs().max() < 1e-4, "questions read what the memory holds"


def test_a_layer_that_is_computed_again_evicts_nothing():
    decoder, tokens = with_gradients(DECODERS["omni"]()), stream(8)
    found = []
    for again in (False, True):
        decoder.zero_grad()
        if again:
            decoder.gradient_checkpointing_enable({"use_reentrant": False})
            decoder.train()
        memory, last, history = watch_last_with_gradients(decoder, tokens, "omnimem")
        found.append((gradients(decoder, answered(memory, last)), history))
        held = zip(memory.stores, history[-1], strict=True)
        assert all(torch.equal(store.table["index"], then["index"]) for store, then in held)
    assert_close(found[1][0], found[0][0])


def test_positions_that_move_are_refused():
    decoder, tokens = DECODERS["omni"](), stream(4)
    budgets = even_budgets(len(decoder.layers), 40, 0.7, True, True)
    moving = make_position_map("eager", decoder)
    memory = Memory(decoder, make_policy("omnimem"), budgets, dtype=torch.float32, position_map=moving)
    with pytest.raises(AssertionError, match="stay where they were"):
        memory.absorb(tokens, GradientPass)


@pytest.mark.parametrize("positions", ["keep", "eager", "retime"])
@pytest.mark.parametrize("kv_bits", [16, 8])
def test_questions_learn_over_a_constant_memory_as_over_fixed_keys_and_values(kv_bits, positions):
    decoder, tokens = with_gradients(DECODERS["omni"]()), stream(12)
    budgets = even_budgets(len(decoder.layers), 40, 0.7, True, True)
    memory = Memory(
        decoder,
        make_policy("salience"),
        budgets,
        dtype=torch.float32,
        position_map=make_position_map(positions, decoder, trained=60),
        kv_bits=kv_bits,
    )
    for chunk in cuts(tokens, (61,)):
        memory.absorb(chunk)
    embeds, places = question(7)
    hidden = GradientFork(memory, constant(memory.stores)).forward(embeds[None], places[:, None])[0]
    assert (hidden - ask(memory)).abs().max() < 1e-4, "questions read what the memory holds"
    ours = gradients(decoder, hidden)
    for layer in (0, len(decoder.layers) - 1):
        gradient = ours[f"layers.{layer}.self_attn.q_proj.weight"]
        expected = _slope(decoder.layers[layer].self_attn.q_proj.weight, gradient / gradient.norm(), memory)
        assert float(gradient.norm()) == pytest.approx(expected, rel=0.02)


@torch.no_grad()
def _slope(weight, direction, memory, by=0.002):
    """How fast the number of ``gradients`` grows as a weight moves in a direction, by the answers of a plain fork."""
    found = []
    for sign in (1, -1):
        weight.add_(direction, alpha=sign * by)
        hidden = ask(memory)
        found.append((hidden * torch.linspace(-1, 1, hidden.numel()).view(hidden.shape)).sum())
        weight.add_(direction, alpha=-sign * by)
    return float(found[0] - found[1]) / (2 * by)
