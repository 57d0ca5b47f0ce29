"""Moving keys exactly, and position maps that keep a memory inside the trained range."""

import copy

import pytest
import torch
from decoders import DECODERS, omni_decoder, question, stream
from oracles import ask, one_shot

from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.repositioning import (
    CompactPositions,
    Placement,
    RetimePositions,
    TextPlacement,
    make_position_map,
)
from omnimem_cli.memory.rotary import Rotary
from omnimem_cli.memory.tokens import AUDIO, VISUAL, text_chunk


def watch(tokens, mode="keep", policy="sliding-window", entries=40, chunk=37, trained=64, decoder=None):
    decoder = decoder or omni_decoder()
    has_video, has_audio = (bool((tokens.kind == k).any()) for k in (VISUAL, AUDIO))
    budgets = even_budgets(len(decoder.layers), entries, 0.7, has_video, has_audio)
    position_map = make_position_map(mode, decoder, trained)
    memory = Memory(decoder, make_policy(policy), budgets, dtype=torch.float32, position_map=position_map)
    for start in range(0, len(tokens), chunk):
        memory.absorb(tokens.cut(start, min(start + chunk, len(tokens))))
    return memory


def places(memory, layer=0, row=0):
    """[m, 3]"""
    raw = memory.stores[layer].table["position"][row].long().T
    return memory.position_map.place(layer, raw).T


def layer_keys(decoder, hidden, positions):
    """Post-rotary keys [1, G, n, d] as the first decoder layer computes them."""
    caught = {}

    class Spy:
        def attend(self, layer, q, k, v, scaling):
            caught.setdefault(layer, k)
            return torch.zeros_like(q)

    decoder(inputs_embeds=hidden[None], position_ids=positions[:, None], use_cache=False, memory_pass=Spy())
    return caught[0]


@pytest.mark.parametrize("family", DECODERS)
def test_turning_by_a_difference_equals_computing_the_key_there(family):
    decoder = DECODERS[family]()
    memory = Memory(decoder, make_policy("full"), even_budgets(4, 9, 1, True, True), dtype=torch.float32)
    tokens = stream(4)
    there = tokens.positions.flip(1) * torch.tensor([3, 1, 2])[:, None] + torch.tensor([70, -3, 11])[:, None]
    apply_rotary = memory.rotary.rotate(
        layer_keys(decoder, tokens.embeds, tokens.positions), (there - tokens.positions)[:, None]
    )
    exact = layer_keys(decoder, tokens.embeds, there)
    assert (apply_rotary - exact).abs().max() < 1e-4
    assert (layer_keys(decoder, tokens.embeds, tokens.positions) - exact).abs().max() > 0.5


@pytest.mark.parametrize("family", DECODERS)
def test_turning_back_restores_the_keys(family):
    rotary, keys = Rotary(DECODERS[family]()), torch.randn(1, 2, 30, 16, generator=torch.Generator().manual_seed(0))
    delta = torch.randint(-5000, 5000, (3, 1, 30), generator=torch.Generator().manual_seed(1))
    there = rotary.rotate(keys, delta)
    assert (rotary.rotate(there, -delta) - keys).abs().max() < 1e-4 and (there - keys).abs().max() > 1


def test_angles_come_without_the_attention_scaling_and_in_either_shape():
    decoder = omni_decoder()
    rotary, delta = Rotary(decoder), torch.arange(12).reshape(3, 1, 4) * torch.tensor([1, 5, 9])[:, None, None]
    cos, sin = rotary.angles(delta)
    assert torch.allclose(cos**2 + sin**2, torch.ones_like(cos), atol=1e-6)

    class ByAxis(torch.nn.Module):
        """The embedding as versions before 5.20 return it: one row per axis, not yet composed."""

        config, inv_freq, attention_scaling = decoder.config, decoder.rotary_emb.inv_freq, 1.7

        def forward(self, x, positions):
            angles = positions[..., None].float() * self.inv_freq
            wide = torch.cat([angles, angles], dim=-1)
            return wide.cos() * self.attention_scaling, wide.sin() * self.attention_scaling

    older = copy.copy(decoder)
    older._modules = {**decoder._modules, "rotary_emb": ByAxis()}
    for ours, reference in zip(Rotary(older).angles(delta), (cos, sin), strict=True):
        assert torch.allclose(ours, reference, atol=1e-6)


