"""Each rival's rule against its definition, written out in full on small streams."""

import math
from types import SimpleNamespace

import pytest
import torch
from decoders import question, stream
from oracles import alike, decoder, memory_of, prompts, watched

from omnimem_cli.base.errors import UsageError
from omnimem_cli.memory.fork import left_padded
from omnimem_cli.memory.policies import POLICIES, make_policy
from omnimem_cli.memory.policies.hermes import DEEP, GLOBAL, LOCAL, MIDDLE, PROMPTS, SHALLOW, Depth
from omnimem_cli.memory.redundancy import redundancy, twin_cosines
from omnimem_cli.memory.selection import WHOLE_STEP, Kept, keep_media, kept_indices
from omnimem_cli.memory.table import Table
from omnimem_cli.memory.tokens import AUDIO, PREFIX, VISUAL, text_chunk


def kept(memory, layer=0, row=0, kind=None):
    table = memory.stores[layer].table
    mask = table["kind"][row] != PREFIX if kind is None else table["kind"][row] == kind
    return table["index"][row][mask].tolist()


def seen_layer(policy, tokens, entries, layer=1):
    """The view that a policy gets of one layer when the tokens comes as one chunk, and what it keeps of it."""
    caught = []

    class Spy(type(policy)):
        def on_layer(self, view):
            caught.append(view)
            return super().on_layer(view)

    memory = memory_of("full", tokens, entries)
    memory.policy = Spy(**{k: v for k, v in vars(policy).items()})
    memory.stores = memory_of(policy_name(policy), tokens, entries).stores
    memory.absorb(tokens)
    return caught[layer], memory.stores[layer].table["index"]


def policy_name(policy):
    return next(name for name, made in POLICIES.items() if made is type(policy))


