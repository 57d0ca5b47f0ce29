"""What is held whole for questions about windows: it is read as it came in, and changes nothing in the memory."""

import pytest
import torch
from decoders import omni_decoder, question, stream
from oracles import cuts, eviction_masks, one_shot, prompts, tables_of

from omnimem_cli.base.choices import POSITIONS
from omnimem_cli.base.packing import packed
from omnimem_cli.memory import padded_rows
from omnimem_cli.memory.attention import attend_biased
from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import POLICIES, make_policy
from omnimem_cli.memory.repositioning import make_position_map
from omnimem_cli.memory.tokens import PREFIX

TRAINED = 64  # positions; the streams here pass them


def watched(tokens, policy="omnimem", recent_s=4.0, positions="keep", chunk=37, seed=0) -> tuple[Memory, list]:
    """The memory of a stream, and what each layer held after each chunk."""
    decoder = omni_decoder()
    budgets = even_budgets(len(decoder.layers), 40, 0.7, True, True)
    position_map = make_position_map(positions, decoder, TRAINED)
    memory = Memory(
        decoder, make_policy(policy), budgets, dtype=torch.float32, position_map=position_map, prompts=prompts
    )
    if recent_s:
        memory.hold_recent(recent_s)
    history = []
    for piece in cuts(tokens, (chunk,)):
        memory.absorb(piece)
        history.append(tables_of(memory))
    return memory, history


def test_rows_that_are_kept_go_on_as_among_all():
    memory, _ = watched(stream(9))
    windows = [(1.0, 3.0), (2.0, 4.0), (3.0, 4.5)]
    forks = [memory.fork_windows(windows) for _ in range(2)]
    embeds, positions = question(first=10_000)
    token, place = embeds[..., -1:, :].expand(3, -1, -1), positions[:, None, -1:].expand(-1, 3, -1) + 1
    for fork in forks:
        fork.forward(embeds.expand(3, -1, -1), positions[:, None].expand(-1, 3, -1))
        fork.reserve(2)
        fork.step(token, place)
    whole, (kept, rows) = forks[0].step(token, place + 1), (forks[1], [2, 0])
    kept.keep_rows(rows)
    torch.testing.assert_close(kept.step(token[rows], place[:, rows] + 1), whole[rows])


def ask(memory, *windows, first=10_000):
    embeds, positions = question(first=first)
    rows = len(windows)
    fork = memory.fork_windows(windows)
    return fork.forward(embeds.expand(rows, -1, -1), positions[:, None].expand(-1, rows, -1))


def after_window(memory, tokens, window) -> int:
    """How far the question moves that follows the window instead of the stream."""
    inside = (tokens.time >= window[0]) & (tokens.time < window[1]) & (tokens.kind != PREFIX)
    return int(tokens.positions[:, inside].max()) + 1 - memory.next_position