@pytest.mark.parametrize("family", DECODERS)
def test_half_angles_are_the_first_half_of_the_angles(family):
    rotary = Rotary(DECODERS[family]())
    place = torch.randint(0, 40_000, (3, 2, 50), generator=torch.Generator().manual_seed(2)) + 0.25
    for half, whole in zip(rotary.half_angles(place), rotary.angles(place), strict=True):
        assert torch.equal(half, whole[..., :8]) and torch.equal(half, whole[..., 8:])


@pytest.mark.parametrize("mode", ["lazy", "eager", "retime"])
def test_moving_nothing_equals_keep(mode):
    tokens = stream(9)
    kept, moved = (watch(tokens, m, entries=1000, trained=100_000) for m in ("keep", mode))
    assert (ask(kept) - ask(moved)).abs().max() < 1e-4


@pytest.mark.parametrize("policy", ["sliding-window", "uniform", "snapkv"])
def test_eager_places_close_ranks(policy):
    memory = watch(stream(30), "eager", policy)
    last = memory.position_map.place(0, torch.full((3, 1), memory.next_position))
    assert int(last.max()) <= 8 + 3 * 40 + 2
    for layer, store in enumerate(memory.stores):
        raw = store.table["position"].long().movedim(-1, 0)
        now = memory.position_map.place(layer, raw)
        later = raw[0, :, 1:] - raw[0, :, :-1]
        steps = (now[0, :, 1:] - now[0, :, :-1])[later > 0]
        assert bool((steps > 0).all()), "order in time is kept"


def test_on_text_eager_is_the_index_in_the_cache():
    embeds = torch.randn(90, 64, generator=torch.Generator().manual_seed(5))
    tokens = text_chunk(embeds, 0, AUDIO)
    tokens.kind[:4] = 0
    memory = watch(tokens, "eager", entries=20, chunk=30)
    assert places(memory).tolist() == [[i] * 3 for i in range(24)]
    assert int(memory.position_map.place(0, torch.tensor([90]))) == 24, "what comes next follows at once"


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("mode", ["eager", "retime"])
def test_one_layer_watched_with_moved_positions_equals_the_stock_pass_at_those_places(mode, family):
    """With one layer, kept keys depend on nothing but their own token and place."""
    decoder = DECODERS[family]()
    decoder.layers = decoder.layers[:1]
    tokens = stream(30)
    memory = watch(tokens, mode, decoder=decoder)
    index, now = memory.stores[0].table["index"][0].long(), places(memory)
    left = tokens.cut(0, 0)
    left.embeds, left.positions = tokens.embeds[index], now.T
    embeds, positions = question(first=memory.next_position + 2)
    ours = memory.fork().forward(embeds[None], positions[:, None])[0]
    after = memory.position_map.place(0, torch.full((3, 1), memory.next_position))[0, 0] + 2
    stock = copy.deepcopy(decoder)
    stock.set_attn_implementation("eager")
    stretched = torch.cat([now.T.float(), (after + torch.arange(7)).expand(3, 7).float()], dim=1)
    expected = stock(
        inputs_embeds=torch.cat([left.embeds, embeds])[None], position_ids=stretched[:, None], use_cache=False
    ).last_hidden_state[0, -7:]
    assert (ours - expected).abs().max() < 1e-4
    kept = watch(tokens, decoder=decoder).fork().forward(embeds[None], positions[:, None])[0]
    assert (kept - expected).abs().max() > 0.01, "the places must matter, or this test cannot fail"


def test_layers_with_maps_of_their_own_are_asked_at_their_own_places():
    """Queries and keys turned from the first layer's place to another's stand where that one wants them."""
    position_map = CompactPositions(Rotary(omni_decoder()), 2, None)
    position_map.load_state(
        {"anchor": 5, "breakpoints": [torch.tensor([7, 9, 30]), torch.tensor([8, 20, 21, 22, 29, 30])]}
    )
    raw = torch.tensor([[[3, 7, 30, 33]]]).expand(3, 1, 4)
    assert Placement(position_map, raw).base[0, 0].tolist() == [3, 6, 8, 11]
    assert position_map.place(1, raw)[0, 0].tolist() == [3, 5, 11, 14]
    x = torch.randn(1, 2, 4, 16)
    apply_rotary, _ = Placement(position_map, raw).rotate(1, x, x)
    assert torch.allclose(
        apply_rotary, position_map.rotary.rotate(x, position_map.place(1, raw) - Placement(position_map, raw).base)
    )
    text = TextPlacement.after_memory(position_map, 2, 31, raw.device)
    assert text.base(raw + 10)[0, 0].tolist() == [9 - 18, 9 - 14, 9 + 9, 9 + 12]
    first = torch.full((3, 1, 1), 31)
    delta = position_map.place(1, first) - position_map.place(0, first)
    for layer, moved in enumerate((x, position_map.rotary.rotate(x, delta))):
        assert all(torch.equal(ours, moved) for ours in text.rotate(layer, x, x))
    assert not torch.equal(x, moved)


