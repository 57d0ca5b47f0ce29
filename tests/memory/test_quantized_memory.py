"""A memory in 8 or 4 bits: its codes, what they cost, and how near its answers come to those of a whole one."""

import copy

import pytest
import torch
from decoders import DECODERS, omni_decoder, question, stream
from oracles import ask, cuts, prompts

from omnimem_cli.memory.attention import attach
from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.key_transform import KeyTransform
from omnimem_cli.memory.memory import Memory, geometry
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.quantized import dequantize, quantize
from omnimem_cli.memory.repositioning import KeepPositions, make_position_map
from omnimem_cli.memory.rotary import Rotary
from omnimem_cli.memory.selection import WHOLE_STEP
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.table import Table

BITS = (8, 4)
MODES = ("keep", "lazy", "eager", "retime")
NEAR = {8: 0.07, 4: 0.6}
"""How far answers may be from those of a whole memory: those of random decoders are some 3 in size."""


def memory_of(kv_bits=16, mode="keep", policy="sliding-window", entries=40, decoder=None, trained=64) -> Memory:
    decoder = decoder or omni_decoder()
    budgets = even_budgets(len(decoder.layers), entries, 0.7, True, True)
    position_map = make_position_map(mode, decoder, trained)
    more = {"position_map": position_map, "prompts": prompts, "kv_bits": kv_bits}
    return Memory(decoder, make_policy(policy), budgets, dtype=torch.float32, **more)


def watched(tokens, *arguments, **named) -> Memory:
    memory = memory_of(*arguments, **named)
    for chunk in cuts(tokens, (37,)):
        memory.absorb(chunk)
    return memory


def held(memory: Memory, layer: int) -> dict[str, torch.Tensor]:
    """The tensors of keys and values of a layer, their entries first: [rows * m, G / rows * width]."""
    state = memory.stores[layer].state()
    parts = {name: part.movedim(1, 0) for name, part in state.items() if not name.startswith("side.")}
    if memory.stores[layer].rows == 1:
        return {name: part.flatten(1) for name, part in parts.items()}
    return {name: part.transpose(0, 1).flatten(0, 1) for name, part in parts.items()}


@pytest.mark.parametrize("mode", ["keep", "eager", "retime"])
@pytest.mark.parametrize("policy", ["omnimem", "snapkv", "streammem"])
@pytest.mark.parametrize("kv_bits", BITS)
def test_an_entry_is_quantized_once_and_its_codes_never_change(kv_bits, policy, mode):
    memory, seen, survivals = memory_of(kv_bits, mode, policy), {}, 0
    for chunk in cuts(stream(15), (37,)):
        memory.absorb(chunk)
        for layer, store in enumerate(memory.stores):
            parts, patches = held(memory, layer), store.table["patch"].flatten()
            for place, index in enumerate(store.table["index"].flatten().tolist()):
                if int(patches[place]) == WHOLE_STEP:
                    continue
                row = place // len(store)
                codes = {name: part[place] for name, part in parts.items()}
                before = seen.setdefault((layer, row, index), codes)
                survivals += before is not codes
                assert all(torch.equal(codes[name], before[name]) for name in codes)
    assert survivals > 100, "entries must survive, or this test cannot fail"


@pytest.mark.parametrize("mode", ["lazy", "eager", "retime"])
@pytest.mark.parametrize("kv_bits", BITS)
def test_positions_that_move_change_no_code(kv_bits, mode):
    """With one layer, codes depend on nothing but their own token; a key's way back from its place rounds a little."""
    kept, moved = (watched(stream(30), kv_bits, m, "uniform", decoder=one_layer()) for m in ("keep", mode))
    assert torch.equal(kept.stores[0].table["index"], moved.stores[0].table["index"])
    ours, reference = held(moved, 0), held(kept, 0)
    assert all((ours[name] == reference[name]).float().mean() > 0.99 for name in ours if "codes" in name)


def one_layer() -> torch.nn.Module:
    decoder = omni_decoder()
    decoder.layers = decoder.layers[:1]
    return decoder


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("kv_bits", BITS)
def test_answers_are_near_those_of_a_whole_memory_at_the_same_places(kv_bits, family, mode):
    decoder, tokens = DECODERS[family](), stream(30)
    decoder.layers = decoder.layers[:1]
    whole, ours = (watched(tokens, bits, mode, "uniform", decoder=decoder) for bits in (16, kv_bits))
    assert 0 < (ask(whole) - ask(ours)).abs().max() < NEAR[kv_bits]
    if mode != "keep":
        kept = watched(tokens, 16, "keep", "uniform", decoder=decoder)
        assert (ask(whole) - ask(kept)).abs().max() > 2 * NEAR[8], "the places must matter, or this test cannot fail"


