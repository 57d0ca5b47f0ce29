"""The released OmniMem on its own model family: what it keeps, and what it answers from that."""

import pytest
import torch
from salmonn_tiny import a_media, expected, load_tiny, tiny_salmonn

from omnimem_cli.media.segment import Format
from omnimem_cli.memory.budget import LayerBudget
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies.full import Full
from omnimem_cli.memory.policies.omnimem import OmniMem
from omnimem_cli.memory.tokens import QUESTION, TEXT, TokenChunk, concat
from omnimem_cli.models.adapter import Plan
from omnimem_cli.models.salmonn.stream import Features

CLOSE = {"atol": 1e-4, "rtol": 0}
ROWS, COLUMNS, STEPS = 2, 3, 12
CHUNK, ASKED_FROM = 96, 371
BUDGETS = [LayerBudget(visual, audio) for audio, visual in ((12, 30), (7, 18), (15, 24), (9, 14))]


@pytest.fixture(scope="module")
def case() -> dict[str, torch.Tensor]:
    return expected("salmonn3", "mem")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    loaded = load_tiny(tiny_salmonn(tmp_path_factory.mktemp("salmonn3"), "salmonn3"))
    loaded.opens = "Watch. "
    return loaded


@pytest.fixture(scope="module")
def stream(adapter, case) -> TokenChunk:
    """All tokens of the case; text before ``ASKED_FROM`` is media text, as it is in the released memory."""
    cell = adapter.patches.cell
    width, height = COLUMNS * cell, ROWS * cell
    opened = adapter.open(a_media(24.0, 24.0, width, height), Plan(Format(30.0, 1.0, width, height), 0, 0, 0))
    visual = torch.cat([case["visual"], *(case[f"deepstack_{i}"] for i in range(3))], dim=-1)
    times, fed = [0.5 + 2 * step for step in range(STEPS)], torch.ones(visual.shape[:2], dtype=torch.bool)
    features = Features(visual.flatten(0, 1), case["audio"], times, fed)
    pieces = [opened.prefix, opened.emit_tokens(features, flush=True), *opened.question(["Answer in one word."])]
    whole = concat(pieces).cut(0, case["input_ids"].shape[1])
    closing = torch.arange(len(whole)) < ASKED_FROM
    whole.kind[(whole.kind == QUESTION) & closing] = TEXT
    return whole


def watched(adapter, stream: TokenChunk, policy, budgets) -> Memory:
    memory = Memory(adapter.decoder, policy, budgets, dtype=torch.float32)
    for start in range(0, ASKED_FROM, CHUNK):
        memory.absorb(stream.cut(start, min(start + CHUNK, ASKED_FROM)))
    return memory


def answered(adapter, memory: Memory, stream: TokenChunk, count: int) -> tuple[torch.Tensor, list[int]]:
    """Logits of the query part, and ``count`` greedy ids."""
    asked = stream.cut(ASKED_FROM, len(stream))
    fork, ids = memory.fork(), []
    logits = adapter.head(fork.forward(asked.embeds[None], asked.positions[:, None])[0])
    last, at = logits[-1], int(asked.positions.max())
    for _ in range(count):
        ids.append(int(last.argmax()))
        at += 1
        hidden = fork.forward(adapter.embed(torch.tensor([[ids[-1]]])), torch.full((3, 1, 1), at))
        last = adapter.head(hidden[0, -1])
    return logits, ids


def released() -> OmniMem:
    """Released ranking and importance, no approximation of ours."""
    return OmniMem(score="code", heads="averaged", stride=1, carry=100)


def test_the_stream_is_the_released_prompt(adapter, stream, case):
    ids = case["input_ids"][0]
    text = (ids != 306) & (ids != 307)
    torch.testing.assert_close(stream.embeds[text], adapter.embed(ids[text]), atol=0, rtol=0)


def test_every_layer_keeps_what_the_released_memory_keeps_after_every_chunk(adapter, stream, case):
    memory = Memory(adapter.decoder, released(), BUDGETS, dtype=torch.float32)
    for chunk, start in enumerate(range(0, ASKED_FROM, CHUNK)):
        memory.absorb(stream.cut(start, min(start + CHUNK, ASKED_FROM)))
        for layer, store in enumerate(memory.stores):
            kept = store.table["index"][0].long()
            assert torch.equal(kept, case[f"layer{layer}.chunk{chunk}.kept_absolute"]), (layer, chunk)
    assert [len(store) for store in memory.stores] == (case["cache_lengths_after_prefill"] - 24).tolist()


def test_answers_from_the_bounded_memory_are_those_of_the_release(adapter, stream, case):
    memory = watched(adapter, stream, released(), BUDGETS)
    logits, ids = answered(adapter, memory, stream, 8)
    torch.testing.assert_close(logits, case["logits_query_part"][0], **CLOSE)
    assert ids == case["generate_tokens"][0].tolist()


def test_answers_from_a_full_memory_are_those_of_one_pass(adapter, stream, case):
    memory = watched(adapter, stream, Full(), BUDGETS)
    logits, _ = answered(adapter, memory, stream, 1)
    torch.testing.assert_close(logits, case["logits_off"][0], **CLOSE)
    assert (logits - case["logits_query_part"][0]).abs().max() > 0.1, "the case must tell the two apart"