def test_hermes_deep_layers_have_maps_of_their_own():
    memory = watch(stream(30), "eager", "snapkv")
    ends = {int(memory.position_map.place(layer, torch.tensor([memory.next_position]))) for layer in range(4)}
    assert len(ends) > 1, "layers that keep other entries close ranks elsewhere"
    assert ask(memory).isfinite().all()


def test_lazy_waits_until_the_trained_range_is_near():
    early, late = watch(stream(4), "lazy", trained=100), watch(stream(30), "lazy", trained=100)
    assert early.position_map.state()["breakpoints"] == [None] * 4 and late.position_map.nbytes > 0
    assert int(late.position_map.place(0, torch.tensor([late.next_position]))) <= 100


def test_retiming_keeps_a_stream_of_any_length_inside_the_trained_range():
    tokens = stream(60)
    memory = watch(tokens, "retime", "uniform", trained=128, chunk=16)
    assert float(memory.position_map.place(0, torch.full((3, 1), memory.next_position)).max()) <= 128
    now = places(memory)
    order = memory.stores[0].table["position"][0, :, 0].argsort(stable=True)
    assert bool((now[order, 0].diff() >= 0).all())
    grid = memory.stores[0].table["kind"][0] == VISUAL
    assert torch.equal(now[grid, 1:].long(), memory.stores[0].table["position"][0][grid][:, 1:].long())


@pytest.mark.parametrize(("chunk", "trained", "spacing"), [(16, 128, 1.0), (60, 40, 0.25)])
def test_retiming_leaves_the_newest_times_at_their_distances_and_squeezes_older_ones_evenly(chunk, trained, spacing):
    """A chunk that takes more than half of the trained range cannot keep its own."""
    tokens = stream(60)
    memory = watch(tokens, "retime", "uniform", trained=trained, chunk=chunk)
    position_map = memory.position_map
    times = torch.arange(position_map.anchor, memory.next_position)
    steps = position_map.place(0, times.expand(3, -1))[0].double().diff()
    newest = len(tokens) % chunk or chunk
    length = int(tokens.positions[0, -1] - tokens.positions[0, -newest])
    assert torch.allclose(steps[-length:], torch.tensor(spacing, dtype=torch.double))
    knee = int((steps < spacing - 1e-9).sum())
    assert knee > 0 and torch.allclose(steps[:knee], steps[0]) and torch.allclose(steps[knee:], steps[-1])


def test_retiming_ends_where_not_even_what_never_moves_is_in_range():
    memory = watch(stream(4), "retime", "uniform", trained=1)
    assert memory.position_map.anchor > 1 and ask(memory).isfinite().all()


def test_retimed_grids_that_move_with_time_keep_their_shape():
    position_map = RetimePositions(Rotary(omni_decoder()), 100)
    position_map.load_state({"anchor": 10, "knee": 60, "old": 0.25, "new": 1.0})
    raw = torch.tensor([[50, 50, 50], [50, 51, 52], [50, 50, 51]])
    assert position_map.place(0, raw).tolist() == [[20.0, 20.0, 20.0], [20.0, 21.0, 22.0], [20.0, 20.0, 21.0]]


@pytest.mark.parametrize("mode", ["lazy", "eager", "retime"])
def test_a_restored_position_map_goes_on_as_if_unbroken(mode):
    tokens = stream(20)
    whole, first = watch(tokens, mode, trained=100), watch(tokens.cut(0, 111), mode, trained=100)
    decoder = omni_decoder()
    position_map = make_position_map(mode, decoder, 100)
    second = Memory(
        decoder, make_policy("sliding-window"), first.budgets, dtype=torch.float32, position_map=position_map
    )
    second.load_state(copy.deepcopy(first.state()))
    for start in range(111, len(tokens), 37):
        second.absorb(tokens.cut(start, min(start + 37, len(tokens))))
    assert torch.equal(ask(second), ask(whole))


def test_keep_answers_as_the_stock_pass():
    decoder, tokens = omni_decoder(), stream(6)
    assert (ask(watch(tokens, policy="full", decoder=decoder)) - one_shot(decoder, tokens)).abs().max() < 1e-4