def test_a_stride_keeps_evenly_spaced_numbers_of_the_candidates():
    tokens = stream(9)
    media = [i for i, kind in enumerate(tokens.kind.tolist()) if kind != PREFIX]
    memory = watched("uniform:variant=stride", tokens, (1000,), 40)
    assert kept(memory) == [media[i * len(media) // 40] for i in range(40)]


def test_a_stride_forgets_geometrically_and_online_does_not():
    tokens = stream(60, patches=4, slots=4)
    halves = {}
    for variant in ("stride", "online"):
        index = kept(watched(f"uniform:variant={variant}", tokens, (80,), 40))
        halves[variant] = sum(i < len(tokens) / 2 for i in index)
    assert halves["online"] in range(18, 23) and halves["stride"] < 5


def test_online_is_evenly_spaced_and_does_not_fall_into_step_with_the_frame():
    tokens = stream(64, patches=4, slots=0)
    memory = watched("uniform", tokens, (24,), 32)
    index = torch.tensor(kept(memory))
    assert int(index.diff().max()) <= 21, "256 tokens, 32 kept: 8 apart in the mean"
    patches = memory.stores[0].table["patch"][0][5:]
    assert torch.bincount(patches).min() >= 6


def test_a_sliding_window_keeps_the_prefix_and_the_last():
    tokens = stream(9)
    assert kept(watched("sliding-window", tokens), kind=None) == list(range(len(tokens) - 40, len(tokens)))
    split = watched("sliding-window:pool=split", tokens)
    audio = [i for i, k in enumerate(tokens.kind.tolist()) if k == AUDIO]
    assert kept(split, kind=AUDIO) == audio[-24:]


def test_key_norm_keeps_the_smallest_keys_of_every_head():
    view, index = seen_layer(make_policy("key-norm"), stream(9), 40)
    for row, keys in zip(index, view.chunk_keys[0], strict=True):
        norms = keys.norm(dim=-1)
        assert set(row.tolist()) == set(range(5)) | set((5 + norms[5:].argsort()[:40]).tolist())


def naive_weights(q, k, scaling, first):
    """[H, n, N], query i at place first + i."""
    scores = q[0] @ k.repeat_interleave(q.shape[1] // k.shape[0], 0).transpose(-1, -2) * scaling
    later = torch.arange(k.shape[1]) > first + torch.arange(q.shape[2])[:, None]
    return scores.masked_fill(later, -torch.inf).softmax(-1)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_snapkv_keeps_what_its_window_looks_at_and_the_window(pooling):
    window, budget = 6, 40
    policy = make_policy(f"snapkv:window={window}:kernel=3:pooling={pooling}")
    view, index = seen_layer(policy, stream(9), budget)
    count = view.queries.shape[2]
    weights = naive_weights(view.queries[:, :, -window:], view.chunk_keys[0], view.scaling, count - window)
    by_group = weights.sum(1).reshape(2, 2, -1).mean(1)[:, :-window]
    padded = torch.nn.functional.pad(by_group, (1, 1), value=0.0 if pooling == "avg" else -torch.inf).unfold(1, 3, 1)
    pooled = padded.mean(-1) if pooling == "avg" else padded.amax(-1)
    for row, scores in zip(index, pooled, strict=True):
        best = 5 + scores[5:].argsort(descending=True, stable=True)[: budget - window]
        assert set(row.tolist()) == {*range(5), *best.tolist(), *range(count - window, count)}


def test_infinipot_keeps_recent_steps_then_novel_keys_then_large_values():
    tokens = stream(16, slots=0)
    policy = make_policy("infinipot-v:alpha=0.6:rho=0.125")
    view, index = seen_layer(policy, tokens, 40)
    keys = torch.nn.functional.normalize(view.chunk_keys[0], dim=-1)
    for head, row in enumerate(index):
        recent = [5 + 6 * step + patch for step in range(14, 16) for patch in range(6)]
        tar = {}
        for i in range(5, 5 + 14 * 6):
            same = [j for j in recent if (j - 5) % 6 == (i - 5) % 6]
            tar[i] = -sum(float(keys[head, i] @ keys[head, j]) for j in same) / len(same)
        target = 40 - round(0.4 * 40)
        novel = sorted(tar, key=tar.get, reverse=True)[: target - len(recent)]
        rest = [i for i in tar if i not in novel]
        norms = view.chunk_values[0][head].norm(dim=-1)
        large = sorted(rest, key=lambda i: float(norms[i]), reverse=True)[: 40 - target]
        assert set(row.tolist()) == {*range(5), *recent, *novel, *large}


def test_infinipot_as_published_compares_by_place_in_the_cache():
    """After an eviction, what is at the same place of a row is not the same patch; only ``grid=true`` looks for it."""
    tokens = stream(16, slots=0)
    published, own = (watched(f"infinipot-v{grid}", tokens, (24,), 40) for grid in ("", ":grid=true"))
    assert kept(published) == kept(watched("infinipot-v:grid=pseudo", tokens, (24,), 40)) != kept(own)


def test_infinipots_recent_steps_never_take_more_than_their_share():
    memory = watched("infinipot-v:rho=1:alpha=0.5", stream(16, slots=0), (1000,), 20)
    old = [i for i in kept(memory) if i < 5 + 96 - 10]
    assert len(old) == 10, "half of the budget is left to large values, wherever they are"


def probe_weights(memory, texts):
    """Softmax weights of the probe, written out: per layer [rows, H, tokens, m] over memory and the text itself."""
    chunks = prompts(texts)
    rows = []
    for chunk in chunks:
        chunk.positions = chunk.positions + memory.next_position - int(chunk.positions[0, 0])
        caught = []

        def observe(layer, q, lse, store, scaling, caught=caught):
            keys = store.state()["key"].repeat_interleave(2, 0)
            caught.append((q[0] @ keys.transpose(-1, -2) * scaling - lse[0][..., None]).exp())

        embeds, positions, real = left_padded([chunk])
        memory.fork().forward(embeds, positions, real, observe)
        rows.append(caught)
    return rows


@pytest.mark.parametrize("reduce", ["mean", "max", "sum"])
def test_a_batched_probe_equals_each_text_alone(reduce):
    memory = watched("streammem", stream(9))
    together = memory.proxy_query.attention(["a", "bcd", ""], reduce)
    apart = probe_weights(memory, ["a", "bcd", ""])
    for layer, received in enumerate(together):
        for row, alone in zip(received, apart, strict=True):
            weights = alone[layer].flatten(0, 1)
            naive = {"mean": weights.mean(0), "max": weights.amax(0), "sum": weights.sum(0)}[reduce]
            assert (row - naive).abs().max() < 1e-5 and float(row.sum()) > 0


def test_streammem_keeps_the_best_and_one_prototype_per_new_frame():
    tokens = stream(9, slots=0)
    whole = watched("full", tokens, (1000,))
    scores = [alone.flatten(0, 1).mean(0) for alone in probe_weights(whole, [""])[0]]
    memory = watched("streammem:keys=raw", tokens, (1000,), 20)
    for store, full, received in zip(memory.stores, whole.stores, scores, strict=True):
        merged = store.table["patch"][0] == WHOLE_STEP
        merged &= store.table["kind"][0] == VISUAL
        assert int(merged.sum()) == 9
        best = 5 + received[5:].argsort(descending=True)[:11]
        assert set(store.table["index"][0][~merged].tolist()) == {*range(5), *best.tolist()}
        keys, values = (store.state()[name][:, merged].unbind(1) for name in ("key", "value"))
        for frame, (key, value) in enumerate(zip(keys, values, strict=True)):
            members = slice(5 + 6 * frame, 11 + 6 * frame)
            share = received[members] / received[members].sum()
            assert (key - (full.state()["key"][:, members] * share[:, None]).sum(1)).abs().max() < 1e-4
            assert (value - (full.state()["value"][:, members] * share[:, None]).sum(1)).abs().max() < 1e-4


def test_only_new_frames_leave_prototypes_the_latest_where_places_are_few():
    table = watched("full", stream(9, slots=0)).stores[0].table
    candidates = table["kind"][0] == VISUAL
    frames = make_policy("streammem")._frames(table, candidates, held=35, k=20)
    assert frames.last.tolist() == [40, 46, 52, 58] and frames.members.tolist() == list(range(35, 59))
    few = make_policy("streammem")._frames(table, candidates, held=35, k=5)
    assert few.last.tolist() == [52, 58] and few.number.tolist() == [0] * 6 + [1] * 6


def test_an_aligned_prototype_of_equal_tokens_is_their_key_at_the_frames_end():
    """Tokens that differ only in position have one unrotated key: the aligned mean is exact, the raw one is not."""
    tokens = alike(stream(9, slots=0), PREFIX, VISUAL)
    exact = watched("full", tokens, (1000,)).stores[0].state()["key"][:, [10, 16, 22]]
    for keys, same in (("aligned", True), ("raw", False)):
        store = watched(f"streammem:keys={keys}", tokens, (1000,), 20).stores[0]
        merged = (store.table["patch"][0] == WHOLE_STEP) & (store.table["kind"][0] == VISUAL)
        assert ((store.state()["key"][:, merged][:, :3] - exact).abs().max() < 1e-3) == same


def test_text_of_a_group_lives_on_with_its_prototype():
    memory = watched("streammem", stream(9, slots=0, text=True), (1000,), 20)
    groups = memory.stores[0].table["group"][0][memory.stores[0].table["kind"][0] == 1]
    assert set(groups.tolist()) == set(range(9))


def test_hermes_reads_each_band_of_layers_with_its_own_prompt():
    bands = [Depth.of(layer, 20).band for layer in range(20)]
    assert bands == [SHALLOW] * 2 + [MIDDLE] * 12 + [DEEP] * 6
    assert PROMPTS[SHALLOW] == LOCAL and PROMPTS[DEEP] == GLOBAL and LOCAL in PROMPTS[MIDDLE]
    halfway = Depth.of(8, 20)
    assert halfway.through == 0.5
    assert halfway.recency("paper") == (0.75 - 0.3, 20 - 9.75) and halfway.recency("code")[0] == 1 - 0.45
    assert Depth.of(0, 20).recency("paper") == (1.0, 20.0) and Depth.of(19, 20).recency("paper")[0] == 0.0


def naive_hermes(whole, smoothing):
    """Smoothed scores of the media entries per layer, for four layers (two middle, two deep)."""
    texts = probe_weights(whole, list(PROMPTS))
    scores = []
    for layer, (prompt, weight, decay) in enumerate(
        [(2, 0.75, 20.0), (2, 0.75 - 0.3, 20 - 9.75), (1, 0, 0), (1, 0, 0)]
    ):
        received = texts[prompt][layer].flatten(0, 1).mean(0)[5:]
        count = len(received)
        recency = torch.tensor([math.exp(-decay * (count - 1 - j) / (count - 1)) for j in range(count)])
        parts = [(x - x.min()) / (x.max() - x.min() + 1e-6) for x in (received, recency)]
        scores.append((1 - weight) * parts[0] + weight * parts[1])
    own = list(scores)
    for layer, share in ((2, 0.4), (1, 0.3), (0, 0.3)):
        deeper = scores[layer + 1] if smoothing == "code" else own[layer + 1]
        scores[layer] = (1 - share) * own[layer] + share * deeper
    return scores


@pytest.mark.parametrize("smoothing", ["code", "paper"])
def test_hermes_weighs_attention_and_recency_by_depth_and_smooths_from_the_deepest(smoothing):
    tokens = stream(9)
    whole, memory = watched("full", tokens, (1000,)), watched(f"hermes:smoothing={smoothing}", tokens, (1000,), 40)
    for layer, (store, scores) in enumerate(zip(memory.stores, naive_hermes(whole, smoothing), strict=True)):
        deep = layer >= 2
        merged = (store.table["patch"][0] == WHOLE_STEP) & (store.table["kind"][0] >= VISUAL)
        assert int(merged.sum()) == deep
        best = 5 + scores.argsort(descending=True)[: 40 - deep]
        assert set(store.table["index"][0][~merged].tolist()) == {*range(5), *best.tolist()}


def test_hermes_summary_is_the_mean_of_what_went_and_stands_last():
    tokens = stream(9)
    whole, memory = watched("full", tokens, (1000,)), watched("hermes", tokens, (1000,), 40)
    full, store = whole.stores[3], memory.stores[3]
    gone = sorted(set(range(len(tokens))) - set(store.table["index"][0, :-1].tolist()))
    last = int(tokens.positions.max()) + 1
    delta = torch.full((3, 1, len(gone)), last) - tokens.positions[:, None, gone]
    expected = memory.rotary.rotate(full.state()["key"][None, :, gone], delta).mean(2)[0]
    assert store.table["position"][0, -1].tolist() == [last] * 3
    assert (store.state()["key"][:, -1] - expected).abs().max() < 1e-4
    assert (store.state()["value"][:, -1] - full.state()["value"][:, gone].mean(1)).abs().max() < 1e-4


def test_hermes_aligns_scores_of_layers_by_place_or_by_token():
    def layer(*index):
        kind = torch.tensor([[PREFIX] + [VISUAL] * len(index)])
        return SimpleNamespace(table=Table({"index": torch.tensor([[0, *index]]), "kind": kind}))

    source, scores = layer(5, 7, 9), torch.tensor([0.1, 0.2, 0.5])
    by_place, by_token = (make_policy(f"hermes:align={align}") for align in ("place", "token"))
    assert by_place._aligned(scores, source, layer(7, 8, 9)) is scores
    assert by_place._aligned(scores, source, layer(1, 2, 3, 4, 5)).tolist() == pytest.approx(
        [0.1, 0.15, 0.2, 0.35, 0.5]
    )
    tokens = by_token._aligned(scores, source, layer(7, 8, 9, 10))
    assert tokens.tolist() == pytest.approx([0.2, 0.5, 0.5, 0.5]), "one that is not there takes the next one's"


def test_a_policy_that_asks_needs_prompts():
    from omnimem_cli.memory.budget import even_budgets
    from omnimem_cli.memory.memory import Memory

    with pytest.raises(AssertionError, match="prompts"):
        Memory(decoder(), make_policy("hermes"), even_budgets(4, 9, 1, True, True), dtype=torch.float32)


@pytest.mark.parametrize(
    "text",
    [
        "uniform:variant=x",
        "snapkv:kernel=4",
        "infinipot-v:rho=2",
        "streammem:merge=x",
        "hermes:align=x",
        "hermes:smoothing=x",
        "hermes:pool=x",
        "salience:twins=2",
        "salience:novelty=-1",
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(text):
    with pytest.raises(UsageError, match=text.split(":")[0]):
        make_policy(text)


def test_text_only_pieces_are_watched_as_well():
    tokens = text_chunk(question(60)[0], 0, AUDIO)
    tokens.kind[:4] = PREFIX
    assert kept(watched("sliding-window", tokens, (20,), 10)) == list(range(50, 60))


@pytest.mark.parametrize(
    ("name", "per_query", "novelty", "twins", "pool"),
    [
        ("salience", True, 0.5, 1.0, "one"),
        ("salience:twins=0.8:pool=split", True, 0.5, 0.8, "split"),
        ("salience:twins=0:novelty=1", True, 1.0, 0.0, "one"),
        ("omnimem:exponent=0.2:carry=0.0625", False, 1.0, 0.0, "split"),
    ],
)
def test_salience_ranks_by_importance_per_query_and_twins_and_the_papers_rule_by_the_sum(
    name, per_query, novelty, twins, pool
):
    """What a layer keeps of one chunk, from the scores written out."""
    policy, decided = make_policy(name), []

    class Spy(type(policy)):
        def on_layer(self, view):
            received = view.importance_per_query(16) if per_query else view.importance(8)
            decided.append((received, view.hidden, view.table, view.budget, super().on_layer(view).indices))
            return Kept(decided[-1][-1])

    tokens = stream(9)
    memory = memory_of("full", tokens, 40)
    memory.policy = Spy(**vars(policy))
    memory.absorb(tokens)
    for received, hidden, table, budget, indices in decided:
        unit = torch.nn.functional.normalize(hidden.float(), dim=-1)
        cosines = (unit[1:] * unit[:-1]).sum(-1)
        scores = (1 - redundancy(cosines)).clamp(min=0) ** novelty * received**0.2
        counts = {kind: int((table["kind"] == kind).sum()) for kind in (VISUAL, AUDIO)}
        scores = scores * (1 - twins * twin_cosines(table["vector"][0], table["kind"][0], scores, counts))
        media = keep_media(table, scores[None], budget, pool)
        assert torch.equal(indices, kept_indices(table, media).indices)