@pytest.mark.parametrize("policy", ["uniform", "snapkv"])
@pytest.mark.parametrize("kv_bits", BITS)
def test_a_window_of_codes_is_read_as_one_of_whole_entries(kv_bits, policy):
    whole, ours = (watched(stream(9), bits, policy=policy, entries=1000, decoder=one_layer()) for bits in (16, kv_bits))
    assert 0 < (ask(whole, window=(3.0, 6.0)) - ask(ours, window=(3.0, 6.0))).abs().max() < NEAR[kv_bits]


@pytest.mark.parametrize("kv_bits", BITS)
def test_scores_are_those_of_a_chunk_that_is_not_quantized_yet(kv_bits):
    """One chunk is decided on as in a whole memory; only what stays is quantized."""
    for policy in ("omnimem", "streammem:merge=none", "snapkv"):
        whole, ours = memory_of(policy=policy), memory_of(kv_bits, policy=policy)
        for memory in (whole, ours):
            memory.absorb(stream(12))
        for layer in range(4):
            assert torch.equal(whole.stores[layer].table["index"], ours.stores[layer].table["index"]), policy


@pytest.mark.parametrize("kv_bits", (16, *BITS))
@pytest.mark.parametrize("policy", ["omnimem", "snapkv"])
def test_the_bytes_reported_are_the_bytes_held_and_those_of_the_geometry(policy, kv_bits):
    memory = watched(stream(9), kv_bits, policy=policy)
    tensors = [t for store in memory.stores for t in store.state().values()]
    assert memory.nbytes == sum(t.numel() * t.element_size() for t in tensors)
    shape = geometry(memory.decoder, memory.policy, torch.float32, kv_bits=kv_bits)
    assert memory.nbytes == shape.entry_bytes * sum(map(len, memory.stores))
    assert memory.stores[0].kv_bytes == shape.kv_bytes


@pytest.mark.parametrize("kv_bits", BITS)
def test_a_restored_memory_answers_bit_for_bit_and_holds_the_same_codes(kv_bits):
    first = watched(stream(20), kv_bits, "eager", "omnimem")
    second = memory_of(kv_bits, "eager", "omnimem", decoder=first.decoder)
    second.load_state(copy.deepcopy(first.state()))
    assert torch.equal(ask(first), ask(second))
    for layer in range(4):
        ours, theirs = held(first, layer), held(second, layer)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def logit_error(kv_bits: int, aware: bool) -> float:
    """RMS error of logits of 400 normal keys with a bias of 100 on 4 of 128 channels, quantized at their places."""
    rotary, bias = rotary_of_128(), torch.zeros(1, 1, 128)
    bias[..., [5, 40, 77, 100]] = 100.0
    generator = torch.Generator().manual_seed(0)
    product, q = torch.randn(1, 400, 128, generator=generator), torch.randn(1, 50, 128, generator=generator)
    raw = torch.randint(0, 3000, (3, 1, 400), generator=generator)
    way = KeyTransform(0, KeepPositions(), rotary, bias)
    keys = way.done(product.clone(), raw)
    if aware:
        read = way.done(dequantize(quantize(way.undone(keys, raw), kv_bits), kv_bits), raw)
    else:
        read = dequantize(quantize(keys, kv_bits), kv_bits)
    return float((q @ (read - keys).transpose(1, 2)).pow(2).mean().sqrt() / 128**0.5)