@pytest.mark.parametrize("chunk", [37, 64])
def test_a_window_is_read_whole_though_its_entries_were_evicted(chunk):
    tokens, window = stream(9), (5.0, 8.0)
    memory, history = watched(tokens, chunk=chunk)
    inside = (tokens.kind == PREFIX) | ((tokens.time >= window[0]) & (tokens.time < window[1]))
    masks = eviction_masks(history, chunk, len(tokens))
    gone = masks[-1][-1, : len(tokens)].isinf()
    assert bool((gone & inside).any()), "some of the window must be evicted, or this test cannot fail"
    for mask in masks:
        mask[len(tokens) :, : len(tokens)] = torch.where(inside, 0.0, -torch.inf)
    expected = one_shot(memory.decoder, tokens, masks, shift=after_window(memory, tokens, window))
    assert (ask(memory, window)[0] - expected).abs().max() < 1e-4


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("policy", POLICIES)
def test_holding_changes_nothing_in_the_memory(policy, positions):
    tokens = stream(9)
    (holding, _), (plain, _) = (watched(tokens, policy, recent_s, positions) for recent_s in (4.0, 0.0))
    holding.release_recent()
    ours, theirs = {}, {}
    states = ({k: v for k, v in memory.state().items() if k != "peak_bytes"} for memory in (holding, plain))
    assert packed(next(states), ours) == packed(next(states), theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("positions", POSITIONS)
def test_rows_read_windows_of_their_own(positions):
    memory, _ = watched(stream(9), positions=positions)
    windows = [(4.0, 5.0), (5.0, 8.0), (8.0, 9.0)]
    singles = torch.cat([ask(memory, window) for window in windows])
    assert (ask(memory, *windows) - singles).abs().max() < 1e-4
    assert (singles[0] - singles[1]).abs().max() > 0.05


@pytest.mark.parametrize("policy", ["full", "snapkv"])
def test_a_window_is_the_same_whatever_the_policy_keeps_per_head(policy):
    """Where nothing is evicted, a window read whole is the window of the memory, with the question right after it."""
    tokens, window = stream(4), (1.0, 3.0)
    memory, _ = watched(tokens, policy, recent_s=10.0, chunk=1000)
    embeds, positions = question()
    moved = positions[:, None] + after_window(memory, tokens, window)
    if policy == "full":
        expected = memory.fork_copies([memory.copy_window(*window)]).forward(embeds[None], moved)[0]
    else:
        expected = ask(watched(tokens, "full", recent_s=10.0, chunk=1000)[0], window)[0]
    assert (ask(memory, window)[0] - expected).abs().max() < 1e-4


@pytest.mark.parametrize("positions", [mode for mode in POSITIONS if mode != "keep"])
def test_places_stay_small_and_distances_true_where_the_memory_moves_its_entries(positions):
    """Keys of the first layer depend on nothing but the token and its place."""
    tokens = stream(40)
    (moving, _), (still, _) = (watched(tokens, positions=mode) for mode in (positions, "keep"))
    held, raw = moving.recent.stores[0], still.recent.stores[0].table["position"].movedim(-1, 0).long()
    place, ahead = moving.recent.place(raw), raw > moving.position_map.anchor
    assert int(place[ahead].min()) == moving.position_map.anchor + 1 and int(raw[ahead].min()) > TRAINED
    assert bool(((raw - place)[ahead] == (raw - place).max()).all()) and torch.equal(raw[~ahead], place[~ahead])
    expected = still.rotary.rotate(still.recent.stores[0].gather(torch.arange(len(held)))[0], place - raw)
    assert (held.gather(torch.arange(len(held)))[0] - expected).abs().max() < 1e-4


def test_no_more_is_held_than_the_seconds_before_the_newest_chunk():
    tokens = stream(30)
    memory, _ = watched(tokens, recent_s=3.0, chunk=32)
    last = list(cuts(tokens, (32,)))[-1]
    table = memory.recent.stores[0].table
    times = table["time"][table["kind"] != PREFIX]
    assert float(last.time.min()) - 4.0 <= float(times.min()) <= float(last.time.min()) - 3.0
    with_recent = memory.nbytes
    memory.release_recent()
    assert with_recent > 1.2 * memory.nbytes and memory.peak_bytes >= with_recent


def test_a_window_that_waits_is_read_as_if_it_had_been_read_at_once():
    tokens, windows, at_once = stream(14), [(5.0, 6.5), (6.5, 8.0)], None
    memory, _ = watched(tokens.cut(0, 1), recent_s=3.0)
    for piece in cuts(tokens.cut(1, len(tokens)), (32,)):
        memory.absorb(piece)
        if at_once is None and float(piece.time.max()) >= windows[-1][1]:
            memory.recent.since = windows[0][0]
            at_once = ask(memory, *windows, first=memory.next_position)
    assert (ask(memory, *windows, first=memory.next_position) - at_once).abs().max() < 1e-3
    memory.recent.since = None
    memory.absorb(piece)
    assert not memory.recent.holds(*windows[1])


def test_windows_of_one_row_each_are_read_in_one_call(monkeypatch):
    memory, calls = watched(stream(9))[0], []
    counted = lambda *given: calls.append(given[0].shape[0]) or attend_biased(*given)  # noqa: E731
    monkeypatch.setattr(padded_rows, "attend_biased", counted)
    ask(memory, (4.0, 5.0), (5.0, 8.0), (8.0, 9.0))
    assert calls == [3] * len(memory.stores)


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_restored_memory_reads_windows_as_if_unbroken(positions):
    tokens = stream(12)
    whole, _ = watched(tokens, positions=positions, chunk=30)
    first, _ = watched(tokens.cut(0, 150), positions=positions, chunk=30)
    second, _ = watched(tokens.cut(0, 30), positions=positions, chunk=30)
    second.load_state(first.state())
    for piece in cuts(tokens.cut(150, len(tokens)), (30,)):
        second.absorb(piece)
    assert torch.equal(ask(second, (9.0, 12.0)), ask(whole, (9.0, 12.0)))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_memory_that_is_continued_reads_windows_with_its_prefix(policy):
    """What it holds whole begins with the continuation; the prefix came long before."""
    tokens = stream(12)
    whole, _ = watched(tokens, policy, chunk=85)
    part, _ = watched(tokens.cut(0, 85), policy, recent_s=0.0, chunk=85)
    part.hold_recent(4.0)
    for piece in cuts(tokens.cut(85, len(tokens)), (85,)):
        part.absorb(piece)
    assert torch.equal(ask(part, (9.0, 12.0)), ask(whole, (9.0, 12.0)))