def rotary_of_128() -> Rotary:
    """Of heads as wide as Qwen2.5's, with its sections."""
    from transformers import Qwen2_5OmniThinkerConfig
    from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniThinkerTextModel

    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    sizes = dict(vocab_size=8, hidden_size=128, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    config = Qwen2_5OmniThinkerConfig(text_config={**sizes, "num_key_value_heads": 1, "rope_parameters": rope})
    return Rotary(Qwen2_5OmniThinkerTextModel(config.text_config))


@pytest.mark.parametrize(("kv_bits", "least_gain", "most"), [(8, 20, 0.01), (4, 20, 0.1)])
def test_channels_of_large_bias_do_not_spoil_the_codes(kv_bits, least_gain, most):
    naive, ours = logit_error(kv_bits, aware=False), logit_error(kv_bits, aware=True)
    print(f"{kv_bits} bits: rms error of logits {naive:.3f} with the bias, {ours:.3f} without")
    assert ours < most and naive > least_gain * ours


@pytest.mark.parametrize("family", DECODERS)
def test_a_bias_is_taken_off_only_where_it_is_a_constant(family):
    decoder = DECODERS[family]()
    way = KeyTransform.of_layer(decoder, 1, KeepPositions(), Rotary(decoder))
    if family.startswith("qwen3"):
        assert way.bias is None
        decoder.layers[1].self_attn.k_proj.bias = torch.nn.Parameter(torch.ones(32))  # before a norm
        assert KeyTransform.of_layer(decoder, 1, KeepPositions(), Rotary(decoder)).bias is None
    else:
        assert torch.equal(way.bias.flatten(), decoder.layers[1].self_attn.k_proj.bias)


@pytest.mark.parametrize("family", DECODERS)
def test_undone_keys_are_the_projections_product(family):
    decoder, tokens, caught = DECODERS[family](), stream(4), {}
    attach(decoder)

    class Spy:
        def attend(self, layer, q, k, v, scaling):
            caught.setdefault(layer, k)
            return torch.zeros_like(q)

    attention = decoder.layers[0].self_attn
    made = []
    last = getattr(attention, "k_norm", attention.k_proj)
    last.register_forward_hook(lambda _module, _args, out: made.append(out))
    decoder(
        inputs_embeds=tokens.embeds[None], position_ids=tokens.positions[:, None], use_cache=False, memory_pass=Spy()
    )
    product = made[0].view(1, -1, 2, 16).transpose(1, 2)[0]
    way = KeyTransform.of_layer(decoder, 0, KeepPositions(), Rotary(decoder))
    product = product if way.bias is None else product - way.bias
    raw = tokens.positions[:, None]
    assert torch.allclose(way.undone(caught[0][0], raw), product, atol=1e-5)
    assert torch.allclose(way.done(product.clone(), raw), caught[0][0], atol=1e-5)


def of_7b(policy: str, kv_bits: int) -> int:
    """Bytes of an entry of a layer of Qwen2.5-Omni-7B."""
    from types import SimpleNamespace

    config = SimpleNamespace(num_key_value_heads=4, head_dim=128, num_attention_heads=28, hidden_size=3584)
    decoder = SimpleNamespace(config=config, layers=range(28))
    return geometry(decoder, make_policy(policy), torch.bfloat16, kv_bits=kv_bits).entry_bytes


@pytest.mark.parametrize(("kv_bits", "share"), [(8, 0.58), (4, 0.36)])
def test_entries_of_the_7b_take_as_little_as_promised(kv_bits, share):
    today, ours = of_7b("omnimem", 16), of_7b("omnimem:carry=0.0625", kv_bits)
    print(f"{kv_bits} bits: {ours} of {today} bytes per entry and layer, {ours / today:.1%}")
    assert today == 2349 and ours <= share * today


def test_a_whole_store_needs_no_way_back_and_a_quantized_one_does():
    assert len(Store(2, 16, torch.float32, "cpu")) == 0
    with pytest.raises(AssertionError, match="quantized before rotation"):
        Store(2, 16, torch.float32, "cpu", kv_bits=8)


def test_what_waits_is_decided_on_before_more_comes():
    decoder = omni_decoder()
    way = KeyTransform.of_layer(decoder, 0, KeepPositions(), Rotary(decoder))
    store, tokens = Store(2, 16, torch.float32, "cpu", kv_bits=8, transform=way), stream(1)
    columns = {"index": torch.arange(len(tokens))[None], "position": tokens.positions.T[None].int()}
    keys = torch.randn(1, 2, len(tokens), 16)
    store.append(keys, keys, Table(columns))
    whole = store.attend(torch.randn(1, 4, 3, 16), 0.25)
    assert len(store) == len(tokens) and whole[0].isfinite().all()
    with pytest.raises(AssertionError, match="before more comes"):
        store.append(keys, keys, Table(columns))
    store.keep(torch.arange(len(tokens))[None])
    assert "key_codes" in store.state() and len(question()) == 2
